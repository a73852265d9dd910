"""Hostile values in calls, and callbacks that are called by hand in unknown ways."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any

import pytest
from call_help import (
    QUESTION,
    Chat,
    Completion,
    Finder,
    Streaming,
    asks,
    does,
    graph_of,
    logs_of,
    only_calls,
    plus,
    refuse,
    said,
)
from graphs import either, invoke
from handler_graphs import begin_root, uuid7
from hypothesis import HealthCheck, given, settings
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from strategies import same, to_json_model, values
from test_prompts import begin_node

import runlog
from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store


@pytest.fixture
def local(tmp_path: Any) -> Any:
    """A recorder on a file: a value's JSON is the same on both databases."""
    with runlog.Recorder(sqlite_path=str(tmp_path / "local.db")) as made:
        yield made


def record_call(handler: Any, start: Any, end: Any = lambda _: None) -> uuid.UUID:
    """A run of a graph with one node, in which a call starts and maybe ends, by hand."""
    root = begin_root(handler, "g", n=1)
    node = begin_node(handler, root, {"n": 1})
    call = uuid7()
    start({"run_id": call, "parent_run_id": node})
    end({"run_id": call, "parent_run_id": node})
    handler.on_chain_end({"n": 1}, run_id=node)
    handler.on_chain_end({"n": 1}, run_id=root)
    return root


def call_of(recorder: Any, root: uuid.UUID) -> Any:
    """The only call of the run."""
    (log,) = logs_of(recorder, {"run_id": root})
    (call,) = log["calls"]
    return call


@given(value=values)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_arguments_and_outputs(local: Any, value: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)
    root = record_call(
        handler,
        lambda ids: handler.on_tool_start(
            {"name": "t"}, "text", inputs={"v": value}, metadata={"v": value}, **ids
        ),
        lambda ids: handler.on_tool_end(value, **ids),
    )
    call, wanted = call_of(local, root), to_json_model({"v": value})
    assert same(call["args"], wanted)
    assert same(call["metadata"], wanted)
    assert same(call["output"], wanted["v"])
    assert call["status"] == "completed"
    assert local.stats()["handler_errors"] == 0


