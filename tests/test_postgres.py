"""What only PostgreSQL has: connection strings, cut connections, generic plans."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from helpers import minimal, stored, until

import runlog

OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = %s AND pid <> pg_backend_pid()"
)


@pytest.fixture
def dbname(postgres_server: PostgresServer) -> str:
    return postgres_server.create_database()


def test_a_dsn_may_list_several_hosts(
    postgres_server: PostgresServer, dbname: str
) -> None:
    """The first host refuses, the second is taken."""
    dsn = (
        f"host=127.0.0.1,{postgres_server.folder} port=1,{postgres_server.port} "
        f"dbname={dbname} user=postgres target_session_attrs=read-write"
    )
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        assert recorder.log_run(minimal()) == "r1"
        assert stored(recorder)["status"] == "completed"


def test_a_dsn_may_be_a_uri(postgres_server: PostgresServer, dbname: str) -> None:
    uri = f"postgresql://postgres@127.0.0.1:{postgres_server.port}/{dbname}"
    with runlog.Recorder(postgres_dsn=uri) as recorder:
        assert recorder.log_run(minimal()) == "r1"
    with psycopg.connect(uri) as other:
        assert other.execute("SELECT run_id FROM workflow_runs").fetchall() == [("r1",)]


def test_connections_have_an_application_name(
    postgres_server: PostgresServer, dbname: str
) -> None:
    dsn = postgres_server.dsn(dbname)
    with runlog.Recorder(postgres_dsn=dsn, words=False) as recorder:
        recorder.log_run(minimal())
        recorder.list_runs()
        names = postgres_server.query(
            "SELECT application_name FROM pg_stat_activity WHERE datname = %s", dbname
        )
    assert names == [("runlog",), ("runlog",)]


SEE_KEEPALIVES = """
CREATE TABLE seen (action text, idle text, wait text, count text, unacknowledged text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (TG_OP, current_setting('tcp_keepalives_idle'),
        current_setting('tcp_keepalives_interval'),
        current_setting('tcp_keepalives_count'), current_setting('tcp_user_timeout'));
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER see BEFORE INSERT OR DELETE ON workflow_runs
    FOR EACH ROW EXECUTE FUNCTION see();
"""


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ("", ("30", "10", "3", "60000")),
        ("-c tcp_keepalives_idle=77 -c tcp_user_timeout=5s", ("77", "10", "3", "5000")),
    ],
)
def test_the_server_notices_that_our_machine_vanishes(
    postgres_server: PostgresServer, dbname: str, options: str, seen: tuple[str, ...]
) -> None:
    """By default it would keep the locks of our rows for hours. A setting of the user's
    own stays.
    """
    dsn = psycopg.conninfo.make_conninfo(
        postgres_server.dsn(dbname, tcp=True), options=options
    )
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        recorder.log_run(minimal("first"))
    postgres_server.query(SEE_KEEPALIVES, dbname=dbname)
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        recorder.log_run(minimal("second"))  # by the connection that writes
        recorder.delete_runs(run_id="second")  # by one of the pool
    rows = postgres_server.query("SELECT * FROM seen ORDER BY action", dbname=dbname)
    assert rows == [("DELETE", *seen), ("INSERT", *seen)]


def test_dropped_connections_are_reopened(
    postgres_server: PostgresServer, dbname: str
) -> None:
    """Nobody is told: a run that is repeated changes nothing."""
    dsn = postgres_server.dsn(dbname)
    # The index of words has a connection of its own, now and then.
    with runlog.Recorder(postgres_dsn=dsn, words=False) as recorder:
        recorder.log_run(minimal("before"))
        assert stored(recorder, "before")
        assert postgres_server.query(OTHERS, dbname) == [(2,)]
        recorder.log_run(minimal("after"))
        assert {run["run_id"] for run in recorder.list_runs().runs} == {"before", "after"}
        assert recorder.stats()["failed"] == 0


def entries_read(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes "
        "WHERE relname = 'workflow_runs'"
    ).fetchone()
    return int(row[0]) if row is not None else 0


def test_a_page_of_a_big_workflow_reads_its_index_only(
    postgres_server: PostgresServer, dbname: str
) -> None:
    """A generic plan would sort the whole workflow for each page."""
    dsn = postgres_server.dsn(dbname)
    # The index of words reads the rows, too.
    with runlog.Recorder(postgres_dsn=dsn, words=False) as recorder:
        recorder.log_run(minimal())
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute(
                "INSERT INTO workflow_runs (wpk_id, run_id, status, created_at) "
                "SELECT 'big', 'b' || n, 'completed', now() - n * interval '1 s' "
                "FROM generate_series(1, 20000) AS n"
            )
            other.execute("ANALYZE workflow_runs")
            for _ in range(10):
                assert len(recorder.get_runs_by_wpk_id("big")) == 20
            recorder.close()
            until(lambda: entries_read(other) >= 200)  # as the connection's end tells
            read = entries_read(other)
    assert read <= 400, f"{read} index entries for ten pages of 20"


def test_no_sqlite_file_is_created_with_postgres(
    postgres_server: PostgresServer, dbname: str, tmp_path: Path
) -> None:
    with runlog.Recorder(postgres_dsn=postgres_server.dsn(dbname)) as recorder:
        recorder.log_run(minimal())
    assert list(tmp_path.glob("*.db*")) == []
