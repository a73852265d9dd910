"""Runs that are cancelled, abandoned or never end: the record of each."""

import asyncio
import gc
import uuid
from pathlib import Path
from typing import Any

import pytest
from conftest import RunPython
from fixtures_store import Store
from graphs import (
    RUNNING,
    again,
    cancelled,
    chain,
    count,
    failed,
    invoke,
    log,
    record,
    record_of,
    run,
)

STOPPED = run(
    {"n": 1}, None, log("a", 1, {"n": 1}, {"n": 2}), **cancelled(GeneratorExit())
)


def read_one_item(stream: Any) -> None:
    """Break out of the loop over a stream after its first item."""
    for _ in stream:
        break


@pytest.mark.parametrize("way", ["close", "break"])
def test_a_stream_closed_early_is_a_cancelled_run(
    recorder: Any, config: Any, way: Any
) -> None:
    stream = chain(a=count, b=count).stream({"n": 1}, config, stream_mode="updates")
    if way == "close":
        assert next(stream) == {"a": {"n": 2}}
        stream.close()
    else:
        read_one_item(stream)
        del stream
        gc.collect()
    assert record(recorder, config) == STOPPED
    assert recorder.stats()["open_runs"] == 0


async def test_an_async_stream_closed_early_is_a_cancelled_run(
    recorder: Any, config: Any
) -> None:
    stream = chain(a=count, b=count).astream({"n": 1}, config, stream_mode="updates")
    assert await anext(stream) == {"a": {"n": 2}}
    await stream.aclose()
    assert record(recorder, config) == STOPPED
    assert recorder.stats()["open_runs"] == 0


def test_an_abandoned_async_stream_is_a_cancelled_run(recorder: Any, config: Any) -> None:
    """The event loop closes it when it is collected."""

    async def read_one_item_async() -> None:
        graph = chain(a=count, b=count)
        async for _ in graph.astream({"n": 1}, config, stream_mode="updates"):
            break
        gc.collect()
        await asyncio.sleep(0.1)  # else run() may cancel what closes it: Python 3.13 does

    asyncio.run(read_one_item_async())
    assert record(recorder, config) == STOPPED


def test_a_stream_that_pauses_is_recorded_as_running(recorder: Any, config: Any) -> None:
    stream = chain(a=count, b=count).stream({"n": 1}, config, stream_mode="updates")
    next(stream)
    assert recorder.stats()["open_runs"] == 1
    assert recorder.flush()
    a, b = log("a", 1, {"n": 1}, {"n": 2}), log("b", 2, {"n": 2}, {"n": 3})
    assert record(recorder, config) == run({"n": 1}, None, a, **RUNNING)
    assert list(stream) == [{"b": {"n": 3}}]
    assert record(recorder, config) == run({"n": 1}, {"n": 3}, a, b)


async def test_a_running_node_is_recorded_as_running(recorder: Any, config: Any) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def waits(state: Any) -> Any:
        inside.set()
        await go_on.wait()
        return count(state)

    config["metadata"] = {"user": "u"}
    task = asyncio.create_task(chain(a=count, b=waits).ainvoke({"n": 1}, config))
    await inside.wait()
    assert recorder.flush()
    a, b = log("a", 1, {"n": 1}, {"n": 2}), log("b", 2, {"n": 2}, {"n": 3})
    assert record(recorder, config) == run(
        {"n": 1},
        None,
        a,
        b | {"outputs": None} | RUNNING,
        **RUNNING,
        metadata={"user": "u"},
    )
    go_on.set()
    await task
    expected = run({"n": 1}, {"n": 3}, a, b, metadata={"user": "u"})
    assert record(recorder, config) == expected


@pytest.mark.parametrize("way", ["cancel", "wait_for"])
async def test_a_cancelled_task_is_a_cancelled_run(
    recorder: Any, config: Any, way: Any
) -> None:
    inside = asyncio.Event()

    async def waits(state: Any) -> Any:
        inside.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(chain(a=count, b=waits).ainvoke({"n": 1}, config))
    await inside.wait()
    if way == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(task, 0.01)
    assert record(recorder, config) == run(
        {"n": 1},
        None,
        log("a", 1, {"n": 1}, {"n": 2}),
        log("b", 2, {"n": 2}, **cancelled()),
        **cancelled(),
    )
    assert recorder.stats()["open_runs"] == 0


