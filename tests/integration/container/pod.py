"""What the sidecar pod of the tests is, whoever makes it: podman_pod.py, or namespace_pod.py."""

from __future__ import annotations

import abc
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

GROUP = 65532
DAEMON_USER = 65532
CLIENT_USER = 65533  # may attach by its group, and neither stage nor evict
SOCKETS = "/run/weightd"
MODELS = "/models"
DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")  # of podman, in Debian
WAIT_SECONDS = 30.0


class CannotRun(Exception):
    """This machine does not let such a pod be made."""


@dataclass(frozen=True)
class Container:
    """A container of the pod: no capabilities, no new privileges, no network, a read-only root."""

    name: str
    command: list[str]
    user: int
    sockets_writable: bool


def daemon(arguments: list[str]) -> Container:
    return Container("weightd", ["/usr/bin/weightd", *arguments], DAEMON_USER, sockets_writable=True)


def client(name: str, arguments: list[str]) -> Container:
    return Container(name, ["/usr/bin/weightctl", *arguments], CLIENT_USER, sockets_writable=False)


def wait_for(what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {WAIT_SECONDS} s: {what}")
        time.sleep(0.05)  # tidy: polls with a deadline


@dataclass
class Running:
    container: Container
    process: subprocess.Popen[bytes]  # its output and exit status are the container's
    log: Path


@dataclass
class Pod(abc.ABC):
    """The directories and the seccomp profile that its containers share."""

    sockets: Path
    models: Path
    seccomp: Path
    scratch: Path
    running: list[Running] = field(default_factory=list)

    @abc.abstractmethod
    def command(self, container: Container) -> list[str]:
        """Runs it in the foreground."""

    @abc.abstractmethod
    def pid(self, running: Running) -> int:
        """Of the container's process 1, as seen from here; 0 while there is none."""

    @abc.abstractmethod
    def in_daemon(self, arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
        """weightctl as an operator and a probe run it: beside the daemon, as the same user."""

    @abc.abstractmethod
    def clean_up(self) -> None:
        """Leaves no container behind."""

    def start(self, container: Container, stdout: int | IO[bytes] = subprocess.DEVNULL) -> Running:
        log = self.scratch / f"{container.name}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                self.command(container), stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors
            )
        self.running.append(Running(container, process, log))
        return self.running[-1]

    def run(self, container: Container) -> tuple[int, bytes, str]:
        """Exit status, output and messages."""
        running = self.start(container, subprocess.PIPE)
        output, _ = running.process.communicate(timeout=WAIT_SECONDS)
        return running.process.returncode, output, running.log.read_text()

    def signal(self, running: Running, number: signal.Signals) -> int:
        """Exit status of the container after a signal to its process 1."""
        os.kill(self.pid(running), number)
        return running.process.wait(timeout=WAIT_SECONDS)
