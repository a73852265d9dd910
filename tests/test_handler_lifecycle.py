"""How nodes and runs begin and end, each as the whole record that is kept of it."""

import asyncio
import time
from typing import Any

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
    with_checkpointer,
)
from langgraph.errors import (
    EmptyInputError,
    GraphRecursionError,
    InvalidUpdateError,
)
from langgraph.graph import END, START
from langgraph.types import Command, RetryPolicy

from runlog.views.logs import read_logs
from runlog.views.outcome import decisive

pytestmark = pytest.mark.either_store

BOOM = ValueError("boom")


def fail(_state: Any) -> Any:
    raise BOOM


def parallel(action: Any, other: Any, state: Any = State) -> Any:
    """Two nodes in one step."""
    return build((START, "a"), (START, "b"), state=state, a=action, b=other).compile(
        name="g"
    )


@either
def test_a_failed_node_fails_the_run(recorder: Any, config: Any, call: Any) -> None:
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
def test_a_failed_edge_fails_its_node(recorder: Any, config: Any, call: Any) -> None:
    """The node ran, but LangGraph counts its edges as a part of it."""
    builder = build((START, "a"), a=count)
    builder.add_conditional_edges("a", fail, [END])
    with pytest.raises(ValueError, match="boom"):
        call(builder.compile(name="g"), {"n": 1}, config)
    a = log("a", 1, {"n": 1}, **failed(BOOM))
    assert record(recorder, config) == run({"n": 1}, None, a, **failed(BOOM))


@either
def test_conflicting_writes_of_two_nodes_fail_the_run(
    recorder: Any, config: Any, call: Any
) -> None:
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
def test_the_recursion_limit_fails_the_run(recorder: Any, config: Any, call: Any) -> None:
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
def test_a_run_without_input_fails(recorder: Any, config: Any, call: Any) -> None:
    """To LangGraph it means to go on with what a checkpoint has, which is not there."""
    with pytest.raises(EmptyInputError) as error:
        call(chain(a=count), None, config)
    expected = run(None, None, metadata={"resumed": True}, **failed(error.value))
    assert record(recorder, config) == expected


@either
def test_an_empty_state_is_recorded(recorder: Any, config: Any, call: Any) -> None:
    call(chain(a=lambda _: {"n": 1}), {}, config)
    assert record(recorder, config) == run({}, {"n": 1}, log("a", 1, {}, {"n": 1}))


@either
def test_an_input_of_the_wrong_type_fails_the_run(
    recorder: Any, config: Any, call: Any
) -> None:
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
def test_a_node_that_fails_every_attempt_has_a_log_for_each(
    recorder: Any, config: Any, call: Any
) -> None:
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


def test_a_node_over_its_time_limit_is_cancelled(recorder: Any, config: Any) -> None:
    """Only asynchronous nodes may have a time limit."""
    from langgraph.errors import NodeTimeoutError

    async def slow(state: Any) -> Any:
        await asyncio.sleep(60)

    builder = build((START, "a"))
    builder.add_node("a", slow, timeout=0.02)
    with pytest.raises(NodeTimeoutError) as error:
        ainvoke(builder.compile(name="g"), {"n": 1}, config)
    a = log("a", 1, {"n": 1}, **cancelled())
    assert record(recorder, config) == run({"n": 1}, None, a, **failed(error.value))


@pytest.mark.parametrize("ends", ["over its time limit", "by itself"])
def test_the_node_that_was_cancelled_first_is_named(
    recorder: Any, config: Any, ends: str
) -> None:
    """LangGraph then cancels those beside it, which may have begun before it."""
    from langgraph import errors

    async def slow(state: Any) -> Any:
        await asyncio.sleep(60)

    async def cancels(state: Any) -> Any:
        raise asyncio.CancelledError

    builder = build((START, "a"), (START, "b"), (START, "c"))
    builder.add_node("a", slow)
    if ends == "by itself":
        builder.add_node("b", cancels)
    else:
        builder.add_node("b", slow, timeout=0.02)
    builder.add_node("c", slow)
    with pytest.raises((errors.NodeTimeoutError, errors.NodeCancelledError)):
        ainvoke(builder.compile(name="g"), {"n": 1}, config)
    kept: Any = recorder.get_run(str(config["run_id"]))
    assert kept["metadata"]["totals"] == {"nodes": 3, "at": "b"}
    found = decisive(kept, read_logs(kept))
    assert found is not None
    assert found.node == "b"