class Broken:
    """An object of which hardly anything can be read."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
HOSTILE: list[Any] = [
    Broken(),
    CYCLE,
    float("nan"),
    {1: {2: 3}},
    "\0\ud800",
    object(),
    {"$value": "0" * 32},
    {"$messages": [[0, 9]]},
]


@pytest.mark.parametrize("hostile", HOSTILE[1:], ids=range(1, len(HOSTILE)))
def test_hostile_values_break_no_graph(recorder: Any, config: Any, hostile: Any) -> None:
    """In a tool's arguments and answer, a model's metadata and tools, and documents."""

    @tool
    def echo(value: Any) -> Any:
        """Give it back."""
        return hostile

    model = Chat(metadata={"m": hostile}).bind(
        tools=[{"name": "f", "extra": hostile}, hostile], stop=hostile
    )

    def act(_: Any) -> Any:
        echo.invoke({"value": hostile})
        model.invoke([QUESTION])
        Chat(says=iter([AIMessage("x", additional_kwargs={"k": hostile})])).invoke("?")

    its = {**config, "tags": ["t"]}
    invoke(graph_of(does(act)), {"messages": [QUESTION]}, its)
    first, second, third = only_calls(recorder, its)
    assert [one["status"] for one in (first, second, third)] == ["completed"] * 3
    assert list(second["metadata"]) == ["m"]
    assert next(iter(second["tools"])) == "f"
    assert third["outputs"][0]["content"] == "x"
    assert recorder.stats()["handler_errors"] == 0


UNKNOWN: list[Any] = [
    None,
    5,
    "text",
    [],
    [[]],
    [["text", 5, None]],
    [[HumanMessage("a")], [HumanMessage("b")]],
    (HumanMessage("a"),),
    {"messages": 1},
    {"$messages": [[0, 3]]},
    {"first": 0, "new": [1], "$messages": [[0, 10**12]]},
    object(),
]


@pytest.mark.parametrize("calls", ["delta", "full", "summary"])
@pytest.mark.parametrize("start", ["on_chat_model_start", "on_llm_start"])
def test_prompts_that_are_none(local: Any, start: str, calls: Any) -> None:
    """What is asked is kept as JSON, whatever it is."""
    handler: Any = RunLogHandler(recorder=local, calls=calls)
    for given_messages in UNKNOWN:
        root = record_call(
            handler,
            lambda ids, given=given_messages: getattr(handler, start)({}, given, **ids),
            lambda ids: handler.on_llm_end(5, **ids),
        )
        call = call_of(local, root)
        assert call["status"] == "completed"
        assert len(json.dumps([call["messages"], call["prompt"]])) < 10_000
        if calls == "summary":
            assert (call["messages"], call["prompt"]) == (None, None)
    assert local.stats()["handler_errors"] == 0


RESULTS: list[Any] = [
    None,
    5,
    "text",
    [],
    {"generations": 1},
    object(),
    LLMResult(generations=[]),
    LLMResult(generations=[[]]),
    LLMResult(generations=[[], []]),
    LLMResult.model_construct(generations=None),
    LLMResult.model_construct(generations=[5, [None]], llm_output=7),
    LLMResult(
        generations=[
            [ChatGeneration(message=AIMessage("x"), generation_info={"finish_reason": 5})]
        ],
        llm_output={"token_usage": "many", "model_name": ["m"]},
    ),
]


def test_answers_that_are_none(local: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)
    for result in RESULTS:
        root = record_call(
            handler,
            lambda ids: handler.on_chat_model_start({}, [[QUESTION]], **ids),
            lambda ids, result=result: handler.on_llm_end(result, **ids),
        )
        call = call_of(local, root)
        assert call["messages"] == [to_json_model(QUESTION)]
        assert call["status"] == "completed"
        assert call["outputs"] is None or type(call["outputs"]) is list
    assert local.stats()["handler_errors"] == 0


@pytest.mark.parametrize(
    "error", [None, 5, "text", object(), ValueError, ValueError("x")], ids=range(6)
)
def test_errors_that_are_none(local: Any, error: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)
    root = record_call(
        handler,
        lambda ids: handler.on_tool_start({}, "text", **ids),
        lambda ids: handler.on_tool_error(error, **ids),
    )
    call = call_of(local, root)
    assert call["status"] == "failed"
    assert call["args"] == "text"
    assert call["error_type"] == type(error).__name__


STARTS: dict[str, Any] = {
    "on_chat_model_start": [[QUESTION]],
    "on_llm_start": ["text"],
    "on_tool_start": "text",
    "on_retriever_start": "text",
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("described", [None, 5, {}, {"name": 5}, {"id": []}, {"id": [7]}])
def test_calls_without_a_name(local: Any, start: str, described: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)
    root = record_call(
        handler, lambda ids: getattr(handler, start)(described, STARTS[start], **ids)
    )
    assert call_of(local, root)["name"] in (None, "", "5", "7")


def test_a_start_twice_is_one_call(local: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)

    def start(ids: Any) -> None:
        for text in ("first", "second"):
            handler.on_tool_start({"name": "t"}, text, **ids)

    def end(ids: Any) -> None:
        for text in ("first", "second"):
            handler.on_tool_end(text, **ids)

    call = call_of(local, record_call(handler, start, end))
    assert (call["args"], call["output"], call["parent"]) == ("first", "first", None)


def test_a_call_that_ends_as_another_kind(local: Any) -> None:
    """An end is that of the call that has begun."""
    handler: Any = RunLogHandler(recorder=local)
    for end in ("on_llm_end", "on_retriever_end", "on_chain_end"):
        root = record_call(
            handler,
            lambda ids: handler.on_tool_start({"name": "t"}, "in", **ids),
            lambda ids, end=end: getattr(handler, end)("out", **ids),
        )
        call = call_of(local, root)
        assert (call["kind"], call["status"], call["output"]) == (
            "tool",
            "completed",
            "out",
        )


def test_what_belongs_to_no_run_is_ignored(local: Any) -> None:
    """Ends, tokens and events of unknown runs, and those that come too late."""
    handler: Any = RunLogHandler(recorder=local)
    root = record_call(
        handler,
        lambda ids: handler.on_chat_model_start({}, [[QUESTION]], **ids),
        lambda ids: handler.on_llm_end(None, **ids),
    )
    before = local.stats()["handler_ignored"]
    for run_id in (uuid7(), None, "no uuid", 5, Broken()):
        handler.on_llm_new_token("x", run_id=run_id)
        handler.on_llm_new_token("x", chunk=5, run_id=run_id)
        handler.on_llm_end(None, run_id=run_id)
        handler.on_tool_error(ValueError("x"), run_id=run_id)
        handler.on_custom_event("name", {}, run_id=run_id)
    assert local.stats()["handler_ignored"] > before
    assert local.stats()["handler_errors"] == 0
    assert call_of(local, root)["outputs"] == [None]
    assert len(local.list_runs().runs) == 1


def test_tokens_of_any_kind(local: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)

    def stream(ids: Any) -> None:
        handler.on_chat_model_start({}, [[QUESTION]], **ids)
        for chunk in (None, 5, object(), Broken(), ChatGeneration(message=QUESTION)):
            handler.on_llm_new_token("", chunk=chunk, **ids)
            handler.on_llm_new_token(chunk, chunk=chunk, **ids)
        handler.on_llm_new_token("word", **ids)

    root = record_call(
        handler, stream, lambda ids: handler.on_llm_error(ValueError("x"), **ids)
    )
    call = call_of(local, root)
    assert (call["status"], call["streamed"]) == ("failed", True)


def test_events_of_any_name_and_data(local: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)

    def events(ids: Any) -> None:
        handler.on_tool_start({"name": "t"}, "in", **ids)
        for value in HOSTILE:
            handler.on_custom_event(value, value, run_id=ids["run_id"])

    (log,) = logs_of(local, {"run_id": record_call(handler, events)})
    assert len(log["events"]) == len(HOSTILE)
    assert log["events"][3]["data"] == {"1": {"2": 3}}
    assert log["events"][7]["data"] == {"$messages": [[0, 9]]}


@either
def test_large_values_are_stored_apart(recorder: Any, config: Any, call: Any) -> None:
    """A document and an answer of a megabyte come back whole."""
    large = "x" * 2**20
    found = StructuredTool.from_function(
        lambda q: [Document(large + q)], name="find", description="d"
    )

    def act(_: Any) -> Any:
        found.invoke({"q": "?"})
        plus.invoke({"a": 1})

    call(graph_of(does(act), asks(Chat())), {"messages": [QUESTION]}, config)
    first, second = logs_of(recorder, config)
    assert first["calls"][0]["output"][0]["page_content"] == large + "?"
    assert first["calls"][1]["output"] == 2
    assert second["calls"][0]["messages"] == [to_json_model(QUESTION)]


LOGGED: list[Any] = [
    {"$of": [0, 0]},
    {"$of": [0, 0], "kind": []},
    {"$of": [0, 0], "kind": "llm", "messages": {"$messages": [[0, 3]]}},
    {"$of": [7, 0], "kind": "event"},
    {"$of": "x", "kind": "llm"},
    {"calls": [{"kind": "llm", "messages": {"$messages": 5}}], "events": []},
    {"calls": [{"kind": []}, 5, None], "events": [], "llm_calls": 1},
    {"calls": [], "events": 5, "llm_calls": 1},
    {
        "calls": [
            {"kind": "llm", "messages": {"from": [[5, 5, 5]], "$messages": [[0, 2]]}}
        ],
        "events": [],
        "llm_calls": 1,
    },
]


def test_logs_of_a_program_that_look_like_calls(recorder: Any) -> None:
    """They are read without an error; what is no call of runlog's stays as it is."""
    for at, odd in enumerate(LOGGED):
        node = {"node": "a", "calls": [], "events": [], "llm_calls": 0}
        runlog_run = {"wpk_id": "w", "run_id": f"r{at}", "status": "completed"}
        recorder.log_run({**runlog_run, "node_logs": [node, odd]})
        assert recorder.flush()
        kept = recorder.get_run(f"r{at}")["node_logs"]
        assert kept[0]["node"] == "a"
        if "$of" in odd and len(kept) == 2:
            assert kept[1] == odd


