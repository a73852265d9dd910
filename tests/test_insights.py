"""Findings on real runs of both stores: the library, the command line and the page."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from cli_help import HOSTILE, Cli, cli, empty, on_sqlite
from fixtures_store import Store
from fixtures_web import Page
from helpers import minimal
from insight_histories import now, odd_runs, record, shop_runs, steps_runs

import runlog
from runlog.insights.finding import Finding
from runlog.insights.frame import Frame
from runlog.insights.report import _Maker
from runlog.insights.runs import Runs

__all__ = ["cli", "empty"]


def by_kind(findings: list[Any]) -> dict[tuple[str, str, str | None], Any]:
    return {(one["kind"], one["workflow"], one["node"]): one for one in findings}


def test_planted_faults_are_found(
    cli: Cli, recorder: Any, page: Page, store: Store
) -> None:
    """Those that were planted, with the runs that show them, and nothing else."""
    start = now()
    record(recorder, shop_runs(start), steps_runs(start), odd_runs(start))
    done = cli("insights", "--json", "--exit-status")
    assert done.code == 1, done.err
    report = json.loads(done.out)
    assert set(report) == {"checked", "findings"}
    assert report["checked"] == 600 + 600 + 74
    found = by_kind(report["findings"])
    assert set(found) == {
        ("failure_rate", "shop", None),
        ("failure_rate", "shop", "price"),
        ("new_failure", "shop", "price"),
        ("retries", "steps", None),
        ("retries", "steps", "call"),
        ("hidden_retries", "steps", "call"),
        ("loop", "steps", "plan"),
        ("new_path", "steps", None),
        ("stopped_node", "steps", "check"),
        ("recursion_limit", "odd", None),
        ("stuck", "odd", "ask"),
        ("waiting", "odd", None),
    }
    names = "kind workflow node since text before now test runs good"
    for one in report["findings"]:
        assert list(one) == names.split()
        assert 1 <= len(one["runs"]) <= 5, one
        assert recorder.get_run(one["good"], one["workflow"])["status"] == "completed"
        assert datetime.fromisoformat(one["since"]) <= datetime.now(UTC)
    new = found["new_failure", "shop", "price"]
    assert "no price for CHF in order <n>" in new["text"]
    assert "inputs.currency = 'CHF'" in new["text"]
    assert (new["before"], new["now"]) == (0, new["now"])
    for name in new["runs"]:
        assert recorder.get_run(name, "shop")["error_type"] == "LookupError"
    rate = found["failure_rate", "shop", None]
    assert 4 * rate["before"] < rate["now"] > 0.1
    assert found["loop", "steps", "plan"]["runs"] == ["steps-598"]
    assert found["new_path", "steps", None]["runs"] == ["steps-597"]
    assert found["recursion_limit", "odd", None]["runs"] == ["odd-limit"]
    assert found["stuck", "odd", "ask"]["runs"] == ["odd-stuck"]
    assert found["waiting", "odd", None]["runs"] == ["odd-waits"]

    text = cli("insights", "shop").out
    assert "failure_rate  shop" in text
    assert re.search(r"\[.*█.*\]", text)
    assert "runlog diff --workflow=shop shop-" in text
    assert re.search(r"3 findings in 600 runs\.", text)
    seen = page.text("/insights", workflow="shop")
    assert "no price for CHF" in seen
    assert 'class="bad"' in seen
    answer = page.get("/api/v1/insights").json()
    assert by_kind(answer["findings"]).keys() == found.keys()


@on_sqlite
def test_nothing_found_is_a_result(recorder: Any, cli: Cli) -> None:
    start = now()
    record(recorder, [minimal(str(n), created_at=start) for n in range(30)])
    report = runlog.insights(recorder=recorder)
    assert (report.checked, report.findings) == (30, [])
    assert report.notes == [
        "too few runs of w: 30 runs, and none in the week before to compare with"
    ]
    done = cli("insights", "--exit-status")
    assert (done.code, done.out) == (0, "Nothing found in 30 runs.\n")
    assert "too few runs of w" in done.err


@pytest.mark.usefixtures("empty")
def test_a_time_without_runs(cli: Cli, recorder: Any) -> None:
    done = cli("insights", "--json")
    assert json.loads(done.out) == {"checked": 0, "findings": []}
    assert "no run has ended since" in done.err
    recorder.log_run(minimal(created_at=now() - timedelta(days=40)))
    assert "no run has ended since" in cli("insights", "--since", "2h").err


@on_sqlite
def test_what_is_wrong_is_said(
    cli: Cli, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.log_run(minimal("r1", "shop"))
    done = cli("insights", "shp")
    assert (done.code, done.out) == (2, "")
    assert "there is no workflow 'shp': did you mean 'shop'?" in done.err
    assert cli("insights", "--since", "soon").code == 2
    later = (now() + timedelta(days=2)).isoformat()
    assert "in the future" in cli("insights", "--since", later).err
    assert cli("insights", "--since", "0001-01-02").code == 0  # since ever
    for first in (datetime.min, datetime.min.replace(tzinfo=UTC)):
        with suppress(runlog.ValidationError):  # no time of UTC, in zones to the east
            assert runlog.insights(since=first, recorder=recorder).checked == 1
    east = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
    with pytest.raises(runlog.ValidationError, match="no time of UTC"):
        runlog.insights(since=east, recorder=recorder)
    with pytest.raises(runlog.ValidationError, match="must be a datetime, not str"):
        runlog.insights(since="2h", recorder=recorder)  # type: ignore[arg-type]
    monkeypatch.setenv("RUNLOG_PRICES", "/nowhere/prices.json")
    recorder.log_run(asked_run(0, now(), 10))
    done = cli("insights")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "RUNLOG_PRICES" in done.err


def asked_run(place: int, at: datetime, output: int) -> dict[str, Any]:
    """A run that asks a model once."""
    tokens = {"input": 100, "output": output, "total": 100 + output}
    call = {"kind": "llm", "model": "m1", "status": "completed", "tokens": tokens}
    log = {"node": "ask", "status": "completed", "attempt": 1, "duration_ms": 5.0}
    log |= {"calls": [call], "llm_calls": 1, "tokens": tokens}
    return minimal(
        f"run-{place}",
        "chat",
        created_at=at,
        duration_ms=5,
        node_logs=[log],
        metadata={"tokens": tokens, "llm_calls": 1},
    )


@on_sqlite
def test_cost_is_compared_where_there_are_prices(
    cli: Cli, recorder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    start = now()
    runs = []
    for place in range(600):
        at = start - timedelta(hours=179) * (600 - place) / 601
        dear = start - at < timedelta(hours=12)
        runs.append(asked_run(place, at, (190 if dear else 95) + place % 7))
    record(recorder, runs)
    done = cli("insights", "--json")
    assert "cost is not compared where there is no price: m1" in done.err
    assert {one["kind"] for one in json.loads(done.out)["findings"]} == {"tokens"}
    prices = tmp_path / "prices.json"
    prices.write_text('{"m1": {"input": 1, "output": 10}}')
    monkeypatch.setenv("RUNLOG_PRICES", str(prices))
    done = cli("insights", "--json")
    found = by_kind(json.loads(done.out)["findings"])
    cost = found["cost", "chat", None]
    assert cost["now"] > 1.4 * cost["before"] > 0
    assert "no price" not in done.err


@on_sqlite
def test_a_failure_that_has_come_back(recorder: Any) -> None:
    start = now()
    day = timedelta(days=1)
    failed = {"status": "failed", "error_type": "KeyError", "error_text": "'price'"}
    record(
        recorder,
        [minimal(f"old-{n}", created_at=start - 20 * day, **failed) for n in range(3)],
        [minimal(f"good-{n}", created_at=start - n * day / 20) for n in range(1, 100)],
        [minimal(f"new-{n}", created_at=start - day / 24, **failed) for n in range(2)],
    )
    (found,) = runlog.insights("w", recorder=recorder).findings
    assert found.kind == "returned_failure"
    assert sorted(found.runs) == ["new-0", "new-1"]
    assert "gone for a week" in found.text


@on_sqlite
def test_regression_the_numbers_of_a_sentence_are_those_since_its_time(
    recorder: Any,
) -> None:
    """The rise began a day before the blocks that are judged, whose numbers they are."""
    block = timedelta(hours=4)
    start = datetime.fromtimestamp(now().timestamp() // 14_400 * 14_400, UTC)
    runs = []
    for place in range(46 * 20):
        at = start - 45 * block + place * block / 20
        failed = place % (5 if place >= 38 * 20 else 40) == 0
        more = {"status": "failed"} if failed else {}
        if at < now():
            runs.append(minimal(str(place), created_at=at, **more))
    record(recorder, runs)
    (found,) = (
        one
        for one in runlog.insights(recorder=recorder).findings
        if one.kind == "failure_rate"
    )
    said = re.search(r"\((\d+) of (\d+)\) failed since (.+?),", found.text)
    assert said is not None
    since = datetime.strptime(f"{start.year} {said[3]}", "%Y %a %d %b %H:%M %Z")
    since = since.replace(tzinfo=UTC)
    if since > start:  # in the year before
        since = since.replace(year=since.year - 1)
    counts = recorder.count_runs(since=since)
    assert (counts.by_status["failed"], counts.runs) == (int(said[1]), int(said[2]))
    assert found.since == start - 7 * block
    assert f"It rose on {found.since:%a %d %b %H:%M} UTC." in found.text


@on_sqlite
def test_one_failure_that_was_mended_in_its_thread_is_none(recorder: Any) -> None:
    start = now()
    hour = timedelta(hours=1)
    failed = {"status": "failed", "error_type": "KeyError", "error_text": "'price'"}
    record(
        recorder,
        [minimal(f"good-{n}", created_at=start - n * hour) for n in range(30, 100)],
        [minimal("bad", created_at=start - 2 * hour, thread_id="t", **failed)],
    )
    assert [one.kind for one in runlog.insights(recorder=recorder).findings] == [
        "new_failure"
    ]
    recorder.log_run(minimal("again", created_at=start - hour, thread_id="t"))
    assert runlog.insights(recorder=recorder).findings == []


@on_sqlite
def test_what_was_recorded_does_not_control_the_terminal(recorder: Any, cli: Cli) -> None:
    error = {"error_type": HOSTILE, "error_text": HOSTILE, "status": "failed"}
    name = HOSTILE.replace("\x00", "")
    record(recorder, [minimal(str(n), name, created_at=now(), **error) for n in "ab"])
    said = cli("insights").out + cli("watch", "--once").out
    assert "new_failure" in said
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said)


@on_sqlite
def test_a_fan_out_is_no_loop(recorder: Any) -> None:
    start = now()
    runs = [minimal(f"good-{n}", created_at=start) for n in range(30)]
    for name, step in (("wide", lambda n: 1), ("long", lambda n: n)):
        logs = [
            {"node": "work", "status": "completed", "step": step(n), "attempt": 1}
            for n in range(40)
        ]
        runs.append(minimal(name, name, created_at=start, node_logs=logs))
    record(recorder, runs)
    (found,) = runlog.insights(recorder=recorder).findings
    assert (found.kind, found.workflow, found.runs) == ("loop", "long", ["long"])


@on_sqlite
def test_lost_runs(recorder: Any, store: Store, run_python: Any) -> None:
    """A process dies with a run open."""
    recorder.log_run(minimal("r1", "shop"))
    code = (
        "import os, uuid, runlog; from runlog.hooks import RunLogHandler; "
        "handler = RunLogHandler('shop', checkpoint_interval=0); "
        "about = {'ls_integration': 'langgraph'}; given = dict(tags=[], metadata=about); "
        "handler.on_chain_start(None, {}, run_id=uuid.uuid4(), name='g', **given); "
        "runlog.flush(60); os.kill(os.getpid(), 9)"
    )
    assert run_python(code, env=store.env).returncode == -9
    (found,) = runlog.insights(recorder=recorder).findings
    assert (found.kind, found.good, len(found.runs)) == ("lost", "r1", 1)
    assert recorder.list_runs(status="lost").runs[0]["run_id"] == found.runs[0]


def test_a_run_that_ends_once_it_is_listed_is_not_stuck(
    recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = odd_runs(now())
    record(recorder, history)
    rows = Runs.rows

    def rows_before_the_end(runs: Runs, limit: int, **filters: Any) -> list[Any]:
        found = rows(runs, limit, **filters)
        if filters.get("status") == "running":
            recorder.log_run(history[-1] | {"status": "completed"})
        return found

    def kinds() -> set[str]:
        return {one.kind for one in runlog.insights(recorder=recorder).findings}

    assert "stuck" in kinds()
    monkeypatch.setattr(Runs, "rows", rows_before_the_end)
    assert "stuck" not in kinds()


class OneOfMany(dict[str, Any]):
    """A whole run. The class knows how many there are."""

    alive = most = made = 0

    def __init__(self) -> None:
        super().__init__(run_id="r", inputs={"text": "x"}, node_logs=[])
        OneOfMany.made += 1
        OneOfMany.alive += 1
        OneOfMany.most = max(OneOfMany.most, OneOfMany.alive)

    def __del__(self) -> None:
        OneOfMany.alive -= 1


class ManyRuns:
    """A recorder with as many runs as are asked for."""

    def list_runs(self, limit: int, status: str, **_: Any) -> Any:
        row = {"run_id": "r", "status": status, "totals": None}
        return SimpleNamespace(runs=[row] * limit)

    def get_run(self, *_: Any) -> Any:
        return OneOfMany()


def test_causes_are_looked_for_in_one_run_after_the_other() -> None:
    """Hundreds are read whole, and each may take a megabyte."""
    start = now()
    found = Finding("failure_rate", "w", None, start, "", 0.0, 1.0, "", [])
    _Maker(ManyRuns(), {}, Frame(0, 1, 2), start, None)._explain(found, None)
    assert OneOfMany.made == 400
    assert OneOfMany.most <= 4


def test_importing_runlog_does_not_import_insights(run_python: Any) -> None:
    code = (
        "import sys, runlog; print('runlog.insights' in sys.modules); "
        "print(callable(runlog.insights), callable(runlog.insights.insights)); "
        "from runlog import insights; print(insights.KINDS[0])"
    )
    done = run_python(code)
    assert done.stdout.split() == ["False", "True", "True", "failure_rate"], done.stderr
