"""Runs that are interrupted and resumed: the whole record of each."""

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
    invoke_again,
    log,
    on_thread,
    paused_run,
    record,
    resumed_run,
    run,
    unordered,
    with_checkpointer,
)
from langgraph.graph import START
from langgraph.types import Command, interrupt

pytestmark = pytest.mark.either_store


def ask(state: Any) -> Any:
    return {"n": state["n"] + interrupt("how many?")}


def pausing_graph(**options: Any) -> Any:
    """A graph with a checkpointer: a counts, b interrupts the run, c counts."""
    nodes = {"a": count, "b": options.pop("b", ask), "c": count}
    builder = build((START, "a"), ("a", "b"), ("b", "c"), **nodes)
    return with_checkpointer(builder, **options)


def paused_first_run() -> Any:
    """The record of the first run of that graph."""
    return paused_run(
        {"n": 1},
        {"n": 2},
        log("a", 1, {"n": 1}, {"n": 2}),
        log("b", 2, {"n": 2}, **INTERRUPTED),
        metadata=interrupts("how many?"),
    )


@either
def test_an_interrupted_run_is_resumed_by_a_second_run(
    recorder: Any, config: Any, call: Any
) -> None:
    """An interrupt is no error. The answer starts a new run on the same thread."""
    graph, first = pausing_graph(), on_thread(config)
    (asked,) = call(graph, {"n": 1}, first)["__interrupt__"]
    assert recorder.flush()
    kept = recorder.get_run(str(config["run_id"]))
    assert kept["metadata"]["interrupts"] == [{"id": asked.id, "value": "how many?"}]
    assert record(recorder, first) == paused_first_run()

    second = invoke_again(call, graph, Command(resume=5), first)
    assert record(recorder, second) == resumed_run(
        command(resume=5),
        {"n": 8},
        log("b", 2, {"n": 2}, {"n": 7}),
        log("c", 3, {"n": 7}, {"n": 8}),
    )
    assert record(recorder, first) == paused_first_run()
    assert recorder.stats()["open_runs"] == 0


@either
def test_a_resumed_node_can_interrupt_again(
    recorder: Any, config: Any, call: Any
) -> None:
    def twice(state: Any) -> Any:
        return {"n": interrupt("first") + interrupt({"second": [1]})}

    graph, config = pausing_graph(b=twice), on_thread(config)
    call(graph, {"n": 1}, config)
    second = invoke_again(call, graph, Command(resume=5), config)
    assert record(recorder, second) == paused_run(
        command(resume=5),
        {"n": 2},
        log("b", 2, {"n": 2}, **INTERRUPTED),
        metadata={"resumed": True} | interrupts({"second": [1]}),
    )


@either
def test_interrupts_of_two_nodes_at_once_are_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    builder = build((START, "a"), (START, "b"), a=ask, b=lambda _: interrupt("what?"))
    graph = with_checkpointer(builder)
    call(graph, {"n": 1}, on_thread(config))
    kept = unordered(record(recorder, config))
    kept["metadata"]["interrupts"].sort(key=lambda one: one["value"])
    assert kept == paused_run(
        {"n": 1},
        {"n": 1},
        log("a", 1, {"n": 1}, **INTERRUPTED),
        log("b", 1, {"n": 1}, **INTERRUPTED),
        metadata=interrupts("how many?", "what?"),
    )


@either
def test_a_finished_sibling_is_not_run_again(
    recorder: Any, config: Any, call: Any
) -> None:
    """What has ended is not done again."""
    builder = build((START, "a"), (START, "b"), a=ask, b=lambda _: {})
    graph = with_checkpointer(builder)
    first = on_thread(config)
    call(graph, {"n": 1}, first)
    assert unordered(record(recorder, first)) == paused_run(
        {"n": 1},
        {"n": 1},
        log("a", 1, {"n": 1}, **INTERRUPTED),
        log("b", 1, {"n": 1}, {}),
        metadata=interrupts("how many?"),
    )
    second = invoke_again(call, graph, Command(resume=5), first)
    a = log("a", 1, {"n": 1}, {"n": 6})
    assert record(recorder, second) == resumed_run(command(resume=5), {"n": 6}, a)


@either
def test_an_interrupt_without_a_checkpointer_is_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    call(chain(a=count, b=ask), {"n": 1}, config)
    assert record(recorder, config) == paused_first_run() | {"thread_id": None}


