"""The runs of a thread, tied together: pauses, answers, and what goes on from where."""

from __future__ import annotations

import asyncio
import signal
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_store import Store
from graphs import (
    again,
    build,
    command,
    count,
    either,
    invoke,
    invoke_again,
    on_thread,
    with_checkpointer,
)
from helpers import minimal
from langgraph.graph import START
from langgraph.types import Command, interrupt

import runlog
from runlog import ValidationError
from runlog.hooks import RunLogHandler

T0 = datetime(2024, 5, 1, 12, tzinfo=UTC)


def ask(state: Any) -> Any:
    return {"n": state["n"] + interrupt("how many?")}


def graph_with(b: Any = ask, **options: Any) -> Any:
    """A graph of which b may pause: a counts, c counts."""
    builder = build((START, "a"), ("a", "b"), ("b", "c"), a=count, b=b, c=count)
    return with_checkpointer(builder, **options)


def story(recorder: Any, thread_id: Any = "t", **options: Any) -> list[Any]:
    """The thread as tuples (status, answer, resumes, resumed_by), with places for ids."""
    assert recorder.flush()
    runs = recorder.get_thread(thread_id, **options)
    places = {run["run_id"]: place for place, run in enumerate(runs)} | {None: None}
    return [
        (
            run["status"],
            run["answer"],
            places.get(run["resumes"], run["resumes"]),
            places.get(run["resumed_by"], run["resumed_by"]),
        )
        for run in runs
    ]


def without_ties(run: dict[str, Any]) -> dict[str, Any]:
    ties = ("answer", "interrupts", "resumed_by", "resumes")
    return {name: value for name, value in run.items() if name not in ties}


def without_logs(recorder: Any, run: dict[str, Any]) -> dict[str, Any]:
    """The same run as get_run gives it."""
    whole = dict(recorder.get_run(run["run_id"], run["wpk_id"]))
    del whole["node_logs"]
    return whole


# Real graphs.


@either
def test_a_pause_and_its_answer(recorder: Any, config: Any, call: Any) -> None:
    graph, first = graph_with(), on_thread(config)
    call(graph, {"n": 1}, first)
    second = invoke_again(call, graph, Command(resume=5), first)
    third = invoke_again(call, graph, {"n": 20}, first)
    assert recorder.flush()
    runs = recorder.get_thread("t")
    ids = [str(one["run_id"]) for one in (first, second, third)]
    assert [run["run_id"] for run in runs] == ids
    for run in runs:
        assert run.keys() >= {"answer", "interrupts", "resumed_by", "resumes"}
        assert without_ties(run) == without_logs(recorder, run)
    (asked,) = runs[0]["interrupts"]
    assert asked["value"] == "how many?"
    assert runs[1]["interrupts"] == []
    assert runs[1]["inputs"] == command(resume=5)
    assert [run["outputs"] for run in runs] == [{"n": 2}, {"n": 8}, {"n": 21}]
    assert story(recorder) == [
        ("interrupted", None, None, 1),
        ("completed", 5, 0, None),
        ("interrupted", None, None, None),
    ]


@either
def test_a_pause_that_pauses_again(recorder: Any, config: Any, call: Any) -> None:
    def twice(_: Any) -> Any:
        return {"n": interrupt("first") + interrupt("second")}

    graph, first = graph_with(twice), on_thread(config)
    call(graph, {"n": 1}, first)
    invoke_again(call, graph, Command(resume=0), first)
    invoke_again(call, graph, Command(resume=7), first)
    assert story(recorder) == [
        ("interrupted", None, None, 1),
        ("interrupted", 0, 0, 2),
        ("completed", 7, 1, None),
    ]
    asked = [run["interrupts"][0]["value"] for run in recorder.get_thread("t")[:2]]
    assert asked == ["first", "second"]


@either
@pytest.mark.parametrize("place", ["interrupt_before", "interrupt_after"])
def test_a_breakpoint_is_continued_without_an_answer(
    recorder: Any, config: Any, call: Any, place: str
) -> None:
    graph, first = graph_with(count, **{place: ["b"]}), on_thread(config)
    call(graph, {"n": 1}, first)
    invoke_again(call, graph, None, first)
    expected = [("interrupted", None, None, 1), ("completed", None, 0, None)]
    assert story(recorder) == expected
    assert [run["interrupts"] for run in recorder.get_thread("t")] == [[], []]


