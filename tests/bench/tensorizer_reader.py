"""What format_bench compares with: the real tensorizer library reads a file into CPU memory.

    tensorizer_reader.py --version
    tensorizer_reader.py [--verify] FILE    prints {"seconds", "cpu_seconds", "bytes"} as JSON

Imports are not in the time. All else is as the library's README shows it.
"""

import json
import platform
import sys
import time

import tensorizer
import torch


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        print(f"tensorizer {tensorizer.__version__}, torch {torch.__version__}, Python {platform.python_version()}")
        return
    verify = sys.argv[1] == "--verify"
    start, cpu_start = time.perf_counter(), time.process_time()
    tensors = tensorizer.TensorDeserializer(sys.argv[-1], device="cpu", verify_hash=verify)
    found = dict(tensors.items())
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    count = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "bytes": count}))


main()
