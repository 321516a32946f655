"""What a daemon must not send, and what an attach makes of it: an error that says which rule is broken.

The other side is a server of the test's own, which says what it is told to.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest
import weightd
from weightd import _dtypes, _grant, _sockets, errors
from weightd._stream import AttachStream
from weightd.v1 import weight_cache_pb2 as pb

NBYTES = 4096
F_ADD_SEALS, SHRINK_GROW_WRITE = 1033, 2 | 4 | 8
COMMIT = "c" * 40
READY = pb.AttachResponse(ready=pb.Ready())


class Liar(grpc.GenericRpcHandler):
    """Serves both sockets of a directory; every attach gets ``messages``."""

    def __init__(self, directory: Path) -> None:
        self.messages: Iterator[pb.AttachResponse] = iter(())
        self.refuses = False
        self.says_at_last = ""
        self.reply = struct.pack("<I", 0) + b"\0"
        self.gives = 1
        self.directory = directory
        self.memory = os.memfd_create("liar", os.MFD_ALLOW_SEALING)
        os.write(self.memory, bytes(NBYTES))
        fcntl.fcntl(self.memory, F_ADD_SEALS, SHRINK_GROW_WRITE)
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        self.server.add_generic_rpc_handlers((self,))
        self.server.add_insecure_port(f"unix:{directory}/weightd.sock")
        self.server.start()
        self.handles = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.handles.bind(str(directory / "handles.sock"))
        self.handles.listen(8)
        threading.Thread(target=self._give_handles, daemon=True).start()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_stream_rpc_method_handler(
            self._attach,
            request_deserializer=pb.AttachRequest.FromString,
            response_serializer=pb.AttachResponse.SerializeToString,
        )

    def _attach(self, _: pb.AttachRequest, context: grpc.ServicerContext) -> Iterator[pb.AttachResponse]:
        ended = threading.Event()
        context.add_callback(ended.set)
        if self.refuses:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        yield from self.messages
        if text := self.says_at_last:
            context.abort(grpc.StatusCode.UNAVAILABLE, text)
        ended.wait(20)

    def _give_handles(self) -> None:
        while True:
            try:
                connection, _ = self.handles.accept()
            except OSError:
                return
            with connection:
                connection.recv(100)
                socket.send_fds(connection, [self.reply], [self.memory] * self.gives)

    def close(self) -> None:
        self.server.stop(0).wait()
        self.handles.shutdown(socket.SHUT_RDWR)
        self.handles.close()
        os.close(self.memory)


@pytest.fixture(scope="module")
def liar(space: Path) -> Iterator[Liar]:
    directory = space / "liar"
    directory.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEIGHTD_SOCKET_DIR", str(directory))
        server = Liar(directory)
        yield server
        server.close()


def granted(**changes: Any) -> pb.AttachResponse:
    fields: dict[str, Any] = {
        "lease_id": 1,
        "model": "m",
        "generation_id": 3,
        "revision": COMMIT,
        "device": "host",
        "tensor_count": 1,
        "tensor_bytes": NBYTES,
        "fd_ticket": bytes(16),
        "allocations": [pb.Allocation(bytes=NBYTES, fd_index=0)],
    }
    return pb.AttachResponse(granted=pb.Granted(**{**fields, **changes}))


def tensors(*names: str, **changes: Any) -> pb.AttachResponse:
    fields: dict[str, Any] = {"dtype": pb.U8, "shape": [NBYTES], "bytes": NBYTES}
    batch = pb.TensorBatch(tensors=[pb.Tensor(name=name, **{**fields, **changes}) for name in names])
    return pb.AttachResponse(tensors=batch)


def pieces(*values: bytes, ends: bool = True) -> pb.AttachResponse:
    made = [pb.MetadataPiece(key=b"k", value=value, continues=True) for value in values]
    made[-1].continues = not ends
    return pb.AttachResponse(metadata=pb.MetadataBatch(pieces=made))


def attach(liar: Liar, *messages: pb.AttachResponse, model: str = "m") -> None:
    liar.messages = iter(messages)
    weightd.attach(model, "cpu", timeout=20).close()


@pytest.mark.parametrize("model", ["m", "m@3", f"m@{COMMIT}", "m@ccccccc", "m@main", "m@0abc", "m@" + "C" * 40])
def test_a_grant_of_what_was_asked_for(liar: Liar, model: str) -> None:
    attach(liar, granted(), tensors("t"), READY, model=model)


@pytest.mark.parametrize(
    "model, wanted",
    [
        ("other", "it is of model 'm', asked for was 'other'"),
        ("m/x", "it is of model 'm', asked for was 'm/x'"),
        ("m@4", "it is of generation '3', asked for was '4'"),
        ("m@" + "d" * 40, f"it is of revision '{COMMIT}', asked for was 'dddd"),
    ],
)
def test_a_grant_of_something_else_is_refused(liar: Liar, model: str, wanted: str) -> None:
    with pytest.raises(errors.ProtocolError, match=wanted):
        attach(liar, granted(), tensors("t"), READY, model=model)


@pytest.mark.parametrize(
    "messages, wanted",
    [
        ([granted(tensor_count=2**64 - 1)], "announces 18446744073709551615 tensors, more than 16000000"),
        ([granted(), tensors("t"), tensors("u")], "2 tensors came, announced were 1"),
        ([granted(tensor_bytes=1), tensors("t"), READY], "1 tensors of 4096 bytes came, announced were 1 of 1"),
        ([granted(tensor_count=2), tensors("t"), READY], "1 tensors of 4096 bytes came, announced were 2 of"),
        ([granted(tensor_count=2), tensors("t", "t"), READY], "'t': came twice"),
        ([granted(), tensors("t", shape=[2**63] * 9), READY], "do not fit its shape and dtype"),
        ([granted(), tensors("t", shape=[0, 2**63], bytes=0), READY], "dimension 9223372036854775808 is too large"),
        ([granted(), tensors("t", dtype=pb.F4, shape=[3], bytes=1), READY], "do not fit its shape and dtype"),
        ([granted(), tensors("t", dtype=pb.F32, shape=[1], bytes=4, offset=2), READY], "2 is not aligned"),
        ([granted(), tensors("t", offset=1), READY], "at 1 end past its allocation of 4096"),
        ([granted(), pieces(b"v", ends=False), tensors("t"), READY], "`ready` out of order"),
        ([granted(), pieces(b"\xff")], "metadata is not UTF-8"),
        ([granted(allocations=[pb.Allocation()] * 4097)], "4097 allocations, more than 4096"),
    ],
)
def test_what_breaks_a_rule_is_refused(liar: Liar, messages: list[pb.AttachResponse], wanted: str) -> None:
    with pytest.raises(errors.ProtocolError, match=f"grant from weightd: .*{wanted}"):
        attach(liar, *messages)


def test_metadata_has_an_end(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grant, "_METADATA_BYTES_MAX", 1 << 20)
    sent: list[int] = []

    def endless() -> Iterator[pb.AttachResponse]:
        yield granted()
        while len(sent) < 1000:
            sent.append(0)
            yield pieces(bytes(100_000), ends=False)

    liar.messages = endless()
    with pytest.raises(errors.ProtocolError, match="metadata of more than 1048576 bytes"):
        weightd.attach("m", "cpu", timeout=20)


def test_tensors_have_an_end(liar: Liar) -> None:
    counts: list[int] = []

    def endless() -> Iterator[pb.AttachResponse]:
        yield granted()
        while len(counts) < 1000:
            counts.append(0)
            yield tensors(*(f"{len(counts)}-{i}" for i in range(1000)))

    liar.messages = endless()
    with pytest.raises(errors.ProtocolError, match="1000 tensors came, announced were 1"):
        weightd.attach("m", "cpu", timeout=20)
    assert len(counts) < 1000


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("refuses", [False, True])
def test_descriptors_that_come_with_an_error_are_closed(
    liar: Liar, monkeypatch: pytest.MonkeyPatch, refuses: bool
) -> None:
    """Also where its reason is no text, and where nobody asked for any."""
    monkeypatch.setattr(liar, "gives", 60)
    monkeypatch.setattr(liar, "refuses", refuses)
    monkeypatch.setattr(liar, "reply", struct.pack("<I", 0 if refuses else 14) + b"\xff\0why")
    before = descriptors()
    for _ in range(3):
        with pytest.raises(errors.WeightdError, match="weightd at .* closed" if refuses else "why"):
            attach(liar, granted(), tensors("t"), READY)
    for thread in threading.enumerate():
        if thread.name == "weightd-close":
            thread.join(20)
    assert descriptors() < before + 60


def test_who_says_that_it_stages_and_then_nothing_is_not_waited_for(liar: Liar) -> None:
    liar.messages = iter([pb.AttachResponse(progress=pb.StageModelResponse(phase=pb.READING))])
    with pytest.raises(errors.WaitTimeoutError, match="timed out while waiting for the model"):
        weightd.attach("m", "cpu", timeout=0.5)


@pytest.fixture()
def full_queue(tmp_path: Path) -> Iterator[tuple[Path, list[socket.socket]]]:
    """A socket directory whose queues have no room, as another user's flood leaves them; and what listens."""
    listeners = []
    waiting = []
    for name, kind in (("weightd.sock", socket.SOCK_STREAM), ("handles.sock", socket.SOCK_SEQPACKET)):
        listener = socket.socket(socket.AF_UNIX, kind)
        listener.bind(str(tmp_path / name))
        listener.listen(0)
        listeners.append(listener)
        waiting.append(socket.socket(socket.AF_UNIX, kind))
        waiting[-1].connect(str(tmp_path / name))
    yield tmp_path, listeners
    for each in listeners + waiting:
        each.close()


