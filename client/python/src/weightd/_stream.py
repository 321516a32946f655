"""One open Attach call, which is one lease.

    started --progress*--> waiting --granted--> granted --metadata*, tensors*, ready--> ready
    --notices*--> ended

A thread reads the call's messages; it ends with the call. Thread-safe.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Optional

from weightd import _fork, _sockets, _status
from weightd._fork import grpc
from weightd._grant import Grant, TensorEntry
from weightd.errors import (
    LeaseLostError,
    ProtocolError,
    UnreachableError,
    WaitTimeoutError,
    WeightdError,
)
from weightd.v1 import weight_cache_pb2 as pb

# What gRPC makes of connect(2)'s EAGAIN, by version: it says so, or goes on and cannot send.
_QUEUE_IS_FULL = (os.strerror(errno.EAGAIN), os.strerror(errno.ENOTCONN))
# What is asked of the sockets to explain an error takes so long at most, and has so long at least.
_EXPLAIN_SECONDS = 1.0
_EXPLAIN_SECONDS_MIN = 0.1
_SERVICE = "/weightd.v1.WeightCache/"
# Messages of the daemon are below 4 MiB, most below 1 MiB; a window of 4 MiB lets 10,000 tensors pass without waiting.
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.http2.lookahead_bytes", 4 << 20),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.enable_retries", 0),
    # Each lease has a connection of its own: the kernel tells the daemon whose it is.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class Notice:
    """What happened to a lease while it is held."""

    #: ``superseded``: a newer generation is resident, this lease keeps what it has. ``draining``: the
    #: daemon shuts down. ``revoking``: an operator evicts the model by force. ``damaged``: the memory
    #: does not hold any more what was staged. ``lost``: the lease is gone, the last notice.
    kind: str
    generation_id: int = 0  # superseded
    #: draining, revoking: the lease ends then at the latest. GPU memory must not be used after it.
    deadline: Optional[datetime] = None
    error: Optional[WeightdError] = None  # lost


@dataclass(frozen=True)
class Progress:
    """How the stage goes that an attach waits for."""

    phase: str  # QUEUED, PLANNING, READING, PUBLISHING, STAGED
    bytes_done: int
    bytes_total: int
    bytes_per_second: int
    jobs_ahead: int


class QueueFullError(WaitTimeoutError):
    """gRPC found no room in the queue of the daemon's socket, and does not wait for it as
    :func:`_sockets.connect` does: whoever wants the lease tries again."""


class _State:
    """What the reading thread and the others share. It knows no lease, so that one can end."""

    def __init__(self, asked: str) -> None:
        self.asked = asked
        self.changed = threading.Condition()
        self.phase = "started"
        self.grant: Optional[Grant] = None
        self.error: Optional[WeightdError] = None
        self.closing = False
        self.answered = False  # something came


class AttachStream:
    """Starts the call. ``on_notice`` and ``on_progress`` run on its thread, one at a time."""

    def __init__(
        self,
        socket_dir: str,
        request: pb.AttachRequest,
        on_notice: Optional[Callable[[Notice], None]],
        on_progress: Optional[Callable[[Progress], None]],
    ) -> None:
        _fork.check_grpc_usable()
        self._socket_dir = socket_dir
        self._state = _State(request.model)
        self._channel = grpc.insecure_channel(
            f"unix:{_sockets.rpc_socket(socket_dir)}", options=_CHANNEL_OPTIONS
        )
        attach = self._channel.unary_stream(
            _SERVICE + "Attach",
            request_serializer=pb.AttachRequest.SerializeToString,
            response_deserializer=pb.AttachResponse.FromString,
        )
        self._call = attach(request)
        threading.Thread(
            target=_read,
            args=(self._call, self._state, on_notice, on_progress),
            name="weightd-lease",
            daemon=True,
        ).start()

    def wait_for_grant(self, deadline: float, wait_deadline: float) -> pb.Granted:
        """Until ``deadline`` for an answer, until ``wait_deadline`` while the daemon stages."""
        self._wait_for(("waiting", "granted", "ready"), deadline, "the grant")
        self._wait_for(("granted", "ready"), max(deadline, wait_deadline), "the model")
        assert self._state.grant is not None
        return self._state.grant.granted

    def wait_for_tensors(self, deadline: float) -> dict[str, TensorEntry]:
        self._wait_for(("ready",), deadline, "the tensors")
        assert self._state.grant is not None
        return self._state.grant.entries

    def _wait_for(self, phases: tuple[str, ...], deadline: float, what: str) -> None:
        state = self._state
        with state.changed:
            arrived = state.changed.wait_for(
                lambda: state.phase in phases or state.phase == "ended",
                max(deadline - time.monotonic(), 0),
            )
            if not arrived:
                raise WaitTimeoutError(f"timed out while waiting for {what}")
            if state.phase != "ended":
                return
            error = state.error
        raise self._explained(error, deadline)

    def _explained(self, error: Optional[WeightdError], deadline: float) -> WeightdError:
        """gRPC says little of a connection that cannot be made or breaks: the sockets say more, and
        the handle socket what the daemon has against us. They are asked briefly, in what time is left."""
        if error is None:
            return ProtocolError("grant from weightd: the stream ended too early")
        if error.code != "UNAVAILABLE" or error.reason:
            return error
        path = _sockets.rpc_socket(self._socket_dir)
        # A server that has answered has no full queue, whatever it says.
        if not self.answered and any(text in str(error) for text in _QUEUE_IS_FULL):
            return QueueFullError(str(_sockets.queue_is_full(path)))
        try:
            now = time.monotonic()
            until = min(now + _EXPLAIN_SECONDS, max(deadline, now + _EXPLAIN_SECONDS_MIN))
            _sockets.connect(path, socket.SOCK_STREAM, until).close()
            _sockets.ask_who_am_i(self._socket_dir, until)
        except WeightdError as known:
            return known
        return UnreachableError(f"weightd at {path} closed the connection: {error}")

    @property
    def answered(self) -> bool:
        return self._state.answered

    @property
    def held(self) -> bool:
        with self._state.changed:
            return self._state.phase == "ready"

    def close(self) -> None:
        """Ends the call, and with it the lease."""
        with self._state.changed:
            self._state.closing = True
        self._call.cancel()
        self._channel.close()


def _read(
    call: Any,
    state: _State,
    on_notice: Optional[Callable[[Notice], None]],
    on_progress: Optional[Callable[[Progress], None]],
) -> None:
    error: Optional[WeightdError] = None
    try:
        for message in call:
            state.answered = True
            _handle(message, state, on_notice, on_progress)
    except grpc.RpcError:
        error = _status.from_rpc_error(call)
    except WeightdError as broken:
        error = broken
        call.cancel()
    except Exception as broken:  # a message that no daemon of ours sends: the lease must not seem held
        error = ProtocolError(f"grant from weightd: {type(broken).__name__}: {broken}")
        call.cancel()
    with state.changed:
        lost = state.phase == "ready" and not state.closing
        state.phase = "ended"
        state.error = error
        state.changed.notify_all()
    if lost:
        _tell(on_notice, Notice("lost", error=error or LeaseLostError("weightd ended the lease")))


def _tell(callback: Optional[Callable[[Any], None]], what: Any) -> None:
    """An exception of the caller's goes where those of threads go, and ends nothing."""
    if callback is None:
        return
    try:
        callback(what)
    except Exception:
        kind, value, trace = sys.exc_info()
        thread = threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs((kind, value, trace, thread)))


