"""DLPack capsules (dmlc/dlpack, dlpack.h): how libraries hand tensors to each other without a copy.

What a consumer frees, it may free on any thread and after the interpreter's end. So the structures
are malloc'ed, and at exit the deleters of those that are still out are replaced by one that does
nothing.
"""

from __future__ import annotations

import atexit
import ctypes
from typing import Any, Optional, Sequence

CPU = 1  # kDLCPU
CUDA = 2  # kDLCUDA
_FLAG_READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY
_VERSION = (1, 0)


class _Device(ctypes.Structure):
    _fields_ = [("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_libc = ctypes.CDLL(None)
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]
_NOTHING = ctypes.cast(_libc.getpid, ctypes.c_void_p).value  # takes what it is given, and ignores it

_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_api.PyCapsule_IsValid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]

# By address of the structure: the structure, and what has to live as long.
_out: dict[int, tuple[Any, object]] = {}


def _delete_managed(address: int) -> None:
    _out.pop(address, None)
    _libc.free(address)


def _destroy_unused(capsule: int) -> None:
    # One that was consumed has another name, and its consumer deletes.
    for name in (b"dltensor", b"dltensor_versioned"):
        if _api.PyCapsule_IsValid(capsule, name):
            _delete_managed(_api.PyCapsule_GetPointer(capsule, name))


_Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_delete, _destroy_capsule = _Function(_delete_managed), _Function(_destroy_unused)


@atexit.register
def _release_deleters() -> None:
    for managed, _ in _out.values():
        managed.deleter = _NOTHING


def _allocate(kind: Any, dimensions: int) -> tuple[int, Any, Any]:
    """The structure, and behind it room for shape and strides."""
    room = ctypes.sizeof(kind)
    address = _libc.malloc(room + 2 * dimensions * ctypes.sizeof(ctypes.c_int64))
    if not address:
        raise MemoryError("DLPack structure")
    ctypes.memset(address, 0, room)
    numbers = (ctypes.c_int64 * (2 * dimensions)).from_address(address + room)
    return address, kind.from_address(address), numbers


def capsule(
    owner: object,
    address: int,
    device: tuple[int, int],
    code: int,
    bits: int,
    shape: Sequence[int],
    strides: Sequence[int],
    max_version: Optional[tuple[int, int]],
) -> Any:
    """A capsule over memory that lives as long as ``owner``. ``strides`` count elements."""
    versioned = max_version is not None and max_version[0] >= _VERSION[0]
    kind = _Versioned if versioned else _Managed
    dimensions = len(shape)
    place, managed, numbers = _allocate(kind, dimensions)
    numbers[:] = [*shape, *strides]
    tensor = managed.tensor
    tensor.data = address
    tensor.device.device_type, tensor.device.device_id = device
    tensor.ndim = dimensions
    tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = code, bits, 1
    first = ctypes.addressof(numbers)
    integers = ctypes.POINTER(ctypes.c_int64)
    tensor.shape = ctypes.cast(first, integers)
    tensor.strides = ctypes.cast(first + dimensions * ctypes.sizeof(ctypes.c_int64), integers)
    managed.deleter = ctypes.cast(_delete, ctypes.c_void_p).value
    if versioned:
        managed.major, managed.minor = _VERSION
        managed.flags = _FLAG_READ_ONLY
    _out[place] = (managed, owner)
    name = b"dltensor_versioned" if versioned else b"dltensor"
    return _api.PyCapsule_New(place, name, ctypes.cast(_destroy_capsule, ctypes.c_void_p))
