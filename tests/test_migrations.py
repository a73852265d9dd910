"""The tables: as they should be, made once, and refused when they are not ours."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
]
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
        "WHERE conrelid = (%s || '.workflow_runs')::regclass ORDER BY 1, 2",
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
        assert rows == COLUMNS


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
    assert "(wpk_id, created_at DESC, id DESC)" in indexes
    assert "(created_at DESC, id DESC)" in indexes


def test_a_page_reads_an_index(recorder: Any, store: Store) -> None:
    recorder.log_run(minimal())
    page = "SELECT run_id FROM workflow_runs WHERE wpk_id = 'w' "
    page += "ORDER BY created_at DESC, id DESC LIMIT 20"
    if store.kind == "sqlite":
        plan = store.query(f"EXPLAIN QUERY PLAN {page}")[0][-1]
    else:
        with psycopg.connect(store.options["postgres_dsn"]) as connection:
            connection.execute("SET enable_seqscan = off")
            connection.execute("SET enable_sort = off")
            plan = str(connection.execute(f"EXPLAIN {page}").fetchall())
        assert "Sort" not in plan
    assert "workflow_runs_wpk_id_created_at_idx" in plan


def test_payloads_are_compressed_with_lz4_where_the_server_has_it(
    postgres_server: PostgresServer, migrated: Any
) -> None:
    values = "SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'"
    methods = postgres_server.query(values, dbname=migrated)
    expected = "l" if methods and "lz4" in methods[0][0] else ""
    rows = postgres_server.query(
        "SELECT attname, attcompression::text FROM pg_attribute "
        "WHERE atttypid = 'jsonb'::regtype "
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
