"""Safetensors files, mapped: what ``policy="disk"`` falls back to.

Format: safetensors, https://github.com/huggingface/safetensors (8 bytes length, a JSON header, data).
"""

from __future__ import annotations

import glob
import json
import os
from typing import Optional

from weightd import _dtypes
from weightd._memory import CudaRegion, HostRegion, Region
from weightd._grant import TensorEntry
from weightd.errors import CheckpointError

_HEADER_BYTES_MAX = 100_000_000  # what the reference reader takes
_INDEX = "model.safetensors.index.json"


def shard_paths(path: str) -> list[str]:
    """The files of a checkpoint: those that its index names, or all of a directory."""
    if os.path.isfile(path):
        return [path]
    index = os.path.join(path, _INDEX)
    try:
        if os.path.isfile(index):
            with open(index, encoding="utf-8") as file:
                names = sorted(set(json.load(file)["weight_map"].values()))
            return [os.path.join(path, name) for name in names]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"read {index}: {error}") from None
    found = sorted(glob.glob(os.path.join(glob.escape(path), "*.safetensors")))
    if not found:
        raise CheckpointError(f"read {path}: no *.safetensors file there")
    return found


def read_files(
    path: str, ordinal: Optional[int]
) -> tuple[list[Region], dict[str, TensorEntry], dict[str, str]]:
    """Maps the files of a checkpoint, or copies them to a GPU; by name where each tensor lies."""
    regions: list[Region] = []
    entries: dict[str, TensorEntry] = {}
    metadata: dict[str, str] = {}
    try:
        for shard in shard_paths(path):
            try:
                region = HostRegion.of_file(shard)
            except OSError as error:
                raise CheckpointError(f"read {shard}: {error.strerror or error}") from None
            regions.append(region)
            _read_header(shard, region, len(regions) - 1, entries, metadata)
            if ordinal is not None:
                regions[-1] = CudaRegion(ordinal, region)
                region.close()
    except BaseException:
        for region_ in regions:
            region_.close()
        raise
    return regions, entries, metadata


def _read_header(
    path: str,
    region: HostRegion,
    index: int,
    entries: dict[str, TensorEntry],
    metadata: dict[str, str],
) -> None:
    length = int.from_bytes(region.read(0, min(8, region.nbytes)), "little")
    if region.nbytes < 8 or length > min(region.nbytes - 8, _HEADER_BYTES_MAX):
        raise CheckpointError(f"read {path}: not a safetensors file")
    try:
        header = json.loads(region.read(8, length))
        for name, value in header.pop("__metadata__", {}).items():
            metadata.setdefault(name, value)
        for name, found in header.items():
            entry = _entry(name, found, index, 8 + length)
            if entry.offset + entry.nbytes > region.nbytes:
                raise ValueError(f"tensor {name!r} ends behind the file")
            if name in entries:
                raise ValueError(f"tensor {name!r} is in another file too")
            entries[name] = entry
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"read {path}: {error}") from None


def _entry(name: str, found: dict[str, object], index: int, data_offset: int) -> TensorEntry:
    dtype = _dtypes.from_name(str(found["dtype"]))
    if dtype is None:
        raise ValueError(f"tensor {name!r}: dtype {found['dtype']!r} is unknown to this client")
    shape = tuple(int(dimension) for dimension in found["shape"])  # type: ignore[attr-defined]
    begin, end = (int(offset) for offset in found["data_offsets"])  # type: ignore[attr-defined]
    if begin < 0 or end - begin != dtype.nbytes(shape):
        raise ValueError(f"tensor {name!r}: {end - begin} bytes do not fit its shape and dtype")
    return TensorEntry(name, dtype, shape, index, data_offset + begin, end - begin, "", "")
