"""weightctl's exit codes, and its JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import Control, Daemon, make_file

OK, ERROR, USAGE, NOT_FOUND, NOT_READY, NOT_PERMITTED, UNREACHABLE, INTEGRITY = range(8)
NOBODY = 65534


@pytest.fixture(scope="module")
def control(space: Path) -> Iterator[Control]:
    """A daemon with the models `good` (resident), `cold` (not) and `torn` (a truncated file)."""
    root = space / "root"
    root.mkdir()
    for name in ("good", "cold", "torn"):
        make_file(root / f"{name}.safetensors", "1MiB")
    torn = root / "torn.safetensors"
    os.truncate(torn, torn.stat().st_size - 1000)
    with Daemon(root, space / "run") as control:
        control.ok("stage", "good", "--wait")
        yield control


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["health"], OK),
        (["version"], OK),
        (["--help"], OK),
        (["no-such-command"], USAGE),
        (["stage"], USAGE),
        (["ls", "--no-such-flag"], USAGE),
        (["ls", "-o", "yaml"], USAGE),
        (["describe", "no-such-model"], NOT_FOUND),
        (["stage", "no-such-model", "--wait"], NOT_FOUND),
        (["read", "good", "no-such-tensor"], NOT_FOUND),
        (["evict", "cold"], NOT_READY),
        (["read", "cold", "any"], NOT_READY),
        (["stage", "torn", "--wait"], INTEGRITY),
        (["stage", "../torn", "--wait"], ERROR),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_exit_code(control: Control, arguments: list[str], code: int) -> None:
    done = control.run(*arguments)
    assert done.returncode == code, done.stderr.decode()
    if code != OK:
        assert done.stdout == b"", "messages belong on stderr"
        assert done.stderr.strip(), "an error says what went wrong"


def test_unreachable_daemon_has_its_exit_code(space: Path) -> None:
    done = Control(space / "nobody-is-here").run("health")
    assert done.returncode == UNREACHABLE
    assert b"nobody-is-here" in done.stderr, "the message names the socket"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_stranger_is_not_permitted(control: Control) -> None:
    done = control.run("ls", user=NOBODY, group=NOBODY, extra_groups=[])
    assert done.returncode == NOT_PERMITTED, done.stderr.decode()


def test_damaged_file_is_named_and_the_daemon_goes_on(control: Control) -> None:
    done = control.run("stage", "torn", "--wait")
    assert b"torn.safetensors" in done.stderr
    assert control.run("health").returncode == OK


def strings_of_digits(value: Any, path: str = "") -> list[str]:
    """Where in a message a number came as a string."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in strings_of_digits(item, f"{path}.{key}")]
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in strings_of_digits(item, f"{path}[{i}]")]
    return [path] if isinstance(value, str) and re.fullmatch(r"-?\d+", value) else []


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["ls"], ["ps"], ["describe", "good"], ["tensors", "good"], ["leases"], ["health"], ["version"]],
    ids=lambda arguments: arguments[0],
)
def test_json_is_one_object_with_numbers_as_numbers(control: Control, arguments: list[str]) -> None:
    message = control.json(*arguments)
    assert isinstance(message, dict)
    assert strings_of_digits(message) == []


def test_stage_speaks_json_too(control: Control) -> None:
    assert control.json("stage", "good", "--wait")["phase"] == "STAGED"


def test_pin_forbids_and_unpin_allows_eviction(control: Control, space: Path) -> None:
    make_file(space / "root" / "pinned.safetensors", "1MiB")
    control.ok("stage", "pinned", "--wait")
    control.ok("pin", "pinned")
    assert control.run("evict", "pinned").returncode == NOT_READY
    control.ok("unpin", "pinned")
    control.ok("evict", "pinned")
    assert [model["name"] for model in control.json("ps")["models"]] == ["good"]
