"""weightd and weightctl as processes, and checkpoints as the real safetensors package reads them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

HEALTHY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 30.0
COMMAND_SECONDS_MAX = 120.0
EVENTUALLY_SECONDS_MAX = 30.0


def binary(name: str) -> Path:
    path = Path(os.environ["WEIGHTD_BIN_DIR"], name)
    assert path.exists(), f"{path} is not built"
    return path


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: list[int]
    data: bytes


def read_file(path: Path) -> dict[str, Tensor]:
    """What the real package finds in a file; it checks the header."""
    return {
        name: Tensor(entry["dtype"], list(entry["shape"]), bytes(entry["data"]))
        for name, entry in safetensors.deserialize(path.read_bytes())
    }


def read_directory(directory: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        found = read_file(path)
        assert not tensors.keys() & found.keys(), f"{path} repeats tensors of another shard"
        tensors |= found
    assert tensors, f"{directory} holds no tensors"
    return tensors


def make_checkpoint(directory: Path, *arguments: str) -> None:
    command = [binary("weightd_make_checkpoint"), *arguments, directory]
    subprocess.run(command, check=True, timeout=COMMAND_SECONDS_MAX, stdout=subprocess.DEVNULL)


def make_file(path: Path, size: str) -> None:
    """A checkpoint of one file, which becomes `path`."""
    make_checkpoint(path.parent / "made", "--layout", "single", "--size", size)
    (path.parent / "made" / "model.safetensors").rename(path)
    (path.parent / "made").rmdir()


@dataclass(frozen=True)
class Control:
    """weightctl against one socket directory."""

    socket_dir: Path

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [binary("weightctl"), *arguments],
            env={**os.environ, "WEIGHTD_SOCKET_DIR": str(self.socket_dir)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS_MAX,
            **options,
        )

    def ok(self, *arguments: str) -> bytes:
        done = self.run(*arguments)
        assert done.returncode == 0, f"weightctl {arguments}: exit {done.returncode}: {done.stderr.decode()}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "-o", "json"))


class Daemon:
    """A weightd on host memory, from healthy until the end of the `with` block."""

    def __init__(
        self, root: Path, socket_dir: Path, *flags: str, environment: dict[str, str] | None = None
    ) -> None:
        self._environment = {**os.environ, **(environment or {})}
        self.control = Control(socket_dir)
        self._log_path = socket_dir.parent / f"{socket_dir.name}.log"
        # Pins of one test are not those of the next.
        common = ["--root", str(root), "--socket-dir", str(socket_dir), "--state-file", ""]
        self._command = [str(binary("weightd")), *common, *flags]

    def __enter__(self) -> Control:
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stderr=log, stdin=subprocess.DEVNULL, env=self._environment
            )
        try:
            self._wait_until_healthy()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self.control

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"weightd did not drain; its log:\n{self.log()}") from None
        assert code == 0, f"weightd ended with {code}; its log:\n{self.log()}"

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def _wait_until_healthy(self) -> None:
        for _ in range(int(HEALTHY_SECONDS_MAX / 0.05)):
            try:
                code = self._process.wait(0.05)
                raise AssertionError(f"weightd ended with {code}; its log:\n{self.log()}")
            except subprocess.TimeoutExpired:
                if self.control.run("health").returncode == 0:
                    return
        raise AssertionError(f"weightd is not healthy; its log:\n{self.log()}")


def assert_staged_equal(control: Control, model: str, expected: dict[str, Tensor]) -> None:
    """Names, dtypes, shapes and every byte, as another process gets them."""
    listed = {tensor["name"]: tensor for tensor in control.json("tensors", model)["tensors"]}
    assert listed.keys() == expected.keys()
    for name, tensor in expected.items():
        entry = listed[name]
        assert (entry["dtype"], entry.get("shape", [])) == (tensor.dtype, tensor.shape), name
        assert entry["bytes"] == len(tensor.data), name
        assert control.ok("read", model, name) == tensor.data, f"{name}: other bytes than in the file"


def leases(control: Control) -> list[dict[str, Any]]:
    return control.json("leases")["leases"]


def eventually(condition: Callable[[], bool], seconds: float = EVENTUALLY_SECONDS_MAX) -> bool:
    """Asks again until it is so: what another process or thread does takes a moment."""
    deadline = time.monotonic() + seconds
    changed = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        changed.wait(0.01)
    return True
