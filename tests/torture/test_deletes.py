"""Deletions of many runs: nobody waits for them, and what they report is true.

A test that counts what others did beside a deletion does not depend on how fast the
machine is: with one long transaction they would have done next to nothing.
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from fixtures_store import Store
from helpers import minimal, until
from stopwatch import Stopwatch
from torture.clusters import Bouncer
from torture.proxy import Proxy

import runlog
from runlog import ClosedError, StoreError

MANY = 10_000
SHORT = 0.5
"""A time-out that a test waits for."""
PATIENT = 60.0

FILL = {
    "sqlite": """
        WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL
            SELECT n + 1 FROM numbers WHERE n + 1 < ?)
        INSERT INTO workflow_runs
            (id, wpk_id, run_id, status, created_at, updated_at, revision)
        SELECT printf('00000000-0000-7000-8000-%012d', n), 'old', n,
            CASE WHEN n % 3 = 0 THEN 'failed' ELSE 'completed' END,
            printf('2020-01-01T00:00:00.%06dZ', n / 7), '2020-01-01T00:00:00.000000Z', 1
        FROM numbers""",
    "postgres": """
        INSERT INTO workflow_runs
            (id, wpk_id, run_id, status, created_at, updated_at, revision)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 'old', n::text,
            CASE WHEN n % 3 = 0 THEN 'failed' ELSE 'completed' END,
            '2020-01-01'::timestamptz + n / 7 * interval '1 microsecond', '2020-01-01', 1
        FROM generate_series(0, ?::int - 1) AS n""",
}
LEFT = "SELECT count(*) FROM workflow_runs WHERE wpk_id = 'old'"

BUSY = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active' "
    "AND application_name = 'runlog'"
)


def fill(store: Store, count: int) -> None:
    """Store runs of the workflow "old", as if they had been logged long ago."""
    if count > 0:
        store.query(FILL[store.kind], count)


def left_in(store: Store) -> int:
    ((count,),) = store.query(LEFT)
    return int(count)


@pytest.fixture
def old(recorder: Any, store: Store) -> Any:
    """A recorder whose database has MANY old runs and one that stays."""
    recorder.log_run(minimal("stays"))
    fill(store, MANY)
    return recorder


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def run_beside(deletion: Future[int], act: Callable[[], Any]) -> int:
    """Act until the deletion ends; how often that was, before its end."""
    count = 0
    while not deletion.done():
        act()
        count += not deletion.done()
    return count


@pytest.mark.long_with("postgres")
def test_nobody_waits_for_a_deletion(
    old: Any, store: Store, threads: ThreadPoolExecutor
) -> None:
    """Neither this process's calls nor those of another recorder."""
    with runlog.Recorder(**store.options) as other:
        names = iter(range(10**9))
        acts = [
            lambda: old.log_run(minimal(f"here-{next(names)}")),
            lambda: old.get_run("stays"),
            lambda: old.list_runs(wpk_id="w", limit=5),
            lambda: other.log_run(minimal(f"there-{next(names)}")),
            lambda: other.get_run("stays"),
        ]
        deletion = threads.submit(old.delete_runs, wpk_id="old")
        counts = [threads.submit(run_beside, deletion, act) for act in acts]
        assert deletion.result() == MANY
        assert min(count.result() for count in counts) >= 10
    assert left_in(store) == 0
    assert store.query("SELECT count(*) FROM workflow_runs WHERE run_id = 'stays'") == [
        (1,)
    ]


FORKS = """
import os, threading, time
import runlog
with runlog.Recorder(**{options}) as recorder:
    deletion = threading.Thread(target=recorder.delete_runs, kwargs={{"wpk_id": "old"}})
    deletion.start()
    forks = 0
    while deletion.is_alive():
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        forks += deletion.is_alive()
        time.sleep(0.02)  # else the file is closed more often than it is open
    print(forks)
"""


@pytest.mark.long_with("postgres")
def test_a_fork_does_not_wait_for_a_deletion(
    old: Any, store: Store, run_python: Any
) -> None:
    assert int(run_python(FORKS.format(options=store.options)).stdout) >= 10
    assert left_in(store) == 0
    assert old.delete_runs(wpk_id="old") == 0


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2000, 3456])
def test_a_deletion_of_any_size_is_whole(recorder: Any, store: Store, count: int) -> None:
    """Many runs share a time, so their ids decide where a batch begins."""
    recorder.log_run(minimal("stays"))
    fill(store, count)
    failed = (count + 2) // 3
    assert recorder.delete_runs(wpk_id="old", status="failed") == failed
    assert left_in(store) == count - failed
    until_2021 = datetime(2021, 1, 1, tzinfo=UTC)
    assert recorder.delete_runs(before=until_2021) == count - failed
    assert recorder.delete_runs(before=until_2021) == 0
    assert recorder.get_run("stays") is not None


