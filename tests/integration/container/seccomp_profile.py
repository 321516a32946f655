"""A container runtime's seccomp profile (JSON), loaded into this process through libseccomp."""

from __future__ import annotations

import json
from typing import Any

import seccomp  # type: ignore[import-not-found]  # Debian's python3-seccomp

ARCHES = {"amd64", "x86_64"}  # what profiles call the processor that the tests run on
COMPARE = {
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_LE": seccomp.LE,
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_GE": seccomp.GE,
    "SCMP_CMP_GT": seccomp.GT,
    "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ,
}


def _applies(rule: dict[str, Any]) -> bool:
    """To a container without capabilities."""
    includes = rule.get("includes") or {}
    excludes = rule.get("excludes") or {}
    if includes.get("caps"):
        return False
    if includes.get("arches") and not ARCHES & set(includes["arches"]):
        return False
    return not ARCHES & set(excludes.get("arches") or [])


def _action(name: str, errno: int | None) -> Any:
    if name == "SCMP_ACT_ALLOW":
        return seccomp.ALLOW
    if name == "SCMP_ACT_ERRNO":
        return seccomp.ERRNO(1 if errno is None else errno)
    raise ValueError(f"the profile has an action that this does not know: {name}")


def _argument(argument: dict[str, Any]) -> Any:
    compare = COMPARE[argument["op"]]
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        return seccomp.Arg(argument["index"], compare, argument["value"], argument["valueTwo"])
    return seccomp.Arg(argument["index"], compare, argument["value"])


def load(text: str) -> None:
    """From here on this process and what it becomes are held to it. Sets no_new_privs."""
    profile = json.loads(text)
    default = (profile["defaultAction"], profile.get("defaultErrnoRet"))
    rules = seccomp.SyscallFilter(defaction=_action(*default))
    for rule in profile["syscalls"]:
        action = (rule["action"], rule.get("errnoRet"))
        if not _applies(rule) or action == default:
            continue
        for name in rule["names"]:
            try:
                number = seccomp.resolve_syscall(seccomp.Arch(), name)
            except ValueError:
                continue  # not known to this libseccomp, as runtimes do
            if number < 0:
                continue  # not one of this processor
            rules.add_rule(_action(*action), name, *[_argument(argument) for argument in rule.get("args") or []])
    rules.load()
