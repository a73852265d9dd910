"""Unusual names, errors, answers and inputs."""

import asyncio
import contextvars
import re
from typing import Any

import pytest
from graphs import (
    INTERRUPTED,
    again,
    build,
    chain,
    command,
    count,
    either,
    failed,
    interrupts,
    invoke,
    invoke_again,
    log,
    on_thread,
    paused_run,
    record,
    resumed_run,
    run,
    with_checkpointer,
)
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel, ValidationError
from strategies import clean

pytestmark = pytest.mark.either_store

NAMES = ["a\0b", "\ud800", "\u00fc\u20ac\U0001f600", '"', "\\", "a\nb", " ", "x" * 1000]


@either
def test_names_may_be_any_text(recorder: Any, config: Any, call: Any) -> None:
    """Names of nodes, graphs, threads, tags and metadata, and texts of errors."""
    for name in NAMES:
        check_names(recorder, again(config), call, name)


def check_names(recorder: Any, config: Any, call: Any, name: Any) -> None:
    node = "a" if name == "\ud800" else name  # LangGraph needs its UTF-8

    def fail(_: Any) -> Any:
        raise ValueError(name)

    builder = build((START, node), (node, "b"), b=fail, **{node: count})
    graph = with_checkpointer(builder, name)
    config = on_thread(config, name) | {"tags": [name], "metadata": {name: {name: name}}}
    with pytest.raises(ValueError):
        call(graph, {"n": 1}, config)
    kept, text = record(recorder, config), clean(name)
    assert kept["thread_id"] == text
    error = {"status": "failed", "error_type": "ValueError", "error_text": text}
    assert kept == run(
        {"n": 1},
        None,
        log(clean(node), 1, {"n": 1}, {"n": 2}),
        log("b", 2, {"n": 2}, **error),
        wpk_id=text,
        thread_id=text,
        metadata={"tags": [text], text: {text: text}},
        **error,
    )
    assert recorder.flush()
    assert record(recorder, config) == kept


def test_a_numeric_thread_id_becomes_text(recorder: Any, config: Any) -> None:
    graph = with_checkpointer(build((START, "a"), a=count))
    config["configurable"] = {"thread_id": 7}
    invoke(graph, {"n": 1}, config)
    a = log("a", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, a, thread_id="7")


@either
def test_a_very_long_error_text_keeps_its_ends(
    recorder: Any, config: Any, call: Any
) -> None:
    error = ValueError("begins " + "long " * 400_000 + "ends")

    def fail(_: Any) -> Any:
        raise error

    with pytest.raises(ValueError, match="long"):
        call(chain(a=fail), {"n": 1}, config)
    kept = record(recorder, config)
    text = kept["error_text"]
    assert len(text) <= 64 * 1024
    assert text.startswith("begins long ")
    assert text.endswith(" long ends")
    assert re.search(r"<cut: \d+ bytes>", text)
    (a,) = kept["node_logs"]
    assert a == log("a", 1, {"n": 1}, **failed(error) | {"error_text": text})


@either
def test_groups_and_special_errors_are_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    class OwnError(Exception):
        """Has no arguments, and a text of its own."""

        def __str__(self) -> str:
            return "in my own words"

    group = ExceptionGroup("several", [ValueError("one"), OwnError()])
    for error in (group, OwnError(), KeyError("key"), StopIteration(5)):
        its = again(config)

        def fail(_: Any, error: Any = error) -> Any:
            raise error

        with pytest.raises((type(error), RuntimeError)) as raised:
            call(chain(a=fail), {"n": 1}, its)
        kept = record(recorder, its)
        assert kept["status"] == "failed"
        assert kept["error_type"] in (type(error).__name__, "RuntimeError")
        assert kept["error_text"] in (str(error), str(raised.value))


class Wanted(BaseModel):
    n: int


@either
def test_a_validation_error_fails_the_run(recorder: Any, config: Any, call: Any) -> None:
    """By pydantic, before the first node or between two."""

    def wrong(_: Any) -> Any:
        return {"n": "many"}

    with pytest.raises(ValidationError) as error:
        call(chain(state=Wanted, a=count), {"n": "many"}, config)
    kept = record(recorder, config)
    assert kept == run({"n": "many"}, None, **failed(error.value))

    second = again(config)
    with pytest.raises(ValidationError) as error:
        call(chain(state=Wanted, a=wrong, b=count), {"n": 1}, second)
    a = log("a", 1, {"n": 1}, {"n": "many"})
    kept = record(recorder, second)
    assert kept == run({"n": 1}, None, a, **failed(error.value))


