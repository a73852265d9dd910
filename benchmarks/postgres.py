"""log_run on PostgreSQL: the client's CPU a row, and what sixteen threads gain.

1. Client CPU a row, encoding included, one thread, one commit a row, against psycopg 3:
   the same statement on the same table over the same socket, autocommit, prepared by
   psycopg itself, json.dumps for each payload. psycopg leaves id, created_at and
   updated_at to the server's defaults, which is in its favour.
2. Rows a second of sixteen threads against one, wall time.

The server is started for this, and its own CPU a row noted; it is the limit of both.
"""

import json
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import corpus
import psycopg
from common import alternate, compare, cpu_seconds, report, set_up, significant
from pgserver import Server, postgres
from workload import Record, rows_a_second, run_records

from runlog._runlog import Recorder

ROWS = 600
WARM_UP = 30
CPU_ROUNDS = 7
CPU_SECONDS = 35.0
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
    """What a program would bind: JSON text for the payloads, the rest as it is."""
    return [
        json.dumps(record[column]) if column in PAYLOADS else record[column]
        for column in COLUMNS
    ]


def runlog_round(dsn: str, records: Sequence[Record]) -> dict[str, Any]:
    """Rows through log_run, each its own commit since one thread alone waits for it."""
    with Recorder(postgres_dsn=dsn, durability="store") as recorder:
        for record in records[:WARM_UP]:
            recorder.log_run(record)
        return timed(recorder.log_run, records[WARM_UP:])


def psycopg_round(dsn: str, records: Sequence[Record]) -> dict[str, Any]:
    """The same rows through psycopg, after it has prepared the statement."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.cursor()

        def insert(record: Record) -> None:
            cursor.execute(UPSERT, parameters(record))

        for record in records[:WARM_UP]:
            insert(record)
        return timed(insert, records[WARM_UP:])


def timed(insert: Any, records: Sequence[Record]) -> dict[str, Any]:
    """Client CPU and wall time of the rows, as many as fit in a round."""
    done = 0
    wall, cpu = time.monotonic(), cpu_seconds()
    for record in records:
        if time.monotonic() - wall >= ROUND_SECONDS:
            break
        insert(record)
        done += 1
    used, spent = cpu_seconds() - cpu, time.monotonic() - wall
    return {
        "rows": done,
        "cpu_us_a_row": significant(used / done * 1e6),
        "rows_a_second": significant(done / spent),
    }


def check_rows(dsn: str, records: Sequence[Record]) -> None:
    """Both sides must have stored the same payloads, or the times compare nothing."""
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


def measure_cpu(server: Server) -> dict[str, list[dict[str, Any]]]:
    """Rounds of psycopg and of log_run, alternated, in one thread."""
    raw: dict[str, list[dict[str, Any]]] = {"runlog": [], "psycopg": []}
    rounds = {"runlog": runlog_round, "psycopg": psycopg_round}

    def measure(side: str, number: int) -> float:
        records = run_records(WARM_UP + ROWS, f"cpu-{side}-{number}")
        before = server.cpu_seconds()
        measured = rounds[side](server.dsn, records)
        spent = server.cpu_seconds() - before
        measured["server_us_a_row"] = significant(
            spent / (measured["rows"] + WARM_UP) * 1e6
        )
        raw[side].append(measured)
        return float(measured["cpu_us_a_row"])

    alternate(list(raw), measure, CPU_ROUNDS, CPU_SECONDS)
    return raw


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
        threads = measure_threads(server)

    def column(rounds: Sequence[dict[str, Any]], key: str) -> list[float]:
        return [measured[key] for measured in rounds]

    claims = [
        compare(
            "PostgreSQL, client CPU a row: log_run / psycopg",
            column(cpu["runlog"], "cpu_us_a_row"),
            column(cpu["psycopg"], "cpu_us_a_row"),
            1 / 3,
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
    server_cpu = {
        name: median(column(rounds, "server_us_a_row"))
        for name, rounds in (("one by one", threads["1"]), ("16 threads", threads["16"]))
    }
    report(
        "postgres",
        claims,
        {"cpu": cpu, "threads": threads},
        seed=corpus.SEED,
        notes={"server_us_a_row": server_cpu},
        versions={
            "postgresql": version,
            "psycopg_libpq": psycopg.pq.version(),
            "psycopg_implementation": psycopg.pq.__impl__,
        },
    )


if __name__ == "__main__":
    main()
