"""One daemon, three languages: what C++, C and Python say of a model is the same."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import checkpoints
import pytest
import weightd
from programs import Control, Daemon, Tensor, binary

WANTED = {
    "a.f32": Tensor("F32", [2, 3], struct.pack("<6f", *range(6))),
    "b.u8": checkpoints.stored("U8", [1000]),
    "c.bf16": Tensor("BF16", [4], struct.pack("<4H", 0x3F80, 0x4000, 0xC000, 0x3F00)),
    "d.scalar": Tensor("F32", [], struct.pack("<f", 2.5)),
    "e.empty": checkpoints.stored("F32", [0, 7]),
}
SUMS = {"a.f32": 15.0, "b.u8": float(sum(WANTED["b.u8"].data)), "c.bf16": 1.5, "d.scalar": 2.5, "e.empty": 0.0}

Said = tuple[dict[str, tuple[str, list[int], int]], float]


@pytest.fixture(scope="module")
def control(space: Path) -> Iterator[Control]:
    root = space / "clients"
    root.mkdir()
    checkpoints.write(root / "m.safetensors", WANTED)
    with pytest.MonkeyPatch.context() as patch, Daemon(root, space / "clients-run") as control:
        control.ok("stage", "m", "--wait")
        patch.setenv("WEIGHTD_SOCKET_DIR", str(control.socket_dir))
        yield control


def run_example(program: str, model: str, tensor: str) -> Said:
    done = subprocess.run([binary(program), model, tensor], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    tensors = {
        name: (dtype, [int(number) for number in shape.split(", ") if number], int(nbytes))
        for name, dtype, shape, nbytes in re.findall(r"^  (\S+)  (\S+) \[(.*)\]  (\d+) bytes$", done.stdout, re.M)
    }
    (total,) = re.findall(rf"^sum of {tensor}: (\S+)$", done.stdout, re.M)
    return tensors, float(total)


def run_python(model: str, tensor: str) -> Said:
    with weightd.attach(model) as attached:
        tensors = {name: (one.dtype, list(one.shape), one.nbytes) for name, one in attached.items()}
        data = attached[tensor].tobytes()
    dtype = tensors[tensor][0]
    if dtype == "BF16":
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
    letter = {"F32": "f", "BF16": "f", "U8": "B"}[dtype]
    return tensors, float(sum(value for (value,) in struct.iter_unpack(f"<{letter}", data)))


CLIENTS: dict[str, Callable[[str, str], Said]] = {
    "cpp": lambda model, tensor: run_example("attach_example", model, tensor),
    "c": lambda model, tensor: run_example("attach_example_c", model, tensor),
    "python": run_python,
}


@pytest.mark.parametrize("language", CLIENTS)
@pytest.mark.parametrize("tensor", WANTED)
def test_clients_say_the_same(control: Control, language: str, tensor: str) -> None:
    tensors, total = CLIENTS[language]("m", tensor)
    assert tensors == {name: (one.dtype, one.shape, len(one.data)) for name, one in WANTED.items()}
    assert total == pytest.approx(SUMS[tensor])


@pytest.mark.parametrize("language", CLIENTS)
def test_clients_name_the_reason(control: Control, language: str) -> None:
    with pytest.raises((RuntimeError, weightd.WeightdError), match="missing: no such checkpoint below the roots"):
        CLIENTS[language]("missing", "a.f32")
