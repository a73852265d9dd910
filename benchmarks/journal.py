"""The journal: log_run while the server is unavailable, and the cost of forwarding.

1. CPU per row of log_run with the server unavailable (POSTGRES_DSN names a socket without
   a listener), encoding included, against bare_sqlite.c: the same insert into the journal
   with the JSON ready-made, synchronous=FULL on both sides, including the close. The same
   for commit alone, with runs that were encoded outside the clock.
2. Forwarding: one recorder fills a journal while the server is unavailable, then another
   connects. Rows per second, and CPU per row of client and server together, until flush()
   returns True, against bare_libpq.c in pipeline mode, 100 rows per transaction. Both
   include the connecting.
3. The 99th percentile of log_run with the server unavailable over that with it up, one
   thread at full speed, with the default durability (store).
"""

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import bare
import corpus
import psycopg
from common import (
    alternate,
    compare,
    cpu_seconds,
    per_row,
    report,
    scratch,
    set_up,
    significant,
)
from pgserver import PORT, Server, dsn, postgres
from workload import (
    Record,
    create_empty,
    fresh_copy,
    recorder_round,
    run_records,
)

from runlog._runlog import Recorder

TABLE = "journal"
ROWS = 2400
WARM_UP = 40
CPU_ROUNDS = 9
CPU_SECONDS = 40.0
ROUND_SECONDS = 5.0
FORWARDED = 4000
BATCH = 100
FORWARD_ROUNDS = 9
FORWARD_SECONDS = 50.0
FLUSH_SECONDS = 30.0
CALLS = 2000
CALL_ROUNDS = 9
CALL_SECONDS = 30.0


def away(folder: Path, path: Path) -> dict[str, Any]:
    """Options of a recorder with that journal whose server does not answer."""
    return {"postgres_dsn": dsn(folder / "nobody"), "sqlite_path": str(path)}


@contextmanager
def unreachable(server: Server) -> Iterator[dict[str, Any]]:
    """Options of a recorder for this server, which nobody can connect to meanwhile.

    A run in a journal is for the database that its recorder was given, and no other one.
    """
    socket = server.folder / f".s.PGSQL.{PORT}"
    aside = socket.with_name("aside")
    socket.rename(aside)
    try:
        yield {"postgres_dsn": server.dsn}
    finally:
        aside.rename(socket)


def fill(options: dict[str, Any], records: Sequence[Record]) -> None:
    """Put the records into the journal, as fast as possible."""
    with Recorder(**options, durability="journal") as recorder:
        for record in records:
            recorder.log_run(record)
    with closing(sqlite3.connect(options["sqlite_path"])) as database:
        waiting = database.execute(f"SELECT count(*) FROM {TABLE}").fetchone()[0]
    if waiting != len(records):
        raise SystemExit(f"{waiting} of {len(records)} runs wait in the journal")