def test_room_in_a_full_queue_is_waited_for(full_queue: tuple[Path, list[socket.socket]], liar: Liar) -> None:
    directory, listeners = full_queue
    with futures.ThreadPoolExecutor(2) as pool:
        kinds = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
        paths = [str(directory / name) for name in ("weightd.sock", "handles.sock")]
        waits = [pool.submit(_sockets.connect, *at, time.monotonic() + 20) for at in zip(paths, kinds)]
        for listener, wait in zip(listeners, waits):
            assert not wait.done()
            listener.accept()[0].close()
            wait.result().close()


def test_an_attach_waits_for_it_too(full_queue: tuple[Path, list[socket.socket]], liar: Liar) -> None:
    directory, _ = full_queue
    liar.messages = iter([granted(), tensors("t"), READY])
    with futures.ThreadPoolExecutor(1) as pool:
        wait = pool.submit(weightd.attach, "m", "cpu", timeout=20, socket_dir=directory)
        assert futures.wait([wait], timeout=0.5).not_done
        for name in ("handles.sock", "weightd.sock"):
            (directory / name).unlink()
            (directory / name).symlink_to(liar.directory / name)
        wait.result().close()


def test_a_queue_that_stays_full_is_an_error(full_queue: tuple[Path, list[socket.socket]], liar: Liar) -> None:
    directory, _ = full_queue
    with pytest.raises(errors.WaitTimeoutError, match="attach m: connect to .*: timed out; weightd does not accept"):
        weightd.attach("m", "cpu", timeout=0.2, socket_dir=directory)


