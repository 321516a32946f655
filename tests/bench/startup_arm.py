"""One fresh process of startup_bench: a way to get a model's tensors in CPU memory.

    startup_arm.py ARM PATH

Prints one line of JSON: seconds for the imports, until every tensor is there (`load`), and then for
reading one byte of each of its pages (`touch`), since some ways read nothing before. With a line on
stdin it goes on holding them until stdin ends, and first prints what it holds of memory (`pss`).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Callable

PAGE = 4096
Tensors = dict[str, Any]


def weightd_attach() -> Callable[[str], Tensors]:
    import torch  # noqa: F401 - its import is not the attach's

    import weightd

    return lambda path: weightd.load_state_dict(Path(path).stem)


def load_file() -> Callable[[str], Tensors]:
    from safetensors.torch import load_file

    return load_file


def safe_open() -> Callable[[str], Tensors]:
    import torch  # noqa: F401
    from safetensors import safe_open

    def load(path: str) -> Tensors:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}

    return load


def torch_load() -> Callable[[str], Tensors]:
    import torch

    return lambda path: torch.load(str(Path(path).with_suffix(".pt")), map_location="cpu")


def tensorizer() -> Callable[[str], Tensors]:
    import tensorizer

    def load(path: str) -> Tensors:
        tensors = tensorizer.TensorDeserializer(str(Path(path).with_suffix(".tensors")), device="cpu")
        return dict(tensors.items())

    return load


def runai() -> Callable[[str], Tensors]:
    from runai_model_streamer import SafetensorsStreamer

    def load(path: str) -> Tensors:
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            return {name: tensor.clone() for name, tensor in streamer.get_tensors()}

    return load


ARMS = {
    "weightd": weightd_attach,
    "load_file": load_file,
    "safe_open": safe_open,
    "torch_load": torch_load,
    "tensorizer": tensorizer,
    "runai": runai,
}


def touch(tensors: Tensors) -> None:
    import torch

    for tensor in tensors.values():
        if tensor.numel():
            tensor.detach().reshape(-1).view(torch.uint8)[::PAGE].sum()


def pss_bytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    begin = time.perf_counter()
    load = ARMS[sys.argv[1]]()
    imported = time.perf_counter()
    tensors = load(sys.argv[2])
    loaded = time.perf_counter()
    touch(tensors)
    touched = time.perf_counter()
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    said = {"import": imported - begin, "load": loaded - imported, "touch": touched - loaded, "bytes": nbytes}
    print(json.dumps(said), flush=True)
    if sys.stdin.readline():
        print(json.dumps({"pss": pss_bytes()}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
