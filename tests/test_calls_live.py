"""An open run shows the call it is in, also after its process was killed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from call_help import (
    QUESTION,
    Chat,
    Streaming,
    asks,
    completion,
    does,
    graph_of,
    joined,
    llm,
    logs_of,
    plus,
    tool_call,
)
from fixtures_live import Start
from fixtures_store import Store
from graphs import either
from handler_graphs import begin_root, uuid7
from helpers import stored, until
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from strategies import to_json_model
from test_prompts import begin_node

import runlog
from runlog.hooks import RunLogHandler

CLOCKS = ("started_at", "duration_ms", "first_token_ms")


@pytest.fixture
def reader(store: Store) -> Iterator[runlog.Recorder]:
    """Another process' view: a recorder that records nothing of its own."""
    with runlog.Recorder(**store.options) as made:
        yield made


def shown(call: Any) -> Any:
    """A call without its clocks; one that is running has not ended."""
    assert (call["duration_ms"] is None) == (call["status"] == "running")
    return {key: value for key, value in call.items() if key not in CLOCKS}


def running(call: dict[str, Any]) -> dict[str, Any]:
    """The expected record of a call before its end."""
    return call | {"status": "running", "outputs": None}


@either
def test_every_event_of_a_call_is_there_at_once(recorder: Any, call: Any) -> None:
    """With checkpoint_interval=0: its start, and its end."""
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=0)
    config: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
    views: list[Any] = []

    def look() -> None:
        (log,) = logs_of(recorder, config)
        assert log["status"] == "running"
        views.append([shown(one) for one in log["calls"]])

    class Watched(Chat):
        def _generate(self, *args: Any, **options: Any) -> Any:
            look()
            return super()._generate(*args, **options)

    @tool
    def ask_watched(a: int) -> int:
        """Ask it."""
        look()
        Watched().invoke([QUESTION])
        look()
        return a

    def act(_: Any) -> Any:
        ask_watched.invoke({"a": 1})
        look()

    call(graph_of(does(act)), {"messages": []}, config)
    asks_it = {**tool_call("ask_watched", {"a": 1}, None), "status": "running"}
    asked = llm("Watched", parent=0)
    assert views == [
        [asks_it],
        [asks_it, running(asked)],
        [asks_it, asked],
        [tool_call("ask_watched", {"a": 1}, 1), asked],
    ]


def test_the_worker_writes_while_a_model_answers(recorder: Any, reader: Any) -> None:
    """By default: before the node has made its next event."""
    config: Any = {
        "callbacks": [RunLogHandler(recorder=recorder)],
        "run_id": uuid.uuid4(),
    }

    class Slow(Chat):
        def _generate(self, *args: Any, **options: Any) -> Any:
            until(lambda: bool(seen()))
            (call,) = seen()
            assert shown(call) == running(llm("Slow"))
            return super()._generate(*args, **options)

    def seen() -> Any:
        run = reader.get_run(str(config["run_id"]))
        logs = run["node_logs"] if run is not None else []
        return logs[0]["calls"] if logs else []

    graph_of(asks(Slow())).invoke({"messages": [QUESTION]}, config)
    (log,) = logs_of(recorder, config)
    assert [shown(one) for one in log["calls"]] == [llm("Slow")]


def test_a_stream_has_begun(recorder: Any) -> None:
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=0)
    config: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}

    def act(state: Any) -> Any:
        stream = Streaming().stream(state["messages"])
        first = next(stream)
        plus.invoke({"a": 1})
        (log,) = logs_of(recorder, config)
        call = log["calls"][0]
        assert call["status"] == "running"
        assert call["messages"] == [to_json_model(QUESTION)]
        return {"messages": [joined([first, *stream])]}

    graph_of(does(act)).invoke({"messages": [QUESTION]}, config)
    (log,) = logs_of(recorder, config)
    assert log["calls"][0]["streamed"] is True


def test_an_event_is_there_at_once(recorder: Any) -> None:
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=0)
    config: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}

    def act(_: Any) -> Any:
        for n in range(3):
            dispatch_custom_event("progress", n)
            (log,) = logs_of(recorder, config)
            assert [event["data"] for event in log["events"]] == list(range(n + 1))

    graph_of(does(act)).invoke({"messages": []}, config)


