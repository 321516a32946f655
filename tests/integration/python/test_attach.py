"""The package `weightd`: attaching, what tensors are, and how long they live."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import weightd
from programs import Control, Daemon, Tensor, eventually, leases
from weightd import errors
from weightd.engines._options import LoaderOptions


@pytest.fixture(scope="module")
def root(space: Path) -> Path:
    path = space / "root"
    path.mkdir()
    checkpoints.write(path / "all.safetensors", checkpoints.every_dtype(), {"format": "pt", "who": "me"})
    # More than a message holds, in characters of two bytes: pieces end within them.
    large = {"format": "pt", "tokenizer": "é" * (3 << 20), "k" * (1 << 20): "v"}
    checkpoints.write(path / "noted.safetensors", {"w": checkpoints.stored("F32", [1])}, large)
    for name in ("cold", "other"):
        checkpoints.write(path / f"{name}.safetensors", {"w": checkpoints.stored("F32", [100, 100])})
    return path


@pytest.fixture
def control(root: Path, space: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with Daemon(root, space / "run", "--access.operate-uid", str(os.getuid())) as control:
        control.ok("stage", "all", "--wait")
        monkeypatch.setenv("WEIGHTD_SOCKET_DIR", str(control.socket_dir))
        yield control


# ---- what tensors are


def test_metadata_that_is_larger_than_a_message(control: Control) -> None:
    control.ok("stage", "noted", "--wait")
    with weightd.attach("noted") as attached:
        assert attached.metadata == {"format": "pt", "tokenizer": "é" * (3 << 20), "k" * (1 << 20): "v"}


def test_every_byte_of_every_dtype_is_there(control: Control) -> None:
    wanted = checkpoints.every_dtype()
    with weightd.attach("all", device="cpu", client_name="pytest") as attached:
        assert attached.keys() == wanted.keys()
        assert len(attached) == len(wanted)
        assert attached.metadata == {"format": "pt", "who": "me"}
        assert attached.nbytes == sum(len(tensor.data) for tensor in wanted.values())
        assert (attached.model, attached.device, attached.source) == ("all", "host", "weightd")
        assert attached.lease_held
        (lease,) = leases(control)
        assert (lease["id"], lease["pid"]) == (attached.lease_id, os.getpid())
        assert lease["client_name"] == "pytest"
        for name, tensor in attached.items():
            assert (tensor.name, tensor.dtype, list(tensor.shape)) == (
                name,
                wanted[name].dtype,
                wanted[name].shape,
            )
            assert tensor.raw() == wanted[name].data, name
            assert tensor.tobytes() == wanted[name].data, name
            assert tensor.raw().readonly
            assert (tensor.device, tensor.nbytes) == ("cpu", len(wanted[name].data))
            assert len(tensor.digest) == 32
        assert attached["large"].strides == (1001, 1)
        with pytest.raises(KeyError):
            attached["nothing"]


def test_memory_is_mapped_for_reading_only(control: Control) -> None:
    program = """
