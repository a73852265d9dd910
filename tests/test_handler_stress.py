"""One handler under many event loops' and threads' runs at once, round after round."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import SANITIZED
from handler_graphs import State, chain, check_two_nodes, node
from helpers import stored
from langgraph.graph import START, StateGraph
from langgraph.types import Send

import runlog
from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store

TASKS = 40 if SANITIZED else 200
THREADS = 8 if SANITIZED else 32
RUNS_A_THREAD = 2
ROUNDS = 2 if SANITIZED else 4
MARGIN = (128 if SANITIZED else 16) * 2**20


def rss() -> int:
    """The memory of this process now, in bytes; 0 where that can't be told."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096


def sync_graph() -> Any:
    return chain("threads", first=node("first"), second=node("second"))


def async_graph() -> Any:
    def act(name: str) -> Any:
        async def work(state: State) -> State:
            await asyncio.sleep(0)
            return {"n": state["n"] + 1, "seen": [name]}

        return work

    return chain("tasks", first=act("first"), second=act("second"))


def fan_out() -> Any:
    """Nodes of one run in several threads at once, and a subgraph in each."""
    inner = chain("inner", deep=node("deep"))
    builder: Any = StateGraph(State)
    builder.add_node("split", lambda state: {"n": state["n"]})
    builder.add_node("work", lambda item: {"seen": [inner.invoke(item)["n"]]})
    builder.add_edge(START, "split")
    builder.add_conditional_edges(
        "split", lambda state: [Send("work", {"n": n, "seen": []}) for n in range(5)]
    )
    return builder.compile(name="fan-out")


def one_round(handler: RunLogHandler) -> None:
    """All tasks on one loop beside all threads."""
    together = threading.Barrier(THREADS + 1, timeout=60)
    quick, wide, slow = sync_graph(), fan_out(), async_graph()

    def work(number: int) -> None:
        together.wait()
        for n in range(RUNS_A_THREAD):
            given = {"n": number * RUNS_A_THREAD + n, "seen": []}
            quick.invoke(given, {"callbacks": [handler]})
            if n == 0:
                wide.invoke(given, {"callbacks": [handler]})

    async def tasks() -> None:
        config: Any = {"callbacks": [handler]}
        await asyncio.gather(
            *(slow.ainvoke({"n": n, "seen": []}, config) for n in range(TASKS))
        )

    with ThreadPoolExecutor(THREADS) as pool:
        done = [pool.submit(work, number) for number in range(THREADS)]
        together.wait()
        asyncio.run(tasks())
        for future in done:
            future.result()


def check_round(recorder: Any) -> None:
    """Every run exactly once, whole; then away with them."""
    assert recorder.flush(60)
    assert recorder.stats()["open_runs"] == 0
    begun: dict[str, Counter[int]] = {
        "tasks": Counter(range(TASKS)),
        "threads": Counter(range(THREADS * RUNS_A_THREAD)),
        "fan-out": Counter(range(0, THREADS * RUNS_A_THREAD, RUNS_A_THREAD)),
    }
    for name, expected in begun.items():
        runs = recorder.list_runs(wpk_id=name, limit=1000).runs
        found: Counter[int] = Counter()
        for summary in runs:
            run = stored(recorder, summary["run_id"])
            found[run["inputs"]["n"]] += 1
            if name == "fan-out":
                check_fan_out(run)
            else:
                check_two_nodes(run, run["inputs"]["n"])
        assert found == expected, name
        assert recorder.delete_runs(wpk_id=name) == len(runs)
    assert recorder.list_runs().runs == []


def check_fan_out(run: Any) -> None:
    assert run["status"] == "completed"
    assert sorted(run["outputs"]["seen"]) == [1, 2, 3, 4, 5]
    logs = Counter((x["node"], x["parent"], x["status"]) for x in run["node_logs"])
    assert logs == {
        ("split", None, "completed"): 1,
        ("work", None, "completed"): 5,
        ("deep", "work", "completed"): 5,
    }
    for log in run["node_logs"]:
        if log["node"] == "deep":
            assert log["outputs"]["n"] == log["inputs"]["n"] + 1


@pytest.mark.long_with("postgres", "1.0")
@pytest.mark.parametrize("interval", [0.01, 1.0])
def test_memory_is_flat_with_many_tasks_and_threads(
    recorder: Any, interval: float
) -> None:
    """Live writes go on meanwhile; memory stays where it was after the first rounds."""
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=interval)
    begun = time.monotonic()
    memory = []
    for number in range(ROUNDS):
        one_round(handler)
        check_round(recorder)
        memory.append(rss())
        if number > 0 and time.monotonic() - begun > 8:
            break
    assert recorder.stats()["handler_errors"] == 0
    assert recorder.stats()["handler_ignored"] == 0
    assert memory[-1] - memory[min(1, len(memory) - 2)] < MARGIN


def test_the_memory_of_finished_runs_is_freed(tmp_path: Path) -> None:
    """A server that records for weeks: large states, failures, streams left alone."""

    def fail(_: Any) -> Any:
        raise ValueError("boom")

    with runlog.Recorder(sqlite_path=str(tmp_path / "runs.db")) as recorder:
        handler = RunLogHandler(recorder=recorder, checkpoint_interval=0.01)
        good = sync_graph()
        bad = chain("bad", first=node("first"), second=fail)
        large = {"n": 0, "seen": ["x" * 1000] * 100}

        def some(count: int) -> None:
            config: Any = {"callbacks": [handler]}
            for _ in range(count):
                good.invoke(large, config)
                with pytest.raises(ValueError, match="boom"):
                    bad.invoke(large, config)
                stream = good.stream(large, config)
                next(stream)
                stream.close()

        some(20)
        references, grown = sys.getrefcount(recorder), []
        for _ in range(3):  # other threads of this process take memory, too
            before = rss()
            some(20 if SANITIZED else 100)
            grown.append(rss() - before)
            if grown[-1] < MARGIN:
                break
        assert min(grown) < MARGIN
        assert sys.getrefcount(recorder) == references
        assert recorder.stats()["open_runs"] == 0
