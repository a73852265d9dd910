"""Lists of runs and counts of runs in a long history: how long each takes.

log_run records 20,000 runs with totals, as graphs have them. The others are copies that
SQL makes inside the table, with ids and times of their own, in the order of time: 50
workflows by Zipf's law, 5 % failed with 30 types of errors, 1 % interrupted, 70 % with a
thread, ten nodes and 5 KB a run. Each query is timed several times after a first one in a
process that has the database open; commands are processes.

Arguments: how many runs on SQLite and on PostgreSQL (200000 50000).
"""

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from common import (
    Claim,
    compare,
    cpu_seconds,
    report,
    scratch,
    set_up,
    significant,
)
from pgserver import postgres

from runlog import Recorder

SEED = 15
RECORDED = 20_000
"""Runs that log_run records; the others are their copies."""
DAYS = 60
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = 7
"""How often each query is timed; the median counts."""
PAGE_MS = 50.0
"""The most that a page may take."""
COMMAND_MS = 150.0
COMMAND = "import sys; from runlog.cli import main; sys.exit(main())"
NODES = ["fetch", "rank", "draft", "check", "send"]


def run(rng: random.Random, number: int, total: int) -> dict[str, Any]:
    """A run with ten nodes, of 5 KB of JSON; `total` of them fill the sixty days."""
    kind = rng.random()
    status = "failed" if kind < 0.05 else "interrupted" if kind < 0.06 else "completed"
    moment = FIRST + timedelta(seconds=number * DAYS * 86_400 / total)
    workflow = int(50 ** rng.random())
    logs = [
        {
            "node": NODES[n % 5] if n else f"begin{workflow}",
            "status": "completed" if n < 9 or status == "completed" else status,
            "step": n + 1,
            "attempt": 1,
            "inputs": {"text": f"{number}: " + "word " * 40},
            "outputs": {"text": "answer " * 20},
            "duration_ms": round(rng.expovariate(0.01), 3),
        }
        for n in range(10)
    ]
    made: dict[str, Any] = {
        "wpk_id": f"workflow-{workflow}",
        "run_id": f"run-{number}",
        "status": status,
        "duration_ms": int(rng.expovariate(0.001)),
        "created_at": moment,
        "thread_id": f"thread-{number % 1000}" if rng.random() < 0.7 else None,
        "inputs": {"question": f"What is {number}?"},
        "outputs": {"text": "answer " * 20} if status == "completed" else None,
        "node_logs": logs,
        "metadata": {
            "user": f"u{number % 97}",
            "tags": ["nightly"] if number % 500 == 0 else [],
            "llm_calls": 3,
            "tokens": {"input": 900, "output": 100, "total": 1000},
            "totals": {"nodes": 10, **({"at": "send"} if status != "completed" else {})},
        },
    }
    if status == "failed":
        made["error_type"] = f"Error{int(30 ** rng.random())}"
        made["error_text"] = f"order {number} has no price"
    return made


SQLITE_COPY = """
INSERT INTO workflow_runs (id, wpk_id, run_id, status, duration_ms, thread_id, error_type,
    error_text, created_at, updated_at, inputs, outputs, node_logs, metadata, revision)
SELECT substr(id, 1, 24) || printf('%012x', :copy * 1000000 + rowid), wpk_id,
    run_id || '-' || :copy, status, duration_ms, thread_id, error_type, error_text,
    strftime('%Y-%m-%dT%H:%M:%f', created_at, :shift || ' seconds') || '000Z',
    updated_at, inputs, outputs, node_logs, metadata, revision
FROM workflow_runs WHERE rowid <= :recorded ORDER BY created_at
"""
POSTGRES_COPY = """
INSERT INTO workflow_runs (id, wpk_id, run_id, status, duration_ms, thread_id, error_type,
    error_text, created_at, updated_at, inputs, outputs, node_logs, metadata, revision)
SELECT gen_random_uuid(), wpk_id, run_id || '-' || %(copy)s, status, duration_ms,
    thread_id, error_type, error_text, created_at + %(shift)s * interval '1 second',
    updated_at, inputs, outputs, node_logs, metadata, revision
FROM workflow_runs WHERE run_id !~ '-.*-' ORDER BY created_at
"""


