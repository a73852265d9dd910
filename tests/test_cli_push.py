"""runlog push: a SQLite file reaches PostgreSQL, whatever ends it on the way."""

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from export_help import (
    WHEN,
    all_runs,
    cli,
    fill,
    kill_after,
    record_graphs,
    runs_at,
    start,
    write_lines,
)
from fixtures_postgres import PostgresServer
from fixtures_proxy import Proxied
from helpers import minimal, until

import runlog
from runlog._runlog import describe_dsn
from runlog.cli import jsonl
from runlog.cli.pushed import Pushed
from runlog.hooks import RunLogHandler


class Both:
    """A SQLite file, and a PostgreSQL without runs, which the environment names."""

    def __init__(self, path: Path, dsn: str) -> None:
        self.path = path
        self.dsn = dsn

    @contextmanager
    def source(self) -> Iterator[Any]:
        """A recorder on the file."""
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("POSTGRES_DSN")
            recorder = runlog.Recorder(sqlite_path=self.path, durability="journal")
        with recorder:
            yield recorder

    def there(self) -> list[dict[str, Any]]:
        return runs_at(sqlite_path=self.path, postgres_dsn=self.dsn)


@pytest.fixture
def both(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    with postgres_server.borrow_tables() as name:
        path, dsn = tmp_path / "source.db", postgres_server.dsn(name)
        monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(path))
        monkeypatch.setenv("POSTGRES_DSN", dsn)
        yield Both(path, dsn)


def test_push(both: Both, capsys: Any) -> None:
    with both.source() as source:
        record_graphs(RunLogHandler(recorder=source))
        source.flush()
        want = all_runs(source)
    assert cli("push") == 0
    assert both.there() == want
    assert capsys.readouterr().err.startswith("4 runs to postgresql://")
    assert cli("push") == 0
    assert both.there() == want


def age(path: Path, hours: int) -> None:
    """Make all that is known of a push so many hours older."""
    back = timedelta(hours=hours)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id, updated_at FROM workflow_runs").fetchall()
        for row, text in rows:
            moment = jsonl.stamp(datetime.fromisoformat(text) - back)
            connection.execute(
                "UPDATE workflow_runs SET updated_at = ? WHERE id = ?", (moment, row)
            )
        connection.commit()


def test_push_sends_what_is_new(both: Both, capsys: Any) -> None:
    with both.source() as source:
        fill(source, 5)
        source.log_run(minimal("open", status="running"))
    age(both.path, 3)
    assert cli("push") == 0
    assert capsys.readouterr().err.startswith("6 runs")
    assert cli("push") == 0
    assert capsys.readouterr().err.startswith("1 run to ")  # the one that is open
    with both.source() as source:
        source.log_run(minimal("new"))
        source.log_run(minimal("r1", status="failed"))
    assert cli("push") == 0
    assert capsys.readouterr().err.startswith("3 runs")
    assert {run["run_id"]: run["status"] for run in both.there()} == {
        **{f"r{place}": "completed" for place in range(5)},
        "r1": "failed",
        "open": "running",
        "new": "completed",
    }
    assert cli("push", "--again") == 0
    assert capsys.readouterr().err.startswith("7 runs")
    remembered = json.loads(Path(f"{both.path}-pushed").read_text())
    assert list(remembered) == [describe_dsn(both.dsn)]