import ctypes, weightd
attached = weightd.attach("all", "cpu")
ctypes.memset(attached["large"].data_ptr, 0, 1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -signal.SIGSEGV


# ---- how long they live


def test_tensor_keeps_the_lease_after_with_and_nothing_else_does(control: Control) -> None:
    with weightd.attach("all", "cpu") as attached:
        tensor = attached["large"]
    assert not attached.lease_held
    with pytest.raises(errors.ClosedError, match="closed"):
        attached["large"]
    assert len(leases(control)) == 1
    assert tensor.tobytes() == checkpoints.every_dtype()["large"].data
    view = tensor.raw()
    del tensor
    gc.collect()
    assert len(leases(control)) == 1
    assert view == checkpoints.every_dtype()["large"].data
    del view
    assert eventually(lambda: leases(control) == [])


def test_closing_is_enough_and_can_be_repeated(control: Control) -> None:
    attached = weightd.attach("all", "cpu")
    attached.close()
    attached.close()
    assert eventually(lambda: leases(control) == [])
    assert "closed" in repr(attached)


def test_many_attaches_share_one_copy(control: Control) -> None:
    attached = [weightd.attach("all", "cpu") for _ in range(20)]
    assert len(leases(control)) == 20
    assert control.json("status")["devices"][0]["used_bytes"] == control.json("ps")["models"][0][
        "generations"
    ][0]["allocated_bytes"]
    del attached
    gc.collect()
    assert eventually(lambda: leases(control) == [])


def test_process_that_is_killed_holds_nothing(control: Control) -> None:
    program = 'import weightd, sys; a = weightd.attach("all", "cpu"); print("held", flush=True); sys.stdin.read()'
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    assert len(leases(control)) == 1
    child.kill()
    child.wait()
    assert eventually(lambda: leases(control) == [])


def test_interpreter_ends_quietly_with_all_kinds_of_references(control: Control) -> None:
    program = """
import weightd
attached = weightd.attach("all", "cpu")
tensor = attached["large"]
view = tensor.raw()
capsule = tensor.__dlpack__()
cycle = [tensor]; cycle.append(cycle)
"""
    done = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert eventually(lambda: leases(control) == [])


# ---- policies and errors


def test_require_refuses_what_is_not_resident(control: Control) -> None:
    with pytest.raises(errors.ModelNotResidentError, match="attach cold: .*stage it first") as caught:
        weightd.attach("cold", "cpu")
    assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "MODEL_NOT_RESIDENT")


def test_wait_stages_and_tells_how_it_goes(control: Control) -> None:
    told: list[weightd.Progress] = []
    with weightd.attach("cold", "cpu", policy="wait", timeout=60, on_progress=told.append) as attached:
        assert attached["w"].raw() == checkpoints.stored("F32", [100, 100]).data
    assert told
    assert all(progress.bytes_done <= progress.bytes_total for progress in told)
    control.ok("evict", "cold")


def test_disk_reads_the_files_and_says_so(control: Control, root: Path) -> None:
    with pytest.warns(weightd.FallbackWarning, match="cold is read from .*not resident"):
        attached = weightd.attach("cold", "cpu", policy="disk", files=root / "cold.safetensors")
    assert (attached.source, attached.lease_id, attached.lease_held) == ("disk", 0, False)
    assert attached["w"].raw() == checkpoints.stored("F32", [100, 100]).data
    # Nothing of that where weightd has it.
    with weightd.attach("all", "cpu", policy="disk", files="/nonexistent") as attached:
        assert attached.source == "weightd"


