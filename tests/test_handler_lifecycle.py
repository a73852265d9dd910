"""How nodes and runs begin and end, each as the whole record that is kept of it."""

import asyncio
import operator
import time
from typing import Annotated, Any, TypedDict

import pytest
from graphs import (
    State,
    ainvoke,
    build,
    cancelled,
    chain,
    command,
    count,
    either,
    failed,
    invoke,
    log,
    on_thread,
    record,
    run,
    unordered,
)
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import (
    EmptyInputError,
    GraphDrained,
    GraphRecursionError,
    InvalidUpdateError,
    NodeTimeoutError,
)
from langgraph.graph import END, START
from langgraph.runtime import RunControl
from langgraph.types import CachePolicy, Command, RetryPolicy

BOOM = ValueError("boom")


class Seen(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]


def fail(_state: Any) -> Any:
    raise BOOM


def parallel(action: Any, other: Any, state: Any = State) -> Any:
    """Two nodes in one step."""
    return build((START, "a"), (START, "b"), state=state, a=action, b=other).compile(
        name="g"
    )


@either
def test_nodes_that_end_well(recorder: Any, config: Any, call: Any) -> None:
    call(chain(a=count, b=count), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 3},
        log("a", 1, {"n": 1}, {"n": 2}),
        log("b", 2, {"n": 2}, {"n": 3}),
    )
    assert recorder.stats()["open_runs"] == 0


@either
def test_a_node_that_fails(recorder: Any, config: Any, call: Any) -> None:
    with pytest.raises(ValueError, match="boom"):
        call(chain(a=count, b=fail, never=count), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        None,
        log("a", 1, {"n": 1}, {"n": 2}),
        log("b", 2, {"n": 2}, **failed(BOOM)),
        **failed(BOOM),
    )
    assert recorder.stats()["open_runs"] == 0


@either
def test_an_edge_that_fails(recorder: Any, config: Any, call: Any) -> None:
    """The node ran, but LangGraph counts its edges as a part of it."""
    builder = build((START, "a"), a=count)
    builder.add_conditional_edges("a", fail, [END])
    with pytest.raises(ValueError, match="boom"):
        call(builder.compile(name="g"), {"n": 1}, config)
    a = log("a", 1, {"n": 1}, **failed(BOOM))
    assert record(recorder, config) == run({"n": 1}, None, a, **failed(BOOM))


@either
def test_two_nodes_that_write_the_same(recorder: Any, config: Any, call: Any) -> None:
    with pytest.raises(InvalidUpdateError) as error:
        call(parallel(count, count), {"n": 1}, config)
    assert unordered(record(recorder, config)) == run(
        {"n": 1},
        None,
        log("a", 1, {"n": 1}, {"n": 2}),
        log("b", 1, {"n": 1}, {"n": 2}),
        **failed(error.value),
    )


@either
def test_a_graph_that_goes_round_too_often(recorder: Any, config: Any, call: Any) -> None:
    graph = build((START, "a"), ("a", "a"), a=count).compile(name="g")
    with pytest.raises(GraphRecursionError) as error:
        call(graph, {"n": 0}, config | {"recursion_limit": 3})
    assert record(recorder, config) == run(
        {"n": 0},
        None,
        log("a", 1, {"n": 0}, {"n": 1}),
        log("a", 2, {"n": 1}, {"n": 2}),
        log("a", 3, {"n": 2}, {"n": 3}),
        **failed(error.value),
    )


@either
def test_nothing_to_begin_with(recorder: Any, config: Any, call: Any) -> None:
    """To LangGraph it means to go on with what a checkpoint has, which is not there."""
    with pytest.raises(EmptyInputError) as error:
        call(chain(a=count), None, config)
    expected = run(None, None, metadata={"resumed": True}, **failed(error.value))
    assert record(recorder, config) == expected


@either
def test_an_empty_state(recorder: Any, config: Any, call: Any) -> None:
    call(chain(a=lambda _: {"n": 1}), {}, config)
    assert record(recorder, config) == run({}, {"n": 1}, log("a", 1, {}, {"n": 1}))


@either
def test_input_that_is_no_state(recorder: Any, config: Any, call: Any) -> None:
    with pytest.raises(InvalidUpdateError) as error:
        call(chain(a=count), 5, config)
    assert record(recorder, config) == run(5, None, **failed(error.value))


