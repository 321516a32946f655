"""How long a client waits for handles whose server sends with them what is slow to close."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from weightd import _sockets, errors


def lingering() -> tuple[socket.socket, socket.socket]:
    """One whose last close takes ten minutes, or as long as its peer, the other, lives and does not read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600))
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(bytes(65536))
    return ours, peer


def lie_once(directory: Path, place: str) -> None:
    """Raises what a client says whose server sends a socket that lingers, with its answer or behind it."""
    ours, peer = lingering()
    path = directory / "handles.sock"
    reply, memory = struct.pack("<I", 0) + b"\0", os.memfd_create("memory")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def give() -> None:
            with listener.accept()[0] as connection, contextlib.suppress(OSError):
                socket.send_fds(connection, [reply], [memory, *([ours.fileno()] * (place == "extra"))])
                if place == "behind":
                    socket.send_fds(connection, [b"more"], [ours.fileno()])
                ours.close()
                while connection.recv(100):
                    pass

        giver = threading.Thread(target=give, daemon=True)
        giver.start()
        try:
            for descriptor in _sockets.fetch_descriptors(str(directory), bytes(16), 1, time.monotonic() + 0.2):
                os.close(descriptor)
        finally:
            peer.close()
            giver.join()
            ours.close()
            os.close(memory)
            path.unlink()


@pytest.mark.parametrize("place", ["extra", "behind"])
def test_a_socket_that_lingers_keeps_nobody_beyond_the_deadline(tmp_path: Path, place: str) -> None:
    """The kernel drops what nobody else has: one too many in recvmsg(2), what is behind the answer in close(2)."""
    for _ in range(100):  # the client may be faster than the server, who waits himself then
        try:
            lie_once(tmp_path, place)
        except errors.WaitTimeoutError as error:
            assert "no answer in time" in str(error)
            return
        except errors.ProtocolError:
            continue
    pytest.fail("no server was as fast")