def measure_cpu(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rounds of the C program and of log_run, alternated."""
    empty = folder / "empty.db"
    create_empty(empty)
    records = run_records(WARM_UP + ROWS)
    program = bare.build("bare_sqlite")
    rows = folder / "rows.bin"
    with fresh_copy(empty) as path:
        fill(away(folder, path), records)
        columns = bare.bound_columns(program, TABLE)
        bare.write_rows(rows, bare.stored_rows(path, TABLE, columns))
    raw: dict[str, list[dict[str, Any]]] = {"runlog": [], "bare C": [], "commit": []}

    def measure(side: str, _: int) -> float:
        with fresh_copy(empty) as path:
            if side != "bare C":
                measured = recorder_round(
                    away(folder, path),
                    records,
                    WARM_UP,
                    ROUND_SECONDS,
                    encoded=side == "commit",
                )
            else:
                measured = bare.run(program, TABLE, path, rows, WARM_UP, ROUND_SECONDS)
        raw[side].append(measured)
        return float(measured["cpu_with_close_us"] / measured["rows"])

    alternate(list(raw), measure, CPU_ROUNDS, CPU_SECONDS)
    return raw


def drain(server: Server, path: Path, count: int) -> dict[str, Any]:
    """Forward a journal that an earlier recorder left."""
    wall, cpu = time.monotonic(), cpu_seconds()
    with Recorder(postgres_dsn=server.dsn, sqlite_path=str(path)) as recorder:
        if not recorder.flush(FLUSH_SECONDS):
            raise SystemExit(f"not forwarded in {FLUSH_SECONDS} s: {recorder.stats()}")
        spent, used = time.monotonic() - wall, cpu_seconds() - cpu
        waiting = recorder.stats()["waiting"]
    forwarded = recorder.stats()["forwarded"]
    if forwarded != count or waiting != 0:
        raise SystemExit(f"of {count} runs {forwarded} were forwarded, {waiting} wait")
    return {
        "rows": count,
        "cpu_with_connect_us": round(used * 1e6),
        "wall_with_connect_us": round(spent * 1e6),
    }


def count_rows(server: Server, prefix: str) -> int:
    with psycopg.connect(server.dsn) as connection:
        query = "SELECT count(*) FROM workflow_runs WHERE run_id LIKE %s"
        row = connection.execute(query, [f"{prefix}-%"]).fetchone()
    return int(row[0]) if row else 0


def measure_forwarding(server: Server, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rounds of bare libpq's pipeline and of forwarding, alternated."""
    empty = folder / "empty.db"
    program = bare.build("bare_libpq")
    columns = bare.bound_columns(program)
    rows = folder / "rows.bin"
    raw: dict[str, list[dict[str, Any]]] = {"runlog": [], "bare C": []}

    def measure(side: str, number: int) -> float:
        prefix = f"forward-{side}-{number}"
        with fresh_copy(empty) as path:
            with unreachable(server) as options:
                records = run_records(FORWARDED, prefix)
                fill({**options, "sqlite_path": str(path)}, records)
            if side == "bare C":
                found = bare.stored_rows(path, TABLE, columns)
                bare.write_rows(rows, bare.for_libpq(columns, found))
            before = server.cpu_seconds()
            if side == "bare C":
                measured = bare.run(
                    program, "pipeline", server.dsn, rows, BATCH, FLUSH_SECONDS
                )
            else:
                measured = drain(server, path, FORWARDED)
            spent = (server.cpu_seconds() - before) * 1e6
        if (stored := count_rows(server, prefix)) != FORWARDED:
            raise SystemExit(f"{side}: {stored} of {FORWARDED} rows are there")
        measured["server_us"] = round(spent)
        measured["both_us"] = round(measured["cpu_with_connect_us"] + spent)
        raw[side].append(measured)
        return float(measured["wall_with_connect_us"] / measured["rows"])

    alternate(list(raw), measure, FORWARD_ROUNDS, FORWARD_SECONDS)
    return raw


def call_times(options: dict[str, Any], records: Sequence[Record]) -> list[float]:
    """Microseconds of each call, without the warm-up."""
    times: list[float] = []
    with Recorder(**options) as recorder:
        for record in records[:WARM_UP]:
            recorder.log_run(record)
        for record in records[WARM_UP:]:
            start = time.perf_counter()
            recorder.log_run(record)
            times.append((time.perf_counter() - start) * 1e6)
    return times


def measure_latency(server: Server, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rounds of single calls with the server up and unavailable, alternated."""
    empty = folder / "empty.db"
    raw: dict[str, list[dict[str, Any]]] = {"away": [], "up": []}

    def measure(side: str, number: int) -> float:
        records = run_records(WARM_UP + CALLS, f"call-{side}-{number}")
        with fresh_copy(empty) as path:
            options = away(folder, path)
            if side == "up":
                options["postgres_dsn"] = server.dsn
            times = call_times(options, records)
        percentiles = quantiles(times, n=100)
        raw[side].append(
            {
                "p50_us": significant(percentiles[49]),
                "p99_us": significant(percentiles[98]),
                "max_us": significant(max(times)),
            }
        )
        return percentiles[98]

    alternate(list(raw), measure, CALL_ROUNDS, CALL_SECONDS)
    return raw


def rate(rounds: Sequence[dict[str, Any]]) -> list[float]:
    return [significant(r["rows"] / r["wall_with_connect_us"] * 1e6) for r in rounds]


def medians(raw: dict[str, list[dict[str, Any]]], keys: Sequence[str]) -> dict[str, Any]:
    """The median of each key on each side, per row if the rounds have rows."""
    return {
        side: {
            key: significant(median(r[key] / r.get("rows", 1) for r in rounds))
            for key in keys
        }
        for side, rounds in raw.items()
    }


def main() -> None:
    set_up()
    logging.getLogger("runlog").setLevel(logging.ERROR)  # the outages are known
    with postgres() as server, scratch("journal") as folder:
        cpu = measure_cpu(folder)
        forwarding = measure_forwarding(server, folder)
        calls = measure_latency(server, folder)
    claims = [
        compare(
            "journal, CPU a row: log_run / bare C",
            per_row(cpu["runlog"], "cpu_with_close_us"),
            per_row(cpu["bare C"], "cpu_with_close_us"),
            1.3,
            "us",
        ),
        compare(
            "journal, CPU a row: commit of an encoded run / bare C",
            per_row(cpu["commit"], "cpu_with_close_us"),
            per_row(cpu["bare C"], "cpu_with_close_us"),
            1.3,
            "us",
        ),
        compare(
            "forwarding, rows a second: runlog / bare C",
            rate(forwarding["runlog"]),
            rate(forwarding["bare C"]),
            0.8,
            "/s",
            higher_is_better=True,
        ),
        compare(
            "forwarding, CPU a row, server included: runlog / bare C",
            per_row(forwarding["runlog"], "both_us"),
            per_row(forwarding["bare C"], "both_us"),
            1 / 0.8,
            "us",
        ),
        compare(
            "log_run, 99th percentile: server away / up",
            [r["p99_us"] for r in calls["away"]],
            [r["p99_us"] for r in calls["up"]],
            2.0,
            "us",
        ),
    ]
    report(
        "journal",
        claims,
        {"cpu": cpu, "forwarding": forwarding, "calls": calls},
        seed=corpus.SEED,
        notes={
            "journal_us_a_row": medians(cpu, ["cpu_us", "wall_us"]),
            "forwarding_us_a_row": medians(
                forwarding, ["cpu_with_connect_us", "server_us"]
            ),
            "calls": medians(calls, ["p50_us", "p99_us", "max_us"]),
        },
    )


if __name__ == "__main__":
    main()
