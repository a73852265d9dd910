"""The tables: as they should be, made once, and refused when they are not ours."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from fixtures_store import Store
from helpers import minimal, stored
from psycopg import errors

import runlog
from runlog import StoreError

if TYPE_CHECKING:
    from conftest import RunPython

pytestmark = pytest.mark.no_tables

COLUMNS = [  # name, type in PostgreSQL, may be null
    ("id", "uuid", "NO"),
    ("wpk_id", "text", "NO"),
    ("run_id", "text", "NO"),
    ("inputs", "jsonb", "YES"),
    ("outputs", "jsonb", "YES"),
    ("status", "text", "NO"),
    ("duration_ms", "integer", "YES"),
    ("node_logs", "jsonb", "YES"),
    ("created_at", "timestamp with time zone", "YES"),
    ("updated_at", "timestamp with time zone", "YES"),
    ("thread_id", "text", "YES"),
    ("error_type", "text", "YES"),
    ("error_text", "text", "YES"),
    ("metadata", "jsonb", "YES"),
    ("started_at", "timestamp with time zone", "YES"),
    ("owner", "text", "YES"),
    ("revision", "bigint", "YES"),
    ("error_traceback", "text", "YES"),
]
IN_POSTGRES = [("logged_txid", "bigint", "YES")]
TYPES_IN_SQLITE = {"integer": "INTEGER", "bigint": "INTEGER"}  # all others are TEXT
USERS_TABLE = """
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
CREATE SCHEMA expected;
CREATE TABLE expected.workflow_runs (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    wpk_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    inputs JSONB,
    outputs JSONB,
    status TEXT NOT NULL,
    duration_ms INTEGER,
    node_logs JSONB,
    created_at TIMESTAMPTZ DEFAULT NOW(),
    updated_at TIMESTAMPTZ DEFAULT NOW(),
    UNIQUE (wpk_id, run_id)
);
"""
CREATE_EXTENSION = 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp"'


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Any]:
    """The name of an empty PostgreSQL database."""
    name = postgres_server.create_database()
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def migrated(postgres_server: PostgresServer, database: Any) -> Any:
    """The name of a PostgreSQL database that runlog has opened."""
    with runlog.Recorder(postgres_dsn=postgres_server.dsn(database)) as recorder:
        recorder.log_run(minimal("first"))
    return database


def columns(postgres_server: PostgresServer, database: Any, schema: Any) -> Any:
    return postgres_server.query(
        "SELECT column_name, data_type, is_nullable, column_default "
        "FROM information_schema.columns "
        "WHERE table_schema = %s AND table_name = 'workflow_runs' "
        "ORDER BY ordinal_position",
        schema,
        dbname=database,
    )


def constraints(postgres_server: PostgresServer, database: Any, schema: Any) -> Any:
    return postgres_server.query(
        "SELECT contype::text, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = (%s || '.workflow_runs')::regclass "
        "AND contype <> 'n' ORDER BY 1, 2",  # 18 lists NOT NULL, which `columns` has
        schema,
        dbname=database,
    )


def test_the_tables_have_the_documented_columns(recorder: Any, store: Store) -> None:
    recorder.log_run(minimal())
    if store.kind == "sqlite":
        rows = store.query("SELECT name, type FROM pragma_table_info('workflow_runs')")
        assert rows == [
            (name, TYPES_IN_SQLITE.get(kind, "TEXT")) for name, kind, _ in COLUMNS
        ]
    else:
        rows = store.query(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
            "WHERE table_name = 'workflow_runs' ORDER BY ordinal_position"
        )
        assert rows == COLUMNS + IN_POSTGRES


def test_001_is_exactly_the_users_table(
    postgres_server: PostgresServer, migrated: Any
) -> None:
    for statement in USERS_TABLE.split(";"):
        if statement.strip():
            postgres_server.query(statement, dbname=migrated)
    expected = columns(postgres_server, migrated, "expected")
    assert len(expected) == 10
    assert columns(postgres_server, migrated, "public")[:10] == expected
    ours = constraints(postgres_server, migrated, "public")
    assert ours == constraints(postgres_server, migrated, "expected")
    assert ours == [("p", "PRIMARY KEY (id)"), ("u", "UNIQUE (wpk_id, run_id)")]


def test_rows_of_other_clients_are_read(
    postgres_server: PostgresServer, migrated: Any
) -> None:
    insert = (
        "INSERT INTO workflow_runs (wpk_id, run_id, status) VALUES ('w', %s, 'completed')"
    )
    postgres_server.query(insert, "theirs", dbname=migrated)
    with pytest.raises(errors.UniqueViolation):
        postgres_server.query(insert, "theirs", dbname=migrated)
    with runlog.Recorder(postgres_dsn=postgres_server.dsn(migrated)) as recorder:
        got = stored(recorder, "theirs")
        assert (got["status"], got["inputs"], got["owner"]) == ("completed", None, None)
        assert recorder.list_runs().runs[0]["run_id"] == "theirs"


def test_updated_at_changes_with_updates_of_other_clients(
    postgres_server: PostgresServer, migrated: Any
) -> None:
    moved = "SELECT updated_at > created_at FROM workflow_runs"
    postgres_server.query("UPDATE workflow_runs SET status = 'failed'", dbname=migrated)
    assert postgres_server.query(moved, dbname=migrated) == [(True,)]
    before_update = 2 | 16  # pg_trigger.tgtype
    triggers = f"""SELECT count(*) FROM pg_trigger
        WHERE tgrelid = 'workflow_runs'::regclass
        AND tgtype & {before_update} = {before_update}"""
    assert postgres_server.query(triggers, dbname=migrated) == [(1,)]


def test_the_tables_have_the_documented_indexes(recorder: Any, store: Store) -> None:
    recorder.log_run(minimal())
    if store.kind == "sqlite":
        rows = store.query(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql NOTNULL"
        )
    else:
        rows = store.query(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'workflow_runs'"
        )
    indexes = " ".join(" ".join(row[0] for row in rows).split())
    wanted = ["(created_at, id)", "(thread_id, status, created_at, id)"]
    wanted.append(
        "(wpk_id, created_at, id)"
        if store.kind == "sqlite"
        else "(wpk_id, created_at DESC, id DESC)"
    )
    assert [columns for columns in wanted if columns not in indexes] == []


def test_payloads_are_compressed_with_lz4_where_the_server_has_it(
    postgres_server: PostgresServer, migrated: Any
) -> None:
    values = "SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'"
    methods = postgres_server.query(values, dbname=migrated)
    expected = "l" if methods and "lz4" in methods[0][0] else ""
    rows = postgres_server.query(
        "SELECT attname, coalesce(to_jsonb(a) ->> 'attcompression', '') "  # 13: none
        "FROM pg_attribute AS a WHERE atttypid = 'jsonb'::regtype "
        "AND attrelid = 'workflow_runs'::regclass ORDER BY attname",
        dbname=migrated,
    )
    assert rows == [(n, expected) for n in ("inputs", "metadata", "node_logs", "outputs")]


def test_each_migration_is_recorded_once_with_its_checksum(
    recorder: Any, store: Store
) -> None:
    recorder.log_run(minimal())
    rows = store.query(
        "SELECT number, name, checksum FROM runlog_migrations ORDER BY number"
    )
    numbers, names, checksums = zip(*rows, strict=True)
    assert numbers == tuple(range(1, len(rows) + 1))
    assert names[:2] == ("001_create_workflow_runs.sql", "002_run_context.sql")
    assert {len(checksum) for checksum in checksums} == {64}


def test_a_schema_outlives_its_recorder(store: Store) -> None:
    for number in range(3):
        with runlog.Recorder(**store.options) as recorder:
            recorder.log_run(minimal(f"r{number}"))
            assert len(recorder.list_runs().runs) == number + 1
    count = "SELECT count(*), count(DISTINCT number), max(number) FROM runlog_migrations"
    ((rows, distinct, newest),) = store.query(count)
    assert rows == distinct == newest


def test_eight_processes_may_migrate_at_once(
    store: Store, run_python: "RunPython"
) -> None:
    code = """
