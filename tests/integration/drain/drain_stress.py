#!/usr/bin/env python3
"""SIGTERM at a random moment of a crowded daemon: it always ends within its deadline.

  drain_stress.py BIN_DIR

A seed makes one life of a daemon: 5,000 attaches that wait for models of a FUSE volume which does not answer, 200
watchers of events and models, some connections that nobody reads, a stderr that nobody reads; SIGTERM comes at a random
moment of it, also before it serves. drain_grace_ms is 200, and kStopTime and the last lines of the log (daemon/main)
take 5 s at most; what a machine that is busy with other seeds needs is added.

WEIGHTD_DRAIN_SEED=7 runs that seed alone, WEIGHTD_DRAIN_COUNT=1000 more of them, WEIGHTD_DRAIN_PARALLEL=1 one at a
time. Exit status 0, 1, or 77 where there is no /dev/fuse for us."""

import concurrent.futures
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

from crowd import Connection, attach_request, number
from hung_fuse import HungFuse

ATTACHES = 5000
WATCHERS = 200
STREAMS_PER_CONNECTION = 1000
HUNG_MODELS = 24
GRACE_S = 0.2
DEADLINE_S = GRACE_S + 5
SLACK_S = 3


def write_model(path):
    os.makedirs(os.path.dirname(path))
    header = b'{"w":{"dtype":"U8","shape":[4096],"data_offsets":[0,4096]}}'
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + bytes(4096))


class Life:
    def __init__(self, bin_dir, seed):
        self.random = random.Random(seed)
        self.bin_dir = bin_dir
        self.dir = tempfile.mkdtemp(prefix="weightd-drain-")
        self.socket = os.path.join(self.dir, "s", "weightd.sock")
        self.connections = []
        self.begun = 0
        self.over = threading.Event()

    def start(self):
        root = os.path.join(self.dir, "root")
        write_model(f"{root}/resident/model.safetensors")
        # A root of its own, or a mount below a root that has nothing to do with FUSE.
        below = self.random.random() < 0.3
        point = os.path.join(root if below else self.dir, "fuse")
        os.mkdir(point)
        self.fuse = HungFuse(point, HUNG_MODELS)
        if self.random.random() < (0.3 if below else 0.1):
            self.fuse.hang()  # dead already when the daemon starts
        self.hung_prefix = "fuse/" if below else ""
        roots = ["--root", root] + ([] if below else ["--root", point])
        self.reader, writer = os.pipe()  # nobody reads it
        self.daemon = subprocess.Popen(
            [os.path.join(self.bin_dir, "weightd"), *roots, "--socket-dir",
             os.path.join(self.dir, "s"), "--state-file", os.path.join(self.dir, "state.json"), "--cuda.enabled", "OFF",
             "--host.budget-bytes", str(1 << 28), "--drain-grace-ms", str(int(GRACE_S * 1000)), "--preload", "resident",
             "--storage.stall-timeout-ms", self.random.choice(["1000", "60000"])] + LIMITS, stderr=writer,
            stdin=subprocess.DEVNULL)
        os.close(writer)
        self.started = time.monotonic()

    def connect(self, read):
        while not self.over.is_set():
            try:
                connection = Connection(self.socket, read)
                self.connections.append(connection)
                return connection
            except OSError:
                time.sleep(0.01)  # tidy: polls until the socket is there
        return None

    def crowd(self):
        """Until it is complete, or the daemon is told to end."""
        watched = 0
        while watched < WATCHERS and not self.over.is_set():
            connection = self.connect(read=self.random.random() < 0.5)
            if connection is None:
                return
            connection.call("WatchEvents", number(1, self.random.choice([0, 1024])), times=20)
            connection.call("WatchModels", b"", times=20)
            watched += 40
        left = ATTACHES
        while left > 0 and not self.over.is_set():
            connection = self.connect(read=self.random.random() < 0.7)
            if connection is None:
                return
            for _ in range(STREAMS_PER_CONNECTION // 50):
                hung = f"{self.hung_prefix}h{self.random.randrange(HUNG_MODELS):02}"
                model = hung if self.random.random() < 0.98 else "resident"
                if self.over.is_set() or not connection.call("Attach", attach_request(model, wait=True), times=50):
                    break
                self.begun += 50
                left -= 50

    def run(self):
        """What went wrong, or nothing, and a line about it."""
        self.start()
        crowd = threading.Thread(target=self.crowd)
        crowd.start()
        moment = self.random.choice([0.05, 0.5, 1, 2, 3]) * self.random.random()
        if self.random.random() < 0.3:
            hang_at = moment * self.random.random()
            time.sleep(hang_at)  # tidy: the random moment is what is tested
            self.fuse.hang()
            time.sleep(moment - hang_at)  # tidy: the random moment is what is tested
        else:
            time.sleep(moment)  # tidy: the random moment is what is tested
        early = self.daemon.poll()
        asked = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        self.over.set()
        problem = ""
        try:
            status = self.daemon.wait(DEADLINE_S + SLACK_S)
        except subprocess.TimeoutExpired:
            status = None
            problem = f"still there {DEADLINE_S + SLACK_S:.1f} s after SIGTERM: {self.where()}"
        took = time.monotonic() - asked
        if early is not None:
            problem = f"ended by itself with {early}"
        # Before its handlers are there SIGTERM ends it as any process; a start that hangs is no drain.
        elif status not in (None, 0, -signal.SIGTERM) and not problem:
            log = self.log()
            if status != 1 or "stop_hangs step=" not in log:
                problem = f"exit status {status} after {took:.1f} s: {log[-300:]}"
        line = f"SIGTERM after {moment:.2f} s, {self.begun} attaches begun, ended after {took:.2f} s with {status}"
        crowd.join()
        self.end()
        return problem, line, took

    def where(self):
        """What its threads wait for."""
        waits = {}
        for task in os.listdir(f"/proc/{self.daemon.pid}/task"):
            try:
                name = open(f"/proc/{self.daemon.pid}/task/{task}/comm").read().strip()
                wait = open(f"/proc/{self.daemon.pid}/task/{task}/wchan").read().strip()
            except OSError:
                continue
            waits[f"{name}:{wait}"] = waits.get(f"{name}:{wait}", 0) + 1
        return ", ".join(f"{count} {what}" for what, count in sorted(waits.items())) + "; log: " + self.log()[-300:]

    def log(self):
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1 << 20).decode(errors="replace")
        except OSError:
            return ""

    def end(self):
        self.daemon.kill()
        self.fuse.close()
        for connection in self.connections:
            connection.close()
        self.daemon.wait()
        os.close(self.reader)
        shutil.rmtree(self.dir, ignore_errors=True)


