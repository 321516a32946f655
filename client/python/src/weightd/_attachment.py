"""Attaching: from a model's name to tensors in this process's memory."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Optional, Union

from weightd import _cuda, _sockets
from weightd._files import read_files
from weightd._grant import TensorEntry
from weightd._lease import Lease
from weightd._memory import CudaIpcRegion, HostRegion, Region
from weightd._stream import AttachStream, Notice, Progress, QueueFullError
from weightd._tensor import Tensor, TorchBytes
from weightd.errors import (
    ClosedError,
    InvalidRequestError,
    ProtocolError,
    UnsupportedDtypeError,
    WaitTimeoutError,
    WeightdError,
)
from weightd.v1 import weight_cache_pb2 as pb

if TYPE_CHECKING:
    import torch

POLICIES = {"require": pb.REQUIRE, "wait": pb.WAIT, "disk": pb.REQUIRE}
# For connecting and for what the daemon has to send.
_ANSWER_SECONDS = 10.0
# For the daemon to say that the time is over.
_LATE_SECONDS = 1.0
# Until gRPC tries again where the queue of the daemon's socket is full.
_QUEUE_PAUSE_SECONDS = 0.02
# For staging, with policy "wait"; the daemon takes a day at most.
_STAGE_SECONDS = 600.0
_STAGE_SECONDS_MAX = 86_400.0

PathLike = Union[str, "os.PathLike[str]"]


class FallbackWarning(UserWarning):
    """``policy="disk"``: the model was read from files, since weightd could not give it."""


class Attachment(Mapping[str, Tensor]):
    """An attached model: a read-only mapping of names to :class:`Tensor`, in the order of the file.

    ``close()``, or the end of the ``with`` or ``async with`` block, lets go of what the attachment itself holds; tensors
    taken from it keep memory and lease as long as any of them lives. Thread-safe.
    """

    def __init__(
        self, lease: Lease, entries: Mapping[str, TensorEntry], granted: pb.Granted, source: str
    ) -> None:
        self._open_lease: Optional[Lease] = lease
        self._entries = entries
        self._granted = granted
        self._source = source

    # ---- what it is

    @property
    def model(self) -> str:
        return self._granted.model

    @property
    def device(self) -> str:
        """``"host"`` or the GPU's UUID, as weightd names it."""
        return self._granted.device

    @property
    def generation_id(self) -> int:
        """Which copy of the model: a changed checkpoint is a new generation. 0 from files."""
        return self._granted.generation_id

    @property
    def lease_id(self) -> int:
        """As ``weightctl leases`` shows it. 0 from files."""
        return self._granted.lease_id

    @property
    def revision(self) -> str:
        """Commit of a Hugging Face cache's snapshot; empty elsewhere."""
        return self._granted.revision

    @property
    def metadata(self) -> dict[str, str]:
        """Of the checkpoint's header (safetensors ``__metadata__``)."""
        return dict(self._granted.metadata)

    @property
    def source(self) -> str:
        """``"weightd"``, or ``"disk"`` after a fallback."""
        return self._source

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self._granted.tensor_bytes

    @property
    def lease_held(self) -> bool:
        """Whether the daemon still holds the lease for this process."""
        return self._open_lease is not None and self._open_lease.held

    # ---- tensors

    def _lease(self) -> Lease:
        if self._open_lease is None:
            raise ClosedError(f"the attachment to {self.model} is closed")
        return self._open_lease

    def __getitem__(self, name: str) -> Tensor:
        lease = self._lease()
        return Tensor(lease, self._entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def torch(self, *, skip_unsupported: bool = False) -> dict[str, torch.Tensor]:
        """All tensors as PyTorch's, on their device, without a copy, in the order of the file: a
        state dict. Read-only by contract.

        :class:`UnsupportedDtypeError` where this PyTorch lacks a dtype; ``skip_unsupported`` leaves
        such tensors out.
        """
        lease = self._lease()
        regions = [TorchBytes(lease, index) for index in range(len(lease.regions))]
        tensors = {}
        for name, entry in self._entries.items():
            try:
                tensors[name] = regions[entry.region].tensor(entry)
            except UnsupportedDtypeError:
                if not skip_unsupported:
                    raise
        return tensors

    def numpy(self) -> dict[str, Any]:
        """All tensors as read-only NumPy arrays, without a copy. Host memory only."""
        return {name: self[name].numpy() for name in self}

    # ---- life

    def close(self) -> None:
        """Lets go of what the attachment holds. Idempotent."""
        self._open_lease = None

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Attachment:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._open_lease is None else f"{len(self)} tensors, {self.nbytes} bytes"
        return f"<weightd.Attachment {self.model!r} on {self.device}: {state}>"


def attach(
    model: str,
    device: Any = None,
    *,
    policy: str = "require",
    timeout: Optional[float] = None,
    files: Optional[PathLike] = None,
    socket_dir: PathLike = "",
    client_name: str = "",
    on_notice: Optional[Callable[[Notice], None]] = None,
    on_progress: Optional[Callable[[Progress], None]] = None,
    cancellation: Optional[Cancellation] = None,
) -> Attachment:
    """Leases a model that weightd keeps in memory, and maps it.

    ``model``
        a name as ``weightctl ls`` shows it, ``name@generation`` or ``name@revision``.
    ``device``
        ``"cpu"`` (or ``"host"``), ``"cuda:0"`` as this process counts its GPUs, ``"cuda"``, a GPU's
        UUID, or a ``torch.device``. None: the daemon's default. What is resident elsewhere is copied
        to that device first.
    ``policy``
        what to do about a model that is not resident. ``"require"``: refuse. ``"wait"``: have it
        staged, and wait. ``"disk"``: where weightd cannot give it, read ``files`` (a safetensors file,
        or a directory of them) and say so with a :class:`FallbackWarning`. Nothing falls back unasked.
    ``timeout``
        seconds; with ``"wait"`` how long it may be staged (default 600, at most a day), else how long
        the daemon may take to answer (default 10, and 600 more where it copies the model to another
        device).
    ``on_notice``, ``on_progress``
        called for what happens to the lease, and while it is staged; on a thread of this package. They
        must not block.
    ``cancellation``
        lets another thread give up; the attach then raises with code ``CANCELLED``.

    Raises a :class:`weightd.errors.WeightdError`; its class says what can be done about it.
    """
    if policy not in POLICIES:
        raise InvalidRequestError(f"policy is {policy!r}, wanted one of {', '.join(POLICIES)}")
    if policy == "disk" and files is None:
        raise InvalidRequestError('policy="disk" needs `files`: a safetensors file or a directory of them')
    if timeout is not None and not 0 < timeout <= _STAGE_SECONDS_MAX:
        raise InvalidRequestError(f"timeout is {timeout} s, wanted more than 0 and at most a day")
    waits = policy == "wait"
    attempt = _Attempt(
        _sockets.resolve_socket_dir(os.fspath(socket_dir)),
        names_directory=_sockets.is_named(os.fspath(socket_dir)),
        answer_seconds=_ANSWER_SECONDS if waits or timeout is None else timeout,
        stage_seconds=_STAGE_SECONDS if timeout is None else timeout,
        # The daemon ends a stage itself, and says why; this is for one that does not answer.
        late_seconds=_ANSWER_SECONDS if waits or timeout is None else _LATE_SECONDS,
        on_notice=on_notice,
        on_progress=on_progress,
        cancellation=cancellation or Cancellation(),
    )
    request = _request(model, client_name, policy)
    try:
        request.device = daemon_device(device)
        return attempt.run(request)
    except WeightdError as error:
        if policy != "disk":
            raise
        warnings.warn(
            f"{model} is read from {os.fspath(files or '')}: {error}", FallbackWarning, stacklevel=2
        )
        return from_files(model, os.fspath(files or ""), device)


def _request(model: str, client_name: str, policy: str) -> pb.AttachRequest:
    try:
        return pb.AttachRequest(model=model, client_name=client_name[:64], policy=POLICIES[policy])
    except ValueError as error:  # a UnicodeError is one
        raise InvalidRequestError(f"attach {model!r} as {client_name!r}: names are UTF-8: {error}") from None


class Cancellation:
    """Gives up an attach that another thread waits for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._stream: Optional[AttachStream] = None

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def _watch(self, stream: AttachStream) -> None:
        with self._lock:
            self._stream = stream
            cancelled = self._cancelled
        if cancelled:
            stream.close()


@dataclass(frozen=True)
class _Attempt:
    socket_dir: str
    names_directory: bool
    answer_seconds: float
    stage_seconds: float
    late_seconds: float
    on_notice: Optional[Callable[[Notice], None]]
    on_progress: Optional[Callable[[Progress], None]]
    cancellation: Cancellation

    def run(self, request: pb.AttachRequest) -> Attachment:
        request.timeout.FromMilliseconds(int(self.stage_seconds * 1000))
        if not self.names_directory:
            _sockets.check_default(self.socket_dir, time.monotonic() + self.answer_seconds)
        start = time.monotonic()
        full: Optional[WeightdError] = None
        while full is None or time.monotonic() < start + self.answer_seconds:
            try:
                return self._lease(request, start, full)
            except QueueFullError as error:
                full = WaitTimeoutError(str(error))
            except WeightdError as error:
                raise _of_attach(request.model, error) from None
            time.sleep(_QUEUE_PAUSE_SECONDS)
        raise _of_attach(request.model, full)

    def _lease(self, request: pb.AttachRequest, start: float, full: Optional[WeightdError]) -> Attachment:
        """Time counts from ``start``, also of later tries; ``full`` is why the one before failed."""
        stream = AttachStream(self.socket_dir, request, self.on_notice, self.on_progress)
        self.cancellation._watch(stream)
        regions: list[Region] = []
        try:
            end = start + self.stage_seconds + self.late_seconds
            granted = stream.wait_for_grant(start + self.answer_seconds, end)
            deadline = min(end, time.monotonic() + self.answer_seconds)
            # Maps while the tensors arrive.
            _map_all(granted, self.socket_dir, deadline, regions)
            entries = stream.wait_for_tensors(deadline)
        except BaseException as error:
            for region in regions:
                region.close()
            stream.close()
            if full is not None and type(error) is WaitTimeoutError and not stream.answered:
                raise full from None
            raise
        return Attachment(Lease(regions, stream), entries, granted, "weightd")


def _of_attach(model: str, error: WeightdError) -> WeightdError:
    if error.args:
        error.args = (f"attach {model}: {error.args[0]}", *error.args[1:])
    return error


def _map_all(granted: pb.Granted, socket_dir: str, deadline: float, regions: list[Region]) -> None:
    descriptors: list[int] = []
    if granted.fd_ticket:
        descriptors = _sockets.fetch_descriptors(socket_dir, granted.fd_ticket, len(granted.allocations), deadline)
    try:
        for allocation in granted.allocations:
            kind = allocation.WhichOneof("handle")
            if kind == "cuda_ipc_handle":
                regions.append(CudaIpcRegion(granted.device, allocation.cuda_ipc_handle, allocation.bytes))
            elif kind == "fd_index" and allocation.fd_index < len(descriptors):
                regions.append(HostRegion.of_memfd(descriptors[allocation.fd_index], allocation.bytes))
            else:
                raise ProtocolError("grant from weightd: an allocation without a handle that is known here")
    except BaseException:
        _sockets.close_elsewhere(descriptors)
        raise
    # Those that were mapped are memory; what else a server sends may be anything.
    mapped = {one.fd_index for one in granted.allocations if one.WhichOneof("handle") == "fd_index"}
    for index in mapped:
        os.close(descriptors[index])
    if others := [descriptor for index, descriptor in enumerate(descriptors) if index not in mapped]:
        _sockets.close_elsewhere(others)


def parse_device(device: Any) -> Union[str, int]:
    """``""`` for the daemon's default, ``"host"``, a GPU's UUID, or its number in this process."""
    name = "" if device is None else str(device)
    if name in ("", "host") or (name.startswith("GPU-") and name.isascii()):
        return name
    kind, _, number = name.partition(":")
    if kind == "cpu":
        return "host"
    if kind != "cuda" or (number and not number.isdigit()):
        raise InvalidRequestError(
            f"device is {name!r}, wanted \"cpu\", \"cuda:N\", \"host\" or a GPU's UUID"
        )
    return int(number) if number else _current_gpu()


def _current_gpu() -> int:
    """PyTorch's, where it is loaded and has one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.current_device())
    return 0


def daemon_device(device: Any) -> str:
    """What weightd calls a device: ``"host"``, a GPU's UUID, or empty for its default."""
    parsed = parse_device(device)
    if isinstance(parsed, str):
        return parsed
    visible = _cuda.driver().uuids()
    if parsed >= len(visible):
        raise InvalidRequestError(f"device {str(device)!r}: this process sees {len(visible)} GPUs")
    return visible[parsed]


def from_files(model: str, path: str, device: Any) -> Attachment:
    """The same, read from a volume: nothing is leased and nothing is shared."""
    name = daemon_device(device) or "host"
    ordinal = None if name == "host" else _cuda.driver().ordinal_of(name)
    regions, entries, metadata = read_files(path, ordinal)
    granted = pb.Granted(
        model=model,
        device=name,
        tensor_count=len(entries),
        tensor_bytes=sum(entry.nbytes for entry in entries.values()),
        metadata=metadata,
    )
    return Attachment(Lease(regions, None), entries, granted, "disk")
