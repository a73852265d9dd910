"""Metrics where they are read: command line, page, gunicorn, OpenTelemetry, Grafana."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_help import Cli, Recorded, cli, history, on_sqlite
from fixtures_store import Store
from fixtures_web import Page
from helpers import minimal, until
from metrics_help import NAME, ROOT, Scrape, fetch, names_in, rules, scrape
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import runlog
from runlog.metrics import observe
from runlog.metrics.families import FAMILIES
from runlog.metrics.opentelemetry import CONVENTIONS, INSTRUMENTS
from runlog.web import app

__all__ = ["cli", "history"]
OF_A_PROCESS = [one.name for one in FAMILIES if one.source == "process"]
MOMENT = ["runlog_journal_oldest_seconds"]


def test_the_command_prints_them(
    cli: Cli, recorder: runlog.Recorder, history: Recorded
) -> None:
    want = scrape(recorder).series(but=OF_A_PROCESS)
    done = cli("metrics")
    assert done.code == 0
    assert Scrape(done.out).series() == want


@on_sqlite
def test_the_command_without_a_history(cli: Cli, tmp_path: Path) -> None:
    done = cli("metrics")
    assert done.code == 3
    assert Scrape(done.out)("runlog_store_up") == 0
    assert list(tmp_path.glob("*.db")) == []  # it creates nothing
    assert cli("metrics", "--port", "70000").code == 2
    done = cli("metrics", "--port", "0", "--host", "nowhere.invalid")
    assert (done.code, "--host" in done.err) == (2, True)


@pytest.fixture
def serving(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A process of `runlog metrics` on a free port."""
    with subprocess.Popen(
        [sys.executable, "-m", "runlog", "metrics", "--port", "0"],
        env=os.environ | store.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@on_sqlite
def test_the_command_serves_them(
    serving: subprocess.Popen[str], recorder: runlog.Recorder
) -> None:
    """From before there is a history, until Ctrl-C."""
    assert serving.stdout is not None
    url = serving.stdout.readline().split()[-1]
    assert Scrape(fetch(url))("runlog_store_up") == 0
    recorder.log_run(minimal("r1"))
    until(lambda: 'runlog_runs_total{status="completed",workflow="w"} 1' in fetch(url))
    asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
    found = Scrape(fetch(url, **asked), openmetrics=True)
    assert found("runlog_runs_total", status="completed") == 1
    serving.send_signal(signal.SIGINT)
    assert serving.wait(60) == 130
    assert serving.stderr is not None
    assert "Traceback" not in serving.stderr.read()


def test_the_page_has_them(page: Page, recorder: runlog.Recorder) -> None:
    recorder.log_run(minimal("r1"))
    want = scrape(recorder).series(but=OF_A_PROCESS)
    answer = page.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["cache-control"] == "no-store"
    assert Scrape(answer.text).series() == want
    accepts = {"accept": "application/openmetrics-text; version=1.0.0"}
    answer = page.client.get("/metrics", headers=accepts)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert Scrape(answer.text, openmetrics=True)("runlog_store_up") == 1


@on_sqlite
def test_the_page_guards_them(recorder: runlog.Recorder) -> None:
    recorder.log_run(minimal("r1"))
    token = "a token of 24 characters"
    made = Page(app(recorder, token=token))
    try:
        assert made.get("/metrics").status_code == 401
        bearer = {"authorization": f"Bearer {token}"}
        answer = made.client.get("/metrics", headers=bearer)
        assert Scrape(answer.text)("runlog_process_runs_total") == 1  # it records
        evil = {"host": "evil.example", **bearer}
        assert made.client.get("/metrics", headers=evil).status_code == 421
    finally:
        made.close()


@on_sqlite
def test_the_page_without_the_package(
    recorder: runlog.Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.log_run(minimal("r1"))
    for name in list(sys.modules):
        if name.partition(".")[0] == "prometheus_client" or name.endswith(
            "runlog.metrics.prometheus"
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    made = Page(app(recorder))
    try:
        answer = made.get("/metrics")
        assert answer.status_code == 501
        assert 'pip install "langgraph-runlog[metrics]"' in answer.text
        assert made.get("/").status_code == 200
    finally:
        made.close()


SERVED = """
import os
from prometheus_client import CollectorRegistry, make_wsgi_app
import runlog
from runlog.metrics import collector

registry = CollectorRegistry()
registry.register(collector())
metrics = make_wsgi_app(registry)

def application(environ, start_response):
    me = str(os.getpid())
    if environ["PATH_INFO"] == "/run":
        runlog.log_run({"wpk_id": "app", "run_id": environ["QUERY_STRING"],
                        "status": "completed", "duration_ms": 5})
        start_response("200 OK", [("content-type", "text/plain")])
        return [me.encode()]

    def start(status, headers):
        return start_response(status, [*headers, ("x-worker", me)])

    return metrics(environ, start)
"""


class Workers:
    """A gunicorn, and what its workers say."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def run(self, name: str) -> int:
        """Have some worker log a run; return its process id."""
        return int(fetch(f"{self._url}/run?{name}"))

    def scrapes(self, number: int) -> dict[int, Scrape]:
        """A scrape of so many workers, by their process ids."""
        import httpx

        found: dict[int, Scrape] = {}

        def ask() -> bool:
            answer = httpx.get(f"{self._url}/metrics", timeout=60, trust_env=False)
            found[int(answer.headers["x-worker"])] = Scrape(answer.text)
            return len(found) >= number

        until(ask)
        return found


@contextmanager
def gunicorn(folder: Path, env: dict[str, str]) -> Iterator[Workers]:
    """Gunicorn with four workers on a free port."""
    (folder / "served.py").write_text(SERVED, encoding="utf-8")
    program = [sys.executable, "-m", "gunicorn", "-w", "4", "--bind", "127.0.0.1:0"]
    program += ["--chdir", str(folder), "--worker-tmp-dir", str(folder)]
    log = folder / "gunicorn.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*program, "--preload", "served:application"],
            env=os.environ | env,
            stderr=file,
        )
    try:
        listening = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
        until(lambda: listening.search(log.read_text()) is not None)
        match = listening.search(log.read_text())
        assert match is not None
        yield Workers(int(match[1]))
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


@pytest.mark.long_with("sqlite")
def test_four_workers_say_the_same(store: Store, tmp_path: Path) -> None:
    """Also once one of them was killed: what it recorded stays counted."""
    with gunicorn(tmp_path, store.env) as workers:
        ids = [workers.run(f"r{number}") for number in range(20)]
        os.kill(ids[-1], signal.SIGKILL)
        last = {workers.run(f"late{number}") for number in range(20)}
        assert ids[-1] not in last

        def same() -> bool:
            said = workers.scrapes(4)
            living = [one for pid, one in said.items() if pid != ids[-1]]
            first = living[0].series(but=[*OF_A_PROCESS, *MOMENT])
            return all(
                one("runlog_runs_total", workflow="app", status="completed") == 40
                and one.series(but=[*OF_A_PROCESS, *MOMENT]) == first
                for one in living
            )

        until(same)


def test_instruments_of_opentelemetry(
    recorder: runlog.Recorder, history: Recorded
) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observe(provider.get_meter("mine"), recorder)
    said = scrape(recorder)
    data: Any = reader.get_metrics_data()
    found = {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    provider.shutdown()
    runs = {
        (point.attributes["gen_ai.agent.name"], point.attributes["runlog.status"]): (
            point.value
        )
        for point in found["runlog.runs"].data.data_points
    }
    for (workflow, status), number in runs.items():
        want = said("runlog_runs_total", workflow=workflow, status=status)
        assert number == want
    assert sum(runs.values()) == said("runlog_runs_total")
    tokens = found["gen_ai.client.inference.usage.input_tokens"]
    assert tokens.unit == "{token}"
    total = sum(point.value for point in tokens.data.data_points)
    assert total == said("runlog_tokens_total", type="input") > 0
    duration = found["runlog.run.duration"].data.data_points
    want = said("runlog_run_duration_seconds_sum")
    assert sum(point.value for point in duration) == pytest.approx(want)
    names = {one.name for one in INSTRUMENTS}
    assert found.keys() <= names
    document = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert CONVENTIONS in document
    assert all(f"`{name}`" in document for name in names)


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, without the headings."""
    text = (ROOT / "docs/grafana/dashboard.json").read_text(encoding="utf-8")
    return [one for one in json.loads(text)["panels"] if one["type"] != "row"]


def expressions() -> list[str]:
    """Every expression of the dashboard and of the rules."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return shown + [rule["expr"] for rule in rules()]


def exposed() -> set[str]:
    """The names of all series that there can be."""
    names = {one.shown for one in FAMILIES if one.kind != "histogram"}
    for one in FAMILIES:
        if one.kind == "histogram":
            names |= {f"{one.name}_{end}" for end in ("bucket", "count", "sum")}
    return names


def test_every_series_of_the_dashboard_and_the_rules_exists() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = exposed() | recorded
    for expr in expressions():
        assert names_in(expr) <= known, expr
    used = set().union(*map(names_in, expressions()))
    assert recorded <= used
    bases = {name.removesuffix("_bucket") for name in used}
    unused = {one.shown for one in FAMILIES} - bases
    assert unused == {"runlog_build_info", "runlog_process_failed_runs_total"} | {
        "runlog_process_dropped_payloads_total",
        "runlog_process_largest_commit_runs",
    }


def test_expressions_are_sound() -> None:
    for expr in expressions():
        for name in re.findall(r"\b(?:rate|increase)\((\w+)", expr):
            assert name.endswith(("_total", "_bucket")), expr
        if "histogram_quantile" in expr:
            assert re.search(r"histogram_quantile\([\d.]+, sum by \(le\b", expr), expr
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["summary"]


def test_the_dashboard_is_sound() -> None:
    text = (ROOT / "docs/grafana/dashboard.json").read_text(encoding="utf-8")
    board = json.loads(text)
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    source = {"type": "prometheus", "uid": "${datasource}"}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == source
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        for target in panel["targets"]:
            assert target["datasource"] == source
            used = set(re.findall(r"\$(\w+)", target["expr"]))
            assert used <= {"job", "workflow", "__range", "__rate_interval"}
            assert "job" in used


def test_the_document_names_every_family() -> None:
    document = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"(?m)^\| `(runlog_\w+)` \|([^|]*)\|", document))
    for family in FAMILIES:
        assert family.shown in rows, family.shown
        labels = re.findall(r"`(\w+)`", rows[family.shown])
        assert labels == list(family.labels)
    assert rows.keys() == {family.shown for family in FAMILIES}
    for rule in rules():
        if "alert" in rule:
            assert f"`{rule['alert']}`" in document
    assert set(NAME.findall(document)) - {"runlog_owners"} >= rows.keys()
