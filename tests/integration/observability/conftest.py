from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "python")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        reason = f"{' and '.join(missing)} not found: apt-get install prometheus"
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def space() -> Iterator[Path]:
    """A directory with a short name: a socket's path has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="weightd-obs-"))
    yield path
    shutil.rmtree(path)
