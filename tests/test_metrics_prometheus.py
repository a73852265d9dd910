"""Metrics and rules in a real Prometheus; `make test-metrics` runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_help import Recorded, history, on_sqlite
from fixtures_prometheus import Prometheus, prometheus, promtool
from fixtures_store import Store
from helpers import minimal, until
from metrics_help import ROOT, rules, scrape
from test_metrics_served import expressions

import runlog

__all__ = ["history"]
pytestmark = pytest.mark.prometheus
RULES = ROOT / "docs/grafana/rules.yml"
MINUTE = 60
BEGUN = 1_790_000_000 // 86400 * 86400
"""When the planted history begins."""
DAYS = 4
FAULT = BEGUN + 3 * 86400
"""When its faults do, an hour each."""


def test_rules_are_as_promtool_wants_them() -> None:
    done = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    tests = [str(path) for path in sorted((ROOT / "tests").glob("rules*_test.yml"))]
    assert len(tests) == 2
    done = promtool("test", "rules", *tests)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    """So the tests of the rules can fail."""
    text = (ROOT / "tests/rules_test.yml").read_text(encoding="utf-8")
    first = text.partition("  # Three runs a minute")[0]
    wrong = first.replace("eval_time: 745m", "eval_time: 715m")
    assert wrong != first
    path = tmp_path / "wrong.yml"
    path.write_text(wrong.replace("../docs/grafana/rules.yml", str(RULES)))
    assert promtool("test", "rules", str(path)).returncode == 1


@on_sqlite
def test_names_and_units_are_as_promtool_wants_them(
    recorder: runlog.Recorder, history: Recorded
) -> None:
    done = promtool("check", "metrics", given=scrape(recorder).text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def target(store: Store) -> Iterator[str]:
    """The address at which a process of `runlog metrics` serves the store."""
    with subprocess.Popen(
        [sys.executable, "-m", "runlog", "metrics", "--port", "0"],
        env=os.environ | store.env,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        match = re.search(r"http://([\d.:]+)/", process.stdout.readline())
        assert match is not None
        yield match[1]
        process.kill()


def test_prometheus_scrapes(
    recorder: runlog.Recorder, history: Recorded, target: str, tmp_path: Path
) -> None:
    """It has each figure, the exemplars, and takes every rule and every panel."""
    want = scrape(recorder)
    quick = tmp_path / "rules.yml"
    text = RULES.read_text(encoding="utf-8")
    quick.write_text(re.sub(r"interval: \dm", "interval: 1s", text), encoding="utf-8")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(quick)],
        "scrape_configs": [
            {"job_name": "app", "static_configs": [{"targets": [target]}]}
        ],
    }
    with prometheus(tmp_path, config) as server:
        total = want("runlog_runs_total")
        until(lambda: server.value("sum(runlog_runs_total)") == total)
        for name in sorted(want.names - {"runlog_journal_oldest_seconds"}):
            if not name.startswith(("runlog_process_", "runlog_handler_")):
                assert server.value(f"sum({name})") == pytest.approx(want(name)), name
        recorder.log_run(minimal("late", "shop", duration_ms=1))
        until(lambda: server.value("sum(runlog_runs_total)") == total + 1)
        found = server.exemplars("runlog_run_duration_seconds_bucket")
        shown = {
            one["labels"]["run_id"] for series in found for one in series["exemplars"]
        }
        ids = {row["run_id"] for row in recorder.list_runs(limit=1000).runs}
        assert shown
        assert shown <= ids
        until(lambda: all(rule["health"] == "ok" for rule in server.rules()))
        chosen = {"job": "app", "workflow": ".*", "__rate_interval": "1m"}
        chosen["__range"] = "1h"
        for expr in expressions():  # an error of the syntax would be raised
            server.query(re.sub(r"\$(\w+)", lambda found: chosen[found[1]], expr))


def planted() -> Iterator[str]:
    """Four days of a history with faults on the last one, as OpenMetrics text.

    In `shop`, eight of ten runs fail for an hour. `quiet` is as it was. The database is
    away in the third hour, and `gone` runs no more from the fifth. The replica is away in
    the tenth, and behind in the twelfth.
    """
    families: dict[str, list[str]] = {}

    def add(name: str, labels: str, at: int, value: float) -> None:
        series = f'{name}{{job="app",instance="a"{labels}}}'
        families.setdefault(name, []).append(f"{series} {value} {at}")

    totals: dict[tuple[str, str], int] = {}
    waited = lost = rejected = 0
    for at in range(BEGUN, BEGUN + DAYS * 86400, MINUTE):
        hour = (at - FAULT) // 3600
        bad = 8 if hour == 0 else 0
        for workflow, failed, number in (("shop", bad, 10), ("quiet", 0, 10)):
            for status, more in (("failed", failed), ("completed", number - failed)):
                key = workflow, status
                totals[key] = totals.get(key, 0) + more
                labels = f',workflow="{workflow}",status="{status}"'
                add("runlog_runs_total", labels, at, totals[key])
            add("runlog_last_run_timestamp_seconds", f',workflow="{workflow}"', at, at)
        last = min(at, FAULT + 4 * 3600)
        add("runlog_last_run_timestamp_seconds", ',workflow="gone"', at, last)
        waited = waited + MINUTE if hour == 2 else 0
        lost, rejected = (3, 2) if hour >= 7 else (0, 0)
        add("runlog_store_up", "", at, int(hour != 2))
        add("runlog_journal_oldest_seconds", "", at, waited)
        add("runlog_replica_up", "", at, int(hour != 9))
        add("runlog_replica_lag_seconds", "", at, 90 if hour == 11 else 2)
        add("runlog_runs_lost", "", at, lost)
        add("runlog_rejected_total", "", at, rejected)
        add("runlog_handler_errors_total", "", at, rejected)
    for name, lines in families.items():
        is_counter = name.endswith("_total")
        kind = "counter" if is_counter else "gauge"
        yield f"# TYPE {name.removesuffix('_total')} {kind}\n"
        by_series: dict[str, list[str]] = {}
        for line in lines:
            by_series.setdefault(line.partition("} ")[0], []).append(line)
        for series in by_series.values():
            yield "\n".join(series) + "\n"
    yield "# EOF\n"


def whole(expr: str, recorded: dict[str, str]) -> str:
    """An expression with what is recorded written out."""
    for name in sorted(recorded, key=len, reverse=True):
        expr = expr.replace(name, f"({recorded[name]})")
    return expr


def hours(server: Prometheus, expr: str) -> dict[str, tuple[float, float]]:
    """For each workflow that an alert's expression names: the first and the last hour
    after the faults began in which it holds.
    """
    found = {}
    end = BEGUN + DAYS * 86400 - MINUTE
    for series in server.during(expr, FAULT - 12 * 3600, end, 5 * MINUTE):
        times = [(at - FAULT) / 3600 for at, _ in series["values"]]
        found[series["metric"].get("workflow", "")] = (min(times), max(times))
    return found


WANTED: dict[str, tuple[str, tuple[float, float], tuple[float, float]]] = {
    "RunlogRunsFailFast": ("shop", (0.1, 0.6), (0.9, 1.2)),
    "RunlogRunsFail": ("shop", (0.3, 0.7), (1.3, 1.6)),
    "RunlogRunsFailSlowly": ("shop", (0.8, 1.1), (6.7, 7.1)),
    "RunlogStoreDown": ("", (1.9, 2.1), (2.8, 3.1)),
    "RunlogJournalStale": ("", (2.0, 2.2), (2.8, 3.1)),
    "RunlogReplicaAway": ("", (8.9, 9.1), (9.8, 10.1)),
    "RunlogReplicaLags": ("", (10.9, 11.1), (11.8, 12.1)),
    "RunlogRunsRejected": ("", (6.9, 7.1), (7.1, 7.4)),
    "RunlogRunsLost": ("", (6.9, 7.1), (7.1, 7.4)),
    "RunlogRunsNotRecorded": ("", (6.9, 7.1), (7.1, 7.4)),
    "RunlogWorkflowSilent": ("gone", (4.2, 4.4), (23, 24)),
}
"""For each alert: the workflow, and between which hours it begins and ends."""


def test_planted_faults_are_found_and_nothing_else(tmp_path: Path) -> None:
    """Each alert holds for its fault, from soon after it until soon after its end."""
    text = tmp_path / "history.txt"
    with text.open("w", encoding="utf-8") as file:
        file.writelines(planted())
    data = tmp_path / "data"
    done = promtool("tsdb", "create-blocks-from", "openmetrics", str(text), str(data))
    assert done.returncode == 0, done.stderr
    recorded: dict[str, str] = {}
    for rule in rules():
        if "record" in rule:
            recorded[rule["record"]] = whole(rule["expr"], recorded)
    with prometheus(tmp_path, {"global": {"scrape_interval": "1h"}}) as server:
        alerts: dict[str, Any] = {
            rule["alert"]: hours(server, whole(rule["expr"], recorded))
            for rule in rules()
            if "alert" in rule
        }
    assert alerts.keys() == WANTED.keys()
    for name, (workflow, begins, ends) in WANTED.items():
        assert alerts[name].keys() == {workflow}, name
        first, last = alerts[name][workflow]
        assert begins[0] <= first <= begins[1], (name, first)
        assert ends[0] <= last <= ends[1], (name, last)