def test_a_step_over_its_time_limit_fails_the_run(recorder: Any, config: Any) -> None:
    """Threads can't be stopped, so the node comes to its end before the run does."""

    def slow(state: Any) -> Any:
        time.sleep(3)
        return {"n": 2}

    graph = chain(a=slow)
    graph.step_timeout = 1
    with pytest.raises(TimeoutError) as error:
        list(graph.stream({"n": 1}, config, stream_mode="messages"))
    a = log("a", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, None, a, **failed(error.value))


def test_an_async_step_over_its_time_limit_is_cancelled(
    recorder: Any, config: Any
) -> None:
    async def slow(state: Any) -> Any:
        await asyncio.sleep(60)

    graph = chain(a=slow)
    graph.step_timeout = 0.5
    with pytest.raises(TimeoutError) as error:
        ainvoke(graph, {"n": 1}, config)
    a = log("a", 1, {"n": 1}, **cancelled())
    assert record(recorder, config) == run({"n": 1}, None, a, **failed(error.value))


def test_the_sibling_of_a_failed_node_completes(recorder: Any, config: Any) -> None:
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
def test_the_async_sibling_of_a_failed_node_is_cancelled(
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
def test_an_error_handler_of_a_node_is_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
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
def test_a_base_exception_is_recorded(
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
def test_a_drained_run_is_interrupted(recorder: Any, config: Any, call: Any) -> None:
    """It stops after the step, and can go on from there."""
    from langgraph.errors import GraphDrained
    from langgraph.runtime import RunControl

    control = RunControl()

    def drain(state: Any) -> Any:
        control.request_drain("deploy")
        return count(state)

    builder = build((START, "a"), ("a", "b"), a=drain, b=count)
    graph = with_checkpointer(builder)
    with pytest.raises(GraphDrained) as error:
        call(graph, {"n": 1}, on_thread(config), control=control)
    a = log("a", 1, {"n": 1}, {"n": 2})
    expected = failed(error.value, "interrupted")
    assert record(recorder, config) == run({"n": 1}, None, a, thread_id="t", **expected)


def test_the_text_of_a_cancelled_node_is_recorded(recorder: Any, config: Any) -> None:
    """LangGraph cancels with an object() of its own, whose address is no news."""
    waiting = asyncio.Event()

    async def slow(state: Any) -> Any:
        waiting.set()
        await asyncio.sleep(60)

    async def fails(state: Any) -> Any:
        await waiting.wait()
        raise BOOM

    with pytest.raises(ValueError, match="boom"):
        ainvoke(parallel(fails, slow), {"n": 1}, config)
    assert recorder.flush()
    logs = recorder.get_run(str(config["run_id"]))["node_logs"]
    (its,) = [one for one in logs if one["node"] == "b"]
    assert (its["status"], its["error_type"]) == ("cancelled", "CancelledError")
    assert "0x" not in its["error_text"]


@pytest.mark.parametrize("interval", [0.0, 0.001])
def test_a_node_is_retried_after_its_time_limit(
    recorder: Any, config: Any, interval: float
) -> None:
    """Retried at once, it begins again before the cancelled attempt is told of."""
    slow_ones = [1, 2]

    async def slow(state: Any) -> Any:
        if slow_ones:
            slow_ones.pop()
            await asyncio.sleep(60)
        return count(state)

    builder = build((START, "a"))
    policy = RetryPolicy(initial_interval=interval, jitter=False)
    builder.add_node("a", slow, timeout=1, retry_policy=policy)
    ainvoke(builder.compile(name="g"), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 2},
        log("a", 1, {"n": 1}, **cancelled()),
        log("a", 1, {"n": 1}, attempt=2, **cancelled()),
        log("a", 1, {"n": 1}, {"n": 2}, attempt=3),
    )
