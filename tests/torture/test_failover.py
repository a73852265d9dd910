"""Servers that change under the client: a promoted replica, PgBouncer, TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg.conninfo
import pytest
from conftest import SANITIZED
from fixtures_postgres import PostgresServer
from helpers import minimal, until
from torture.clusters import Bouncer, Replica, TlsServer, replicate_synchronously
from torture.load import Acknowledged, Load, count_logged, journal_rows, until_server
from torture.writers import Writers

import runlog

EACH = 40 if SANITIZED else 150


def query_of(server: PostgresServer, dbname: str) -> Callable[..., list[Any]]:
    """A function that queries a database of the server."""
    return lambda *question: server.query(*question, dbname=dbname)


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, Replica]]:
    """A primary, and a replica of it."""
    primary = PostgresServer()
    try:
        primary.start()
        replica = Replica(primary)
        try:
            replica.start()
            yield primary, replica
        finally:
            replica.stop()
    finally:
        primary.stop()


@pytest.fixture
def bouncer(own_server: PostgresServer) -> Iterator[Bouncer]:
    with Bouncer(own_server, size=2) as made:
        yield made


def test_the_client_follows_a_promotion(
    pair: tuple[PostgresServer, Replica], journal: str
) -> None:
    """Replication is synchronous here: an asynchronous replica may lack the last commits
    of a primary that is lost, and no client can know which."""
    primary, replica = pair
    dbname = primary.create_database()
    replicate_synchronously(primary)
    dsn = psycopg.conninfo.make_conninfo(
        host="127.0.0.1,127.0.0.1",
        port=f"{primary.port},{replica.port}",
        dbname=dbname,
        user="postgres",
        target_session_attrs="read-write",
    )
    with runlog.Recorder(postgres_dsn=dsn, sqlite_path=journal) as recorder:
        with Load(recorder) as load:
            load.some_more(200)
            assert recorder.stats()["journaled"] == 0
            primary.halt(immediate=True)
            until_server(recorder, "away")
            load.some_more()
            replica.promote()
            until_server(recorder, "up")
            load.some_more()
        assert recorder.flush(60) is True
        assert recorder.get_run("0-1") is not None  # readers follow as well
    load.acknowledged.check(query_of(replica, dbname))
    assert journal_rows(journal) == []


def test_a_replica_alone_takes_no_run_until_it_is_promoted(
    pair: tuple[PostgresServer, Replica], journal: str
) -> None:
    primary, replica = pair
    dbname = primary.create_database()
    log = Acknowledged("w")
    replicate_synchronously(primary)
    with runlog.Recorder(postgres_dsn=primary.dsn(dbname)) as recorder:
        recorder.log_run(minimal("before", "other"))
    ((end,),) = primary.query("SELECT pg_current_wal_lsn()::text")
    replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
    until(lambda: replica.query(replayed, end) == [(True,)])
    primary.query("ALTER SYSTEM RESET synchronous_standby_names")
    primary.query("SELECT pg_reload_conf()")
    options: dict[str, Any] = {"sqlite_path": journal}
    with runlog.Recorder(postgres_dsn=replica.dsn(dbname), **options) as recorder:
        for number in range(10):
            log.log(recorder, f"r{number}")
        stats = recorder.stats()
        assert (stats["server"], stats["waiting"]) == ("away", 10)
        assert "read-only" in stats["server_error"]
        replica.promote()
        assert recorder.flush(60) is True
    log.check(query_of(replica, dbname))


def test_no_run_is_lost_when_pgbouncer_restarts(
    own_server: PostgresServer, bouncer: Bouncer, journal: str
) -> None:
    dbname = own_server.create_database()
    dsn = bouncer.dsn(dbname)
    with runlog.Recorder(postgres_dsn=dsn, sqlite_path=journal) as recorder:
        with Load(recorder) as load:
            for _ in range(1 if SANITIZED else 3):
                load.some_more()
                bouncer.kill()
                until_server(recorder, "away")
                load.some_more()
                bouncer.start()
                until_server(recorder, "up")
            load.some_more()
        assert recorder.flush(60) is True
        assert recorder.get_run("0-1") is not None
    load.acknowledged.check(query_of(own_server, dbname))
    assert journal_rows(journal) == []


def test_no_run_is_lost_when_the_server_behind_pgbouncer_is_killed(
    own_server: PostgresServer, bouncer: Bouncer, journal: str
) -> None:
    """PgBouncer still answers then, and lets who asks wait."""
    dbname = own_server.create_database()
    with runlog.Recorder(
        postgres_dsn=bouncer.dsn(dbname), sqlite_path=journal, postgres_timeout=1
    ) as recorder:
        with Load(recorder) as load:
            load.over_a_crash(own_server)
        assert recorder.flush(60) is True
    load.acknowledged.check(query_of(own_server, dbname))


@pytest.mark.long_with("journal")
@pytest.mark.parametrize("durability", ["store", "journal"])
def test_processes_share_two_connections_of_pgbouncer(
    own_server: PostgresServer, bouncer: Bouncer, tmp_path: Path, durability: str
) -> None:
    """Each transaction may be on another server connection than the one before."""
    dbname = own_server.create_database()
    env = {
        "POSTGRES_DSN": bouncer.dsn(dbname),
        "RUNLOG_SQLITE_PATH": str(tmp_path / "journal.db"),
        "RUNLOG_DURABILITY": durability,
    }
    writers = Writers(tmp_path, env)
    try:
        all_four = [writers.start(str(EACH)) for _ in range(4)]
        stats = [writers.wait(writer) for writer in all_four]
    finally:
        writers.end()
    # whoever folds in what waits beside the journal counts it
    journaled = 2 * EACH * 4 if durability == "journal" else 0
    assert sum(each["journaled"] for each in stats) == journaled
    assert [(each["failed"], each["rejected"]) for each in stats] == [(0, 0)] * 4
    with runlog.Recorder(
        postgres_dsn=bouncer.dsn(dbname), sqlite_path=str(tmp_path / "journal.db")
    ) as recorder:
        assert recorder.flush(60) is True
    assert writers.acknowledged().total() == 8 * EACH
    writers.check(query_of(own_server, dbname))


def test_tls_with_verification_stores_runs(tls_server: TlsServer, journal: str) -> None:
    dbname = tls_server.create_database()
    dsn = tls_server.tls_dsn(dbname, tls_server.certificates.ca)
    with runlog.Recorder(postgres_dsn=dsn, sqlite_path=journal) as recorder:
        recorder.log_run(minimal())
        assert recorder.get_run("r1") is not None
        used = tls_server.query(
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
            "WHERE datname = %s",
            dbname,
        )
        assert recorder.stats()["journaled"] == 0
    assert used == [(True,)]


@pytest.mark.long
def test_tls_with_the_certificate_of_another(
    tls_server: TlsServer, journal: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing goes to whom it is not meant for, nothing is lost, the reason is said."""
    dbname = tls_server.create_database()
    keys = tls_server.certificates
    options: dict[str, Any] = {"sqlite_path": journal}
    log = Acknowledged("w")
    wrong = tls_server.tls_dsn(dbname, keys.other_ca)
    with runlog.Recorder(postgres_dsn=wrong, **options) as recorder:
        log.log(recorder, "r1", outputs="kept")
        stats = recorder.stats()
        assert (stats["server"], stats["waiting"]) == ("away", 1)
        assert "certificate verify failed" in stats["server_error"]
        assert count_logged(caplog, "certificate verify failed") == 1
    assert tls_server.query("SELECT to_regclass('workflow_runs')", dbname=dbname) == [
        (None,)
    ]
    right = tls_server.tls_dsn(dbname, keys.ca)
    with runlog.Recorder(postgres_dsn=right, **options) as recorder:
        assert recorder.flush(60) is True
    log.check(query_of(tls_server, dbname))
