"""The daemon's sockets: where they are, and what passes over the handle socket.

``weightd.sock`` speaks gRPC. gRPC cannot carry descriptors: for these there is ``handles.sock``
(common/handle_protocol.h), one SOCK_SEQPACKET message each way:

    request   "WTK1" + 16 bytes ticket    the descriptors of a grant
              "WWH1"                      "who am I to you": only a status
    reply     u32 status code, little-endian + reason + NUL + text, with the descriptors
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import threading
import time
from typing import Optional

from weightd.errors import (
    NotPermittedError,
    ProtocolError,
    UnreachableError,
    WaitTimeoutError,
    WeightdError,
    from_status,
)

SOCKET_DIR_VARIABLE = "WEIGHTD_SOCKET_DIR"
_UCRED = struct.Struct("iII")
_TIMEVAL = struct.Struct("@ll")
_TICKET_BYTES = 16
_REPLY_BYTES_MAX = 4096
_DESCRIPTORS_MAX = 64
# Who asks keeps the deadline itself, and says best what it waited for: it is left a moment later.
_MOMENT_SECONDS = 0.1
# google.rpc.Code, by number.
_CODE_NAMES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS "
    "PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED "
    "INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split()


def resolve_socket_dir(given: str = "") -> str:
    """The directory of the sockets: ``given``, else as the daemon chooses its own."""
    if given:
        return os.fspath(given)
    if os.environ.get(SOCKET_DIR_VARIABLE):
        return os.environ[SOCKET_DIR_VARIABLE]
    return _default_socket_dir()


def is_named(given: str = "") -> bool:
    """Whether somebody chose the directory; else :func:`check_default` says who serves there."""
    return bool(given or os.environ.get(SOCKET_DIR_VARIABLE))


def _default_socket_dir() -> str:
    if os.geteuid() == 0:
        return "/run/weightd"
    if os.environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(os.environ["XDG_RUNTIME_DIR"], "weightd")
    return f"/tmp/weightd-{os.geteuid()}"


def check_default(socket_dir: str, deadline: float) -> None:
    """Raises :class:`NotPermittedError` where the daemon of the default directory may be another
    user's: others can have made the directory (``/tmp/weightd-<uid>``), and would serve whatever
    weights they like. Also raises what :func:`connect` raises.

    The directory must be one, not a link to one, which others cannot write to. It must be ours or
    root's, or stand in a directory that only root and we can write to. Who listens must be we, root or
    the directory's owner. Whom this admits nobody else can take the place of before gRPC connects.
    """
    with connect(rpc_socket(socket_dir), socket.SOCK_STREAM, deadline) as connection:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, server, _ = _UCRED.unpack(credentials)
    found = os.lstat(socket_dir)
    ours = (0, os.geteuid())
    problem = ""
    if not stat.S_ISDIR(found.st_mode):
        problem = "it is a symbolic link, or no directory"
    elif found.st_uid not in ours and not _only_we_write_to(os.path.dirname(socket_dir)):
        problem = f"it belongs to uid {found.st_uid}, neither to us ({os.geteuid()}) nor to root"
    elif found.st_mode & stat.S_IWOTH:
        problem = f"others may write to it (mode {stat.S_IMODE(found.st_mode):04o})"
    elif server not in (*ours, found.st_uid):
        problem = f"uid {server} listens there, which is neither us nor root nor its owner"
    if problem:
        raise NotPermittedError(
            f"socket directory {socket_dir}: {problem}, so that its daemon may be another user's; if you "
            f"trust it name it, by {SOCKET_DIR_VARIABLE} or socket_dir"
        )


def _only_we_write_to(directory: str) -> bool:
    found = os.stat(directory)
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def rpc_socket(socket_dir: str) -> str:
    return os.path.join(socket_dir, "weightd.sock")


def handle_socket(socket_dir: str) -> str:
    return os.path.join(socket_dir, "handles.sock")


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def connect(path: str, kind: int, deadline: float) -> socket.socket:
    """A connected socket; ``deadline`` of ``time.monotonic()``. Errors say what an operator can do."""
    connection = socket.socket(socket.AF_UNIX, kind)
    problem: WeightdError
    try:
        _connect(connection, path, deadline)
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        return connection
    except FileNotFoundError:
        problem = UnreachableError(
            f"connect to {path}: no such socket; is weightd running, and does "
            f"{SOCKET_DIR_VARIABLE} (or socket_dir) name its directory?"
        )
    except ConnectionRefusedError:
        what = (
            "nobody listens; the socket was left behind by a weightd that ended"
            if _is_socket(path)
            else "something of that name is there and is no socket; remove it, and start weightd"
        )
        problem = UnreachableError(f"connect to {path}: {what}")
    except PermissionError:
        problem = NotPermittedError(
            f"connect to {path}: permission denied; directory and socket are open to weightd's "
            "group only"
        )
    except BlockingIOError:
        problem = queue_is_full(path)
    except OSError as error:
        problem = UnreachableError(f"connect to {path}: {error.strerror or error}")
    connection.close()
    raise problem


def queue_is_full(path: str) -> WaitTimeoutError:
    return WaitTimeoutError(f"connect to {path}: timed out; weightd does not accept connections")


def _connect(connection: socket.socket, path: str, deadline: float) -> None:
    """Waits for room in the listener's queue, which all users share. A socket with a timeout of Python's
    does not block, and connect(2) refuses it (EAGAIN) while the queue is full; SO_SNDTIMEO bounds one
    that does."""
    while True:
        seconds = max(deadline - time.monotonic(), 0.001)
        timeout = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        connection.connect(path)
        try:
            connection.getpeername()
            return
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # a signal came, after which Python waits for nothing
                raise


class _Answer:
    """What a thread that may be left behind brings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._came = threading.Event()
        self._is_left = False
        self._descriptors: list[int] = []
        self._error: Optional[BaseException] = None

    def bring(self, descriptors: list[int], error: Optional[BaseException]) -> None:
        with self._lock:
            if not self._is_left:
                self._descriptors, self._error = descriptors, error
                self._came.set()
                return
        for descriptor in descriptors:
            os.close(descriptor)

    def await_until(self, deadline: float, path: str) -> list[int]:
        try:
            self._came.wait(max(deadline - time.monotonic(), 0.0) + _MOMENT_SECONDS)
        finally:
            with self._lock:
                self._is_left = not self._came.is_set()
        if self._is_left:
            raise WaitTimeoutError(f"{path}: no answer in time")
        if self._error is not None:
            raise self._error
        return self._descriptors