ODD_TIMES = {
    "sqlite": ("'2020-01-01 00:00:00'", "'yesterday'", "''"),
    "postgres": ("NULL", "'infinity'", "'-infinity'"),
}


def test_runs_whose_times_are_not_runlogs_go(recorder: Any, store: Store) -> None:
    """More of them than runlog reads at a time, so none can be where it goes on."""
    recorder.log_run(minimal("stays"))
    fill(store, 4000)
    for number, time in enumerate(ODD_TIMES[store.kind]):
        store.query(
            f"UPDATE workflow_runs SET created_at = {time} WHERE wpk_id = 'old' "
            f"AND CAST(run_id AS INTEGER) BETWEEN {number * 1100} "
            f"AND {number * 1100 + 1099}"
        )
    assert recorder.delete_runs(wpk_id="old") == 4000
    assert left_in(store) == 0


def test_ids_that_are_not_runlogs_go(recorder: Any, store: Store) -> None:
    if store.kind == "postgres":
        return  # there an id is a UUID
    recorder.log_run(minimal("stays"))
    fill(store, 2500)
    store.query("UPDATE workflow_runs SET id = substr(id, 33) WHERE wpk_id = 'old'")
    store.query(
        "UPDATE workflow_runs SET id = 'it''s, ' || id || id || id "
        "WHERE wpk_id = 'old' AND status = 'failed'"
    )
    assert recorder.delete_runs(wpk_id="old") == 2500


@pytest.mark.long_with("postgres")
def test_an_interrupted_deletion_ends(
    old: Any, store: Store, threads: ThreadPoolExecutor
) -> None:
    """What it has deleted is deleted."""

    def interrupt() -> None:
        until(lambda: left_in(store) < MANY)
        signal.raise_signal(signal.SIGINT)

    interrupting = threads.submit(interrupt)
    with pytest.raises(KeyboardInterrupt):
        old.delete_runs(wpk_id="old")
    interrupting.result()
    left = left_in(store)
    assert 0 < left < MANY
    assert old.delete_runs(wpk_id="old") == left


def deleted_before(error: BaseException) -> int:
    """The number of runs that a deletion's error names."""
    words = str(error).split("delete_runs had deleted ")
    assert len(words) == 2, error
    return int(words[1].split()[0])


def test_closing_ends_a_deletion(
    old: Any, store: Store, threads: ThreadPoolExecutor
) -> None:
    deletion = threads.submit(old.delete_runs, wpk_id="old")
    until(lambda: left_in(store) < MANY)
    old.close()
    with pytest.raises(ClosedError) as caught:
        deletion.result()
    assert deleted_before(caught.value) == MANY - left_in(store)
    assert left_in(store) > 0


REFUSE = {
    "sqlite": "CREATE TRIGGER kept BEFORE DELETE ON workflow_runs WHEN old.run_id = '77' "
    "BEGIN SELECT RAISE(ABORT, 'this one stays'); END",
    "postgres": "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF old.run_id = '77' THEN RAISE 'this one stays'; END IF; RETURN old; END $$; "
    "CREATE TRIGGER kept BEFORE DELETE ON workflow_runs FOR EACH ROW "
    "EXECUTE FUNCTION keep()",
}


def test_a_failure_says_what_was_deleted_before(recorder: Any, store: Store) -> None:
    recorder.log_run(minimal("stays"))
    fill(store, 5000)
    store.query(REFUSE[store.kind])
    with pytest.raises(StoreError, match="this one stays") as caught:
        recorder.delete_runs(wpk_id="old")
    assert deleted_before(caught.value) == 5000 - left_in(store) > 3000
    assert not caught.value.retryable


def test_a_deletion_leaves_no_long_wal(old: Any, store: Store) -> None:
    """The worker's checkpoints get in."""
    if store.kind == "postgres":
        return
    with contextlib.closing(sqlite3.connect(store.options["sqlite_path"])) as other:
        other.execute("UPDATE workflow_runs SET outputs = printf('%.3000c', 'x')")
        other.commit()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert old.delete_runs(wpk_id="old") == MANY
    assert Path(store.options["sqlite_path"] + "-wal").stat().st_size < 64 << 20