@pytest.mark.long_with("postgres")
@pytest.mark.parametrize("interval", [0, 0.05])
def test_history_says_which_prompt_a_process_died_in(
    start: Start, reader: Any, interval: float
) -> None:
    process = start("stuck_in_call", interval)
    process.until_told("in the node")

    def calls() -> Any:
        runs = reader.list_runs().runs
        logs = stored(reader, runs[0]["run_id"])["node_logs"] if runs else []
        return logs[0]["calls"] if logs else []

    until(lambda: len(calls()) == 3)
    process.kill()
    (run,) = reader.list_runs().runs
    assert run["status"] == "lost"
    first, second, third = map(shown, calls())
    question = {"question": "Who is there?"}
    assert first == tool_call("plus", {"a": 1}, 2)
    assert second == tool_call("ask_stuck", question, None, status="running")
    assert third == running(llm("Stuck", parent=1))


def test_a_fork_within_a_call(start: Start, reader: Any) -> None:
    """The run and its calls stay the parent's; the child records what it begins."""
    start("forks_in_call", 0.05).wait()
    (run,) = reader.list_runs(wpk_id="forking").runs
    first, second = stored(reader, run["run_id"])["node_logs"]
    assert run["status"] == "completed"
    assert [one["content"] for one in first["calls"][0]["outputs"]] == ["parent"]
    assert [one["status"] for one in first["calls"] + second["calls"]] == [
        "completed",
        "completed",
    ]
    assert [one["content"] for one in second["calls"][0]["messages"]] == [
        QUESTION.content,
        "parent",
    ]
    (own,) = reader.list_runs(wpk_id="in-child").runs
    (log,) = stored(reader, own["run_id"])["node_logs"]
    assert [shown(one) for one in log["calls"]] == [llm()]


def call_that_never_ends(handler: Any, end: Any) -> tuple[Any, Any]:
    """The only call of a run's node after the node's end, and after the run's."""
    root = begin_root(handler, "g", n=1)
    node = begin_node(handler, root, {"n": 1})
    handler.on_chat_model_start(
        {"name": "Chat"}, [[QUESTION]], run_id=uuid7(), parent_run_id=node
    )
    end(node)
    recorder, views = handler._arguments()[1], []
    for last in (lambda: None, lambda: handler.on_chain_end({}, run_id=root)):
        last()
        (log,) = logs_of(recorder, {"run_id": root})
        (call,) = log["calls"]
        assert call["messages"] == [to_json_model(QUESTION)]
        if call["status"] != "running" and call["duration_ms"] is not None:
            assert call["duration_ms"] <= log["duration_ms"]
        views.append(call["status"])
    return views[0], views[1]


@pytest.mark.parametrize("interval", [0, 1.0])
def test_a_call_without_an_end(recorder: Any, interval: float) -> None:
    """Of a node that completed it may still come; else it ends with the node."""
    handler: Any = RunLogHandler(recorder=recorder, checkpoint_interval=interval)
    ends: list[tuple[Any, Any]] = [
        (lambda node: handler.on_chain_end({}, run_id=node), "running"),
        (lambda node: handler.on_chain_error(ValueError("x"), run_id=node), "cancelled"),
        (lambda node: handler.on_chain_error(GeneratorExit(), run_id=node), "cancelled"),
    ]
    for end, status in ends:
        assert call_that_never_ends(handler, end) == (status, "cancelled")


def test_an_end_after_the_nodes_end_still_counts(recorder: Any) -> None:
    handler: Any = RunLogHandler(recorder=recorder, checkpoint_interval=0)
    root = begin_root(handler, "g", n=1)
    node = begin_node(handler, root, {"n": 1})
    call = uuid7()
    handler.on_llm_start({"name": "Completion"}, ["a"], run_id=call, parent_run_id=node)
    handler.on_chain_error(ValueError("x"), run_id=node)
    handler.on_llm_end("late", run_id=call)
    handler.on_chain_end({}, run_id=root)
    (log,) = logs_of(recorder, {"run_id": root})
    assert [shown(one) for one in log["calls"]] == [
        completion("a", provider=None, outputs=["late"])
    ]


def test_calls_of_a_run_whose_recorder_is_closed(store: Store, reader: Any) -> None:
    """What is open is written, with the call it is in."""
    recorder = runlog.Recorder(**store.options)
    handler: Any = RunLogHandler(recorder=recorder, checkpoint_interval=3600.0)
    root = begin_root(handler, "g", n=1)
    node = begin_node(handler, root, {"n": 1})
    message = HumanMessage("in the end", id="m")
    handler.on_chat_model_start({}, [[message]], run_id=uuid7(), parent_run_id=node)
    recorder.close()
    (log,) = logs_of(reader, {"run_id": root})
    (call,) = log["calls"]
    assert (call["status"], call["messages"]) == ("running", [to_json_model(message)])
