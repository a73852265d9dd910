"""The connections for reads (postgres_pool): what they keep apart, and how many they are.

Another session's locks keep the server's processes waiting, so that it is known who is
where; nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from helpers import minimal, stored, until

import runlog
from runlog import StoreError

PATIENT = 60.0
"""A time-out that is over on no machine while a test runs."""

OURS = (
    "SELECT pid, wait_event_type FROM pg_stat_activity WHERE datname = %s "
    "AND application_name = 'runlog'"
)
NO_WRITES, NO_READS = "SHARE", "ACCESS EXCLUSIVE"


@dataclass(frozen=True)
class Database:
    """An empty database, and its open connections."""

    server: PostgresServer
    name: str
    journal: str

    def recorder(
        self, pool: int, timeout: float = PATIENT, *, words: bool = False
    ) -> runlog.Recorder:
        """A recorder that has written, so that it has its connection for that."""
        made = runlog.Recorder(
            postgres_dsn=self.server.dsn(self.name),
            sqlite_path=self.journal,
            postgres_pool=pool,
            postgres_timeout=timeout,
            words=words,
        )
        made.log_run(minimal("first"))
        return made

    def connections(self) -> set[int]:
        """The server's processes that runlog is connected to."""
        return {pid for pid, _ in self.server.query(OURS, self.name)}

    def waiting(self) -> set[int]:
        """Those of them that wait for a lock."""
        return {pid for pid, on in self.server.query(OURS, self.name) if on == "Lock"}

    @contextlib.contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """Another session: what it does to the table has not been after that."""
        with psycopg.connect(self.server.dsn(self.name)) as other:
            try:
                yield other
            finally:
                other.rollback()

    @contextlib.contextmanager
    def locked(self, mode: str) -> Iterator[None]:
        """Another session holds a lock on the table."""
        with self.session() as other:
            other.execute(f"LOCK TABLE workflow_runs IN {mode} MODE".encode())
            yield


@pytest.fixture
def database(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Database]:
    with postgres_server.borrow_database() as name:
        yield Database(postgres_server, name, str(tmp_path / "journal.db"))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls that wait; each test lets its own go before it ends."""
    with ThreadPoolExecutor(16) as made:
        yield made


def reads(recorder: runlog.Recorder) -> list[Callable[[], Any]]:
    """Every way to read."""
    return [
        lambda: stored(recorder, "first")["run_id"],
        lambda: recorder.get_run("first", "w"),
        lambda: recorder.get_runs_by_wpk_id("w"),
        lambda: recorder.list_runs(limit=5).runs,
    ]


def test_a_reader_does_not_wait_for_a_writer(
    database: Database, threads: ThreadPoolExecutor
) -> None:
    """Not even with one connection for reads, and with one writer after the other."""
    with database.recorder(1) as recorder:
        with database.locked(NO_WRITES):
            written = [
                threads.submit(recorder.log_run, minimal(f"r{n}")) for n in range(4)
            ]
            until(lambda: len(database.waiting()) == 1)
            for read in reads(recorder):
                assert read()
            assert not any(call.done() for call in written)
            assert recorder.get_run("r0") is None
        assert [call.result(PATIENT) for call in written] == ["r0", "r1", "r2", "r3"]
        assert recorder.stats()["journaled"] == 0
        assert len(recorder.list_runs().runs) == 5


def test_a_writer_does_not_wait_for_a_deletion(
    database: Database, threads: ThreadPoolExecutor
) -> None:
    """Which waits for a row on the only connection for reads, so readers wait, too."""
    with database.recorder(1) as recorder:
        recorder.log_run(minimal("doomed"))
        with database.session() as other:
            other.execute("SELECT FROM workflow_runs WHERE run_id = 'doomed' FOR UPDATE")
            deleted = threads.submit(recorder.delete_runs, run_id="doomed")
            until(lambda: len(database.waiting()) == 1)
            read = threads.submit(recorder.list_runs)
            assert recorder.log_run(minimal("beside")) == "beside"
            assert not deleted.done()
            assert not read.done()
        assert deleted.result(PATIENT) == 1
        assert {run["run_id"] for run in read.result(PATIENT).runs} == {"beside", "first"}
        assert recorder.stats()["journaled"] == 0


@pytest.mark.parametrize("size", [1, 3])
def test_readers_share_the_connections(
    size: int, database: Database, threads: ThreadPoolExecutor
) -> None:
    """As many read at once as there are connections; the others wait for one of those."""
    with database.recorder(size) as recorder:
        (writer,) = database.connections()
        with database.locked(NO_READS):
            calls = [threads.submit(read) for read in reads(recorder) * 3]
            until(lambda: len(database.waiting()) == size)
            readers = database.waiting()
            assert database.connections() == readers | {writer}
            assert not any(call.done() for call in calls)
        assert all(call.result(PATIENT) for call in calls)
        assert database.connections() == readers | {writer}


def test_no_reader_waits_for_the_index_of_words(database: Database) -> None:
    """It has a connection of its own."""
    with database.recorder(1, words=True) as recorder:
        with database.session() as other:
            other.execute("LOCK TABLE run_words IN ACCESS EXCLUSIVE MODE")
            recorder.log_run(minimal("second"))
            until(lambda: len(database.waiting()) == 1)
            for _ in range(20):
                assert recorder.get_run("second") is not None
            assert len(database.waiting()) == 1
        assert recorder.search_runs("second", by="words") == []


def test_connections_are_opened_only_when_needed(database: Database) -> None:
    """One reader after the other needs one of them, whatever is allowed."""
    with database.recorder(8) as recorder:
        assert len(database.connections()) == 1
        for read in reads(recorder) * 3:
            assert read()
        assert len(database.connections()) == 2
    until(lambda: database.connections() == set())


def test_a_read_without_a_free_connection_names_the_setting(
    database: Database, threads: ThreadPoolExecutor
) -> None:
    """The readers are told which setting it is, and the next one reads again.

    The one that has the connection ends by its time limit. Another may have it then, so
    there are more of them, which never have it.
    """
    timeout = 4.0
    with database.recorder(1, timeout) as recorder:
        recorder.list_runs()
        with database.locked(NO_READS):
            calls = [threads.submit(recorder.list_runs) for _ in range(4)]
            errors = [call.exception(PATIENT) for call in calls]
        assert all(isinstance(error, StoreError) for error in errors)
        caught: Any = next(e for e in errors if "RUNLOG_POSTGRES_POOL" in str(e))
        assert caught.retryable
        assert "all 1 connections for reads have been in use for 4 s" in str(caught)
        for read in reads(recorder):
            assert read()
        assert recorder.stats()["server"] == "up"
        recorder.log_run(minimal("last"))
        assert recorder.stats()["journaled"] == 0
