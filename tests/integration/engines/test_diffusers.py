"""Hugging Face Diffusers on weightd's memory, by the lines that the package's README documents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import weightd
from accelerate import init_empty_weights
from programs import Control, Daemon

diffusers = pytest.importorskip("diffusers")


def test_a_unet_without_a_copy(root: Path) -> None:
    space = root.parent / "diffusers"
    torch.manual_seed(3)
    made = diffusers.UNet2DModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    made.save_pretrained(space / "unet")
    sample, step = torch.randn(1, 3, 16, 16), torch.tensor([10])
    with Daemon(space, root.parent / "run-diffusers") as control:
        control.ok("stage", "unet", "--wait")
        assert_same(control, space, sample, step)


def assert_same(control: Control, space: Path, sample: torch.Tensor, step: torch.Tensor) -> None:
    with init_empty_weights():
        model = diffusers.UNet2DModel.from_config(diffusers.UNet2DModel.load_config(space / "unet"))
    with weightd.attach("unet", device="cpu", socket_dir=str(control.socket_dir)) as m:
        state = m.torch()
        model.load_state_dict(state, strict=False, assign=True)
    addresses = {tensor.data_ptr() for tensor in state.values()}
    assert all(parameter.data_ptr() in addresses for parameter in model.parameters())
    from_disk = diffusers.UNet2DModel.from_pretrained(space / "unet")
    with torch.no_grad():
        assert torch.equal(model.eval()(sample, step).sample, from_disk.eval()(sample, step).sample)
