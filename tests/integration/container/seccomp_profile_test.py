#!/usr/bin/python3
"""deploy/seccomp/weightd.json is the default profile and io_uring's calls, and nothing else.

    seccomp_profile_test.py REPOSITORY
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")


def main() -> None:
    folder = Path(sys.argv[1]) / "deploy/seccomp"
    if not DEFAULT_PROFILE.exists():
        print(f"skipped: {DEFAULT_PROFILE} is not there (golang-github-containers-common)")
        sys.exit(77)
    default = json.loads(DEFAULT_PROFILE.read_text())
    ours = json.loads((folder / "weightd.json").read_text())
    added = [rule for rule in ours["syscalls"] if rule not in default["syscalls"]]
    assert [rule["names"] for rule in added] == [["io_uring_enter", "io_uring_register", "io_uring_setup"]], added
    assert ours["syscalls"][: len(default["syscalls"])] == default["syscalls"]
    assert {**ours, "syscalls": []} == {**default, "syscalls": []}

    check = [sys.executable, str(folder / "make_profile.py"), "--check"]
    subprocess.run(check, check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as other:
        default["syscalls"][1]["names"].remove("read")
        json.dump(default, other)
        other.flush()
        drifted = subprocess.run([*check, other.name], capture_output=True, text=True, check=False)
    assert drifted.returncode == 1 and "run " in drifted.stderr, drifted


if __name__ == "__main__":
    main()
