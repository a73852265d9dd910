"""The views that other tools show: what is in them is what get_run returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures_store import Store
from helpers import minimal

import runlog

ROOT = Path(__file__).resolve().parent.parent
VIEWS = ("runs_v", "nodes_v", "calls_v", "failures_v")
CALL = {"kind": "llm", "name": "model", "status": "completed", "duration_ms": 1.5}
NODES = [
    {"node": "plan", "status": "completed", "step": 1, "attempt": 1, "duration_ms": 2.5},
    {"node": "draft", "status": "failed", "step": 2, "attempt": 1, "error_text": "no"},
    {"node": "draft", "status": "completed", "step": 2, "attempt": 2},
]


def log_agent(recorder: Any) -> None:
    call = CALL | {"tokens": {"input": 7, "output": 3, "total": 10}}
    logs = [NODES[0] | {"calls": [call, CALL | {"name": "other"}]}, *NODES[1:]]
    metadata = {"tokens": {"total": 10}, "llm_calls": 2}
    recorder.log_run(
        minimal("r1", status="failed")
        | {"node_logs": logs, "metadata": metadata, "error_text": "no", "thread_id": "t"}
    )


def test_a_run_has_its_totals(recorder: Any, store: Store) -> None:
    log_agent(recorder)
    rows = store.query("SELECT run_id, status, tokens, llm_calls, thread_id FROM runs_v")
    assert rows == [("r1", "failed", 10, 2, "t")]


def test_each_attempt_of_a_node_is_a_row(recorder: Any, store: Store) -> None:
    log_agent(recorder)
    sql = "SELECT position, node, status, attempt, duration_ms FROM nodes_v ORDER BY 1"
    rows = [(n, *rest[:3], rest[3] and float(rest[3])) for n, *rest in store.query(sql)]
    assert rows == [
        (0, "plan", "completed", 1, 2.5),
        (1, "draft", "failed", 1, None),
        (2, "draft", "completed", 2, None),
    ]


def test_each_call_is_a_row(recorder: Any, store: Store) -> None:
    log_agent(recorder)
    sql = "SELECT position, at, kind, name, tokens_in FROM calls_v ORDER BY 1, 2"
    rows = store.query(sql)
    assert rows == [(0, 0, "llm", "model", 7), (0, 1, "llm", "other", None)]


def test_calls_beside_their_nodes_are_rows(recorder: Any, store: Store) -> None:
    beside = CALL | {"$of": [0, 4]}
    event = {"kind": "event", "name": "e", "$of": [0, 5]}
    recorder.log_run(minimal("r1"))
    sql = "UPDATE workflow_runs SET node_logs = ?" + "::jsonb" * (store.kind != "sqlite")
    store.query(sql, json.dumps([NODES[0], beside, event]))
    assert store.query("SELECT position, at, name FROM calls_v") == [(0, 4, "model")]
    assert store.query("SELECT position, node FROM nodes_v") == [(0, "plan")]


def test_a_failure_says_where(recorder: Any, store: Store) -> None:
    log_agent(recorder)
    recorder.log_run(minimal("r2"))
    recorder.log_run(minimal("r3", status="failed"))
    sql = "SELECT run_id, failed_at, error_text FROM failures_v ORDER BY run_id"
    assert store.query(sql) == [("r1", "draft", "no"), ("r3", None, None)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "logs", [None, [], [1, "x", None, []], [{"calls": 3, "step": "x", "tokens": []}]]
)
def test_node_logs_of_any_form_are_no_error(
    recorder: Any, store: Store, view: str, logs: Any
) -> None:
    """What log_run takes as node logs, and as metadata, is the user's."""
    metadata = {"tokens": "many", "llm_calls": [1]}
    recorder.log_run(
        minimal("r", status="failed") | {"node_logs": logs, "metadata": metadata}
    )
    store.query(f"SELECT * FROM {view}")


@pytest.mark.no_tables
@pytest.mark.parametrize("view", VIEWS)
def test_a_table_of_the_users_with_that_name_stays(store: Store, view: str) -> None:
    if store.kind == "sqlite":
        Path(store.options["sqlite_path"]).touch()
    store.query(f"CREATE TABLE {view} (mine text)")
    store.query(f"INSERT INTO {view} VALUES ('x')")
    with runlog.Recorder(**store.options) as recorder:
        log_agent(recorder)
        assert recorder.get_run("r1") is not None
    assert store.query(f"SELECT * FROM {view}") == [("x",)]


def test_the_queries_for_datasette_run(tmp_path: Path) -> None:
    store = Store("sqlite", {"sqlite_path": str(tmp_path / "runs.db")}, {})
    with runlog.Recorder(**store.options) as recorder:
        log_agent(recorder)
    metadata = json.loads((ROOT / "docs" / "datasette.json").read_text())
    queries = metadata["databases"]["runs"]["queries"]
    values = {":workflow": "'w'", ":run_id": "'r1'", ":thread_id": "'t'"}
    assert len(queries) == 10
    for query in queries.values():
        sql = query["sql"]
        for name, value in values.items():
            sql = sql.replace(name, value)
        assert store.query(sql), sql
