"""RunLogHandler in real graphs: one run each, with every node as it was."""

import asyncio
import logging
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydantic
import pytest
from fixtures_store import Store
from handler_graphs import State, chain, node
from helpers import minimal, stored
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.tracers.base import BaseTracer
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

import runlog
from runlog.hooks import RunLogHandler, on_workflow_complete

pytestmark = pytest.mark.either_store


async def collect(stream: Any) -> Any:
    return [item async for item in stream]


CALLS: dict[str, Any] = {
    "invoke": lambda graph, given, config: graph.invoke(given, config),
    "stream": lambda graph, given, config: list(graph.stream(given, config)),
    "stream values": lambda g, given, c: list(
        g.stream(given, c, stream_mode=["values", "debug"])
    ),
    "batch": lambda graph, given, config: graph.batch([given], config),
    "ainvoke": lambda graph, given, config: asyncio.run(graph.ainvoke(given, config)),
    "astream": lambda graph, given, config: asyncio.run(
        collect(graph.astream(given, config))
    ),
    "abatch": lambda graph, given, config: asyncio.run(graph.abatch([given], config)),
}
NODE_KEYS = ["node", "status", "step", "attempt", "parent", "inputs", "outputs"]
NODE_KEYS += ["started_at", "duration_ms"]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_run_and_its_nodes_are_recorded(recorder: Any, config: Any, call: Any) -> None:
    graph = chain("orders", first=node("first"), second=node("second"))
    before = datetime.now(UTC)
    call(graph, {"n": 1, "seen": ["start"]}, config)
    after = datetime.now(UTC)

    assert recorder.flush(60)
    (row,) = recorder.get_runs_by_wpk_id("orders")
    assert row[:2] == (str(config["run_id"]), "completed")
    run = recorder.get_run(str(config["run_id"]))
    assert run["inputs"] == {"n": 1, "seen": ["start"]}
    assert run["outputs"] == {"n": 3, "seen": ["start", "first", "second"]}
    assert (run["error_type"], run["error_text"]) == (None, None)
    assert before <= run["started_at"] <= after
    assert run["started_at"] <= run["updated_at"] <= datetime.now(UTC)
    assert 0 <= run["duration_ms"] <= (after - before) / timedelta(milliseconds=1) + 1

    first, second = run["node_logs"]
    assert set(NODE_KEYS) <= set(first)
    assert {key: first[key] for key in NODE_KEYS[:7]} == {
        "node": "first",
        "status": "completed",
        "step": 1,
        "attempt": 1,
        "parent": None,
        "inputs": {"n": 1, "seen": ["start"]},
        "outputs": {"n": 2, "seen": ["first"]},
    }
    assert (second["node"], second["step"], second["status"]) == (
        "second",
        2,
        "completed",
    )
    assert second["inputs"] == {"n": 2, "seen": ["start", "first"]}
    assert second["outputs"] == {"n": 3, "seen": ["second"]}
    starts = [datetime.fromisoformat(log["started_at"]) for log in (first, second)]
    assert before <= starts[0] <= starts[1] <= after
    assert all(type(log["duration_ms"]) is float for log in (first, second))
    assert all(log["duration_ms"] >= 0 for log in (first, second))
    assert recorder.stats()["open_runs"] == 0


@pytest.mark.parametrize(
    ("constructor", "metadata", "name", "expected"),
    [
        ("mine", "theirs", "graph", "mine"),
        (None, "theirs", "graph", "theirs"),
        (None, None, "graph", "graph"),
        (None, None, None, "LangGraph"),
    ],
)
def test_the_wpk_id_is_taken_from_the_first_source_that_has_one(
    recorder: Any, constructor: Any, metadata: Any, name: Any, expected: Any
) -> None:
    handler = RunLogHandler(constructor, recorder=recorder)
    config: Any = {"callbacks": [handler], "metadata": {"user": "u"}}
    if metadata:
        config["metadata"]["wpk_id"] = metadata
    chain(name, only=node("only")).invoke({"n": 1}, config)
    assert recorder.flush(60)
    (run,) = recorder.list_runs().runs
    assert run["wpk_id"] == expected
    assert uuid.UUID(run["run_id"])
    assert recorder.get_run(run["run_id"])["metadata"]["user"] == "u"


def test_the_default_recorder_is_used_without_one(store: Store) -> None:
    runlog.configure(**store.options)
    chain("plain", only=node("only")).invoke({"n": 1}, {"callbacks": [RunLogHandler()]})
    runlog.flush()
    ((run_id, status, *_),) = runlog.get_runs_by_wpk_id("plain")
    assert status == "completed"
    assert store.query("SELECT run_id FROM workflow_runs") == [(run_id,)]


def test_the_thread_id_of_a_checkpointed_graph_is_recorded(
    recorder: Any, config: Any
) -> None:
    builder = StateGraph(State)
    builder.add_node("only", node("only"))
    builder.add_edge(START, "only")
    graph = builder.compile(checkpointer=InMemorySaver())
    config["configurable"] = {"thread_id": "t1"}
    graph.invoke({"n": 1}, config)
    assert recorder.flush(60)
    assert [run["run_id"] for run in recorder.list_runs(thread_id="t1").runs] == [
        str(config["run_id"])
    ]


