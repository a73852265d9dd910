"""Graphs within graphs: as nodes, in nodes, in tools, fanned out."""

import asyncio
import threading
from typing import Any, TypedDict

import pytest
from graphs import (
    INNER,
    INTERRUPTED,
    Seen,
    build,
    cancelled,
    chain,
    command,
    count,
    deep,
    either,
    failed,
    interrupts,
    invoke,
    invoke_again,
    log,
    on_thread,
    paused_run,
    record,
    record_of,
    resumed_run,
    run,
    unordered,
    with_checkpointer,
)
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START
from langgraph.types import (
    Command,
    RetryPolicy,
    Send,
    interrupt,
)

pytestmark = pytest.mark.either_store


@either
def test_nodes_of_a_subgraph_have_its_node_as_parent(
    recorder: Any, config: Any, call: Any
) -> None:
    middle = chain("middle", x=INNER, y=count)
    call(chain(sub=middle, last=count), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 4},
        log("sub", 1, {"n": 1}, {"n": 3}),
        log("x", 1, {"n": 1}, {"n": 2}, parent="sub"),
        deep(1, "x"),
        log("y", 2, {"n": 2}, {"n": 3}, parent="sub"),
        log("last", 2, {"n": 3}, {"n": 4}),
    )
    assert len(recorder.list_runs().runs) == 1


@either
@pytest.mark.parametrize("given", ["nothing", "config", "callbacks"])
def test_a_subgraph_called_in_a_node_is_linked_once(
    recorder: Any, config: Any, call: Any, given: Any
) -> None:
    """However it is linked, it is linked once."""

    def choose(config: RunnableConfig) -> Any:
        whole = {"callbacks": config.get("callbacks")}
        return {"nothing": None, "config": config, "callbacks": whole}[given]

    def sync(state: Any, config: RunnableConfig) -> Any:
        return INNER.invoke(state, choose(config))

    async def action(state: Any, config: RunnableConfig) -> Any:
        return await INNER.ainvoke(state, choose(config))

    call(chain(calls=RunnableLambda(sync, action)), {"n": 1}, config)
    calls = log("calls", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, calls, deep(1, "calls"))
    assert len(recorder.list_runs().runs) == 1


@either
def test_a_second_call_of_a_subgraph_is_no_second_attempt(
    recorder: Any, config: Any, call: Any
) -> None:
    """The second time is no second attempt."""

    def calls(state: Any) -> Any:
        return INNER.invoke(INNER.invoke(state))

    call(chain(calls=calls, last=count), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 4},
        log("calls", 1, {"n": 1}, {"n": 3}),
        deep(1, "calls"),
        deep(2, "calls"),
        log("last", 2, {"n": 3}, {"n": 4}),
    )


@either
def test_each_attempt_of_a_node_has_its_own_subgraph_nodes(
    recorder: Any, config: Any, call: Any
) -> None:
    """Each attempt of the node has nodes of its own."""
    error = ConnectionError("away")
    left = [error]

    def calls(state: Any) -> Any:
        result = INNER.invoke(state)
        if left:
            raise left.pop()
        return result

    builder = build((START, "calls"))
    policy = RetryPolicy(initial_interval=0.001, jitter=False)
    builder.add_node("calls", calls, retry_policy=policy)
    call(builder.compile(name="g"), {"n": 1}, config)
    kept = record(recorder, config)
    assert {one.pop("attempt") for one in kept["node_logs"][1::2]} <= {1, 2}
    expected = run(
        {"n": 1},
        {"n": 2},
        log("calls", 1, {"n": 1}, **failed(error)),
        deep(1, "calls"),
        log("calls", 1, {"n": 1}, {"n": 2}, attempt=2),
        deep(1, "calls"),
    )
    for one in expected["node_logs"][1::2]:
        del one["attempt"]
    assert kept == expected


@either
def test_a_failed_subgraph_fails_its_parents(
    recorder: Any, config: Any, call: Any
) -> None:
    boom = ValueError("boom")

    def fail(_state: Any) -> Any:
        raise boom

    sub = chain("inner", deep=count, fail=fail)
    with pytest.raises(ValueError, match="boom"):
        call(chain(sub=sub), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        None,
        log("sub", 1, {"n": 1}, **failed(boom)),
        deep(1, "sub"),
        log("fail", 2, {"n": 2}, parent="sub", **failed(boom)),
        **failed(boom),
    )


async def test_a_cancelled_subgraph_cancels_its_parents(
    recorder: Any, config: Any
) -> None:
    inside = asyncio.Event()

    async def waits(state: Any) -> Any:
        inside.set()
        await asyncio.sleep(60)

    graph = chain(sub=chain("inner", waits=waits))
    pending = asyncio.create_task(graph.ainvoke({"n": 1}, config))
    await inside.wait()
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    assert record(recorder, config) == run(
        {"n": 1},
        None,
        log("sub", 1, {"n": 1}, **cancelled()),
        log("waits", 1, {"n": 1}, parent="sub", **cancelled()),
        **cancelled(),
    )


def test_a_graph_in_a_raw_thread_is_not_recorded(recorder: Any, config: Any) -> None:
    """No context leads there, and a graph without a handler is not recorded."""

    def calls(state: Any) -> Any:
        thread = threading.Thread(target=INNER.invoke, args=[state])
        thread.start()
        thread.join()
        return {"n": 2}

    invoke(chain(calls=calls), {"n": 1}, config)
    calls_log = log("calls", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, calls_log)


