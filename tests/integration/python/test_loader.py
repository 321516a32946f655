"""The part of the engines' loaders that is ours, between a double of an engine and a real daemon. The
engines themselves: tests/engines.sh."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch
import weightd
from programs import Control, Daemon, eventually, leases
from weightd import errors
from weightd.engines._loader import WeightdSource

MAIN = {"a": checkpoints.stored("F32", [3, 5]), "b": checkpoints.stored("BF16", [7])}
ENCODER = {"w": checkpoints.stored("F16", [4])}


@dataclass
class LoadConfig:
    load_format: str = "weightd"
    model_loader_extra_config: dict[str, Any] = field(default_factory=dict)


@dataclass
class Source:
    model_or_path: str
    revision: str | None = None
    prefix: str = ""
    subfolder: str | None = None


class DefaultModelLoader:
    """As vLLM and SGLang have it: reads the files of each source of a model."""

    def __init__(self, load_config: LoadConfig) -> None:
        assert load_config == LoadConfig("auto", {}), "it reads files, and refuses options it does not know"

    def _get_weights_iterator(self, source: Source) -> Iterator[tuple[str, Any]]:
        yield source.prefix + "of the files", source.model_or_path

    def get_all_weights(self, sources: list[Source]) -> Iterator[tuple[str, Any]]:
        for source in sources:
            yield from self._get_weights_iterator(source)


class Loader(WeightdSource, DefaultModelLoader):
    client_name = "double"

    def ranks(self) -> int:
        return 1

    def load(self, model: torch.nn.Module, *sources: Source) -> dict[str, Any]:
        weights = self.weights_of(model, sources[0].model_or_path, self.get_all_weights(list(sources)))
        # The engine has a copy of its own.
        return {name: as_bytes(tensor) for name, tensor in weights}


def as_bytes(tensor: Any) -> Any:
    if isinstance(tensor, str):
        return tensor
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def loader(**extra: Any) -> Loader:
    return Loader(LoadConfig(model_loader_extra_config=extra))


@pytest.fixture(scope="module")
def control(space: Path) -> Iterator[Control]:
    root = space / "loader"
    root.mkdir()
    checkpoints.write(root / "main.safetensors", MAIN)
    checkpoints.write(root / "encoder.safetensors", ENCODER)
    checkpoints.write(root / "cold.safetensors", ENCODER)
    with pytest.MonkeyPatch.context() as patch, Daemon(root, space / "loader-run") as control:
        control.ok("stage", "main", "--wait")
        control.ok("stage", "encoder", "--wait")
        patch.setenv("WEIGHTD_SOCKET_DIR", str(control.socket_dir))
        yield control


@pytest.fixture
def model() -> torch.nn.Module:
    return torch.nn.Linear(1, 1)


def nothing_is_leased(control: Control) -> bool:
    gc.collect()
    return eventually(lambda: leases(control) == [])


def test_gives_every_source_with_its_prefix(control: Control, model: torch.nn.Module) -> None:
    # The name that is given is that of the model, not of the encoder that belongs to it.
    loaded = loader(model="main").load(model, Source("/models/m"), Source("encoder", prefix="enc."))
    assert loaded == {"a": MAIN["a"].data, "b": MAIN["b"].data, "enc.w": ENCODER["w"].data}
    assert nothing_is_leased(control)


def test_keeps_the_lease_as_long_as_the_model_where_it_is_asked_to(control: Control, model: torch.nn.Module) -> None:
    loader(keep_lease=True).load(model, Source("main"), Source("encoder", prefix="enc."))
    gc.collect()
    assert sorted(lease["model"] for lease in leases(control)) == ["encoder", "main"]
    assert {lease["client_name"] for lease in leases(control)} == {"double"}
    assert list(model.state_dict()) == ["weight", "bias"], "no part of the module's state"
    del model.weightd_attachments
    assert nothing_is_leased(control)


def test_what_is_not_resident_is_refused(control: Control, model: torch.nn.Module) -> None:
    with pytest.raises(errors.ModelNotResidentError, match="cold"):
        loader().load(model, Source("cold"))


def test_disk_is_the_engines_own_loader(control: Control, model: torch.nn.Module) -> None:
    with pytest.warns(weightd.FallbackWarning, match="cold is read from files"):
        loaded = loader(policy="disk").load(model, Source("main"), Source("cold", prefix="c."))
    assert loaded == {"a": MAIN["a"].data, "b": MAIN["b"].data, "c.of the files": "cold"}
    assert nothing_is_leased(control)


def test_a_part_of_a_model_is_refused(control: Control, model: torch.nn.Module) -> None:
    with pytest.raises(errors.InvalidRequestError, match="subfolder text alone"):
        loader().load(model, Source("main", subfolder="text"))
