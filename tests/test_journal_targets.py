"""One journal, several databases: each run waits for the one that it was meant for."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from fixtures_proxy import Proxied
from helpers import minimal, until
from psycopg.conninfo import make_conninfo

import runlog

SECRET = "s3cr3tpart"
NOBODY: dict[str, Any] = {"host": "127.0.0.1", "port": 1, "user": "u", "password": SECRET}
"""A server that is away."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@pytest.fixture
def databases(postgres_server: PostgresServer) -> Iterator[list[str]]:
    """The names of two empty databases of one server."""
    with (
        postgres_server.borrow_database() as one,
        postgres_server.borrow_database() as two,
    ):
        yield [one, two]


def open_recorder(path: str, dsn: str | None, **more: Any) -> runlog.Recorder:
    options: dict[str, Any] = {"sqlite_path": path, **more}
    if dsn is not None:
        options["postgres_dsn"] = dsn
    return runlog.Recorder(**options)


def journal_away(path: str, name: str, *run_ids: str) -> str:
    """Record runs for a database whose server was never reached; return its DSN."""
    dsn = make_conninfo(**NOBODY, dbname=name)
    with open_recorder(path, dsn) as recorder:
        for run_id in run_ids:
            recorder.log_run(minimal(run_id))
        assert recorder.stats()["waiting"] == len(run_ids)
    return dsn


@contextlib.contextmanager
def away(proxied: Proxied) -> Iterator[None]:
    """The server can't be reached meanwhile."""
    proxied.proxy.outage()
    yield
    proxied.proxy.forward()


def journal_at(proxied: Proxied, *run_ids: str) -> None:
    """Record runs for a database that was reached, and then was not any more."""
    with runlog.Recorder(**proxied.options) as recorder:
        assert recorder.log_run(minimal("seen")) == "seen"
        with away(proxied):
            for run_id in run_ids:
                recorder.log_run(minimal(run_id))
            recorder.close(timeout=0.1)


def kept(server: PostgresServer, name: str) -> list[str]:
    """The runs in a database, in the order in which they came."""
    rows = server.query("SELECT run_id FROM workflow_runs ORDER BY ctid", dbname=name)
    return [row[0] for row in rows]


def waiting(path: str) -> list[str]:
    with closing(sqlite3.connect(path)) as journal:
        return [row[0] for row in journal.execute("SELECT run_id FROM journal")]