@either
def test_a_failed_run_is_tied_to_the_run_that_goes_on(
    recorder: Any, config: Any, call: Any
) -> None:
    """Each attempt goes on from the one before, and so does one with an answer."""
    left = [ConnectionError("away"), ConnectionError("still away")]

    def flaky(state: Any) -> Any:
        answer = interrupt("how many?")
        if left:
            raise left.pop(0)
        return {"n": state["n"] + answer}

    graph, first = graph_with(flaky), on_thread(config)
    call(graph, {"n": 1}, first)
    attempts: list[Any] = [Command(resume=5), None]
    for given in attempts:
        with pytest.raises(ConnectionError):
            invoke_again(call, graph, given, first)
    invoke_again(call, graph, Command(resume=6), first)
    assert story(recorder) == [
        ("interrupted", None, None, 1),
        ("failed", 5, 0, 2),
        ("failed", None, 1, 3),
        ("completed", 6, 2, None),
    ]


@either
def test_a_pause_that_is_answered_twice(recorder: Any, config: Any, call: Any) -> None:
    """The second answer travels back in time; the pause names the newest."""
    graph, first = graph_with(), on_thread(config)
    call(graph, {"n": 1}, first)
    paused_at = graph.get_state(first).config["configurable"]
    invoke_again(call, graph, Command(resume=5), first)
    call(graph, Command(resume=6), again(config, configurable=paused_at))
    assert story(recorder) == [
        ("interrupted", None, None, 2),
        ("completed", 5, 0, None),
        ("completed", 6, 0, None),
    ]


@either
def test_an_answer_by_id_names_its_pause(recorder: Any, config: Any, call: Any) -> None:
    """Of two pauses that were answered, the older one is answered again, by its id."""
    graph, first = graph_with(), on_thread(config)
    (asked,) = call(graph, {"n": 1}, first)["__interrupt__"]
    paused_at = graph.get_state(first).config["configurable"]
    invoke_again(call, graph, Command(resume=5), first)
    invoke_again(call, graph, {"n": 20}, first)
    invoke_again(call, graph, Command(resume={"yes": 1, "no": 2}["yes"]), first)
    by_id = {asked.id: 6}
    call(graph, Command(resume=by_id), again(config, configurable=paused_at))
    assert story(recorder) == [
        ("interrupted", None, None, 4),
        ("completed", 5, 0, None),
        ("interrupted", None, None, 3),
        ("completed", 1, 2, None),
        ("completed", by_id, 0, None),
    ]


@either
def test_a_run_from_an_older_checkpoint_without_an_answer_is_tied_to_none(
    recorder: Any, config: Any, call: Any
) -> None:
    """The record does not say which checkpoint it was."""
    graph, first = graph_with(count), on_thread(config)
    call(graph, {"n": 1}, first)
    (before_b,) = [s for s in graph.get_state_history(first) if s.next == ("b",)]
    call(graph, None, again(config, configurable=before_b.config["configurable"]))
    expected = [("completed", None, None, None)] * 2
    assert story(recorder) == expected
    assert recorder.get_thread("t")[1]["metadata"] == {
        "resumed": True,
        "totals": {"nodes": 2},
    }


def test_the_answers_of_two_nodes_that_paused_at_once(recorder: Any, config: Any) -> None:
    builder = build((START, "a"), (START, "b"), a=ask, b=lambda _: interrupt("what?"))
    graph, first = with_checkpointer(builder), on_thread(config)
    asked = {one.value: one.id for one in invoke(graph, {"n": 1}, first)["__interrupt__"]}
    answers = [{asked["what?"]: {}}, {asked["how many?"]: 5}]
    for answer in answers:
        invoke_again(invoke, graph, Command(resume=answer), first)
    assert story(recorder) == [
        ("interrupted", None, None, 1),
        ("interrupted", answers[0], 0, 2),
        ("completed", answers[1], 1, None),
    ]


def test_answers_of_any_value(recorder: Any, config: Any) -> None:
    big = "what was asked is answered at length " * 500  # is stored beside the row

    def ask_only(_: Any) -> Any:
        interrupt("well?")
        return {}

    graph = graph_with(ask_only)
    for number, answer in enumerate([False, 0, "", [], {"graph": 1}, big, [big, big]]):
        first = on_thread(again(config), f"t{number}")
        invoke(graph, {"n": 1}, first)
        invoke_again(invoke, graph, Command(resume=answer), first)
        assert recorder.flush()
        paused, resumed = recorder.get_thread(f"t{number}")
        assert resumed["answer"] == answer
        assert type(resumed["answer"]) is type(answer)
        assert resumed["resumes"] == paused["run_id"]


