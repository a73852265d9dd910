"""Which nodes a run goes through, and in which order."""

import asyncio
import operator
import uuid
from typing import Annotated, Any, TypedDict

import pytest
from graphs import (
    build,
    chain,
    command,
    count,
    either,
    failed,
    log,
    on_thread,
    record,
    run,
    unordered,
    with_checkpointer,
)
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START
from langgraph.types import CachePolicy, Command, interrupt

from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store

BOOM = ValueError("boom")


class Seen(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]


@either
def test_completed_nodes_are_recorded(recorder: Any, config: Any, call: Any) -> None:
    call(chain(a=count, b=count), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 3},
        log("a", 1, {"n": 1}, {"n": 2}),
        log("b", 2, {"n": 2}, {"n": 3}),
    )
    assert recorder.stats()["open_runs"] == 0


@either
def test_a_node_answered_from_the_cache_has_no_log(
    recorder: Any, config: Any, call: Any
) -> None:
    builder = build((START, "a"), ("a", "b"), b=count)
    builder.add_node("a", count, cache_policy=CachePolicy())
    graph = builder.compile(name="g", cache=InMemoryCache())
    call(graph, {"n": 1}, {})
    call(graph, {"n": 1}, config)
    b = log("b", 2, {"n": 2}, {"n": 3})
    assert record(recorder, config) == run({"n": 1}, {"n": 3}, b)


@either
def test_a_command_with_goto_is_recorded(recorder: Any, config: Any, call: Any) -> None:
    def jump(state: Any) -> Command[Any]:
        return Command(goto="c", update={"n": 10})

    builder = build((START, "a"), b=count, c=count)
    builder.add_node("a", jump, destinations=("b", "c"))
    call(builder.compile(name="g"), {"n": 1}, config)
    outputs = command("c", update={"n": 10})
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 11},
        log("a", 1, {"n": 1}, outputs),
        log("c", 2, {"n": 10}, {"n": 11}),
    )


@either
def test_a_command_to_the_parent_graph_is_no_error(
    recorder: Any, config: Any, call: Any
) -> None:
    """LangGraph hands it up as an exception, which it is not."""

    def leave(state: Any) -> Command[Any]:
        return Command(graph=Command.PARENT, goto="c", update={"n": 10})

    builder = build((START, "sub"), c=count)
    sub = chain("inner", a=count, leave=leave)
    builder.add_node("sub", sub, destinations=("c",))
    call(builder.compile(name="g"), {"n": 1}, config)
    outputs = command("c", update={"n": 10}, graph="__parent__")
    sub_id = record(recorder, config)["node_logs"][0]["outputs"]["graph"]
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 11},
        log("sub", 1, {"n": 1}, outputs | {"graph": sub_id}),
        log("a", 1, {"n": 1}, {"n": 2}, parent="sub"),
        log("leave", 2, {"n": 2}, outputs, parent="sub"),
        log("c", 2, {"n": 10}, {"n": 11}),
    )


def test_reading_and_updating_a_state_is_no_run(recorder: Any, config: Any) -> None:
    builder = build((START, "a"), a=count)
    graph = with_checkpointer(builder)
    config = on_thread(config)
    graph.update_state(config, {"n": 5}, as_node="a")
    assert graph.get_state(config).values == {"n": 5}
    assert len(list(graph.get_state_history(config))) == 1

    async def read_and_update() -> None:
        await graph.aupdate_state(config, {"n": 6}, as_node="a")
        assert (await graph.aget_state(config)).values == {"n": 6}

    asyncio.run(read_and_update())
    assert recorder.list_runs().runs == []


@either
def test_a_conditional_entry_is_not_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    builder = build(a=count, b=count)
    builder.add_conditional_edges(START, lambda _: "b", ["a", "b"])
    call(builder.compile(name="g"), {"n": 1}, config)
    b = log("b", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, b)


ENTRY = log(START, 0, None, {"n": 1})
"""Of a conditional entry in which something happened; its inputs are the graph's."""
A = log("a", 1, {"n": 1}, {"n": 2})


def entry(*does: Any, **options: Any) -> Any:
    """A graph whose conditional entry calls these one after the other."""

    def route(state: Any) -> str:
        for act in does:
            act(state)
        return "a"

    builder = build(a=count)
    builder.add_conditional_edges(START, route, ["a"])
    return builder.compile(name="g", **options)


def ask(_state: Any) -> None:
    FakeListChatModel(responses=["a"]).invoke("Which way?")


def look_up(_state: Any) -> None:
    where.invoke({"city": "Oslo"})


def say(state: Any) -> None:
    dispatch_custom_event("routed", state)


@tool
def where(city: str) -> str:
    """Where a city is."""
    return f"{city}: there"


@either
@pytest.mark.parametrize("calls", ["delta", "summary"])
def test_what_a_conditional_entry_calls_is_in_its_log(
    recorder: Any, call: Any, calls: Any
) -> None:
    handler = RunLogHandler("g", recorder=recorder, calls=calls)
    config = {"callbacks": [handler], "run_id": uuid.uuid4()}
    call(entry(ask, RunnableLambda(look_up).invoke, say), {"n": 1}, config)
    assert recorder.flush()
    first, second = recorder.get_run(config["run_id"])["node_logs"]
    assert (first["node"], second["node"]) == (START, "a")
    assert [one["kind"] for one in first["calls"]] == ["llm", "tool"]
    assert [one["name"] for one in first["events"]] == ["routed"]
    assert (first["llm_calls"], first["tool_calls"]) == (1, 1)
    assert (second["calls"], second["events"]) == ([], [])
    assert first["started_at"] <= first["calls"][0]["started_at"]
    if calls == "delta":
        assert "Which way?" in str(first["calls"][0]["messages"])


