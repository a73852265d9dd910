"""log_run on PostgreSQL: the client's CPU, bare libpq's time, and sixteen threads.

1. Client CPU per row, encoding included, one thread, one commit per row, against
   psycopg 3: the same statement on the same table over the same socket, autocommit,
   prepared by psycopg itself, json.dumps for each payload. psycopg leaves id,
   created_at and updated_at to the server's defaults, which is in its favour.
2. Wall time per row, and CPU time of client and server together, against bare_libpq.c:
   the same statement prepared once, with the JSON ready-made, one commit per row. Both
   sides write new rows into the same table.
3. Rows per second of sixteen threads against one, wall time.

The script starts the server, and notes its CPU per row, which bounds both sides.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import bare
import corpus
import psycopg
from common import (
    alternate,
    compare,
    per_row,
    report,
    scratch,
    set_up,
    significant,
)
from pgserver import Server, postgres
from workload import Record, one_by_one, recorder_round, rows_a_second, run_records

from runlog._runlog import Recorder

ROWS = 600
WARM_UP = 30
CPU_ROUNDS = 7
CPU_SECONDS = 35.0
BARE_ROWS = 1200  # the server's CPU time is told in hundredths of a second
BARE_ROUNDS = 15
BARE_SECONDS = 40.0
THREADS = 16
THREAD_ROUNDS = 9
THREAD_SECONDS = 35.0
ROUND_SECONDS = 3.0

COLUMNS = [
    *("wpk_id", "run_id", "inputs", "outputs", "status", "duration_ms", "node_logs"),
    *("thread_id", "error_type", "error_text", "metadata", "started_at"),
]
PAYLOADS = {"inputs", "outputs", "node_logs", "metadata"}
KEPT = ", ".join(f"{c} = EXCLUDED.{c}" for c in COLUMNS if c not in ("wpk_id", "run_id"))
UPSERT = (
    f"INSERT INTO workflow_runs ({', '.join(COLUMNS)}) "
    f"VALUES ({', '.join(['%s'] * len(COLUMNS))}) "
    f"ON CONFLICT (wpk_id, run_id) DO UPDATE SET {KEPT}, updated_at = now()"
)


def parameters(record: Record) -> list[Any]:
    """The values that a program binds: JSON text for the payloads, others unchanged."""
    return [
        json.dumps(record[column]) if column in PAYLOADS else record[column]
        for column in COLUMNS
    ]


def runlog_round(dsn: str, records: Sequence[Record]) -> dict[str, Any]:
    """Write rows with log_run; one thread alone makes one commit per row."""
    options = {"postgres_dsn": dsn, "durability": "store"}
    return recorder_round(options, records, WARM_UP, ROUND_SECONDS)


def psycopg_round(dsn: str, records: Sequence[Record]) -> dict[str, Any]:
    """Write the same rows with psycopg, after it has prepared the statement."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.cursor()

        def insert(record: Record) -> None:
            cursor.execute(UPSERT, parameters(record))

        for record in records[:WARM_UP]:
            insert(record)
        return one_by_one(insert, records[WARM_UP:], ROUND_SECONDS)


def check_rows(dsn: str, records: Sequence[Record]) -> None:
    """Check that both sides stored the same payloads; else their times say nothing."""
    sample = records[:3]
    with Recorder(postgres_dsn=dsn, durability="store") as recorder:
        for record in sample:
            recorder.log_run({**record, "run_id": f"check-{record['run_id']}"})
    with psycopg.connect(dsn, autocommit=True) as connection:
        listed = ", ".join(COLUMNS[2:])
        query = f"SELECT {listed} FROM workflow_runs WHERE run_id = %s"
        for record in sample:
            connection.execute(UPSERT, parameters(record))
            names = (record["run_id"], f"check-{record['run_id']}")
            rows = [connection.execute(query, [name]).fetchone() for name in names]
            if rows[0] is None or rows[0] != rows[1]:
                raise SystemExit(f"the sides stored different rows: {rows}")


def note_server(server: Server, before: float, measured: dict[str, Any]) -> None:
    """Add to a round the server's CPU time per row, alone and with the client's."""
    rows = measured["rows"] + WARM_UP
    spent = (server.cpu_seconds() - before) / rows * 1e6
    measured["server_us_a_row"] = significant(spent)
    client = measured["cpu_us"] / measured["rows"]
    measured["both_us_a_row"] = significant(client + spent)


def measure_cpu(server: Server) -> dict[str, list[dict[str, Any]]]:
    """Rounds of psycopg and of log_run, alternated, in one thread."""
    raw: dict[str, list[dict[str, Any]]] = {"runlog": [], "psycopg": []}
    rounds = {"runlog": runlog_round, "psycopg": psycopg_round}

    def measure(side: str, number: int) -> float:
        records = run_records(WARM_UP + ROWS, f"cpu-{side}-{number}")
        before = server.cpu_seconds()
        measured = rounds[side](server.dsn, records)
        note_server(server, before, measured)
        raw[side].append(measured)
        return float(measured["cpu_us"] / measured["rows"])

    alternate(list(raw), measure, CPU_ROUNDS, CPU_SECONDS)
    return raw