def test_a_state_that_looks_like_a_command_is_no_answer(
    recorder: Any, config: Any
) -> None:
    recorder.log_run(minimal(thread_id="t", inputs=command(resume=5)))
    assert story(recorder) == [("completed", None, None, None)]


@either
def test_two_workflows_on_one_thread(
    recorder: Any, config: Any, handler: Any, call: Any
) -> None:
    one, other = graph_with(name="one"), graph_with(name="other")
    first = on_thread(config)
    call(one, {"n": 1}, first)
    invoke_again(call, other, {"n": 10}, first)
    invoke_again(call, one, Command(resume=5), first)
    invoke_again(call, other, Command(resume=6), first)
    assert story(recorder) == [
        ("interrupted", None, None, 2),
        ("interrupted", None, None, 3),
        ("completed", 5, 0, None),
        ("completed", 6, 1, None),
    ]
    assert story(recorder, wpk_id="other") == [
        ("interrupted", None, None, 1),
        ("completed", 6, 0, None),
    ]
    assert story(recorder, wpk_id="none") == []


def test_a_run_that_is_still_at_work(recorder: Any, config: Any) -> None:
    """Its answer is known before it ends."""
    seen: list[Any] = []

    def look(state: Any) -> Any:
        answer = interrupt("how many?")
        seen.append(story(recorder))
        return {"n": answer}

    graph, first = graph_with(look), on_thread(config)
    first["callbacks"] = [RunLogHandler(recorder=recorder, checkpoint_interval=0)]
    invoke(graph, {"n": 1}, first)
    invoke_again(invoke, graph, Command(resume=5), first)
    assert seen == [[("interrupted", None, None, 1), ("running", 5, 0, None)]]


# Rows with times of their own.


def kept(
    recorder: Any,
    run_id: str,
    status: str,
    begin: float,
    end: float | None = None,
    *,
    given: Any = "a turn",
    **fields: Any,
) -> None:
    """Keep a run of thread "t" from second `begin` to `end`; None resumes."""
    facts: dict[str, Any] = {}
    if status == "interrupted":
        facts["interrupts"] = [{"id": f"id of {run_id}", "value": "?"}]
    if given is None or isinstance(given, dict):
        facts["resumed"] = True
    at = T0 + timedelta(seconds=begin)
    length = None if end is None else round((end - begin) * 1000)
    recorder.log_run(
        minimal(
            run_id,
            status=status,
            thread_id="t",
            inputs=given,
            metadata=facts,
            started_at=at,
            created_at=at,
            duration_ms=length,
        )
        | fields
    )


def ties(recorder: Any, **options: Any) -> dict[str, Any]:
    return {r["run_id"]: r["resumes"] for r in recorder.get_thread("t", **options)}


ANSWER = command(resume="yes")


def test_a_pause_that_nobody_answered(recorder: Any) -> None:
    kept(recorder, "p", "interrupted", 0, 1)
    kept(recorder, "turn", "completed", 2, 3)
    kept(recorder, "again", "completed", 4, 5, given=None)
    expected = {"p": None, "turn": None, "again": None}
    assert ties(recorder) == expected
    assert {run["resumed_by"] for run in recorder.get_thread("t")} == {None}


def test_an_answer_belongs_to_the_newest_pause(recorder: Any) -> None:
    kept(recorder, "p", "interrupted", 0, 1)
    kept(recorder, "q", "interrupted", 2, 3)
    kept(recorder, "turn", "completed", 4, 5)
    kept(recorder, "late", "completed", 6, 7, given=ANSWER)
    kept(recorder, "named", "completed", 8, 9, given=command(resume={"id of p": 1}))
    expected = {"p": None, "q": None, "turn": None, "late": "q", "named": "p"}
    assert ties(recorder) == expected


def test_of_runs_side_by_side_the_last_to_end_is_continued(recorder: Any) -> None:
    kept(recorder, "long", "interrupted", 0, 10)
    kept(recorder, "short", "interrupted", 1, 2)
    kept(recorder, "early", "completed", 5, 6, given=ANSWER)
    kept(recorder, "late", "completed", 11, 12, given=ANSWER)
    expected = {"long": None, "short": None, "early": "short", "late": "long"}
    assert ties(recorder) == expected


