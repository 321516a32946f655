"""The checkpoints that the C++ tests generate are real ones: the safetensors package reads them,
and what weightd stages of them is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from programs import Daemon, Tensor, assert_staged_equal, make_checkpoint, make_file, read_directory, read_file

SHARDED = ("--layout", "sharded", "--size", "24MiB", "--shards", "3")


def generate(layout: str, root: Path) -> tuple[str, dict[str, Tensor]]:
    """Makes one below `root`; returns the model's name and its tensors."""
    root.mkdir()
    if layout == "single":
        make_file(root / "one.safetensors", "24MiB")
        return "one", read_file(root / "one.safetensors")
    if layout == "sharded":
        make_checkpoint(root / "many", *SHARDED)
        return "many", read_directory(root / "many")
    make_checkpoint(root, "--layout", "hub", "--model", "org/name", "--size", "24MiB", "--shards", "3")
    (snapshot,) = (root / "models--org--name" / "snapshots").iterdir()
    return "org/name", read_directory(snapshot)


@pytest.mark.parametrize("layout", ["single", "sharded", "hub"])
def test_is_staged_as_safetensors_reads_it(layout: str, space: Path) -> None:
    root = space / layout
    model, expected = generate(layout, root)
    with Daemon(root, space / f"{layout}-run") as control:
        assert [found["name"] for found in control.json("ls")["models"]] == [model]
        control.ok("stage", model, "--wait")
        assert_staged_equal(control, model, expected)


def test_index_names_every_tensor_once_and_its_shard(space: Path) -> None:
    directory = space / "indexed" / "many"
    directory.parent.mkdir()
    make_checkpoint(directory, *SHARDED)
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    found = {
        name: path.name for path in directory.glob("*.safetensors") for name in read_file(path)
    }
    assert index["weight_map"] == found
    assert len(set(found.values())) == 3
