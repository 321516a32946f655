"""Engines with weightd as their source, run by hand: tests/engines.sh makes the environments."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# The programs as processes are the same as for the tests of the package.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "python")]

from programs import Control, Daemon  # noqa: E402
from small_models import make_models  # noqa: E402


@pytest.fixture(scope="session")
def root() -> Iterator[Path]:
    """Small models, by name. A path is short: that of a socket below it has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="weightd-engines-"))
    make_models(path / "models")
    yield path / "models"
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def control(root: Path) -> Iterator[Control]:
    """A daemon with every model in host memory."""
    with Daemon(root, root.parent / "run") as control:
        for model in sorted(path.name for path in root.iterdir()):
            control.ok("stage", model, "--wait")
        yield control
