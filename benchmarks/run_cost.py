"""The costs of a run besides CPU: time at its end, bytes stored, memory while open."""

import ctypes
import gc
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import call
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, ClassVar

from common import significant
from langchain_core.callbacks import BaseCallbackHandler
from state_graphs import (
    BIG,
    SMALL,
    EmptyHandler,
    agent,
    capture,
    chain,
    deliver,
    make_state,
)

from runlog import Recorder
from runlog.hooks import RunLogHandler

ENDS = 1200
ENDS_A_TURN = 50
ENDS_SECONDS = 60.0
OPEN_RUNS = 200
MALLINFO = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


@contextmanager
def busy_thread() -> Iterator[None]:
    """A thread that always wants the GIL."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(100))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass
class Ends:
    """Milliseconds of each end, and of the thread's waits for a core within it."""

    wall: list[float] = field(default_factory=list)
    queued: list[float] = field(default_factory=list)


def time_ends(handler: BaseCallbackHandler, ends: Ends, schedstat: int) -> None:
    """Measure the handler's time for each end of a graph's run.

    The clock is read within one bytecode: between two, the interpreter may hand the GIL
    to the busy thread, as it would have done a moment later without the handler.
    """
    end = handler.on_chain_end
    queue = partial(os.pread, schedstat, 64, 0)

    def timed(*args: Any, **kwargs: Any) -> None:
        if kwargs["parent_run_id"] is not None:
            end(*args, **kwargs)
        else:
            steps: tuple[Callable[[], Any], ...] = (
                queue,
                perf_counter,
                partial(end, *args, **kwargs),
                perf_counter,
                queue,
            )
            queued, before, _, after, queued_after = map(call, steps)
            ends.wall.append((after - before) * 1000)
            waited = int(queued_after.split()[1]) - int(queued.split()[1])
            ends.queued.append(waited / 1e6)

    vars(handler)["on_chain_end"] = timed


@contextmanager
def run_queue() -> Iterator[int]:
    """A descriptor that reads how long this thread has waited for a core (Linux)."""
    descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def measure_ends(folder: Path) -> dict[str, Ends]:
    """The ends of runlog's and of the empty handler's runs, alternated."""
    names = ("runlog", "empty", "runlog, nobody busy")
    ends = {name: Ends() for name in names}
    graph, state = chain(), make_state(SMALL)
    deadline = monotonic() + ENDS_SECONDS
    with (
        Recorder(sqlite_path=str(folder / "ends.db")) as recorder,
        run_queue() as schedstat,
    ):
        handlers: dict[str, BaseCallbackHandler] = {
            name: EmptyHandler() if name == "empty" else RunLogHandler(recorder=recorder)
            for name in names
        }
        for name, handler in handlers.items():
            time_ends(handler, ends[name], schedstat)
        while len(ends["empty"].wall) < ENDS and monotonic() < deadline:
            for name, handler in handlers.items():
                with ExitStack() as stack:
                    if "nobody" not in name:
                        stack.enter_context(busy_thread())
                    for _ in range(ENDS_A_TURN):
                        graph.invoke(state, {"callbacks": [handler]})
    return ends


def stored_bytes(path: Path, **options: Any) -> dict[str, int]:
    """The bytes in each column of a row after a hundred steps of the agent."""
    columns = ("inputs", "outputs", "node_logs", "metadata")
    with Recorder(sqlite_path=str(path)) as recorder:
        handler = RunLogHandler(recorder=recorder, **options)
        agent().invoke(
            make_state(SMALL * 2), {"callbacks": [handler], "recursion_limit": 200}
        )
    sizes = ", ".join(f"ifnull(length(CAST({c} AS BLOB)), 0)" for c in columns)
    with closing(sqlite3.connect(path)) as database:
        (row,) = database.execute(f"SELECT {sizes} FROM workflow_runs").fetchall()
    found = dict(zip(columns, row, strict=True))
    return {**found, "all": sum(row)}


class _Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in MALLINFO.split()]


def allocated() -> int | None:
    """Bytes allocated by malloc, mapped blocks included; None without glibc."""
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is None:
        return None
    function.restype = _Mallinfo
    info = function()
    return int(info.uordblks) + int(info.hblkhd)


def resident() -> int:
    """Bytes of the process in memory."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status has no VmRSS")


def measure_memory(handler: BaseCallbackHandler) -> dict[str, float]:
    """KB of memory per open run, with so many open.

    The states stay with the program, as they do while a graph runs: what is measured is
    what comes on top of them.
    """
    graph, text = chain(), json.dumps(make_state(BIG))
    states = [json.loads(text) for _ in range(OPEN_RUNS + 1)]
    deliver(handler, capture(graph, states.pop())[:-1])
    events = [capture(graph, state) for state in states]
    gc.collect()
    before, resident_before = allocated() or 0, resident()
    for run in events:
        name, _, kwargs = run[-1]
        if name != "on_chain_end" or kwargs["parent_run_id"] is not None:
            raise SystemExit(f"the last event is {name}, not the end of the graph")
        deliver(handler, run[:-1])
    gc.collect()
    return {
        "malloc_kb": significant(((allocated() or 0) - before) / OPEN_RUNS / 1024),
        "resident_kb": significant((resident() - resident_before) / OPEN_RUNS / 1024),
    }
