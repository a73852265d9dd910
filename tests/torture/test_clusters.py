"""The servers of the torture tests: each does what the tests rely on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from helpers import until
from torture.clusters import Bouncer, Replica, TlsServer, replicate_synchronously

pytestmark = pytest.mark.long  # what the tests use, not runlog

TESTS = Path(__file__).resolve().parent.parent

ORPHAN = """
import os, sys
from fixtures_postgres import PostgresServer
server = PostgresServer()
server.start()
print(server.pid, server.folder, flush=True)
os.kill(os.getpid(), 9)
"""


def rows(dsn: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("immediate", [True, False])
def test_a_server_keeps_its_data_over_halt_and_resume(
    own_server: PostgresServer, immediate: bool
) -> None:
    own_server.query("CREATE TABLE IF NOT EXISTS kept (n int)")
    own_server.query("INSERT INTO kept VALUES (1)")
    before = own_server.query("SELECT count(*) FROM kept")
    pid = own_server.pid
    own_server.halt(immediate=immediate)
    assert not exists(pid)
    with pytest.raises(psycopg.OperationalError):
        rows(own_server.dsn(tcp=True), "SELECT 1")
    own_server.resume()
    assert own_server.query("SELECT count(*) FROM kept") == before


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], cwd=TESTS, capture_output=True, text=True
    )
    pid, folder = done.stdout.split()
    until(lambda: not exists(int(pid)))
    assert not list((Path(folder) / "data").glob("postmaster.pid"))
    subprocess.run(["rm", "-r", folder], check=True)


def test_a_promoted_replica_accepts_writes(own_server: PostgresServer) -> None:
    replica = Replica(own_server)
    try:
        replica.start()
        assert replica.query("SELECT pg_is_in_recovery()") == [(True,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            replica.query("CREATE TABLE refused (n int)")
        replicate_synchronously(own_server)
        own_server.query("CREATE TABLE copied (n int)")
        until(lambda: replica.query("SELECT to_regclass('copied')::text") != [(None,)])
        own_server.query("ALTER SYSTEM RESET synchronous_standby_names")
        own_server.query("SELECT pg_reload_conf()")
        replica.promote()
        replica.query("INSERT INTO copied VALUES (1)")
    finally:
        replica.stop()


def test_pgbouncer_shares_two_connections(own_server: PostgresServer) -> None:
    with Bouncer(own_server, size=2) as bouncer:
        dsn = bouncer.dsn("postgres")
        clients = [psycopg.connect(dsn, autocommit=True) for _ in range(6)]
        served = {c.execute("SELECT pg_backend_pid()").fetchone() for c in clients}
        assert 1 <= len(served) <= 2
        bouncer.kill()
        with pytest.raises(psycopg.OperationalError):
            clients[0].execute("SELECT 1")
        for client in clients:
            client.close()
        bouncer.start()
        assert rows(dsn, "SELECT 1") == [(1,)]


def test_the_tls_server_rejects_plain_connections(tls_server: TlsServer) -> None:
    keys = tls_server.certificates
    good = tls_server.tls_dsn("postgres", keys.ca)
    used = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert rows(good, used) == [(True,)]
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        rows(tls_server.tls_dsn("postgres", keys.other_ca), "SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        rows(tls_server.dsn(tcp=True) + " sslmode=disable", "SELECT 1")
