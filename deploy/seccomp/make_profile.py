#!/usr/bin/env python3
"""Makes weightd.json: the container runtimes' default seccomp profile, and io_uring.

    make_profile.py [--check] [DEFAULT_PROFILE]

DEFAULT_PROFILE is Debian's (package golang-github-containers-common) where none is given. weightd
needs nothing else that the default refuses: without io_uring it reads with threads. With --check,
nothing is written: exits 1 if weightd.json differs from what would be.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

DEBIAN_DEFAULT = Path("/usr/share/containers/seccomp.json")
OURS = Path(__file__).with_name("weightd.json")
IO_URING = {
    "names": ["io_uring_enter", "io_uring_register", "io_uring_setup"],
    "action": "SCMP_ACT_ALLOW",
    "args": [],
    "comment": "weightd: reads volumes with a fifth to a seventh of the processor's time",
    "includes": {},
    "excludes": {},
}


def with_io_uring(default: str) -> str:
    profile = json.loads(default)
    wanted = set(IO_URING["names"])
    for rule in profile["syscalls"]:
        if wanted & set(rule["names"]):
            sys.exit(f"the default profile has a rule for io_uring of its own: {rule['action']}; look at it")
    profile["syscalls"].append(IO_URING)
    return json.dumps(profile, indent="\t") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("default", nargs="?", type=Path, default=DEBIAN_DEFAULT)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    wanted = with_io_uring(arguments.default.read_text())
    if not arguments.check:
        OURS.write_text(wanted)
    elif OURS.read_text() != wanted:
        sys.exit(f"{OURS} is not {arguments.default} with io_uring: run {Path(__file__)}")


if __name__ == "__main__":
    main()