@either
def test_each_attempt_has_a_log(recorder: Any, config: Any, call: Any) -> None:
    errors: list[Exception] = [ConnectionError("first"), ConnectionError("")]
    left = list(errors)

    def flaky(state: Any) -> Any:
        if left:
            raise left.pop(0)
        return count(state)

    builder = build(("a", "flaky"), (START, "a"), a=count)
    policy = RetryPolicy(initial_interval=0.001, max_attempts=3, jitter=False)
    builder.add_node("flaky", flaky, retry_policy=policy)
    call(builder.compile(name="g"), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 3},
        log("a", 1, {"n": 1}, {"n": 2}),
        log("flaky", 2, {"n": 2}, **failed(errors[0])),
        log("flaky", 2, {"n": 2}, attempt=2, **failed(errors[1])),
        log("flaky", 2, {"n": 2}, {"n": 3}, attempt=3),
    )


@either
def test_attempts_that_run_out(recorder: Any, config: Any, call: Any) -> None:
    builder = build((START, "a"))
    policy = RetryPolicy(
        initial_interval=0.001, max_attempts=2, jitter=False, retry_on=ValueError
    )
    builder.add_node("a", fail, retry_policy=policy)
    with pytest.raises(ValueError, match="boom"):
        call(builder.compile(name="g"), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        None,
        log("a", 1, {"n": 1}, **failed(BOOM)),
        log("a", 1, {"n": 1}, attempt=2, **failed(BOOM)),
        **failed(BOOM),
    )


@either
def test_a_node_whose_result_is_cached(recorder: Any, config: Any, call: Any) -> None:
    builder = build((START, "a"), ("a", "b"), b=count)
    builder.add_node("a", count, cache_policy=CachePolicy())
    graph = builder.compile(name="g", cache=InMemoryCache())
    call(graph, {"n": 1}, {})
    call(graph, {"n": 1}, config)
    b = log("b", 2, {"n": 2}, {"n": 3})
    assert record(recorder, config) == run({"n": 1}, {"n": 3}, b)


def test_a_node_that_takes_too_long(recorder: Any, config: Any) -> None:
    """Only asynchronous nodes may have a time limit."""

    async def slow(state: Any) -> Any:
        await asyncio.sleep(60)

    builder = build((START, "a"))
    builder.add_node("a", slow, timeout=0.02)
    with pytest.raises(NodeTimeoutError) as error:
        ainvoke(builder.compile(name="g"), {"n": 1}, config)
    a = log("a", 1, {"n": 1}, **cancelled())
    assert record(recorder, config) == run({"n": 1}, None, a, **failed(error.value))


def test_a_step_that_takes_too_long(recorder: Any, config: Any) -> None:
    """Threads can't be stopped, so the node comes to its end before the run does."""

    def slow(state: Any) -> Any:
        time.sleep(0.1)
        return {"n": 2}

    graph = chain(a=slow)
    graph.step_timeout = 0.02
    with pytest.raises(TimeoutError) as error:
        list(graph.stream({"n": 1}, config, stream_mode="messages"))
    a = log("a", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, None, a, **failed(error.value))


def test_an_asynchronous_step_that_takes_too_long(recorder: Any, config: Any) -> None:
    async def slow(state: Any) -> Any:
        await asyncio.sleep(60)

    graph = chain(a=slow)
    graph.step_timeout = 0.02
    with pytest.raises(TimeoutError) as error:
        ainvoke(graph, {"n": 1}, config)
    a = log("a", 1, {"n": 1}, **cancelled())
    assert record(recorder, config) == run({"n": 1}, None, a, **failed(error.value))


def test_the_sibling_of_a_failed_node(recorder: Any, config: Any) -> None:
    """In a thread it comes to its end."""

    def slow(state: Any) -> Any:
        time.sleep(0.05)
        return {"n": 2}

    with pytest.raises(ValueError, match="boom"):
        invoke(parallel(fail, slow), {"n": 1}, config)
    assert unordered(record(recorder, config)) == run(
        {"n": 1},
        None,
        log("a", 1, {"n": 1}, **failed(BOOM)),
        log("b", 1, {"n": 1}, {"n": 2}),
        **failed(BOOM),
    )


@pytest.mark.parametrize("swallows", [False, True])
def test_the_asynchronous_sibling_of_a_failed_node(
    recorder: Any, config: Any, swallows: bool
) -> None:
    """It is cancelled, even if it will not have it."""
    waiting = asyncio.Event()
    ended = []

    async def slow(state: Any) -> Any:
        waiting.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if not swallows:
                raise
        ended.append(True)
        return {"n": 2}

    async def fails(state: Any) -> Any:
        await waiting.wait()
        raise BOOM

    with pytest.raises(ValueError, match="boom"):
        ainvoke(parallel(fails, slow), {"n": 1}, config)
    assert ended == [True] * swallows
    assert unordered(record(recorder, config)) == run(
        {"n": 1},
        None,
        log("a", 1, {"n": 1}, **failed(BOOM)),
        log("b", 1, {"n": 1}, **cancelled()),
        **failed(BOOM),
    )
    assert recorder.stats()["open_runs"] == 0