def bare_rows(program: Path, records: Sequence[Record], folder: Path) -> Path:
    """A file of the records as bare_libpq reads them, encoded by runlog."""
    source, target = folder / "source.db", folder / "rows.bin"
    with Recorder(sqlite_path=str(source), durability="journal") as recorder:
        for record in records:
            recorder.log_run(record)
    columns = bare.bound_columns(program)
    rows = bare.stored_rows(source, "workflow_runs", columns)
    bare.write_rows(target, bare.for_libpq(columns, rows))
    for suffix in ("", "-wal", "-shm"):
        source.with_name(source.name + suffix).unlink(missing_ok=True)
    return target


def measure_bare(server: Server, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rounds of bare libpq and of log_run, alternated, in one thread."""
    program = bare.build("bare_libpq")
    raw: dict[str, list[dict[str, Any]]] = {"runlog": [], "bare C": []}

    def measure(side: str, number: int) -> float:
        records = run_records(WARM_UP + BARE_ROWS, f"bare-{side}-{number}")
        rows = bare_rows(program, records, folder) if side == "bare C" else None
        before = server.cpu_seconds()
        if rows is None:
            measured = runlog_round(server.dsn, records)
        else:
            measured = bare.run(
                program, "single", server.dsn, rows, WARM_UP, ROUND_SECONDS
            )
        note_server(server, before, measured)
        raw[side].append(measured)
        return float(measured["wall_us"] / measured["rows"])

    alternate(list(raw), measure, BARE_ROUNDS, BARE_SECONDS)
    check_bare(server.dsn)
    return raw


def check_bare(dsn: str) -> None:
    """Check that bare libpq and log_run stored the same payloads."""
    query = (
        "SELECT count(*), count(*) FILTER (WHERE a.inputs = b.inputs "
        "AND a.outputs = b.outputs AND a.node_logs = b.node_logs "
        "AND a.metadata = b.metadata AND a.started_at = b.started_at) "
        "FROM workflow_runs a JOIN workflow_runs b ON a.wpk_id = b.wpk_id "
        "AND b.run_id = 'bare-bare C-' || substr(a.run_id, 13) "
        "WHERE a.run_id LIKE 'bare-runlog-0-%'"
    )
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
    if row is None or row[0] < WARM_UP or row[0] != row[1]:
        raise SystemExit(f"bare libpq and log_run stored different rows: {row}")


def measure_threads(server: Server) -> dict[str, list[dict[str, Any]]]:
    """Rounds of one thread and of sixteen, alternated."""
    raw: dict[str, list[dict[str, Any]]] = {"1": [], str(THREADS): []}

    def measure(side: str, number: int) -> float:
        threads = int(side)
        records = run_records(
            threads * (100 if threads > 1 else 400), f"{threads}-{number}"
        )
        with Recorder(postgres_dsn=server.dsn, durability="store") as recorder:
            recorder.log_run({**records[0], "run_id": f"warm-up-{threads}-{number}"})
            before = server.cpu_seconds()
            measured = rows_a_second(recorder, records, threads, ROUND_SECONDS)
            measured["largest_commit"] = recorder.stats()["largest_commit"]
        # After the close, so that the back ends that ended are counted too.
        spent = server.cpu_seconds() - before
        measured["server_us_a_row"] = significant(spent / measured["rows"] * 1e6)
        raw[side].append(measured)
        return float(measured["rows_a_second"])

    alternate(list(raw), measure, THREAD_ROUNDS, THREAD_SECONDS)
    return raw


def main() -> None:
    set_up()
    with postgres() as server:
        check_rows(server.dsn, run_records(3, "peer"))
        with psycopg.connect(server.dsn) as connection:
            version = connection.info.parameter_status("server_version")
        cpu = measure_cpu(server)
        with scratch("postgres") as folder:
            single = measure_bare(server, folder)
        threads = measure_threads(server)

    def column(rounds: Sequence[dict[str, Any]], key: str) -> list[float]:
        return [measured[key] for measured in rounds]

    claims = [
        compare(
            "PostgreSQL, client CPU a row: log_run / psycopg",
            per_row(cpu["runlog"], "cpu_us"),
            per_row(cpu["psycopg"], "cpu_us"),
            1 / 3,
            "us",
        ),
        compare(
            "PostgreSQL, wall time a row: log_run / bare C",
            per_row(single["runlog"], "wall_us"),
            per_row(single["bare C"], "wall_us"),
            1.15,
            "us",
        ),
        compare(
            "PostgreSQL, CPU a row, server included: log_run / bare C",
            column(single["runlog"], "both_us_a_row"),
            column(single["bare C"], "both_us_a_row"),
            1.15,
            "us",
        ),
        compare(
            "PostgreSQL, rows a second: 16 threads / 1",
            column(threads[str(THREADS)], "rows_a_second"),
            column(threads["1"], "rows_a_second"),
            5.0,
            "/s",
            higher_is_better=True,
        ),
    ]
    by_name = (
        *(("one by one", threads["1"]), ("16 threads", threads["16"])),
        *(("bare, runlog", single["runlog"]), ("bare, bare C", single["bare C"])),
    )
    server_cpu = {
        name: median(column(rounds, "server_us_a_row")) for name, rounds in by_name
    }
    client_cpu = {name: median(per_row(single[name], "cpu_us")) for name in single}
    report(
        "postgres",
        claims,
        {"cpu": cpu, "bare": single, "threads": threads},
        seed=corpus.SEED,
        notes={"server_us_a_row": server_cpu, "client_us_a_row": client_cpu},
        more_versions={
            "postgresql": version,
            "psycopg_libpq": psycopg.pq.version(),
            "psycopg_implementation": psycopg.pq.__impl__,
        },
    )


if __name__ == "__main__":
    main()
