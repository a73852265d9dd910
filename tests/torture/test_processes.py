"""Several processes on one journal: leases, and what a dead process has left behind."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fixtures_proxy import Proxied
from helpers import minimal, until
from torture.load import Acknowledged, journal_rows
from torture.writers import Writers, check_file

import runlog


@pytest.fixture
def writers(proxied: Proxied, tmp_path: Path) -> Iterator[Writers]:
    """Writers whose runs go through the journal."""
    made = Writers(tmp_path, proxied.env | {"RUNLOG_DURABILITY": "journal"})
    yield made
    made.end()


def beside(proxied: Proxied) -> int:
    """How many runs wait beside the journal, for one that locked it."""
    path = f"{proxied.journal}-beside"
    return len(journal_rows(path)) if Path(path).exists() else 0


def waiting(proxied: Proxied) -> int:
    """How many runs wait in the journal, or beside it."""
    return len(journal_rows(proxied.journal)) + beside(proxied)


def leave_runs_behind(proxied: Proxied, writers: Writers) -> None:
    """Two writers are killed while the server is away."""
    proxied.proxy.outage()
    for _ in range(2):
        writers.start()
    writers.until_acknowledged(300)
    writers.kill_all()
    assert waiting(proxied) >= 300


def test_a_live_process_forwards_the_runs_of_killed_ones(
    proxied: Proxied, writers: Writers
) -> None:
    """The live process does not call runlog again after the others are killed."""
    proxied.proxy.outage()
    with runlog.Recorder(**proxied.options) as recorder:
        recorder.log_run(minimal("first", "other"))
        leave_runs_behind(proxied, writers)
        proxied.proxy.forward()
        until(lambda: journal_rows(proxied.journal) == [])
    proxied.query("DELETE FROM workflow_runs WHERE wpk_id = 'other'")
    writers.check(proxied.query)
    check_file(proxied.journal)


def test_a_new_process_forwards_the_runs_of_killed_ones(
    proxied: Proxied, writers: Writers
) -> None:
    leave_runs_behind(proxied, writers)
    folded, left = beside(proxied), waiting(proxied)
    proxied.proxy.forward()
    with runlog.Recorder(**proxied.options) as recorder:
        assert recorder.flush(60) is True
        stats = recorder.stats()
        assert (stats["journaled"], stats["forwarded"]) == (folded, left)
    writers.check(proxied.query)


def test_the_first_run_of_a_new_process_forwards_the_old_ones(
    proxied: Proxied, writers: Writers
) -> None:
    """No flush is needed for it."""
    leave_runs_behind(proxied, writers)
    proxied.proxy.forward()
    with runlog.Recorder(**proxied.options) as recorder:
        recorder.log_run(minimal("first", "other"))
        until(lambda: journal_rows(proxied.journal) == [])
    proxied.query("DELETE FROM workflow_runs WHERE wpk_id = 'other'")
    writers.check(proxied.query)


def is_leased_while_stalled(proxied: Proxied) -> bool:
    """Let nothing through from now on, if a process has the lease by then."""
    proxied.proxy.stall()
    (lease,) = journal_rows(proxied.journal, "journal_lease")
    if lease["owner"] is None:
        proxied.proxy.forward()
    return lease["owner"] is not None


def test_the_lease_of_a_process_killed_while_forwarding_expires(
    proxied: Proxied, writers: Writers
) -> None:
    """The process is killed while its batch is on the way."""
    writer = writers.start()
    writers.until_acknowledged(100)
    until(lambda: is_leased_while_stalled(proxied))
    waiting = len(journal_rows(proxied.journal))
    until(lambda: len(journal_rows(proxied.journal)) > waiting + 200)
    writers.kill(writer)
    proxied.proxy.drop()
    proxied.proxy.forward()
    with runlog.Recorder(**proxied.options) as recorder:
        assert recorder.flush(60) is True
    assert journal_rows(proxied.journal) == []
    writers.check(proxied.query)


def test_live_processes_share_the_forwarding(proxied: Proxied, writers: Writers) -> None:
    """Each run is forwarded by one of them, and by one only."""
    proxied.proxy.outage()
    both = [writers.start("400"), writers.start("400")]
    writers.until_acknowledged(800)
    proxied.proxy.forward()
    stats = [writers.wait(writer) for writer in both]
    with runlog.Recorder(**proxied.options) as recorder:
        assert recorder.flush(60) is True
        stats.append(recorder.stats())
    assert sum(each["forwarded"] for each in stats) == 1600
    assert [each["rejected"] for each in stats] == [0, 0, 0]
    assert journal_rows(proxied.journal) == []
    writers.check(proxied.query)


def test_two_recorders_of_one_process_share_a_journal(proxied: Proxied) -> None:
    proxied.proxy.outage()
    one, two = (runlog.Recorder(**proxied.options) for _ in range(2))
    with one, two:
        log = Acknowledged("w")
        for number in range(100):
            log.log(one, f"r{number}", status="running")
            log.log(two, f"r{number}", outputs=number)
        assert one.stats()["waiting"] == two.stats()["waiting"] == 200
        proxied.proxy.forward()
        assert one.flush(60) is True
        log.check(proxied.query)
        assert two.flush(60) is True
        forwarded = one.stats()["forwarded"] + two.stats()["forwarded"]
        assert forwarded == 200


def test_a_workflow_is_forwarded_in_order(proxied: Proxied) -> None:
    """A reader never sees a later run without the ones before it.

    The server is reached directly: the proxy would wait for the interpreter's lock,
    which the loop seldom gives up.
    """
    progress = "SELECT count(*), max(run_id::int) FROM workflow_runs WHERE wpk_id = 'w'"
    dsn = proxied.server.dsn(proxied.dbname)
    seen: set[tuple[int, int | None]] = set()
    numbers = itertools.count()
    with (
        runlog.Recorder(
            postgres_dsn=dsn, sqlite_path=proxied.journal, durability="journal"
        ) as recorder,
        psycopg.connect(dsn, autocommit=True) as other,
    ):
        recorder.log_run(minimal("first", "other"))
        assert recorder.flush(60) is True
        deadline = time.monotonic() + 60
        while len(seen) <= 10 and time.monotonic() < deadline:
            for number in itertools.islice(numbers, 20):
                recorder.log_run(minimal(str(number)))
            seen.update(other.execute(progress).fetchall())
        assert recorder.flush(60) is True
    assert all(count == (-1 if last is None else last) + 1 for count, last in seen)
    assert len(seen) > 10
    logged = next(numbers)
    assert proxied.query(progress) == [(logged, logged - 1)]
