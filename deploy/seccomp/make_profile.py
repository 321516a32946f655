#!/usr/bin/env python3
"""Makes weightd.json: the container runtimes' default seccomp profile, and io_uring.

    make_profile.py [--check] [DEFAULT_PROFILE]

DEFAULT_PROFILE is Debian's (package golang-github-containers-common) where none is given. With
--check nothing is written: exits 1 if weightd.json differs from what would be.

The default profile has conditions on capabilities and processors, which podman, docker and CRI-O
read. containerd does not: it takes the file for the runtime's own format (OCI runtime-spec) and would
apply rules for CAP_SYS_ADMIN to everybody. So they are decided here, for a container without
capabilities, as ours is, on x86-64 and ARM. weightd needs nothing else that the default refuses, and
does without io_uring too: it reads with threads then.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

DEBIAN_DEFAULT = Path("/usr/share/containers/seccomp.json")
OURS = Path(__file__).with_name("weightd.json")
IO_URING = ["io_uring_enter", "io_uring_register", "io_uring_setup"]
PROCESSORS = {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"}
# What conditions call them.
PROCESSOR_NAMES = {"amd64", "x32", "x86", "arm", "arm64"}


def applies(rule: dict[str, Any]) -> bool:
    includes = rule.get("includes") or {}
    excludes = rule.get("excludes") or {}
    unknown = (set(includes) | set(excludes)) - {"caps", "arches", "minKernel"}
    if unknown or excludes.get("arches") or excludes.get("minKernel"):
        sys.exit(f"the default profile has a condition that this does not know; look at it: {rule}")
    if includes.get("caps"):
        return False
    return not includes.get("arches") or bool(PROCESSOR_NAMES & set(includes["arches"]))


def runtime_rule(rule: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"names": rule["names"], "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        kept["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        kept["args"] = rule["args"]
    return kept


def with_io_uring(default: str) -> str:
    profile = json.loads(default)
    if any(set(IO_URING) & set(rule["names"]) for rule in profile["syscalls"]):
        sys.exit("the default profile has a rule for io_uring of its own: look at it")
    architectures: list[str] = []
    for entry in profile["archMap"]:
        if entry["architecture"] in PROCESSORS:
            architectures += [entry["architecture"], *entry["subArchitectures"]]
    ours = {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": [
            *(runtime_rule(rule) for rule in profile["syscalls"] if applies(rule)),
            {"names": IO_URING, "action": "SCMP_ACT_ALLOW"},
        ],
    }
    return json.dumps(ours, indent=1) + "\n"


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