def _handle(
    message: pb.AttachResponse,
    state: _State,
    on_notice: Optional[Callable[[Notice], None]],
    on_progress: Optional[Callable[[Progress], None]],
) -> None:
    kind = message.WhichOneof("message")
    phase = state.phase
    if kind == "progress" and phase in ("started", "waiting"):
        _tell(on_progress, _progress(message.progress))
        _move(state, "waiting")
    elif kind == "granted" and phase in ("started", "waiting"):
        state.grant = Grant(state.asked, message.granted)
        _move(state, "granted")
    elif kind == "metadata" and phase == "granted" and state.grant is not None:
        state.grant.add_metadata(message.metadata)
    elif kind == "tensors" and phase == "granted" and state.grant is not None:
        state.grant.add_tensors(message.tensors)
    elif kind == "ready" and phase == "granted" and state.grant is not None:
        state.grant.check_complete()
        _move(state, "ready")
    elif phase == "ready":
        notice = _notice(message, kind)
        if notice is not None:
            _tell(on_notice, notice)
    else:
        raise ProtocolError(f"grant from weightd: message `{kind or 'unknown'}` out of order")


def _move(state: _State, phase: str) -> None:
    with state.changed:
        state.phase = phase
        state.changed.notify_all()


def _progress(message: pb.StageModelResponse) -> Progress:
    known = message.phase in pb.StagePhase.values()
    return Progress(
        phase=pb.StagePhase.Name(message.phase) if known else str(message.phase),  # of a newer daemon
        bytes_done=message.bytes_done,
        bytes_total=message.bytes_total,
        bytes_per_second=message.bytes_per_second,
        jobs_ahead=message.jobs_ahead,
    )


def _notice(message: pb.AttachResponse, kind: Optional[str]) -> Optional[Notice]:
    if kind == "superseded":
        return Notice(kind, generation_id=message.superseded.generation_id)
    if kind in ("draining", "revoking"):
        deadline = getattr(message, kind).deadline.ToDatetime().replace(tzinfo=timezone.utc)
        return Notice(kind, deadline=deadline)
    if kind == "damaged":
        return Notice(kind)
    if kind is None:
        return None  # a notice of a newer daemon
    raise ProtocolError(f"grant from weightd: message `{kind}` out of order")