@either
def test_an_interrupt_in_a_subgraph_interrupts_its_parent(
    recorder: Any, config: Any, call: Any
) -> None:
    sub = chain("inner", deep=count, asks=ask)
    builder = build((START, "sub"), ("sub", "c"), sub=sub, c=count)
    graph = with_checkpointer(builder)
    first = on_thread(config)
    call(graph, {"n": 1}, first)
    assert record(recorder, first) == paused_run(
        {"n": 1},
        {"n": 1},
        log("sub", 1, {"n": 1}, **INTERRUPTED),
        log("deep", 1, {"n": 1}, {"n": 2}, parent="sub"),
        log("asks", 2, {"n": 2}, parent="sub", **INTERRUPTED),
        metadata=interrupts("how many?"),
    )
    second = invoke_again(call, graph, Command(resume=5), first)
    assert record(recorder, second) == resumed_run(
        command(resume=5),
        {"n": 8},
        log("sub", 1, {"n": 1}, {"n": 7}),
        log("asks", 2, {"n": 2}, {"n": 7}, parent="sub"),
        log("c", 2, {"n": 7}, {"n": 8}),
    )


@either
@pytest.mark.parametrize("place", ["interrupt_before", "interrupt_after"])
def test_a_breakpoint_interrupts_the_run(
    recorder: Any, config: Any, call: Any, place: Any
) -> None:
    """LangGraph reports a breakpoint almost as it reports success."""
    graph, first = pausing_graph(b=count, **{place: ["b"]}), on_thread(config)
    call(graph, {"n": 1}, first)
    a, b = log("a", 1, {"n": 1}, {"n": 2}), log("b", 2, {"n": 2}, {"n": 3})
    c = log("c", 3, {"n": 3}, {"n": 4})
    done, left = ([a], [b, c]) if place == "interrupt_before" else ([a, b], [c])
    assert record(recorder, first) == paused_run(
        {"n": 1},
        done[-1]["outputs"],
        *done,
        metadata=interrupts(),
    )
    second = invoke_again(call, graph, None, first)
    assert record(recorder, second) == resumed_run(None, {"n": 4}, *left)


@either
def test_a_breakpoint_given_to_the_call_interrupts_the_run(
    recorder: Any, config: Any, call: Any
) -> None:
    graph, config = pausing_graph(b=count), on_thread(config)
    call(graph, {"n": 1}, config, interrupt_before=["a"])
    assert record(recorder, config) == paused_run(
        {"n": 1}, {"n": 1}, metadata=interrupts()
    )


@either
def test_a_run_from_an_older_checkpoint_is_resumed(
    recorder: Any, config: Any, call: Any
) -> None:
    graph, first = pausing_graph(b=count), on_thread(config)
    call(graph, {"n": 1}, first)
    (before_b,) = [s for s in graph.get_state_history(first) if s.next == ("b",)]
    second = again(config, configurable=before_b.config["configurable"])
    call(graph, None, second)
    b, c = log("b", 3, {"n": 2}, {"n": 3}), log("c", 4, {"n": 3}, {"n": 4})
    assert record(recorder, second) == resumed_run(None, {"n": 4}, b, c)


@either
def test_a_run_after_a_failure_is_resumed(recorder: Any, config: Any, call: Any) -> None:
    error = ConnectionError("away")
    left = [error]

    def flaky(state: Any) -> Any:
        if left:
            raise left.pop()
        return count(state)

    graph, first = pausing_graph(b=flaky), on_thread(config)
    with pytest.raises(ConnectionError):
        call(graph, {"n": 1}, first)
    assert record(recorder, first) == run(
        {"n": 1},
        None,
        log("a", 1, {"n": 1}, {"n": 2}),
        log("b", 2, {"n": 2}, **failed(error)),
        **failed(error),
        thread_id="t",
    )
    second = invoke_again(call, graph, None, first)
    b, c = log("b", 2, {"n": 2}, {"n": 3}), log("c", 3, {"n": 3}, {"n": 4})
    assert record(recorder, second) == resumed_run(None, {"n": 4}, b, c)


@either
def test_a_second_turn_is_not_resumed(recorder: Any, config: Any, call: Any) -> None:
    """Its steps go on from those of the first."""
    graph, first = pausing_graph(b=count), on_thread(config)
    call(graph, {"n": 1}, first)
    second = invoke_again(call, graph, {"n": 11}, first)
    assert record(recorder, second) == run(
        {"n": 11},
        {"n": 14},
        log("a", 6, {"n": 11}, {"n": 12}),
        log("b", 7, {"n": 12}, {"n": 13}),
        log("c", 8, {"n": 13}, {"n": 14}),
        thread_id="t",
    )