def test_disk_reads_every_dtype_and_shards_without_a_daemon(root: Path, tmp_path: Path) -> None:
    wanted = checkpoints.every_dtype()
    with pytest.warns(weightd.FallbackWarning, match="no such socket"):
        attached = weightd.attach(
            "all", policy="disk", files=root / "all.safetensors", socket_dir=tmp_path
        )
    assert {name: tensor.tobytes() for name, tensor in attached.items()} == {
        name: tensor.data for name, tensor in wanted.items()
    }
    checkpoints.write(tmp_path / "model-1.safetensors", {"a": checkpoints.stored("F32", [3])})
    checkpoints.write(tmp_path / "model-2.safetensors", {"b": checkpoints.stored("I8", [5])})
    with pytest.warns(weightd.FallbackWarning):
        attached = weightd.attach("many", policy="disk", files=tmp_path, socket_dir=tmp_path)
    assert attached["a"].tobytes() == checkpoints.stored("F32", [3]).data
    assert attached["b"].tobytes() == checkpoints.stored("I8", [5]).data


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"\xff" * 100, (2).to_bytes(8, "little") + b"[]", (4).to_bytes(8, "little") + b'{"a"'],
)
def test_disk_refuses_what_is_no_file_of_the_format(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.warns(weightd.FallbackWarning), pytest.raises(errors.CheckpointError, match="bad.safetensors"):
        weightd.attach("bad", policy="disk", files=path, socket_dir=tmp_path)


def test_errors_have_classes(control: Control, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidRequestError):
        weightd.attach("../etc", "cpu")
    with pytest.raises(errors.InvalidRequestError, match="policy"):
        weightd.attach("all", policy="hope")
    with pytest.raises(errors.InvalidRequestError, match="files"):
        weightd.attach("all", policy="disk")
    with pytest.raises(errors.InvalidRequestError, match="timeout"):
        weightd.attach("all", timeout=0)
    with pytest.raises(errors.InvalidRequestError, match="device"):
        weightd.attach("all", device="tpu:0")
    with pytest.raises(errors.InvalidRequestError, match="device"):
        weightd.attach("all", device="GPU-\udcff")
    with pytest.raises(errors.InvalidRequestError, match="UTF-8"):
        weightd.attach("all\udcff", "cpu")
    with pytest.raises(errors.InvalidRequestError, match="UTF-8"):
        weightd.attach("all", "cpu", client_name="\udcff")
    with pytest.raises(errors.ModelNotFoundError):
        weightd.attach("missing", "cpu", policy="wait")
    with pytest.raises(errors.DeviceNotFoundError):
        weightd.attach("all", "GPU-00000000-0000-0000-0000-000000000000")
    with pytest.raises(errors.UnreachableError, match="is weightd running"):
        weightd.attach("all", socket_dir=tmp_path)
    with pytest.raises(ConnectionError):
        weightd.attach("all", socket_dir=tmp_path)
    assert leases(control) == []


def test_errors_pass_between_processes(control: Control) -> None:
    with pytest.raises(errors.ModelNotResidentError) as caught:
        weightd.attach("cold", "cpu")
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is errors.ModelNotResidentError
    assert (str(error), error.reason, error.code) == (
        str(caught.value),
        caught.value.reason,
        caught.value.code,
    )


# ---- notices


def test_newer_generation_is_told_and_the_old_bytes_stay(control: Control, root: Path) -> None:
    control.ok("stage", "other", "--wait")
    notices: list[weightd.Notice] = []
    old = checkpoints.stored("F32", [100, 100])
    new = checkpoints.stored("F32", [100, 100], seed=2)
    with weightd.attach("other", "cpu", on_notice=notices.append) as attached:
        checkpoints.write(root / "other.safetensors", {"w": new})
        control.ok("stage", "other", "--wait")
        assert eventually(lambda: [notice.kind for notice in notices] == ["superseded"])
        assert attached["w"].raw() == old.data
        with weightd.attach("other", "cpu") as newer:
            assert newer.generation_id == notices[0].generation_id
            assert newer["w"].raw() == new.data
    checkpoints.write(root / "other.safetensors", {"w": old})


def test_revoked_lease_is_told_and_host_memory_stays(control: Control) -> None:
    notices: list[weightd.Notice] = []
    attached = weightd.attach("all", "cpu", on_notice=notices.append)
    control.ok("evict", "all", "--force", "--grace", "0s")
    assert eventually(lambda: len(notices) == 2)
    assert [notice.kind for notice in notices] == ["revoking", "lost"]
    assert notices[0].deadline is not None
    assert isinstance(notices[1].error, errors.LeaseRevokedError)
    assert not attached.lease_held
    assert attached["large"].raw() == checkpoints.every_dtype()["large"].data


def test_exception_of_a_callback_ends_neither_the_attach_nor_the_lease(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))
    kinds: list[str] = []

    def broken(what: Any) -> None:
        kinds.append(getattr(what, "kind", "progress"))
        raise RuntimeError("a bug of the caller")

    control.run("evict", "all", "--force", "--grace", "0s")
    attached = weightd.attach("all", "cpu", policy="wait", on_notice=broken, on_progress=broken)
    assert attached.lease_held
    control.ok("evict", "all", "--force", "--grace", "0s")
    assert eventually(lambda: kinds[-2:] == ["revoking", "lost"])
    assert not attached.lease_held
    assert raised and all(isinstance(error, RuntimeError) for error in raised)
    control.ok("stage", "all", "--wait")


