"""log_run on SQLite with disk durability: CPU per row, and the gain of sixteen threads.

1. Client CPU per row, encoding included, against bare_sqlite.c: the same statement on
   the same schema with the JSON ready-made. Both times include the close, which moves
   the rest of the WAL into the file.
2. Rows per second of sixteen threads against one, wall time: threads share an fsync. The
   script also measures the duration of an fsync on this disk.

Every round starts from a copy of the same empty database, which runlog created.
"""

import os
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import bare
import corpus
from common import (
    alternate,
    compare,
    per_row,
    report,
    scratch,
    set_up,
    significant,
)
from workload import (
    create_empty,
    fresh_copy,
    recorder_round,
    rows_a_second,
    run_records,
)

from runlog._runlog import Recorder

TABLE = "workflow_runs"
ROWS = 1200
WARM_UP = 40
CPU_ROUNDS = 7
CPU_SECONDS = 40.0
THREADS = 16
THREAD_ROUNDS = 11
THREAD_SECONDS = 30.0
ROUND_SECONDS = 3.0
FSYNCS = 300


def fsync_times(folder: Path) -> dict[str, float]:
    """Milliseconds that the disk takes to acknowledge 8 KB."""
    times: list[float] = []
    block = os.urandom(8192)
    sync = getattr(os, "fdatasync", os.fsync)
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            start = time.perf_counter()
            file.write(block)
            sync(file.fileno())
            times.append((time.perf_counter() - start) * 1000)
    return {
        "fsync_p50_ms": significant(median(times)),
        "fsync_p90_ms": significant(quantiles(times, n=10)[-1]),
        "fsync_min_ms": significant(min(times)),
    }


def measure_cpu(empty: Path) -> dict[str, list[dict[str, Any]]]:
    """Rounds of the C program and of log_run, alternated."""
    records = run_records(WARM_UP + ROWS)
    program = bare.build("bare_sqlite")
    columns = bare.bound_columns(program, TABLE)
    rows = empty.with_name("rows.bin")
    with fresh_copy(empty) as path:
        with Recorder(sqlite_path=str(path), durability="journal") as recorder:
            for record in records:
                recorder.log_run(record)
        bare.write_rows(rows, bare.stored_rows(path, TABLE, columns))
    raw: dict[str, list[dict[str, Any]]] = {"runlog": [], "bare C": []}

    def measure(side: str, _: int) -> float:
        with fresh_copy(empty) as path:
            if side == "runlog":
                options = {"sqlite_path": str(path), "durability": "disk"}
                measured = recorder_round(options, records, WARM_UP, ROUND_SECONDS)
            else:
                measured = bare.run(program, TABLE, path, rows, WARM_UP, ROUND_SECONDS)
        raw[side].append(measured)
        return float(measured["cpu_with_close_us"] / measured["rows"])

    alternate(list(raw), measure, CPU_ROUNDS, CPU_SECONDS)
    return raw


def measure_threads(empty: Path) -> dict[str, list[dict[str, Any]]]:
    """Rounds of one thread and of sixteen, alternated."""
    records = run_records(THREADS * 150)
    raw: dict[str, list[dict[str, Any]]] = {"1": [], str(THREADS): []}

    def measure(side: str, _: int) -> float:
        threads = int(side)
        share = records if threads > 1 else records[: len(records) // 4]
        with (
            fresh_copy(empty) as path,
            Recorder(sqlite_path=str(path), durability="disk") as recorder,
        ):
            recorder.log_run({**records[0], "run_id": "warm-up"})
            measured = rows_a_second(recorder, share, threads, ROUND_SECONDS)
            measured["largest_commit"] = recorder.stats()["largest_commit"]
        raw[side].append(measured)
        return float(measured["rows_a_second"])

    alternate(list(raw), measure, THREAD_ROUNDS, THREAD_SECONDS)
    return raw


def main() -> None:
    set_up()
    with scratch("sqlite") as folder:
        empty = folder / "empty.db"
        create_empty(empty)
        disk = fsync_times(folder)
        cpu = measure_cpu(empty)
        threads = measure_threads(empty)
    ours, peer = cpu["runlog"], cpu["bare C"]
    key = "cpu_with_close_us"
    claims = [
        compare(
            "SQLite, CPU a row: log_run / bare C",
            per_row(ours, key),
            per_row(peer, key),
            1.4,
            "us",
        ),
        compare(
            "SQLite, rows a second: 16 threads / 1",
            [r["rows_a_second"] for r in threads[str(THREADS)]],
            [r["rows_a_second"] for r in threads["1"]],
            4.0,
            "/s",
            higher_is_better=True,
        ),
    ]
    without_close = median(per_row(ours, "cpu_us")) / median(per_row(peer, "cpu_us"))
    report(
        "sqlite",
        claims,
        {"cpu": cpu, "threads": threads},
        seed=corpus.SEED,
        notes={**disk, "cpu_ratio_without_close": significant(without_close)},
        more_versions={"sqlite": peer[0]["sqlite"]},
    )


if __name__ == "__main__":
    main()
