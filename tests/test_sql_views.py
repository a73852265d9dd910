"""The views that other tools show: what is in them is what get_run returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fixtures_store import Store
from helpers import minimal

import runlog
from runlog.cli import main

ROOT = Path(__file__).resolve().parent.parent
METADATA = ROOT / "docs" / "datasette.json"
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


class Datasette:
    """Datasette on a file, as docs/sql.md starts it, and what it answers."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "datasette", path, "--metadata", METADATA, "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if found := re.search(r"running on (http://\S+)", line):
                self._url = found[1]
                return
        raise AssertionError("".join(said))

    def get(self, path: str, **values: str) -> Any:
        """The JSON at a path."""
        query = urllib.parse.urlencode({"_shape": "array", **values})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self._url}{path}.json?{query}", timeout=60) as answer:
            return json.load(answer)

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()


@pytest.fixture
def datasette(tmp_path: Path) -> Iterator[Datasette]:
    """Datasette on a history that is being recorded."""
    with runlog.Recorder(sqlite_path=tmp_path / "runs.db") as recorder:
        log_agent(recorder)
        made = Datasette(tmp_path / "runs.db")
        try:
            recorder.log_run(minimal("late", "other"))
            yield made
        finally:
            made.close()


def test_datasette_answers_its_queries(datasette: Datasette) -> None:
    queries = json.loads(METADATA.read_text())["databases"]["runs"]["queries"]
    values = {"workflow": "w", "run_id": "r1", "thread_id": "t"}
    assert len(queries) == 10
    for name, query in queries.items():
        asked = {key: values[key] for key in re.findall(r":(\w+)", query["sql"])}
        assert datasette.get(f"/runs/{name}", **asked), name
    newest = datasette.get("/runs/newest_runs")
    assert [row["run_id"] for row in newest] == ["late", "r1"]
    assert {row["node"] for row in datasette.get("/runs/nodes_v")} == {"plan", "draft"}


def test_duckdb_reads_what_the_document_says(tmp_path: Path) -> None:
    """The statements of docs/sql.md, on an export."""
    with runlog.Recorder(sqlite_path=tmp_path / "runs.db") as recorder:
        log_agent(recorder)
        recorder.log_run(minimal("r2", "other", duration_ms=20))
    database = str(tmp_path / "runs.db")
    for kind in ("jsonl", "parquet"):
        to = str(tmp_path / f"runs.{kind}")
        argv = ["export", "--db", database, "--to", to, "--format", kind]
        assert main(argv) == 0
    said = (ROOT / "docs" / "sql.md").read_text().partition("## DuckDB")[2]
    statements = re.findall(r"```sql\n(.*?)```", said, re.DOTALL)[0].split(";\n")
    found = []
    for statement in filter(str.strip, statements):
        asked = statement.replace("'runs.", f"'{tmp_path}/runs.")
        answer = duckdb.sql(asked)
        assert answer is not None, asked
        found.append(answer.fetchall())
    by_workflow, nodes, calls, slowest = found
    assert sorted(by_workflow) == [("other", 1, 0), ("w", 1, 1)]
    assert ("draft", 2, 1) in nodes
    assert sorted(calls) == [("model", 1, 10), ("other", 1, None)]
    assert slowest == [("r2", 20)]
