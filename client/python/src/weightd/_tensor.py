"""One tensor of an attached model, for every library that can take it without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from weightd import _dlpack, _dtypes
from weightd._lease import Lease
from weightd._grant import TensorEntry
from weightd.errors import UnsupportedDtypeError

if TYPE_CHECKING:
    import jax
    import numpy
    import torch


class Tensor:
    """A tensor in memory that many processes share: read-only by contract.

    Writing to it ends this process on the host (the pages are mapped for reading) and corrupts every
    other client's weights on a GPU. Whatever is made of it without a copy keeps memory and lease.
    Thread-safe.
    """

    __slots__ = ("_lease", "_entry")

    def __init__(self, lease: Lease, entry: TensorEntry) -> None:
        self._lease = lease
        self._entry = entry

    @property
    def name(self) -> str:
        return self._entry.name

    @property
    def dtype(self) -> str:
        """As safetensors calls it: ``"BF16"``. ``"OPAQUE8"`` to ``"OPAQUE64"``: see torch_dtype."""
        return self._entry.dtype.name

    @property
    def torch_dtype(self) -> str:
        """``"torch.uint4"``, of opaque dtypes only."""
        return self._entry.torch_dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._entry.shape

    @property
    def strides(self) -> tuple[int, ...]:
        """In elements, outermost first: dense and row-major."""
        strides = []
        step = 1
        for dimension in reversed(self._entry.shape):
            strides.append(step)
            step *= max(dimension, 1)
        return tuple(reversed(strides))

    @property
    def nbytes(self) -> int:
        return self._entry.nbytes

    @property
    def digest(self) -> str:
        """XXH3-128 of its bytes, 32 hexadecimal digits; empty where the stage made none."""
        return self._entry.digest

    @property
    def device(self) -> str:
        """``"cpu"`` or ``"cuda:0"``, as this process counts its GPUs."""
        ordinal = self._region.ordinal
        return "cpu" if ordinal is None else f"cuda:{ordinal}"

    @property
    def data_ptr(self) -> int:
        """Its address: on the host, or on the GPU."""
        self._lease.check_usable()
        return int(self._region.address) + self._entry.offset

    @property
    def _region(self) -> Any:
        return self._lease.regions[self._entry.region]

    def tobytes(self) -> bytes:
        """A copy of its bytes, from the GPU too."""
        self._lease.check_usable()
        return bytes(self._region.read(self._entry.offset, self._entry.nbytes))

    def raw(self) -> memoryview:
        """Its bytes, without a copy and read-only: every dtype, the bit-packed ones included. Host
        memory only."""
        if self._entry.nbytes == 0:
            return memoryview(b"")
        whole = memoryview(self._lease.buffer(self._entry.region)).cast("B")
        return whole[self._entry.offset : self._entry.offset + self._entry.nbytes].toreadonly()

    def numpy(self) -> numpy.ndarray:
        """As a read-only array, without a copy. BF16 and FP8 need the package ml_dtypes. Host memory
        only."""
        import numpy

        dtype = _dtypes.numpy_dtype(self._entry.dtype, self.name)
        return numpy.frombuffer(self.raw(), dtype).reshape(self.shape)

    def torch(self) -> torch.Tensor:
        """As a PyTorch tensor on its device, without a copy. Bit-packed dtypes come as their bytes,
        ``torch.uint8`` of one dimension."""
        return TorchBytes(self._lease, self._entry.region).tensor(self._entry)

    def jax(self) -> jax.Array:
        """As a JAX array. JAX wants 64-byte alignment on the CPU and copies what has less."""
        import jax.dlpack

        array: jax.Array = jax.dlpack.from_dlpack(self)
        return array

    def __dlpack_device__(self) -> tuple[int, int]:
        ordinal = self._region.ordinal
        return (_dlpack.CPU, 0) if ordinal is None else (_dlpack.CUDA, ordinal)

    def __dlpack__(
        self,
        *,
        stream: Optional[int] = None,
        max_version: Optional[tuple[int, int]] = None,
        dl_device: Optional[tuple[int, int]] = None,
        copy: Optional[bool] = None,
    ) -> Any:
        # `stream` needs nothing: the memory was complete before anybody got it.
        dtype = self._entry.dtype
        if dl_device is not None and dl_device != self.__dlpack_device__():
            raise BufferError(f"tensor {self.name!r} is on {self.device}, and is not copied")
        if copy:
            raise BufferError(f"tensor {self.name!r} is shared memory, and is not copied")
        if dtype.dlpack is None:
            raise UnsupportedDtypeError(
                f"tensor {self.name!r}: DLPack has no {dtype.name}; take its bytes with .raw(), or "
                "use .torch()",
                tensor=self.name,
            )
        return _dlpack.capsule(
            self._lease,
            self.data_ptr,
            self.__dlpack_device__(),
            dtype.dlpack,
            dtype.bits,
            self.shape,
            self.strides,
            max_version,
        )

    def _interface(self, read_only: bool) -> dict[str, Any]:
        # AttributeError: NumPy and CuPy look for the attribute, and go on without.
        if self._entry.dtype.numpy is None:
            raise AttributeError(
                f"tensor {self.name!r}: NumPy has no {self.dtype}; use .numpy() or .torch()"
            )
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self._entry.dtype.numpy,
            "strides": None,
            # NumPy refuses a null pointer, of no elements too.
            "data": (self.data_ptr or 1, read_only),
        }

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self._region.ordinal is not None:
            raise AttributeError(f"tensor {self.name!r} is on {self.device}")
        return self._interface(read_only=True)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self._region.ordinal is None:
            raise AttributeError(f"tensor {self.name!r} is in host memory")
        # Not marked: PyTorch refuses what is, since it has no read-only tensors.
        return self._interface(read_only=False)

    def __repr__(self) -> str:
        return f"<weightd.Tensor {self.name!r} {self.dtype} {list(self.shape)} on {self.device}>"


class _CudaBytes:
    """All bytes of a region on a GPU, for torch.as_tensor()."""

    def __init__(self, lease: Lease, index: int) -> None:
        self._lease = lease
        region = lease.regions[index]
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": (region.nbytes,),
            "typestr": "|u1",
            "strides": None,
            "data": (region.address, False),
        }


class TorchBytes:
    """All bytes of a region as one tensor, of which the others are views: they share one storage."""

    def __init__(self, lease: Lease, index: int) -> None:
        import torch

        lease.check_usable()
        self._torch = torch
        region = lease.regions[index]
        if region.nbytes == 0:
            self._all = torch.empty(0, dtype=torch.uint8)
        elif region.ordinal is None:
            self._all = torch.frombuffer(lease.buffer(index), dtype=torch.uint8)
        else:
            self._all = torch.as_tensor(_CudaBytes(lease, index), device=f"cuda:{region.ordinal}")

    def tensor(self, entry: TensorEntry) -> torch.Tensor:
        data = self._all[entry.offset : entry.offset + entry.nbytes]
        if entry.dtype.packed:
            return data
        dtype = _dtypes.torch_dtype(entry.dtype, entry.torch_dtype, entry.name)
        if entry.nbytes == 0:
            return self._torch.empty(entry.shape, dtype=dtype, device=data.device)
        return data.view(dtype).view(entry.shape)
