"""What reads cost at 100,000 runs: the plan of each statement, and what it reads."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from fixtures_postgres import PostgresServer
from fixtures_store import Store
from statements import PostgresStatements, SQLiteStatements, Statement, explained, traced

import runlog

RUNS = 100_000
T0 = datetime(2026, 1, 1, tzinfo=UTC)
MIDDLE = T0 + timedelta(seconds=RUNS // 2)
LOOKED_THROUGH = 2500
"""How many runs a page with `error` or `node` looks through."""

# The greatest workflow has 22 %, "w3" to "w49" have 1.4 % each. 5 % failed, 1 % was
# interrupted; some are running, half of these lost. Of ten runs seven have a thread.
FILL = """
INSERT INTO workflow_runs (id, wpk_id, run_id, status, duration_ms, thread_id, error_type,
    error_text, created_at, updated_at, node_logs, metadata, owner, revision)
WITH {numbers},
random AS (SELECT n, (n * 2654435761) % 4294967296 / 65536 AS a,
    (n * 2246822519) % 4294967296 / 65536 AS b, (n * 3266489917) % 4294967296 / 65536 AS c
    FROM numbers),
run AS (SELECT n, b, 'w' || CASE WHEN a % 1000 < 220 THEN 1 WHEN a % 1000 < 350 THEN 2
    ELSE 3 + a % 47 END AS wpk_id, 't' || CASE WHEN c % 10 < 7 THEN c END AS thread_id,
    CASE WHEN b % 100 < 5 THEN 'failed' WHEN b % 100 = 5 THEN 'interrupted'
    WHEN b % 2000 < 8 THEN 'running' ELSE 'completed' END AS status FROM random)
SELECT {id}, wpk_id, 'r' || n, status, b % 9000, thread_id,
    CASE WHEN status = 'failed' THEN 'Error' || b % 30 END,
    CASE WHEN status = 'failed' THEN 'order ' || n || ' has no price' END, {time}, {time},
    '[{{"node":"fetch"}},{{"node":"rank","outputs":"{padding}"}}]',
    CASE WHEN n % 500 = 0 THEN '{{"tags":["nightly"],"user":"u1"}}' ELSE '{{}}' END{json},
    CASE WHEN status = 'running' AND b % 2 = 0 THEN 'gone 1 1 -' END, n FROM run
