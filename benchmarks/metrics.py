"""Metrics: CPU of a scrape of a million runs, by the parts that it has.

The history has 20 workflows of 12 nodes in a SQLite file. The runs are copies of some
that were recorded, and their roll-up is counted before the scrapes are measured. Between
scrapes further runs are recorded, as a scrape counts what is new.

Arguments: how many runs (1000000), a multiple of a thousand.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from common import Claim, compare, cpu_seconds, report, scratch, set_up, significant
from prometheus_client import CollectorRegistry, generate_latest

import runlog
from runlog.metrics import collector

WORKFLOWS, NODES = 20, 12
RECORDED = 1_000
ROUNDS = 7
SCRAPES = 5
NEW = 100
"""Runs that are recorded between two scrapes."""
LIMIT_MS = 50.0

COPY = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO workflow_runs (id, wpk_id, run_id, status, duration_ms, error_type,
        error_text, node_logs, started_at, created_at, updated_at)
    SELECT printf('00000000-0000-4000-8000-%012x', i * 100000 + workflow_runs.rowid),
        wpk_id, run_id || '-' || i, status, duration_ms, error_type, error_text,
        node_logs, started_at,
        strftime('%Y-%m-%dT%H:%M:%f000Z', created_at, '-' || i || ' minutes'), updated_at
    FROM workflow_runs, n
"""


def run(number: int, name: str) -> dict[str, Any]:
    """A run of twelve nodes, of which one in ten failed."""
    failed = number % 10 == 0
    logs = [
        {
            "node": f"node {place}",
            "status": "failed" if failed and place == NODES - 1 else "completed",
            "step": place + 1,
            "attempt": 1,
            "duration_ms": 3 + (number * 37 + place * 101) % 4000,
        }
        for place in range(NODES)
    ]
    return {
        "wpk_id": f"workflow {number % WORKFLOWS}",
        "run_id": f"{name}-{number}",
        "status": "failed" if failed else "completed",
        "duration_ms": 50 + number * 7919 % 60_000,
        "error_type": f"Error{number % 70}" if failed else None,
        "error_text": "it failed" if failed else None,
        "node_logs": logs,
    }


def fill(recorder: runlog.Recorder, path: Path, runs: int) -> float:
    """Record and copy the runs, count them, and return the CPU of that count."""
    for number in range(RECORDED):
        recorder.log_run(run(number, "first"))
    with closing(sqlite3.connect(path)) as connection:
        if runs > RECORDED:
            connection.execute(COPY, (runs // RECORDED - 1,))
        connection.commit()
    before = cpu_seconds()
    while recorder.rollup_totals(wait=60).waiting:
        pass
    return cpu_seconds() - before


def measure(work: Callable[[], object], times: int = SCRAPES) -> float:
    """Milliseconds of CPU of some work, of all threads."""
    before = cpu_seconds()
    for _ in range(times):
        work()
    return significant((cpu_seconds() - before) / times * 1e3)


def main() -> None:
    set_up()
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = []
    with scratch("metrics") as folder:
        path = folder / "runs.db"
        with runlog.Recorder(sqlite_path=str(path), durability="journal") as recorder:
            counted = fill(recorder, path, runs)
            registry = CollectorRegistry()
            ours = collector(recorder)
            registry.register(ours)
            text = generate_latest(registry)
            for number in range(ROUNDS):
                begun = time.perf_counter()
                generate_latest(registry)
                wall = significant((time.perf_counter() - begun) * 1e3)
                rounds.append(
                    {
                        "totals": measure(lambda: recorder.rollup_totals(wait=0)),
                        "collect": measure(lambda: list(ours.collect())),
                        "scrape": measure(lambda: generate_latest(registry)),
                        "wall": wall,
                    }
                )
                for more in range(NEW):
                    recorder.log_run(run(more, f"round {number}"))
                rounds[-1]["with_new"] = measure(lambda: generate_latest(registry), 1)

    def claim(name: str, key: str, limit: float) -> Claim:
        found = [one[key] for one in rounds]
        return compare(name, found, [0.0] * ROUNDS, limit, "ms", relation="difference")

    claims = [
        claim("CPU of a scrape", "scrape", LIMIT_MS),
        claim("CPU of a scrape, 100 new runs to count", "with_new", 2 * LIMIT_MS),
    ]
    notes = {
        "runs": runs,
        "lines": text.count(b"\n"),
        "cpu_s_of_the_first_count": significant(counted),
    }
    report("metrics", claims, json.loads(json.dumps({"rounds": rounds})), notes=notes)


if __name__ == "__main__":
    main()
