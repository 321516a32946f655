"""What the daemon grants, and what of it is believed: nothing that does not fit the rest.

The rules and the texts are those of the C++ client (client/cpp: grant_check.h, tensor_table.h,
attach_stream.h). Not thread-safe: one thread reads a grant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from weightd import _dtypes
from weightd.errors import ProtocolError
from weightd.v1 import weight_cache_pb2 as pb

# What limits.tensors_max of the daemon may be set to.
_TENSORS_MAX = 16_000_000
# A copy is one allocation, or some slabs.
_ALLOCATIONS_MAX = 4096
# Headers of shards have up to 100 MB each; no more than this is taken.
_METADATA_BYTES_MAX = 1 << 30
_INT64_MAX = (1 << 63) - 1


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies: ``nbytes`` at ``offset`` of an allocation, dense and row-major."""

    name: str
    dtype: _dtypes.DType
    shape: tuple[int, ...]
    region: int
    offset: int
    nbytes: int
    torch_dtype: str
    digest: str


class Grant:
    """A grant of ``asked``, as a request names models, and what comes after it."""

    def __init__(self, asked: str, granted: pb.Granted) -> None:
        _check_is_of(asked, granted)
        if granted.tensor_count > _TENSORS_MAX:
            raise _broken(f"it announces {granted.tensor_count} tensors, more than {_TENSORS_MAX}")
        if len(granted.allocations) > _ALLOCATIONS_MAX:
            raise _broken(f"it has {len(granted.allocations)} allocations, more than {_ALLOCATIONS_MAX}")
        self.granted = granted
        self.entries: dict[str, TensorEntry] = {}
        self._nbytes = 0
        self._metadata_nbytes = 0
        # Of a key and value that go on in the next piece.
        self._key = bytearray()
        self._value = bytearray()
        self._continues = False

    def add_metadata(self, batch: pb.MetadataBatch) -> None:
        for piece in batch.pieces:
            self._metadata_nbytes += len(piece.key) + len(piece.value)
            if self._metadata_nbytes > _METADATA_BYTES_MAX:
                raise _broken(f"metadata of more than {_METADATA_BYTES_MAX} bytes")
            self._key += piece.key
            self._value += piece.value
            self._continues = piece.continues
            if self._continues:
                continue
            try:
                self.granted.metadata[self._key.decode()] = self._value.decode()
            except UnicodeDecodeError as error:
                raise _broken(f"metadata is not UTF-8: {error}") from None
            self._key, self._value = bytearray(), bytearray()

    def add_tensors(self, batch: pb.TensorBatch) -> None:
        count = len(self.entries) + len(batch.tensors)
        if count > self.granted.tensor_count:
            raise _broken(f"{count} tensors came, announced were {self.granted.tensor_count}")
        for tensor in batch.tensors:
            entry = self._entry(tensor)
            if entry.name in self.entries:
                raise _malformed(tensor, "came twice")
            self.entries[entry.name] = entry
            self._nbytes += entry.nbytes

    def _entry(self, tensor: pb.Tensor) -> TensorEntry:
        allocations = self.granted.allocations
        dtype = _dtypes.from_value(tensor.dtype)
        if dtype is None:
            raise _malformed(tensor, f"dtype {tensor.dtype} is unknown to this client")
        shape = tuple(tensor.shape)
        if _nbytes(dtype, shape) != tensor.bytes:
            raise _malformed(tensor, f"{tensor.bytes} bytes do not fit its shape and dtype")
        if tensor.allocation_index >= len(allocations):
            raise _malformed(tensor, f"allocation {tensor.allocation_index} of {len(allocations)}")
        room = allocations[tensor.allocation_index].bytes
        if tensor.offset + tensor.bytes > room:
            raise _malformed(
                tensor, f"{tensor.bytes} bytes at {tensor.offset} end past its allocation of {room}"
            )
        if tensor.offset % dtype.alignment != 0:
            raise _malformed(tensor, f"offset {tensor.offset} is not aligned for its dtype")
        if max(shape, default=0) > _INT64_MAX:
            raise _malformed(tensor, f"dimension {max(shape)} is too large")
        return TensorEntry(
            tensor.name,
            dtype,
            shape,
            tensor.allocation_index,
            tensor.offset,
            tensor.bytes,
            tensor.torch_dtype,
            tensor.xxh3_128,
        )

    def check_complete(self) -> None:
        """That all of it came."""
        if self._continues:
            raise _broken("message `ready` out of order")
        granted = self.granted
        if len(self.entries) != granted.tensor_count or self._nbytes != granted.tensor_bytes:
            raise _broken(
                f"{len(self.entries)} tensors of {self._nbytes} bytes came, announced were "
                f"{granted.tensor_count} of {granted.tensor_bytes}"
            )


def _check_is_of(asked: str, granted: pb.Granted) -> None:
    """That it is of the model, the generation and, where all 40 digits of one are named, the commit
    that was asked for. What a branch or a part of a commit means only the daemon knows."""
    name, _, which = asked.partition("@")
    if granted.model != name:
        raise _other("model", granted.model, name)
    if re.fullmatch("[0-9a-f]{40}", which):
        if granted.revision != which:
            raise _other("revision", granted.revision, which)
    elif re.fullmatch("[0-9]{1,20}", which) and int(which) != granted.generation_id:
        raise _other("generation", str(granted.generation_id), which)


def _nbytes(dtype: _dtypes.DType, shape: tuple[int, ...]) -> int:
    """Bytes of a dense tensor; -1 where no tensor is so large, or it ends within a byte."""
    bits = 1
    for dimension in shape:
        bits *= dimension
        if bits > 8 * _INT64_MAX:
            return -1
    bits *= dtype.bits
    return bits // 8 if bits % 8 == 0 and bits <= 8 * _INT64_MAX else -1


def _broken(problem: str) -> ProtocolError:
    return ProtocolError(f"grant from weightd: {problem}")


def _other(what: str, got: str, wanted: str) -> ProtocolError:
    return _broken(f"it is of {what} {got!r}, asked for was {wanted!r}")


def _malformed(tensor: pb.Tensor, problem: str) -> ProtocolError:
    return _broken(f"tensor {tensor.name!r}: {problem}")
