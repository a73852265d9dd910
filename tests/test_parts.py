"""What get_run puts back from a run's parts, on both databases."""

import json
import sqlite3
import uuid
from contextlib import closing
from typing import Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from fixtures_store import Store
from helpers import minimal
from torture.programs import give_away

import runlog

BIG = "0123456789abcdef" * 2
OTHER = "f" * 32
TEXT = 'a "text" of \u00fcnusual \U0001f600 length ' * 500


def mark(name: str = BIG, **more: Any) -> dict[str, Any]:
    return {"$value": name, "bytes": 9, "head": "a ", **more}


def add_part(store: Store, run_id: str, name: str, data: Any) -> None:
    """Give a run a part, as the writer does."""
    store.query(
        "INSERT INTO run_parts (wpk_id, id, name, data, revision) "
        "SELECT wpk_id, id, ?, ?, 1 FROM workflow_runs WHERE run_id = ?",
        name,
        json.dumps(data, ensure_ascii=False, separators=(",", ":")),
        run_id,
    )


def count_parts(store: Store) -> int:
    ((count,),) = store.query("SELECT count(*) FROM run_parts")
    return int(count)


def log_marked(recorder: Any, store: Store, **fields: Any) -> Any:
    recorder.log_run(minimal(**fields))
    add_part(store, "r1", BIG, TEXT)
    return recorder.get_run("r1")


def test_a_value_is_put_back_wherever_its_mark_is(recorder: Any, store: Store) -> None:
    run = log_marked(
        recorder,
        store,
        inputs=mark(),
        outputs={"messages": [mark(), [[mark()]], 1]},
        metadata={"deep": {"er": mark()}},
        node_logs=[{"node": "a", "inputs": {"x": mark()}, "outputs": mark()}],
    )
    assert run["inputs"] == TEXT
    assert run["outputs"] == {"messages": [TEXT, [[TEXT]], 1]}
    assert run["metadata"]["deep"] == {"er": TEXT}
    log = run["node_logs"][0]
    assert (log["inputs"], log["outputs"]) == ({"x": TEXT}, TEXT)
    same = [run["inputs"], run["outputs"]["messages"][0], log["outputs"]]
    assert {id(text) for text in same} == {id(TEXT and run["inputs"])}


@pytest.mark.parametrize(
    "lookalike",
    [
        mark(OTHER),
        mark(more=1),
        mark("n0000000000"),
        mark(""),
        {"$value": BIG},
        {"$value": BIG, "bytes": 9},
        {"$value": [BIG], "bytes": 9, "head": ""},
        {"$value": None, "bytes": 9, "head": ""},
        {"$Value": BIG, "bytes": 9, "head": ""},
        [BIG, 9, "a "],
        BIG,
    ],
)
def test_what_only_looks_like_a_mark_stays(
    recorder: Any, store: Store, lookalike: Any
) -> None:
    run = log_marked(recorder, store, inputs={"x": lookalike}, outputs=mark())
    assert run["inputs"] == {"x": lookalike}
    assert run["outputs"] == TEXT


def test_without_parts_every_mark_stays(recorder: Any) -> None:
    recorder.log_run(minimal(inputs=mark(), node_logs=[{"outputs": mark()}]))
    run = recorder.get_run("r1")
    assert (run["inputs"], run["node_logs"]) == (mark(), [{"outputs": mark()}])


def test_a_value_that_is_not_json_counts_as_missing(recorder: Any, store: Store) -> None:
    log_marked(recorder, store, inputs=[mark(), mark(OTHER)])
    add_part(store, "r1", OTHER, "x")
    for broken in ("", "{", '"', "[}"):
        store.query("UPDATE run_parts SET data = ? WHERE name = ?", broken, OTHER)
        first, second = recorder.get_run("r1")["inputs"]
        assert second == mark(OTHER)
        assert first in (TEXT, mark())


def test_node_parts_are_the_node_logs_of_a_row_without(
    recorder: Any, store: Store
) -> None:
    recorder.log_run(minimal(status="running", inputs={"m": ["a"]}))
    assert recorder.get_run("r1")["node_logs"] is None
    add_part(store, "r1", BIG, TEXT)
    delta = {"since": 0, "append": {"m": ["c"]}, "set": {"x": mark()}}
    add_part(store, "r1", "n0000000010", {"node": "late", "outputs": None})
    add_part(store, "r1", "n0000000001", {"node": "b", "inputs_delta": delta})
    add_part(store, "r1", "n0000000000", {"node": "a", "inputs": {"m": ["a", "b"]}})
    assert recorder.get_run("r1")["node_logs"] == [
        {"node": "a", "inputs": {"m": ["a", "b"]}},
        {"node": "b", "inputs": {"m": ["a", "b", "c"], "x": TEXT}},
        {"node": "late", "outputs": None},
    ]
    assert "node_logs" not in recorder.list_runs().runs[0]