@either
def test_a_fan_out_of_subgraphs_is_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    class Inner(TypedDict, total=False):
        part: Any
        seen: list[Any]

    work = chain("inner", Inner, deep=lambda part: {"seen": [part["part"]]})
    builder = build(state=Seen, work=work)
    parts = [1, 2]
    builder.add_conditional_edges(
        START, lambda _: [Send("work", {"part": part}) for part in parts], ["work"]
    )
    call(builder.compile(name="g"), {"seen": []}, config)
    outer = [
        log("work", 1, {"part": part}, {"part": part, "seen": [part]}) for part in parts
    ]
    inner = [
        log("deep", 1, {"part": part}, {"seen": [part]}, parent="work") for part in parts
    ]
    assert unordered(record(recorder, config)) == run(
        {"seen": []}, {"seen": parts}, *inner, *outer
    )


@either
@pytest.mark.parametrize("place", ["calls", "sub"])
def test_a_subgraph_with_the_only_handler_is_a_run(
    recorder: Any, handler: Any, call: Any, place: Any
) -> None:
    """To the handler it is a graph like any other."""
    inner = INNER.with_config(callbacks=[handler])

    def sync(state: Any) -> Any:
        return inner.invoke(state)

    async def action(state: Any) -> Any:
        return await inner.ainvoke(state)

    graph = chain(a=RunnableLambda(sync, action) if place == "calls" else inner)
    call(graph, {"n": 1}, {})
    only = log("deep", 1, {"n": 1}, {"n": 2})
    assert record_of(recorder) == run({"n": 1}, {"n": 2}, only, wpk_id="inner")
    assert recorder.stats()["open_runs"] == 0


@either
def test_deeply_nested_graphs_are_recorded(recorder: Any, config: Any, call: Any) -> None:
    graph, logs = INNER, [log("deep", 1, {"n": 1}, {"n": 2})]
    for depth in range(12):
        logs[0]["parent"] = name = f'"level {depth}" \u00fc\n'
        graph = chain("g", **{name: graph})
        logs.insert(0, log(name, 1, {"n": 1}, {"n": 2}))
    call(graph, {"n": 1}, config)
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, *logs)


@either
@pytest.mark.parametrize("way", ["node", "function"])
def test_a_breakpoint_in_a_subgraph_interrupts_its_parents(
    recorder: Any, config: Any, call: Any, way: Any
) -> None:
    """LangGraph tells of it by an interrupt that says nothing."""
    builder = build((START, "x"), ("x", "y"), x=count, y=count)
    inner = builder.compile(name="inner", interrupt_before=["y"])

    def sync(state: Any) -> Any:
        return inner.invoke(state)

    async def action(state: Any) -> Any:
        return await inner.ainvoke(state)

    sub = inner if way == "node" else RunnableLambda(sync, action)
    builder = build((START, "sub"), sub=sub)
    graph = with_checkpointer(builder)
    first = on_thread(config)
    call(graph, {"n": 1}, first)
    assert record(recorder, first) == paused_run(
        {"n": 1},
        {"n": 1},
        log("sub", 1, {"n": 1}, **INTERRUPTED),
        log("x", 1, {"n": 1}, {"n": 2}, parent="sub"),
        metadata=interrupts(),
    )
    second = invoke_again(call, graph, None, first)
    assert record(recorder, second) == resumed_run(
        None,
        {"n": 3},
        log("sub", 1, {"n": 1}, {"n": 3}),
        log("y", 2, {"n": 2}, {"n": 3}, parent="sub"),
    )


@either
def test_an_interrupt_in_the_graph_of_a_tool_interrupts_every_level(
    recorder: Any, config: Any, call: Any
) -> None:
    """Node, tool, graph, node: each of them is paused, and none has failed."""
    inner = chain("inner", asks=lambda state: {"n": interrupt(state["n"])})

    @tool
    async def asks(a: int) -> Any:
        """Ask."""
        return (await inner.ainvoke({"n": a}))["n"]

    @tool("asks")
    def asks_sync(a: int) -> Any:
        """Ask."""
        return inner.invoke({"n": a})["n"]

    def sync(state: Any) -> Any:
        return {"n": asks_sync.invoke({"a": state["n"]})}

    async def action(state: Any) -> Any:
        return {"n": await asks.ainvoke({"a": state["n"]})}

    builder = build((START, "uses"), uses=RunnableLambda(sync, action))
    graph = with_checkpointer(builder)
    first = on_thread(config)
    call(graph, {"n": 1}, first)
    assert record(recorder, first) == paused_run(
        {"n": 1},
        {"n": 1},
        log("uses", 1, {"n": 1}, tool_calls=1, **INTERRUPTED),
        log("asks", 1, {"n": 1}, parent="uses", **INTERRUPTED),
        metadata=interrupts(1) | {"tool_calls": 1},
    )
    second = invoke_again(call, graph, Command(resume=5), first)
    assert record(recorder, second) == resumed_run(
        command(resume=5),
        {"n": 5},
        log("uses", 1, {"n": 1}, {"n": 5}, tool_calls=1),
        log("asks", 1, {"n": 1}, {"n": 5}, parent="uses"),
        tool_calls=1,
    )
