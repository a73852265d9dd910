"""Another program holds the lock of the SQLite file: of the store, or of the journal.

The lock is held by a process of its own, as a shell, a backup or a slow statement would.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from helpers import minimal, until
from stopwatch import Stopwatch
from torture.load import check_awaited, journal_rows
from torture.programs import EXIT_BOUND, Program, check_file, check_stored, logged_ids

import runlog
from runlog import StoreError

if TYPE_CHECKING:
    from fixtures_store import Store

STALL = 0.05
"""Seconds for which an event loop may stand still, as docs/durability.md promises."""

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.readline()
if connection.in_transaction:
    connection.execute("COMMIT")
connection.close()
"""
WRITE = ("BEGIN IMMEDIATE",)
EXCLUSIVE = ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE")
ROLLBACK_MODE = (
    "CREATE TABLE theirs (x)",
    "BEGIN EXCLUSIVE",
    "INSERT INTO theirs VALUES (1)",
)


class Holder:
    """A process that holds a lock until it is told to let go."""

    def __init__(self, path: str | Path, *statements: str) -> None:
        command = [sys.executable, "-c", HOLDER, str(path), *statements]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "held\n"

    def release(self) -> None:
        self._process.communicate("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def path_of(store: Store) -> str:
    return str(store.options["sqlite_path"])


def beside_of(store: Store) -> Path:
    return Path(path_of(store) + "-beside")


def start(store: Store, tmp_path: Path, *args: str) -> Program:
    program = Program(
        "locking",
        *args,
        folder=tmp_path,
        env={"RUNLOG_DURABILITY": "journal"} | store.env,
    )
    until_ready(program)
    return program


def until_ready(program: Program) -> None:
    assert program.process.stdout is not None
    line = program.process.stdout.readline()
    assert line == "ready\n", line + (program.wait(60, code=None).stderr)


def fold_in(store: Store) -> None:
    """The next recorder of any program finds what waits, and folds it in."""
    with runlog.Recorder(**store.options) as later:
        later.list_runs(limit=1)
        assert later.flush(60)
        assert later.stats()["beside"] == 0


@pytest.fixture
def on_file(store: Store) -> Iterator[runlog.Recorder]:
    """A recorder whose runs go to the SQLite file: the store, or the journal."""
    with runlog.Recorder(**store.options, durability="journal") as made:
        made.log_run(minimal("first"))
        assert made.flush(60)
        yield made


@pytest.mark.long_with(
    "sqlite-at first", "exclusive at first", "rollback journal at first"
)
@pytest.mark.either_store  # it is the journal's lock, or the store's
@pytest.mark.parametrize(
    ("begin", "statements"),
    [
        ("warm", WRITE),
        ("cold", WRITE),
        ("cold", EXCLUSIVE),
        ("cold", ROLLBACK_MODE),
    ],
    ids=["in use", "at first", "exclusive at first", "rollback journal at first"],
)
def test_no_loop_stalls_and_nothing_is_lost(
    store: Store, tmp_path: Path, begin: str, statements: tuple[str, ...]
) -> None:
    if statements is not ROLLBACK_MODE:
        with runlog.Recorder(**store.options, durability="journal") as earlier:
            earlier.log_run(minimal("earlier", "logged"))
            assert earlier.flush(60)
    program = start(store, tmp_path, "loop", begin)
    holder = Holder(path_of(store), *statements)
    program.tell("locked")
    until_ready(program)
    holder.release()
    program.tell("free")
    ended = program.wait()
    result = ended.printed
    warm = begin == "warm"

    assert result["gap"] < STALL
    assert result["locked"]["handler_errors"] == result["locked"]["failed"] == 0
    assert result["locked"]["beside"] >= 80
    assert (result["flushed"], result["beside"]) == (True, 0)
    (notice,) = [text for text in result["texts"] if "locked by another program" in text]
    assert notice.startswith(f"WARNING: the SQLite file {path_of(store)} is locked")
    assert str(beside_of(store)) in notice
    check_file(path_of(store))
    graphs = store.query("SELECT status FROM workflow_runs WHERE wpk_id = 'w'")
    assert graphs == [("completed",)] * (40 + warm)
    kept = {row[0] for row in store.query("SELECT run_id FROM workflow_runs")}
    assert kept >= set(ended.acknowledged)


def test_many_threads_log_while_it_is_locked(store: Store, tmp_path: Path) -> None:
    program = start(store, tmp_path, "threads", "16")
    with Holder(path_of(store), *WRITE):
        program.tell("locked")
        until_ready(program)
    program.tell("free")
    ended = program.wait()
    assert ended.printed["median"] < 1  # 16 threads share the GIL
    assert ended.printed["slowest"] < 9  # who waits for the lock does so for 10 s
    assert ended.printed["flushed"]
    check_stored(store.query, ended.acknowledged)


@pytest.mark.long_with("postgres")
def test_a_fork_while_it_is_locked(store: Store, tmp_path: Path) -> None:
    program = start(store, tmp_path, "forking")
    with Holder(path_of(store), *WRITE):
        program.tell("locked")
        until(lambda: sum("after" in line for line in program.lines()) == 5)
    ended = program.wait()
    fold_in(store)
    assert len(ended.acknowledged) == 51
    check_stored(store.query, ended.acknowledged)


@pytest.mark.parametrize("how", ["return", "os._exit", "kill"])
def test_the_program_ends_while_it_is_locked(
    store: Store, tmp_path: Path, how: str
) -> None:
    program = start(store, tmp_path, "leaving", how)
    with Holder(path_of(store), *WRITE):
        program.tell("locked")
        if how == "kill":
            until_ready(program)
            program.process.kill()
        ended = program.wait(code=-9 if how == "kill" else 0)
        assert ended.exit_seconds < EXIT_BOUND
        assert len(journal_rows(str(beside_of(store)))) == 30
    fold_in(store)
    check_stored(store.query, ended.acknowledged)
    check_file(beside_of(store))


def test_a_living_process_folds_in_what_a_killed_one_has_left(
    store: Store, tmp_path: Path
) -> None:
    fold_in(store)  # makes the tables
    living = start(store, tmp_path, "living")
    program = start(store, tmp_path, "leaving", "kill")
    with Holder(path_of(store), *WRITE):
        program.tell("locked")
        until_ready(program)
        program.process.kill()
        ended = program.wait(code=-9)
    living.tell("go on")
    until(lambda: logged_ids(store.query).keys() >= set(ended.acknowledged))
    check_stored(store.query, ended.acknowledged + living.wait().acknowledged)


def test_later_states_are_kept(store: Store, tmp_path: Path) -> None:
    """Runs are logged again, by two processes, around the moment of the release."""
    programs = [start(store, tmp_path, "states") for _ in range(2)]
    holder = Holder(path_of(store), *WRITE)
    for program in programs:
        program.tell("locked")
        until_ready(program)
    for program in programs:
        program.tell("go on")
    holder.release()
    for program in programs:
        program.wait()
    fold_in(store)
    rows = store.query("SELECT status, outputs FROM workflow_runs WHERE run_id LIKE 'r%'")
    assert len(rows) == 30
    assert all(status == "completed" and outputs for status, outputs in rows)


def test_flush_waits_until_it_is_folded_in(
    store: Store, on_file: runlog.Recorder
) -> None:
    with Holder(path_of(store), *WRITE):
        assert on_file.log_run(minimal("r1")) == "r1"
        assert on_file.flush(0.2) is False
        assert on_file.stats()["beside"] == 1
    assert on_file.flush(30) is True
    assert on_file.stats()["beside"] == 0
    check_stored(store.query, ["first", "r1"])


def test_close_waits_for_the_lock(store: Store) -> None:
    recorder = runlog.Recorder(**store.options, durability="journal")
    recorder.log_run(minimal("first"))
    assert recorder.flush(60)
    holder = Holder(path_of(store), *WRITE)
    recorder.log_run(minimal("r1"))
    release = threading.Timer(0.3, holder.release)
    release.start()
    recorder.close(timeout=60)
    release.join()
    check_stored(store.query, ["first", "r1"])


def test_a_query_waits_for_a_lock_that_is_short(
    store: Store, on_file: runlog.Recorder
) -> None:
    holder = Holder(path_of(store), *WRITE)
    on_file.log_run(minimal("r1"))
    release = threading.Timer(0.3, holder.release)
    release.start()
    check_awaited(on_file, "r1")
    release.join()


def test_a_query_does_not_wait_for_a_long_one(
    store: Store, on_file: runlog.Recorder
) -> None:
    with Holder(path_of(store), *WRITE):
        on_file.log_run(minimal("r1"))
        begun, watch = time.monotonic(), Stopwatch()
        assert on_file.get_run("r1") is None
        assert on_file.get_run("first") is not None
        assert time.monotonic() - begun >= 1
        assert watch.seconds < 4
    until(lambda: on_file.get_run("r1") is not None)


def test_a_deletion_does_not_miss_what_waits(
    store: Store, on_file: runlog.Recorder
) -> None:
    holder = Holder(path_of(store), *WRITE)
    on_file.log_run(minimal("r1"))
    release = threading.Timer(1.5, holder.release)
    release.start()
    deleted = on_file.delete_runs(wpk_id="w")
    assert on_file.stats()["beside"] == 0
    release.join()
    assert on_file.flush(60)
    if store.kind == "postgres":  # to which r1 may still have been on its way
        deleted += on_file.delete_runs(wpk_id="w")
    assert deleted == 2
    assert store.query("SELECT run_id FROM workflow_runs") == []


@pytest.mark.long_with("postgres")
def test_a_deletion_gives_up_after_ten_seconds(
    store: Store, on_file: runlog.Recorder
) -> None:
    with Holder(path_of(store), *WRITE):
        on_file.log_run(minimal("r1"))
        with pytest.raises(StoreError, match="another program holds its lock") as caught:
            on_file.delete_runs(wpk_id="w")
        assert caught.value.retryable
        assert path_of(store) in str(caught.value)
    assert on_file.flush(30)
    check_stored(store.query, ["first", "r1"])


def test_a_long_lock_is_waited_for_where_nothing_can_be_written_beside(
    store: Store, on_file: runlog.Recorder
) -> None:
    beside_of(store).mkdir()
    holder = Holder(path_of(store), *WRITE)
    release = threading.Timer(1, holder.release)
    begun = time.monotonic()
    release.start()
    assert on_file.log_run(minimal("r1")) == "r1"
    assert time.monotonic() - begun > 0.5
    release.join()
    assert on_file.flush(30)
    check_stored(store.query, ["first", "r1"])


def test_an_error_names_both_files(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal("first"))
        (tmp_path / "runs.db-beside").mkdir()
        with Holder(path, *WRITE), pytest.raises(StoreError) as caught:
            recorder.log_run(minimal("r1"))
    text = str(caught.value)
    assert f"SQLite file {path}: another connection has held its lock for 10 s" in text
    assert f"SQLite file {path}-beside" in text


def test_a_run_that_the_file_rejects_later_is_kept(tmp_path: Path) -> None:
    """The user's constraint is found only when the lock is free."""
    path = tmp_path / "runs.db"
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal("first"))
        trigger = (
            "CREATE TRIGGER no BEFORE INSERT ON workflow_runs WHEN NEW.run_id = 'bad' "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
        with Holder(path, *WRITE, trigger):
            for name in ("a", "bad", "b"):
                assert recorder.log_run(minimal(name)) == name
        assert recorder.flush(30)
        assert {run["run_id"] for run in recorder.list_runs().runs} == {"first", "a", "b"}
    (rejected,) = journal_rows(f"{path}-beside", "journal_rejected")
    assert (rejected["run_id"], "not this one" in rejected["reason"]) == ("bad", True)


def test_a_long_reader_does_not_make_checkpoints_hold_up_writers(tmp_path: Path) -> None:
    """A checkpoint that lets the WAL restart waits for readers, with SQLite's lock."""
    path = tmp_path / "runs.db"
    slowest = 0.0
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal("first"))
        with Holder(path, "BEGIN", "SELECT count(*) FROM workflow_runs"):
            for number in range(1500):
                watch = Stopwatch()
                recorder.log_run(minimal(f"r{number}", inputs={"text": "x" * 20_000}))
                slowest = max(slowest, watch.seconds)
            # some may have gone there while the thread of the words held the lock
            until(lambda: recorder.stats()["beside"] == 0)
    assert slowest < 1


def test_a_wait_for_another_thread_is_short_too(tmp_path: Path) -> None:
    """A deletion of many runs holds SQLite's lock in this process."""
    path = tmp_path / "runs.db"
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        for number in range(200):
            recorder.log_run(minimal(f"old{number}", "old", inputs={"x": "y" * 100_000}))
        deleting = threading.Thread(target=recorder.delete_runs, kwargs={"wpk_id": "old"})
        deleting.start()
        names: list[str] = []
        slowest = 0.0
        while deleting.is_alive() or len(names) < 20:
            names.append(f"r{len(names)}")
            watch = Stopwatch()
            recorder.log_run(minimal(names[-1]))
            slowest = max(slowest, watch.seconds)
        deleting.join()
        assert slowest < 2 * STALL
        assert recorder.flush(30)
        kept: dict[str, Any] = {
            run["run_id"]: run for run in recorder.list_runs(wpk_id="w", limit=1000).runs
        }
    assert set(kept) == set(names)
