"""Whether lists cost the same in a history of any length, on SQLite.

Some files have the history of lists.py, each longer than the one before. Every query of
lists.py is executed in all of them, in turns, in the page cache: the CPU time in the
longest one over that in the shortest. Then each is executed once from the disk: before
it, the longest file is dropped from the page cache (posix_fadvise), and the kernel says
how much was read.

Arguments: the runs of each (10000 200000), and "lean" to have the copies' node logs be
names alone, so that ten million runs take 9 GB instead of 67.
"""

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
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
from lists import SEED, cases, fill_sqlite

from runlog import Recorder

ROUNDS = 7
ENOUGH = 0.002
"""Seconds of CPU that a round takes, as the clock is that coarse."""
GROWTH = 1.5
COLD_MS = 20.0
Query = Callable[[], object]
Rounds = dict[str, dict[str, list[float]]]


def spent(query: Query, times: int) -> float:
    """Microseconds of CPU of a call."""
    before = cpu_seconds()
    for _ in range(times):
        query()
    return (cpu_seconds() - before) / times * 1e6


def in_turns(queries: Sequence[Query]) -> list[list[float]]:
    """CPU of each call, after a first one of each."""
    for query in queries:
        query()
    started = time.thread_time()
    for query in queries:
        query()
    taken = (time.thread_time() - started) / len(queries)
    times = max(3, round(ENOUGH / max(taken, 1e-6)))
    found: list[list[float]] = [[] for _ in queries]
    for _ in range(ROUNDS):
        for query, rounds in zip(queries, found, strict=True):
            rounds.append(significant(spent(query, times)))
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


def warm(paths: Mapping[int, str]) -> Rounds:
    """Microseconds of each query by the length of the history."""
    found: Rounds = {}
    with ExitStack() as stack:
        queries = []
        for runs, path in paths.items():
            recorder = stack.enter_context(Recorder(sqlite_path=path, words=False))
            queries.append(list(cases(recorder, runs)))
        for same in zip(*queries, strict=True):
            name = same[-1][0]  # as the longest has it
            if not name.startswith("count"):
                rounds = in_turns([query for _, query in same])
                found[name] = dict(zip(map(str, paths), rounds, strict=True))
    return found


def main() -> None:
    """Measure, and print JSON."""
    set_up()
    sizes = sorted(int(one) for one in sys.argv[1:] if one != "lean")
    sizes = sizes or [10_000, 200_000]
    prepare = leave_out_logs if "lean" in sys.argv else None
    need_room((1_500 if prepare else 8_000) * sum(sizes))
    raw: dict[str, Any] = {}
    with scratch("runlog-flat-") as folder:
        paths = {runs: str(folder / f"{runs}.db") for runs in sizes}
        for runs, path in paths.items():
            fill_sqlite(path, runs, prepare)
        raw["warm"] = warm(paths)
        longest = sizes[-1]
        raw["cold"] = {
            name: from_disk(paths[longest], longest, name) for name in raw["warm"]
        }
    report("flat", claims(raw), raw, seed=SEED, notes=notes(raw))


def growth(times: dict[str, list[float]]) -> float:
    """The ratio of the medians."""
    short, *_, long = times.values()
    return median(long) / median(short)


def claims(raw: dict[str, Any]) -> list[Claim]:
    """Those of the filters that are worst."""
    warm, cold = raw["warm"], raw["cold"]
    grown = max(warm, key=lambda name: growth(warm[name]))
    short, *_, long = warm[grown].values()
    slowest = max(cold, key=lambda name: cold[name]["ms"])
    return [
        compare(
            f"the filter that grows most ({grown})",
            long,
            short,
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
            "us": [median(rounds) for rounds in times.values()],
            "growth": significant(growth(times), 3),
            "cold": raw["cold"][name],
        }
        for name, times in raw["warm"].items()
    }


if __name__ == "__main__":
    main()
