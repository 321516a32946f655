"""The pod in namespaces made with unshare, with the same files, user, mounts and seccomp filter, for
machines where no container tool can run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pod

PYTHON = "/usr/bin/python3"  # Debian's, which has python3-seccomp
ENTER = Path(__file__).with_name("enter_container.py")
# What the Containerfile sets.
ENVIRONMENT = {"PATH": "/usr/bin", "WEIGHTD_SOCKET_DIR": "/run/weightd/sockets"}


def _unshare(user: int) -> list[str]:
    # What a killed test leaves goes with it; what it starts, by enter_container.py.
    command = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork"]
    if os.geteuid() != 0:
        command += ["--user", f"--map-user={user}", f"--map-group={pod.GROUP}", "--keep-caps"]
    return command


def check_this_machine() -> None:
    if importlib.util.find_spec("seccomp") is None:
        raise pod.CannotRun("python3-seccomp is not installed")
    tried = subprocess.run([*_unshare(pod.DAEMON_USER), "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise pod.CannotRun(f"no namespaces can be made here: {tried.stderr.strip()}")


@dataclass
class NamespacePod(pod.Pod):
    root: Path = Path()

    def command(self, container: pod.Container) -> list[str]:
        told = {
            "root": str(self.root),
            "sockets": str(self.sockets),
            "models": str(self.models),
            "sockets_writable": container.sockets_writable,
            "seccomp": str(self.seccomp),
            "user": container.user,
            "group": pod.GROUP,
            "environment": ENVIRONMENT,
            "command": container.command,
        }
        return [*_unshare(container.user), PYTHON, str(ENTER), json.dumps(told)]

    def pid(self, running: pod.Running) -> int:
        unshare = running.process.pid
        try:
            child = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        except OSError:
            return 0
        return int(child[0]) if child else 0

    def in_daemon(self, arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
        # In a container of its own: to enter the daemon's takes programs that its root does not have.
        beside = pod.Container("weightctl", ["/usr/bin/weightctl", *arguments], pod.DAEMON_USER, sockets_writable=True)
        return subprocess.run(self.command(beside), stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def clean_up(self) -> None:
        for running in self.running:
            if running.process.poll() is None:
                running.process.kill()  # the container goes with unshare
            running.process.wait()
