"""The index of words: who fills it, when, and what a death leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from fixtures_search import search
from fixtures_store import Store
from helpers import minimal, until
from stopwatch import Stopwatch
from test_words import find, names

import runlog
from runlog import migrations

if TYPE_CHECKING:
    from conftest import RunPython

WRITER = """
import sys, runlog
first, count = int(sys.argv[1]), int(sys.argv[2])
with runlog.Recorder() as recorder:
    for number in range(first, first + count):
        text = f"tea number{number} " + "of many words " * 50
        recorder.log_run({"wpk_id": "w", "run_id": f"r{number}", "status": "completed",
                          "inputs": {"text": text}})
    print("logged", flush=True)
    sys.stdin.read()
"""


def start(store: Store, *args: object, **env: str) -> subprocess.Popen[str]:
    """A process that logs runs, indexes them, and waits."""
    command = [sys.executable, "-c", WRITER, *map(str, args)]
    return subprocess.Popen(
        command,
        env=os.environ | store.env | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def indexed(store: Store) -> int:
    """How many runs are in the index."""
    if store.kind == "sqlite":
        table = "SELECT count(*) FROM sqlite_master WHERE name = 'run_words_text'"
        if store.query(table) == [(0,)]:
            return 0
        ((count,),) = store.query("SELECT position FROM run_words")
    else:
        ((count,),) = store.query("SELECT count(*) FROM run_words")
    return int(count)


def test_it_is_filled_in_the_background(recorder: runlog.Recorder, store: Store) -> None:
    for number in range(10):
        recorder.log_run(minimal(f"r{number}", inputs={"text": "tea"}))
    until(lambda: indexed(store) == 10)


@pytest.mark.long_with("postgres")
def test_a_process_that_is_killed_while_it_indexes(store: Store) -> None:
    """The next one goes on: every run is found, and none twice."""
    with runlog.Recorder(**store.options, words=False) as recorder:
        recorder.list_runs()
    for number in range(4):
        process = start(store, number * 500, 500)
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
        until(lambda before=number * 500: indexed(store) > before)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with runlog.Recorder(**store.options) as recorder:
        assert len(search(recorder, "tea", limit=1000)) == 1000
        for number in (0, 499, 500, 1234, 1999):
            assert find(recorder, f"number{number}") == [f"r{number}"]
    if store.kind == "sqlite":
        with closing(sqlite3.connect(store.options["sqlite_path"])) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            check = (
                "INSERT INTO run_words_text (run_words_text) VALUES ('integrity-check')"
            )
            connection.execute(check)
        count = "SELECT count(*) FROM run_words_text WHERE run_words_text MATCH 'tea'"
        assert store.query(count) == [(2000,)]


def test_several_processes_share_the_work(store: Store) -> None:
    with runlog.Recorder(**store.options, words=False) as recorder:
        recorder.list_runs()
    processes = [start(store, number * 300, 300) for number in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
    until(lambda: indexed(store) == 900)
    for process in processes:
        process.communicate("")
        assert process.returncode == 0
    with runlog.Recorder(**store.options, words=False) as recorder:
        for number in (0, 299, 300, 600, 899):
            assert find(recorder, f"number{number}") == [f"r{number}"]
        assert len(recorder.search_runs("tea", by="words", limit=1000)) == 900


def test_a_forked_child_indexes(store: Store) -> None:
    recorder = runlog.Recorder(**store.options)
    recorder.log_run(minimal("parent", inputs={"text": "tea"}))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            recorder.log_run(minimal("child", inputs={"text": "tea"}))
            hits = search(recorder, "tea")
            status = 0 if names(hits) == ["child", "parent"] else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert find(recorder, "tea") == ["child", "parent"]
    recorder.close()


def test_an_open_run(recorder: runlog.Recorder, store: Store) -> None:
    """It is indexed at once, then when it has become older, and when it has ended."""
    owner = "somebody else"
    recorder.log_run(minimal(status="running", owner=owner, inputs={"text": "begun"}))
    assert find(recorder, "begun") == ["r1"]
    recorder.log_run(minimal(status="running", owner=owner, outputs={"text": "half"}))
    hits = recorder.search_runs("begun", by="words")
    assert (names(hits), hits.waiting) == (["r1"], 1)
    assert names(recorder.search_runs("half", by="words")) == []
    recorder.log_run(minimal(status="completed", outputs={"text": "done"}))
    assert find(recorder, "begun done") == ["r1"]
    assert find(recorder, "half") == []


@pytest.mark.long
def test_an_open_run_that_goes_on(recorder: runlog.Recorder) -> None:
    """What was left for later is indexed later, also if the run never ends."""
    recorder.log_run(minimal(status="running", inputs={"text": "begun"}))
    assert find(recorder, "begun") == ["r1"]
    recorder.log_run(minimal(status="running", outputs={"text": "half"}))
    until(lambda: names(recorder.search_runs("half", by="words")) == ["r1"])
    assert find(recorder, "begun half") == ["r1"]


@pytest.mark.no_tables
def test_runs_from_before_the_migration(store: Store, tmp_path: Path) -> None:
    """A database of migration 008 with rows: they become indexed."""
    known = migrations.load(store.kind)[:8]
    now = "2026-11-23T18:00:00.123456Z"
    insert = (
        "INSERT INTO workflow_runs (id, wpk_id, run_id, status, inputs, created_at, "
        "updated_at, revision) VALUES (?, 'w', ?, 'completed', ?, ?, ?, 1)"
    )
    record = (
        "CREATE TABLE runlog_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, "
        "checksum TEXT NOT NULL, applied_at TEXT DEFAULT 'then')"
    )
    for sql in (*(migration[2] for migration in known), record):
        execute(store, sql)
    for number, name, _, checksum in known:
        add = "INSERT INTO runlog_migrations (number, name, checksum) VALUES (?, ?, ?)"
        store.query(add, number, name, checksum)
    for number in range(20):
        key = f"00000000-0000-7000-8000-{number:012}"
        inputs = f'{{"text": "tea number{number}"}}'
        store.query(insert, key, f"r{number}", inputs, now, now)
    with runlog.Recorder(**store.options) as recorder:
        assert len(find(recorder, "tea")) == 20
        assert find(recorder, "number7") == ["r7"]


def execute(store: Store, sql: str) -> None:
    """Run several statements."""
    if store.kind == "sqlite":
        with closing(sqlite3.connect(store.options["sqlite_path"])) as connection:
            connection.executescript(sql)
    else:
        with psycopg.connect(
            store.options["postgres_dsn"], autocommit=True
        ) as connection:
            connection.execute(sql.encode())


def test_an_open_transaction_is_waited_for(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """A run whose transaction began first and commits last is not missed."""
    with postgres_server.borrow_tables() as name:
        dsn = postgres_server.dsn(name)
        with runlog.Recorder(postgres_dsn=dsn, sqlite_path=tmp_path / "j") as recorder:
            with psycopg.connect(dsn) as late:
                late.execute(
                    "INSERT INTO workflow_runs (wpk_id, run_id, status, inputs) "
                    """VALUES ('w', 'late', 'completed', '{"text": "tea"}')"""
                )
                recorder.log_run(minimal("early", inputs={"text": "tea"}))
                assert recorder.search_runs("tea", by="words").waiting == 1
                late.commit()
            assert find(recorder, "tea") == ["early", "late"]


LOGS_MORE = """
CREATE FUNCTION log_more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO workflow_runs (wpk_id, run_id, status)
        SELECT 'more', count(*), 'completed' FROM workflow_runs;
    RETURN NULL;