def _exchange(socket_dir: str, request: bytes, deadline: float, descriptors_max: int) -> list[int]:
    """On a thread that is left behind at the deadline: the kernel drops what a server sent with an answer,
    or behind it, on the thread that receives or closes, and that may last for as long as the server likes
    (SO_LINGER, close(2) of a file of a volume that hangs)."""
    answer = _Answer()

    def ask() -> None:
        try:
            with connect(path, socket.SOCK_SEQPACKET, deadline) as connection:
                descriptors = _ask(path, connection, request, descriptors_max)
        except BaseException as error:
            answer.bring([], error)
        else:
            answer.bring(descriptors, None)

    path = handle_socket(socket_dir)
    try:
        threading.Thread(target=ask, name="weightd-handles", daemon=True).start()
    except RuntimeError:  # no thread is to be had
        ask()
    return answer.await_until(deadline, path)


def _ask(path: str, connection: socket.socket, request: bytes, descriptors_max: int) -> list[int]:
    try:
        connection.sendall(request)
        if descriptors_max == 0:
            # What comes all the same never becomes ours, to be closed by us.
            _check_reply(path, connection.recv(_REPLY_BYTES_MAX))
            return []
        reply, descriptors, flags, _ = socket.recv_fds(
            connection, _REPLY_BYTES_MAX, descriptors_max, socket.MSG_CMSG_CLOEXEC
        )
    except socket.timeout:
        raise WaitTimeoutError(f"{path}: no answer in time") from None
    except OSError as error:
        raise UnreachableError(f"{path}: {error.strerror or error}") from None
    try:
        _check_reply(path, reply)
        if flags & socket.MSG_CTRUNC:
            raise ProtocolError(
                f"{path}: more than {descriptors_max} descriptors came, or RLIMIT_NOFILE of this process is used up"
            )
    except BaseException:
        close_elsewhere(list(descriptors))
        raise
    return list(descriptors)


def close_elsewhere(descriptors: list[int]) -> None:
    """Closes what a server sent that is not what it should be. close(2) of a file whose volume hangs, or
    of a socket that lingers, may take for ever: nobody waits for it."""

    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    try:
        threading.Thread(target=close, name="weightd-close", daemon=True).start()
    except RuntimeError:  # no thread is to be had
        close()


def _check_reply(path: str, reply: bytes) -> None:
    code = int.from_bytes(reply[:4], "little")
    reason, separator, text = reply[4:].partition(b"\0")
    if len(reply) < 5 or not separator or code >= len(_CODE_NAMES):
        raise ProtocolError(f"{path}: the reply is none (is that weightd's socket?)")
    if code != 0:
        raise from_status(
            _CODE_NAMES[code], reason.decode(errors="replace"), text.decode(errors="replace")
        )


def fetch_descriptors(socket_dir: str, ticket: bytes, count: int, deadline: float) -> list[int]:
    """The descriptors of a grant, ``count`` at most, in the order of its allocations; the caller closes them."""
    if len(ticket) != _TICKET_BYTES:
        raise ProtocolError(f"grant from weightd: a ticket of {len(ticket)} bytes, expected {_TICKET_BYTES}")
    return _exchange(socket_dir, b"WTK1" + ticket, deadline, min(count, _DESCRIPTORS_MAX))


def ask_who_am_i(socket_dir: str, deadline: float) -> None:
    """Raises what the daemon has against this process; returns where it serves it."""
    _exchange(socket_dir, b"WWH1", deadline, descriptors_max=0)
