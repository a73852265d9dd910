"""Runs that one handler has open at once under one run_id: each keeps its own events."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from handler_graphs import State, chain, check_two_nodes, node, two_nodes
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt
from pydantic import BaseModel

import runlog
from runlog import Recorder
from runlog.hooks import RunLogHandler, install, recording, uninstall

RUNS = 3


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(sqlite_path=str(tmp_path / "runs.db")) as made:
        yield made


def runs_of(recorder: Any) -> list[Any]:
    return [recorder.get_run(row["run_id"]) for row in recorder.list_runs().runs][::-1]


def check_each(recorder: Any) -> None:
    runs = sorted(runs_of(recorder), key=lambda run: run["inputs"]["n"])
    assert len(runs) == RUNS
    for number, run in enumerate(runs):
        check_two_nodes(run, number * 10)
    stats = recorder.stats()
    names = ("open_runs", "handler_errors", "handler_ignored")
    assert [stats[name] for name in names] == [0, 0, 0]


# Ways to have them open at once


def as_tasks(config: Any) -> None:
    graph = two_nodes()

    async def run() -> None:
        await asyncio.gather(*(graph.ainvoke({"n": n * 10}, config) for n in range(RUNS)))

    asyncio.run(run())


def as_threads(config: Any) -> None:
    together = threading.Barrier(RUNS, timeout=30)
    graph = chain("g", first=node("first", together.wait), second=node("second"))
    with ThreadPoolExecutor(RUNS) as pool:
        list(pool.map(lambda n: graph.invoke({"n": n * 10}, config), range(RUNS)))


def as_streams(config: Any) -> None:
    """Of one context, consumed in turn."""
    streams = [two_nodes().stream({"n": n * 10}, config) for n in range(RUNS)]
    while streams:
        streams = [stream for stream in streams if next(stream, None) is not None]


each_way = pytest.mark.parametrize("run", [as_tasks, as_threads, as_streams])


class Own(RunLogHandler):
    """As a program may have one, which counts."""

    starts = 0

    def on_chain_start(self, *args: Any, **kwargs: Any) -> Any:
        self.starts += 1
        return super().on_chain_start(*args, **kwargs)


def with_a_copy(recorder: Any) -> list[Any]:
    handler = RunLogHandler("w", recorder=recorder)
    return [handler, copy.copy(handler)]


HANDLERS: dict[str, Callable[[Any], list[Any]]] = {
    "one": lambda recorder: [RunLogHandler("w", recorder=recorder)],
    "twice": lambda recorder: [RunLogHandler("w", recorder=recorder)] * 2,
    "copy": with_a_copy,
    "subclass": lambda recorder: [Own("w", recorder=recorder)],
    "two": lambda recorder: [RunLogHandler("w", recorder=recorder) for _ in "ab"],
    "two, twice": lambda recorder: [*HANDLERS["two"](recorder)] * 2,
}


@each_way
@pytest.mark.parametrize("handlers", HANDLERS.values(), ids=HANDLERS)
def test_each_run_keeps_its_own_nodes(recorder: Any, run: Any, handlers: Any) -> None:
    run({"callbacks": handlers(recorder), "run_id": uuid.uuid4()})
    check_each(recorder)


@each_way
def test_each_run_of_an_installed_handler_keeps_its_own(run: Any) -> None:
    install()
    try:
        run({"run_id": uuid.uuid4()})
    finally:
        uninstall()
    check_each(runlog)


@pytest.mark.parametrize("run", [as_tasks, as_streams])
@pytest.mark.parametrize("explicit", [True, False])
def test_each_run_of_a_block_keeps_its_own(
    recorder: Any, run: Any, explicit: bool
) -> None:
    more = [RunLogHandler("w", recorder=recorder)] if explicit else []
    with recording("w", recorder=recorder):
        run({"callbacks": more, "run_id": uuid.uuid4()})
    check_each(recorder)


@each_way
def test_each_run_keeps_its_own_in_two_databases(
    recorder: Any, run: Any, tmp_path: Path
) -> None:
    with Recorder(sqlite_path=str(tmp_path / "other.db")) as other:
        handlers = [RunLogHandler("w", recorder=each) for each in (recorder, other)]
        run({"callbacks": handlers * 2, "run_id": uuid.uuid4()})
        check_each(recorder)
        check_each(other)


def test_the_end_of_a_run_told_twice_ends_no_other(recorder: Any) -> None:
    handler = RunLogHandler("w", recorder=recorder)
    config: Any = {"callbacks": [handler, handler], "run_id": uuid.uuid4()}
    stream = two_nodes().stream({"n": 0}, config)
    next(stream)
    two_nodes().invoke({"n": 10}, config)
    assert recorder.stats()["open_runs"] == 1
    list(stream)
    check_two_nodes(runs_of(recorder)[0], 0)


def test_many_runs_with_the_id_of_an_open_one(recorder: Any) -> None:
    handler = RunLogHandler("w", recorder=recorder)
    config: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
    stream = two_nodes().stream({"n": 0}, config)
    next(stream)
    for n in range(1, 200):
        two_nodes().invoke({"n": n}, config)
    list(stream)
    page = recorder.list_runs(limit=1000).runs
    runs = [recorder.get_run(row["run_id"]) for row in page]
    for n, run in enumerate(sorted(runs, key=lambda run: run["inputs"]["n"])):
        check_two_nodes(run, n)
    assert len(runs) == 200


def test_one_object_as_the_inputs_of_all(recorder: Any) -> None:
    given, run_id = {"n": 0}, uuid.uuid4()
    config: Any = {"callbacks": [RunLogHandler("w", recorder=recorder)], "run_id": run_id}

    async def run() -> None:
        await asyncio.gather(*(two_nodes().ainvoke(given, config) for _ in range(RUNS)))

    asyncio.run(run())
    runs = runs_of(recorder)
    assert len(runs) == RUNS
    for each in runs:
        check_two_nodes(each)


def test_handlers_are_told_apart_after_such_runs(recorder: Any) -> None:
    """The next runs of the same handler have nothing to do with them."""
    handler = RunLogHandler("w", recorder=recorder)
    as_tasks({"callbacks": [handler], "run_id": uuid.uuid4()})
    two_nodes().invoke({"n": 0}, {"callbacks": [handler]})
    runs = runs_of(recorder)
    assert len(runs) == RUNS + 1
    check_two_nodes(runs[-1])
    assert all("runlog_run" not in (run["metadata"] or {}) for run in runs)


# What happens in them


async def all_at_once(graph: Any, config: Any, count: int = RUNS) -> list[Any]:
    return await asyncio.gather(
        *(graph.ainvoke({"n": n * 10}, config) for n in range(count)),
        return_exceptions=True,
    )


def test_subgraphs_calls_and_events_stay_in_their_run(recorder: Any) -> None:
    model = FakeListChatModel(responses=["yes"])
    inner = chain("inner", deep=node("deep"))

    async def calls(state: State) -> State:
        await asyncio.sleep(0)
        await model.ainvoke(f"of {state['n']}")
        dispatch_custom_event("seen", state["n"])
        return {"n": (await inner.ainvoke({"n": state["n"]}))["n"]}

    graph = chain("g", first=calls, sub=inner)
    config: Any = {
        "callbacks": [RunLogHandler("w", recorder=recorder)],
        "run_id": uuid.uuid4(),
    }
    asyncio.run(all_at_once(graph, config))
    runs = runs_of(recorder)
    assert sorted(run["inputs"]["n"] for run in runs) == [0, 10, 20]
    for run in runs:
        first = run["inputs"]["n"]
        logs = run["node_logs"]
        assert [(log["node"], log["parent"]) for log in logs] == [
            ("first", None),
            ("deep", "first"),
            ("sub", None),
            ("deep", "sub"),
        ]
        assert [log["inputs"]["n"] for log in logs] == [first, first, *[first + 1] * 2]
        assert f"of {first}" in str(logs[0]["calls"])
        assert [event["data"] for event in logs[0]["events"]] == [first]


def test_each_run_ends_in_its_own_way(recorder: Any) -> None:
    def second(state: State) -> State:
        if state["n"] == 1:
            raise ValueError("boom")
        return {"n": interrupt("what now?")} if state["n"] == 11 else {}

    graph = chain("g", first=node("first"), second=second)
    config: Any = {
        "callbacks": [RunLogHandler("w", recorder=recorder)],
        "run_id": uuid.uuid4(),
    }
    asyncio.run(all_at_once(graph, config))
    found = {
        run["inputs"]["n"]: (run["status"], run["node_logs"][1]["status"])
        for run in runs_of(recorder)
    }
    assert found == {
        0: ("failed", "failed"),
        10: ("interrupted", "interrupted"),
        20: ("completed", "completed"),
    }


@pytest.mark.parametrize("sync", [True, False])
def test_only_the_run_that_pauses_is_paused(recorder: Any, sync: bool) -> None:
    handler = RunLogHandler("w", recorder=recorder)
    config: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
    builder = chain("g", first=node("first"), second=node("second")).builder
    pauses = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["second"])
    thread: Any = {**config, "configurable": {"thread_id": "t"}}

    async def run() -> None:
        await asyncio.gather(
            two_nodes().ainvoke({"n": 0}, config), pauses.ainvoke({"n": 10}, thread)
        )

    if sync:
        streams = [two_nodes().stream({"n": 0}, config)]
        next(streams[0])
        pauses.invoke({"n": 10}, thread)
        list(streams[0])
    else:
        asyncio.run(run())
    found = {run["inputs"]["n"]: run["status"] for run in runs_of(recorder)}
    assert found == {0: "completed", 10: "interrupted"}


def test_chains_outside_of_graphs_keep_their_own_calls(recorder: Any) -> None:
    model = FakeListChatModel(responses=["yes"])

    async def asks(n: int) -> str:
        await asyncio.sleep(0)
        return str((await model.ainvoke(f"of {n}")).content)

    config: Any = {
        "callbacks": [RunLogHandler("w", recorder=recorder)],
        "run_id": uuid.uuid4(),
    }

    async def run() -> None:
        await asyncio.gather(
            *(RunnableLambda(asks).ainvoke(n, config) for n in range(RUNS))
        )

    asyncio.run(run())
    runs = runs_of(recorder)
    assert sorted(run["inputs"] for run in runs) == [0, 1, 2]
    for each in runs:
        (call,) = each["node_logs"][0]["calls"]
        assert f"of {each['inputs']}" in str(call)


class Threaded(RunLogHandler):
    """Which LangChain calls in other threads."""

    run_inline = False


def test_a_handler_in_other_threads_says_what_it_can_not_tell(
    recorder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config: Any = {
        "callbacks": [Threaded("w", recorder=recorder)],
        "run_id": uuid.uuid4(),
    }
    with caplog.at_level(logging.ERROR, "runlog"):
        asyncio.run(all_at_once(two_nodes(), config))
    (said,) = [message for message in caplog.messages if "same run_id" in message]
    assert "give each run a run_id of its own" in said
    assert recorder.stats()["handler_errors"] == RUNS - 1


class Waits(BaseModel):
    """Is encoded when the same of the other run is, so that both have been looked up."""

    together: Any

    def model_dump(self, **_: Any) -> Any:
        with contextlib.suppress(threading.BrokenBarrierError):
            self.together.wait()
        return {}


@pytest.mark.parametrize("handlers", HANDLERS.values(), ids=HANDLERS)
def test_runs_that_begin_at_the_same_moment(recorder: Any, handlers: Any) -> None:
    together = threading.Barrier(2, timeout=1)
    config = {"callbacks": handlers(recorder), "run_id": uuid.uuid4()}
    with ThreadPoolExecutor(2) as pool:
        inputs = [{"n": n * 10, "seen": [Waits(together=together)]} for n in range(2)]
        list(pool.map(lambda given: two_nodes().invoke(given, config), inputs))
    found = runs_of(recorder)
    assert sorted(run["inputs"]["n"] for run in found) == [0, 10]
    for run in found:
        nodes = [(log["node"], log["status"]) for log in run["node_logs"]]
        assert nodes == [("first", "completed"), ("second", "completed")]
    assert recorder.stats()["handler_errors"] == 0