@either
def test_a_command_that_says_where_to_go(recorder: Any, config: Any, call: Any) -> None:
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
def test_a_command_to_the_graph_around(recorder: Any, config: Any, call: Any) -> None:
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


@either
def test_a_node_with_an_error_handler(recorder: Any, config: Any, call: Any) -> None:
    def mend(state: Any) -> Command[Any]:
        return Command(goto="b", update={"n": 10})

    builder = build((START, "a"), b=count)
    builder.add_node("a", fail, error_handler=mend, destinations=("b",))
    call(builder.compile(name="g"), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 11},
        log("a", 1, {"n": 1}, **failed(BOOM)),
        log("__error_handler__a", 1, {"n": 1}, command("b", update={"n": 10})),
        log("b", 2, {"n": 10}, {"n": 11}),
    )


class Stop(BaseException):
    """Neither an error nor an end that Python knows."""


@either
@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), SystemExit(3), Stop("no")])
def test_an_exception_that_is_no_error(
    recorder: Any, config: Any, call: Any, error: BaseException
) -> None:
    def stop(state: Any) -> Any:
        raise error

    with pytest.raises(type(error)):
        call(chain(a=count, b=stop), {"n": 1}, config)
    if isinstance(error, Stop):
        ended = failed(error)
    elif call is invoke:
        ended = cancelled(error)
    else:  # it goes past the event loop, which then cancels what is left
        ended = cancelled()
    assert record(recorder, config) == run(
        {"n": 1},
        None,
        log("a", 1, {"n": 1}, {"n": 2}),
        log("b", 2, {"n": 2}, **ended),
        **ended,
    )


@either
def test_a_run_that_is_drained(recorder: Any, config: Any, call: Any) -> None:
    """It stops after the step, and can go on from there."""
    control = RunControl()

    def drain(state: Any) -> Any:
        control.request_drain("deploy")
        return count(state)

    builder = build((START, "a"), ("a", "b"), a=drain, b=count)
    graph = builder.compile(name="g", checkpointer=InMemorySaver())
    with pytest.raises(GraphDrained) as error:
        call(graph, {"n": 1}, on_thread(config), control=control)
    a = log("a", 1, {"n": 1}, {"n": 2})
    expected = failed(error.value, "interrupted")
    assert record(recorder, config) == run({"n": 1}, None, a, thread_id="t", **expected)


def test_looking_at_a_state_is_no_run(recorder: Any, config: Any) -> None:
    builder = build((START, "a"), a=count)
    graph = builder.compile(name="g", checkpointer=InMemorySaver())
    config = on_thread(config)
    graph.update_state(config, {"n": 5})
    assert graph.get_state(config).values == {"n": 5}
    assert len(list(graph.get_state_history(config))) == 1

    async def look() -> None:
        await graph.aupdate_state(config, {"n": 6})
        assert (await graph.aget_state(config)).values == {"n": 6}

    asyncio.run(look())
    assert recorder.list_runs().runs == []


@either
def test_a_conditional_entry_is_hidden(recorder: Any, config: Any, call: Any) -> None:
    builder = build(a=count, b=count)
    builder.add_conditional_edges(START, lambda _: "b", ["a", "b"])
    call(builder.compile(name="g"), {"n": 1}, config)
    b = log("b", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, b)


@either
def test_what_is_tagged_as_hidden(recorder: Any, config: Any, call: Any) -> None:
    """A tag is handed on to all that is within, but the node is not within."""
    inner = chain("inner", deep=count)

    def sync(state: Any) -> Any:
        return inner.invoke(state)

    async def action(state: Any) -> Any:
        return await inner.ainvoke(state)

    hidden = RunnableLambda(sync, action).with_config(tags=["langsmith:hidden"])
    call(chain(a=hidden), {"n": 1}, config)
    a = log("a", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, a)


@either
def test_a_graph_within_a_hidden_node(recorder: Any, config: Any, call: Any) -> None:
    inner = chain("inner", deep=count)
    builder = build(a=count)
    builder.add_conditional_edges(START, lambda s: inner.invoke(s) and "a", ["a"])
    call(builder.compile(name="g"), {"n": 1}, config)
    a = log("a", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, a)


@either
def test_a_loop(recorder: Any, config: Any, call: Any) -> None:
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
def test_a_deferred_node(recorder: Any, config: Any, call: Any) -> None:
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
