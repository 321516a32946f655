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
from small_models import ENCODER, PROMPTS, TOKENS

# Two ranks are two processes that import PyTorch and the engine.
SERVE_SECONDS_MAX = 300.0
HERE = Path(__file__).parent
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
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
    answer: Any  # none: it failed


def run(
    engine: str, control: Control, path: Path, *, load_format: str = "auto", extra: Any = None, **options: Any
) -> Served:
    """`extra` is the extra config of the loader."""
    environment = {**os.environ, **ENVIRONMENT, "WEIGHTD_SOCKET_DIR": str(control.socket_dir)}
    # A processor for each rank.
    environment["VLLM_CPU_OMP_THREADS_BIND"] = "|".join(str(rank) for rank in range(options.get("ranks", 1)))
    if importlib.util.find_spec("sgl_kernel") is None:
        environment["PYTHONPATH"] = str(HERE / "no_kernels")
    arguments = {"model": str(path), "load_format": load_format, "extra": extra or {}, **options}
    answer = control.socket_dir / "answer.json"
    answer.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, HERE / "serve.py", engine, json.dumps(arguments), answer],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SERVE_SECONDS_MAX,
    )
    assert done.returncode != 0 or answer.exists(), done.stdout
    return Served(done.stdout, json.loads(answer.read_text()) if answer.exists() else None)


def serve(engine: str, control: Control, path: Path, *, ranks: int = 1, **options: Any) -> list[list[int]]:
    served = run(engine, control, path, ranks=ranks, **options)
    assert served.answer is not None, served.output
    assert [len(row) for row in served.answer] == [TOKENS] * len(PROMPTS)
    tokens: list[list[int]] = served.answer
    return tokens


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
        tokens = serve(engine, control, root / name, ranks=ranks, load_format="weightd", extra={"model": name})
    assert tokens == expected
    assert eventually(lambda: not leases(control))


def test_a_trained_encoder_says_the_same(engine: str, control: Control, root: Path) -> None:
    if engine == "sglang":
        pytest.skip("the attention of encoders needs its kernels")
    expected = run("vllm_embed", control, root / ENCODER)
    assert expected.answer is not None, expected.output
    assert len(expected.answer[0]) == 384 and expected.answer[0] != expected.answer[1]
    with attached(control, "vllm", 1):
        served = run("vllm_embed", control, root / ENCODER, load_format="weightd", extra={"model": ENCODER})
    assert served.answer == expected.answer, served.output


def test_policies_for_a_model_that_is_not_resident(engine: str, control: Control, root: Path) -> None:
    path, expected = root / "llama", serve(engine, control, root / "llama")

    def wanted(**extra: Any) -> dict[str, Any]:
        return {"ranks": 1, "load_format": "weightd", "extra": {"model": "llama", **extra}}

    with Daemon(root, root.parent / "run-empty") as empty:
        refused = run(engine, empty, path, **wanted())
        assert refused.answer is None and "NotResidentError" in refused.output

        from_disk = run(engine, empty, path, **wanted(policy="disk"))
        assert from_disk.answer == expected
        assert "is read from files" in from_disk.output
        assert not empty.json("ps").get("models")

        assert run(engine, empty, path, **wanted(policy="wait")).answer == expected
        assert [model["name"] for model in empty.json("ps")["models"]] == ["llama"]

        unknown = run(engine, empty, path, **wanted(polcy="wait"))
        assert unknown.answer is None and "polcy" in unknown.output
