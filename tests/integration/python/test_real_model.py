"""all-MiniLM-L6-v2 as its users have it: staged, attached to, and compared with what the real
safetensors package reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors
from checkpoints import packaged_model
from programs import Control, Daemon, Tensor, assert_staged_equal, read_file

MODEL = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return read_file(packaged_model() / "model.safetensors")


@pytest.fixture(scope="module")
def control(space: Path) -> Iterator[Control]:
    root = space / "root"
    directory = root / MODEL
    directory.mkdir(parents=True)
    for file in packaged_model().iterdir():
        if file.is_file():
            (directory / file.name).write_bytes(file.read_bytes())
    with Daemon(root, space / "run") as control:
        control.ok("stage", MODEL, "--wait")
        yield control


def test_the_package_carries_the_model_we_think(expected: dict[str, Tensor]) -> None:
    assert len(expected) > 100
    assert expected["embeddings.word_embeddings.weight"].shape == [30522, 384]
    assert sum(len(tensor.data) for tensor in expected.values()) > 90_000_000


def test_every_tensor_is_what_safetensors_reads(control: Control, expected: dict[str, Tensor]) -> None:
    assert_staged_equal(control, MODEL, expected)


def test_bytes_give_the_array_that_safe_open_gives(control: Control) -> None:
    name = "encoder.layer.5.output.dense.weight"
    with safetensors.safe_open(packaged_model() / "model.safetensors", framework="numpy") as file:
        array = file.get_tensor(name)
    assert control.ok("read", MODEL, name) == array.tobytes()


def test_is_listed_as_resident(control: Control) -> None:
    (model,) = control.json("ps")["models"]
    (generation,) = model["generations"]
    assert (model["name"], generation["state"]) == (MODEL, "RESIDENT")