class Served:
    """A database of a server that a test stops, blocks and slows down."""

    def __init__(self, server: PostgresServer, name: str, journal: str) -> None:
        self.server = server
        self.name = name
        self.journal = journal

    def recorder(self, dsn: str | None = None, **options: Any) -> runlog.Recorder:
        """One with a connection. The tables, which another makes, take longer than
        SHORT on a busy machine, and so may the first read.
        """
        given: dict[str, Any] = {
            "postgres_dsn": dsn or self.server.dsn(self.name),
            "sqlite_path": self.journal,
            "postgres_pool": 1,
            "words": False,
        }
        with runlog.Recorder(**given, postgres_timeout=PATIENT) as earlier:
            earlier.log_run(minimal("first"))
            assert earlier.flush(60)
        made = runlog.Recorder(**given | {"postgres_timeout": SHORT} | options)
        until(lambda: self.answers(made))
        return made

    @staticmethod
    def answers(recorder: runlog.Recorder) -> bool:
        with contextlib.suppress(StoreError):
            return bool(recorder.list_runs().runs)
        return False

    def fill(self, count: int) -> None:
        self.query(FILL["postgres"].replace("?", str(count)))

    def query(self, sql: str) -> list[Any]:
        return self.server.query(sql, dbname=self.name)

    def left(self) -> int:
        return int(self.query(LEFT)[0][0])

    def busy(self) -> int:
        """runlog's sessions that the server is working for."""
        return int(self.server.query(BUSY, self.name)[0][0])

    @contextlib.contextmanager
    def locked(self, sql: str) -> Iterator[psycopg.Connection[Any]]:
        """Another transaction holds what this statement locks."""
        with psycopg.connect(self.server.dsn(self.name)) as other:
            other.execute(sql.encode())
            yield other
            other.rollback()


@pytest.fixture
def served(own_server: PostgresServer, tmp_path: Any) -> Iterator[Served]:
    name = own_server.create_database()
    yield Served(own_server, name, str(tmp_path / "journal.db"))
    own_server.drop_database(name)


LOCK_RUN = "SELECT FROM workflow_runs WHERE run_id = '{}' FOR UPDATE"


@pytest.mark.parametrize("bouncer", [False, True], ids=["direct", "PgBouncer"])
def test_a_locked_run_ends_a_deletion(served: Served, bouncer: bool) -> None:
    """It is cancelled in the server, and the runs before it are counted."""
    with contextlib.ExitStack() as stack:
        dsn = None
        if bouncer:
            dsn = stack.enter_context(Bouncer(served.server)).dsn(served.name)
        recorder = stack.enter_context(served.recorder(dsn))
        served.fill(2000)
        with served.locked(LOCK_RUN.format(77)):
            watch = Stopwatch()
            with pytest.raises(StoreError, match="cancel") as caught:
                recorder.delete_runs(wpk_id="old")
            assert watch.seconds < 8 * SHORT + 2
            assert caught.value.retryable
            until(lambda: served.busy() == 0)
            left = served.left()
            assert deleted_before(caught.value) == 2000 - left
            assert left < 1000
        assert recorder.delete_runs(wpk_id="old") == left
        stats = recorder.stats()
        assert (stats["server"], stats["journaled"]) == ("up", 0)


def test_a_read_that_is_given_up_is_cancelled(served: Served) -> None:
    with served.recorder() as recorder:
        with served.locked("LOCK TABLE workflow_runs IN ACCESS EXCLUSIVE MODE"):
            for read in (recorder.list_runs, lambda: recorder.get_run("first")):
                with pytest.raises(StoreError, match="not answered") as caught:
                    read()
                assert caught.value.retryable
                until(lambda: served.busy() == 0)
        assert recorder.get_run("first") is not None


SLOW = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "PERFORM pg_sleep(0.02); RETURN old; END $$; CREATE TRIGGER slow BEFORE DELETE "
    "ON workflow_runs FOR EACH ROW EXECUTE FUNCTION slow()"
)