@either
@pytest.mark.parametrize("act", [ask, look_up, say])
def test_the_first_of_all_that_happens_shows_the_entry(
    recorder: Any, config: Any, call: Any, act: Any
) -> None:
    call(entry(act), {"n": 1}, config)
    assert [one["node"] for one in record(recorder, config)["node_logs"]] == [START, "a"]


@either
@pytest.mark.parametrize("after", [(), (ask,)], ids=["at once", "after a call"])
def test_an_entry_that_fails_is_the_place(
    recorder: Any, config: Any, call: Any, after: Any
) -> None:
    def fail(_state: Any) -> None:
        raise BOOM

    with pytest.raises(ValueError, match="boom"):
        call(entry(*after, fail), {"n": 1}, config)
    recorded = record(recorder, config)
    (only,) = recorded["node_logs"]
    assert (recorded["status"], recorded["error_text"]) == ("failed", "boom")
    assert only | failed(BOOM) == only
    assert (only["node"], only["llm_calls"]) == (START, len(after))
    row = recorder.list_runs().runs[0]
    assert row["totals"]["at"] == START


@either
def test_an_entry_may_ask_the_user(recorder: Any, config: Any, call: Any) -> None:
    graph = entry(lambda _: interrupt("Which way?"), checkpointer=InMemorySaver())
    call(graph, {"n": 1}, on_thread(config))
    recorded = record(recorder, config)
    assert recorded["status"] == "interrupted"
    assert [(one["node"], one["status"]) for one in recorded["node_logs"]] == [
        (START, "interrupted")
    ]


def test_an_open_entry_shows_its_prompt(recorder: Any) -> None:
    """So the record of a process that is killed in it has the prompt."""
    handler = RunLogHandler("g", recorder=recorder, checkpoint_interval=0)
    run_id = uuid.uuid4()
    found = []

    class Looks(FakeListChatModel):
        def _call(self, *args: Any, **kwargs: Any) -> str:
            assert recorder.flush()
            found.append(recorder.get_run(run_id))
            return "a"

    graph = entry(lambda _: Looks(responses=["a"]).invoke("Which way?"))
    graph.invoke({"n": 1}, {"callbacks": [handler], "run_id": run_id})
    (log,) = found[0]["node_logs"]
    assert (log["node"], log["status"]) == (START, "running")
    assert "Which way?" in str(log["calls"])


@either
def test_calls_in_the_entry_of_a_subgraph_are_in_its_node(
    recorder: Any, config: Any, call: Any
) -> None:
    call(build((START, "sub"), sub=entry(ask)).compile(name="g"), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 2},
        log("sub", 1, {"n": 1}, {"n": 2}, llm_calls=1),
        log("a", 1, {"n": 1}, {"n": 2}, parent="sub"),
        metadata={"llm_calls": 1},
    )


@either
def test_a_graph_tagged_as_hidden_is_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    """As one that LangSmith need not show."""
    graph = chain("g", a=count).with_config(tags=["langsmith:hidden"])
    call(graph, {"n": 1}, config)
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, A)


@either
def test_a_node_tagged_as_hidden_is_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    """LangChain hands the tag to everything inside the node, not to the node itself."""
    inner = chain("inner", deep=count)

    def sync(state: Any) -> Any:
        return inner.invoke(state)

    async def action(state: Any) -> Any:
        return await inner.ainvoke(state)

    hidden = RunnableLambda(sync, action).with_config(tags=["langsmith:hidden"])
    call(chain(a=hidden), {"n": 1}, config)
    deep = log("deep", 1, {"n": 1}, {"n": 2}, parent="a")
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, A, deep)


@either
def test_a_subgraph_called_in_a_conditional_entry_is_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    inner = chain("inner", deep=count)
    call(entry(inner.invoke), {"n": 1}, config)
    deep = log("deep", 1, {"n": 1}, {"n": 2}, parent=START)
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, ENTRY, deep, A)


@either
def test_every_round_of_a_loop_is_recorded(recorder: Any, config: Any, call: Any) -> None:
    builder = build((START, "a"), a=count)

    def a(state: Any) -> Any:  # of the node's own name, but no node
        return END if state["n"] >= 3 else "a"

    builder.add_conditional_edges("a", a, ["a", END])
    call(builder.compile(name="g"), {"n": 0}, config)
    assert record(recorder, config) == run(
        {"n": 0},
        {"n": 3},
        log("a", 1, {"n": 0}, {"n": 1}),
        log("a", 2, {"n": 1}, {"n": 2}),
        log("a", 3, {"n": 2}, {"n": 3}),
    )


@either
def test_a_deferred_node_is_recorded_in_its_step(
    recorder: Any, config: Any, call: Any
) -> None:
    """It waits for the longest way to it."""

    def says(name: str) -> Any:
        return lambda state: {"seen": [name]}

    edges = [(START, "a"), (START, "b"), ("b", "c"), ("a", "last"), ("c", "last")]
    builder = build(*edges, state=Seen, a=says("a"), b=says("b"), c=says("c"))
    builder.add_node("last", says("last"), defer=True)
    call(builder.compile(name="g"), {"seen": ["s"]}, config)
    assert unordered(record(recorder, config)) == run(
        {"seen": ["s"]},
        {"seen": ["s", "a", "b", "c", "last"]},
        log("a", 1, {"seen": ["s"]}, {"seen": ["a"]}),
        log("b", 1, {"seen": ["s"]}, {"seen": ["b"]}),
        log("c", 2, {"seen": ["s", "a", "b"]}, {"seen": ["c"]}),
        log("last", 3, {"seen": ["s", "a", "b", "c"]}, {"seen": ["last"]}),
    )