@either
def test_falsy_answers_resume_a_run(recorder: Any, config: Any, call: Any) -> None:
    answers: list[Any] = [0, False, "", [], {"yes": [None]}]
    for answer in answers:
        check_answer(recorder, again(config), call, answer)


def check_answer(recorder: Any, config: Any, call: Any, answer: Any) -> None:
    def asks(_: Any) -> Any:
        return {"n": interrupt(None)}

    builder = build((START, "a"), a=asks)
    graph = with_checkpointer(builder)
    first = on_thread(config)
    call(graph, {"n": 1}, first)
    assert record(recorder, first) == paused_run(
        {"n": 1},
        {"n": 1},
        log("a", 1, {"n": 1}, **INTERRUPTED),
        metadata=interrupts(None),
    )
    second = invoke_again(call, graph, Command(resume=answer), first)
    assert record(recorder, second) == resumed_run(
        command(resume=answer),
        {"n": answer},
        log("a", 1, {"n": 1}, {"n": answer}),
    )


class Question(BaseModel):
    """Invokes a graph while it is encoded."""

    handler: Any

    def model_dump(self, **_: Any) -> Any:
        alone = contextvars.Context()
        its = {"callbacks": [self.handler]}
        alone.run(chain("inner", deep=count).invoke, {"n": 1}, its)
        return {"question": "?"}


@either
def test_interrupt_values_may_invoke_a_graph_while_they_are_encoded(
    recorder: Any, handler: Any, config: Any, call: Any
) -> None:
    question = Question(handler=handler)
    call(chain(a=lambda _: {"n": interrupt(question)}), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 1},
        log("a", 1, {"n": 1}, **INTERRUPTED),
        **INTERRUPTED,
        metadata=interrupts({"question": "?"}),
    )
    others = recorder.list_runs(wpk_id="inner").runs
    assert others
    deep = log("deep", 1, {"n": 1}, {"n": 2})
    expected = run({"n": 1}, {"n": 2}, deep, wpk_id="inner")
    assert all(record(recorder, one["run_id"]) == expected for one in others)


@either
def test_a_command_with_goto_continues_the_thread(
    recorder: Any, config: Any, call: Any
) -> None:
    """The command continues the thread, although no interrupt waits for an answer."""
    builder = build((START, "a"), ("a", "b"), a=count, b=count)
    graph = with_checkpointer(builder)
    first = on_thread(config)
    call(graph, {"n": 1}, first)
    second = invoke_again(call, graph, Command(goto="b", update={"n": 10}), first)
    kept = record(recorder, second)
    step = kept["node_logs"][0]["step"]
    assert step > 2
    assert kept == resumed_run(
        command("b", update={"n": 10}),
        {"n": 11},
        log("b", step, {"n": 10}, {"n": 11}),
    )


@either
def test_500_parallel_nodes_are_recorded(recorder: Any, config: Any, call: Any) -> None:
    anything: Any = object
    builder = StateGraph(anything)
    builder.add_node("work", lambda state: None)
    builder.add_conditional_edges(
        START, lambda _: [Send("work", n) for n in range(500)], ["work"]
    )
    call(builder.compile(name="g"), "go", config)
    kept = record(recorder, config)
    kept["node_logs"].sort(key=lambda one: one["inputs"])
    logs = [log("work", 1, n) for n in range(500)]
    assert kept == run("go", "go", *logs)


def test_custom_events_change_nothing(recorder: Any, handler: Any, config: Any) -> None:
    """Custom events of a graph are neither recorded nor counted as ignored."""
    from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event

    def action(state: Any) -> Any:
        dispatch_custom_event("mine", {"any": "thing"})
        return count(state)

    async def action_async(state: Any) -> Any:
        await adispatch_custom_event("mine", {"any": "thing"})
        return count(state)

    a = log("a", 1, {"n": 1}, {"n": 2})
    invoke(chain(a=action), {"n": 1}, config)
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, a)
    second = again(config)
    asyncio.run(chain(a=action_async).ainvoke({"n": 1}, second))
    assert record(recorder, second) == run({"n": 1}, {"n": 2}, a)
    assert recorder.stats()["handler_ignored"] == 0
