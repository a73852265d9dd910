"""How much is kept of calls: `calls`, RUNLOG_CALLS, redaction and the cap of payloads."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from call_help import (
    Chat,
    Completion,
    Finder,
    ask,
    completion,
    does,
    graph_of,
    llm,
    logs_of,
    only_calls,
    plus,
    refuse,
    retrieval,
    tool_call,
    wants,
)
from conftest import RunPython
from fixtures_store import Store
from graphs import either, invoke
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from strategies import to_json_model

import runlog
from runlog.hooks import RunLogHandler, install, recording, uninstall

pytestmark = pytest.mark.either_store

TOOL = {"name": "look", "description": "Look it up.", "input_schema": {"type": "object"}}
ANSWER = AIMessage("secret answer", id="a", response_metadata={"finish_reason": "stop"})


def everything(_: Any) -> Any:
    """A node that makes a call of each kind, and an event."""
    model = Chat(says=iter([ANSWER]), metadata={"size": "small"}, tags=["mine"])
    model.bind(tools=[TOOL], temperature=0.5).invoke([HumanMessage("secret q", id="q")])
    Completion(texts=("secret text",)).invoke("secret prompt")
    plus.invoke({"name": "plus", "args": {"a": 123456}, "id": "c1", "type": "tool_call"})
    with pytest.raises(ValueError):
        refuse.invoke({"a": 654321})
    Finder().invoke("secret query")
    dispatch_custom_event("progress", {"note": "secret data"})


def record(handler: Any, call: Any = invoke, **others: Any) -> Any:
    config: Any = {"callbacks": [handler], "run_id": uuid.uuid4(), **others}
    call(graph_of(does(everything)), {"messages": []}, config)
    return config


def expected() -> list[Any]:
    """The calls of `everything`."""
    message = ToolMessage("123457", name="plus", tool_call_id="c1")
    error = {"error_type": "ValueError", "error_text": "not 654321"}
    asked = [to_json_model(HumanMessage("secret q", id="q"))]
    return [
        llm(
            messages=asked,
            outputs=[to_json_model(ANSWER)],
            finish_reason="stop",
            tools={"look": TOOL},
            params={"temperature": 0.5},
            tags=["mine"],
            metadata={"size": "small"},
        ),
        completion("secret prompt", outputs=["secret text"]),
        tool_call("plus", {"a": 123456}, message),
        tool_call("refuse", {"a": 654321}, None, status="failed", **error),
        retrieval("secret query"),
    ]


@either
@pytest.mark.parametrize("calls", ["delta", "full"])
def test_all_is_kept(recorder: Any, store: Store, call: Any, calls: Any) -> None:
    """The same, whether each message is stored once or all prompts are stored whole."""
    config = record(RunLogHandler(recorder=recorder, calls=calls), call)
    assert only_calls(recorder, config) == expected()
    (log,) = logs_of(recorder, config)
    assert [event["data"] for event in log["events"]] == [{"note": "secret data"}]
    ((text,),) = store.query("SELECT node_logs FROM workflow_runs")
    assert ("$messages" in str(text)) == (calls == "delta")


@either
def test_a_summary_has_no_texts(recorder: Any, store: Store, call: Any) -> None:
    config = record(RunLogHandler(recorder=recorder, calls="summary"), call)
    dropped = {"messages", "prompt", "outputs", "args", "output", "query", "documents"}
    wanted = expected()
    for one in wanted:
        one.update(dict.fromkeys(dropped & set(one)))
    wanted[0]["tools"] = {"look": None}
    assert only_calls(recorder, config) == wanted
    (log,) = logs_of(recorder, config)
    assert [(e["name"], e["data"]) for e in log["events"]] == [("progress", None)]
    kept = str(store.query("SELECT * FROM workflow_runs"))
    for hidden in ("secret", "123456", "123457", "found", "Look it up"):
        assert hidden not in kept
    assert (log["llm_calls"], log["tool_calls"]) == (2, 2)


@either
def test_none_only_counts(recorder: Any, store: Store, call: Any) -> None:
    config = record(RunLogHandler(recorder=recorder, calls="none"), call)
    (log,) = logs_of(recorder, config)
    assert (log["calls"], log["events"]) == ([], [])
    assert (log["llm_calls"], log["tool_calls"]) == (2, 2)
    assert log["models"] == ["scripted-1"]
    kept = str(store.query("SELECT * FROM workflow_runs"))
    assert "secret" not in kept
    assert "123456" not in kept


@pytest.mark.parametrize("calls", ["delta", "full", "summary", "none"])
def test_a_block_records_calls(recorder: Any, calls: Any) -> None:
    its: Any = {"run_id": uuid.uuid4()}
    with recording(recorder=recorder, calls=calls):
        graph_of(does(everything)).invoke({"messages": []}, its)
    (log,) = logs_of(recorder, its)
    assert len(log["calls"]) == (0 if calls == "none" else 5)
    if calls != "none":
        kept = log["calls"][4]["query"]
        assert kept == (None if calls == "summary" else "secret query")


@pytest.mark.parametrize("calls", ["", "full", "summary", "none"])
def test_the_environment_says_what_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch, calls: str
) -> None:
    """An empty setting is none; an argument precedes it."""
    for name, value in {**store.env, "RUNLOG_CALLS": calls}.items():
        monkeypatch.setenv(name, value)
    kept = {}
    for given in (None, "delta"):
        install(calls=given)
        its: Any = {"run_id": uuid.uuid4()}
        graph_of(does(everything)).invoke({"messages": []}, its)
        uninstall()
        runlog.flush()
        run = runlog.get_run(str(its["run_id"]))
        assert run is not None
        kept[given] = run["node_logs"][0]["calls"]
    assert len(kept["delta"]) == 5
    assert kept["delta"][4]["query"] == "secret query"
    assert len(kept[None]) == (0 if calls == "none" else 5)
    if calls == "summary":
        assert kept[None][4]["query"] is None


@pytest.mark.parametrize("name", ["calls", "roots"])
@pytest.mark.parametrize("value", ["", "DELTA", "some", None, 5, b"full", [], object()])
def test_unknown_values_are_refused(recorder: Any, name: str, value: Any) -> None:
    """With an error that names the argument and what it may be."""
    for make in (RunLogHandler, recording):
        with pytest.raises(runlog.ValidationError, match=name) as error:
            make(recorder=recorder, **{name: value})
        assert '"all"' in str(error.value) or '"summary"' in str(error.value)


@pytest.mark.parametrize("name", ["calls", "roots"])
def test_install_refuses_unknown_values(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(runlog.ValidationError, match=name):
        install(**{name: "some"})  # type: ignore[arg-type]
    monkeypatch.setenv(f"RUNLOG_{name.upper()}", "some")
    with pytest.raises(runlog.ValidationError, match=name):
        install()
    uninstall()


def test_tracing_by_the_environment_alone(run_python: RunPython, tmp_path: Any) -> None:
    """RUNLOG_TRACING and RUNLOG_CALLS, without a line of code."""
    code = """
