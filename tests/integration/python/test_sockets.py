"""Whom a client believes where nobody named a socket directory."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from weightd import _sockets
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
