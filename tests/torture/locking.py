"""Programs whose SQLite file is locked by another program. See test_locked.py."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import statistics
import sys
import threading
import time
from typing import Any

from stopwatch import Stopwatch
from torture.child import acknowledge, fork, log, note_exit, run, wait_for

import runlog

HANDLED = {"handler_errors", "failed", "beside"}


def meet() -> None:
    """Say that this program is ready, and wait until it may go on."""
    print("ready", flush=True)
    sys.stdin.readline()


class Records(logging.Handler):
    """What is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        logging.getLogger("runlog").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.levelname}: {record.getMessage()}")


async def largest_gap(work: Any) -> float:
    """The longest time for which the loop stands still during the work, in seconds."""
    gaps: list[float] = []

    async def beat() -> None:
        while True:
            watch = Stopwatch()
            await asyncio.sleep(0.005)
            gaps.append(watch.seconds - 0.005)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0.05)
    await work
    await asyncio.sleep(0.05)
    beating.cancel()
    return max(gaps)


def loop(begin: str) -> None:
    """Graphs and log_run on an event loop; in the middle of it the file is locked."""
    from torture.graphs import add, make_graph

    from runlog.hooks import RunLogHandler

    records = Records()
    graph = make_graph(add("node"))

    async def invoke(name: str) -> None:
        handler = RunLogHandler(wpk_id="w")
        config = {"callbacks": [handler], "metadata": {"run_id": name}}
        await graph.ainvoke({"seen": []}, config=config)

    async def work() -> None:
        for number in range(40):
            await invoke(f"graph-{number}")
            acknowledge(runlog.log_run(run(f"log-{number}", wpk_id="logged")))
            await asyncio.sleep(0.01)

    async def both() -> float:
        if begin == "warm":
            await invoke("warm")
            acknowledge(runlog.log_run(run("warm", wpk_id="logged")))
        else:
            await graph.ainvoke({"seen": []})  # LangGraph loads its modules
        meet()
        return await largest_gap(work())

    gap = asyncio.run(both())
    stats = runlog.stats()
    meet()
    flushed = runlog.flush(30)
    print(
        json.dumps(
            {
                "gap": gap,
                "locked": {name: stats[name] for name in HANDLED},
                "flushed": flushed,
                "beside": runlog.stats()["beside"],
                "texts": records.texts,
            }
        )
    )


def threads(count: str) -> None:
    """Many threads log at once, while the file is locked and after that."""
    log(runlog, "first", 1)
    meet()
    took: list[float] = []

    def work(number: int) -> None:
        for at in range(40):
            begun = time.monotonic()
            acknowledge(runlog.log_run(run(f"{number}-{at}")))
            took.append(time.monotonic() - begun)
            time.sleep(0.005)

    both = [threading.Thread(target=work, args=(n,)) for n in range(int(count))]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    meet()
    flushed = runlog.flush(30)
    times = {"slowest": max(took), "median": statistics.median(took)}
    print(json.dumps(times | {"flushed": flushed}))


def forking() -> None:
    """A fork while the file is locked; both sides log before and after it."""
    log(runlog, "first", 1)
    meet()
    log(runlog, "before", 5)
    child = fork(lambda: log(runlog, "child", 20), code=None)
    log(runlog, "parent", 20)
    wait_for(child)
    log(runlog, "after", 5)


def leaving(how: str) -> None:
    """The program ends while the file is locked."""
    log(runlog, "first", 1)
    meet()
    log(runlog, "locked", 30)
    if how == "kill":
        meet()
    note_exit()
    if how == "os._exit":
        os._exit(0)


def states() -> None:
    """Later logs of the same runs, while the file is locked and just after that."""
    log(runlog, "first", 1)
    meet()
    for number in range(30):
        runlog.log_run(run(f"r{number}", status="running"))
    meet()
    for number in range(30):
        acknowledge(runlog.log_run(run(f"r{number}", outputs={"of": number})))


def living() -> None:
    """Another process on the same file, which logs a run from time to time."""
    log(runlog, "living", 1)
    meet()
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        acknowledge(runlog.log_run(run(f"living-{time.monotonic_ns()}")))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