"""
DIALECTS = {
    "sqlite": {
        "numbers": "RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM "
        f"numbers WHERE n + 1 < {RUNS})",
        "id": "printf('00000000-0000-4000-8000-%012x', (n * 2654435761) % 4294967296)",
        "time": "strftime('%Y-%m-%dT%H:%M:%f', '2026-01-01', n || ' seconds') || '000Z'",
        "json": "",
    },
    "postgres": {
        "numbers": f"numbers (n) AS (SELECT generate_series(0::bigint, {RUNS - 1}))",
        "id": "('00000000-0000-4000-8000-' || "
        "lpad(to_hex((n * 2654435761) % 4294967296), 12, '0'))::uuid",
        "time": "timestamptz '2026-01-01 00:00:00Z' + n * interval '1 second'",
        "json": "::jsonb",
    },
}
PARTS = (
    "INSERT INTO run_parts SELECT wpk_id, id, 'n0000000001', '{}', 1 FROM workflow_runs "
    "WHERE status <> 'completed'"
)
SILENT = {
    "sqlite": "INSERT INTO runlog_owners VALUES ('gone 1 1 -', 1)",
    "postgres": "INSERT INTO runlog_owners VALUES ('gone 1 1 -', '2020-01-01')",
}


@dataclass
class History:
    """A long history, and what is executed for the reads of a recorder on it."""

    store: Store
    recorder: Any
    statements: SQLiteStatements | PostgresStatements

    def read(self, call: Callable[[], object]) -> list[Statement]:
        """The statements of a call."""
        self.statements.take()
        call()
        return self.statements.take()


def fill(store: Store) -> None:
    """Make the runs; the newest is a second before the end."""
    with runlog.Recorder(**store.options, words=False) as recorder:
        recorder.list_runs()  # makes the tables
    if store.kind == "postgres":
        store.query("ALTER TABLE workflow_runs SET (autovacuum_enabled = off)")
    store.query(FILL.format(**DIALECTS[store.kind], padding="word " * 40))
    store.query(PARTS)
    store.query(SILENT[store.kind])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def history(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[History]:
    """The history, on PostgreSQL as it is before ANALYZE."""
    path = str(tmp_path_factory.mktemp("plans") / "runs.db")
    options: dict[str, Any] = {"sqlite_path": path}
    with ExitStack() as stack:
        if request.param == "postgres":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            name = server.create_database()
            stack.callback(server.drop_database, name)
            options["postgres_dsn"] = server.dsn(name)
        store = Store(request.param, options, {})
        fill(store)
        told = (
            stack.enter_context(traced(path))
            if request.param == "sqlite"
            else stack.enter_context(explained(server, name))
        )
        recorder = stack.enter_context(runlog.Recorder(**options, words=False))
        yield History(store, recorder, told)


FILTERS: dict[str, list[Any]] = {
    "wpk_id": ["w1", "w7", "none"],
    "status": ["failed", "completed", "running", "lost", "cancelled", ["failed", "lost"]],
    "thread_id": ["t17", "none"],
    "error": ["order 77 has", "no such error"],
    "node": ["rank", "nothing"],
    "tag": ["nightly"],
    "metadata": [{"user": "nobody"}],
    "since": [T0 + timedelta(hours=3)],
    "until": [T0 + timedelta(hours=26)],
}
SEARCHES = {"error", "node", "tag", "metadata"}


def combined(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """All values of so many filters together."""
    return [
        dict(zip(names, values, strict=True))
        for size in sizes
        for names in itertools.combinations(FILTERS, size)
        for values in itertools.product(*(FILTERS[name] for name in names))
    ]


def is_cheap(history: History, done: Statement, rows: int, sorts: bool = False) -> bool:
    """Whether a statement reads indexes, about so many runs, and sorts none."""
    if "workflow_runs" not in done.sql:  # who is silent: a row for each process
        return True
    if history.store.kind == "postgres":  # a short list, as of one thread, may be sorted
        scans = [step for step in done.plan if "Seq Scan" in step]
        return scans in ([], ["Seq Scan run_parts"]) and done.read <= rows  # it is empty
    return (
        done.read <= 400 + 60 * rows
        and all("INDEX" in step for step in done.plan if "workflow_runs" in step)
        and (sorts or not any("TEMP B-TREE" in step for step in done.plan))
    )


PITFALLS: list[dict[str, Any]] = [
    {"node": "nothing", "since": T0},  # SQLite went on behind the last run, to `since`
    {"wpk_id": "none", "status": "failed"},
    {"thread_id": "t17", "status": "failed"},
    {"thread_id": "t17", "wpk_id": "w1"},
    {"thread_id": "t17", "wpk_id": "w1", "status": "failed"},
    {"wpk_id": "w1", "status": "completed"},
    {"wpk_id": "w1", "tag": "nightly"},
    {"wpk_id": "w1", "until": MIDDLE},
]
"""Filters for which planners would take another index, with or without statistics."""


def check_pages(history: History, cases: list[dict[str, Any]]) -> None:
    """Of the first page and a deep one, each statement is cheap."""
    wrong = []
    deep = history.recorder.list_runs(until=MIDDLE, limit=1).next
    for filters, after in itertools.product(cases, (None, deep)):
        call = partial(history.recorder.list_runs, **filters, after=after)
        for done in history.read(call):
            rows = 220
            if SEARCHES & filters.keys():  # PostgreSQL's bitmaps count a run twice, too
                rows = 4 * LOOKED_THROUGH + 100
            if history.store.kind == "postgres" and filters.get("wpk_id") == "w1":
                rows *= 6  # it may read all runs in order, as each fifth is one of these
            if not is_cheap(history, done, rows):
                wrong.append(f"{filters}, {after}: {done}")
    assert not wrong, "\n".join(wrong)


def check_without_statistics(history: History) -> None:
    """Before PostgreSQL has analyzed the table, pages of one filter are as cheap; those
    that search read no more than the runs of a workflow.
    """
    deep = history.recorder.list_runs(until=MIDDLE, limit=1).next
    for filters, after in itertools.product(combined((0, 1)), (None, deep)):
        call = partial(history.recorder.list_runs, **filters, after=after)
        for done in history.read(call):
            rows = RUNS // 2 if SEARCHES & filters.keys() else 220
            assert is_cheap(history, done, rows), (filters, after, done)


@pytest.fixture
def analyzed(history: History) -> History:
    """The history as it soon is, as PostgreSQL analyzes a table that has grown."""
    if history.store.kind == "postgres":
        history.store.query("ANALYZE")
    return history


def test_pages_read_an_index(history: History, request: pytest.FixtureRequest) -> None:
    if history.store.kind == "postgres":
        check_without_statistics(history)
    check_pages(request.getfixturevalue("analyzed"), combined((0, 1)) + PITFALLS)


@pytest.mark.long
def test_pages_of_two_filters_read_an_index(analyzed: History) -> None:
    check_pages(analyzed, combined((2,)))


def reads(recorder: Any) -> dict[str, tuple[Callable[[], object], int]]:
    """Reads that are no pages, and how many rows the greatest statement of each reads."""
    day = {"since": MIDDLE, "until": MIDDLE + timedelta(hours=1)}
    some = [row["id"] for row in recorder.list_runs(limit=100).runs]
    names = json.dumps([f"w{n}" for n in range(1, 50)])
    return {
        "get_run": (partial(recorder.get_run, "r77"), 10),
        "get_run of a workflow": (partial(recorder.get_run, "r77", "w1"), 10),
        "get_run of none": (partial(recorder.get_run, "none"), 10),
        "list_runs of an id": (partial(recorder.list_runs, run_id="r77"), 10),
        "list_runs of an id of none": (partial(recorder.list_runs, run_id="none"), 10),
        "get_runs_by_wpk_id": (partial(recorder.get_runs_by_wpk_id, "w7"), 40),
        "its offset": (partial(recorder.get_runs_by_wpk_id, "w7", 20, 900), 3000),
        "get_thread": (partial(recorder.get_thread, "t17"), 40),
        "export": (partial(recorder._whole_runs, some), 240),
        "gauges": (partial(recorder._gauges, names), 450),
        "count of an hour": (partial(recorder.count_runs, **day, spans=4), 4500),
        "count of a thread": (partial(recorder.count_runs, thread_id="t17"), 700),
        "count with an error": (partial(recorder.count_runs, error="none"), 5100),
        "count with a tag": (partial(recorder.count_runs, tag="none"), 5100),
        "deletion of none": (partial(recorder.delete_runs, wpk_id="none"), 10),
        "deletion of a thread": (partial(recorder.delete_runs, thread_id="t99"), 60),
        "deletion of a tag": (
            partial(recorder.delete_runs, thread_id="t98", tag="none"),
            60,
        ),
        "deletion of old ones": (
            partial(recorder.delete_runs, before=T0 + timedelta(minutes=1)),
            250,
        ),
    }


def test_other_reads_read_an_index(analyzed: History) -> None:
    wrong = [
        f"{name}: {done}"
        for name, (call, rows) in reads(analyzed.recorder).items()
        for done in analyzed.read(call)
        if not is_cheap(analyzed, done, rows, sorts=True)
    ]
    assert not wrong, "\n".join(wrong)


def test_each_index_serves_a_statement(analyzed: History) -> None:
    """None is there for nothing: what it costs a run is in docs/schema.md."""
    recorder = analyzed.recorder
    calls = [call for call, _ in reads(recorder).values()]
    calls += [partial(recorder.list_runs, **filters) for filters in combined((0, 1))]
    calls += [
        partial(recorder.list_runs, status="failed", **more)
        for more in ({"wpk_id": "w7"}, {"thread_id": "t17"})
    ]
    calls.append(
        partial(recorder.log_run, {"wpk_id": "w", "run_id": "r", "status": "completed"})
    )
    used = {
        index
        for call in calls
        for done in analyzed.read(call)
        for index in done.indexes()
    }
    names = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index' "
        "AND tbl_name = 'workflow_runs'",
        "postgres": "SELECT indexname FROM pg_indexes WHERE tablename = 'workflow_runs'",
    }
    there = {name for (name,) in analyzed.store.query(names[analyzed.store.kind])}
    # What is new since is read by the companions; a name is looked for by every write.
    unseen = {"workflow_runs_logged_txid_idx", "workflow_runs_wpk_id_run_id_key"}
    unseen.add("sqlite_autoindex_workflow_runs_2")
    assert there - used - unseen == set()
