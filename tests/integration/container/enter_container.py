#!/usr/bin/python3
"""Process 1 of a container of namespace_pod.py: makes its root from what it is told, gives up all
rights and becomes the program. Started in namespaces of its own."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import seccomp_profile

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SYS_CAPSET = 126
SYS_PIVOT_ROOT = 155
MNT_DETACH = 2
LAST_CAPABILITY = 63
LIBC = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def bind(source: str, target: str, *, writable: bool) -> None:
    mount("--bind", source, target)
    if not writable:
        # The flags of the mount below may not be taken away in a user namespace.
        mount("-o", "remount,bind,ro,nosuid,nodev", target)


def make_root(root: str, sockets: str, models: str, *, sockets_writable: bool) -> None:
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    bind(sockets, f"{root}/run/weightd", writable=sockets_writable)
    bind(models, f"{root}/models", writable=False)
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("-o", "remount,bind,ro,nosuid,nodev", root)
    os.chdir(root)
    checked(LIBC.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    checked(LIBC.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def give_up_rights(user: int, group: int) -> None:
    for capability in range(LAST_CAPABILITY + 1):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails past the last one that there is
    if os.getuid() != user:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    checked(LIBC.syscall(SYS_CAPSET, header, none), "capset")
    # After the change of user, which takes it back: ends with unshare.
    checked(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "death signal")
    checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def main() -> None:
    told = json.loads(sys.argv[1])
    profile = Path(told["seccomp"]).read_text()  # it is not in the new root
    make_root(told["root"], told["sockets"], told["models"], sockets_writable=told["sockets_writable"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
    give_up_rights(told["user"], told["group"])
    seccomp_profile.load(profile)
    os.execve(told["command"][0], told["command"], told["environment"])


if __name__ == "__main__":
    main()
