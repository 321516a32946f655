from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def space() -> Iterator[Path]:
    """A directory with a short name (a socket's path has 107 bytes) that other users can enter."""
    path = Path(tempfile.mkdtemp(prefix="weightd-py-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
