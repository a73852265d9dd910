"""The command line: runs, threads, differences, failures, sums and events."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cli_help import Cli, Recorded, cli, history, on_sqlite
from helpers import minimal
from hypothesis import HealthCheck, given, settings
from test_views import runs

import runlog
from runlog.cli.log_rows import STATE
from runlog.views.outcome import outcome, question

__all__ = ["cli", "history"]


def test_show(cli: Cli, history: Recorded) -> None:
    done = cli("show", history.failed)
    assert re.match(r"failed at draft after .*ms: KeyError: 'price'$", done.lines[0])
    assert "draft, step 2" in done.out
    assert 'raise KeyError("price" if' in done.out
    assert "[library]" not in done.out
    assert "[library]" in cli("show", history.failed, "--traceback").out
    assert re.search(r"first +completed", done.out)
    assert done.code == 0
    assert cli("show", history.failed, "--exit-status").code == 1
    assert cli("show", history.done, "--exit-status").code == 0
    assert "waits at ask" in cli("show", history.paused).lines[0]
    assert "who approves?" in cli("show", history.paused).lines[0]
    assert "after 1 retry" in cli("show", history.retried).lines[0]
    assert "pay (try 1 of 2)" in cli("show", history.retried).out
    assert "└─ last" in cli("show", history.nested).out
    assert "one ∥" in cli("show", history.parallel).out
    assert "resumed" in cli("show", history.resumed).lines[1]


def test_calls_and_values_of_a_run(cli: Cli, history: Recorded) -> None:
    assert "scripted-1" not in cli("show", history.asked).out
    shown = cli("show", history.asked, "--calls")
    assert "llm  scripted-1  completed" in shown.out
    assert "25 tokens" in shown.out
    assert "> hi" in shown.out
    one = cli("show", history.done, "--node", "draft")
    assert "changed n: 2" in one.out
    assert 'appended seen: ["draft"]' in one.out
    state = cli("show", history.done, "--state", "draft")
    assert "before" in state.out
    assert "changed n: 1 → 2" in state.out
    wrong = cli("show", history.done, "--node", "draf")
    assert (wrong.code, "'draft'" in wrong.err) == (2, True)


@on_sqlite
def test_a_run_as_json_and_markdown(cli: Cli, history: Recorded) -> None:
    run = json.loads(cli("show", history.failed, "--json").out)
    assert run["error_type"] == "KeyError"
    assert run["outcome"].startswith("failed at draft")
    text = cli("show", history.failed, "--md").out
    assert text.startswith("# failed at draft")
    assert "## draft: failed" in text
    assert 'raise KeyError("price"' in text
    for budget in (100, 200, 1000):
        short = cli("show", history.failed, "--md", "--budget", str(budget)).out
        assert len(short) <= 4 * budget
        assert short.startswith("# failed at draft")
    assert cli("show", "--md", "--budget", "1").code == 2


@on_sqlite
def test_the_node_logs_of_a_run_as_rows(cli: Cli, history: Recorded) -> None:
    """Every log once, in its order; of a node by its name, with its values."""
    logs = json.loads(cli("show", history.failed, "--json").out)["node_logs"]
    rows = [json.loads(line) for line in cli("show", history.failed, "-o", "jsonl").lines]
    assert [row["log"] for row in rows] == list(range(len(logs)))
    for name in ("node", "status", "step", "duration_ms", "error_type", "error_text"):
        assert [row[name] for row in rows] == [log[name] for log in logs]
    names, *cells = (
        line.split("\t") for line in cli("show", history.failed, "-o", "tsv").lines
    )
    assert names == list(rows[0])
    assert [dict(zip(names, line, strict=True))["node"] for line in cells] == [
        log["node"] for log in logs
    ]
    (one,) = cli(
        "show", history.retried, "--node", "pay", "--log", "1", "-o", "jsonl"
    ).lines
    assert (json.loads(one)["attempt"], json.loads(one)["outputs"]) == (2, {"n": 1})
    (state,) = cli("show", history.done, "--state", "draft", "-o", "jsonl").lines
    assert json.loads(state)["inputs"]["n"] == 1
    assert json.loads(state)["after"]["n"] == 2
    table = cli("show", history.failed, "--fields", "node,error_type").lines
    assert table[0].split() == ["node", "error_type"]
    assert table[-1].split() == ["draft", "KeyError"]
    assert "after" in cli("show", "--fields", "?").lines
    wrong = cli("show", "--fields", "nod")
    assert (wrong.code, "'node'" in wrong.err) == (2, True)


@on_sqlite
def test_a_node_as_markdown(cli: Cli, history: Recorded) -> None:
    node = cli("show", history.retried, "--md", "--node", "pay").out
    assert node.index("KeyError: 'busy'") < node.index("log 1, step 1, try 2")
    for how in ([], ["--md"]):
        one = cli("show", history.retried, *how, "--node", "pay", "--log", "1").out
        assert "busy" not in one
        assert "completed" in one
    wrong = cli("show", history.retried, "--node", "pay", "--log", "2")
    assert (wrong.code, wrong.out) == (2, "")
    assert "'pay', which has 0, 1" in wrong.err
    assert "--node" in cli("show", history.retried, "--log", "1").err
    state = cli("show", history.retried, "--md", "--state", "pay", "--budget", "100").out
    assert "Before:" in state
    assert len(state) <= 400


def test_thread(cli: Cli, history: Recorded) -> None:
    done = cli("thread", "order A1")
    assert "waits at ask after" in done.out
    assert "who approves?" in done.out
    assert "answer: Ada" in done.out
    assert f"goes on from {history.paused}" in done.out
    wrong = cli("thread", "order A2")
    assert (wrong.code, "'order A1'" in wrong.err) == (2, True)
    rows = json.loads(cli("thread", "order A1", "--json").out)
    assert [row["run"] for row in rows] == [history.paused, history.resumed]


def test_a_row_says_how_its_run_ended(recorder: Any, history: Recorded) -> None:
    """As the whole run does, of a list and of a thread."""
    rows = recorder.list_runs(limit=100).runs
    assert len(rows) == len({*history}) + 1
    rows += recorder.get_thread("order A1")
    for row in rows:
        whole = recorder.get_run(row["run_id"])
        said = outcome(whole)
        asked = question(row) is None and row["status"] == "interrupted"
        assert outcome(row) == (said.partition(": ")[0] if asked else said)


def test_diff(cli: Cli, history: Recorded) -> None:
    same = cli("diff", history.done, history.done)
    assert (same.code, "the runs are the same" in same.out) == (0, True)
    differs = cli("diff", history.done, history.failed)
    assert differs.code == 1
    assert "the inputs differ" in differs.out
    assert "first difference: first" in differs.out
    assert "- 1\n" in differs.out
    assert cli("diff", history.done, "nothing").code == 2
    assert cli("diff", history.done).code == 2


def test_errors(cli: Cli, history: Recorded) -> None:
    groups = json.loads(cli("errors", "--json").out)
    assert [(one["count"], one["message"]) for one in groups] == [
        (2, "'price'"),
        (1, "'name'"),
    ]
    assert groups[0]["newest"] == history.also_failed
    assert groups[0]["node"] == "draft"
    few = cli("errors", "-n", "1")
    assert few.err == "incomplete: only the newest 1 failed run was read\n"


def test_stats(cli: Cli, history: Recorded) -> None:
    assert history
    found = json.loads(cli("stats", "--json").out)
    assert found["runs"] == 10
    assert found["by_status"] == {"completed": 6, "failed": 3, "interrupted": 1}
    assert found["p50"] <= found["p95"] <= found["p99"]
    assert found["retried"] == 1
    assert found["tokens"] == 25
    nodes = {one["node"]: one for one in found["nodes"]}
    assert nodes["draft"]["failed"] == 3
    assert nodes["pay"]["retried"] == 1
    assert json.loads(cli("stats", "approval", "--json").out)["runs"] == 2
    wrong = cli("stats", "aproval")
    assert (wrong.code, "'approval'" in wrong.err) == (2, True)
    assert "10 runs: 6 completed, 3 failed, 1 interrupted" in cli("stats").out


def test_tail(cli: Cli, history: Recorded) -> None:
    done = cli("tail", "--json")
    events = [json.loads(line) for line in done.lines]
    assert [one["at"] for one in events] == sorted(one["at"] for one in events)
    of_nested = [
        (one["node"], one["what"]) for one in events if one["run"] == history.nested
    ]
    assert of_nested[0] == (None, "started")
    assert of_nested[-1] == (None, "completed")
    assert ("last", "completed") in of_nested
    assert history.done not in done.out
    assert history.done in cli("tail", "-n", "20").out


def long_text(name: str) -> str:
    """A text that shows whether its end was cut off."""
    return "x" * 12_000 + f"<{name}>"


def log_long_values(recorder: Any) -> None:
    call = {
        "kind": "llm",
        "model": "m",
        "status": "failed",
        "messages": [{"role": "user", "content": long_text("prompt")}],
        "outputs": [{"text": {"deep": long_text("answer")}}],
        "error_type": "E",
        "error_text": long_text("call error"),
    }
    log = {
        "node": "n",
        "status": "failed",
        "error_type": "E",
        "error_text": long_text("error"),
        "error_traceback": long_text("traceback"),
        "inputs": {"k": long_text("before")},
        "outputs": {"k": long_text("after")},
        "calls": [call],
        "events": [{"name": "e", "data": {"deep": long_text("event")}}],
    }
    failed = {"error_type": "E", "error_text": long_text("error"), "thread_id": "t1"}
    recorder.log_run(
        minimal(
            "one",
            status="failed",
            inputs={"i": long_text("input")},
            outputs={"o": long_text("output")},
            node_logs=[log],
            **failed,
        )
    )
    asked = {"interrupts": [{"id": "1", "value": long_text("question")}]}
    said = {"messages": [{"content": long_text("said")}]}
    waiting = minimal("two", status="interrupted", thread_id="t2", metadata=asked)
    recorder.log_run({**waiting, "inputs": said})
    for run_id, sign in (("three", 1), ("four", -1)):
        values = {f"k{place:02}": sign * place for place in range(1, 61)}
        recorder.log_run(
            minimal(
                run_id,
                thread_id="t3",
                outputs=said,
                node_logs=[{"node": "n", "status": "completed", "outputs": values}],
            )
        )


_CALL = ["prompt", "answer", "call error"]
WHOLE = [
    (["show", "one", "--calls"], ["error", "traceback", "input", "output", *_CALL]),
    (["show", "one", "--node", "n"], ["error", "before", "after", "event", *_CALL]),
    (["show", "one", "--state", "n"], ["before", "after"]),
    (["show", "two"], ["question", "said"]),
    (["show", "one", "--fields", "error_text,inputs"], ["error", "before"]),
    (["show", "one", "--json"], ["error", "input", "event", *_CALL]),
    (["thread", "t1"], ["error", "input"]),
    (["thread", "t2"], ["question", "said"]),
    (["thread", "t3"], ["said"]),
    (["thread", "t1", "-o", "tsv"], ["input", "output"]),
    (["tail", "-n", "9"], ["error", "question"]),
    (["tail", "-n", "9", "--json"], ["error", "question"]),
    (["list", "--fields", "error_text"], ["error"]),
    (["diff", "one", "two"], ["error", "question"]),
    (["diff", "three", "four"], ["k60"]),
    (["diff", "three", "four", "--json"], ["k60"]),
]


@pytest.mark.parametrize(("argv", "ends"), WHOLE)
@on_sqlite
def test_a_pipe_gets_whole_values(
    cli: Cli, recorder: Any, argv: list[str], ends: list[str]
) -> None:
    log_long_values(recorder)
    done = cli(*argv)
    assert done.code in (0, 1)
    for end in ends:
        assert (f"<{end}>" if end != "k60" else end) in done.out, end
    assert "…" not in done.out


@on_sqlite
def test_a_terminal_gets_cut_values_unless_it_asks(cli: Cli, recorder: Any) -> None:
    log_long_values(recorder)
    for argv, ends in WHOLE:
        if "--json" in argv or "tsv" in argv:
            continue
        short = cli.on_terminal(*argv).out
        assert len(short) < 6_000, argv
        if "k60" not in ends:
            assert "…" in short, argv
        if argv[0] == "show" and "--fields" not in argv:
            full = cli.on_terminal(*argv, "--full").out
            joined = re.sub(r"\x1b\[[0-9;]*m|\n", "", full)
            for end in ends:
                assert f"<{end}>" in joined, (argv, end)
    assert "and 40 more values" in cli.on_terminal("diff", "three", "four").out


@on_sqlite
def test_diff_looks_at_all_that_was_recorded(cli: Cli, recorder: Any) -> None:
    """Inputs of nodes too; no text stands for what is missing."""

    def log(name: str, **more: Any) -> None:
        recorder.log_run(minimal(name, **more))

    def node(given: Any, made: Any) -> Any:
        return [
            {"node": "a", "status": "completed", "inputs": {}, "outputs": 0},
            {"node": "b", "status": "completed", "inputs": given, "outputs": made},
        ]

    def differ(one: str, other: str) -> Any:
        done = cli("diff", one, other, "--json")
        assert done.code == cli("diff", one, other).code == cli("diff", other, one).code
        return done.code, json.loads(done.out)

    log("a1", node_logs=node({"q": 1}, 1))
    log("a2", node_logs=node({"q": 2}, 1))
    code, (first, second) = differ("a1", "a2")
    assert (code, first["same"], second["same"]) == (1, True, False)
    assert second["inputs"] == [{"path": "q", "one": 1, "other": 2}]
    assert second["values"] == []
    assert "first difference: b\n  q\n    - 1\n    + 2" in cli("diff", "a1", "a2").out
    for place, text in enumerate(("<absent>", "None", "")):
        log(f"b{place}", outputs={"x": text})
        log(f"c{place}", outputs={})
        assert cli("diff", f"b{place}", f"c{place}").code == 1
        log(f"d{place}", node_logs=node({}, {"x": text}))
        log(f"e{place}", node_logs=node({}, {}))
        code, (_, pair) = differ(f"d{place}", f"e{place}")
        assert (code, pair["values"]) == (1, [{"path": "x", "one": text}])
    log("f1", inputs={"q": 1}, node_logs=node({"q": 1}, 1))
    log("f2", inputs={"q": 2}, node_logs=node({"q": 2}, 3))
    said = cli("diff", "f1", "f2").out
    assert "the inputs differ\nthe same until a\nfirst difference: b" in said


@on_sqlite
def test_regression_a_node_alone(cli: Cli, history: Recorded) -> None:
    """It is shown as in the run's tree, in every format."""
    done = cli("show", history.retried, "--node", "pay").out
    assert re.findall(r"\(try \d of \d\)", done) == ["(try 1 of 2)", "(try 2 of 2)"]
    assert "one ∥" in cli("show", history.parallel, "--node", "one").out
    (row,) = json.loads(cli("show", history.done, "--node", "draft", "--json").out)
    assert row["node"] == "draft"
    (row,) = json.loads(cli("show", history.done, "--state", "draft", "--json").out)
    assert list(row) == STATE
    assert cli("show", history.done, "--node", "drft", "--json").code == 2