@pytest.mark.parametrize("limit", ["runlog", "server"])
def test_a_batch_that_takes_too_long_is_made_smaller(served: Served, limit: str) -> None:
    """Whoever ends it: it is known that it did nothing."""
    with served.recorder() as recorder:
        served.fill(100)
        served.query(SLOW)
        if limit == "server":
            setting = "statement_timeout = 300"
            served.query(f"ALTER DATABASE {served.name} SET {setting}")
        with served.recorder(
            postgres_timeout=SHORT if limit == "runlog" else PATIENT
        ) as fresh:
            assert fresh.delete_runs(wpk_id="old") == 100
        assert served.left() == 0
        assert recorder.delete_runs(wpk_id="old") == 0


def waits_in_server(served: Served, sql: str) -> bool:
    """Whether a statement of runlog's that begins so waits for a lock."""
    return bool(
        served.query(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'runlog' "
            f"AND wait_event_type = 'Lock' AND query LIKE '{sql}%'"
        )
    )


def test_a_deletion_whose_answer_is_lost_is_sent_again(
    served: Served, threads: ThreadPoolExecutor
) -> None:
    """The connection breaks before the commit: the server has rolled it back."""
    with Proxy(("127.0.0.1", served.server.port)) as proxy:
        dsn = psycopg.conninfo.make_conninfo(
            served.server.dsn(served.name, tcp=True), port=proxy.port
        )
        with served.recorder(dsn, postgres_timeout=PATIENT) as recorder:
            served.fill(3)
            with served.locked(LOCK_RUN.format(2)) as other:
                deletion = threads.submit(recorder.delete_runs, wpk_id="old")
                until(lambda: waits_in_server(served, "DELETE"))
                proxy.cut_after(1, up=False)
                other.rollback()
                assert deletion.result(PATIENT) == 3
            assert served.left() == 0


WAIT_AT_COMMIT = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait AFTER DELETE ON workflow_runs
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()
"""


def test_a_deletion_that_may_be_committed_is_not_sent_twice(
    served: Served, threads: ThreadPoolExecutor
) -> None:
    """The connection breaks while the commit's answer is on its way."""
    with Proxy(("127.0.0.1", served.server.port)) as proxy:
        dsn = psycopg.conninfo.make_conninfo(
            served.server.dsn(served.name, tcp=True), port=proxy.port
        )
        with served.recorder(dsn, postgres_timeout=PATIENT) as recorder:
            served.fill(3)
            served.query(WAIT_AT_COMMIT)
            with served.locked("SELECT pg_advisory_xact_lock(7)") as other:
                deletion = threads.submit(recorder.delete_runs, wpk_id="old")
                until(lambda: waits_in_server(served, "COMMIT"))
                proxy.cut_after(1, up=False)
                other.rollback()
                with pytest.raises(StoreError, match="3 of its last") as caught:
                    deletion.result(PATIENT)
            assert "at least 0 runs" in str(caught.value)
            assert caught.value.retryable
            until(lambda: served.left() == 0)
            assert recorder.delete_runs(wpk_id="old") == 0


def test_a_deletion_behind_a_silent_network_ends(
    served: Served, threads: ThreadPoolExecutor
) -> None:
    """No cancel request arrives, and the server can't be reached again. It has committed
    nothing.
    """
    with Proxy(("127.0.0.1", served.server.port)) as proxy:
        dsn = psycopg.conninfo.make_conninfo(
            served.server.dsn(served.name, tcp=True), port=proxy.port
        )
        with served.recorder(dsn, postgres_timeout=2) as recorder:
            served.fill(3)
            with served.locked(LOCK_RUN.format(2)):
                deletion = threads.submit(recorder.delete_runs, wpk_id="old")
                until(lambda: waits_in_server(served, "DELETE"))
                proxy.stall()
                watch = Stopwatch()
                with pytest.raises(StoreError, match="timeout expired") as caught:
                    deletion.result(PATIENT)
                assert watch.seconds < 10  # its time-outs add up to 5 s
                assert caught.value.retryable
            proxy.forward()
            until(lambda: served.busy() == 0)
            assert served.left() == 3
            assert recorder.delete_runs(wpk_id="old") == 3


def test_a_deletion_after_a_restart_is_sent_again(served: Served) -> None:
    """The connection had died before: the server has not seen the statement."""
    with served.recorder(postgres_timeout=PATIENT) as recorder:
        for _ in range(3):
            served.fill(10)
            served.server.halt()
            served.server.resume()
            until(lambda: served.left() == 10)
            assert recorder.delete_runs(wpk_id="old") == 10
