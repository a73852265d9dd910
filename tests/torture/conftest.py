"""The servers of the torture tests, and a database behind a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo
import pytest
from fixtures_postgres import PostgresServer, fetch
from torture.clusters import TlsServer
from torture.programs import end_programs
from torture.proxy import Proxy


@dataclass(frozen=True)
class Proxied:
    """An empty database that runlog reaches through a proxy, and we beside it."""

    proxy: Proxy
    server: PostgresServer
    dbname: str
    dsn: str
    journal: str

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of runlog.Recorder."""
        return {"postgres_dsn": self.dsn, "sqlite_path": self.journal}

    @property
    def env(self) -> dict[str, str]:
        """The same as environment variables."""
        return {"POSTGRES_DSN": self.dsn, "RUNLOG_SQLITE_PATH": self.journal}

    def query(self, sql: str, *params: object) -> list[Any]:
        """Rows from the server, not through the proxy; %s for params."""
        with psycopg.connect(self.server.dsn(self.dbname), autocommit=True) as other:
            return fetch(other, sql, params)


@pytest.fixture(autouse=True)
def no_program_is_left() -> Iterator[None]:
    """What a test has started ends with it."""
    yield
    end_programs()


def make_proxied(server: PostgresServer, dbname: str, tmp_path: Path) -> Proxied:
    """A proxy before that server."""
    proxy = Proxy(("127.0.0.1", server.port))
    dsn = psycopg.conninfo.make_conninfo(
        host="127.0.0.1", port=proxy.port, dbname=dbname, user="postgres"
    )
    return Proxied(proxy, server, dbname, dsn, str(tmp_path / "journal.db"))


@pytest.fixture
def proxied(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Proxied]:
    """A database of the shared server, behind a proxy of its own."""
    with postgres_server.borrow_database() as name:
        made = make_proxied(postgres_server, name, tmp_path)
        with made.proxy:
            yield made


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that a module's tests may stop and start again."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def tls_server() -> Iterator[TlsServer]:
    """A server that speaks TLS only."""
    server = TlsServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()
