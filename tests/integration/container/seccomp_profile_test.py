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
from typing import Any

DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")


def allowed(profile: dict[str, Any]) -> set[str]:
    """Calls that a container without capabilities may make, with whatever arguments."""
    return {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        and not (rule.get("includes") or {}).get("caps")
        and {"amd64", "arm64"} & set((rule.get("includes") or {}).get("arches", ["amd64"]))
        for name in rule["names"]
    }  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1]) / "deploy/seccomp"
    if not DEFAULT_PROFILE.exists():
        print(f"skipped: {DEFAULT_PROFILE} is not there (golang-github-containers-common)")
        sys.exit(77)
    default = json.loads(DEFAULT_PROFILE.read_text())
    ours = json.loads((folder / "weightd.json").read_text())
    # What containerd reads, and no key that it does not know.
    assert set(ours) == {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}, set(ours)
    for rule in ours["syscalls"]:
        assert set(rule) <= {"names", "action", "errnoRet", "args"}, rule
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"} <= set(ours["architectures"])
    assert (ours["defaultAction"], ours["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", default["defaultErrnoRet"])
    assert allowed(ours) - allowed(default) == {"io_uring_enter", "io_uring_register", "io_uring_setup"}
    assert allowed(default) <= allowed(ours)
    assert not allowed(ours) & {"mount", "bpf", "chroot", "setns", "userfaultfd"} - allowed(default)

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
