"""The workload of the benchmarks of both stores: records and threads."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import corpus
from common import cpu_seconds, significant

from runlog._runlog import Recorder

Record = dict[str, Any]


def run_records(count: int, prefix: str = "run") -> list[Record]:
    """So many records from the corpus, each with a run_id of its own."""
    base = corpus.records()
    return [{**base[i % len(base)], "run_id": f"{prefix}-{i:07d}"} for i in range(count)]


def one_by_one(
    insert: Callable[[Record], object], records: Sequence[Record], seconds: float
) -> dict[str, Any]:
    """CPU and wall time of the records, one after another, as many as the time allows."""
    done = 0
    wall, cpu = time.monotonic(), cpu_seconds()
    for record in records:
        if time.monotonic() - wall >= seconds:
            break
        insert(record)
        done += 1
    used, spent = cpu_seconds() - cpu, time.monotonic() - wall
    return {"rows": done, "cpu_us": round(used * 1e6), "wall_us": round(spent * 1e6)}


def recorder_round(
    options: dict[str, Any],
    records: Sequence[Record],
    warm_up: int,
    seconds: float,
    *,
    encoded: bool = False,
) -> dict[str, Any]:
    """The records through log_run of a new recorder, the first ones outside the clock.

    With `encoded` they are encoded outside of it too, and only committed within.
    """
    with Recorder(**options) as recorder:
        for record in records[:warm_up]:
            recorder.log_run(record)
        timed: Sequence[Any] = records[warm_up:]
        keep: Callable[[Any], object] = recorder.log_run
        if encoded:
            timed = [recorder.prepare(record) for record in timed]
            keep = recorder.commit
        cpu = cpu_seconds()
        measured = one_by_one(keep, timed, seconds)
    measured["cpu_with_close_us"] = round((cpu_seconds() - cpu) * 1e6)
    return measured


def create_empty(path: Path) -> None:
    """Let runlog make a SQLite file with its schema, and leave it without a WAL."""
    with Recorder(sqlite_path=str(path), durability="disk") as recorder:
        recorder.get_runs_by_wpk_id("none")
    with closing(sqlite3.connect(path)) as database:
        mode = database.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            raise SystemExit(f"runlog's file is in journal mode {mode}, not WAL")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def fresh_copy(empty: Path) -> Iterator[Path]:
    """A copy of the empty file, removed with its WAL after the round."""
    path = empty.with_name("round.db")
    shutil.copyfile(empty, path)
    try:
        yield path
    finally:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def rows_a_second(
    recorder: Recorder, records: Sequence[Record], threads: int, seconds: float
) -> dict[str, Any]:
    """Let so many threads log the records, shared out beforehand."""
    ready = threading.Barrier(threads + 1)
    done = [0] * threads

    def work(number: int) -> None:
        mine = records[number::threads]
        ready.wait()
        deadline = time.monotonic() + seconds
        for record in mine:
            if time.monotonic() > deadline:
                break
            recorder.log_run(record)
            done[number] += 1

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    cpu = cpu_seconds()
    ready.wait()
    wall = time.monotonic()
    for worker in workers:
        worker.join()
    spent = time.monotonic() - wall
    rows = sum(done)
    if rows == 0:
        raise SystemExit("no thread logged a row")
    return {
        "rows": rows,
        "rows_a_second": significant(rows / spent),
        "cpu_us_a_row": significant((cpu_seconds() - cpu) / rows * 1e6),
    }
