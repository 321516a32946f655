#!/usr/bin/python3
"""The pod in real containers, of the real image.

    podman_pod.py REPOSITORY

As a program it tells whether podman runs containers here: exits 77 where it does not.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pod

LABEL = "weightd.test.pid"
# Something that runs in an image of its own, and is on every Debian: linked statically.
TRIVIAL = Path("/sbin/ldconfig")


def podman_command(repository: Path) -> tuple[list[str], list[str]]:
    """podman, and the options of `run`, as the scripts use them on this machine."""
    if shutil.which("podman") is None:
        raise pod.CannotRun("podman is not installed")

    def lines(function: str) -> list[str]:
        script = f'. "$0"; WEIGHTD_CONTAINER_TOOL=podman {function}'
        return subprocess.check_output(
            ["bash", "-euc", script, f"{repository}/deploy/lib.sh"], text=True
        ).split()

    return lines("container_command"), lines("container_limits")


class Image:
    """localhost/weightd-test:PID, made from programs that are built already."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.podman, self.limits = podman_command(repository)
        self.name = f"localhost/weightd-test:{os.getpid()}"
        self._remove_what_killed_tests_left()
        self._check_this_machine()

    def build(self, files: Path) -> None:
        built = self._build("--target", "prebuilt", "-f", f"{self.repository}/deploy/Containerfile", str(files))
        assert built.returncode == 0, f"the image is not built: {built.stderr}"
        tried = self._run("/usr/bin/weightctl", "--version")
        assert tried.returncode == 0, f"weightctl --version, in the image: {tried.stderr}"

    def _build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Not interrupted, or podman leaves half an image behind.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        built = subprocess.run(
            [*self.podman, "build", "-q", "--layers=false", "--label", f"{LABEL}={os.getpid()}", "-t", self.name,
             *arguments],
            capture_output=True, text=True, check=False, start_new_session=True,
        )  # fmt: skip
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return built

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.podman, "run", "--rm", "--network=none", *self.limits, "--entrypoint", program, self.name, *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def _check_this_machine(self) -> None:
        """By an image that has nothing of ours: after that, what fails is our fault."""
        with tempfile.TemporaryDirectory() as context:
            shutil.copy(TRIVIAL, f"{context}/trivial")
            Path(context, "Containerfile").write_text("FROM scratch\nCOPY trivial /trivial\n")
            tried = self._build(context)
        if tried.returncode == 0:
            tried = self._run("/trivial", "--version")
            self.remove()
        if tried.returncode != 0:
            said = tried.stderr.strip().splitlines()
            raise pod.CannotRun(f"podman runs no container here: {said[-1] if said else 'it does not say why'}")

    def bytes(self) -> int:
        return int(self._podman("image", "inspect", "-f", "{{.Size}}", self.name))

    def user(self) -> str:
        return self._podman("image", "inspect", "-f", "{{.User}}", self.name)

    def variables(self) -> dict[str, str]:
        lines = self._podman("image", "inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", self.name).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def remove(self) -> None:
        self._podman("rmi", "-f", self.name)

    def _podman(self, *arguments: str) -> str:
        done = subprocess.run([*self.podman, *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def _remove_what_killed_tests_left(self) -> None:
        for line in self._podman("ps", "-a", "--format", f'{{{{index .Labels "{LABEL}"}}}} {{{{.ID}}}}').splitlines():
            pid, _, container = line.strip().rpartition(" ")
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                self._podman("rm", "-f", container)
        for image in self._podman("images", "--format", "{{.Repository}}:{{.Tag}}", "localhost/weightd-test").split():
            if not Path(f"/proc/{image.rpartition(':')[2]}").exists():
                self._podman("rmi", "-f", image)
        self._podman("image", "prune", "-f", "--filter", f"label={LABEL}")  # of interrupted builds


@dataclass
class PodmanPod(pod.Pod):
    image: Image | None = None

    def _image(self) -> Image:
        assert self.image is not None
        return self.image

    def _name(self, container: pod.Container) -> str:
        return f"weightd-test-{os.getpid()}-{container.name}"

    def command(self, container: pod.Container) -> list[str]:
        return [
            *self._image().podman, "run", "--rm", "--name", self._name(container), "--label", f"{LABEL}={os.getpid()}",
            "--network=none", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all",
            "--security-opt=no-new-privileges",
            # The default profile is what there is without a word.
            *([] if self.seccomp == pod.DEFAULT_PROFILE else [f"--security-opt=seccomp={self.seccomp}"]),
            # The container writes to our files: a reader that stops stops it.
            "--log-driver=passthrough",
            f"--user={container.user}:{pod.GROUP}", *self._image().limits,
            "-v", f"{self.sockets}:{pod.SOCKETS}{'' if container.sockets_writable else ':ro'}",
            "-v", f"{self.models}:{pod.MODELS}:ro",
            f"--entrypoint={container.command[0]}", self._image().name, *container.command[1:],
        ]  # fmt: skip

    def pid(self, running: pod.Running) -> int:
        found = subprocess.run(
            [*self._image().podman, "inspect", "-f", "{{.State.Pid}}", self._name(running.container)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return int(found.stdout) if found.returncode == 0 else 0

    def in_daemon(self, arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
        name = self._name(pod.daemon([]))
        return subprocess.run(
            [*self._image().podman, "exec", name, "/usr/bin/weightctl", *arguments], capture_output=True, check=False
        )

    def clean_up(self) -> None:
        for running in self.running:
            subprocess.run(
                [*self._image().podman, "rm", "-f", "-t", "0", self._name(running.container)], capture_output=True, check=False
            )  # fmt: skip
            running.process.wait()


def main() -> None:
    try:
        Image(Path(sys.argv[1]))
    except pod.CannotRun as reason:
        print(f"skipped: {reason}")
        sys.exit(77)


if __name__ == "__main__":
    main()
