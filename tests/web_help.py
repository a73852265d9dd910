"""What the tests of the page share: runs that are large, strange or many."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from fixtures_store import Store
from helpers import minimal

HOSTILE = (
    '<script>alert(1)</script>"><img src=x onerror=alert(2)> \'"&amp; {{ 7 * 7 }} '
    "javascript:alert(3) \u202egpj.exe\u202c \u2066x\u2069 \x1b[31m\x07\x00\x08 "
    "\u200b\ufeff\u2028\u2029 مرحبا שלום 你好 👩‍👩‍👧"
)
"""Text that would run, turn the direction of writing, or hide."""


def moment(place: int) -> str:
    """A time some milliseconds after noon."""
    noon = datetime(2026, 11, 30, 12, tzinfo=UTC)
    return (noon + timedelta(milliseconds=place)).isoformat()


def log(node: str, place: int = 0, **fields: Any) -> dict[str, Any]:
    """A node log."""
    return {
        "node": node,
        "status": "completed",
        "step": place + 1,
        "attempt": 1,
        "parent": None,
        "started_at": moment(place * 2),
        "duration_ms": 1.5,
        "inputs": {"n": place},
        "outputs": {"n": place + 1},
        **fields,
    }


def long_run(nodes: int, run_id: str = "long", **fields: Any) -> dict[str, Any]:
    """A run of so many nodes, one after the other."""
    return minimal(
        run_id,
        "loop",
        started_at=moment(0),
        duration_ms=2 * nodes,
        node_logs=[log(f"step {place % 7}", place) for place in range(nodes)],
        **fields,
    )


def hostile_run(run_id: str = "hostile") -> dict[str, Any]:
    """A run with such text in every field."""
    call = {
        "kind": "llm",
        "name": HOSTILE,
        "model": HOSTILE,
        "status": "failed",
        "error_type": HOSTILE,
        "error_text": HOSTILE,
        "messages": [{"type": HOSTILE, "content": HOSTILE, "name": HOSTILE}],
        "outputs": [
            {
                "type": "ai",
                "content": HOSTILE,
                "tool_calls": [{"name": HOSTILE, "args": {HOSTILE: HOSTILE}}],
            }
        ],
    }
    failed = log(
        HOSTILE,
        1,
        status="failed",
        error_type=HOSTILE,
        error_text=HOSTILE,
        error_traceback=f'File "{HOSTILE}", line 1\n  {HOSTILE}',
        outputs={HOSTILE: HOSTILE, "long": "x" * 1_000_000},
        calls=[call],
        events=[{"name": HOSTILE, "data": HOSTILE}],
        parent=HOSTILE,
    )
    return minimal(
        run_id,
        HOSTILE.replace("\x00", ""),
        status="failed",
        thread_id=HOSTILE.replace("\x00", ""),
        error_type=HOSTILE,
        error_text=HOSTILE,
        inputs={HOSTILE: [HOSTILE]},
        outputs={"messages": [{"type": "human", "content": HOSTILE}]},
        metadata={"tags": [HOSTILE], "interrupts": [{"value": HOSTILE}]},
        node_logs=[log(HOSTILE), failed],
        started_at=moment(0),
    )


def form_of(text: str) -> dict[str, str]:
    """The token of a form."""
    found = re.search(r'name="form" value="([^"]+)"', text)
    assert found is not None
    return {"form": found[1]}


_MANY = {
    "sqlite": """
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})
        INSERT INTO workflow_runs
            (id, wpk_id, run_id, status, duration_ms, created_at, updated_at, owner)
        SELECT printf('00000000-0000-4000-8000-%012x', i), 'w' || (i % 20), 'many-' || i,
            CASE WHEN i % 10 THEN 'completed' ELSE 'failed' END, i % 1000,
            strftime('%Y-%m-%dT%H:%M:%f000Z', 1790000000 + i, 'unixepoch'),
            strftime('%Y-%m-%dT%H:%M:%f000Z', 1790000000 + i, 'unixepoch'), NULL FROM n
    """,
    "postgres": """
        INSERT INTO workflow_runs (wpk_id, run_id, status, duration_ms, created_at)
        SELECT 'w' || (i % 20), 'many-' || i,
            CASE WHEN i % 10 = 0 THEN 'failed' ELSE 'completed' END, i % 1000,
            to_timestamp(1790000000 + i) FROM generate_series(0, {last}) AS i
    """,
}


def fill(store: Store, number: int) -> None:
    """Put so many runs without nodes into a store with tables, the newest last."""
    store.query(_MANY[store.kind].format(last=number - 1))
