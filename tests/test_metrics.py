"""Metrics: what a scrape says of a history, its labels, and what goes wrong."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from cli_help import Recorded, history, on_sqlite
from fixtures_proxy import Proxied
from fixtures_store import Store
from handler_graphs import chain, node
from helpers import minimal, until
from metrics_help import Scrape, scrape
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as OwnCounter
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from web_help import HOSTILE, log

import runlog
from runlog import prices
from runlog._sum_prices import SumPrices
from runlog.hooks import RunLogHandler
from runlog.metrics import collector
from runlog.metrics.families import FAMILIES
from runlog.metrics.labels import ERROR_TYPES, NODES, WORKFLOWS, count_errors, error_label
from runlog.metrics.money import costs
from runlog.metrics.reading import Reader
from runlog.rollup import CLASSIC_SECONDS, Block, Failure, Model

__all__ = ["history"]


def runs_of(recorder: Any) -> list[Any]:
    """Every run, whole."""
    rows = recorder.list_runs(limit=1000).runs
    return [recorder.get_run(row["run_id"], row["wpk_id"]) for row in rows]


def test_figures_are_those_of_the_runs(
    recorder: runlog.Recorder, history: Recorded
) -> None:
    """Against a sum over what get_run returns."""
    runs = runs_of(recorder)
    found = scrape(recorder)
    ended = Counter((run["wpk_id"], run["status"]) for run in runs)
    for (workflow, status), number in ended.items():
        assert found("runlog_runs_total", workflow=workflow, status=status) == number
    assert found("runlog_runs_total") == len(runs)
    assert found("runlog_run_duration_seconds_count") == len(runs)
    logs = [(run["wpk_id"], one) for run in runs for one in run["node_logs"]]
    nodes = Counter((workflow, one["node"], one["status"]) for workflow, one in logs)
    for (workflow, name, status), number in nodes.items():
        labels = {"workflow": workflow, "node": name, "status": status}
        assert found("runlog_nodes_total", **labels) == number
    assert found("runlog_nodes_total") == len(logs)
    retries = sum(one["attempt"] > 1 for _, one in logs)
    assert found("runlog_node_retries_total") == retries > 0
    calls = Counter(call["kind"] for _, one in logs for call in one.get("calls", ()))
    assert found("runlog_calls_total", kind="llm") == calls["llm"] > 0
    tokens = [run["metadata"]["tokens"] for run in runs if "tokens" in run["metadata"]]
    assert found("runlog_tokens_total", type="input") == sum(
        one["input"] for one in tokens
    )
    failed = Counter(run["error_type"] for run in runs if run["status"] == "failed")
    for error, number in failed.items():
        assert found("runlog_errors_total", error_type=error) == number
    newest = max(run["created_at"] for run in runs if run["wpk_id"] == "shop")
    said = found("runlog_last_run_timestamp_seconds", workflow="shop")
    assert said == newest.timestamp()
    assert (found("runlog_store_up"), found("runlog_dropped_total")) == (1, 0)
    assert found("runlog_process_runs_total") >= len(runs)
    assert found("runlog_process_commit_seconds_total") > 0
    assert found("runlog_process_encode_seconds_total") > 0
    absent = ("meaning", "replica")
    known = {family.shown for family in FAMILIES if family.source not in absent}
    known -= {"runlog_cost_dollars_total", "runlog_token_details_total"}
    shown = {name for name in known if any(one.startswith(name) for one in found.names)}
    assert shown == known
    recorder.delete_runs(wpk_id="shop")
    assert scrape(recorder)("runlog_runs_total") == len(runs)


def test_open_and_lost_runs(recorder: runlog.Recorder, store: Store) -> None:
    """A process of this machine that began at another time than ours has exited."""
    chain("g", first=node("first")).invoke(
        {"n": 0}, {"callbacks": [RunLogHandler(recorder=recorder)]}
    )
    assert recorder.flush(60)
    ((owner,),) = store.query("SELECT owner FROM workflow_runs")
    host, pid, _, *rest = owner.split()
    gone = " ".join([host, pid, "1", *rest])
    for name in ("open", "lost"):
        recorder.log_run(minimal(name, status="running"))
    store.query("UPDATE workflow_runs SET owner = ? WHERE run_id = 'lost'", gone)
    assert recorder.get_run("lost")["status"] == "lost"  # type: ignore[index]
    found = scrape(recorder)
    assert (found("runlog_runs_open"), found("runlog_runs_lost")) == (1, 1)
    assert found("runlog_runs_total") == 1


def test_durations_have_buckets_and_name_the_slowest(recorder: runlog.Recorder) -> None:
    times = [0, 5, 6, 999, 1000, 1001, 31_000, 700_000]
    for number, ms in enumerate(times):
        recorder.log_run(minimal(f"r{number}", duration_ms=ms))
    found = scrape(recorder)
    for bound in CLASSIC_SECONDS:
        below = sum(ms <= 1000 * bound for ms in times)
        said = found("runlog_run_duration_seconds_bucket", le=str(bound))
        assert said == below, bound
    assert found("runlog_run_duration_seconds_sum") == sum(times) / 1000
    registry = CollectorRegistry()
    registry.register(collector(recorder))
    exposed = openmetrics(registry)  # type: ignore[no-untyped-call]
    named = [
        one
        for one in Scrape(exposed.decode(), openmetrics=True).samples
        if one.exemplar is not None
    ]
    assert [(one.labels["le"], one.exemplar.labels) for one in named] == [
        ("+Inf", {"run_id": "r7"})
    ]


@on_sqlite
def test_odd_names_are_labels_as_they_are(recorder: runlog.Recorder) -> None:
    """In both formats. An id that has to be escaped is no exemplar: the parser of
    prometheus-client, for one, would refuse the whole scrape.
    """
    odd = [r'a"b\\c\n', 'x{le="1"} 5', "two\nlines\r", " ", "é\u202e你好", "#", "\t,=}"]
    for name in odd:
        recorder.log_run(
            minimal(f"id {name}", name, duration_ms=700_000, node_logs=[log(name)])
        )
    found = scrape(recorder)
    assert found.labels("runlog_runs_total", "workflow") == set(odd)
    assert found.labels("runlog_nodes_total", "node") == set(odd)
    registry = CollectorRegistry()
    registry.register(collector(recorder))
    exposed = openmetrics(registry)  # type: ignore[no-untyped-call]
    samples = Scrape(exposed.decode(), openmetrics=True).samples
    ids = {one.exemplar.labels["run_id"] for one in samples if one.exemplar is not None}
    assert ids == {"id  ", "id é\u202e你好", "id #", "id \t,=}"}


def test_labels_are_bounded_and_stay(recorder: runlog.Recorder) -> None:
    """What was counted first keeps its labels; nothing that is recorded makes more."""
    logs = [log(f"n{place:02d}", place) for place in range(NODES + 3)]
    recorder.log_run(minimal("r0", "w000", node_logs=logs))
    assert scrape(recorder)("runlog_runs_total") == 1
    for number in range(WORKFLOWS + 5):
        workflow = f"w{(number + 1) % (WORKFLOWS + 5):03d}"
        recorder.log_run(minimal(f"r{number}", workflow, status="odd" * number or "x"))
        if number == WORKFLOWS // 2:
            half = scrape(recorder).labels("runlog_runs_total", "workflow")
    hostile = HOSTILE.replace("\0", "")
    recorder.log_run(minimal("hostile", hostile, status=hostile))
    found = scrape(recorder)
    workflows = found.labels("runlog_runs_total", "workflow")
    assert len(workflows) == WORKFLOWS + 1
    assert half | {"other"} <= workflows | {"other"}
    assert found("runlog_runs_total") == WORKFLOWS + 7
    assert found("runlog_runs_total", workflow="other") == 6
    nodes = found.labels("runlog_nodes_total", "node")
    assert nodes == {f"n{place:02d}" for place in range(NODES)} | {"other"}
    assert found("runlog_nodes_total", node="other") == 3
    known = {"completed", "failed", "interrupted", "cancelled", "other"}
    assert found.labels("runlog_runs_total", "status") == known
    for number in range(3):
        late = [log(f"late {number}", 0)]
        recorder.log_run(minimal(f"late {number}", f"late {number}", node_logs=late))
    again = scrape(recorder)
    assert again.labels("runlog_runs_total", "workflow") == workflows
    assert again("runlog_runs_total", workflow="other") == 9


@on_sqlite
def test_error_types_are_names_and_few(recorder: runlog.Recorder) -> None:
    types = [f"Error{number}" for number in range(ERROR_TYPES + 4)]
    for number, name in enumerate([*types, HOSTILE, "no name of a class", ""]):
        fields = {"error_type": name, "error_text": f"secret {number}", "thread_id": "t9"}
        recorder.log_run(minimal(f"r{number}", status="failed", **fields))
    found = scrape(recorder)
    labels = found.labels("runlog_errors_total", "error_type")
    assert len(labels) <= ERROR_TYPES + 1
    assert found("runlog_errors_total") == len(types) + 3
    assert "secret" not in found.text
    assert "t9" not in found.text
    assert "script" not in found.text


def test_names_of_errors() -> None:
    assert error_label("openai.RateLimitError") == "openai.RateLimitError"
    assert error_label("") == "unknown"
    for odd in (HOSTILE, "two words", "9", "x" * 200, "a.", 'a"b', "é" * 81):
        assert error_label(odd) == "other"
    noon = datetime(2026, 11, 30, tzinfo=UTC)
    one = Failure("KeyError", None, "x", 2, noon, noon, [])
    block = Block("w", noon, failures=[one], failures_left=3)
    assert count_errors([block, block]) == {"KeyError": 4, "other": 6}


@on_sqlite
def test_cost_is_that_of_the_runs(
    recorder: runlog.Recorder, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the sums of tokens, as runlog.prices has it from the calls."""
    table = tmp_path / "prices.json"
    table.write_text(json.dumps({"known*": {"input": 2, "output": 10, "cache_read": 1}}))
    monkeypatch.setenv("RUNLOG_PRICES", str(table))
    total = 0.0
    for number in range(5):
        tokens = {"input": 100 + number, "output": 7, "total": 107 + number}
        tokens_ = {**tokens, "input_details": {"cache_read": 40}}
        model = "unknown" if number == 4 else f"known-{number % 2}"
        call = {"kind": "llm", "model": model, "tokens": tokens_, "status": "completed"}
        one = log("ask", 0, calls=[call], llm_calls=1, tokens=tokens_, models=[model])
        totals = {"tokens": tokens_, "llm_calls": 1}
        run = minimal(f"r{number}", node_logs=[one], metadata=totals)
        recorder.log_run(run)
        total += float(prices.cost(recorder.get_run(f"r{number}")).total or 0)  # type: ignore[arg-type]
    found = scrape(recorder)
    assert found("runlog_cost_dollars_total", workflow="w") == pytest.approx(total)
    assert found("runlog_unpriced_calls_total", workflow="w") == 1
    details = found("runlog_token_details_total", type="cache_read")
    assert details == 200
    table.write_text("{")
    broken = scrape(recorder)
    assert "runlog_cost_dollars_total" not in broken.names
    assert broken("runlog_store_up") == 1


