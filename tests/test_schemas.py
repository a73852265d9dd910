"""What else is in the database: other schemas, other tables, another encoding."""

import logging
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer, plain_environment
from fixtures_store import Store
from helpers import minimal, stored
from psycopg.conninfo import make_conninfo
from torture.clusters import Bouncer
from torture.programs import give_away

import runlog
from runlog import StoreError

pytestmark = pytest.mark.no_tables

TENANTS = ("tenant_a", "tenant_b", 'Tenant "c"')
LARGE = "a large text " * 10_000
COUNTS = """
SELECT (SELECT count(*) FROM workflow_runs), (SELECT count(*) FROM run_parts),
    (SELECT count(*) FROM run_embeddings)
"""


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of an empty PostgreSQL database."""
    name = postgres_server.create_database()
    yield name
    postgres_server.drop_database(name)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def in_schema(dsn: str, schema: str) -> str:
    """The DSN with that search_path: spaces and backslashes of options are escaped."""
    path = "".join("\\" + c if c in " \\" else c for c in schema)
    return make_conninfo(dsn, options=f"-c search_path={path}")


def run_query(dsn: str, sql: str, *params: object) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), params or None)
        return cursor.fetchall() if cursor.description else []


def journaled(dsn: str, tmp_path: Path, name: str, **options: Any) -> runlog.Recorder:
    return runlog.Recorder(
        postgres_dsn=dsn, sqlite_path=tmp_path / f"{name}.db", **options
    )


# Schemas


@pytest.mark.parametrize("behind", ["", ", public"])
def test_each_schema_has_tables_of_its_own(
    postgres_server: PostgresServer, database: str, tmp_path: Path, behind: str
) -> None:
    """Also beside tables of runlog in public, and with recorders in one process."""
    dsn = postgres_server.dsn(database)
    with journaled(dsn, tmp_path, "public") as recorder:
        recorder.log_run(minimal("in public"))
    with ExitStack() as stack:
        recorders = {}
        for number, name in enumerate(TENANTS):
            run_query(dsn, f"CREATE SCHEMA {quoted(name)}")
            own = in_schema(dsn, quoted(name) + behind)
            recorders[name] = stack.enter_context(journaled(own, tmp_path, str(number)))
        for name, recorder in recorders.items():
            assert recorder.log_run(minimal("same", inputs={"of": name, "x": LARGE}))
        for name, recorder in recorders.items():
            (run,) = recorder.list_runs().runs
            assert run["run_id"] == "same"
            assert stored(recorder, "same")["inputs"] == {"of": name, "x": LARGE}
    for name in TENANTS:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"
        assert run_query(dsn, tables, name) == [(14,)]
    assert run_query(dsn, "SELECT run_id FROM public.workflow_runs") == [("in public",)]


def test_regression_a_search_path_that_a_pooler_leaves_out_is_told(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    """The runs of all tenants would be in the schema public."""
    postgres_server.query("CREATE SCHEMA tenant_a", dbname=database)
    with Bouncer(
        postgres_server, config="ignore_startup_parameters = options\n"
    ) as bouncer:
        dsn = bouncer.dsn(database)
        with journaled(in_schema(dsn, "tenant_a"), tmp_path, "a") as recorder:
            for call in (lambda: recorder.log_run(minimal()), recorder.list_runs):
                with pytest.raises(StoreError, match="does not arrive") as caught:
                    call()
                assert caught.value.retryable is False
        tables = "SELECT schemaname FROM pg_tables WHERE tablename = 'workflow_runs'"
        assert postgres_server.query(tables, dbname=database) == []
        postgres_server.query(
            f"ALTER DATABASE {database} SET search_path = tenant_a", dbname=database
        )
        bouncer.kill()  # its sessions know the search_path of before
        bouncer.start()
        with journaled(dsn, tmp_path, "b") as recorder:
            recorder.log_run(minimal())
        assert postgres_server.query(tables, dbname=database) == [("tenant_a",)]


@pytest.mark.parametrize("owner", ["role", "database"])
def test_a_search_path_of_the_role_or_the_database(
    postgres_server: PostgresServer, database: str, tmp_path: Path, owner: str
) -> None:
    role = f"tenant_{database}"
    postgres_server.query(f"CREATE ROLE {role} LOGIN")
    postgres_server.query(f"CREATE SCHEMA own AUTHORIZATION {role}", dbname=database)
    postgres_server.query('CREATE EXTENSION "uuid-ossp"', dbname=database)
    subject = f"ROLE {role}" if owner == "role" else f"DATABASE {database}"
    postgres_server.query(f"ALTER {subject} SET search_path = own")
    try:
        with journaled(postgres_server.dsn(database, role), tmp_path, "j") as recorder:
            recorder.log_run(minimal())
            assert stored(recorder)["status"] == "completed"
        rows = "SELECT schemaname FROM pg_tables WHERE tablename = 'workflow_runs'"
        assert postgres_server.query(rows, dbname=database) == [("own",)]
    finally:
        postgres_server.query(f"DROP OWNED BY {role} CASCADE", dbname=database)
        postgres_server.query(f"DROP ROLE {role}")


@pytest.mark.parametrize("where", ["extensions", "public", "tenant_a"])
def test_the_extension_may_be_in_any_schema(
    postgres_server: PostgresServer, database: str, tmp_path: Path, where: str
) -> None:
    dsn = postgres_server.dsn(database)
    for name in ("extensions", *TENANTS):
        run_query(dsn, f"CREATE SCHEMA {quoted(name)}")
    run_query(dsn, f'CREATE EXTENSION "uuid-ossp" SCHEMA {where}')
    for number, name in enumerate(TENANTS):
        own = in_schema(dsn, quoted(name))
        with journaled(own, tmp_path, str(number)) as recorder:
            recorder.log_run(minimal(name))
            assert stored(recorder, name)
        insert = (
            "INSERT INTO workflow_runs (wpk_id, run_id, status) VALUES ('w', 'x', '')"
        )
        run_query(own, insert)


def test_the_extension_does_not_go_with_the_schema_that_came_first(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    dsn = postgres_server.dsn(database)
    insert = "INSERT INTO workflow_runs (wpk_id, run_id, status) VALUES ('w', 'x', '')"
    for name in ("tenant_a", "tenant_b"):
        run_query(dsn, f"CREATE SCHEMA {name}")
        with journaled(in_schema(dsn, name), tmp_path, name) as recorder:
            recorder.log_run(minimal(name))
    run_query(dsn, "DROP SCHEMA tenant_a CASCADE")
    run_query(in_schema(dsn, "tenant_b"), insert)


@pytest.mark.parametrize("statement", ["DELETE FROM", "TRUNCATE"])
def test_a_deletion_from_elsewhere_touches_one_schema_only(
    postgres_server: PostgresServer, database: str, tmp_path: Path, statement: str
) -> None:
    """A client with the search_path of another schema deletes a tenant's runs."""
    dsn = postgres_server.dsn(database)
    run_query(dsn, "CREATE SCHEMA tenant_a")
    dsns = [dsn, in_schema(dsn, "tenant_a")]
    for number, one in enumerate(dsns):
        with journaled(one, tmp_path, str(number)) as recorder:
            recorder.log_run(minimal("same", inputs={"x": LARGE}))
        run_query(
            one,
            "INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at) "
            "SELECT id, wpk_id, 'pending', 0 FROM workflow_runs",
        )
        assert run_query(one, COUNTS) == [(1, 1, 1)]
    run_query(dsn, f"{statement} tenant_a.workflow_runs")
    assert [run_query(one, COUNTS) for one in dsns] == [[(1, 1, 1)], [(0, 0, 0)]]


