"""log_run on SQLite with disk durability: CPU a row, and what sixteen threads gain.

1. Client CPU a row, encoding included, against bare_sqlite.c: the same statement on the
   same schema with the JSON ready-made. Both sides are timed up to and with the close,
   which moves the rest of the WAL into the file, whoever does it and when.
2. Rows a second of sixteen threads against one, wall time: one fsync for many rows. How
   long the disk takes for an fsync is measured beside it.

Every round starts from a copy of the same empty database, made by runlog.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from struct import pack
from typing import Any

import corpus
from common import (
    BUILD,
    ROOT,
    alternate,
    compare,
    cpu_seconds,
    report,
    scratch,
    set_up,
    significant,
)
from workload import Record, rows_a_second, run_records

from runlog._runlog import Recorder

ROWS = 1200
WARM_UP = 40
CPU_ROUNDS = 7
CPU_SECONDS = 40.0
THREADS = 16
THREAD_ROUNDS = 11
THREAD_SECONDS = 30.0
ROUND_SECONDS = 3.0
FSYNCS = 300


def pkg_config(option: str, fallback: list[str]) -> list[str]:
    try:
        done = subprocess.run(
            ["pkg-config", option, "sqlite3"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return fallback
    return done.stdout.split()


def build_bare(folder: Path) -> Path:
    """Compile bare_sqlite.c with the C compiler at hand."""
    program = folder / "bare_sqlite"
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = [
        *(compiler.split() if shutil.which(compiler.split()[0]) else ["cc"]),
        *("-std=c11", "-O2", "-Wall", "-Wextra", f"-I{ROOT / 'src'}"),
        *pkg_config("--cflags", []),
        *(str(Path(__file__).with_name("bare_sqlite.c")), "-o", str(program)),
        *pkg_config("--libs", ["-lsqlite3"]),
    ]
    subprocess.run(command, check=True)
    return program


def create_empty(path: Path) -> None:
    """Let runlog make the file with its schema, and leave it without a WAL."""
    with Recorder(sqlite_path=str(path), durability="disk") as recorder:
        recorder.get_runs_by_wpk_id("none")
    with sqlite3.connect(path) as database:
        mode = database.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            raise SystemExit(f"runlog's file is in journal mode {mode}, not WAL")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def field(value: Any) -> bytes:
    """One value as bare_sqlite.c reads it."""
    if value is None:
        return b"n" + pack("=I", 0)
    if isinstance(value, int):
        return b"i" + pack("=Iq", 8, value)
    if isinstance(value, float):
        return b"f" + pack("=Id", 8, value)
    kind, data = (b"t", value.encode()) if isinstance(value, str) else (b"b", value)
    return kind + pack("=I", len(data)) + data


def write_rows(program: Path, database_path: Path, target: Path) -> None:
    """Take the rows that runlog wrote, in the order in which the statement binds them.

    So both sides store the very same bytes, of the same SQLite types.
    """
    done = subprocess.run([program, "--sql"], capture_output=True, text=True, check=True)
    match = re.search(r"INSERT INTO workflow_runs ?\(([^)]*)\)", done.stdout)
    if match is None:
        raise SystemExit("the statement of sqlite_sql.h names no columns")
    columns = ", ".join(name.strip() for name in match[1].split(","))
    database = sqlite3.connect(database_path)
    with target.open("wb") as out:
        for row in database.execute(
            f"SELECT {columns} FROM workflow_runs ORDER BY rowid"
        ):
            out.write(b"".join(field(value) for value in row))
    database.close()


@contextmanager
def fresh_copy(empty: Path) -> Iterator[Path]:
    """A copy of the empty database, removed with its WAL after the round."""
    path = empty.with_name("round.db")
    shutil.copyfile(empty, path)
    try:
        yield path
    finally:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def bare_round(program: Path, path: Path, rows: Path) -> dict[str, Any]:
    """One run of the C program."""
    command = [str(program), str(path), str(rows), str(WARM_UP), str(ROUND_SECONDS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip() or f"{program.name}: {done.returncode}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def runlog_round(path: Path, records: Sequence[Record]) -> dict[str, Any]:
    """The same rows through log_run."""
    done = 0
    with Recorder(sqlite_path=str(path), durability="disk") as recorder:
        for record in records[:WARM_UP]:
            recorder.log_run(record)
        wall, cpu = time.monotonic(), cpu_seconds()
        for record in records[WARM_UP:]:
            if time.monotonic() - wall >= ROUND_SECONDS:
                break
            recorder.log_run(record)
            done += 1
        cpu_rows, wall_rows = cpu_seconds() - cpu, time.monotonic() - wall
    return {
        "rows": done,
        "cpu_us": round(cpu_rows * 1e6),
        "wall_us": round(wall_rows * 1e6),
        "cpu_with_close_us": round((cpu_seconds() - cpu) * 1e6),
    }


def fsync_times(folder: Path) -> dict[str, float]:
    """How long the disk takes to acknowledge 8 KB, in milliseconds."""
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
    program = build_bare(BUILD)
    rows = empty.with_name("rows.bin")
    with fresh_copy(empty) as path:
        with Recorder(sqlite_path=str(path), durability="journal") as recorder:
            for record in records:
                recorder.log_run(record)
        write_rows(program, path, rows)
    raw: dict[str, list[dict[str, Any]]] = {"runlog": [], "bare C": []}

    def measure(side: str, _: int) -> float:
        with fresh_copy(empty) as path:
            if side == "runlog":
                measured = runlog_round(path, records)
            else:
                measured = bare_round(program, path, rows)
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


def per_row(rounds: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [significant(measured[key] / measured["rows"]) for measured in rounds]


def main() -> None:
    set_up()
    with scratch("sqlite") as folder:
        empty = folder / "empty.db"
        create_empty(empty)
        disk = fsync_times(folder)
        cpu = measure_cpu(empty)
        threads = measure_threads(empty)
    ours, bare = cpu["runlog"], cpu["bare C"]
    key = "cpu_with_close_us"
    claims = [
        compare(
            "SQLite, CPU a row: log_run / bare C",
            per_row(ours, key),
            per_row(bare, key),
            1.3,
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
    without_close = median(per_row(ours, "cpu_us")) / median(per_row(bare, "cpu_us"))
    report(
        "sqlite",
        claims,
        {"cpu": cpu, "threads": threads},
        seed=corpus.SEED,
        notes={**disk, "cpu_ratio_without_close": significant(without_close)},
        versions={"sqlite": bare[0]["sqlite"]},
    )


if __name__ == "__main__":
    main()
