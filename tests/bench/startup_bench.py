"""From a fresh process to a model's tensors in CPU memory: weightd against loading from files.

    startup_bench.py [--sizes 100MB,1GB,4GB] [--rounds N] [--dir DIR] [--json FILE] [--quick]

Run it with a Python that has torch, safetensors, grpcio and, where wanted, tensorizer and
runai-model-streamer (`build/venv-torch/bin/python`, which tests/run.sh makes); a way whose package is
missing is left out, and said to be. Every round runs every way once, in shuffled order, on the same
tensors: cold (the page cache was told to drop the files, posix_fadvise) and warm. The daemon has the model in host memory in both.

`load` ends when every tensor is there, `load + touch` when one byte of each of its pages was read:
safetensors maps files and reads nothing before that. Medians, and ratios within rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = {
    "weightd": "grpc",
    "load_file": "safetensors",
    "safe_open": "safetensors",
    "torch_load": "torch",
    "tensorizer": "tensorizer",
    "runai": "runai_model_streamer",
}
UNITS = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([A-Za-z]+)", text)
    if not found or found[2].upper() not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; wanted 100MB, 4GB")
    return int(found[1]) * UNITS[found[2].upper()]


class Daemon:
    """weightd on host memory, with every model of `root` staged."""

    def __init__(self, binaries: Path, root: Path) -> None:
        self._binaries = binaries
        self.socket_dir = Path(tempfile.mkdtemp(prefix="weightd-bench-"))
        log = (self.socket_dir / "log").open("wb")
        command = [binaries / "weightd", "--root", root, "--socket-dir", self.socket_dir / "run", "--state-file", ""]
        self._process = subprocess.Popen([str(part) for part in command], stderr=log)
        self.environment = {"WEIGHTD_SOCKET_DIR": str(self.socket_dir / "run")}
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            if self.control("health").returncode == 0:
                return
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        raise SystemExit(f"weightd does not serve:\n{(self.socket_dir / 'log').read_text()}")

    def control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._binaries / "weightctl"), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def stage(self, model: str) -> None:
        done = self.control("stage", model, "--wait")
        if done.returncode != 0:
            raise SystemExit(done.stderr)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self.socket_dir, ignore_errors=True)


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.files = Path(options.dir)
        self.files.mkdir(parents=True, exist_ok=True)
        self.daemon = Daemon(options.binaries, self.files)
        self.environment = {
            **os.environ,
            **self.daemon.environment,
            "PYTHONPATH": str(ROOT / "client/python/src"),
        }
        self.rows: list[dict[str, Any]] = []

    def make(self, size: int) -> Path:
        """One file in each form; they stay for the next run."""
        path = self.files / f"startup-{size}.safetensors"
        if not path.exists():
            made = self.files / "made"
            subprocess.run(
                [self.options.binaries / "weightd_make_checkpoint", "--layout", "single", "--size", f"{size}B", made],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            (made / "model.safetensors").rename(path)
            made.rmdir()
        if "torch_load" in self.options.arms and not path.with_suffix(".pt").exists():
            program = (
                "import sys, torch; from safetensors.torch import load_file; "
                "torch.save(load_file(sys.argv[1]), sys.argv[2])"
            )
            subprocess.run([sys.executable, "-c", program, path, path.with_suffix(".pt")], check=True)
        if "tensorizer" in self.options.arms and not path.with_suffix(".tensors").exists():
            subprocess.run(
                [self.options.binaries / "weightctl", "tensorize", path, path.with_suffix(".tensors"), "--align", "1"],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        return path

    def run_arm(self, arm: str, path: Path) -> dict[str, float]:
        done = subprocess.run(
            [sys.executable, HERE / "startup_arm.py", arm, path],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{arm}: {done.stderr}")
        return json.loads(done.stdout)

    def measure(self, size: int) -> None:
        path = self.make(size)
        self.daemon.stage(path.stem)
        order = random.Random(self.options.seed)
        for state in ("warm", "cold"):
            for number in range(self.options.rounds + 1):
                arms = list(self.options.arms)
                order.shuffle(arms)
                for arm in arms:
                    set_cache(path, state)
                    said = self.run_arm(arm, path)
                    if number > 0:  # the first one does not count
                        self.rows.append({"size": size, "state": state, "round": number, "arm": arm, **said})
        self.share(path, size)
        self.daemon.control("evict", path.stem)

    def share(self, path: Path, size: int) -> None:
        """What N processes hold together of one model, by proportional set size."""
        for count in (1, 4, 8):
            children = []
            for _ in range(count):
                child = subprocess.Popen(
                    [sys.executable, HERE / "startup_arm.py", "weightd", path],
                    env=self.environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                children.append(child)
            for child in children:
                child.stdout.readline()  # it holds all
            pss = []
            for child in children:
                child.stdin.write("pss\n")
                child.stdin.flush()
                pss.append(json.loads(child.stdout.readline())["pss"])
            for child in children:
                child.communicate()
            self.rows.append(
                {"size": size, "state": "shared", "processes": count, "arm": "weightd", "pss_sum": sum(pss)}
            )


def set_cache(path: Path, state: str) -> None:
    for file in path.parent.glob(f"{path.stem}.*"):
        with file.open("rb") as opened:
            if state == "cold":
                os.fdatasync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while opened.read(1 << 24):
                    pass


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for size in sorted({row["size"] for row in rows if row["state"] in ("warm", "cold")}):
        for state in ("warm", "cold"):
            found = [row for row in rows if (row["size"], row["state"]) == (size, state)]
            for what in ("load", "load_and_touch"):
                by_arm: dict[str, dict[int, float]] = {}
                for row in found:
                    seconds = row["load"] + (row["touch"] if what == "load_and_touch" else 0)
                    by_arm.setdefault(row["arm"], {})[row["round"]] = seconds
                medians = {arm: statistics.median(values.values()) for arm, values in by_arm.items()}
                entry: dict[str, Any] = {"seconds": medians}
                others = {arm: median for arm, median in medians.items() if arm != "weightd"}
                if "weightd" in medians and others:
                    best = min(others, key=lambda arm: others[arm])
                    entry["best_other"] = best
                    entry["times_faster"] = statistics.median(
                        by_arm[best][number] / by_arm["weightd"][number] for number in by_arm["weightd"]
                    )
                summary[f"{size}_{state}_{what}"] = entry
    for row in rows:
        if row["state"] == "shared":
            summary[f"{row['size']}_pss_of_{row['processes']}"] = row["pss_sum"]
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100MB,1GB,4GB", help="of the models")
    parser.add_argument("--rounds", type=int, default=5, help="that count")
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    parser.add_argument("--dir", default=str(ROOT / "build/release/bench-files/startup"), help="files are made here, and stay")
    parser.add_argument("--binaries", type=Path, default=ROOT / "build/release/bin", help="with weightd and weightctl")
    parser.add_argument("--arms", default=",".join(PACKAGES), help="ways that are compared")
    parser.add_argument("--json", help="versions, rows and summary")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 100MB")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.sizes = 2, "100MB"
    wanted = options.arms.split(",")
    options.arms = [arm for arm in wanted if importlib.util.find_spec(PACKAGES[arm])]
    for arm in wanted:
        if arm not in options.arms:
            print(f"{arm}: not measured: no package {PACKAGES[arm]} in {sys.executable}")
    bench = Bench(options)
    try:
        for size in options.sizes.split(","):
            bench.measure(parse_size(size))
    finally:
        bench.daemon.stop()
    summary = summarise(bench.rows)
    for name, entry in summary.items():
        print(name, json.dumps(entry))
    if options.json:
        Path(options.json).write_text(json.dumps({"rows": bench.rows, "summary": summary}, indent=1) + "\n")


if __name__ == "__main__":
    main()