def test_deleted_runs_take_their_parts_along(recorder: Any, store: Store) -> None:
    for run_id in ("r1", "r2", "r3"):
        recorder.log_run(minimal(run_id))
        add_part(store, run_id, BIG, TEXT)
        add_part(store, run_id, "n0000000000", {})
    assert count_parts(store) == 6
    assert recorder.delete_runs(run_id="r2") == 1
    assert count_parts(store) == 4
    store.query("DELETE FROM workflow_runs WHERE run_id = 'r1'")
    assert count_parts(store) == 2
    assert recorder.get_run("r3")["node_logs"] == [{}]
    if store.kind == "postgres":
        store.query("TRUNCATE workflow_runs")
        assert count_parts(store) == 0


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("tables", ["workflow_runs", "workflow_runs, run_parts"])
def test_truncated_runs_take_their_parts_along(
    tables: str, recorder: Any, store: Store
) -> None:
    """Also where the statement names both."""
    log_marked(recorder, store, inputs=mark())
    store.query(f"TRUNCATE {tables}")
    assert (recorder.get_run("r1"), count_parts(store)) == (None, 0)


@pytest.mark.no_tables
def test_a_database_of_before_is_migrated_with_its_rows(store: Store) -> None:
    from runlog.migrations import load

    now = "2026-11-23T18:00:00.123456Z"
    store_dialect = "sqlite" if store.kind == "sqlite" else "postgres"
    create = "CREATE TABLE runlog_migrations (number INTEGER PRIMARY KEY, name TEXT NOT "
    create += "NULL, checksum TEXT NOT NULL, applied_at "
    create += "TEXT)" if store.kind == "sqlite" else "TIMESTAMPTZ)"
    run_script(store, create)
    for number, name, sql, checksum in load(store_dialect)[:5]:
        run_script(store, sql)
        store.query(
            "INSERT INTO runlog_migrations VALUES (?, ?, ?, ?)",
            number,
            name,
            checksum,
            now,
        )
    fields = "id, wpk_id, run_id, status, inputs, node_logs, created_at, updated_at"
    values = (str(uuid.uuid4()), "w", "old", "completed", '{"a":1}', "[]", now, now)
    holes = ", ".join("?" * len(values))
    store.query(f"INSERT INTO workflow_runs ({fields}) VALUES ({holes})", *values)
    if store.kind == "sqlite":
        more = f"{fields}, revision"
        store.query(f"INSERT INTO journal ({more}) VALUES ({holes}, 7)", *values)
    with runlog.Recorder(**store.options) as recorder:
        old: Any = recorder.get_run("old")
        assert (old["inputs"], old["node_logs"]) == ({"a": 1}, [])
        recorder.log_run(minimal())
        assert log_marked(recorder, store, inputs=mark())["inputs"] == TEXT
    ((newest,),) = store.query("SELECT max(number) FROM runlog_migrations")
    assert newest >= 6
    if store.kind == "sqlite":
        rows = store.query("SELECT run_id, parts, parts_use FROM journal")
        assert rows == [("old", None, 0)]


def run_script(store: Store, sql: str) -> None:
    """Run a file of several statements."""
    if store.kind == "sqlite":
        with closing(sqlite3.connect(store.options["sqlite_path"])) as file:
            file.executescript(sql)
    else:
        with psycopg.connect(store.options["postgres_dsn"]) as connection:
            connection.execute(sql)


def test_parts_in_the_journal_reach_the_server(
    postgres_server: PostgresServer, tmp_path: Any
) -> None:
    """A log of before an outage ended, with parts, and one that the server refuses."""
    path = str(tmp_path / "runs.db")
    journal = Store("sqlite", {"sqlite_path": path}, {})
    with runlog.Recorder(postgres_dsn="host=/nowhere", sqlite_path=path) as recorder:
        for run_id in ("r1", "r2", "r3"):
            recorder.log_run(minimal(run_id, inputs=mark()))
    parts = {BIG: "text", "n0000000001": {"b": 1}, "n0000000000": {"a": 1e16}}
    written = json.dumps(parts, separators=(",", ":")).replace("e+", "e")
    journal.query("UPDATE journal SET parts = ?, parts_use = 2", written)
    journal.query("UPDATE journal SET wide_numbers = 1 WHERE run_id = 'r1'")
    journal.query("UPDATE journal SET parts = '{\"a\":' WHERE run_id = 'r3'")
    give_away(path)
    with postgres_server.borrow_database() as name:
        server = Store("postgres", {"postgres_dsn": postgres_server.dsn(name)}, {})
        with runlog.Recorder(**server.options, sqlite_path=path) as recorder:
            recorder.flush()
            assert recorder.stats()["rejected"] == 1
            for run_id in ("r1", "r2"):
                run: Any = recorder.get_run(run_id)
                assert run["inputs"] == "text"
                assert run["node_logs"] == [{"a": 1e16}, {"b": 1}]
                assert type(run["node_logs"][0]["a"]) is (
                    float if run_id == "r1" else int
                )
            assert recorder.get_run("r3") is None
        assert count_parts(server) == 2
        runlog.close()
    rows = journal.query(
        "SELECT run_id, parts, parts_use, sqlstate FROM journal_rejected"
    )
    assert rows == [("r3", '{"a":', 2, "22P02")]