@on_sqlite
def test_regression_what_a_log_does_not_say(cli: Cli, recorder: Any) -> None:
    """A log of a program may lack its step and time, and its calls may say anything."""
    failed = {"node": "a", "status": "failed", "error_type": "KeyError"}
    calls = [{"tokens": {"total": total}} for total in ("many", [1], 7)]
    logs = [{**failed, "calls": calls}, {"node": "b", "status": "completed"}]
    recorder.log_run(minimal("r1", status="timeout", node_logs=logs))
    said = cli("show", "@timeout", "--calls")
    assert (said.code, said.err) == (0, "")
    assert "7 tokens" in said.out
    assert cli("show", "r1", "--state", "a").lines[0] == "a"
    said = cli("tail", "-o", "jsonl")
    assert [json.loads(line)["said"] for line in said.lines[2:5:2]] == ["KeyError", ""]
    assert cli("show", "@timeut").code == 2


@on_sqlite
def test_regression_one_is_singular(cli: Cli, recorder: Any) -> None:
    for name in ("r1", "r2"):
        recorder.log_run(minimal(name, status="failed"))
    assert cli("export", "--limit", "1").err.startswith("1 run; go on")
    assert cli("export").err.startswith("2 runs; go on")
    said = "incomplete: only the newest 1 failed run was read\n"
    assert cli("errors", "--limit", "1").err == said
    assert "there are only 2 such runs" in cli("show", "@failed~2").err
    recorder.delete_runs(run_id="r2")
    assert "there is only 1 such run\n" in cli("show", "@failed~2").err


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs)
@on_sqlite
def test_whatever_a_program_has_logged_can_be_shown(cli: Cli, made: Any) -> None:
    with runlog.Recorder() as recorder:
        recorder.delete_runs(before=datetime.now(UTC) + timedelta(days=9999))
        recorder.log_run({**made, "run_id": "r1"})
    look_at(cli, "r1")