def test_two_pushes_of_a_file_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one writes when the first one is about to put its file in place."""
    source, saved = str(tmp_path / "source.db"), []
    first, second = Pushed(source, "first"), Pushed(source, "second")
    waits = threading.Event()
    other = threading.Thread(target=lambda: saved.append(second.finish()))
    lock, replace = fcntl.flock, os.replace

    def lock_it(*args: Any) -> None:
        waits.set()
        lock(*args)

    def replace_late(*names: str) -> None:
        monkeypatch.setattr(os, "replace", replace)
        monkeypatch.setattr(fcntl, "flock", lock_it)
        other.start()
        until(lambda: waits.is_set() or bool(saved))
        replace(*names)

    monkeypatch.setattr(os, "replace", replace_late)
    assert first.finish()
    other.join()
    assert saved == [True]
    remembered = json.loads(Path(first.path).read_text())
    assert set(remembered) == {"first", "second"}


def test_push_survives_kill_9(both: Both) -> None:
    number = 4000
    with both.source() as source:
        write = write_lines(both.path.with_name("lines"), number, created_at=str(WHEN))
        assert cli("import", write, "--db", both.path) == 0
        want = all_runs(source)
    age(both.path, 3)
    with runlog.Recorder(sqlite_path=both.path, postgres_dsn=both.dsn) as target:
        process = start("push")
        remembered = Path(f"{both.path}-pushed")
        kill_after(process, remembered.exists)
        begun = len(target.list_runs(limit=number).runs)
        assert 1000 <= begun < number
        with both.source() as source:
            source.log_run(minimal("meanwhile"))
        assert cli("push") == 0
        found = all_runs(target)
    assert [run for run in found if run["run_id"] != "meanwhile"] == want
    assert len(found) == number + 1


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["nothing.db"], 3, "there is no history at"),
        (["--db", "postgresql://127.0.0.1:1/x"], 3, "Connection refused"),
        (["a", "--db", "b"], 2, "one file"),
    ],
)
def test_push_says_what_is_wrong(
    both: Both, capsys: Any, argv: list[str], code: int, said: str
) -> None:
    with both.source() as source:
        fill(source, 1)
    assert cli("push", *argv) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


def test_push_needs_a_server(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("push") == 2
    assert "set POSTGRES_DSN" in capsys.readouterr().err


WAIT = """
CREATE SEQUENCE arrived;
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF nextval('arrived') = 2000 THEN PERFORM pg_sleep(600); END IF;
RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE INSERT ON workflow_runs FOR EACH ROW EXECUTE FUNCTION wait()
"""
"""The server is at work on the 2,000th run that arrives for as long as the test needs.

Runs of one time are sent in the order of their ids, which are random.
"""

WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
    "AND datname = current_database()"
)


def test_push_when_the_server_goes_away(
    proxied: Proxied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    number = 2500
    source = tmp_path / "source.db"
    lines = write_lines(tmp_path / "lines", number, created_at=str(WHEN))
    assert cli("import", lines, "--db", source) == 0
    want = runs_at(sqlite_path=source)
    for name, value in proxied.env.items():
        monkeypatch.setenv(name, value)
    with runlog.Recorder(**proxied.options) as target:
        target.list_runs()  # makes the tables
    proxied.query(WAIT)
    with start("push", source) as process:
        until(lambda: proxied.query(WAITING) != [])
        assert Path(f"{source}-pushed").exists()
        proxied.proxy.refuse()
        proxied.proxy.drop()
        assert process.wait() == 3
        said = process.stderr.read().splitlines()[-1]
    assert said.startswith("runlog: PostgreSQL is out of reach: ")
    proxied.query(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN ({WAITING})"
    )
    proxied.query("DROP FUNCTION wait CASCADE")
    proxied.query("DROP SEQUENCE arrived")
    proxied.proxy.forward()
    assert cli("push", source) == 0
    assert not capsys.readouterr().err.startswith("2,500 runs to")
    assert runs_at(**proxied.options) == want


def test_a_run_that_the_server_refuses(both: Both, capsys: Any) -> None:
    with both.source() as source:
        fill(source, 3)
    with runlog.Recorder(sqlite_path=both.path, postgres_dsn=both.dsn) as target:
        target.list_runs()
    with psycopg.connect(both.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.run_id = 'r1' THEN RAISE EXCEPTION 'not this one'; END IF; "
            "RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON workflow_runs FOR EACH ROW "
            "EXECUTE FUNCTION refuse()"
        )
        assert cli("push") == 1
        said = capsys.readouterr().err
        assert "2 runs to postgresql://" in said
        assert "the server refused 1 run: r1: " in said
        assert "not this one" in said
        connection.execute("DROP FUNCTION refuse CASCADE")
    assert [run["run_id"] for run in both.there()] == ["r0", "r2"]
    assert cli("push") == 0
    assert [run["run_id"] for run in both.there()] == ["r0", "r1", "r2"]