import runlog.hooks
from call_help import Chat, asks, graph_of, QUESTION
graph_of(asks(Chat())).invoke({"messages": [QUESTION]})
((run,), _) = runlog.list_runs()
print(len(runlog.get_run(run["run_id"])["node_logs"][0]["calls"]))
"""
    env = {
        "RUNLOG_SQLITE_PATH": str(tmp_path / "t.db"),
        "RUNLOG_TRACING": "1",
        "RUNLOG_CALLS": "none",
        "PYTHONPATH": str(__file__).rpartition("/")[0],
    }
    done = run_python(code, env=env)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


@tool
def log_in(password: str) -> Any:
    """Log in."""
    return {"api_key": f"hunter-{password}", "user": "u"}


@pytest.mark.parametrize("calls", ["delta", "full"])
@pytest.mark.parametrize("interval", [0, None])
def test_no_secret_of_a_call_is_stored(
    recorder: Any, store: Store, calls: Any, interval: Any
) -> None:
    """Neither in arguments nor prompts, outputs, metadata, parameters, tools, events."""
    handler = RunLogHandler(recorder=recorder, calls=calls, checkpoint_interval=interval)
    key = "sk-proj-0123456789abcdefABCDEF0123456789abcdefABCDEF"
    answer = wants(("log_in", {"password": "hunter1"}))

    def act(_: Any) -> Any:
        model = Chat(says=iter([answer]), metadata={"token": "hunter2"})
        model.bind(
            tool_choice={"password": "hunter3"},
            tools=[{"name": "f", "secret": "hunter4"}],
        ).invoke([HumanMessage(f"My key is {key}.", id="h")])
        Chat().invoke([HumanMessage(f"My key is {key}.", id="h")])
        log_in.invoke({"password": "hunter5"})
        dispatch_custom_event("login", {"password": "hunter6"})

    config: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
    invoke(graph_of(does(act)), {"messages": []}, config)
    (log,) = logs_of(recorder, config)
    first, second, third = log["calls"]
    assert first["params"] == {"tool_choice": {"password": "<redacted>"}}
    assert first["metadata"] == {"token": "<redacted>"}
    assert first["tools"] == {"f": {"name": "f", "secret": "<redacted>"}}
    assert first["messages"][0]["content"] == "My key is <redacted>."
    assert second["messages"] == first["messages"]
    asked = first["outputs"][0]["tool_calls"][0]
    assert asked["args"] == {"password": "<redacted>"}
    assert third["args"] == {"password": "<redacted>"}
    assert third["output"] == {"api_key": "<redacted>", "user": "u"}
    assert log["events"][0]["data"] == {"password": "<redacted>"}
    kept = str(store.query("SELECT * FROM workflow_runs"))
    kept += str(store.query("SELECT * FROM run_parts"))
    assert "hunter" not in kept
    assert key not in kept


def test_redaction_may_be_switched_off(store: Store) -> None:
    with runlog.Recorder(**store.options, redact="none,+pin") as recorder:
        config: Any = {
            "callbacks": [RunLogHandler(recorder=recorder)],
            "run_id": uuid.uuid4(),
        }

        def act(_: Any) -> Any:
            log_in.invoke({"password": "hunter1"})

        invoke(graph_of(does(act)), {"messages": []}, config)
        (call,) = only_calls(recorder, config)
    assert call["args"] == {"password": "hunter1"}


@pytest.mark.parametrize("calls", ["delta", "full"])
def test_payloads_of_calls_are_capped(store: Store, calls: Any) -> None:
    """Each prompt, arguments, outputs and documents; the rest of a call stays."""
    limit = 4096
    long = [HumanMessage(f"{n} " + "long " * 200, id=str(n)) for n in range(20)]

    @tool
    def much(words: list[str]) -> list[str]:
        """Return as much."""
        return words

    words = [f"word {n} " * 20 for n in range(100)]
    answer = AIMessage([f"answer {n} " * 20 for n in range(100)], id="a")

    def act(_: Any) -> Any:
        Chat(says=iter([answer])).invoke(long)
        much.invoke({"words": words})
        dispatch_custom_event("much", words)

    with runlog.Recorder(**store.options, max_payload=limit) as recorder:
        handler = RunLogHandler(recorder=recorder, calls=calls)
        config: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
        invoke(graph_of(does(act)), {"messages": []}, config)
        (log,) = logs_of(recorder, config)
    asked, ran = log["calls"]
    for payload in (
        asked["messages"],
        asked["outputs"],
        ran["args"],
        ran["output"],
        log["events"][0]["data"],
    ):
        text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        assert len(text) <= limit
        assert re.search("<cut: ", text)
    assert "0 long" in asked["messages"][0]["content"]
    assert (asked["status"], ran["status"]) == ("completed", "completed")


def test_texts_of_calls_are_capped(recorder: Any, config: Any) -> None:
    """Names, errors, tags and metadata that have no end."""
    endless = "x" * 2**21

    @tool
    def fails() -> None:
        """Fail."""
        raise ValueError(endless)

    fails.name = endless

    def act(_: Any) -> Any:
        with pytest.raises(ValueError):
            fails.invoke({}, {"tags": [endless]})
        dispatch_custom_event(endless, None)

    ask(invoke, does(act), config)
    (log,) = logs_of(recorder, config)
    (call,) = log["calls"]
    assert len(call["name"]) < 100_000
    assert len(call["error_text"]) < 100_000
    assert len(call["tags"][0]) < 100_000
    assert len(log["events"][0]["name"]) < 100_000