def test_a_server_that_has_answered_is_not_asked_again(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    liar.messages = iter([pb.AttachResponse(progress=pb.StageModelResponse(phase=pb.READING))])
    monkeypatch.setattr(liar, "says_at_last", os.strerror(errno.EAGAIN))
    with pytest.raises(errors.WeightdError) as caught:
        weightd.attach("m", "cpu", timeout=20)
    assert not isinstance(caught.value, errors.WaitTimeoutError)


def test_a_try_that_finds_no_answer_after_a_full_queue_says_so(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late it began."""
    texts = [os.strerror(errno.EAGAIN)]
    monkeypatch.setattr(Liar, "says_at_last", property(lambda _: texts.pop() if texts else ""), raising=False)
    liar.messages = iter(())
    with pytest.raises(errors.WaitTimeoutError, match="weightd does not accept") as caught:
        weightd.attach("m", "cpu", timeout=0.5)
    assert type(caught.value) is errors.WaitTimeoutError
    assert not texts


def test_after_the_grant_there_is_no_more_time_than_before(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weightd._attachment._LATE_SECONDS", 0.0)
    ends: list[float] = []
    asked = AttachStream.wait_for_grant
    monkeypatch.setattr(
        AttachStream, "wait_for_grant", lambda self, first, last: ends.append(last) or asked(self, first, last)
    )
    monkeypatch.setattr(AttachStream, "wait_for_tensors", lambda _, deadline: ends.append(deadline) or {})
    liar.messages = iter([granted(), tensors("t"), READY])
    weightd.attach("m", "cpu", timeout=20).close()
    assert ends[1] <= ends[0]


def test_the_explanation_of_an_error_takes_no_more_than_a_moment(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handle socket may be silent."""
    limits: list[float] = []
    monkeypatch.setattr("weightd._sockets.ask_who_am_i", lambda _, until: limits.append(until - time.monotonic()))
    monkeypatch.setattr(liar, "says_at_last", "gone")
    liar.messages = iter(())
    with pytest.raises(errors.UnreachableError, match="closed the connection"):
        weightd.attach("m", "cpu", timeout=20)
    assert limits[0] <= 1.0


def test_a_descriptor_too_many_never_becomes_ours(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be of a file whose volume hangs, and to close it would take for ever, at our end at the latest."""
    monkeypatch.setattr(liar, "gives", 3)
    liar.messages = iter([granted(), tensors("t"), READY])
    with pytest.raises(errors.ProtocolError, match="more than 1 descriptors"):
        weightd.attach("m", "cpu")


def test_a_descriptor_of_no_allocation_is_closed_elsewhere(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere: list[int] = []
    close = _sockets.close_elsewhere
    monkeypatch.setattr(_sockets, "close_elsewhere", lambda more: (elsewhere.extend(more), close(more)))
    monkeypatch.setattr(liar, "gives", 2)
    both = [pb.Allocation(bytes=NBYTES, fd_index=0)] * 2
    liar.messages = iter([granted(allocations=both), tensors("t"), READY])
    weightd.attach("m", "cpu").close()
    assert len(elsewhere) == 1


def test_alignments_are_those_of_the_daemon() -> None:
    """common/dtype.cc has the same table."""
    wide: dict[str, int] = {"C32": 2, "C64": 4, "C128": 8, "F4": 1, "F6_E2M3": 1, "BF16": 2, "F64": 8, "OPAQUE32": 4}
    get: Callable[[str], Any] = _dtypes.from_name
    assert {name: get(name).alignment for name in wide} == wide