def test_runs_for_another_database_wait_and_are_said_to(
    path: str,
    postgres_server: PostgresServer,
    databases: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal_away(path, "tenant_a", "a1", "a2")
    with (
        caplog.at_level(logging.WARNING, logger="runlog"),
        open_recorder(path, postgres_server.dsn(databases[0])) as other,
    ):
        other.log_run(minimal("b1"))
        assert other.flush(60)
        until(lambda: bool(other.stats()) and "wait for another" in caplog.text)
        stats = other.stats()
        assert (stats["waiting"], stats["waiting_elsewhere"]) == (0, 2)
        assert other.get_run("a1") is None
    (line,) = [
        r.getMessage() for r in caplog.records if "wait for another" in r.getMessage()
    ]
    assert line.startswith("2 runs in the journal")
    assert "localhost:1/tenant_a" in line
    assert SECRET not in caplog.text
    assert kept(postgres_server, databases[0]) == ["b1"]
    assert waiting(path) == ["a1", "a2"]
    assert SECRET.encode() not in Path(path).read_bytes()


def test_runs_of_two_programs_in_one_journal_go_to_their_databases(
    path: str, postgres_server: PostgresServer, databases: list[str]
) -> None:
    """At the same time, their logs between one another."""
    dsns = [postgres_server.dsn(name) for name in databases]
    with contextlib.ExitStack() as stack:
        recorders = [
            stack.enter_context(
                runlog.Recorder(sqlite_path=path, postgres_dsn=dsn, durability="journal")
            )
            for dsn in dsns
        ]
        for number in range(120):
            for which, recorder in enumerate(recorders):
                recorder.log_run(minimal(f"{which}-{number:03}"))
        assert all(recorder.flush(60) for recorder in recorders)
    for which, name in enumerate(databases):
        assert kept(postgres_server, name) == [f"{which}-{n:03}" for n in range(120)]
    assert waiting(path) == []


def test_logs_keep_their_order_between_others(
    path: str, postgres_server: PostgresServer, databases: list[str]
) -> None:
    """More than a batch of each, and of one database under what was known at the time."""
    server, own = postgres_server, databases[0]
    with open_recorder(path, server.dsn(own)) as recorder:
        recorder.log_run(minimal("first"))
    with open_recorder(path, None) as recorder:  # makes the file
        recorder.log_run(minimal("local"))
    ids = "SELECT id FROM runlog_database"
    ((here,),) = server.query(ids, dbname=own)
    with closing(sqlite3.connect(path)) as journal:
        place = f"{server.folder}:{server.port}/{own}"
        journal.executemany(
            "INSERT INTO journal_targets VALUES (?, ?, ?, '')",
            [(7, place, ""), (8, "moved", str(here)), (9, "other", "x")],
        )
        journal.executemany(
            "INSERT INTO journal (seq, id, wpk_id, run_id, status, created_at,"
            " updated_at, revision, target) VALUES (?, ?, 'w', ?, 'completed',"
            " '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', ?, ?)",
            [
                (
                    n,
                    f"00000000-0000-7000-8000-{n:012}",
                    f"r{n:04}",
                    n,
                    [0, 7, 8, 9][n % 4],
                )
                for n in range(1, 701)
            ],
        )
        journal.commit()
    with open_recorder(path, server.dsn(own)) as recorder:
        assert recorder.flush(60)
        assert recorder.stats()["waiting_elsewhere"] == 175
    assert kept(server, own) == [
        "first",
        *(f"r{n:04}" for n in range(1, 701) if n % 4 < 3),
    ]
    assert waiting(path) == [f"r{n:04}" for n in range(3, 701, 4)]


def test_the_same_database_by_another_name(
    proxied: Proxied, postgres_server: PostgresServer
) -> None:
    journal_at(proxied, "r1", "r2")
    assert waiting(proxied.journal) == ["r1", "r2"]
    dsn = postgres_server.dsn(proxied.dbname)  # a socket, without the proxy
    with open_recorder(proxied.journal, dsn) as recorder:
        recorder.list_runs()
        assert recorder.flush(60)
        assert recorder.stats()["waiting_elsewhere"] == 0
    assert kept(postgres_server, proxied.dbname) == ["seen", "r1", "r2"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_database_that_was_never_reached_is_known_by_its_place(
    proxied: Proxied, host: str
) -> None:
    with away(proxied), open_recorder(proxied.journal, proxied.dsn) as recorder:
        recorder.log_run(minimal("r1"))
        recorder.close(timeout=0.1)
    dsn = make_conninfo(proxied.dsn, host=host, user="postgres", password=SECRET)
    with open_recorder(proxied.journal, dsn) as recorder:
        assert recorder.get_run("r1") is not None or recorder.flush(60)
    assert proxied.query("SELECT run_id FROM workflow_runs") == [("r1",)]


def test_a_place_becomes_a_database_once_it_is_reached(
    proxied: Proxied, postgres_server: PostgresServer
) -> None:
    """The same recorder, whose server comes and goes."""
    with runlog.Recorder(**proxied.options) as recorder:
        with away(proxied):
            recorder.log_run(minimal("r1"))
        assert recorder.flush(60)
        with away(proxied):
            recorder.log_run(minimal("r2"))
            recorder.close(timeout=0.1)
    assert proxied.query("SELECT run_id FROM workflow_runs") == [("r1",)]
    with open_recorder(proxied.journal, postgres_server.dsn(proxied.dbname)) as recorder:
        assert recorder.flush(60) or recorder.list_runs()
        assert recorder.flush(60)
    assert kept(postgres_server, proxied.dbname) == ["r1", "r2"]


@contextlib.contextmanager
def copied(server: PostgresServer, name: str, copy: str) -> Iterator[str]:
    """A copy of a database, under another name."""
    server.query(f"CREATE DATABASE {copy} TEMPLATE {name}")
    try:
        yield copy
    finally:
        server.drop_database(copy)


def test_a_copy_is_another_database(
    proxied: Proxied, postgres_server: PostgresServer
) -> None:
    """As that of production which became a test's: it has the id, but neither the place
    nor the cluster."""
    journal_at(proxied, "r1")
    with copied(postgres_server, proxied.dbname, f"{proxied.dbname}_copy") as copy:
        with open_recorder(proxied.journal, postgres_server.dsn(copy)) as recorder:
            recorder.log_run(minimal("r2"))
            assert recorder.flush(60)
            assert recorder.stats()["waiting_elsewhere"] == 1
        assert kept(postgres_server, copy) == ["seen", "r2"]
    with open_recorder(proxied.journal, proxied.dsn) as recorder:
        assert recorder.flush(60)
    assert kept(postgres_server, proxied.dbname) == ["seen", "r1"]


def test_a_database_that_was_restored_in_its_place_is_the_same(
    proxied: Proxied, postgres_server: PostgresServer
) -> None:
    """From a dump, into another cluster: another oid here."""
    journal_at(proxied, "r1")
    name = proxied.dbname
    with copied(postgres_server, name, f"{name}_dump") as dump:
        postgres_server.drop_database(name)
        postgres_server.query(f"CREATE DATABASE {name} TEMPLATE {dump}")
    with open_recorder(proxied.journal, proxied.dsn) as recorder:
        assert recorder.flush(60)
    assert kept(postgres_server, name) == ["seen", "r1"]


def test_a_new_database_in_the_place_of_another(
    proxied: Proxied, postgres_server: PostgresServer
) -> None:
    """Its runs wait, until they are given to whoever forwards next."""
    journal_at(proxied, "r1")
    name = proxied.dbname
    postgres_server.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public", dbname=name)
    with open_recorder(proxied.journal, proxied.dsn) as recorder:
        recorder.log_run(minimal("r2"))
        assert recorder.flush(60)
        assert recorder.stats()["waiting_elsewhere"] == 1
        assert kept(postgres_server, name) == ["r2"]
        with closing(sqlite3.connect(proxied.journal)) as journal:
            journal.execute("UPDATE journal SET target = 0")
            journal.commit()
        assert recorder.flush(60)
        assert recorder.stats()["waiting_elsewhere"] == 0
    assert kept(postgres_server, name) == ["r2", "r1"]


def test_runs_from_before_are_forwarded_to_the_database_at_hand(
    path: str, postgres_server: PostgresServer, databases: list[str]
) -> None:
    journal_away(path, "tenant_a", "a1")
    with closing(sqlite3.connect(path)) as journal:
        journal.execute("UPDATE journal SET target = 0")
        journal.commit()
    with open_recorder(path, postgres_server.dsn(databases[0])) as recorder:
        assert recorder.flush(60)
    assert kept(postgres_server, databases[0]) == ["a1"]


def test_runs_of_a_dsn_that_says_nothing_are_forwarded_once_it_is_mended(
    path: str, postgres_server: PostgresServer, databases: list[str]
) -> None:
    with open_recorder(path, "postgresql://u@[::1/a", durability="journal") as recorder:
        recorder.log_run(minimal("a1"))
        assert recorder.stats()["waiting"] == 1
    with open_recorder(path, postgres_server.dsn(databases[0])) as recorder:
        assert recorder.flush(60)
    assert kept(postgres_server, databases[0]) == ["a1"]


def test_runs_wait_when_the_dsn_is_removed(
    proxied: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite is then the store, in the same file."""
    journal_at(proxied, "r1", "r2")
    with (
        caplog.at_level(logging.WARNING, logger="runlog"),
        open_recorder(proxied.journal, None) as recorder,
    ):
        recorder.log_run(minimal("here"))
        assert [run["run_id"] for run in recorder.list_runs().runs] == ["here"]
        assert recorder.flush(60)
        stats = recorder.stats()
        assert (stats["waiting"], stats["waiting_elsewhere"]) == (0, 2)
    (line,) = [r.getMessage() for r in caplog.records if "wait for a" in r.getMessage()]
    assert line.startswith("2 runs in the journal")
    assert f"/{proxied.dbname}" in line
    with open_recorder(proxied.journal, proxied.dsn) as recorder:
        assert recorder.flush(60)
    assert [row[0] for row in proxied.query("SELECT run_id FROM workflow_runs")] == [
        "seen",
        "r1",
        "r2",
    ]


def test_runs_beside_a_locked_file_wait_for_their_database_too(
    path: str, postgres_server: PostgresServer, databases: list[str]
) -> None:
    """Three programs: two databases, and SQLite as the store of the same file."""
    dsns = [postgres_server.dsn(name) for name in databases]
    with contextlib.ExitStack() as stack:
        recorders = [
            stack.enter_context(open_recorder(path, dsn)) for dsn in (*dsns, None)
        ]
        for recorder in recorders:  # opens the file
            recorder.log_run(minimal("first"))
            assert recorder.flush(60)
        for number in (0, 1):
            recorders[number].close()
            recorders[number] = stack.enter_context(
                runlog.Recorder(
                    sqlite_path=path, postgres_dsn=dsns[number], durability="journal"
                )
            )
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number, recorder in enumerate(recorders):
                recorder.log_run(minimal(f"r{number}"))
                assert recorder.stats()["beside"] == 1
            other.rollback()
        assert all(recorder.flush(60) for recorder in recorders)
        assert [recorder.stats()["beside"] for recorder in recorders] == [0, 0, 0]
        local = [run["run_id"] for run in recorders[2].list_runs().runs]
    for number, name in enumerate(databases):
        assert kept(postgres_server, name) == ["first", f"r{number}"]
    assert local == ["r2", "first"]


def test_a_rejected_run_is_put_back_for_its_own_database(
    path: str, postgres_server: PostgresServer, databases: list[str]
) -> None:
    own, other = databases
    refuse = "ALTER TABLE workflow_runs ADD CONSTRAINT no CHECK (run_id <> 'bad')"
    with runlog.Recorder(
        sqlite_path=path, postgres_dsn=postgres_server.dsn(own), durability="journal"
    ) as recorder:
        recorder.log_run(minimal("good"))
        assert recorder.flush(60)
        postgres_server.query(refuse, dbname=own)
        recorder.log_run(minimal("bad"))
        assert recorder.flush(60)
        assert recorder.stats()["rejected"] == 1
    with closing(sqlite3.connect(path)) as journal:
        columns = ", ".join(
            row[1]
            for row in journal.execute("PRAGMA table_info(journal)")
            if row[1] != "seq"
        )
        journal.execute(
            f"INSERT INTO journal ({columns}) SELECT {columns} FROM journal_rejected"
        )
        journal.commit()
    with open_recorder(path, postgres_server.dsn(other)) as recorder:
        recorder.log_run(minimal("theirs"))
        assert recorder.flush(60)
    assert kept(postgres_server, other) == ["theirs"]
    assert waiting(path) == ["bad"]


def test_a_role_that_may_not_ask_goes_by_the_place(
    path: str, postgres_server: PostgresServer, databases: list[str]
) -> None:
    """It is known neither the database's id nor the cluster."""
    own, other = databases
    with open_recorder(path, postgres_server.dsn(own)) as recorder:
        recorder.log_run(minimal("first"))
    for name in databases:
        with open_recorder(path, postgres_server.dsn(name)) as recorder:
            recorder.list_runs()
    postgres_server.query("CREATE ROLE shy LOGIN")
    try:
        for name in databases:
            postgres_server.query(
                "GRANT USAGE ON SCHEMA public TO shy;"
                "GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_runs, run_parts,"
                " run_embeddings TO shy; GRANT SELECT ON runlog_migrations TO shy",
                dbname=name,
            )
        dsns = [postgres_server.dsn(name, user="shy") for name in databases]
        with contextlib.ExitStack() as stack:
            recorders = [
                stack.enter_context(
                    runlog.Recorder(
                        sqlite_path=path, postgres_dsn=dsn, durability="journal"
                    )
                )
                for dsn in dsns
            ]
            for which, recorder in enumerate(recorders):
                recorder.log_run(minimal(f"r{which}"))
            assert all(recorder.flush(60) for recorder in recorders)
        assert kept(postgres_server, own) == ["first", "r0"]
        assert kept(postgres_server, other) == ["r1"]
    finally:
        for name in databases:
            postgres_server.query("DROP OWNED BY shy", dbname=name)
        postgres_server.query("DROP ROLE shy")


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:x@{SECRET}@127.0.0.1:1/tenant",
        f"postgresql://u:1/{SECRET}@127.0.0.1:1/tenant",
        f"postgresql://u:{SECRET}@127.0.0.1:1/tenant?options=-csearch_path%3D{SECRET}",
        f"host=127.0.0.1 port=1 dbname=tenant password={SECRET}",
    ],
)
def test_no_part_of_a_password_is_kept(
    path: str, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not of one that is refused either: its runs stay in the journal."""
    with open_recorder(path, dsn, durability="journal") as recorder:
        recorder.log_run(minimal("r1"))
    with (
        caplog.at_level(logging.WARNING, logger="runlog"),
        open_recorder(path, None) as recorder,
    ):
        recorder.log_run(minimal("r2"))
        assert recorder.stats()["waiting_elsewhere"] == 1
    with closing(sqlite3.connect(path)) as journal:
        rows = journal.execute("SELECT * FROM journal_targets").fetchall()
    assert "tenant" in str(rows)
    said = [
        r.getMessage() for r in caplog.records if " for a PostgreSQL" in r.getMessage()
    ]
    assert len(said) == 1
    assert SECRET not in str(rows) + str(said)


def test_the_database_has_one_id(
    postgres_server: PostgresServer, databases: list[str], path: str
) -> None:
    for name in databases * 2:
        with open_recorder(path, postgres_server.dsn(name)) as recorder:
            recorder.list_runs()
    ids = "SELECT id FROM runlog_database"
    found = [postgres_server.query(ids, dbname=name) for name in databases]
    assert [len(rows) for rows in found] == [1, 1]
    assert found[0] != found[1]
    with pytest.raises(psycopg.errors.UniqueViolation):
        postgres_server.query(
            "INSERT INTO runlog_database (id) VALUES (uuid_generate_v4())",
            dbname=databases[0],
        )


def test_any_process_counts_what_is_held(tmp_path: Path) -> None:
    """Newer runs than the held ones have left the journal: the numbers have gaps."""
    path = str(tmp_path / "journal.db")
    dsn = journal_away(path, "counted", *(f"r{number}" for number in range(20)))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM journal WHERE run_id BETWEEN 'r10' AND 'r19'")
        connection.commit()
    with open_recorder(path, dsn) as recorder:
        recorder.log_run(minimal("later"))
        assert recorder.stats()["waiting"] == 11
