"""The real tensorizer library reads what weightctl writes, and weightd what the library writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import tensorizer
import torch
import weightd
import weightd.errors
from programs import Control, Daemon, Tensor, make_file, read_file

# What both formats and Debian's PyTorch have.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def tensor_of(name: str, shape: list[int]) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return (torch.arange(count) % 100).to(DTYPES[name]).reshape(shape)


def as_stored(tensor: torch.Tensor) -> Tensor:
    return Tensor(NAMES[tensor.dtype], list(tensor.shape), bytes_of(tensor))


def bytes_of(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() > 0 else b""


def every_dtype() -> dict[str, torch.Tensor]:
    state = {f"a.{name}": tensor_of(name, [3, 5]) for name in DTYPES}
    state["scalar"] = tensor_of("F32", [])
    # Without BF16: the library cannot read its own file with an empty tensor of an opaque dtype.
    state["empty"] = tensor_of("F32", [0, 4])
    state["transposed"] = tensor_of("I32", [7, 2]).t()
    state["large"] = tensor_of("BF16", [1000, 1500])
    return state


def read_with_library(path: Path, **options: object) -> dict[str, Tensor]:
    found = tensorizer.TensorDeserializer(str(path), device="cpu", verify_hash=True, **options)
    return {name: as_stored(tensor) for name, tensor in found.items()}


def write_with_library(path: Path, state: dict[str, torch.Tensor], **options: object) -> None:
    serializer = tensorizer.TensorSerializer(str(path), **options)
    serializer.write_state_dict(state)
    serializer.close()


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name] == tensor, name


def weightctl(*arguments: object) -> None:
    done = Control(Path("/nonexistent")).run(*(str(argument) for argument in arguments))
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("alignment", [1, 256, 4096])
def test_library_reads_what_weightctl_tensorizes(alignment: int, tmp_path: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in every_dtype().items()}
    wanted = {name: as_stored(tensor) for name, tensor in state.items()}
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    weightctl("tensorize", "--align", alignment, tmp_path / "m.safetensors", tmp_path / "m.tensors")
    assert_same(read_with_library(tmp_path / "m.tensors"), wanted)


def test_library_reads_a_model_of_many_tensors(tmp_path: Path) -> None:
    make_file(tmp_path / "m.safetensors", "24MiB")
    weightctl("tensorize", tmp_path / "m.safetensors", tmp_path / "m.tensors")
    assert_same(read_with_library(tmp_path / "m.tensors"), read_file(tmp_path / "m.safetensors"))


def test_weightctl_untensorizes_what_the_library_writes(tmp_path: Path) -> None:
    state = every_dtype()
    write_with_library(tmp_path / "m.tensors", state)
    weightctl("untensorize", tmp_path / "m.tensors", tmp_path / "m.safetensors")
    assert_same(
        read_file(tmp_path / "m.safetensors"),
        {name: as_stored(tensor) for name, tensor in state.items()},
    )


def assert_staged(control: Control, model: str, state: dict[str, torch.Tensor]) -> None:
    control.ok("stage", model, "--wait", "--verify", "full")
    listed = {tensor["name"]: tensor for tensor in control.json("tensors", model)["tensors"]}
    assert listed.keys() == state.keys()
    for name, tensor in state.items():
        wanted = as_stored(tensor)
        assert (listed[name]["dtype"], listed[name].get("shape", [])) == (wanted.dtype, wanted.shape)
        assert control.ok("read", model, name) == wanted.data, name


def test_weightd_stages_what_the_library_writes(space: Path) -> None:
    root = space / "plain"
    root.mkdir()
    state = every_dtype()
    write_with_library(root / "m.tensors", state)
    with Daemon(root, space / "plain-run") as control:
        assert_staged(control, "m", state)
        report = control.json("stages")["reports"][0]
        assert report["hashes_checked"] == 2 * len(state)


@pytest.mark.parametrize("secret", ["key", "password"])
def test_weightd_stages_what_the_library_encrypts(secret: str, space: Path) -> None:
    root = space / secret
    root.mkdir()
    state = {"a": tensor_of("F32", [300, 1000]), "b": tensor_of("BF16", [17])}
    file = space / f"{secret}.secret"
    if secret == "key":
        encryption = tensorizer.EncryptionParams(key=bytes(range(32)))
        file.write_bytes(bytes(range(32)))
    else:
        encryption = tensorizer.EncryptionParams.from_string("open sesame")
        file.write_text("open sesame\n")
    write_with_library(root / "m.tensors", state, encryption=encryption)
    with Daemon(root, space / f"{secret}-run", f"--encryption.{secret}-file", str(file)) as control:
        assert_staged(control, "m", state)




def attach(control: Control, model: str) -> weightd.Attachment:
    return weightd.attach(model, device="cpu", socket_dir=str(control.socket_dir))


def test_attach_gives_every_dtype_of_the_format(space: Path) -> None:
    root = space / "attach"
    root.mkdir()
    state = every_dtype()
    # Of this format alone.
    halves = torch.arange(24, dtype=torch.float16).reshape(3, 4, 2)
    state["a.C32"] = torch.view_as_complex(halves)
    state["a.C128"] = torch.complex(torch.arange(6.0, dtype=torch.float64), torch.ones(6, dtype=torch.float64))
    write_with_library(root / "m.tensors", state)
    with Daemon(root, space / "attach-run") as control:
        control.ok("stage", "m", "--wait")
        with attach(control, "m") as m:
            assert (m["a.C32"].dtype, m["a.C128"].dtype) == ("C32", "C128")
            found = m.torch()
            assert found.keys() == state.keys()
            for name, wanted in state.items():
                tensor = found[name]
                assert (tensor.dtype, tensor.shape) == (wanted.dtype, wanted.shape), name
                assert m[name].raw().tobytes() == bytes_of(wanted), name
                assert bytes_of(tensor) == bytes_of(wanted), name
            assert (m["a.C128"].numpy() == state["a.C128"].numpy()).all()
            with pytest.raises(weightd.errors.UnsupportedDtypeError):
                m["a.C32"].numpy()
            del found, tensor


def test_attach_gives_the_bytes_of_a_type_that_pytorch_lacks(space: Path) -> None:
    root = space / "newer"
    root.mkdir()
    state = {"known": tensor_of("F32", [4]), "unknown": tensor_of("BF16", [5, 3])}
    write_with_library(root / "m.tensors", state)
    # As a newer PyTorch would write it; the file's hashes are those of the old name.
    content = (root / "m.tensors").read_bytes()
    assert content.count(b"torch.bfloat16") == 2, "in the index and before the data"
    (root / "m.tensors").write_bytes(content.replace(b"torch.bfloat16", b"torch.newtype2"))
    with Daemon(root, space / "newer-run") as control:
        control.ok("stage", "m", "--wait", "--verify", "none")
        with attach(control, "m") as m:
            unknown = m["unknown"]
            assert (unknown.dtype, unknown.torch_dtype, unknown.shape) == ("OPAQUE16", "torch.newtype2", (5, 3))
            assert unknown.raw().tobytes() == bytes_of(state["unknown"])
            for convert in (unknown.torch, unknown.numpy, m.torch):
                with pytest.raises(weightd.errors.UnsupportedDtypeError):
                    convert()
            assert m.torch(skip_unsupported=True).keys() == {"known"}
            del unknown