class ByName(RunLogHandler):
    """Hands on by name what LangChain gives by position."""


def by_name(callback: str, names: tuple[str, ...]) -> Any:
    def handle(self: Any, *given: Any, **more: Any) -> Any:
        named = dict(zip(names, given, strict=False))
        return getattr(super(ByName, self), callback)(**named, **more)

    return handle


BY_POSITION = {
    "on_chain_start": ("serialized", "inputs"),
    "on_chain_end": ("outputs",),
    "on_chain_error": ("error",),
    "on_tool_start": ("serialized", "input_str"),
    "on_tool_end": ("output",),
    "on_tool_error": ("error",),
    "on_llm_start": ("serialized", "prompts"),
    "on_chat_model_start": ("serialized", "messages"),
    "on_llm_new_token": ("token",),
    "on_llm_end": ("response",),
    "on_llm_error": ("error",),
    "on_retriever_start": ("serialized", "query"),
    "on_retriever_end": ("documents",),
    "on_retriever_error": ("error",),
    "on_custom_event": ("name", "data"),
    "on_interrupt": ("event",),
    "on_resume": ("event",),
}
for _callback, _names in BY_POSITION.items():
    setattr(ByName, _callback, by_name(_callback, _names))


def call_each_kind(_: Any) -> Any:
    """What a node does that has each of the callbacks called."""
    answer = said(AIMessage("yes", id="m1")).invoke([QUESTION])
    for failing in (
        said(ConnectionError("busy")),
        refuse,
        Finder(error=ValueError("no")),
    ):
        given: Any = {"a": 1} if failing is refuse else "tea"
        with contextlib.suppress(ConnectionError, ValueError):
            failing.invoke(given)
    Completion().invoke("What?")
    stream: Any = Streaming().stream([QUESTION])
    next(stream)
    stream.close()
    plus.invoke({"a": 1})
    Finder().invoke("tea")
    dispatch_custom_event("noted", {"n": 1})
    return {"messages": [answer, HumanMessage(interrupt("and?"), id="m2")]}


