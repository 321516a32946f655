"""Memory that tensors lie in: mapped from the daemon, or read from files.

A region is mapped when it is made and let go by ``close()``, which whoever owns it calls once.
Thread-safe: what is mapped does not change.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from typing import Any, Optional, Protocol

from weightd import _cuda
from weightd.errors import DeviceError, ProtocolError

_PROT_READ = 1
_MAP_SHARED = 1
_MAP_PRIVATE = 2
_MAP_NORESERVE = 0x4000
# fcntl.h; the module has them from Python 3.9 on, but not on every build.
_F_GET_SEALS = 1034
_SEAL_SHRINK, _SEAL_GROW, _SEAL_WRITE, _SEAL_FUTURE_WRITE = 2, 4, 8, 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_MAP_FAILED = ctypes.c_void_p(-1).value


class Region(Protocol):
    """``nbytes`` of memory at ``address``; ``ordinal`` of its GPU, None for host memory."""

    address: int
    nbytes: int
    ordinal: Optional[int]

    def read(self, offset: int, nbytes: int) -> bytes: ...

    def buffer(self, owner: object) -> Any:
        """A writable-looking buffer of all of it that keeps ``owner`` alive; host memory only."""

    def close(self) -> None: ...


def _map(nbytes: int, flags: int, descriptor: int, what: str) -> int:
    address = _libc.mmap(None, nbytes, _PROT_READ, flags, descriptor, 0)
    if address == _MAP_FAILED:
        error = ctypes.get_errno()
        raise OSError(error, f"map {nbytes} bytes of {what}: {os.strerror(error)}")
    return int(address)


class HostRegion:
    """Pages of this process that may be read and not written."""

    ordinal: Optional[int] = None

    def __init__(self, address: int, nbytes: int) -> None:
        self.address = address
        self.nbytes = nbytes
        self._type: Any = type("_Bytes", (ctypes.c_ubyte * nbytes,), {})

    @classmethod
    def of_memfd(cls, descriptor: int, nbytes: int) -> HostRegion:
        """Maps what the daemon sealed: nobody, the daemon included, can change it any more."""
        try:
            seals = fcntl.fcntl(descriptor, _F_GET_SEALS)
        except OSError:
            raise ProtocolError("descriptor from weightd: not a memfd") from None
        if not seals & _SEAL_SHRINK or not seals & _SEAL_GROW:
            raise ProtocolError("descriptor from weightd: not sealed against resizing")
        if not seals & (_SEAL_WRITE | _SEAL_FUTURE_WRITE):
            raise ProtocolError("descriptor from weightd: not sealed against writing")
        size = os.fstat(descriptor).st_size
        if size < nbytes:
            raise ProtocolError(f"descriptor from weightd: has {size} bytes, announced were {nbytes}")
        if nbytes == 0:
            return cls(0, 0)
        try:
            address = _map(nbytes, _MAP_SHARED, descriptor, "host memory")
        except OSError as error:
            if error.errno != errno.EPERM:
                raise DeviceError(str(error)) from None
            # Before Linux 6.7 a memfd under F_SEAL_WRITE that was opened for writing cannot be mapped
            # shared, not even for reading. A private mapping that is never written has the same pages.
            address = _map(nbytes, _MAP_PRIVATE | _MAP_NORESERVE, descriptor, "host memory")
        return cls(address, nbytes)

    @classmethod
    def of_file(cls, path: str) -> HostRegion:
        """Maps a file of the volume."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            nbytes = os.fstat(descriptor).st_size
            if nbytes == 0:
                return cls(0, 0)
            return cls(_map(nbytes, _MAP_PRIVATE | _MAP_NORESERVE, descriptor, path), nbytes)
        finally:
            os.close(descriptor)

    def read(self, offset: int, nbytes: int) -> bytes:
        return ctypes.string_at(self.address + offset, nbytes) if nbytes else b""

    def buffer(self, owner: object) -> Any:
        buffer = self._type.from_address(self.address)
        buffer.owner = owner
        return buffer

    def close(self) -> None:
        if self.address != 0:
            _libc.munmap(self.address, self.nbytes)


class _GpuRegion:
    """What all GPU memory here has: a context, and bytes that are copied out to be read."""

    def __init__(self, ordinal: int, nbytes: int) -> None:
        self.nbytes = nbytes
        self.ordinal: Optional[int] = ordinal
        self.address = 0
        self._context = _cuda.Context(ordinal)

    def read(self, offset: int, nbytes: int) -> bytes:
        return self._context.copy_out(self.address + offset, nbytes) if nbytes else b""

    def buffer(self, owner: object) -> Any:
        raise TypeError("GPU memory has no buffer of the host")

    def _give_back(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        if self.address:
            self._give_back()
        self._context.release()


class CudaIpcRegion(_GpuRegion):
    """GPU memory of the daemon, opened here. CUDA maps it writable; writing it is a bug that every
    other client sees."""

    def __init__(self, uuid: str, handle: bytes, nbytes: int) -> None:
        if len(handle) != _cuda.IPC_HANDLE_BYTES:
            raise ProtocolError(
                f"grant from weightd: CUDA IPC handle of {len(handle)} bytes, "
                f"expected {_cuda.IPC_HANDLE_BYTES}"
            )
        super().__init__(_cuda.driver().ordinal_of(uuid), nbytes)
        try:
            self.address = self._context.open_ipc(handle)
        except BaseException:
            self.close()
            raise

    def _give_back(self) -> None:
        self._context.close_ipc(self.address)


class CudaRegion(_GpuRegion):
    """GPU memory of this process, filled from host memory: for models that are read from files."""

    def __init__(self, ordinal: int, source: HostRegion) -> None:
        super().__init__(ordinal, source.nbytes)
        try:
            if self.nbytes:
                self.address = self._context.allocate(self.nbytes)
                self._context.copy_in(self.address, source.address, self.nbytes)
        except BaseException:
            self.close()
            raise

    def _give_back(self) -> None:
        self._context.free(self.address)