import sys, runlog
print(runlog.log_run({"wpk_id": "w", "run_id": sys.argv[1], "status": "completed"}))
"""
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(run_python, code, f"r{n}", env=store.env) for n in range(8)]
        done = [call.result() for call in calls]
    assert [d.stderr for d in done if d.returncode] == []
    assert sorted(d.stdout.strip() for d in done) == [f"r{number}" for number in range(8)]
    assert store.query("SELECT count(*) FROM workflow_runs") == [(8,)]
    count = "SELECT count(*), count(DISTINCT number), max(number) FROM runlog_migrations"
    ((rows, distinct, newest),) = store.query(count)
    assert rows == distinct == newest


def test_threads_may_migrate_at_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool, runlog.Recorder(**store.options) as recorder:
        ids = list(pool.map(recorder.log_run, [minimal(f"r{n}") for n in range(8)]))
        assert len(recorder.list_runs().runs) == len(ids) == 8


def test_a_changed_migration_is_rejected(store: Store) -> None:
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal("r1"))
    store.query("UPDATE runlog_migrations SET checksum = '0' WHERE number = 2")
    with runlog.Recorder(**store.options) as recorder:
        for call in (recorder.list_runs, lambda: recorder.log_run(minimal("r2"))):
            with pytest.raises(StoreError, match="checksum") as caught:
                call()
            assert "002_run_context.sql" in str(caught.value)
    assert store.query("SELECT run_id FROM workflow_runs") == [("r1",)]


def test_a_schema_newer_than_the_code_is_rejected(store: Store) -> None:
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal("r1"))
    store.query(
        "INSERT INTO runlog_migrations (number, name, checksum, applied_at) "
        "SELECT 999, '999_future.sql', checksum, applied_at "
        "FROM runlog_migrations WHERE number = 1"
    )
    with runlog.Recorder(**store.options) as recorder:
        with pytest.raises(StoreError, match="newer") as caught:
            recorder.log_run(minimal("r2"))
        assert "upgrade runlog" in str(caught.value)
        assert caught.value.retryable is False
    assert store.query("SELECT run_id FROM workflow_runs") == [("r1",)]


def test_an_unrelated_table_of_the_same_name_is_not_changed(store: Store) -> None:
    store.query("CREATE TABLE workflow_runs (mine TEXT)")
    store.query("INSERT INTO workflow_runs VALUES ('kept')")
    with runlog.Recorder(**store.options) as recorder, pytest.raises(StoreError):
        recorder.log_run(minimal())
    assert store.query("SELECT * FROM workflow_runs") == [("kept",)]


@pytest.fixture
def limited(postgres_server: PostgresServer, database: Any) -> Iterator[Any]:
    """A role that may make tables in the database, but no extension."""
    role = f"limited_{database}"
    postgres_server.query(f"CREATE ROLE {role} LOGIN")
    postgres_server.query(f"GRANT CREATE ON SCHEMA public TO {role}", dbname=database)
    yield role
    postgres_server.query(f"DROP OWNED BY {role} CASCADE", dbname=database)
    postgres_server.query(f"DROP ROLE {role}")


def test_a_role_that_may_not_create_the_extension_gets_a_clear_error(
    postgres_server: PostgresServer, database: Any, limited: Any
) -> None:
    with runlog.Recorder(postgres_dsn=postgres_server.dsn(database, limited)) as recorder:
        with pytest.raises(StoreError) as caught:
            recorder.log_run(minimal())
        assert CREATE_EXTENSION in str(caught.value)
        assert caught.value.sqlstate == "42501"
        tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'workflow_runs'"
        assert postgres_server.query(tables, dbname=database) == [(0,)]

        postgres_server.query(CREATE_EXTENSION, dbname=database)
        assert recorder.log_run(minimal()) == "r1"
        assert recorder.get_run("r1") is not None


BEFORE_TRACEBACKS = 7
OLD_ROW = """INSERT INTO workflow_runs (id, wpk_id, run_id, status, error_type,
    error_text, node_logs, created_at, updated_at, owner)
    VALUES ('019a0000-0000-7000-8000-000000000001', 'w', 'old', 'failed', 'E', 'bad',
    '[{"node": "a", "status": "failed", "error_text": "bad", "inputs": null}]',
    '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z', 'h/1/1/1')"""
MIGRATIONS_TABLE = """CREATE TABLE runlog_migrations (number INTEGER PRIMARY KEY,
    name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at {time} NOT NULL)"""
APPLIED = """INSERT INTO runlog_migrations (number, name, checksum, applied_at)
    VALUES ({mark}, {mark}, {mark}, '2026-01-01T00:00:00Z')"""


def make_sqlite(path: Any, number: int) -> None:
    """The tables of a file as they were when there were so many migrations."""
    from runlog.migrations import load

    with closing(sqlite3.connect(path)) as file:
        file.execute(MIGRATIONS_TABLE.format(time="TEXT"))
        for place, name, sql, checksum in load("sqlite")[:number]:
            file.executescript(sql)
            file.execute(APPLIED.format(mark="?"), (place, name, checksum))
        file.commit()


def make_postgres(dsn: str, number: int) -> None:
    from runlog.migrations import load

    with psycopg.connect(dsn) as server:
        server.execute(CREATE_EXTENSION)
        server.execute(MIGRATIONS_TABLE.format(time="TIMESTAMPTZ DEFAULT NOW()"))
        for place, name, sql, checksum in load("postgres")[:number]:
            server.execute(sql)
            server.execute(APPLIED.format(mark="%s"), (place, name, checksum))


def old_sqlite(path: Any) -> None:
    """A file as it was before runs had tracebacks, with a run."""
    make_sqlite(path, BEFORE_TRACEBACKS)
    with closing(sqlite3.connect(path)) as file:
        file.execute(OLD_ROW)
        file.commit()


def old_postgres(dsn: str) -> None:
    make_postgres(dsn, BEFORE_TRACEBACKS)
    with psycopg.connect(dsn) as server:
        server.execute(OLD_ROW)


def test_a_database_without_tracebacks_gets_them(store: Store) -> None:
    if store.kind == "sqlite":
        old_sqlite(store.options["sqlite_path"])
    else:
        old_postgres(store.options["postgres_dsn"])
    with runlog.Recorder(**store.options) as recorder:
        old = stored(recorder, "old")
        assert (old["status"], old["error_text"]) == ("failed", "bad")
        assert old["error_traceback"] is None
        recorder.log_run(minimal("new", status="failed", error_traceback="here"))
        assert stored(recorder, "new")["error_traceback"] == "here"
        recorder.log_run(minimal("old", status="failed", error_traceback="there"))
        assert stored(recorder, "old")["error_traceback"] == "there"
    count = "SELECT count(*), max(number) FROM runlog_migrations"
    ((rows, newest),) = store.query(count)
    assert rows == newest > BEFORE_TRACEBACKS


def test_a_journal_without_tracebacks_is_forwarded(
    postgres_server: PostgresServer, database: Any, tmp_path: Path
) -> None:
    """Its runs wait since before the update; a run with a traceback is behind them."""
    path = str(tmp_path / "journal.db")
    old_sqlite(path)
    columns = "id, wpk_id, run_id, status, error_type, error_text, created_at, updated_at"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            f"INSERT INTO journal (seq, {columns}, revision) "
            f"SELECT 1, {columns}, 5 FROM workflow_runs"
        )
        connection.commit()
    away = "host=127.0.0.1 port=1 dbname=none user=nobody"
    with runlog.Recorder(postgres_dsn=away, sqlite_path=path) as recorder:
        recorder.log_run(minimal("new", status="failed", error_traceback="here"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE journal SET target = 0")
        waiting = "SELECT run_id, error_traceback FROM journal ORDER BY seq"
        found = connection.execute(waiting).fetchall()
        connection.commit()
    assert found == [("old", None), ("new", "here")]
    dsn = postgres_server.dsn(database)
    with runlog.Recorder(postgres_dsn=dsn, sqlite_path=path) as recorder:
        assert recorder.flush(30)
        assert stored(recorder, "old")["error_text"] == "bad"
        assert stored(recorder, "old")["error_traceback"] is None
        assert stored(recorder, "new")["error_traceback"] == "here"


@pytest.mark.parametrize("before", range(1, 14))
def test_every_earlier_version_becomes_this_one(store: Store, before: int) -> None:
    if store.kind == "sqlite":
        make_sqlite(store.options["sqlite_path"], before)
    else:
        make_postgres(store.options["postgres_dsn"], before)
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal("new"))
        assert stored(recorder, "new")["status"] == "completed"
    ((newest,),) = store.query("SELECT max(number) FROM runlog_migrations")
    assert newest > before
