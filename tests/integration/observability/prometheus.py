"""Debian's Prometheus as a process, and what its HTTP API says."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs import STOP_SECONDS_MAX, eventually

SCRAPE_INTERVAL = "500ms"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def get(url: str) -> str:
    # 127.0.0.1 is not to be asked for through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return str(answer.read().decode())


@dataclass(frozen=True)
class Metric:
    """One family of a scrape."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]


def parse_scrape(text: str) -> list[Metric]:
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    metrics = []
    for name, kind in kinds.items():
        labels: set[str] = set()
        for series in re.findall(rf"^{name}(?:_bucket|_sum|_count)?\{{(.*)\}} ", text, re.MULTILINE):
            labels |= set(re.findall(r'([a-z_]+)="', series))
        metrics.append(Metric(name, kind, helps.get(name, ""), tuple(sorted(labels - {"le", "quantile"}))))
    return metrics


class Prometheus:
    """Scrapes a daemon's port and evaluates rules, until the end of the `with` block."""

    def __init__(self, space: Path, daemon_port: int, rules: Path) -> None:
        self._space = space / "prometheus"
        self._space.mkdir()
        shutil.copy(rules, self._space)
        (self._space / "prometheus.yaml").write_text(
            json.dumps(  # which is YAML
                {
                    "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL},
                    "rule_files": [rules.name],
                    "scrape_configs": [
                        {"job_name": "weightd", "static_configs": [{"targets": [f"127.0.0.1:{daemon_port}"]}]}
                    ],
                }
            )
        )
        self._port = free_port()

    def __enter__(self) -> Prometheus:
        with (self._space / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._space}/prometheus.yaml",
                    f"--storage.tsdb.path={self._space}/data",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if not eventually(self._ready):
            self.__exit__()
            raise AssertionError(f"Prometheus is not ready; its log:\n{self.log()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return (self._space / "log").read_text(errors="replace")

    def _ready(self) -> bool:
        assert self._process.poll() is None, f"Prometheus ended; its log:\n{self.log()}"
        try:
            get(f"http://127.0.0.1:{self._port}/-/ready")
        except OSError:
            return False
        return True

    def api(self, path: str, **parameters: str) -> Any:
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        answer = json.loads(get(f"http://127.0.0.1:{self._port}/api/v1/{path}{query}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.api("query", query=expression)["result"]
        return result

    def value(self, expression: str) -> float:
        """Of one series; 0 where there is none."""
        result = self.query(expression)
        assert len(result) <= 1, f"{expression} is {result}"
        return float(result[0]["value"][1]) if result else 0.0

    def metric_names(self) -> set[str]:
        return set(self.api("label/__name__/values", **{"match[]": '{job="weightd"}'}))

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.api("alerts")["alerts"] if alert["state"] == "firing"}
