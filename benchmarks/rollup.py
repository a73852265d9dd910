"""The roll-up of a long history: its first count, reads of it, and what recording pays.

log_run records 5,000 runs of ten nodes and about 8 KB, of 20 workflows; the others are
copies that SQL makes, in the order of time, over thirty days. All figures are CPU time of
the process with all its threads; on PostgreSQL the server's comes on top.

Arguments: how many runs on SQLite and on PostgreSQL (200000 20000).
"""

import random
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import lists
from common import Claim, alternate, compare, cpu_seconds, report, scratch, set_up
from pgserver import postgres

from runlog import Recorder

SEED = 17
TIMES = 7
RUN_US = 50.0
"""CPU that the first count of a run may take."""
WEEK_MS = 20.0
"""CPU that a read of seven days of a workflow may take; of all, five times as much."""
RECORDING = 1.03
"""What recording may cost with a roll-up, over what it costs without."""
GROWTH_MB = 64.0
"""How much memory the first count may take."""

_base = lists.run


def run(rng: random.Random, number: int, total: int) -> dict[str, Any]:
    """A run of ten nodes and 8 KB."""
    made = _base(rng, number, total)
    made["wpk_id"] = f"workflow-{number % 20}"
    made["created_at"] = lists.FIRST + timedelta(seconds=number * 30 * 86_400 / total)
    for log in made["node_logs"]:
        log["inputs"] = {"text": f"{number}: " + "word " * 80}
        log["tokens"] = {"input": 90, "output": 10, "total": 100}
        log["llm_calls"] = 1
    return made


def first_count(recorder: Recorder, runs: int) -> dict[str, float]:
    """Count the history; return the CPU a run takes, and the memory."""
    recorder.list_runs()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, clock = cpu_seconds(), time.perf_counter()
    while not recorder._fill_rollup():  # noqa: SLF001
        pass
    spent, took = cpu_seconds() - start, time.perf_counter() - clock
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    blocks, counted, stored = recorder._rollup_size()  # noqa: SLF001
    assert counted == runs, (counted, runs)
    return {
        "us": spent / runs * 1e6,
        "runs_per_second": runs / took,
        "grown_mb": (after - before) / 1024,
        "blocks": blocks,
        "bytes": stored,
    }


def reads(recorder: Recorder) -> dict[str, list[float]]:
    """Milliseconds of CPU of reads that have nothing to count."""
    (last,) = recorder.list_runs(limit=1).runs
    since = last["created_at"] - timedelta(days=7)
    calls: dict[str, Any] = {
        "seven days of a workflow": lambda: recorder.rollup(
            wpk_id="workflow-1", since=since
        ),
        "seven days of all": lambda: recorder.rollup(since=since),
        "totals": recorder.rollup_totals,
    }
    spent: dict[str, list[float]] = {}
    for name, call in calls.items():
        spent[name] = []
        for _ in range(TIMES):
            start = cpu_seconds()
            call()
            spent[name].append((cpu_seconds() - start) * 1000)
    return spent


def recording(folder: Path) -> dict[str, list[float]]:
    """CPU of the same runs, recorded with a roll-up and without one."""

    def measure(name: str, number: int) -> float:
        path = str(folder / f"{name}-{number}.db")
        with Recorder(sqlite_path=path, durability="journal", words=False) as recorder:
            if name == "on":
                recorder.rollup(wait=10)
            rng = random.Random(number)
            runs = [run(rng, place, 2000) for place in range(2000)]
            start = cpu_seconds()
            for one in runs:
                recorder.log_run(one)
            spent = cpu_seconds() - start
        Path(path).unlink()
        return spent

    return alternate(("off", "on"), measure, 9, 60)


def limit(name: str, spent: list[float], most: float, unit: str) -> Claim:
    """Something against its limit."""
    none = [0.0] * len(spent)
    return compare(name, spent, none, most, unit, relation="difference")


def main() -> None:
    """Measure, and print JSON."""
    set_up()
    on_sqlite = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    on_postgres = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    lists.run, lists.RECORDED, lists.DAYS = run, 5_000, 30
    raw: dict[str, Any] = {}
    claims: list[Claim] = []
    with scratch("runlog-rollup-") as folder:
        path = str(folder / "runs.db")
        lists.fill_sqlite(path, on_sqlite)
        with Recorder(sqlite_path=path, words=False) as recorder:
            raw["first"] = first_count(recorder, on_sqlite)
            raw["reads"] = reads(recorder)
        Path(path).unlink()
        raw["recording"] = recording(folder)
        if on_postgres > 0:
            with postgres() as server:
                lists.fill_postgres(server.dsn, str(folder / "journal.db"), on_postgres)
                options: Any = {"postgres_dsn": server.dsn, "words": False}
                options["sqlite_path"] = str(folder / "journal.db")
                with Recorder(**options) as recorder:
                    raw["first on PostgreSQL"] = first_count(recorder, on_postgres)
                    raw["reads on PostgreSQL"] = reads(recorder)
    one, all_ = (raw["reads"][f"seven days of {what}"] for what in ("a workflow", "all"))
    claims = [
        limit("the first count of a run", [raw["first"]["us"]], RUN_US, "µs"),
        limit("memory of the first count", [raw["first"]["grown_mb"]], GROWTH_MB, "MB"),
        limit("seven days of a workflow", one, WEEK_MS, "ms"),
        limit("seven days of 20 workflows", all_, 5 * WEEK_MS, "ms"),
        compare(
            "a run with a roll-up",
            raw["recording"]["on"],
            raw["recording"]["off"],
            RECORDING,
            "s",
        ),
    ]
    medians = {name: median(times) for name, times in raw["reads"].items()}
    report("rollup", claims, raw, seed=SEED, notes={"milliseconds": medians})


if __name__ == "__main__":
    main()