def record(recorder: Recorder, runs: int) -> int:
    """Record the runs that are copied; return how many copies are to be made."""
    rng = random.Random(SEED)
    recorded = min(RECORDED, runs)
    for number in range(recorded):
        recorder.log_run(run(rng, number, runs))
    return runs // recorded - 1


def fill_sqlite(
    path: str, runs: int, prepare: Callable[[str], None] | None = None
) -> None:
    """Fill a file; the copies, made after `prepare`, follow one another in time."""
    with Recorder(sqlite_path=path, durability="journal", words=False) as recorder:
        copies = record(recorder, runs)
    if prepare is not None:
        prepare(path)
    span = DAYS * 86_400 * min(RECORDED, runs) / runs
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        last = "SELECT max(rowid) FROM workflow_runs"
        (recorded,) = connection.execute(last).fetchone()
        for copy in range(1, copies + 1):
            values = {"copy": copy, "shift": f"{copy * span:.3f}", "recorded": recorded}
            connection.execute(SQLITE_COPY, values)
            connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_postgres(dsn: str, path: str, runs: int) -> None:
    """The same on PostgreSQL."""
    with Recorder(postgres_dsn=dsn, sqlite_path=path, words=False) as recorder:
        copies = record(recorder, runs)
        recorder.flush()
    span = DAYS * 86_400 * min(RECORDED, runs) / runs
    with psycopg.connect(dsn, autocommit=True) as connection:
        for copy in range(1, copies + 1):
            values = {"copy": str(copy), "shift": copy * span}
            connection.execute(POSTGRES_COPY, values)
        connection.execute("VACUUM ANALYZE")