def test_triggers_of_an_older_version_are_bound_to_their_schema(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    """So are those of a schema that was renamed."""
    dsn = postgres_server.dsn(database)
    run_query(dsn, "CREATE SCHEMA old")
    own = in_schema(dsn, "old")
    with journaled(own, tmp_path, "j") as recorder:
        recorder.log_run(minimal("r1", inputs={"x": LARGE}))
    functions = """SELECT oid::regprocedure, proconfig FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proconfig IS NOT NULL"""
    bound = run_query(own, functions)
    triggers = """SELECT count(*) FROM pg_proc WHERE prorettype = 'trigger'::regtype
        AND pronamespace = current_schema()::regnamespace
        AND proname <> 'workflow_runs_set_updated_at'"""  # which names no table
    assert [(len(bound),)] == run_query(own, triggers)
    for name, _ in bound:
        run_query(own, f"ALTER FUNCTION {name} RESET search_path")
    run_query(dsn, "ALTER SCHEMA old RENAME TO new")
    own = in_schema(dsn, "new")
    with journaled(own, tmp_path, "j") as recorder:
        recorder.log_run(minimal("r2"))
        assert {config[0] for _, config in run_query(own, functions)} == {
            "search_path=new, pg_temp"
        }
    run_query(dsn, "DELETE FROM new.workflow_runs")
    assert run_query(own, COUNTS) == [(0, 0, 0)]


@pytest.mark.parametrize("path", ["missing", "", "missing, also_missing"])
def test_a_search_path_without_a_schema_is_named(
    postgres_server: PostgresServer, database: str, tmp_path: Path, path: str
) -> None:
    run_query(
        postgres_server.dsn(database),
        f"ALTER DATABASE {database} SET search_path = {path or repr(path)}",
    )
    with journaled(postgres_server.dsn(database), tmp_path, "j") as recorder:
        with pytest.raises(StoreError, match="search_path") as caught:
            recorder.log_run(minimal())
        assert database in str(caught.value)


def test_tables_of_runlog_later_in_the_search_path_are_told(
    postgres_server: PostgresServer,
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever has had one schema so far, and makes another before it, learns why."""
    dsn = postgres_server.dsn(database)
    with journaled(dsn, tmp_path, "public") as recorder:
        recorder.log_run(minimal("before"))
    run_query(dsn, "CREATE SCHEMA postgres")  # of the role: "$user" comes first
    with caplog.at_level(logging.INFO, "runlog"):
        for name in ("first", "second"):
            with journaled(dsn, tmp_path, "user") as recorder:
                recorder.log_run(minimal(name))
                recorder.list_runs()
    (line,) = [r.getMessage() for r in caplog.records]
    assert "schema postgres" in line and "schema public" in line


def test_a_role_without_rights_is_told_of_its_schema(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    role = f"guest_{database}"
    postgres_server.query(f"CREATE ROLE {role} LOGIN")
    postgres_server.query("CREATE SCHEMA theirs", dbname=database)
    postgres_server.query(f"GRANT USAGE ON SCHEMA theirs TO {role}", dbname=database)
    postgres_server.query('CREATE EXTENSION "uuid-ossp"', dbname=database)
    dsn = in_schema(postgres_server.dsn(database, role), "theirs")
    try:
        with journaled(dsn, tmp_path, "j") as recorder, pytest.raises(StoreError) as e:
            recorder.log_run(minimal())
        assert f'GRANT CREATE, USAGE ON SCHEMA theirs TO "{role}"' in str(e.value)
    finally:
        postgres_server.query(f"DROP OWNED BY {role} CASCADE", dbname=database)
        postgres_server.query(f"DROP ROLE {role}")


# Tables of the same name

ADOPTED = """CREATE TABLE workflow_runs (id {uuid} PRIMARY KEY, wpk_id VARCHAR(99),
    run_id TEXT, inputs {json}, outputs {json}, status TEXT, duration_ms INTEGER,
    node_logs {json}, created_at {time}, updated_at {time}{more})"""
TYPES = {
    "sqlite": {"uuid": "TEXT", "json": "TEXT", "time": "TIMESTAMP"},
    "postgres": {"uuid": "UUID", "json": "JSONB", "time": "TIMESTAMPTZ"},
}
UNIQUE = ", UNIQUE (wpk_id, run_id)"
FOREIGN = {  # what is there, in whose way it is, and what of it is said
    "other columns": (
        "CREATE TABLE workflow_runs (id INTEGER PRIMARY KEY, name TEXT)",
        "workflow_runs",
        ["wpk_id", "updated_at", "id is integer"],
    ),
    "a view": (
        "CREATE VIEW workflow_runs AS SELECT 1 AS wpk_id",
        "workflow_runs",
        ["no table"],
    ),
    "not unique": (
        ADOPTED.replace("{more}", ""),
        "workflow_runs",
        ["UNIQUE (wpk_id, run_id)"],
    ),
    "a needed column": (
        ADOPTED.replace("{more}", ", tenant TEXT NOT NULL" + UNIQUE),
        "workflow_runs",
        ["tenant is NOT NULL"],
    ),
    "a column of ours": (
        ADOPTED.replace("{more}", ", thread_id TEXT" + UNIQUE),
        "workflow_runs",
        ["thread_id already"],
    ),
    "parts": (
        "CREATE TABLE run_parts (part_number INTEGER)",
        "run_parts",
        ["has not made it"],
    ),
    "embeddings": (
        "CREATE VIEW run_embeddings AS SELECT 1 AS x",
        "run_embeddings",
        ["has not made it"],
    ),
    "migrations": (
        "CREATE TABLE runlog_migrations (version INTEGER)",
        "runlog_migrations",
        ["number", "checksum"],
    ),
}
ONLY_SQLITE = {
    "a journal": (
        "CREATE TABLE Journal (entry TEXT)",
        "journal",
        ["has not made it"],
    ),
    "a virtual table": (
        "CREATE VIRTUAL TABLE workflow_runs USING fts5(wpk_id)",
        "workflow_runs",
        ["no table"],
    ),
    "a table without row ids": (
        ADOPTED.replace("{more}", UNIQUE) + " WITHOUT ROWID",
        "workflow_runs",
        ["it is WITHOUT ROWID"],
    ),
}
ONLY_POSTGRES = {
    "a materialized view": (
        "CREATE MATERIALIZED VIEW workflow_runs AS SELECT 'w' AS wpk_id",
        "workflow_runs",
        ["no table", "run_id"],
    ),
    "a foreign table": (
        (
            "CREATE EXTENSION file_fdw; "
            "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; "
            "CREATE FOREIGN TABLE workflow_runs (wpk_id TEXT) SERVER files "
            "OPTIONS (filename '/dev/null')"
        ),
        "workflow_runs",
        ["no table"],
    ),
    "a partitioned table": (
        "CREATE TABLE workflow_runs (day DATE) PARTITION BY RANGE (day)",
        "workflow_runs",
        ["wpk_id"],
    ),
    "a sequence": (
        "CREATE SEQUENCE run_parts",
        "run_parts",
        ["no table"],
    ),
    "deferrable": (
        ADOPTED.replace("{more}", UNIQUE + " DEFERRABLE"),
        "workflow_runs",
        ["UNIQUE (wpk_id, run_id)"],
    ),
    "an index": (
        "CREATE TABLE mine (x INT); CREATE INDEX run_parts ON mine (x)",
        "run_parts",
        ["no table"],
    ),
    "another type": (
        ADOPTED.replace("{more}", UNIQUE).replace("{json}", "JSON"),
        "workflow_runs",
        ["inputs is json, not jsonb"],
    ),
}


def schema_of(store: Store) -> Any:
    """All that is in the database, as its own catalog says."""
    if store.kind == "sqlite":
        return (
            store.query("SELECT type, name, sql FROM sqlite_master ORDER BY name"),
            store.query("PRAGMA journal_mode"),
        )
    return store.query(
        "SELECT relname, relkind::text, relnatts FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace ORDER BY relname"
    ) + store.query("SELECT extname FROM pg_extension ORDER BY extname")


def check_foreign(store: Store, case: tuple[str, str, list[str]]) -> None:
    sql, table, said = case
    for statement in sql.format(**TYPES[store.kind]).split("; "):
        store.query(statement)
    before = schema_of(store)
    with runlog.Recorder(**store.options) as recorder:
        for call in (lambda: recorder.log_run(minimal()), recorder.list_runs):
            with pytest.raises(StoreError) as caught:
                call()
            text = str(caught.value)
            for part in (table, *said, "Nothing was changed"):
                assert part.lower() in text.lower(), text
            assert caught.value.retryable is False
    assert schema_of(store) == before


@pytest.mark.parametrize("case", FOREIGN)
def test_a_table_of_somebody_elses_is_named_and_left_alone(
    store: Store, case: str
) -> None:
    check_foreign(store, FOREIGN[case])


@pytest.mark.parametrize("case", ONLY_SQLITE)
def test_the_same_of_what_only_sqlite_has(tmp_path: Path, case: str) -> None:
    path = str(tmp_path / "runs.db")
    check_foreign(Store("sqlite", {"sqlite_path": path}, {}), ONLY_SQLITE[case])


@pytest.mark.parametrize("case", ONLY_POSTGRES)
def test_the_same_of_what_only_postgres_has(
    postgres_server: PostgresServer, database: str, tmp_path: Path, case: str
) -> None:
    options = {
        "postgres_dsn": postgres_server.dsn(database),
        "sqlite_path": str(tmp_path / "j.db"),
    }
    check_foreign(Store("postgres", options, {}), ONLY_POSTGRES[case])


TABLES = {  # but for workflow_runs, and what SQLite or an extension keeps a table in
    "sqlite": (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'workflow_runs' "
        "AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'run_words_text_%'"
    ),
    "postgres": (
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname <> 'workflow_runs' "
        "AND relnamespace = 'public'::regnamespace"
    ),
}


def error_of(store: Store) -> str:
    with runlog.Recorder(**store.options) as recorder:
        with pytest.raises(StoreError) as caught:
            recorder.log_run(minimal())
        assert caught.value.retryable is False
        return str(caught.value)


def test_regression_a_table_with_any_name_of_runlogs_is_named(
    store: Store, tmp_path: Path
) -> None:
    with runlog.Recorder(**store.options) as recorder:
        recorder.list_runs()
    names = [name for (name,) in store.query(TABLES[store.kind])]
    assert {"runlog_owners", "run_rollup", "run_words"} < {*names}
    for name in names:
        other = store
        if store.kind == "sqlite":
            other = Store("sqlite", {"sqlite_path": str(tmp_path / f"{name}.db")}, {})
        else:
            store.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        other.query(f"CREATE TABLE {name} (x INTEGER)")
        before = schema_of(other)
        text = error_of(other)
        assert name in text and "Nothing was changed. Rename it" in text
        assert schema_of(other) == before


@pytest.mark.parametrize(
    "name", ["workflow_runs_run_id_idx", "run_rollup", "workflow_runs_mark_deleted"]
)
def test_regression_what_a_later_migration_finds_in_its_way_is_named(
    store: Store, name: str
) -> None:
    """An index, a table that came after the first migrations, a trigger or function."""
    theirs = f"CREATE INDEX {name} ON mine (x)"
    if name == "run_rollup":
        theirs = f"CREATE VIEW {name} AS SELECT 1 AS x"
        with runlog.Recorder(**store.options) as recorder:
            recorder.log_run(minimal())
        store.query(f"DROP TABLE {name}")
        store.query("DELETE FROM runlog_migrations WHERE number >= 13")
    elif name.endswith("deleted"):
        function = "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        theirs = f"CREATE FUNCTION {name}() {function}"
        if store.kind == "sqlite":
            name = "workflow_runs_rollup_deleted"
            theirs = f"CREATE TRIGGER {name} INSERT ON mine BEGIN SELECT 1; END"
    store.query("CREATE TABLE mine (x INTEGER)")
    store.query(theirs)
    text = error_of(store)
    assert name in text and "runlog has not made it" in text
    assert "was changed. Rename it" in text


def test_a_table_with_the_right_columns_is_adopted(store: Store) -> None:
    more = ", note TEXT, tenant TEXT NOT NULL DEFAULT 'x'" + UNIQUE
    store.query(ADOPTED.format(**TYPES[store.kind], more=more))
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal(thread_id="t"))
        assert stored(recorder)["thread_id"] == "t"
    assert store.query("SELECT tenant FROM workflow_runs") == [("x",)]


def test_other_tables_do_not_matter(store: Store) -> None:
    store.query("CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT)")
    store.query("INSERT INTO runs VALUES (1, 'theirs')")
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal())
        assert stored(recorder)
    assert store.query("SELECT * FROM runs") == [(1, "theirs")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE run_parts", "run_parts"),
        ("ALTER TABLE workflow_runs DROP COLUMN error_text CASCADE", "error_text"),
        ("ALTER TABLE run_embeddings RENAME state TO phase", "state"),
    ],
)
def test_what_has_gone_since_is_named(
    postgres_server: PostgresServer,
    database: str,
    tmp_path: Path,
    change: str,
    said: str,
) -> None:
    dsn = postgres_server.dsn(database)
    for expected in ("", said):
        with journaled(dsn, tmp_path, "j") as recorder:
            if not expected:
                recorder.log_run(minimal())
                continue
            run_query(dsn, change)
            with pytest.raises(StoreError, match=f"lacks {said}|{said}.*is missing"):
                recorder.log_run(minimal())


# Encodings

TEXTS = ["caf\u00e9", "\u6f22\u5b57", "\U0001f600", "\u201cquoted\u201d \u2014"]


def encoded(server: PostgresServer, name: str, encoding: str) -> str:
    """A database in that encoding; its DSN."""
    server.query(
        f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 "
        "LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    return server.dsn(name)


@pytest.fixture
def other_name(postgres_server: PostgresServer) -> Iterator[str]:
    yield "other_encoding"
    postgres_server.drop_database("other_encoding")


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP", "LATIN9"])
def test_an_encoding_that_lacks_characters_is_named_at_the_start(
    postgres_server: PostgresServer, other_name: str, tmp_path: Path, encoding: str
) -> None:
    """Runs of graphs wait in the journal for a database that can hold them."""
    dsn = encoded(postgres_server, other_name, encoding)
    with journaled(dsn, tmp_path, "j", durability="journal") as recorder:
        for number, text in enumerate(TEXTS):
            recorder.log_run(minimal(f"r{number}", outputs={"text": text}))
        with pytest.raises(StoreError) as caught:
            recorder.list_runs()
        for part in (other_name, encoding, "UTF8"):
            assert part in str(caught.value)
        stats = recorder.stats()
        assert (stats["waiting"], stats["rejected"]) == (len(TEXTS), 0)
    assert run_query(
        dsn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    ) == [(0,)]
    utf8 = postgres_server.dsn(postgres_server.create_database())
    give_away(tmp_path / "j.db")
    with journaled(utf8, tmp_path, "j") as recorder:
        for number, text in enumerate(TEXTS):
            assert stored(recorder, f"r{number}")["outputs"] == {"text": text}


def test_tables_in_such_an_encoding_are_used_and_it_is_told_once(
    postgres_server: PostgresServer,
    other_name: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An earlier version made them; what the server refuses is kept in the journal."""
    dsn = encoded(postgres_server, other_name, "LATIN1")
    made = postgres_server.create_database()
    with journaled(postgres_server.dsn(made), tmp_path, "made") as recorder:
        recorder.log_run(minimal("ascii"))
    dump = [str(postgres_server.bindir / "pg_dump"), "-d", postgres_server.dsn(made)]
    load = [str(postgres_server.bindir / "psql"), "-q", "-d", dsn]
    env = plain_environment()
    copied = subprocess.run(dump, capture_output=True, check=True, env=env)
    subprocess.run(load, input=copied.stdout, capture_output=True, check=True, env=env)
    with (
        caplog.at_level(logging.INFO, "runlog"),
        journaled(dsn, tmp_path, "j") as recorder,
    ):
        recorder.log_run(minimal("latin", outputs={"text": "caf\u00e9"}))
        assert stored(recorder, "latin")["outputs"] == {"text": "caf\u00e9"}
        with pytest.raises(StoreError, match="journal_rejected"):
            recorder.log_run(minimal("emoji", outputs={"text": "\U0001f600"}))
        assert recorder.stats()["rejected"] == 1
    assert [other_name in r.getMessage() for r in caplog.records].count(True) == 1
    first = caplog.records[0]
    assert first.levelname == "WARNING" and "LATIN1" in first.getMessage()
    with closing(sqlite3.connect(tmp_path / "j.db")) as journal:
        ((kept,),) = journal.execute("SELECT outputs FROM journal_rejected").fetchall()
    assert "\U0001f600" in kept


def test_sql_ascii_takes_every_text(
    postgres_server: PostgresServer, other_name: str, tmp_path: Path
) -> None:
    dsn = encoded(postgres_server, other_name, "SQL_ASCII")
    with journaled(dsn, tmp_path, "j") as recorder:
        for text in TEXTS:
            recorder.log_run(
                minimal(text, outputs={text: [text, "\x01"]}, error_text=text)
            )
        for text in TEXTS:
            got = stored(recorder, text)
            assert (got["outputs"], got["error_text"]) == ({text: [text, "\x01"]}, text)
        assert recorder.stats()["rejected"] == 0


@pytest.mark.parametrize("where", ["environment", "DSN", "options", "role", "database"])
def test_a_client_encoding_changes_nothing(
    postgres_server: PostgresServer,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    dsn = postgres_server.dsn(database)
    if where == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    elif where == "DSN":
        dsn = make_conninfo(dsn, client_encoding="LATIN1")
    elif where == "options":
        dsn = make_conninfo(dsn, options="-c client_encoding=LATIN1")
    elif where == "database":
        run_query(dsn, f"ALTER DATABASE {database} SET client_encoding = 'LATIN1'")
    else:
        run_query(dsn, f"CREATE ROLE latin_{database} LOGIN SUPERUSER")
        run_query(dsn, f"ALTER ROLE latin_{database} SET client_encoding = 'LATIN1'")
        dsn = make_conninfo(dsn, user=f"latin_{database}")
    with journaled(dsn, tmp_path, "j") as recorder:
        for text in TEXTS:
            recorder.log_run(minimal(text, outputs={"text": text}))
            assert stored(recorder, text)["outputs"] == {"text": text}