# Of one uid here: the daemon's own limits must not keep the crowd out.
LIMITS = []


def run_seed(bin_dir, seed):
    # A process of its own: the crowd's threads share nothing with those of another seed.
    result = subprocess.run([sys.executable, os.path.abspath(__file__), bin_dir, "--one", str(seed)],
                            stdout=subprocess.PIPE, text=True, check=False)
    return seed, result.returncode, result.stdout.strip()


def main():
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("left out: needs root and /dev/fuse")
        return 77
    bin_dir = os.path.realpath(sys.argv[1])
    if sys.argv[2:3] == ["--one"]:
        problem, line, _ = Life(bin_dir, int(sys.argv[3])).run()
        print(line + (f"\n  {problem}" if problem else ""))
        sys.stdout.flush()
        os._exit(1 if problem else 0)
    only = os.environ.get("WEIGHTD_DRAIN_SEED")
    count = int(os.environ.get("WEIGHTD_DRAIN_COUNT", "100"))
    seeds = [int(only)] if only else list(range(1, count + 1))
    parallel = int(os.environ.get("WEIGHTD_DRAIN_PARALLEL", str(2 * (os.cpu_count() or 1))))
    failed = []
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        for seed, code, line in pool.map(lambda seed: run_seed(bin_dir, seed), seeds):
            print(f"seed {seed}: {line}", flush=True)
            if code != 0:
                failed.append(seed)
    print(f"{len(seeds)} seeds, failed: {failed}" if failed else f"{len(seeds)} seeds, all ended in time")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