def test_clocks_that_differ_a_little(recorder: Any) -> None:
    kept(recorder, "p", "interrupted", 0, 1.04)
    kept(recorder, "r", "completed", 1, 2, given=ANSWER)
    kept(recorder, "far", "interrupted", 3, 5)
    kept(recorder, "s", "completed", 4, 6, given=None)
    assert ties(recorder) == {"p": None, "r": "p", "far": None, "s": None}


@pytest.mark.parametrize("status", ["failed", "cancelled", "interrupted", "running"])
def test_what_did_not_complete_is_continued(recorder: Any, status: str) -> None:
    kept(recorder, "p", "interrupted", 0, 1)
    kept(recorder, "r", status, 2, None, given=ANSWER)
    kept(recorder, "s", "completed", 4, 5, given=None)
    assert ties(recorder) == {"p": None, "r": "p", "s": "r"}


KILLED = """
import os, signal
from graphs import build, with_checkpointer
from langgraph.graph import START
from runlog.hooks import RunLogHandler
die = lambda _: os.kill(os.getpid(), signal.SIGKILL)
graph = with_checkpointer(build((START, "a"), a=die))
handler = RunLogHandler("w", checkpoint_interval=0)
graph.invoke({"n": 1}, {"callbacks": [handler], "configurable": {"thread_id": "t"}})
"""


@pytest.mark.long_with("postgres")
def test_a_lost_run_is_continued(recorder: Any, store: Store, run_python: Any) -> None:
    tests = str(Path(__file__).parent)
    child = run_python(KILLED, env={**store.env, "PYTHONPATH": tests})
    assert child.returncode == -signal.SIGKILL, child.stderr
    now = (datetime.now(UTC) - T0).total_seconds()
    kept(recorder, "r", "completed", now, now, given=None)
    assert recorder.flush()
    lost, resumed = recorder.get_thread("t")
    assert (lost["status"], lost["resumed_by"]) == ("lost", "r")
    assert resumed["resumes"] == lost["run_id"]


def test_an_answer_is_for_no_run_at_work(recorder: Any) -> None:
    kept(recorder, "p", "interrupted", 0, 1)
    kept(recorder, "turn", "running", 2)
    kept(recorder, "r", "completed", 4, 5, given=ANSWER)
    assert ties(recorder) == {"p": None, "turn": None, "r": "p"}


def test_the_newest_runs_up_to_a_limit(recorder: Any) -> None:
    """The run before them is looked at, too."""
    kept(recorder, "a", "interrupted", 0, 1)
    kept(recorder, "b", "interrupted", 2, 3, given=ANSWER)
    kept(recorder, "c", "completed", 4, 5, given=ANSWER)
    whole = {"a": None, "b": "a", "c": "b"}
    for limit in (1, 2, 3, 1000):
        found = ties(recorder, limit=limit)
        assert list(found.items()) == list(whole.items())[-limit:]
    assert recorder.get_thread("t", limit=2)[0]["resumed_by"] == "c"


def test_a_hundred_by_default(recorder: Any) -> None:
    for number in range(103):
        kept(recorder, f"r{number:03}", "completed", number, number)
    assert list(ties(recorder)) == [f"r{number:03}" for number in range(3, 103)]
    assert len(ties(recorder, limit=1000)) == 103


def test_metadata_of_another_form(recorder: Any, store: Store) -> None:
    kept(recorder, "a", "interrupted", 0, 1, metadata={"interrupts": 5})
    kept(recorder, "b", "completed", 2, 3, metadata=None, inputs=ANSWER)
    odd = {"resumed": "yes", "interrupts": ["text", {"value": 1}]}
    kept(recorder, "c", "interrupted", 4, 5, metadata=odd)
    kept(recorder, "d", "completed", 6, 7, given=command(resume={"x": 1, "y": []}))
    store.query("UPDATE workflow_runs SET metadata = '[1]' WHERE run_id = 'b'")
    store.query("UPDATE workflow_runs SET started_at = NULL, duration_ms = NULL")
    assert ties(recorder) == {"a": None, "b": None, "c": None, "d": "c"}
    found = [run["interrupts"] for run in recorder.get_thread("t")]
    assert found == [[], [], odd["interrupts"], []]


def test_large_texts_are_put_back(recorder: Any, handler: Any) -> None:
    """Each run has its own."""
    texts = [f"{number} " + "large " * 2000 for number in range(3)]
    graph = graph_with(lambda _: {}, name="g")
    for text in texts:
        config = on_thread({"callbacks": [handler], "run_id": uuid.uuid4()})
        graph.invoke({"n": 1}, {**config, "metadata": {"note": {"is": text}}})
        recorder.log_run(minimal(text[0], "other", thread_id="t", inputs=[text, 1]))
    assert recorder.flush()
    runs = recorder.get_thread("t", "g")
    assert [run["metadata"]["note"]["is"] for run in runs] == texts
    for run in runs:
        assert without_ties(run) == without_logs(recorder, run)
    found = [run["inputs"] for run in recorder.get_thread("t", "other")]
    assert found == [[text, 1] for text in texts]


