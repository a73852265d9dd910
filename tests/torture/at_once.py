"""Two processes that begin on one new SQLite file at the same moment, again and again.

usage: at_once.py ROUNDS

Each round has a new file, runs<round>.db, and in both processes threads for graphs,
pauses, large runs, queries and closes of the recorder, beside forks. See test_at_once.py.
Whoever hangs shows the stacks of its threads.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from torture.child import BOUND, acknowledge, fork, run, wait_for
from torture.graphs import add, make_graph

GRAPHS = 6
PAUSES = 3
LARGE = 8
SIZE = 250_000
"""Bytes: 16 runs of it, of both processes, are a WAL that needs a checkpoint."""
FORKS = 2
CLOSES = 4

context = multiprocessing.get_context("fork")


def log(number: int, name: str, **fields: Any) -> None:
    """Log a run, with the next recorder if a thread has just closed this one."""
    import runlog

    while True:
        try:
            runlog.log_run(run(name, wpk_id=name, **fields))
        except runlog.ClosedError:
            continue
        acknowledge(f"{number} {name} completed")
        return


def invoke(number: int, name: str, graph: Any, given: Any, status: str) -> None:
    """Run a graph, with that name of its workflow."""
    config = {"metadata": {"wpk_id": name}, "configurable": {"thread_id": name[:3]}}
    graph.invoke(given, config)
    acknowledge(f"{number} {name} {status}")


def graphs(number: int, name: str) -> None:
    """Graphs with two nodes side by side."""
    graph = make_graph(add("one"), add("two"))
    for n in range(GRAPHS):
        invoke(number, f"{name}-g{n}", graph, {"seen": []}, "completed")


def pauses(number: int, name: str) -> None:
    """Graphs that pause, and are resumed."""
    graph = make_graph(lambda _: {"seen": [interrupt("which?")]}).copy()
    graph.checkpointer = InMemorySaver()
    for n in range(PAUSES):
        invoke(number, f"p{n}{name}-asks", graph, {"seen": []}, "interrupted")
        invoke(number, f"p{n}{name}-goes", graph, Command(resume="that"), "completed")


def large_runs(number: int, name: str) -> None:
    """Runs that make checkpoints necessary."""
    for n in range(LARGE):
        log(number, f"{name}-l{n}", outputs={"text": "x" * SIZE})


def queries(*_: Any) -> None:
    """Reads and waits."""
    import runlog

    for _n in range(CLOSES):
        for call in (runlog.list_runs, partial(runlog.flush, 0.01), runlog.stats):
            try:
                call()
            except runlog.ClosedError:
                continue


def closes(*_: Any) -> None:
    """Closes of the recorder that the other threads use."""
    import runlog

    for _n in range(CLOSES):
        runlog.close()
        time.sleep(0.002)


def child_work(number: int, name: str) -> None:
    """What a child does: no graphs, as threads may have had LangGraph's locks."""
    import runlog

    log(number, f"{name}-first")
    assert runlog.flush(BOUND)
    runlog.close()
    log(number, f"{name}-last")


def forks(number: int, name: str) -> None:
    """Children, while the other threads are at it."""
    for n in range(FORKS):
        wait_for(fork(partial(child_work, number, f"{name}-c{n}")))


def one_round(number: int, name: str, together: Any) -> None:
    """All at once, from a moment on that both processes share."""
    import runlog

    works: list[Callable[[int, str], None]]
    works = [graphs, pauses, large_runs, queries, closes]
    begun = threading.Barrier(len(works) + 1)
    os.environ["RUNLOG_SQLITE_PATH"] = f"runs{number}.db"

    def begin(work: Callable[[int, str], None]) -> None:
        begun.wait(BOUND)
        work(number, name)

    faulthandler.dump_traceback_later(BOUND, exit=True)
    with ThreadPoolExecutor(len(works)) as pool:
        together.wait(BOUND)
        done = [pool.submit(begin, work) for work in works]
        begun.wait(BOUND)
        forks(number, name)
        for each in done:
            each.result()
    runlog.close()
    faulthandler.cancel_dump_traceback_later()


def rounds(count: int, name: str, together: Any) -> None:
    """What each of the two processes does."""
    import runlog.hooks

    runlog.hooks.install()
    for number in range(count):
        one_round(number, name, together)


def main(count: str) -> None:
    together = context.Barrier(2)
    twin = fork(partial(rounds, int(count), "b", together))
    rounds(int(count), "a", together)
    wait_for(twin)


if __name__ == "__main__":
    main(*sys.argv[1:])
