"""vLLM and SGLang with --load-format weightd: the plugin as the engine finds it, in its own processes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import weightd
from programs import Control, Daemon, binary, eventually, leases
from small_models import PROMPTS, TOKENS

# Two ranks are two processes that import PyTorch and the engine.
SERVE_SECONDS_MAX = 300.0
HERE = Path(__file__).parent
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "SGLANG_USE_CPU_ENGINE": "1",
}


@pytest.fixture(params=["vllm", "sglang"])
def engine(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@dataclass(frozen=True)
class Served:
    output: str  # of all its processes
    tokens: list[list[int]] | None  # none: it failed


def run(
    engine: str, control: Control, path: Path, ranks: int = 1, load_format: str = "auto", **extra: Any
) -> Served:
    """`extra` is the extra config of the loader."""
    environment = {**os.environ, **ENVIRONMENT, "WEIGHTD_SOCKET_DIR": str(control.socket_dir)}
    if importlib.util.find_spec("sgl_kernel") is None:
        environment["PYTHONPATH"] = str(HERE / "no_kernels")
    options = {"model": str(path), "ranks": ranks, "load_format": load_format, "extra": extra}
    answer = control.socket_dir / "answer.json"
    answer.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, HERE / "serve.py", engine, json.dumps(options), answer],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SERVE_SECONDS_MAX,
    )
    assert done.returncode != 0 or answer.exists(), done.stdout
    return Served(done.stdout, json.loads(answer.read_text()) if answer.exists() else None)


def serve(engine: str, control: Control, path: Path, **options: Any) -> list[list[int]]:
    served = run(engine, control, path, **options)
    assert served.tokens is not None, served.output
    assert [len(row) for row in served.tokens] == [TOKENS] * len(PROMPTS)
    return served.tokens


@contextmanager
def attached(control: Control, client: str, times: int) -> Iterator[None]:
    """Within the block `client` is granted a lease so many times, and nobody else one."""
    command = [binary("weightctl"), "--socket-dir", control.socket_dir, "events", "--replay", "1", "-o", "json"]
    granted: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        try:
            assert events.stdout is not None
            assert events.stdout.readline(), "what came before: from here on nothing is missed"
            yield
            with weightd.attach("llama", device="cpu", socket_dir=str(control.socket_dir), client_name="the last"):
                pass
            while "the last" not in granted:
                event = json.loads(events.stdout.readline())
                if event["type"] == "LEASE_GRANTED":
                    granted.append(event["detail"])
        finally:
            events.terminate()
    assert granted == [client] * times + ["the last"]


@pytest.mark.parametrize(
    ("name", "ranks"), [("llama-tied", 1), ("qwen2", 1), ("llama-sharded", 1), ("llama-sharded", 2)]
)
def test_serves_the_same_tokens(engine: str, control: Control, root: Path, name: str, ranks: int) -> None:
    if engine == "sglang" and ranks > 1:
        pytest.skip("on CPUs the ranks of SGLang speak through its kernels, of which PyPI has no build")
    expected = serve(engine, control, root / name, ranks=ranks)
    assert len({token for row in expected for token in row}) > 10, "the tokens say nothing"
    with attached(control, engine, ranks):
        tokens = serve(engine, control, root / name, ranks=ranks, load_format="weightd", model=name)
    assert tokens == expected
    assert eventually(lambda: not leases(control))


def test_policies_for_a_model_that_is_not_resident(engine: str, control: Control, root: Path) -> None:
    expected = serve(engine, control, root / "llama")
    wanted: dict[str, Any] = {"load_format": "weightd", "model": "llama"}
    with Daemon(root, root.parent / "run-empty") as empty:
        refused = run(engine, empty, root / "llama", **wanted)
        assert refused.tokens is None and "NotResidentError" in refused.output

        from_disk = run(engine, empty, root / "llama", policy="disk", **wanted)
        assert from_disk.tokens == expected
        assert "is read from files" in from_disk.output
        assert not empty.json("ps").get("models")

        assert serve(engine, empty, root / "llama", policy="wait", **wanted) == expected
        assert [model["name"] for model in empty.json("ps")["models"]] == ["llama"]


def test_unknown_options_are_refused(engine: str, control: Control, root: Path) -> None:
    refused = run(engine, control, root / "llama", load_format="weightd", model="llama", polcy="wait")
    assert refused.tokens is None and "polcy" in refused.output
