"""Makes the files here, with the real tensorizer library (PyPI: tensorizer, torch).

    make.py    writes *.tensors.gz beside itself, and says the library's version

They are what `real_files_test.cc` reads: see there for what each holds.
"""

import gzip
import io
import os
from pathlib import Path

import tensorizer
import torch
from tensorizer import EncryptionParams, TensorSerializer

HERE = Path(__file__).parent
KEY = bytes(range(32))


def state_dict() -> dict[str, torch.Tensor]:
    counting = torch.arange(600, dtype=torch.float32).reshape(20, 30)
    return {
        "layer.weight": counting,
        "layer.half": counting.to(torch.float16).t(),  # not contiguous: stored row by row
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "flags": torch.tensor([True, False, True]),
        "i64": torch.arange(5),
        "c64": torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex64),
    }


def module() -> torch.nn.Module:
    made = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    made.register_buffer("scale", torch.ones(2))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape))
    return made


def write(name: str, fill, **options) -> None:
    path = HERE / f"{name}.tensors"
    serializer = TensorSerializer(str(path), **options)
    fill(serializer)
    serializer.close()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(path.read_bytes())
    path.with_suffix(".tensors.gz").write_bytes(packed.getvalue())
    os.remove(path)


nested = {"model": {"layers": [{"w": torch.ones(2)}, {"w": torch.zeros(2)}]}}
opaque = {
    "bf16": torch.arange(7).to(torch.bfloat16),
    "f8": torch.arange(8).to(torch.float8_e4m3fn),
    "c32": torch.tensor([1 + 2j], dtype=torch.complex32),
}
meta = {"there": torch.ones(3), "meta": torch.empty((2, 3), device="meta")}
secret = {"w": torch.arange(1500, dtype=torch.float32), "v": torch.ones(3)}
password = EncryptionParams.from_string("open sesame")

write("state_dict", lambda s: s.write_state_dict(state_dict()))
write("module", lambda s: s.write_module(module()))
write("nested", lambda s: s.write_state_dict(nested))
write("opaque", lambda s: s.write_state_dict(opaque))
write("meta", lambda s: s.write_state_dict(meta))
write("key", lambda s: s.write_state_dict(secret), encryption=EncryptionParams(KEY))
write("password", lambda s: s.write_state_dict(secret), encryption=password)
print("tensorizer", tensorizer.__version__, "torch", torch.__version__)
