"""Looking at a database without a recorder: what the command line asks first."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fixtures_postgres import PostgresServer, free_port
from helpers import minimal

import runlog
from runlog import StoreError, _runlog, migrations

SECRET = "hunter2"


@pytest.fixture
def database(postgres_server: PostgresServer) -> str:
    return postgres_server.create_database()


def look(dsn: str) -> Any:
    return json.loads(_runlog.look_at_postgres(dsn, 5.0))


def test_a_database_without_tables_stays_without(
    postgres_server: PostgresServer, database: str
) -> None:
    seen = look(postgres_server.dsn(database))
    assert seen["migrations"] is None
    assert seen["database"]["bytes"] is None
    assert seen["database"]["version"].startswith(postgres_server.version)
    assert abs(seen["database"]["clock"] - time.time()) < 60
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert postgres_server.query(tables, dbname=database) == [(0,)]


def test_a_history_has_migrations_and_a_size(
    postgres_server: PostgresServer, database: str
) -> None:
    dsn = postgres_server.dsn(database)
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        recorder.log_run(minimal())
    seen = look(dsn)
    known = [[number, sum_] for number, _, _, sum_ in migrations.load("postgres")]
    assert seen["migrations"] == known
    assert seen["database"]["bytes"] > 0
    assert seen["database"]["missing"] == ""
    assert seen["database"]["standby"] is seen["database"]["read_only"] is False


def test_missing_rights_are_named(postgres_server: PostgresServer, database: str) -> None:
    dsn = postgres_server.dsn(database)
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        recorder.log_run(minimal())
    role = f"looker_{database}"
    postgres_server.query(f"CREATE ROLE {role} LOGIN")
    grant = f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    postgres_server.query(grant, dbname=database)
    missing = look(postgres_server.dsn(database, role))["database"]["missing"]
    assert "workflow_runs (INSERT)" in missing
    assert "workflow_runs (SELECT)" not in missing


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        (f"postgresql://me:{SECRET}@host:99/d", "postgresql://me@host:99/d"),
        (f"host=h user=me password={SECRET} dbname=d", "postgresql://me@h:5432/d"),
        ("hostaddr=10.0.0.1 user=me dbname=d", "postgresql://me@10.0.0.1:5432/d"),
    ],
)
def test_a_place_has_no_credentials(dsn: str, place: str) -> None:
    assert _runlog.describe_dsn(dsn) == place


@pytest.mark.parametrize("dsn", [f"nonsense {SECRET}", f"postgresql://a:{SECRET}%zz@h/d"])
def test_a_dsn_that_is_none_is_not_quoted(dsn: str) -> None:
    for ask in (_runlog.describe_dsn, look):
        with pytest.raises(StoreError, match="can't be parsed") as raised:
            ask(dsn)
        assert SECRET not in str(raised.value)


def test_a_server_out_of_reach_is_an_error_without_credentials() -> None:
    dsn = f"host=127.0.0.1 port={free_port()} user=me password={SECRET} dbname=d"
    with pytest.raises(StoreError, match="refused") as raised:
        look(dsn)
    assert SECRET not in str(raised.value)


def test_an_empty_dsn_is_none(tmp_path: Path) -> None:
    """libpq would take it for the server and the database of the user's name."""
    path = tmp_path / "runs.db"
    with runlog.Recorder(postgres_dsn="", sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal())
        assert "journal" not in repr(recorder)
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        assert recorder.get_run("r1") is not None
