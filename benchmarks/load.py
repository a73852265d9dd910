"""A load of runs at a given rate, from many processes, whatever the database does.

Each run is due at a time of its own, and its latency counts from then (open_loop.py), so
a stall counts for all who waited. `--rate 0` looks for the rate instead: each process
logs as fast as it can. Several rates are tried one after the other.

    load.py --store sqlite --rate 500 --seconds 30 --processes 4
    load.py --store postgres --rate 2000 --poisson --readers 1 --what graph
    load.py --rate 100 300 1000 --seconds 5

The JSON has the rate that was offered and the one that was achieved, percentiles of the
latency, errors, the CPU time of clients and server, and bytes. A load ends by itself:
when --seconds are over, those who still wait get as many more. It does not begin where
the disk has too little room for it.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from common import (
    Claim,
    compare,
    cpu_seconds,
    need_room,
    report,
    scratch,
    set_up,
    significant,
)
from open_loop import Outcome, due_times, keep_up, percentiles
from pgserver import postgres
from state_graphs import SMALL, chain, make_state
from workload import run_records

import runlog
from runlog.hooks import RunLogHandler

READY_SECONDS = 120.0
"""Time for all processes to get ready."""
BYTES = 40_000
"""Room on the disk for a run, with its log; four times what it takes."""
FAST = 10_000.0
"""Runs a second for which there must be room with `--rate 0`."""
UNHURRIED = 20.0
"""Pages a second that a reader asks for."""
Call = Callable[[int], object]


@dataclass
class Plan:
    """What each process is told."""

    options: dict[str, Any]
    what: str
    rate: float
    seconds: float
    poisson: bool


@dataclass
class Part:
    """What a process, or all of a kind, have done."""

    outcome: Outcome = field(default_factory=Outcome)
    cpu: float = 0.0
    written: int = 0

    def merge(self, other: "Part") -> None:
        """Add what another process has done."""
        self.outcome.merge(other.outcome)
        self.cpu += other.cpu
        self.written += other.written

    def figures(self, offered: float) -> dict[str, Any]:
        """What is reported of it."""
        count = self.outcome.latencies.count
        done = count - self.outcome.errors.total()
        return {
            "calls": count,
            "errors": dict(self.outcome.errors),
            "offered_a_second": offered or None,
            "achieved_a_second": significant(done / max(self.outcome.ended, 1e-9)),
            "latency_ms": percentiles(self.outcome.latencies),
            "client_cpu_us": significant(self.cpu / max(done, 1) * 1e6),
            "written_bytes": round(self.written / max(done, 1)),
        }


def bytes_written() -> int:
    """What this process has had written to a disk so far; 0 where that is not known."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) for x in lines if x.startswith("write_bytes:")), 0)


def logging_runs(recorder: runlog.Recorder) -> Call:
    records = run_records(1000)

    def log(count: int) -> object:
        record = records[count % len(records)]
        return recorder.log_run({**record, "run_id": f"load-{os.getpid()}-{count}"})

    return log


def running_graphs(recorder: runlog.Recorder) -> Call:
    graph, state = chain("invoke"), make_state(SMALL)
    handler = RunLogHandler(recorder=recorder)
    return lambda _: graph.invoke(state, {"callbacks": [handler]})


def reading_pages(recorder: runlog.Recorder) -> Call:
    filters: list[dict[str, Any]] = [{}, {"status": "failed"}, {"wpk_id": "none"}]
    return lambda count: recorder.list_runs(limit=20, **filters[count % len(filters)])


WORK = {"log_run": logging_runs, "graph": running_graphs, "read": reading_pages}


def as_fast_as_it_can(call: Call, plan: Plan) -> Outcome:
    """A closed loop: its latencies say nothing of those who would have waited."""
    outcome, count, start = Outcome(), 0, time.monotonic()
    now = start
    while now < start + plan.seconds:
        call(count)
        count, before, now = count + 1, now, time.monotonic()
        outcome.latencies.add(now - before)
    outcome.ended = now - start
    return outcome


ready: list[Barrier] = []
"""In a process of the load: where it waits for the others."""


def enter(barrier: Barrier) -> None:
    """Begin a process of the load."""
    ready.append(barrier)


