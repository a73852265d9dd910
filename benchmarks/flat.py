"""Whether lists cost the same in a history of any length, on SQLite.

Two files have the history of lists.py, a short one and a long one. Every query of
lists.py is executed in both, in turns, in the page cache: the CPU time in the long one
over that in the short one. Then each is executed once from the disk: before it, the file
is dropped from the page cache (posix_fadvise), and the kernel says how much was read.

Arguments: the runs of both (10000 200000), and "lean" to have the copies' node logs be
names alone, so that ten million runs take 9 GB instead of 67.
"""

import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from common import Claim, compare, cpu_seconds, report, scratch, set_up, significant
from lists import SEED, cases, fill_sqlite

from runlog import Recorder

ROUNDS = 7
ENOUGH = 0.002
"""Seconds of CPU that a round takes, as the clock is that coarse."""
GROWTH = 1.5
COLD_MS = 20.0


def spent(query: Any, times: int) -> float:
    """Microseconds of CPU of a call."""
    before = cpu_seconds()
    for _ in range(times):
        query()
    return (cpu_seconds() - before) / times * 1e6


def in_turns(short: Any, long: Any) -> dict[str, list[float]]:
    """CPU of both calls, after a first one of each."""
    short(), long()
    started = time.thread_time()
    short(), long()
    times = max(3, round(ENOUGH / max(time.thread_time() - started, 1e-6)))
    found: dict[str, list[float]] = {"short": [], "long": []}
    for _ in range(ROUNDS):
        found["short"].append(significant(spent(short, times)))
        found["long"].append(significant(spent(long, times)))
    return found


def bytes_read() -> int:
    """What this process has had read from disks."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def drop_from_cache(path: str) -> None:
    """Have the kernel forget a file's pages."""
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def from_disk(path: str, runs: int, name: str) -> dict[str, float]:
    """The first execution of a query, by a recorder that was just opened."""
    with Recorder(sqlite_path=path, words=False) as recorder:
        recorder.list_runs(limit=1)
        query = dict(cases(recorder, runs))[name]
        drop_from_cache(path)
        before, start = bytes_read(), time.perf_counter()
        query()
        took = time.perf_counter() - start
    return {"ms": significant(took * 1000), "bytes": bytes_read() - before}


def leave_out_logs(path: str) -> None:
    """Have the file be lean before its runs are copied."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE workflow_runs SET node_logs = (SELECT json_group_array(json_object("
            "'node', value ->> 'node')) FROM json_each(node_logs))"
        )
        connection.commit()


def main() -> None:
    """Measure, and print JSON."""
    set_up()
    few, many = (
        (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (10**4, 2 * 10**5)
    )
    prepare = leave_out_logs if "lean" in sys.argv else None
    raw: dict[str, Any] = {"warm": {}, "cold": {}}
    with scratch("runlog-flat-") as folder:
        paths = [str(folder / name) for name in ("short.db", "long.db")]
        for path, runs in zip(paths, (few, many), strict=True):
            fill_sqlite(path, runs, prepare)
        with (
            Recorder(sqlite_path=paths[0], words=False) as short,
            Recorder(sqlite_path=paths[1], words=False) as long,
        ):
            queries = dict(cases(short, few))
            for name, query in cases(long, many):
                if not name.startswith("count"):
                    other = queries[name.replace(f"{many // 2:,}", f"{few // 2:,}")]
                    raw["warm"][name] = in_turns(other, query)
        for name in raw["warm"]:
            raw["cold"][name] = from_disk(paths[1], many, name)
    report("flat", claims(raw), raw, seed=SEED, notes=notes(raw))


def growth(times: dict[str, list[float]]) -> float:
    """The ratio of the medians."""
    return median(times["long"]) / median(times["short"])


def claims(raw: dict[str, Any]) -> list[Claim]:
    """Those of the filters that are worst."""
    warm, cold = raw["warm"], raw["cold"]
    grown = max(warm, key=lambda name: growth(warm[name]))
    slowest = max(cold, key=lambda name: cold[name]["ms"])
    return [
        compare(
            f"the filter that grows most ({grown})",
            warm[grown]["long"],
            warm[grown]["short"],
            GROWTH,
            "us",
        ),
        compare(
            f"the slowest from a cold disk ({slowest})",
            [cold[slowest]["ms"]],
            [0.0],
            COLD_MS,
            "ms",
            relation="difference",
        ),
    ]


def notes(raw: dict[str, Any]) -> dict[str, Any]:
    """A line for each query."""
    return {
        name: {
            "us": median(times["long"]),
            "growth": significant(growth(times), 3),
            "cold": raw["cold"][name],
        }
        for name, times in raw["warm"].items()
    }


if __name__ == "__main__":
    main()
