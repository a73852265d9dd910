"""Many runs, made by SQL in the database: quicker than to record them."""

from __future__ import annotations

from typing import Any

from helpers import minimal

import runlog

STATUSES = ("completed",) * 16 + ("failed", "failed", "interrupted", "cancelled")
"""The statuses of twenty runs that follow one another."""
_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM "
    "numbers WHERE n + 1 < {runs}) ",
    "postgres": "WITH numbers (n) AS (SELECT generate_series(0, {runs} - 1)) ",
}
_VALUES = {
    "sqlite": {
        "id": "printf('00000000-0000-7000-8000-%012x', n)",
        "time": "strftime('%Y-%m-%dT%H:%M:%f', '2026-01-01', n || ' seconds') || '000Z'",
        "node_logs": '\'[{"node":"a"},{"node":"rare\' || (n / 1000) || \'"}]\'',
    },
    "postgres": {
        "id": "('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
        "time": "timestamptz '2026-01-01 00:00:00Z' + n * interval '1 second'",
        "node_logs": "jsonb_build_array(jsonb_build_object('node', 'a'), "
        "jsonb_build_object('node', 'rare' || (n / 1000)))",
    },
}
TOTALS = '{"totals":{"nodes":2,"at":"a"},"tokens":{"total":7}}'


def make_runs(store: Any, runs: int) -> None:
    """Make so many runs, "r0" the oldest, one a second from 2026 on.

    Workflows "w0" to "w9" and threads "t0" to "t99" take turns. Failed ones have a
    KeyError, and each thousand a node of its own.
    """
    with runlog.Recorder(**store.options) as recorder:  # makes the tables
        recorder.log_run(minimal())
        recorder.delete_runs(run_id="r1")
    values = _VALUES[store.kind]
    status = " ".join(
        f"WHEN {place} THEN '{one}'"
        for place, one in enumerate(STATUSES)
        if one != "completed"
    )
    status = f"CASE n % {len(STATUSES)} {status} ELSE 'completed' END"
    failed = f"CASE WHEN {status} = 'failed' THEN"
    store.query(
        f"INSERT INTO workflow_runs (id, wpk_id, run_id, status, duration_ms, thread_id, "
        f"error_type, error_text, created_at, updated_at, node_logs, metadata) "
        f"{_NUMBERS[store.kind].format(runs=runs)}"
        f"SELECT {values['id']}, 'w' || (n % 10), 'r' || n, {status}, n % 1000, "
        f"'t' || (n % 100), {failed} 'KeyError' END, {failed} 'price ' || n END, "
        f"{values['time']}, {values['time']}, {values['node_logs']}, '{TOTALS}' "
        f"FROM numbers"
    )
