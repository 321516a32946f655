#!/usr/bin/python3
"""weightd as a sidecar: a pod of two containers, with the runtimes' default seccomp profile and with ours.

    pod_test.py podman|namespaces REPOSITORY BUILD

Exits 77 where this machine lets no such pod be made.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import namespace_pod
import pod
import podman_pod

IMAGE_BYTES_MAX = 64 << 20
TENSOR_BYTES = 16 << 20  # more than a pipe and all that buffers on the way hold
SYS_IO_URING_SETUP = 425


def io_uring_works_here() -> bool:
    descriptor: int = ctypes.CDLL(None).syscall(SYS_IO_URING_SETUP, 1, ctypes.create_string_buffer(120))
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0


def check(condition: bool, what: str, found: object = "") -> None:
    if not condition:
        raise AssertionError(f"{what}{f': {found}' if found != '' else ''}")


def status_field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def mount_options(pid: int, target: str) -> list[str]:
    for line in reversed(Path(f"/proc/{pid}/mountinfo").read_text().splitlines()):
        fields = line.split()
        if fields[4] == target:
            return fields[5].split(",")
    raise AssertionError(f"nothing is mounted at {target} in process {pid}")


class Checkpoint:
    """A model `demo` of two tensors, and what the second of them must hash to."""

    def __init__(self, build: Path, models: Path) -> None:
        subprocess.run(
            [build / "bin/weightd_make_checkpoint", "--layout", "single", "--tensors", "2", "--size",
             f"{2 * TENSOR_BYTES}B", models / "demo"],
            check=True, capture_output=True,
        )  # fmt: skip
        (file,) = models.rglob("*.safetensors")
        content = file.read_bytes()
        (header_bytes,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + header_bytes])
        self.tensor = sorted(name for name in header if name != "__metadata__")[1]
        begin, end = (8 + header_bytes + offset for offset in header[self.tensor]["data_offsets"])
        self.sha256 = hashlib.sha256(content[begin:end]).hexdigest()
        for path in [models, *models.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def isolation(made: pod.Pod, daemon: pod.Running, holder: pod.Running) -> None:
    """What the kernel says of the two."""
    pids = [made.pid(daemon), made.pid(holder)]
    for pid, running in zip(pids, (daemon, holder)):
        name = running.container.name
        user = running.container.user if os.geteuid() == 0 else os.geteuid()
        check(set(status_field(pid, "Uid").split()) == {str(user)}, f"{name}'s user", status_field(pid, "Uid"))
        for capabilities in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
            check(int(status_field(pid, capabilities), 16) == 0, f"{name} has capabilities", capabilities)
        check(status_field(pid, "NoNewPrivs") == "1", f"{name} may gain privileges")
        check(status_field(pid, "Seccomp") == "2", f"{name} has no seccomp filter")
        for target in ("/", pod.MODELS):
            check("ro" in mount_options(pid, target), f"{name} can write {target}")
    check("rw" in mount_options(pids[0], pod.SOCKETS), "the daemon cannot write its sockets' directory")
    check("ro" in mount_options(pids[1], pod.SOCKETS), "the client can write the sockets' directory")
    for space in ("mnt", "pid", "net", "ipc"):
        seen = {os.readlink(f"/proc/{pid}/ns/{space}") for pid in (*pids, os.getpid())}
        check(len(seen) == 3, f"namespace {space} is shared", seen)


def in_daemon(made: pod.Pod, *arguments: str) -> Any:
    done = made.in_daemon(["-o", "json", *arguments])
    check(done.returncode == 0, f"weightctl {' '.join(arguments)}", done.stderr.decode())
    return json.loads(done.stdout) if done.stdout.startswith(b"{") else None


def engine(made: pod.Pod, daemon: pod.Running, expected: str) -> None:
    """Which is used, and that the daemon says why it goes without io_uring."""
    storage = in_daemon(made, "status")["storage"]
    log = daemon.log.read_text()
    check(storage["engine"] == expected, "engine", storage)
    check(f"engine={expected}" in log, "the log names another engine", log)
    refused = "the seccomp profile blocks it"
    check((refused in storage["engine_reason"]) == (expected == "pread"), "the reason", storage)
    check((refused in log) == (expected == "pread"), "the log's reason", log)


def what_is_not_there(made: pod.Pod) -> None:
    for program in ("/bin/sh", "/bin/bash", "/usr/bin/apt-get", "/usr/bin/dpkg"):
        status, _, said = made.run(pod.Container("shell", [program], pod.CLIENT_USER, sockets_writable=False))
        check(status not in (0, 77) and "no such file" in said.lower(), f"the image has {program}", said)


def attach(made: pod.Pod, checkpoint: Checkpoint) -> None:
    status, output, said = made.run(pod.client("reader", ["read", "demo", checkpoint.tensor]))
    check(status == 0, "the client's read", said)
    check(hashlib.sha256(output).hexdigest() == checkpoint.sha256, "the client read other bytes", len(output))


def refusals(made: pod.Pod) -> None:
    """What the client may not, and nobody may write the root."""
    if os.geteuid() == 0:  # else both are one user outside
        status, _, said = made.run(pod.client("evicter", ["evict", "demo"]))
        check(status == 5, "a client may evict", said)
    for arguments in (["tensorize", "/models/demo", "/x.tensors"], ["digest", "/models/demo"]):
        done = made.in_daemon(arguments)
        said = done.stderr.decode()
        check(done.returncode != 0 and "ead-only file system" in said, f"{arguments[0]} writes", said)


def hold(made: pod.Pod, checkpoint: Checkpoint, name: str, leases: int) -> pod.Running:
    """A client that has attached and waits for us to read its output."""
    holder = made.start(pod.client(name, ["read", "demo", checkpoint.tensor]), subprocess.PIPE)
    wait_for_leases(made, leases)
    return holder


def wait_for_leases(made: pod.Pod, count: int) -> None:
    pod.wait_for(f"{count} leases", lambda: len(in_daemon(made, "leases")["leases"]) == count)


def life(made: pod.Pod, checkpoint: Checkpoint, expected_engine: str) -> None:
    daemon = made.start(pod.daemon(["--root=/models", "--state-file=/run/weightd/state.json", "--drain-grace-ms=300"]))
    try:
        pod.wait_for("healthy", lambda: made.in_daemon(["health"]).returncode == 0 or daemon.process.poll() is not None)
        check(daemon.process.poll() is None, "the daemon ended", daemon.process.poll())
        engine(made, daemon, expected_engine)
        check(made.in_daemon(["stage", "demo", "--wait"]).returncode == 0, "stage")
        attach(made, checkpoint)
        refusals(made)
        what_is_not_there(made)
        wait_for_leases(made, 0)

        holder = hold(made, checkpoint, "killed", 1)
        isolation(made, daemon, holder)
        check(made.signal(holder, signal.SIGKILL) != 0, "a killed client's status")
        wait_for_leases(made, 0)

        holder = hold(made, checkpoint, "drained", 1)
        status = made.signal(daemon, signal.SIGTERM)
        check(status == 0, "the daemon's exit status after SIGTERM", status)
        check("drain_started" in daemon.log.read_text(), "no drain in the log")
        made.signal(holder, signal.SIGKILL)
    except BaseException:
        print(f"--- the daemon's log:\n{daemon.log.read_text()}", file=sys.stderr)
        raise
    finally:
        made.clean_up()


def directory(path: Path, mode: int) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


def main() -> None:
    form, repository, build = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    # An interrupted test cleans up like a failed one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    profiles = [(repository / "deploy/seccomp/weightd.json", "io_uring")]
    if pod.DEFAULT_PROFILE.exists():
        profiles.insert(0, (pod.DEFAULT_PROFILE, "pread"))
    else:
        print(f"skipped: the default seccomp profile, {pod.DEFAULT_PROFILE} is not there")
    if not io_uring_works_here():
        print("skipped: our seccomp profile, io_uring is forbidden here already")
        profiles.pop()
    scratch = Path(tempfile.mkdtemp(prefix="weightd-pod-test."))
    scratch.chmod(0o755)
    image = None
    try:
        files = scratch / "image"
        subprocess.run([repository / "deploy/image_files.sh", build / "bin", files], check=True)
        programs = sorted(path.name for path in (files / "root/usr/bin").iterdir())
        check(programs == ["weightctl", "weightd"], "programs of the image", programs)
        checkpoint = Checkpoint(build, directory(scratch / "models", 0o755))
        if form == "podman":
            image = podman_pod.Image(repository)
            image.build(files)
            check(image.bytes() < IMAGE_BYTES_MAX, "the image's size", image.bytes())
            check(image.user() == f"{pod.DAEMON_USER}:{pod.GROUP}", "the image's user", image.user())
            # Else a node whose usual runtime is NVIDIA's gives it every GPU.
            check("NVIDIA_VISIBLE_DEVICES" not in image.variables(), "the image's variables", image.variables())
            check("WEIGHTD_SOCKET_DIR" in image.variables(), "the image's variables", image.variables())
        else:
            namespace_pod.check_this_machine()
            shutil.move(files / "run", files / "root/run")
            size = sum(path.lstat().st_size for path in files.rglob("*") if path.is_file() and not path.is_symlink())
            check(size < IMAGE_BYTES_MAX, "the image's size", size)
        for profile, expected_engine in profiles:
            # As an emptyDir is: open to all, and the daemon makes its own below.
            parts = (
                directory(scratch / f"sockets-{expected_engine}", 0o777),
                scratch / "models",
                profile,
                directory(scratch / f"logs-{expected_engine}", 0o755),
            )
            made: pod.Pod = (
                podman_pod.PodmanPod(*parts, image=image)
                if form == "podman"
                else namespace_pod.NamespacePod(*parts, root=files / "root")
            )
            life(made, checkpoint, expected_engine)
            print(f"{form}, {profile}: {expected_engine}")
    except pod.CannotRun as reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    finally:
        if image is not None:
            image.remove()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
