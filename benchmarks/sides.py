"""The sides that alternate on a graph: no callback, an empty handler, runlog, its peers.

A round gives every side many turns of a few runs (about 20 ms), and adds up the CPU time
of each side. Whatever slows the machine for longer than a turn slows all sides alike. The
order of the sides is random in each pass.

A turn includes the work that its runs leave behind: the side is flushed, its garbage is
collected, and its threads must be idle before the next turn starts. The garbage collector
is off within a turn, because it would otherwise run in the turn of some side by chance.
Objects from before a round are frozen, because they belong to no side.
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
        # Not stats()["runs"]: an open run that is written counts there, too.
        arrived=lambda: len(recorder.list_runs(limit=10_000).runs),
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
    """Freeze the existing objects, and turn automatic garbage collection off."""
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
    """CPU microseconds per node of each side, from so many turns."""
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