def without_times(value: Any) -> Any:
    if isinstance(value, list):
        return [without_times(item) for item in value]
    if not isinstance(value, dict):
        return value
    times = {"started_at", "duration_ms", "created_at", "updated_at", "at", "id"}
    other = {"run_id", "first_token_ms", "wpk_id", "error_traceback"}
    return {
        key: without_times(item)
        for key, item in value.items()
        if key not in times | other
    }


def test_arguments_may_be_given_by_name(recorder: Any) -> None:
    """A subclass records the same, whichever way it hands on what it was given."""
    found: list[Any] = []
    for kind in (RunLogHandler, ByName):
        handler = kind(kind.__name__, recorder=recorder)
        config: Any = {"callbacks": [handler], "configurable": {"thread_id": "t"}}
        graph = graph_of(call_each_kind, checkpointer=InMemorySaver())
        graph.invoke({"messages": [QUESTION]}, config)
        graph.invoke(Command(resume="no"), config)
        with pytest.raises(ZeroDivisionError):
            graph_of(lambda _: 1 // 0).invoke({"messages": [QUESTION]}, config)
        assert recorder.flush()
        runs = recorder.list_runs(wpk_id=kind.__name__).runs[::-1]
        found.append([without_times(recorder.get_run(run["run_id"])) for run in runs])
    assert found[0] == found[1]
    assert [run["status"] for run in found[1]] == ["interrupted", "completed", "failed"]
    (log,) = found[1][1]["node_logs"]
    assert [call["status"] for call in log["calls"]] == [
        *["completed", "failed", "failed", "failed"],
        *["completed", "cancelled", "completed", "completed"],
    ]
    assert log["outputs"]["messages"][1]["content"] == "no"
