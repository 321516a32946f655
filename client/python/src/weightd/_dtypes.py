"""Element types: what each is called on the wire, and by NumPy, PyTorch and DLPack.

The names are those of safetensors 0.8, and behind them what only .tensors files have
(proto/weightd/v1/weight_cache.proto, DType).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Sequence

from weightd.errors import UnsupportedDtypeError

# DLPack's DLDataTypeCode (dlpack.h 1.0).
_INT, _UINT, _FLOAT, _BFLOAT, _COMPLEX, _BOOL = 0, 1, 2, 4, 5, 6


@dataclass(frozen=True)
class DType:
    """One element type. ``bits`` of one element; below 8 they are packed without padding."""

    value: int  # on the wire
    name: str
    bits: int
    numpy: Optional[str] = None  # a type string of NumPy itself
    ml_dtypes: Optional[str] = None  # of the package ml_dtypes, which JAX brings
    torch: Optional[str] = None
    dlpack: Optional[int] = None  # type code; None: not for exchange

    @property
    def packed(self) -> bool:
        """Whether elements are smaller than a byte: such tensors are raw bytes to every library."""
        return self.bits < 8

    @property
    def alignment(self) -> int:
        """Of an element in memory, in bytes: a complex one is two numbers."""
        nbytes = max(self.bits // 8, 1)
        return nbytes // 2 if self.name in ("C32", "C64", "C128") else nbytes

    def nbytes(self, shape: Sequence[int]) -> int:
        """Bytes of a dense tensor."""
        count = self.bits
        for dimension in shape:
            count *= dimension
        return count // 8


_ALL = (
    DType(1, "BOOL", 8, numpy="|b1", torch="bool", dlpack=_BOOL),
    DType(2, "F4", 4),
    DType(3, "F6_E2M3", 6),
    DType(4, "F6_E3M2", 6),
    DType(5, "U8", 8, numpy="|u1", torch="uint8", dlpack=_UINT),
    DType(6, "I8", 8, numpy="|i1", torch="int8", dlpack=_INT),
    DType(7, "F8_E5M2", 8, ml_dtypes="float8_e5m2", torch="float8_e5m2"),
    DType(8, "F8_E4M3", 8, ml_dtypes="float8_e4m3fn", torch="float8_e4m3fn"),
    DType(9, "F8_E8M0", 8, ml_dtypes="float8_e8m0fnu", torch="float8_e8m0fnu"),
    DType(10, "F8_E4M3FNUZ", 8, ml_dtypes="float8_e4m3fnuz", torch="float8_e4m3fnuz"),
    DType(11, "F8_E5M2FNUZ", 8, ml_dtypes="float8_e5m2fnuz", torch="float8_e5m2fnuz"),
    DType(12, "I16", 16, numpy="<i2", torch="int16", dlpack=_INT),
    DType(13, "U16", 16, numpy="<u2", torch="uint16", dlpack=_UINT),
    DType(14, "F16", 16, numpy="<f2", torch="float16", dlpack=_FLOAT),
    DType(15, "BF16", 16, ml_dtypes="bfloat16", torch="bfloat16", dlpack=_BFLOAT),
    DType(16, "I32", 32, numpy="<i4", torch="int32", dlpack=_INT),
    DType(17, "U32", 32, numpy="<u4", torch="uint32", dlpack=_UINT),
    DType(18, "F32", 32, numpy="<f4", torch="float32", dlpack=_FLOAT),
    DType(19, "C64", 64, numpy="<c8", torch="complex64", dlpack=_COMPLEX),
    DType(20, "F64", 64, numpy="<f8", torch="float64", dlpack=_FLOAT),
    DType(21, "I64", 64, numpy="<i8", torch="int64", dlpack=_INT),
    DType(22, "U64", 64, numpy="<u8", torch="uint64", dlpack=_UINT),
    DType(23, "C32", 32, torch="complex32", dlpack=_COMPLEX),
    DType(24, "C128", 128, numpy="<c16", torch="complex128", dlpack=_COMPLEX),
    DType(25, "OPAQUE8", 8),
    DType(26, "OPAQUE16", 16),
    DType(27, "OPAQUE32", 32),
    DType(28, "OPAQUE64", 64),
)
_BY_VALUE = {dtype.value: dtype for dtype in _ALL}
_BY_NAME = {dtype.name: dtype for dtype in _ALL}


def from_value(value: int) -> Optional[DType]:
    """The type that the protocol calls so, or None."""
    return _BY_VALUE.get(value)


def from_name(name: str) -> Optional[DType]:
    """The type that a safetensors header calls so, or None."""
    return _BY_NAME.get(name)


def numpy_dtype(dtype: DType, tensor: str) -> Any:
    """As a ``numpy.dtype``; :class:`UnsupportedDtypeError` where neither NumPy nor ml_dtypes has it."""
    import numpy

    if dtype.numpy is not None:
        return numpy.dtype(dtype.numpy)
    if dtype.ml_dtypes is not None:
        try:
            import ml_dtypes

            return numpy.dtype(getattr(ml_dtypes, dtype.ml_dtypes))
        except (ImportError, AttributeError):
            pass
    hint = "install ml_dtypes, or take its bytes with" if dtype.ml_dtypes else "take its bytes with"
    raise UnsupportedDtypeError(
        f"tensor {tensor!r}: NumPy has no {dtype.name}; {hint} .raw()", tensor=tensor
    )


def torch_dtype(dtype: DType, torch_name: str, tensor: str) -> Any:
    """As a ``torch.dtype``; ``torch_name`` is what an opaque type is called there."""
    import torch

    name = torch_name.removeprefix("torch.") if torch_name else dtype.torch
    found = getattr(torch, name, None) if name else None
    if isinstance(found, torch.dtype):
        return found
    what = f"has no {name}" if name else f"has no {dtype.name}"
    raise UnsupportedDtypeError(
        f"tensor {tensor!r}: PyTorch {torch.__version__} {what}; a newer one may, "
        "or take its bytes with .raw()",
        tensor=tensor,
    )
