"""A database behind a proxy, so that the server can become unavailable to runlog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo
import pytest
from fixtures_postgres import PostgresServer, fetch
from torture.proxy import Proxy


@dataclass(frozen=True)
class Proxied:
    """An empty database that runlog reaches through a proxy, and the test without it."""

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


@pytest.fixture
def proxied(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Proxied]:
    """A database of the shared server, behind a proxy of its own."""
    with (
        postgres_server.borrow_database() as dbname,
        Proxy(("127.0.0.1", postgres_server.port)) as proxy,
    ):
        dsn = psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=proxy.port, dbname=dbname, user="postgres"
        )
        journal = str(tmp_path / "journal.db")
        yield Proxied(proxy, postgres_server, dbname, dsn, journal)
