"""Many threads and processes on one database: each run is kept exactly once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from fixtures_store import Store
from helpers import locked, minimal, until
from statements import traced
from torture.programs import fold_in

import runlog
from runlog import ClosedError, StoreError

if TYPE_CHECKING:
    from conftest import RunPython

PER_THREAD = 50


def in_threads(count: Any, work: Any) -> Any:
    """Run work(number) in that many threads that start together; return the results."""
    barrier = threading.Barrier(count)

    def start(number: Any) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def stored_ids(store: Store) -> Any:
    """With those that wait beside the file, as some do on a busy machine."""
    if store.kind == "sqlite":
        fold_in(store.options["sqlite_path"])
    return sorted(row[0] for row in store.query("SELECT run_id FROM workflow_runs"))


def test_threads_that_log_at_once_share_commits(recorder: Any, store: Store) -> None:
    def work(number: Any) -> Any:
        return [
            recorder.log_run(minimal(f"{number}-{n}", inputs={"n": n, "text": "x" * n}))
            for n in range(PER_THREAD)
        ]

    ids = [run_id for thread in in_threads(16, work) for run_id in thread]
    assert len(set(ids)) == 16 * PER_THREAD
    assert stored_ids(store) == sorted(ids)
    assert recorder.get_run("7-13")["inputs"] == {"n": 13, "text": "x" * 13}
    stats = recorder.stats()
    assert (stats["runs"], stats["failed"], stats["queued"]) == (800, 0, 0)
    assert stats["commits"] < stats["runs"]
    assert stats["largest_commit"] > 1


def test_reads_see_whole_runs_while_others_write(recorder: Any) -> None:
    recorder.log_run(minimal("0-0", outputs=0))

    def work(number: Any) -> None:
        for n in range(30):
            if number % 2:
                assert recorder.get_run("0-0")["status"] == "completed"
                page = recorder.list_runs(limit=100)
                assert len({run["id"] for run in page.runs}) == len(page.runs)
                assert recorder.get_runs_by_wpk_id("w")
            else:
                recorder.log_run(minimal(f"{number}-{n}"))

    in_threads(8, work)
    assert len(recorder.list_runs(limit=1000).runs) == 120


SLOW_READERS = 8
"""More than may read slowly at once."""


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_slow_readers_do_not_delay_a_page(store: Store) -> None:
    """Each holds its connection until the page was read."""
    release, holding = threading.Event(), threading.Semaphore(0)

    def done(sql: str) -> None:
        if "run_parts" in sql and sql.startswith("SELECT"):  # a whole run
            holding.release()
            release.wait()

    with (
        traced(store.options["sqlite_path"], done),
        runlog.Recorder(**store.options, words=False) as recorder,
        ThreadPoolExecutor(SLOW_READERS + 1) as pool,
    ):
        recorder.log_run(minimal("r"))
        slow = [pool.submit(recorder.get_run, "r") for _ in range(SLOW_READERS)]
        for _ in range(4):
            assert holding.acquire(timeout=60)
        try:
            page = pool.submit(recorder.list_runs)
            until(page.done)
            assert [run["run_id"] for run in page.result().runs] == ["r"]
            assert not any(one.done() for one in slow)
        finally:
            release.set()
        found = [one.result() for one in slow]
        assert [run and run["run_id"] for run in found] == ["r"] * SLOW_READERS


def test_the_same_run_from_many_threads_is_one_row(recorder: Any, store: Store) -> None:
    def work(number: Any) -> None:
        for n in range(20):
            recorder.log_run(minimal(outputs={"thread": number, "n": n}))

    in_threads(8, work)
    assert stored_ids(store) == ["r1"]
    assert recorder.get_run("r1")["outputs"]["n"] == 19


PROCESS = """
import sys, threading, runlog
def work(number):
    for n in range(25):
        run = {"wpk_id": "w", "status": "completed", "inputs": [n] * 100}
        runlog.log_run(run | {"run_id": f"{sys.argv[1]}-{number}-{n}"})
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(runlog.stats()["runs"])
"""


def test_four_processes_of_four_threads_store_every_run(
    store: Store, run_python: "RunPython"
) -> None:
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(run_python, PROCESS, str(n), env=store.env) for n in range(4)
        ]
        done = [call.result() for call in calls]
    assert [d.stderr for d in done if d.stdout != "100\n"] == []
    expected = [f"{p}-{t}-{n}" for p in range(4) for t in range(4) for n in range(25)]
    assert stored_ids(store) == sorted(expected)


def test_several_recorders_in_one_process(store: Store) -> None:
    recorders = [runlog.Recorder(**store.options) for _ in range(4)]

    def work(number: Any) -> None:
        for n in range(20):
            recorders[number % 4].log_run(minimal(f"{number}-{n}"))

    in_threads(8, work)
    for recorder in recorders:
        recorder.close()
    assert len(stored_ids(store)) == 160


@pytest.fixture
def constrained(postgres_server: PostgresServer) -> Iterator[Any]:
    """A database whose owner does not want runs with the status evil."""
    name = postgres_server.create_database()
    dsn = postgres_server.dsn(name)
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        recorder.log_run(minimal("first"))
        check = (
            "ALTER TABLE workflow_runs ADD CONSTRAINT no_evil CHECK (status <> 'evil')"
        )
        postgres_server.query(check, dbname=name)
        yield recorder, dsn
    postgres_server.drop_database(name)


def test_a_rejected_run_does_not_fail_the_others_of_its_batch(
    constrained: Any,
) -> None:
    recorder, dsn = constrained
    outcomes = {}

    def work(number: Any) -> None:
        status = "evil" if number % 5 == 0 else "completed"
        try:
            outcomes[number] = recorder.log_run(
                minimal(f"r{number}") | {"status": status}
            )
        except StoreError as error:
            outcomes[number] = error

    with psycopg.connect(dsn) as other:  # all queue up behind it, and go in few commits
        other.execute("LOCK TABLE workflow_runs IN ACCESS EXCLUSIVE MODE")
        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        until(lambda: recorder.flush(0.01) is False)
        other.rollback()
    for thread in threads:
        thread.join()

    evil = [outcomes.pop(number) for number in range(0, 20, 5)]
    assert [(type(e), e.sqlstate, e.retryable) for e in evil] == [
        (StoreError, "23514", False)
    ] * 4
    assert all("no_evil" in str(error) for error in evil)
    assert outcomes == {number: f"r{number}" for number in range(20) if number % 5}
    kept = {run["run_id"] for run in recorder.list_runs(limit=100).runs}
    assert kept == {"first", *outcomes.values()}
    assert recorder.stats()["failed"] == 4


def test_a_recorder_works_on_after_a_rejected_run(
    constrained: Any,
) -> None:
    recorder, _ = constrained
    for number in range(3):
        with pytest.raises(StoreError):
            recorder.log_run(minimal(f"evil{number}") | {"status": "evil"})
        recorder.log_run(minimal(f"r{number}"))
    assert len(recorder.list_runs().runs) == 4


def test_close_while_threads_log_loses_no_acknowledged_run(store: Store) -> None:
    recorder = runlog.Recorder(**store.options)
    recorder.log_run(minimal("first"))
    acknowledged = ["first"]

    def work(number: Any) -> None:
        for n in range(1_000_000):
            try:
                acknowledged.append(recorder.log_run(minimal(f"{number}-{n}")))
            except ClosedError:
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: len(acknowledged) > 100)
    recorder.close()
    for thread in threads:
        thread.join()
    assert stored_ids(store) == sorted(acknowledged)


def test_close_waits_for_a_commit_in_progress(store: Store) -> None:
    recorder = runlog.Recorder(**store.options)
    recorder.log_run(minimal("first"))
    kept = []
    with locked(store):
        writer = threading.Thread(
            target=lambda: kept.append(recorder.log_run(minimal("r1")))
        )
        writer.start()
        until(lambda: recorder.flush(0.01) is False)
        closer = threading.Thread(target=recorder.close)
        closer.start()
    writer.join()
    closer.join()
    assert kept == ["r1"]
    assert stored_ids(store) == ["first", "r1"]


def test_threads_that_end_with_the_process_do_not_crash_it(
    store: Store, run_python: "RunPython"
) -> None:
    code = """
import threading, time, runlog
def work():
    for n in range(1_000_000):
        runlog.log_run({"wpk_id": "w", "run_id": str(n), "status": "completed"})
        ready.set()
ready = threading.Event()
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
ready.wait()
"""
    done = run_python(code, env=store.env)
    assert done.returncode == 0, done.stderr
    assert "Fatal" not in done.stderr
    assert store.query("SELECT count(*) FROM workflow_runs")[0][0] >= 1
