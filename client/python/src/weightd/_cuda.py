"""The CUDA driver API through ctypes: no toolkit, no CuPy, no PyTorch needed.

Entry points are those of libcuda.so.1 (CUDA driver API reference); names with ``_v2`` are what
cuda.h maps the plain ones to.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from typing import Iterator, Optional

from weightd.errors import DeviceError, DeviceNotFoundError, HandleUnusableError

IPC_HANDLE_BYTES = 64  # CU_IPC_HANDLE_SIZE
_IPC_LAZY_PEER_ACCESS = 1  # CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS


class _IpcHandle(ctypes.Structure):
    # Passed by value.
    _fields_ = [("reserved", ctypes.c_ubyte * IPC_HANDLE_BYTES)]


_SIGNATURES = {
    "cuInit": [ctypes.c_uint],
    "cuGetErrorName": [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
    "cuGetErrorString": [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
    "cuDeviceGetCount": [ctypes.POINTER(ctypes.c_int)],
    "cuDeviceGet": [ctypes.POINTER(ctypes.c_int), ctypes.c_int],
    "cuDeviceGetUuid_v2": [ctypes.c_char_p, ctypes.c_int],
    "cuDevicePrimaryCtxRetain": [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int],
    "cuDevicePrimaryCtxRelease_v2": [ctypes.c_int],
    "cuCtxPushCurrent_v2": [ctypes.c_void_p],
    "cuCtxPopCurrent_v2": [ctypes.POINTER(ctypes.c_void_p)],
    "cuIpcOpenMemHandle_v2": [ctypes.POINTER(ctypes.c_uint64), _IpcHandle, ctypes.c_uint],
    "cuIpcCloseMemHandle": [ctypes.c_uint64],
    "cuMemAlloc_v2": [ctypes.POINTER(ctypes.c_uint64), ctypes.c_size_t],
    "cuMemFree_v2": [ctypes.c_uint64],
    "cuMemcpyHtoD_v2": [ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t],
    "cuMemcpyDtoH_v2": [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t],
}


class Driver:
    """The driver of this process, initialised. Use :func:`driver`. Thread-safe."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise DeviceNotFoundError(f"load the CUDA driver: {error}") from None
        for name, arguments in _SIGNATURES.items():
            try:
                function = getattr(self._library, name)
            except AttributeError:
                raise DeviceNotFoundError(
                    f"the CUDA driver of this node is too old: it has no {name}"
                ) from None
            function.argtypes = arguments
            function.restype = ctypes.c_int
        self.call("cuInit", 0, what="initialise the CUDA driver")

    def call(self, name: str, *arguments: object, what: str) -> None:
        """Calls ``name``; :class:`DeviceError` with the driver's text for anything but success."""
        result = getattr(self._library, name)(*arguments)
        if result != 0:
            raise DeviceError(f"{what}: {self._text(result)}")

    def _text(self, result: int) -> str:
        name, text = ctypes.c_char_p(), ctypes.c_char_p()
        self._library.cuGetErrorName(result, ctypes.byref(name))
        self._library.cuGetErrorString(result, ctypes.byref(text))
        known = (name.value or b"CUDA error %d" % result).decode()
        return f"{known} ({(text.value or b'no text').decode()})"

    def uuids(self) -> list[str]:
        """Of the GPUs that this process sees, in the order of their ordinals: ``GPU-...``."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count), what="count the GPUs")
        return [self._uuid(self._device(ordinal)) for ordinal in range(count.value)]

    def _device(self, ordinal: int) -> int:
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), ordinal, what=f"get GPU {ordinal}")
        return device.value

    def _uuid(self, device: int) -> str:
        raw = ctypes.create_string_buffer(16)
        self.call("cuDeviceGetUuid_v2", raw, device, what="get a GPU's UUID")
        digits = raw.raw.hex()
        parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        return "GPU-" + "-".join(parts)

    def ordinal_of(self, uuid: str) -> int:
        """The GPU's number in this process; :class:`DeviceNotFoundError` where it does not see it."""
        visible = self.uuids()
        if uuid not in visible:
            raise DeviceNotFoundError(
                f"open memory on {uuid}: this process sees {len(visible)} GPUs and not that one; "
                "check CUDA_VISIBLE_DEVICES or ask for a device that it sees"
            )
        return visible.index(uuid)


_driver: Optional[Driver] = None
_driver_lock = threading.Lock()


def driver() -> Driver:
    """Loads the driver on the first call. A failure is not kept: the next call tries again."""
    global _driver
    with _driver_lock:
        if _driver is None:
            _driver = Driver()
        return _driver


class Context:
    """A reference to a GPU's primary context: the one that PyTorch and the CUDA runtime use."""

    def __init__(self, ordinal: int) -> None:
        self._driver = driver()
        self.ordinal = ordinal
        self._device = self._driver._device(ordinal)
        self._context = ctypes.c_void_p()
        self._driver.call(
            "cuDevicePrimaryCtxRetain",
            ctypes.byref(self._context),
            self._device,
            what=f"retain the primary context of GPU {ordinal}",
        )

    def release(self) -> None:
        # Fails only when the driver is shutting down, and then nothing is held any more.
        self._driver._library.cuDevicePrimaryCtxRelease_v2(self._device)

    @contextmanager
    def current(self) -> Iterator[Driver]:
        """Makes it current on this thread."""
        self._driver.call("cuCtxPushCurrent_v2", self._context, what="make a context current")
        try:
            yield self._driver
        finally:
            popped = ctypes.c_void_p()
            self._driver._library.cuCtxPopCurrent_v2(ctypes.byref(popped))

    def open_ipc(self, handle: bytes) -> int:
        """The address of memory that another process exported."""
        address = ctypes.c_uint64()
        packed = _IpcHandle.from_buffer_copy(handle)
        with self.current() as driver:
            try:
                driver.call(
                    "cuIpcOpenMemHandle_v2",
                    ctypes.byref(address),
                    packed,
                    _IPC_LAZY_PEER_ACCESS,
                    what="open a CUDA IPC handle",
                )
            except DeviceError as error:
                raise HandleUnusableError(
                    f"{error}; a process opens only memory of weightd in the same PID namespace"
                ) from None
        return address.value

    def close_ipc(self, address: int) -> None:
        with self.current() as driver:
            driver._library.cuIpcCloseMemHandle(address)

    def allocate(self, nbytes: int) -> int:
        address = ctypes.c_uint64()
        with self.current() as driver:
            driver.call(
                "cuMemAlloc_v2", ctypes.byref(address), nbytes, what=f"allocate {nbytes} bytes of GPU memory"
            )
        return address.value

    def free(self, address: int) -> None:
        with self.current() as driver:
            driver._library.cuMemFree_v2(address)

    def copy_in(self, address: int, source: int, nbytes: int) -> None:
        with self.current() as driver:
            driver.call(
                "cuMemcpyHtoD_v2", address, source, nbytes, what=f"copy {nbytes} bytes to the GPU"
            )

    def copy_out(self, address: int, nbytes: int) -> bytes:
        buffer = ctypes.create_string_buffer(nbytes)
        with self.current() as driver:
            driver.call(
                "cuMemcpyDtoH_v2", buffer, address, nbytes, what=f"copy {nbytes} bytes from the GPU"
            )
        return buffer.raw