def cases(recorder: Any, runs: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The queries by name."""
    middle = FIRST + timedelta(days=DAYS / 2)
    deep = recorder.list_runs(until=middle, limit=1).next
    month = {"since": middle, "until": middle + timedelta(days=10)}
    filters: dict[str, dict[str, Any]] = {
        "first page": {},
        f"page behind {runs // 2:,} runs": {"after": deep},
        "workflow of a fifth": {"wpk_id": "workflow-1"},
        "the same, deep": {"wpk_id": "workflow-1", "after": deep},
        "failed": {"status": "failed"},
        "failed or interrupted": {"status": ["failed", "interrupted"]},
        "failed, lost or running, deep": {
            "status": ["failed", "lost", "running"],
            "after": deep,
        },
        "a small workflow, failed": {"wpk_id": "workflow-49", "status": "failed"},
        "no such workflow, failed": {"wpk_id": "none", "status": "failed"},
        "workflow, interrupted, deep": {
            "wpk_id": "workflow-1",
            "status": "interrupted",
            "after": deep,
        },
        "workflow, cancelled (none)": {"wpk_id": "workflow-1", "status": "cancelled"},
        "thread": {"thread_id": "thread-7"},
        "thread, failed": {"thread_id": "thread-7", "status": "failed"},
        "thread of another workflow": {"thread_id": "thread-7", "wpk_id": "none"},
        "ten days": month,
        "ten days, failed": {**month, "status": "failed"},
        "ten days, workflow": {**month, "wpk_id": "workflow-49"},
        "until, deep": {"until": FIRST + timedelta(days=DAYS), "after": deep},
        "error, frequent": {"error": "error2"},
        "error, rare": {"error": "order 77 has"},
        "error, none": {"error": "no such error"},
        "error, workflow": {"error": "no such error", "wpk_id": "workflow-1"},
        "error, failed": {"error": "no such error", "status": "failed"},
        "node, frequent": {"node": "draft"},
        "node, rare": {"node": "begin49"},
        "node, none": {"node": "nothing"},
        "node, failed, deep": {"node": "nothing", "status": "failed", "after": deep},
        "tag": {"tag": "nightly"},
        "tag, none": {"tag": "weekly"},
        "metadata, none": {"metadata": {"user": "nobody"}},
    }
    for name, given in filters.items():
        yield name, partial(recorder.list_runs, **given)
    counted: dict[str, dict[str, Any]] = {
        "count": {},
        "count of a workflow": {"wpk_id": "workflow-1"},
        "count of ten days": month,
        "count by error": {"error": "no such error"},
    }
    for name, given in counted.items():
        yield f"{name}, 60 spans", partial(recorder.count_runs, **given, spans=60)


Times = dict[str, dict[str, list[float]]]
"""Milliseconds of wall time ("wall") and CPU time ("cpu") of each query or command."""


def time_queries(recorder: Any, runs: int) -> Times:
    """Time each query several times. The CPU time is that of this process."""
    found: Times = {}
    for name, query in cases(recorder, runs):
        query()
        times = found[name] = {"wall": [], "cpu": []}
        for _ in range(TIMES):
            start, used = time.perf_counter(), cpu_seconds()
            query()
            times["wall"].append(significant((time.perf_counter() - start) * 1000))
            times["cpu"].append(significant((cpu_seconds() - used) * 1000))
    return found


def time_commands(place: str) -> Times:
    """The same of commands as processes."""
    commands = {
        "runlog list": ["list"],
        "runlog list --status failed": ["list", "--status", "failed"],
        "runlog list --error": ["list", "--error", "no such error"],
        "runlog list --node": ["list", "--node", "nothing"],
        "runlog show": ["show", "-"],
        "runlog stats": ["stats"],
        "runlog errors": ["errors"],
    }
    found: Times = {}
    with Path(os.devnull).open("wb") as null:
        for name, argv in commands.items():
            times = found[name] = {"wall": [], "cpu": []}
            line = [sys.executable, "-c", COMMAND, *argv, "--db", place]
            for _ in range(TIMES):
                start = time.perf_counter()
                child = subprocess.Popen(line, stdout=null, stderr=null)
                _, status, used = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
                if child.returncode != 0:
                    raise SystemExit(f"{name} ended with status {child.returncode}")
                cpu = used.ru_utime + used.ru_stime
                times["wall"].append(significant((time.perf_counter() - start) * 1000))
                times["cpu"].append(significant(cpu * 1000))
    return found


def limit(name: str, spent: list[float], most: float) -> Claim:
    """Milliseconds against their limit."""
    return compare(name, spent, [0.0] * TIMES, most, "ms", relation="difference")


def slowest(store: str, queries: Times) -> Claim:
    """The slowest page against its limit."""
    pages = [name for name in queries if not name.startswith("count")]
    name = max(pages, key=lambda name: median(queries[name]["wall"]))
    return limit(f"the slowest page on {store} ({name})", queries[name]["wall"], PAGE_MS)


def main() -> None:
    """Measure, and print JSON."""
    set_up()
    on_sqlite = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    on_postgres = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    raw: dict[str, Any] = {}
    claims: list[Claim] = []
    with scratch("runlog-lists-") as folder:
        path = str(folder / "runs.db")
        fill_sqlite(path, on_sqlite)
        with Recorder(sqlite_path=path, words=False) as recorder:
            raw["sqlite"] = time_queries(recorder, on_sqlite)
        claims.append(slowest("SQLite", raw["sqlite"]))
        raw["commands"] = time_commands(path)
        listed = raw["commands"]["runlog list"]["wall"]
        claims.append(limit("runlog list", listed, COMMAND_MS))
        Path(path).unlink()
        if on_postgres > 0:
            with postgres() as server:
                fill_postgres(server.dsn, str(folder / "journal.db"), on_postgres)
                options: Any = {"postgres_dsn": server.dsn, "words": False}
                options["sqlite_path"] = str(folder / "journal.db")
                with Recorder(**options) as recorder:
                    raw["postgres"] = time_queries(recorder, on_postgres)
            claims.append(slowest("PostgreSQL", raw["postgres"]))
    medians = {
        store: {
            name: {kind: median(times[kind]) for kind in times}
            for name, times in found.items()
        }
        for store, found in raw.items()
    }
    report("lists", claims, raw, seed=SEED, notes={"milliseconds": medians})


if __name__ == "__main__":
    main()
