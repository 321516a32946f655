"""What manifests tell weightd and weightctl, the real ones understand; the overlay `try`, as processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from manifests import FOLDERS, ROOT, Object, Pod, environment, render

BIN = Path(os.environ.get("WEIGHTD_BIN_DIR", ROOT / "build/dev/bin"))
USAGE = 2  # an exit code of weightctl
GREETING = b"These bytes came from weightd's memory.\n"

pytestmark = pytest.mark.skipif(not (BIN / "weightctl").exists(), reason=f"{BIN} has no weightctl: not built")


def run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(word) for word in command], capture_output=True, timeout=60)


def probes(container: Object) -> Iterator[list[str]]:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if "exec" in container.get(name, {}):
            yield container[name]["exec"]["command"]


def weightctl_commands(pod: Pod) -> Iterator[list[str]]:
    for container in pod.containers:
        yield from probes(container)
        words = container.get("command", []) + container.get("args", [])
        if words[:1] == ["/usr/bin/weightctl"]:
            yield words


@pytest.mark.parametrize("folder", FOLDERS)
def test_weightctl_has_the_verbs_and_flags(folder: str) -> None:
    for pod in render(folder).pods():
        for program, verb, *arguments in weightctl_commands(pod):
            assert program == "/usr/bin/weightctl"
            told = run(BIN / "weightctl", verb, "--help")
            assert told.returncode == 0, told.stderr
            for argument in arguments:
                if argument.startswith("--"):
                    assert argument.split("=")[0].encode() in told.stdout, f"{verb} has no {argument}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_weightd_takes_configuration_and_flags(folder: str, tmp_path: Path) -> None:
    for pod, daemon in render(folder).daemons():
        assert daemon["command"] == ["/usr/bin/weightd"]
        arguments = daemon["args"]
        if configuration := render(folder).configuration(pod):
            (tmp_path / "weightd.textproto").write_text(configuration)
            assert arguments[0] == "--config=/etc/weightd/weightd.textproto"
            arguments = [f"--config={tmp_path}/weightd.textproto", *arguments[1:]]
        done = run(BIN / "weightd", "--check-config", *arguments)
        assert done.returncode == 0, done.stderr


def test_the_mounted_configurations_are_those_of_configs() -> None:
    for name, folder in (("sidecar", "base"), ("node-wide", "node-wide")):
        ((pod, _),) = render(folder).daemons()
        assert render(folder).configuration(pod) == (ROOT / "configs" / f"{name}.textproto").read_text()


@contextmanager
def daemon_on(sockets: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [BIN / "weightd", f"--socket-dir={sockets}", "--state-file", "", "--cuda.enabled=OFF", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture()
def sockets() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="weightd-k8s-")  # a socket's path has 107 bytes
    yield folder
    shutil.rmtree(folder)


def test_the_nodes_client_waits_until_weightd_serves(sockets: str, tmp_path: Path) -> None:
    (container,) = render("overlays/node-wide-client").pods()[0].spec["initContainers"]
    words = [BIN / "weightctl", *container["command"][1:]]
    waiting = subprocess.Popen(
        words, env={"WEIGHTD_SOCKET_DIR": sockets}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        # It was started first, and may not end before there is a weightd.
        with daemon_on(sockets, f"--root={tmp_path}"):
            output, errors = waiting.communicate(timeout=60)
        assert (waiting.returncode, output) == (0, b"SERVING\n"), errors
    finally:
        waiting.kill()
        waiting.wait()


def is_told_in_the_readme(text: str) -> bool:
    """As README.md quotes it, with `…` for names and reasons."""
    readme = (ROOT / "deploy/kubernetes/README.md").read_text()
    table = readme.split("\n## A pod stays in Init:0/1\n")[1].split("\n| --- |")[1]
    quotes = [re.escape(quote).replace("…", ".*") for quote in re.findall(r"`([^`]+)`", table)]
    return any(len(quote) > 20 and re.search(quote, text) for quote in quotes)


def test_probes_that_fail_say_what_the_readme_quotes(sockets: str, tmp_path: Path) -> None:
    probe = (BIN / "weightctl", f"--socket-dir={sockets}", "health", "--staged")
    done = run(*probe)
    assert done.returncode != 0
    assert is_told_in_the_readme(done.stderr.decode()), done.stderr
    with daemon_on(sockets, f"--root={tmp_path}", "--preload=org/none"):
        deadline = time.monotonic() + 60
        while b"failed" not in (done := run(*probe)).stderr:
            assert done.returncode != 0 and time.monotonic() < deadline, done.stderr
        assert "no such checkpoint" in done.stderr.decode(), done.stderr
        assert is_told_in_the_readme(done.stderr.decode()), done.stderr


class Processes:
    """The pod of the overlay `try`: its paths are in a folder, its programs the build's, its users the pod's."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder = folder
        ((self.pod, self.daemon),) = render("overlays/try").daemons()
        (self.client,) = self.pod.clients()
        (folder / "bin").mkdir()
        for name in ("weightd", "weightctl"):
            shutil.copy(BIN / name, folder / "bin")  # where every user may run them
        # A ConfigMap's volume: links into a folder that a link names.
        data = folder / "models" / "..2026_11_27_16_00_00.000000001"
        data.mkdir(parents=True)
        (folder / "models" / "..data").symlink_to(data.name)
        for name, content in render("overlays/try").files_of(self.pod, "models").items():
            (data / name).write_bytes(content)
            (folder / "models" / name).symlink_to(f"..data/{name}")
        (folder / "run").mkdir()
        (folder / "run").chmod(0o777)  # as the kubelet makes an emptyDir

    def place(self, word: str) -> str:
        for path, name in (("/usr/bin/", "bin/"), ("/models", "models"), ("/run/weightd", "run")):
            word = re.sub(rf"(^|=){path}", rf"\g<1>{self.folder}/{name}", word)
        return word

    def as_user(self, container: Object) -> list[str]:
        if os.geteuid() != 0:
            return []
        uid, (gid, *_) = self.pod.user(container)
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]

    def command(self, container: Object, words: list[str]) -> list[str]:
        """As the container's user, with its environment."""
        variables = [f"{name}={self.place(value)}" for name, value in environment(container).items()]
        return [*self.as_user(container), "env", *variables, *map(self.place, words)]

    @contextmanager
    def sidecar(self) -> Iterator[None]:
        """Started, and its startup probe has succeeded."""
        command = self.command(self.daemon, self.daemon["command"] + self.daemon["args"])
        (probe,) = probes(self.daemon)
        with open(self.folder / "log", "wb") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            deadline = time.monotonic() + 60
            while (done := run(*self.command(self.daemon, probe))).returncode != 0:
                assert done.returncode != USAGE, done.stderr
                assert process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, done.stderr
                time.sleep(0.1)  # tidy: a probe's period; nothing else tells that it would succeed
            yield
            process.terminate()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            process.wait()

    def run_client(self, *wrapper: str) -> None:
        done = run(*wrapper, *self.command(self.client, self.client["command"] + self.client["args"]))
        assert done.returncode == 0, done.stderr
        assert done.stdout == GREETING


@pytest.fixture()
def processes() -> Iterator[Processes]:
    folder = Path(tempfile.mkdtemp(prefix="weightd-k8s-"))  # a socket's path has 107 bytes
    yield Processes(folder)
    shutil.rmtree(folder)


def test_try_prints_what_the_readme_says(processes: Processes) -> None:
    assert GREETING.decode() in (ROOT / "deploy/kubernetes/README.md").read_text()
    with processes.sidecar():
        processes.run_client()
    assert "socket directory" not in (processes.folder / "log").read_text(), "no warning of its mode"


def test_a_client_attaches_over_a_read_only_mount_of_the_sockets(processes: Processes) -> None:
    sockets = processes.folder / "run"
    mounted = f"mount --bind {sockets} {sockets} && mount -o remount,bind,ro {sockets}"
    in_namespace = ("unshare", "--mount", "--propagation", "private", "sh", "-c", f'{mounted} && exec "$@"', "sh")
    if run(*in_namespace, "true").returncode != 0:
        pytest.skip("no mount namespace may be made here")
    with processes.sidecar():
        processes.run_client(*in_namespace)
        assert run(*in_namespace, "touch", str(sockets / "other.sock")).returncode != 0