def test_a_price_of_long_prompts_does_not_count_for_sums() -> None:
    """A model with a price by the length of its prompt: the sum of them is no prompt."""
    small = Block("w", datetime.now(UTC))
    small.run.calls["llm"] = 1
    small.models["gemini-2.5-pro"] = Model(1, Counter(input=1000, output=100))
    large = Block("w", datetime.now(UTC))
    large.run.calls["llm"] = 1000
    large.models["gemini-2.5-pro"] = Model(1000, Counter(input=10**6, output=10**5))
    one = costs([small], SumPrices())["w"]
    many = costs([large], SumPrices())["w"]
    assert one.dollars > 0
    assert many.dollars == pytest.approx(1000 * one.dollars)


def test_regression_prices_that_another_scrape_renews_meanwhile(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "prices.json"
    table.write_text('{"m": {"input": 2, "output": 10}}')
    monkeypatch.setenv("RUNLOG_PRICES", str(table))
    shared = SumPrices()
    shared.renew()

    class Renewed(dict[Any, Any]):
        def __setitem__(self, key: Any, value: Any) -> None:
            super().__setitem__(key, value)
            shared.renew()

    shared._known = Renewed()
    assert shared.price("m", {"input": 10**6, "output": 10**5}) == 3


@on_sqlite
def test_regression_a_recorder_that_is_replaced_while_it_is_read(
    recorder: runlog.Recorder, store: Store
) -> None:
    """As by runlog.configure() in another thread. The database is not down for that."""
    before = runlog.Recorder(**store.options)
    before.close()
    assert not Reader(lambda: before).read().up
    given = [before]
    assert Reader(lambda: given.pop() if given else recorder).read().up


@on_sqlite
def test_a_name_that_is_taken_is_refused_first(recorder: runlog.Recorder) -> None:
    registry = CollectorRegistry()
    OwnCounter("runlog_nodes", "of somebody else", registry=registry)
    before = generate_latest(registry)
    with pytest.raises(ValueError, match="runlog_nodes"):
        registry.register(collector(recorder))
    assert generate_latest(registry) == before


def test_a_server_that_is_away(
    proxied: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    """The scrape raises nothing, says what is known, and the log says why, once."""
    with runlog.Recorder(**proxied.options) as recorder:
        recorder.log_run(minimal("before"))
        found = scrape(recorder)
        assert (found("runlog_store_up"), found("runlog_journal_rows")) == (1, 0)
        proxied.proxy.outage()
        for number in range(3):
            recorder.log_run(minimal(f"r{number}"))
        registry = CollectorRegistry()
        registry.register(collector(recorder))
        away = Scrape(generate_latest(registry).decode())
        assert away("runlog_store_up") == 0
        assert away("runlog_journal_rows") == 3
        assert 0 < away("runlog_journal_oldest_seconds") < 600
        assert away("runlog_journal_bytes") > 0
        assert away("runlog_process_journaled_runs_total") == 3
        assert "runlog_runs_total" not in away.names
        generate_latest(registry)
        assert caplog.text.count("metrics leave out") == 1
        proxied.proxy.forward()
        assert recorder.flush(60)
        back = scrape(recorder)
        assert (back("runlog_store_up"), back("runlog_journal_rows")) == (1, 0)
        assert back("runlog_forwarded_total") == 3
        assert back("runlog_runs_total") == 4


def test_a_server_that_does_not_answer(proxied: Proxied) -> None:
    """A read that hangs ends the scrape, and the next ones don't wait behind it."""
    from runlog.metrics.prometheus import Collector
    from runlog.metrics.reading import Reader

    with runlog.Recorder(**proxied.options, postgres_timeout=60) as recorder:
        recorder.log_run(minimal("before"))
        scrape(recorder)
        registry = CollectorRegistry()
        reader = Reader(lambda: recorder, seconds=0.2)
        registry.register(Collector(reader, process=True))
        proxied.proxy.stall()
        begun = time.monotonic()
        away = Scrape(generate_latest(registry).decode())
        again = Scrape(generate_latest(registry).decode())
        assert time.monotonic() - begun < 50  # not the 60 s of the server
        assert away("runlog_store_up") == again("runlog_store_up") == 0
        for one in (away, again):
            assert one("runlog_process_runs_total") == 1
            assert one("runlog_journal_rows") == 0
        proxied.proxy.forward()
        until(lambda: "runlog_store_up 1" in generate_latest(registry).decode())


def test_without_the_extra(run_python: Any) -> None:
    code = """
import sys
sys.modules["prometheus_client"] = None
import runlog.metrics
try:
    runlog.metrics.collector()
except ImportError as error:
    print(error)
from runlog.cli import main
sys.exit(main(["metrics"]))
"""
    done = run_python(code)
    assert 'pip install "langgraph-runlog[metrics]"' in done.stdout
    assert done.returncode == 1
    assert "langgraph-runlog[metrics]" in done.stderr
    assert "Traceback" not in done.stderr