def fail(_state: Any) -> None:
    raise ValueError("boom \ud800")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_failed_node_is_recorded_with_its_error(
    recorder: Any, config: Any, call: Any
) -> None:
    graph = chain("fails", good=node("good"), bad=fail, never=node("never"))
    with pytest.raises(ValueError, match="boom"):
        call(graph, {"n": 1}, config)
    assert recorder.flush(60)
    run = recorder.get_run(str(config["run_id"]))
    assert (run["status"], run["error_type"]) == ("failed", "ValueError")
    assert run["error_text"] == "boom \ufffd"
    assert run["outputs"] is None
    good, bad = run["node_logs"]
    assert (good["node"], good["status"]) == ("good", "completed")
    assert good.get("error_type") is None
    assert (bad["node"], bad["status"], bad["error_type"]) == (
        "bad",
        "failed",
        "ValueError",
    )
    assert bad["error_text"] == "boom \ufffd"
    assert bad["inputs"]["n"] == 2
    assert bad.get("outputs") is None
    assert recorder.stats()["open_runs"] == 0


class Unwilling(pydantic.BaseModel):
    """A model that won't be dumped."""

    def model_dump(self, **_: Any) -> dict[str, Any]:
        raise RuntimeError("no")


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
def test_values_that_cannot_be_encoded_do_not_break_the_graph(
    recorder: Any, config: Any, call: Any
) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    values = {
        "model": Unwilling(),
        "cycle": cycle,
        "lambda": len,
        "password": "hunter2",
        5: {1},
    }
    CALLS[call](chain("odd", only=node("only")), {"n": 0, "extra": values}, config)
    assert recorder.flush(60)
    run = recorder.get_run(str(config["run_id"]))
    assert run["status"] == "completed"
    assert run["inputs"]["extra"] == {
        "model": "<unserializable Unwilling>",
        "cycle": ["<cycle>"],
        "lambda": "<builtins.len>",
        "password": "<redacted>",
        "5": [1],
    }
    assert run["node_logs"][0]["inputs"]["extra"] == run["inputs"]["extra"]


def test_messages_keep_their_type(recorder: Any, config: Any) -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("answer", lambda _: {"messages": [("ai", "hello")]})
    builder.add_edge(START, "answer")
    builder.compile().invoke({"messages": [HumanMessage("hi")]}, config)
    assert recorder.flush(60)
    messages = recorder.get_run(str(config["run_id"]))["outputs"]["messages"]
    assert [(m["type"], m["content"]) for m in messages] == [
        ("human", "hi"),
        ("ai", "hello"),
    ]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_database_that_fails_does_not_break_the_graph(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, call: Any
) -> None:
    path = str(tmp_path / "missing" / "runs.db")
    graph = chain("fails", first=node("first"))
    with runlog.Recorder(sqlite_path=path) as recorder, caplog.at_level(logging.WARNING):
        handler = RunLogHandler(recorder=recorder)
        for _ in range(3):
            call(graph, {"n": 1}, {"callbacks": [handler]})
        assert recorder.stats()["handler_errors"] == 3
        assert recorder.stats()["open_runs"] == 0
    (record,) = caplog.records
    assert record.name == "runlog"
    assert path in record.getMessage()


def test_a_closed_recorder_does_not_break_the_graph(
    recorder: Any, handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.close()
    graph = chain("closed", first=node("first"))
    with caplog.at_level(logging.WARNING):
        assert graph.invoke({"n": 1}, {"callbacks": [handler]})["n"] == 2
    assert {record.name for record in caplog.records} <= {"runlog"}


def test_the_handler_is_a_langgraph_callback_handler(handler: Any) -> None:
    from langgraph.callbacks import GraphCallbackHandler

    assert isinstance(handler, GraphCallbackHandler)


def test_the_handler_is_a_langchain_callback_handler(handler: Any) -> None:
    make: Any = RunLogHandler
    assert isinstance(handler, BaseCallbackHandler)
    assert isinstance(handler, BaseTracer)
    assert (handler.run_inline, handler.raise_error) == (True, False)
    with pytest.raises(TypeError):
        make(recorder="no recorder")
    with pytest.raises((TypeError, ValueError)):
        make(wpk_id=5)
    with pytest.raises((TypeError, ValueError)):
        make(wpk_id="")


def test_on_workflow_complete(store: Store) -> None:
    runlog.configure(**store.options)
    data = minimal(outputs={"text": "ok"})
    data["workflow_id"] = data.pop("wpk_id")
    given = dict(data)
    assert on_workflow_complete(data) == "r1"
    assert data == given
    run = stored(runlog)
    assert run["wpk_id"] == "w"
    assert (run["status"], run["outputs"]) == ("completed", {"text": "ok"})
    assert "workflow_id" not in (run["metadata"] or {})
    with pytest.raises(runlog.ValidationError, match=r"workflow_id|wpk_id"):
        on_workflow_complete({"run_id": "r2", "status": "completed"})
    not_callable: Any = []
    with pytest.raises(TypeError):
        on_workflow_complete(not_callable)
