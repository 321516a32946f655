"""PyTorch, NumPy and JAX over an attached model: the same bytes, without a copy, for as long as they
are used. Each library's tests run where it is installed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import weightd
import weightd.aio
from programs import Control, Daemon, eventually, leases, make_file
from weightd import _dtypes, errors

WANTED = checkpoints.every_dtype()


@pytest.fixture(scope="module")
def control(space: Path) -> Iterator[Control]:
    root = space / "frameworks"
    root.mkdir()
    checkpoints.write(root / "all.safetensors", WANTED)
    checkpoints.write(root / "cold.safetensors", {"w": checkpoints.stored("F32", [1000])})
    with pytest.MonkeyPatch.context() as patch, Daemon(root, space / "frameworks-run") as control:
        control.ok("stage", "all", "--wait")
        patch.setenv("WEIGHTD_SOCKET_DIR", str(control.socket_dir))
        yield control


@pytest.fixture(autouse=True)
def nothing_is_left(control: Control) -> Iterator[None]:
    yield
    gc.collect()
    assert eventually(lambda: leases(control) == [])


def names_of(attribute: str) -> list[str]:
    """Tensors whose dtype the library knows, as the package has it."""
    return [name for name, tensor in WANTED.items() if getattr(_dtypes.from_name(tensor.dtype), attribute)]


# ---- PyTorch


def torch_bytes(tensor: Any) -> bytes:
    torch = pytest.importorskip("torch")
    return bytes(tensor.reshape(-1).view(torch.uint8).numpy().tobytes()) if tensor.numel() else b""


def test_torch_state_dict_is_the_file(control: Control) -> None:
    torch = pytest.importorskip("torch")
    with weightd.attach("all", "cpu") as attached:
        state = attached.torch(skip_unsupported=True)
        packed = names_of("packed")
        known = packed + [
            name for name in names_of("torch") if hasattr(torch, _dtypes.from_name(WANTED[name].dtype).torch)
        ]
        assert sorted(state) == sorted(known)
        assert list(state) == [name for name in attached if name in state]
        for name, tensor in state.items():
            assert torch_bytes(tensor) == WANTED[name].data, name
            if name not in packed:
                assert list(tensor.shape) == WANTED[name].shape, name
        missing = set(WANTED) - set(state)
        for name in missing:
            with pytest.raises(errors.UnsupportedDtypeError, match=name):
                attached[name].torch()
        if missing:
            with pytest.raises(errors.UnsupportedDtypeError):
                attached.torch()


def test_torch_tensors_are_not_copied_and_share_one_storage(control: Control) -> None:
    torch = pytest.importorskip("torch")
    with weightd.attach("all", "cpu") as attached:
        tensor = attached["large"]
        assert tensor.torch().data_ptr() == tensor.data_ptr
        assert torch.from_dlpack(tensor).data_ptr() == tensor.data_ptr
        state = attached.torch(skip_unsupported=True)
        begin = state["large"].storage().data_ptr()
        assert all(one.storage().data_ptr() == begin for one in state.values() if one.numel())


@pytest.mark.parametrize("way", ["state", "one", "dlpack", "view", "parameter"])
def test_torch_tensors_keep_the_lease(control: Control, way: str) -> None:
    torch = pytest.importorskip("torch")
    with weightd.attach("all", "cpu") as attached:
        if way == "state":
            kept: Any = attached.torch(skip_unsupported=True)["large"]
        elif way == "one":
            kept = attached["large"].torch()
        elif way == "dlpack":
            kept = torch.from_dlpack(attached["large"])
        elif way == "view":
            kept = attached["large"].torch()[100:200].t()
        else:
            kept = torch.nn.Parameter(attached["large"].torch(), requires_grad=False)
    del attached
    gc.collect()
    assert len(leases(control)) == 1
    kept = kept.float().sum()  # a copy
    gc.collect()
    assert eventually(lambda: leases(control) == [])


def test_torch_module_takes_the_state_dict(control: Control) -> None:
    torch = pytest.importorskip("torch")
    state = weightd.load_state_dict("all", skip_unsupported=True)
    layer = torch.nn.Linear(1001, 513, bias=False)
    layer.weight = torch.nn.Parameter(state["large"], requires_grad=False)
    assert layer.weight.data_ptr() == state["large"].data_ptr()
    assert layer(torch.zeros(1, 1001, dtype=torch.bfloat16)).shape == (1, 513)


def test_safe_open_gives_torch(control: Control) -> None:
    torch = pytest.importorskip("torch")
    with weightd.safe_open("all", framework="pt") as opened:
        assert torch_bytes(opened.get_tensor("large")) == WANTED["large"].data
        assert torch.equal(opened.get_slice("all.I32")[:, 3:], opened.get_tensor("all.I32")[:, 3:])


# ---- NumPy


def test_numpy_arrays_are_the_file(control: Control) -> None:
    numpy = pytest.importorskip("numpy")
    with weightd.attach("all", "cpu") as attached:
        for name in names_of("numpy"):
            array = attached[name].numpy()
            assert array.tobytes() == WANTED[name].data, name
            assert list(array.shape) == WANTED[name].shape
            assert not array.flags.writeable
            assert numpy.asarray(attached[name]).tobytes() == WANTED[name].data
            if array.size:
                assert array.ctypes.data == attached[name].data_ptr
                assert numpy.asarray(attached[name]).ctypes.data == attached[name].data_ptr
        for name in ("all.F4", "all.F6_E2M3"):
            with pytest.raises(errors.UnsupportedDtypeError, match="raw"):
                attached[name].numpy()
        del array


def test_numpy_has_bf16_and_fp8_where_ml_dtypes_is_there(control: Control) -> None:
    pytest.importorskip("numpy")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with weightd.attach("all", "cpu") as attached:
        for name in names_of("ml_dtypes"):
            array = attached[name].numpy()
            assert array.dtype == getattr(ml_dtypes, _dtypes.from_name(WANTED[name].dtype).ml_dtypes)
            assert array.tobytes() == WANTED[name].data, name


@pytest.mark.parametrize("way", ["numpy", "asarray", "dlpack"])
def test_numpy_arrays_keep_the_lease(control: Control, way: str) -> None:
    numpy = pytest.importorskip("numpy")
    with weightd.attach("all", "cpu") as attached:
        tensor = attached["all.F32"]
        if way == "numpy":
            kept = tensor.numpy()[1:]
        elif way == "asarray":
            kept = numpy.asarray(tensor)[1:]
        else:
            kept = numpy.from_dlpack(tensor)[1:]
    del attached, tensor
    gc.collect()
    assert len(leases(control)) == 1
    assert kept.tobytes() == WANTED["all.F32"].data[48:]


# ---- JAX


def test_jax_arrays_are_the_file(control: Control) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    with weightd.attach("all", "cpu") as attached:
        for name in names_of("dlpack"):
            tensor = attached[name]
            array = tensor.jax()
            assert list(array.shape) == WANTED[name].shape, name
            assert bytes(jax.device_get(array).tobytes()) == WANTED[name].data, name
        del array, tensor


# ---- asyncio


def test_async_attach(control: Control) -> None:
    async def run() -> None:
        async with await weightd.aio.attach("all", "cpu") as attached:
            assert attached["large"].raw() == WANTED["large"].data
            assert len(leases(control)) == 1
        with pytest.raises(errors.ModelNotResidentError):
            await weightd.aio.attach("cold", "cpu")
        told: list[weightd.Progress] = []
        async with await weightd.aio.attach("cold", "cpu", policy="wait", on_progress=told.append):
            pass
        await asyncio.sleep(0)
        assert told

    asyncio.run(run())
    control.ok("evict", "cold")


def test_cancelled_async_attach_gives_up_lease_and_stage(space: Path) -> None:
    root = space / "slow"
    root.mkdir()
    make_file(root / "slow.safetensors", "64MiB")

    async def run(control: Control) -> None:
        options = {"policy": "wait", "socket_dir": control.socket_dir}
        attach = asyncio.ensure_future(weightd.aio.attach("slow", "cpu", **options))
        assert not (await asyncio.wait({attach}, timeout=0.3))[0]
        attach.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attach

    with Daemon(root, space / "slow-run", "--staging.bytes-per-second-max", "4000000") as slow:
        asyncio.run(run(slow))
        assert eventually(lambda: slow.json("status").get("jobs_running", 0) == 0)
        assert slow.json("ps")["models"] == []
        assert leases(slow) == []