END $$;
CREATE TRIGGER more AFTER INSERT ON run_words EXECUTE FUNCTION log_more()
"""


def test_regression_runs_that_others_log_put_no_pass_off(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """A search and runlog reindex wait for a pass, which had to find nothing at last."""
    with postgres_server.borrow_tables() as name:
        dsn = postgres_server.dsn(name)
        with runlog.Recorder(postgres_dsn=dsn, sqlite_path=tmp_path / "j") as recorder:
            with psycopg.connect(dsn) as connection:
                connection.execute(LOGS_MORE)
            recorder.log_run(minimal())
            try:
                done = recorder._fill_words()
            finally:
                with psycopg.connect(dsn) as connection:
                    connection.execute("DROP FUNCTION log_more CASCADE")
            assert done
            assert find(recorder, "nothing") == []


def test_a_file_that_was_vacuumed(tmp_path: Path) -> None:
    """The rows keep their numbers, by which the index knows them."""
    path = str(tmp_path / "runs.db")
    with runlog.Recorder(sqlite_path=path) as recorder:
        for number in range(20):
            recorder.log_run(minimal(f"r{number}", inputs={"text": f"number{number}"}))
        for number in range(0, 20, 2):
            recorder.delete_runs(run_id=f"r{number}")
        assert find(recorder, "number3") == ["r3"]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    with runlog.Recorder(sqlite_path=path) as recorder:
        for number in range(20):
            wanted = [f"r{number}"] if number % 2 else []
            assert find(recorder, f"number{number}") == wanted


def test_the_caller_does_not_wait_for_a_backlog(tmp_path: Path) -> None:
    """A recorder with much to index logs, flushes and closes as quickly as another."""
    path = str(tmp_path / "runs.db")
    text = " ".join(f"word{number}" for number in range(20_000))
    with runlog.Recorder(sqlite_path=path, words=False) as recorder:
        for number in range(200):
            recorder.log_run(minimal(f"r{number}", inputs={"a": text[number:]}))
    watch = Stopwatch()
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.log_run(minimal("new"))
        recorder.flush()
        hits: Any = recorder.search_runs("word77", by="words")
        assert not hits.complete
    assert watch.seconds < 5


WITHOUT_FTS5 = """
import ctypes, ctypes.util, sys, runlog
sqlite = ctypes.CDLL(ctypes.util.find_library("sqlite3"))
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
def drop(database, message, table):
    database = ctypes.c_void_p(database)
    return sqlite.sqlite3_create_module_v2(database, b"fts5", None, None, None)
sqlite.sqlite3_auto_extension(drop)
with runlog.Recorder(sqlite_path=sys.argv[1]) as recorder:
    for number in range(3):
        recorder.log_run({"wpk_id": "w", "run_id": f"new{number}", "status": "completed",
                          "inputs": {"text": "tea"}})
    recorder.delete_runs(run_id="new0")
    try:
        recorder.search_runs("tea", by="words")
    except runlog.ConfigError as error:
        print(error)
    print(recorder.stats()["words_error"])
"""


@pytest.mark.parametrize("made", [False, True])
def test_a_sqlite_without_fts5(
    tmp_path: Path, run_python: RunPython, *, made: bool
) -> None:
    """It records, also into a file that has an index; a search says what is missing."""
    path = str(tmp_path / "runs.db")
    if made:
        with runlog.Recorder(sqlite_path=path) as recorder:
            recorder.log_run(minimal("old", inputs={"text": "tea"}))
            assert find(recorder, "tea") == ["old"]
    done = run_python(WITHOUT_FTS5, path)
    assert done.returncode == 0, done.stderr
    said, error = done.stdout.splitlines()
    assert "needs a SQLite with FTS5" in said
    assert "fts5" in error.lower()
    with runlog.Recorder(sqlite_path=path) as recorder:
        assert find(recorder, "tea") == ["new1", "new2"] + ["old"] * made