def test_daemon_that_dies_loses_the_lease_not_the_bytes(root: Path, space: Path) -> None:
    notices: list[weightd.Notice] = []
    daemon = Daemon(root, space / "dies")
    with daemon as control:
        control.ok("stage", "all", "--wait")
        attached = weightd.attach("all", "cpu", socket_dir=control.socket_dir, on_notice=notices.append)
    assert eventually(lambda: bool(notices) and notices[-1].kind == "lost")
    assert attached["large"].raw() == checkpoints.every_dtype()["large"].data
    with pytest.raises(errors.UnreachableError):
        weightd.attach("all", socket_dir=space / "dies")


# ---- fork


def test_forked_child_reads_host_memory_and_never_ends_the_lease(control: Control) -> None:
    attached = weightd.attach("all", "cpu")
    wanted = checkpoints.every_dtype()["large"].data
    child = os.fork()
    if child == 0:
        good = attached["large"].raw() == wanted and not attached.lease_held
        attached.close()
        gc.collect()
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert attached.lease_held
    assert len(leases(control)) == 1
    assert attached["large"].raw() == wanted


def test_attach_in_a_forked_child_is_refused_at_once(control: Control) -> None:
    attached = weightd.attach("all", "cpu")
    child = os.fork()
    if child == 0:
        try:
            weightd.attach("all", "cpu")
        except errors.ForkedError as error:
            os._exit(0 if "spawn" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert attached.lease_held


# ---- drop-ins


def test_safe_open_answers_as_the_real_one(control: Control, root: Path) -> None:
    np = pytest.importorskip("numpy")
    safetensors = pytest.importorskip("safetensors", minversion="0.8")
    with safetensors.safe_open(root / "all.safetensors", framework="np") as real, weightd.safe_open(
        "all", framework="np"
    ) as ours:
        assert ours.keys() == sorted(real.keys())
        assert sorted(ours.offset_keys()) == ours.keys()
        assert ours.metadata() == real.metadata()
        for name in ("all.F32", "all.I64", "all.BOOL", "scalar", "empty"):
            assert np.array_equal(ours.get_tensor(name), real.get_tensor(name), equal_nan=True)
        part, real_part = ours.get_slice("all.I16"), real.get_slice("all.I16")
        assert (part.get_shape(), part.get_dtype()) == (real_part.get_shape(), real_part.get_dtype())
        assert np.array_equal(part[1:3, 2:], real_part[1:3, 2:])
        with pytest.raises(KeyError, match="nothing"):
            ours.get_tensor("nothing")
    del part
    assert eventually(lambda: leases(control) == [])


def test_stored_is_what_the_reference_package_reads(root: Path) -> None:
    """The files that these tests make are real ones."""
    safetensors = pytest.importorskip("safetensors", minversion="0.8")
    found = {name: bytes(entry["data"]) for name, entry in safetensors.deserialize((root / "all.safetensors").read_bytes())}
    wanted: dict[str, Tensor] = checkpoints.every_dtype()
    assert found == {name: tensor.data for name, tensor in wanted.items()}


def test_names_of_an_engines_models() -> None:
    plain = LoaderOptions.parse({})
    assert plain.name_of("org/model", None) == "org/model"
    assert plain.name_of("org/model", "main") == "org/model@main"
    one = LoaderOptions.parse({"model": "served"})
    assert one.name_of("/models/m", None) == "served"
    assert one.name_of("/models/encoder", None, primary=False) == "/models/encoder"
    several = LoaderOptions.parse({"model": {"/models/m": "served", "/models/d": "draft"}})
    assert several.name_of("/models/d", None) == "draft"
    assert several.name_of("/models/m", "main") == "served"
    assert several.name_of("org/other", "main") == "org/other@main"


@pytest.mark.parametrize("extra", [{"polcy": "wait"}, {"policy": "sometimes"}, {"model": 7}])
def test_an_engines_wrong_options_are_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequestError, match="--model-loader-extra-config"):
        LoaderOptions.parse(extra)