def work(plan: Plan, number: int) -> Part:
    """One process: do what is due, and wait until it is stored."""
    with runlog.Recorder(**plan.options) as recorder:
        call = WORK[plan.what](recorder)
        ready[0].wait(READY_SECONDS)
        cpu, written = cpu_seconds(), bytes_written()
        if plan.rate:
            due = due_times(plan.rate, plan.seconds, number if plan.poisson else None)
            start = time.monotonic()
            outcome = keep_up(due, call, start, start + 2 * plan.seconds)
        else:
            outcome = as_fast_as_it_can(call, plan)
        if not recorder.flush(plan.seconds):
            outcome.errors["left in the journal"] += 1
        return Part(outcome, cpu_seconds() - cpu, bytes_written() - written)


def run_load(
    options: argparse.Namespace, settings: dict[str, Any], offered: float
) -> dict[str, Part]:
    """Start the processes, and add up what they have done: of writers, and of readers."""
    kinds = [options.what] * options.processes + ["read"] * options.readers
    parts = {kind: Part() for kind in kinds}
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(kinds))
    with ProcessPoolExecutor(len(kinds), context, enter, (barrier,)) as pool:
        answers = []
        for number, kind in enumerate(kinds):
            rate = UNHURRIED if kind == "read" else offered / options.processes
            plan = Plan(settings, kind, rate, options.seconds, options.poisson)
            answers.append(pool.submit(work, plan, number))
        for kind, answer in zip(kinds, answers, strict=True):
            parts[kind].merge(answer.result())
    return parts


def prepare(options: argparse.Namespace, stack: ExitStack) -> tuple[dict[str, Any], Any]:
    """The recorder's settings, and the server if there is one."""
    folder = stack.enter_context(scratch("load"))
    settings: dict[str, Any] = {"sqlite_path": str(folder / "runs.db")}
    if options.durability:
        settings["durability"] = options.durability
    server = stack.enter_context(postgres()) if options.store == "postgres" else None
    if server is not None:
        settings["postgres_dsn"] = server.dsn
    with runlog.Recorder(**settings) as recorder:
        recorder.list_runs(limit=1)  # makes the tables
    return settings, server


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--what", choices=["log_run", "graph"], default="log_run")
    parser.add_argument("--durability", choices=["disk", "journal", "store"])
    parser.add_argument(
        "--rate", type=float, nargs="+", default=[500.0], help="runs a second in all"
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--readers", type=int, default=0, help="processes that list runs")
    parser.add_argument("--poisson", action="store_true", help="runs come at random")
    options = parser.parse_args()
    need_room(sum(rate or FAST for rate in options.rate) * options.seconds * BYTES)
    return options


def load(
    options: argparse.Namespace, settings: dict[str, Any], server: Any, rate: float
) -> dict[str, Any]:
    """What a rate has come to."""
    before = server.cpu_seconds() if server else 0.0
    parts = run_load(options, settings, rate)
    spent = server.cpu_seconds() - before if server else None
    writers = parts[options.what]
    count = max(writers.outcome.latencies.count, 1)
    offered = UNHURRIED * options.readers
    return {
        "writers": writers.figures(rate),
        "readers": parts["read"].figures(offered) if "read" in parts else None,
        "server_cpu_us": spent and significant(spent / count * 1e6),
    }


def p99(options: argparse.Namespace, rate: float, writers: dict[str, Any]) -> Claim:
    """A line of the table; there is no limit."""
    pace = f"{rate:,g} runs a second" if rate else "as fast as can be"
    name = (
        f"{options.what} on {options.store}, {options.processes} processes, {pace}: p99"
    )
    latency = [writers["latency_ms"]["p99"]]
    return compare(name, latency, [0.0], None, "ms", relation="difference")


def main() -> None:
    options = arguments()
    set_up()
    with ExitStack() as stack:
        settings, server = prepare(options, stack)
        loads = [load(options, settings, server, rate) for rate in options.rate]
    claims = [
        p99(options, rate, one["writers"])
        for rate, one in zip(options.rate, loads, strict=True)
    ]
    report("load", claims, {"loads": loads}, notes={"options": vars(options)})


if __name__ == "__main__":
    main()