def test_without_values_the_marks_stay(recorder: Any, store: Store) -> None:
    mark = {"$value": "0" * 32, "bytes": 9, "head": "a"}
    kept(recorder, "r", "completed", 0, 1, given=[mark], outputs=mark)
    (run,) = recorder.get_thread("t")
    assert (run["inputs"], run["outputs"]) == ([mark], mark)


# Arguments, twins and the plan.


@pytest.mark.parametrize("limit", [0, 1001, -1, True, "5", 1.5, None, 2**70], ids=repr)
def test_a_limit_outside_1_to_1000_raises(recorder: Any, limit: Any) -> None:
    with pytest.raises(ValidationError, match="limit must be a whole number from 1 to"):
        recorder.get_thread("t", limit=limit)


@pytest.mark.parametrize("wrong", [None, True, 1.5, b"t", ["t"], 10**5000], ids=type)
def test_a_thread_id_of_another_type_raises(recorder: Any, wrong: Any) -> None:
    with pytest.raises(ValidationError, match="thread_id"):
        recorder.get_thread(wrong)
    with pytest.raises(ValidationError, match="wpk_id must be text"):
        recorder.get_thread("t", 5)


def test_ids_of_threads_and_unknown_threads(recorder: Any) -> None:
    assert recorder.get_thread("t") == []
    thread = uuid.uuid4()
    recorder.log_run(minimal("a", thread_id=42))
    recorder.log_run(minimal("b", thread_id=thread))
    recorder.log_run(minimal("c"))
    for wanted, run_id in ((42, "a"), ("42", "a"), (thread, "b"), (str(thread), "b")):
        assert [run["run_id"] for run in recorder.get_thread(wanted)] == [run_id]
    assert recorder.get_thread("' OR '1'='1") == []


def test_the_functions_of_the_module(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    runlog.log_run(minimal("a", thread_id="t"))
    runlog.log_run(minimal("b", "other", thread_id="t"))
    whole = runlog.get_thread("t")
    assert [run["run_id"] for run in whole] == ["a", "b"]
    assert asyncio.run(runlog.aget_thread("t")) == whole
    assert asyncio.run(runlog.aget_thread("t", limit=1)) == whole[1:]
    assert runlog.get_thread("t", "w", 5) == whole[:1]
    runlog.close()


def test_a_closed_recorder_raises(store: Store) -> None:
    recorder = runlog.Recorder(**store.options)
    recorder.close()
    with pytest.raises(runlog.ClosedError):
        recorder.get_thread("t")


ROWS = """INSERT INTO workflow_runs (id, wpk_id, run_id, status, thread_id, created_at,
    updated_at) WITH RECURSIVE numbers (n) AS
    (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
    SELECT {id}, 'w', 'run ' || n, 'completed', 'thread ' || n % 2000, {time}, {time}
    FROM numbers"""


@pytest.mark.parametrize("where", ["thread_id = 't'", "wpk_id = 'w' AND thread_id = 't'"])
def test_a_thread_reads_its_index(recorder: Any, store: Store, where: str) -> None:
    """Among 20,000 runs of one workflow, in 2,000 threads."""
    recorder.log_run(minimal())
    page = f"SELECT inputs FROM workflow_runs WHERE {where} "
    page += "ORDER BY created_at DESC, id DESC LIMIT 101"
    if store.kind == "sqlite":
        time = "strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1700000000 + n, 'unixepoch')"
        store.query(ROWS.format(id="lower(hex(randomblob(16)))", time=time))
        plan = str(store.query(f"EXPLAIN QUERY PLAN {page}"))
        assert "TEMP B-TREE" not in plan
    else:
        time = "to_timestamp(1700000000 + n)"
        store.query(ROWS.format(id="gen_random_uuid()", time=time))
        with psycopg.connect(store.options["postgres_dsn"]) as connection:
            connection.execute("ANALYZE workflow_runs")
            plan = str(connection.execute(f"EXPLAIN {page}").fetchall())
        assert "Seq Scan" not in plan
    assert "workflow_runs_thread_id_idx" in plan
