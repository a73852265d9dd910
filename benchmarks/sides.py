"""What is alternated on a graph: no callback, an empty handler, runlog, its peers.

A round goes through all sides many times, a few runs (about 20 ms) of each in turn, and
adds up the CPU time of each: what slows the machine down for longer than that hits all
of them alike. The order is drawn anew each time. In a side's time is whatever its runs
leave to others: a side is flushed, its garbage is collected, and its threads are waited
for until the process is quiet, before the next one's turn. Within a turn the collector is
off, as it would come at the same point of every round, in whose turn it is by chance; and
what was there before a round is frozen, as it has nothing to do with any side.
"""

import asyncio
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import corpus
from common import significant
from langchain_core.callbacks import BaseCallbackHandler
from state_graphs import EmptyHandler, Mode, Workload, run_all

from runlog import Recorder
from runlog.hooks import RunLogHandler

QUIET_SECONDS = 0.001
QUIET_SHARE = 0.1
SETTLE_SECONDS = 2.0


def _nothing() -> None:
    pass


@dataclass
class Side:
    """One way of running a graph."""

    callbacks: Sequence[BaseCallbackHandler] = ()
    flush: Callable[[], object] = _nothing  # within the clock
    on: Callable[[], object] = _nothing  # before and after its turn, without it
    off: Callable[[], object] = _nothing
    close: Callable[[], object] = _nothing
    arrived: Callable[[], int] | None = None  # how much has been kept or sent so far


def empty_side() -> Side:
    return Side([EmptyHandler()])


def runlog_side(path: Path) -> Side:
    """The handler as it is by default, with a SQLite file of its own."""
    recorder = Recorder(sqlite_path=str(path))
    return Side(
        [RunLogHandler(recorder=recorder)],
        close=recorder.close,
        arrived=lambda: int(recorder.stats()["runs"]),
    )


def settle() -> None:
    """Wait until the other threads have nothing to do."""
    deadline = time.monotonic() + SETTLE_SECONDS
    quiet = False
    while not quiet and time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(QUIET_SECONDS)
        quiet = time.process_time() - before < QUIET_SECONDS * QUIET_SHARE


def _turn(runner: asyncio.Runner, side: Side, workload: Workload, mode: Mode) -> float:
    """CPU seconds of some runs."""
    inputs = workload.inputs(workload.runs)
    side.on()
    try:
        start = time.process_time()
        run_all(runner, mode, workload.graphs[mode], inputs, side.callbacks)
        side.flush()
        gc.collect()
        settle()
        return time.process_time() - start
    finally:
        side.off()


@contextmanager
def no_collector() -> Iterator[None]:
    """Freeze what is there, and collect no garbage but what is asked for."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def cpu_round(
    sides: Mapping[str, Side], workload: Workload, mode: Mode, turns: int
) -> dict[str, float]:
    """CPU microseconds a node of each side, from so many turns."""
    used = dict.fromkeys(sides, 0.0)
    draw = random.Random(corpus.SEED).sample
    with asyncio.Runner() as runner:
        for side in sides.values():
            _turn(runner, side, workload, mode)  # opens files, connects
        with no_collector():
            for _ in range(turns):
                for name in draw(list(sides), k=len(sides)):
                    used[name] += _turn(runner, sides[name], workload, mode)
    nodes = turns * workload.runs * workload.nodes
    return {name: significant(s / nodes * 1e6, 6) for name, s in used.items()}
