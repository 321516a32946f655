"""The package on GPU memory: on the fake driver, a test double (tests/support/fake_cuda), which
says nothing of a real GPU, or on a real one where there is no folder of the fake."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import checkpoints
import pytest
from programs import Control, Daemon, eventually, leases

WANTED = checkpoints.every_dtype()


@pytest.fixture(scope="module")
def environment(space: Path) -> Iterator[dict[str, str]]:
    """For the daemon and its clients: which driver they find."""
    folder = os.environ.get("WEIGHTD_FAKE_CUDA_DIR", "")
    if not folder:
        if not Path("/dev/nvidiactl").exists():
            pytest.skip("no GPU, and no fake driver was built (no cuda.h)")
        yield {}
        return
    report = space / "fake_cuda_report"
    yield {
        "LD_LIBRARY_PATH": folder,
        "WEIGHTD_FAKE_CUDA_NODE": space.name,
        "WEIGHTD_FAKE_CUDA_REPORT": str(report),
        "WEIGHTD_FAKE_CUDA_DEVICES": "2",
    }
    assert not report.exists(), f"the fake driver reports misuse: {report.read_text()}"


@pytest.fixture(scope="module")
def control(space: Path, environment: dict[str, str]) -> Iterator[Control]:
    root = space / "gpu"
    root.mkdir()
    checkpoints.write(root / "all.safetensors", WANTED)
    daemon = Daemon(root, space / "gpu-run", "--cuda.enabled", "ON", environment=environment)
    with daemon as control:
        gpu = next(one["id"] for one in control.json("status")["devices"] if one["id"] != "host")
        control.ok("stage", "all", "--wait", "--device", gpu)
        yield control


class Client:
    """Python with the driver's environment: a process loads one driver."""

    def __init__(self, control: Control, environment: dict[str, str]) -> None:
        self._environment = {
            **os.environ,
            **environment,
            "WEIGHTD_SOCKET_DIR": str(control.socket_dir),
        }

    def run(self, program: str) -> str:
        """It lets go of what it attached: at its end the fake driver reports what is still open."""
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def client(control: Control, environment: dict[str, str]) -> Client:
    return Client(control, environment)


def test_every_byte_is_on_the_gpu(client: Client, control: Control) -> None:
    told = json.loads(
        client.run(
            """
import json, weightd
with weightd.attach("all", device="cuda:0") as m:
    print(json.dumps({
        "device": m.device,
        "bytes": {name: tensor.tobytes().hex() for name, tensor in m.items()},
        "devices": sorted({tensor.device for tensor in m.values()}),
        "dlpack": m["large"].__dlpack_device__(),
        "interface": m["all.F32"].__cuda_array_interface__,
        "pointer": m["all.F32"].data_ptr,
        "host": [hasattr(m["all.F32"], name) for name in ("__array_interface__", "__cuda_array_interface__")],
    }))
"""
        )
    )
    assert told["device"].startswith("GPU-")
    assert told["devices"] == ["cuda:0"]
    assert told["dlpack"] == [2, 0]
    assert told["host"] == [False, True]
    assert told["bytes"] == {name: tensor.data.hex() for name, tensor in WANTED.items()}
    interface = told["interface"]
    assert (interface["shape"], interface["typestr"]) == ([4, 12], "<f4")
    assert interface["data"][0] == told["pointer"]


def test_devices_have_many_names(client: Client) -> None:
    told = client.run(
        """
import weightd
with weightd.attach("all", "cuda:0") as m:
    uuid = m.device
for name in ("cuda", uuid):
    with weightd.attach("all", name) as m:
        print(m["large"].device)
"""
    )
    assert told == "cuda:0\ncuda:0\n"


def test_gpu_that_is_not_there_is_said(client: Client) -> None:
    told = client.run(
        """
import weightd
for device in ("cuda:17", "GPU-00000000-0000-0000-0000-000000000000"):
    try:
        weightd.attach("all", device)
    except weightd.WeightdError as error:
        print(type(error).__name__, error)
"""
    )
    assert "InvalidRequestError device 'cuda:17': this process sees" in told
    assert "DeviceNotFoundError" in told


def test_gpu_memory_has_no_view_on_the_host(client: Client) -> None:
    told = client.run(
        """
import weightd
with weightd.attach("all", "cuda:0") as m:
    try:
        m["large"].raw()
    except TypeError as error:
        print(error)
"""
    )
    assert "GPU memory" in told


def test_tensor_keeps_the_lease_and_forked_child_is_refused(client: Client, control: Control) -> None:
    told = client.run(
        """
import gc, os, weightd
from weightd import errors
with weightd.attach("all", "cuda:0") as m:
    tensor = m["large"]
del m
gc.collect()
child = os.fork()
if child == 0:
    try:
        tensor.tobytes()
    except errors.ForkedError as error:
        os._exit(0)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(tensor.tobytes()))
del tensor
"""
    )
    assert told == f"0 {len(WANTED['large'].data)}\n"
    assert eventually(lambda: leases(control) == [])


def test_disk_fills_gpu_memory_of_its_own(client: Client, space: Path) -> None:
    told = client.run(
        f"""
import warnings, weightd
warnings.simplefilter("ignore")
m = weightd.attach("all", "cuda:1", policy="disk", files={str(space / "gpu" / "all.safetensors")!r},
                   socket_dir="/nonexistent")
print(m.source, m.device, m["large"].device, m["large"].tobytes().hex())
m.close()
"""
    ).split()
    assert told[0] == "disk"
    assert told[2:] == ["cuda:1", WANTED["large"].data.hex()]
    gc.collect()
