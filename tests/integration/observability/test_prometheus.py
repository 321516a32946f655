"""A real daemon under a real Prometheus, with the rules and the dashboard of deploy/observability."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from programs import Control, Daemon, binary, eventually, make_checkpoint
from prometheus import Metric, Prometheus, free_port, get, parse_scrape
from promql import metric_names

SOURCE = Path(__file__).resolve().parents[3]
OBSERVABILITY = SOURCE / "deploy/observability"
RULES = OBSERVABILITY / "alerts.yaml"
# What Grafana puts in.
VARIABLES = {"$instance": ".*", "$device": ".*", "$__rate_interval": "10s"}


@dataclass(frozen=True)
class World:
    """A daemon that has done something of everything, and who watched it."""

    control: Control
    prometheus: Prometheus
    port: int

    def scrape(self) -> str:
        return get(f"http://127.0.0.1:{self.port}/metrics")


def live(control: Control) -> None:
    """A short life: stages, attaches, refusals, evictions."""
    for model in ("small", "small"):
        control.ok("stage", model, "--wait")
    assert control.run("stage", "large", "--wait").returncode != 0, "larger than the budget"
    assert control.run("stage", "none", "--wait").returncode != 0
    assert control.run("stage", "small", "--device", "GPU-none").returncode != 0
    names = [tensor["name"] for tensor in control.json("tensors", "small")["tensors"]]
    control.ok("read", "small", names[0])
    control.ok("verify", "small")
    control.ok("evict", "small")
    assert control.run("read", "small", names[0]).returncode != 0, "not resident"
    control.ok("stage", "small", "--wait")


@pytest.fixture(scope="module")
def world(space: Path) -> Iterator[World]:
    root = space / "root"
    root.mkdir()
    make_checkpoint(root / "small", "--layout", "single", "--size", "1MiB")
    make_checkpoint(root / "large", "--layout", "single", "--size", "20MiB")
    port = free_port()
    daemon = Daemon(
        root, space / "run", "--metrics.address", f"127.0.0.1:{port}", "--host.budget-bytes", str(12 << 20)
    )
    with daemon as control, Prometheus(space, port, RULES) as prometheus:
        # It has seen every series at 0: what happens now is an increase.
        assert eventually(lambda: prometheus.value("weightd_build_info") == 1), prometheus.log()
        assert eventually(lambda: prometheus.value("count_over_time(weightd_draining[1m])") >= 2)
        live(control)
        yield World(control, prometheus, port)


def promtool(*arguments: str | Path, text: str | None = None) -> None:
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"promtool {arguments}: {done.stdout}{done.stderr}"
    # A complaint is no error to it.
    assert arguments[:2] != ("check", "metrics") or not (done.stdout + done.stderr), done.stdout + done.stderr


def test_rules_are_right_and_their_unit_tests_pass() -> None:
    promtool("check", "rules", RULES)
    promtool("test", "rules", OBSERVABILITY / "alerts.test.yaml")


def test_scrape_follows_the_conventions(world: World) -> None:
    promtool("check", "metrics", text=world.scrape())


def test_target_is_up(world: World) -> None:
    (target,) = world.prometheus.api("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


def test_rules_are_evaluated_without_an_error(world: World) -> None:
    def evaluated() -> bool:
        return all(rule["health"] != "unknown" for rule in world.prometheus.rules())

    assert eventually(evaluated)
    rules = world.prometheus.rules()
    assert len(rules) == RULES.read_text().count("- alert:")
    assert [rule["name"] for rule in rules if rule["health"] != "ok" or rule.get("lastError")] == []


def test_counts_what_happened(world: World) -> None:
    expected = {
        'weightd_stages_total{result="done"}': 2,
        'weightd_stages_total{result="already_resident"}': 1,
        'weightd_stages_total{result="refused"}': 1,
        'weightd_stages_total{result="failed"}': 1,
        'weightd_stage_failures_total{reason="MODEL_NOT_FOUND"}': 1,
        'weightd_refusals_total{request="stage",reason="BUDGET_EXCEEDED"}': 1,
        'weightd_refusals_total{request="stage",reason="DEVICE_NOT_FOUND"}': 1,
        'weightd_refusals_total{request="attach",reason="MODEL_NOT_RESIDENT"}': 1,
        "weightd_attach_misses_total": 1,
        'weightd_evictions_total{device="host",reason="OPERATOR"}': 1,
        'weightd_verified_copies_total{device="host"}': 1,
        'weightd_resident_copies{device="host"}': 1,
    }
    for series, value in expected.items():
        assert eventually(lambda s=series, v=value: world.prometheus.value(s) == v), (  # type: ignore[misc]
            f"{series} is {world.prometheus.value(series)}, wanted {value}"
        )
    hits = world.prometheus.value("weightd_attach_hits_total")
    assert hits >= 1
    assert world.prometheus.value("sum(weightd_leases_granted_total)") == hits
    phases = world.prometheus.value("sum(weightd_stage_phase_seconds_total)")
    assert phases == pytest.approx(world.prometheus.value("sum(weightd_stage_duration_seconds_sum)"))
    assert phases > 0


def test_alert_fires_that_should(world: World) -> None:
    assert eventually(lambda: "WeightdRefusedForRoom" in world.prometheus.firing()), world.prometheus.api("alerts")
    assert "WeightdVerifyFailure" not in world.prometheus.firing()


def dashboard() -> Any:
    return json.loads((OBSERVABILITY / "dashboard.json").read_text())


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def assert_exist(expressions: list[str], known: set[str]) -> None:
    assert expressions
    for expression in expressions:
        names = metric_names(expression)
        assert names, f"{expression} names no metric"
        assert names <= known, f"{expression}: there is no {names - known}"


def test_metrics_of_rules_and_dashboard_exist(world: World) -> None:
    known = world.prometheus.metric_names()
    assert_exist([rule["query"] for rule in world.prometheus.rules()], known)
    assert_exist(dashboard_expressions(), known)
    variables = [v["definition"] for v in dashboard()["templating"]["list"] if v["type"] == "query"]
    assert_exist([re.sub(r"^label_values\((.*), \w+\)$", r"\1", v) for v in variables], known)


def test_dashboard_shows_every_metric_of_ours(world: World) -> None:
    shown = set().union(*(metric_names(expression) for expression in dashboard_expressions()))
    shown = {re.sub("_bucket$", "", name) for name in shown}
    ours = {metric.name for metric in parse_scrape(world.scrape()) if metric.name.startswith("weightd_")}
    assert ours <= shown


def test_dashboard_expressions_are_evaluated(world: World) -> None:
    for expression in dashboard_expressions():
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        world.prometheus.query(expression)


def test_dashboard_has_units_and_places() -> None:
    seen: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & seen, f"{panel['title']} lies on another panel"
        seen |= cells
        assert panel["type"] == "row" or panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


def table_row(metric: Metric) -> str:
    return f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |"


def test_table_of_the_readme_is_the_scrape(world: World) -> None:
    wanted = [table_row(metric) for metric in sorted(parse_scrape(world.scrape()), key=lambda metric: metric.name)]
    rows = re.findall(r"^\| `\w+` \| (?:counter|gauge|histogram|summary) \|.*$", (OBSERVABILITY / "README.md").read_text(), re.MULTILINE)
    assert rows == wanted, "the table should be:\n" + "\n".join(wanted)


def test_every_alert_says_what_to_do(world: World) -> None:
    headings = re.findall(r"^#+ (.*)$", (OBSERVABILITY / "README.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for rule in world.prometheus.rules():
        annotations = rule["annotations"]
        assert annotations["summary"] and annotations["description"], rule["name"]
        file, anchor = annotations["runbook"].split("#")
        assert (SOURCE / file).samefile(OBSERVABILITY / "README.md")
        assert anchor in anchors, f"{rule['name']}: no heading for {anchor}"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_commands_that_are_told_exist() -> None:
    text = (OBSERVABILITY / "README.md").read_text() + RULES.read_text()
    told = set(re.findall(r"`weightctl (\w+)([^`]*)`", text))
    assert told
    for verb, arguments in sorted(told):
        helped = subprocess.run([binary("weightctl"), verb, "--help"], capture_output=True, text=True, timeout=60)
        assert helped.returncode == 0, f"there is no weightctl {verb}"
        for flag in re.findall(r"--[\w-]+", arguments):
            assert flag in helped.stdout, f"weightctl {verb} has no {flag}"
