"""Hugging Face Transformers on weightd's memory, in the ways that the package's README documents."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
import transformers
import weightd
from accelerate import init_empty_weights
from programs import Control, eventually, leases
from small_models import ENCODER, PROMPTS, TEXTS, TOKENS

Load = Callable[[dict[str, torch.Tensor], Path], Any]
VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:2])
DTYPE = "dtype" if VERSION >= (4, 56) else "torch_dtype"


def writes(path: Path) -> bool:
    return path.name != ENCODER


def options(path: Path) -> dict[str, torch.dtype]:
    """The dtype of the checkpoint: another one needs a copy."""
    return {DTYPE: torch.bfloat16 if writes(path) else torch.float32}


def auto_class(path: Path) -> Any:
    return transformers.AutoModelForCausalLM if writes(path) else transformers.AutoModel


def by_state_dict(state: dict[str, torch.Tensor], path: Path) -> Any:
    """Transformers' own loading, which knows keys that were renamed since the model was saved."""
    config = transformers.AutoConfig.from_pretrained(path)
    model_class = getattr(transformers, config.architectures[0])
    return model_class.from_pretrained(None, config=config, state_dict=state, **options(path))


def by_assignment(state: dict[str, torch.Tensor], path: Path) -> Any:
    """PyTorch's, for any module."""
    config = transformers.AutoConfig.from_pretrained(path)
    with init_empty_weights():
        model = auto_class(path).from_config(config, **options(path))
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    return model.to("cpu")


@dataclass(frozen=True)
class Loaded:
    model: Any
    addresses: set[int]  # of the tensors that it was given

    def expect_no_copy(self) -> None:
        copied = [name for name, p in self.model.named_parameters() if p.data_ptr() not in self.addresses]
        assert not copied, f"were copied: {copied}"
        assert {buffer.device.type for buffer in self.model.buffers()} <= {"cpu"}


def from_weightd(load: Load, control: Control, root: Path, name: str) -> Loaded:
    with weightd.attach(name, device="cpu", socket_dir=str(control.socket_dir)) as m:
        state = m.torch()
        addresses = {tensor.data_ptr() for tensor in state.values()}
        return Loaded(load(state, root / name), addresses)


def tokens(model: Any) -> list[list[int]]:
    model.eval()
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False, pad_token_id=0,
            eos_token_id=None,
        )
        found.append(out[0, len(prompt) :].tolist())
    return found


@pytest.fixture(params=[by_state_dict, by_assignment])
def load(request: pytest.FixtureRequest) -> Any:
    if request.param is by_state_dict and VERSION < (5, 0):
        pytest.skip("copies before Transformers 5")
    return request.param


@pytest.mark.parametrize("name", ["llama", "llama-tied", "llama-sharded", "qwen2"])
def test_serves_the_same_tokens_without_a_copy(control: Control, root: Path, name: str, load: Load) -> None:
    loaded = from_weightd(load, control, root, name)
    from_disk = transformers.AutoModelForCausalLM.from_pretrained(root / name, **options(root / name))
    expected = tokens(from_disk)
    assert len({token for row in expected for token in row}) > 10, "the tokens say nothing"
    assert tokens(loaded.model) == expected
    loaded.expect_no_copy()


def test_a_trained_encoder_says_the_same(control: Control, root: Path, load: Load) -> None:
    loaded = from_weightd(load, control, root, ENCODER)
    from_disk = transformers.AutoModel.from_pretrained(root / ENCODER, **options(root / ENCODER))
    batch = transformers.AutoTokenizer.from_pretrained(root / ENCODER)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = from_disk.eval()(**batch).last_hidden_state
        assert torch.equal(loaded.model.eval()(**batch).last_hidden_state, expected)
    loaded.expect_no_copy()


def test_the_lease_lives_as_long_as_the_model(control: Control, root: Path, load: Load) -> None:
    gc.collect()
    assert eventually(lambda: not leases(control))
    loaded = from_weightd(load, control, root, "llama")
    gc.collect()
    assert [lease["model"] for lease in leases(control)] == ["llama"]
    assert tokens(loaded.model)
    del loaded
    gc.collect()
    assert eventually(lambda: not leases(control))
