"""Whom a client believes where nobody named a socket directory, and how long it waits for handles."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from weightd import _sockets, errors
from weightd.errors import NotPermittedError

OTHER = 65533

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")


@pytest.fixture()
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory that anybody could have made, with something that listens."""
    parent = tmp_path / "t"
    parent.mkdir()
    parent.chmod(0o1777)
    path = parent / "w"
    path.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(_sockets.rpc_socket(str(path)))
        listener.listen(8)
        yield path


def check(directory: Path) -> None:
    _sockets.check_default(str(directory), time.monotonic() + 5)


def test_ours_is_believed(directory: Path) -> None:
    check(directory)


def test_another_users_is_not(directory: Path) -> None:
    os.chown(directory, OTHER, OTHER)
    with pytest.raises(NotPermittedError, match=f"belongs to uid {OTHER}.*WEIGHTD_SOCKET_DIR"):
        check(directory)


def test_what_was_given_away_in_a_place_of_roots_is_believed(directory: Path) -> None:
    directory.parent.chmod(0o755)
    os.chown(directory, OTHER, OTHER)
    check(directory)


def test_links_and_directories_that_others_write_to_are_not(directory: Path) -> None:
    link = directory.parent / "link"
    link.symlink_to(directory)
    with pytest.raises(NotPermittedError, match="symbolic link"):
        check(link)
    directory.chmod(0o1777)
    with pytest.raises(NotPermittedError, match="mode 1777"):
        check(directory)


def test_a_directory_that_was_named_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_sockets.SOCKET_DIR_VARIABLE, raising=False)
    assert not _sockets.is_named("")
    assert _sockets.is_named("/somewhere")
    monkeypatch.setenv(_sockets.SOCKET_DIR_VARIABLE, "/elsewhere")
    assert _sockets.is_named("")


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
def test_a_socket_that_lingers_keeps_nobody_beyond_the_deadline(tmp_path_factory: pytest.TempPathFactory, place: str) -> None:
    """The kernel drops what nobody else has: one too many in recvmsg(2), what is behind the answer in close(2)."""
    directory = tmp_path_factory.mktemp(place)
    for _ in range(100):  # the client may be faster than the server, who waits himself then
        try:
            lie_once(directory, place)
        except errors.WaitTimeoutError as error:
            assert "no answer in time" in str(error)
            return
        except errors.ProtocolError:
            continue
    pytest.fail("no server was as fast")