def look_at(cli: Cli, name: str) -> None:
    """Use every command that shows a run."""
    for argv in (
        ["show", name, "--calls"],
        ["show", name, "--md", "--budget", "150"],
        ["stats"],
        ["errors"],
        ["tail", "-n", "9"],
        ["list"],
        ["diff", name, name],
        ["export"],
        ["export", name, "--format", "chrome"],
    ):
        done = cli(*argv)
        said = re.sub("no failures\n|1 run;.*\n", "", done.err)
        assert (done.code, said) == (0, ""), (argv, done)


@pytest.fixture(params=["Pacific/Kiritimati", "Pacific/Niue"])
def zone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A zone of time, 14 hours before or 11 behind UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.mark.parametrize("moment", [datetime.min, datetime.max])
@pytest.mark.usefixtures("zone")
@on_sqlite
def test_times_at_the_ends_of_the_calendar(cli: Cli, moment: datetime) -> None:
    """A program's clock, and its stopwatch, may say anything."""
    at = moment.replace(tzinfo=UTC)
    log = {"node": "a", "status": "completed", "started_at": at.isoformat()}
    with runlog.Recorder() as recorder:
        recorder.log_run(
            {
                **minimal("r1", status="failed", thread_id="t", duration_ms=2**31 - 1),
                "created_at": at,
                "started_at": at,
                "node_logs": [
                    {**log, "duration_ms": spent}
                    for spent in (1, 251606260800000.0, 1e17)
                ],
            }
        )
    look_at(cli, "r1")
    done = cli("thread", "t")
    assert (done.code, done.err) == (0, "")