def test_nodes_still_open_at_the_end_of_the_run_stay_running(
    recorder: Any, handler: Any
) -> None:
    """LangGraph ends every node first; a handler must not rely on it."""
    root, node = uuid.uuid4(), uuid.uuid4()
    metadata: Any = {"ls_integration": "langgraph"}
    handler.on_chain_start(
        None, {"n": 1}, run_id=root, parent_run_id=None, metadata=metadata, name="g"
    )
    metadata = metadata | {"langgraph_step": 1, "langgraph_checkpoint_ns": "a:1"}
    handler.on_chain_start(
        None, {"n": 1}, run_id=node, parent_run_id=root, metadata=metadata, name="a"
    )
    handler.on_chain_end({"n": 2}, run_id=root)
    handler.on_chain_end({"n": 2}, run_id=node)
    expected = run({"n": 1}, {"n": 2}, log("a", 1, {"n": 1}, **RUNNING))
    assert record(recorder, root) == expected
    assert recorder.stats()["handler_ignored"] == 1


SIGINT = """
import asyncio, os, signal, time
from graphs import ainvoke, chain, count, invoke
from runlog.hooks import RunLogHandler

def node(state):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

async def loop(state):
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(60)

def caller(state):
    os.kill(os.getpid(), signal.SIGINT)
    return count(state)

def stream(graph, given, config):  # in whose threads the nodes run
    list(graph.stream(given, config, stream_mode="messages"))

config = {"callbacks": [RunLogHandler()]}
for call, action in ((invoke, node), (ainvoke, loop), (stream, caller)):
    try:
        call(chain(action.__name__, a=count, b=action), {"n": 1}, config)
    except KeyboardInterrupt:
        print(action.__name__)
"""


@pytest.mark.long_with("postgres")
def test_ctrl_c_is_recorded_as_a_cancelled_run(
    recorder: Any, store: Store, run_python: RunPython
) -> None:
    env = {**store.env, "PYTHONPATH": str(Path(__file__).parent)}
    done = run_python(SIGINT, env=env)
    assert (done.stdout, done.returncode) == ("node\nloop\ncaller\n", 0), done.stderr
    a, b = log("a", 1, {"n": 1}, {"n": 2}), log("b", 2, {"n": 2})
    stopped, ended = cancelled(KeyboardInterrupt()), log("b", 2, {"n": 2}, {"n": 3})
    assert record_of(recorder, wpk_id="node") == run(
        {"n": 1}, None, a, b | stopped, **stopped, wpk_id="node"
    )
    assert record_of(recorder, wpk_id="loop") == run(
        {"n": 1}, None, a, b | cancelled(), **cancelled(), wpk_id="loop"
    )
    assert record_of(recorder, wpk_id="caller") == run(
        {"n": 1}, None, a, ended, **stopped, wpk_id="caller"
    )


def test_a_failed_run_leaves_nothing_in_the_next_one(recorder: Any, config: Any) -> None:
    """Nothing of one run is in the next."""
    graph = chain(a=count, b=lambda state: {"n": 1 // state["n"]})
    with pytest.raises(ZeroDivisionError) as error:
        invoke(graph, {"n": -1}, config)
    second = again(config)
    invoke(graph, {"n": 0}, second)
    assert record(recorder, config) == run(
        {"n": -1},
        None,
        log("a", 1, {"n": -1}, {"n": 0}),
        log("b", 2, {"n": 0}, **failed(error.value)),
        **failed(error.value),
    )
    a, b = log("a", 1, {"n": 0}, {"n": 1}), log("b", 2, {"n": 1}, {"n": 1})
    assert record(recorder, second) == run({"n": 0}, {"n": 1}, a, b)
