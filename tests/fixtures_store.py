"""Both databases behind one fixture, and an independent client to read them."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer, fetch

if TYPE_CHECKING:
    import runlog


@dataclass(frozen=True)
class Store:
    """An empty database: how to reach it, and what is really in it."""

    kind: str
    """ "sqlite" or "postgres"."""
    options: dict[str, Any]
    """Arguments of runlog.Recorder."""
    env: dict[str, str]
    """The same as environment variables."""

    def query(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """Run a statement through another client than runlog; return its rows.

        A parameter is `?` on both (so no jsonb operator with a question mark can be used
        beside parameters). JSON columns come as text on both: see `json`.
        """
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.options["sqlite_path"])) as connection:
                rows = connection.execute(sql, params).fetchall()
                connection.commit()
                return rows
        if params:
            sql = sql.replace("%", "%%").replace("?", "%s")
        dsn = self.options["postgres_dsn"]
        with psycopg.connect(dsn, autocommit=True) as connection:
            return fetch(connection, sql, params)

    def json(self, column: str, wpk_id: str, run_id: str) -> Any:
        """What a JSON column of a run holds, decoded; None for NULL."""
        sql = f"SELECT {column} FROM workflow_runs WHERE wpk_id = ? AND run_id = ?"
        ((text,),) = self.query(sql, wpk_id, run_id)
        return None if text is None else json.loads(text)


def close_runlog() -> None:
    """Drop runlog's default recorder, if a test used runlog at all."""
    if (runlog := sys.modules.get("runlog")) is not None:
        runlog.close()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database of either kind without runs; in PostgreSQL it has the tables already.

    For a test marked `no_tables` it has none.
    """
    path = str(tmp_path / "runs.db")
    options, env = {"sqlite_path": path}, {"RUNLOG_SQLITE_PATH": path}
    if request.param == "sqlite":
        yield Store("sqlite", options, env)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    empty = request.node.get_closest_marker("no_tables") is not None
    with server.borrow_database() if empty else server.borrow_tables() as name:
        dsn = server.dsn(name)
        yield Store(
            "postgres", {"postgres_dsn": dsn, **options}, {"POSTGRES_DSN": dsn, **env}
        )
        close_runlog()


@pytest.fixture
def recorder(store: Store) -> Iterator[runlog.Recorder]:
    """A recorder on that database."""
    import runlog

    with runlog.Recorder(**store.options) as made:
        yield made
