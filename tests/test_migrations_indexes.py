"""Indexes of a history with many runs: left for later, and built while others write."""

from __future__ import annotations

import json
import os
import signal

import psycopg
import pytest
from cli_help import Cli, cli
from fixtures_store import Store
from helpers import minimal, until
from statements import traced
from test_migrations import make_postgres, make_sqlite

import runlog
from runlog import StoreError

__all__ = ["cli"]
pytestmark = pytest.mark.no_tables

INDEXES = 14
OLD, NEW = "workflow_runs_created_at_idx", "workflow_runs_time_idx"
LARGE = {
    "sqlite": "INSERT INTO workflow_runs (rowid, id, wpk_id, run_id, status, created_at, "
    "updated_at) VALUES (20001, '019a0000-0000-7000-8000-000000000001', 'w', 'r1', "
    "'completed', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z')",
    "postgres": "INSERT INTO workflow_runs (wpk_id, run_id, status, error_text) SELECT "
    "'w', 'r' || n, 'completed', repeat('x', 1900) FROM generate_series(1, 9500) AS n",
}
BUILDING = "SELECT count(*) FROM pg_stat_progress_create_index"
KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index"
BROKEN = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


@pytest.fixture
def large(store: Store) -> Store:
    """A history with many runs, as it was before the indexes."""
    if store.kind == "sqlite":
        make_sqlite(store.options["sqlite_path"], INDEXES - 1)
    else:
        make_postgres(store.options["postgres_dsn"], INDEXES - 1)
    store.query(LARGE[store.kind])
    return store


def applied(store: Store) -> list[int]:
    rows = store.query("SELECT number FROM runlog_migrations ORDER BY number")
    return [number for (number,) in rows]


def indexes(store: Store) -> list[str]:
    """Those of a name that was replaced, or replaces it."""
    table = {"sqlite": "sqlite_master", "postgres": "pg_class"}[store.kind]
    name = {"sqlite": "name", "postgres": "relname"}[store.kind]
    rows = store.query(f"SELECT {name} FROM {table} WHERE {name} IN (?, ?)", OLD, NEW)
    return [found for (found,) in rows]


def is_built(store: Store) -> bool:
    return INDEXES in applied(store) and indexes(store) == [NEW]


def test_a_recorder_leaves_indexes_of_many_runs(
    large: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with runlog.Recorder(**large.options) as recorder:
        recorder.log_run(minimal("new", thread_id="t", status="failed"))
        assert (
            recorder.list_runs(thread_id="t", status="failed").runs[0]["run_id"] == "new"
        )
        assert INDEXES not in applied(large)
        assert applied(large)[-1] > INDEXES  # what came later needs no such indexes
        assert indexes(large) == [OLD]
        assert caplog.text.count("runlog migrate apply") == 1
        recorder._build_indexes()
        assert is_built(large)
        recorder._build_indexes()
        assert len(recorder.list_runs(thread_id="t", status="failed").runs) == 1
    assert applied(large) == list(range(1, len(applied(large)) + 1))


def test_the_command_builds_them(
    large: Store, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in large.env.items():
        monkeypatch.setenv(name, value)
    with runlog.Recorder(**large.options) as recorder:  # applies what is no index
        recorder.list_runs()
    assert cli("list").code == 0
    planned = cli("migrate", "plan", "--json")
    assert [row["number"] for row in json.loads(planned.out)] == [INDEXES]
    assert "will be built while others read and write" in planned.err
    assert cli("migrate", "apply").code == 0
    assert indexes(large) == [NEW]
    assert "nothing to apply" in cli("migrate", "plan").err


def in_child(store: Store) -> int:
    """Have a child build the indexes."""
    pid = os.fork()
    if pid == 0:
        try:
            with runlog.Recorder(**store.options) as recorder:
                recorder._build_indexes()
        finally:
            os._exit(0)
    return pid


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_a_build_that_was_killed_is_begun_again(large: Store) -> None:
    with (
        runlog.Recorder(**large.options) as recorder,
        psycopg.connect(large.options["postgres_dsn"]) as other,
    ):
        recorder.log_run(minimal("before"))
        other.execute(
            "INSERT INTO workflow_runs (wpk_id, run_id, status) VALUES ('o', 'o', 'x')"
        )  # a build waits for its end
        child = in_child(large)
        until(lambda: large.query(BUILDING) == [(1,)])
        recorder.log_run(minimal("meanwhile"))
        meanwhile = "SELECT count(*) FROM workflow_runs WHERE run_id = 'meanwhile'"
        assert large.query(meanwhile) == [(1,)]
        with pytest.raises(StoreError, match="another session builds"):
            recorder._build_indexes()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        large.query(KILL)
        until(lambda: large.query(BUILDING) == [(0,)])
        assert large.query(BROKEN) == [(1,)]
        other.rollback()
        recorder._build_indexes()
        assert large.query(BROKEN) == [(0,)]
        assert is_built(large)


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_file_whose_builder_was_killed(large: Store, at: int) -> None:
    """After each of the statements."""
    pid = os.fork()
    if pid == 0:
        seen = []

        def done(sql: str) -> None:
            seen.append(sql) if "INDEX" in sql else None
            if len(seen) > at:
                os.kill(os.getpid(), signal.SIGKILL)

        with (
            traced(large.options["sqlite_path"], done),
            runlog.Recorder(**large.options) as recorder,
        ):
            recorder._build_indexes()
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert INDEXES not in applied(large)
    with runlog.Recorder(**large.options) as recorder:
        recorder._build_indexes()
    assert is_built(large)
    assert large.query("PRAGMA integrity_check") == [("ok",)]
