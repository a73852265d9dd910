"""The connection fails in every way that a proxy can make it fail, and the server dies.

What was acknowledged is in PostgreSQL afterwards, once, in its latest state; callers are
quick as long as the server is away; and the log says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import SANITIZED
from fixtures_postgres import PostgresServer
from fixtures_proxy import Proxied
from helpers import minimal, until
from stopwatch import Stopwatch
from torture.load import (
    ACCEPTING,
    JOURNALING,
    Acknowledged,
    Load,
    check_awaited,
    count_logged,
    journal_rows,
    until_logged,
    until_server,
)
from torture.writers import check_file

import runlog
from runlog import StoreError

ROUNDS = 1 if SANITIZED else 3
CUTS = 6 if SANITIZED else 24

# Generous: what it takes on a busy machine, and far below any time-out here.
QUICK = 1.0


@pytest.fixture
def recorder(proxied: Proxied) -> Iterator[runlog.Recorder]:
    """A recorder behind the proxy that has written once, and has a connection.

    On a busy machine the first run may come by the journal.
    """
    with runlog.Recorder(**proxied.options, postgres_timeout=0.5) as made:
        made.log_run(minimal("first", "other"))
        assert made.flush(60)
        until_server(made, "up")
        yield made
        proxied.proxy.forward()


def check_drained(recorder: runlog.Recorder, journal: str) -> None:
    """Nothing waits any more, neither by the counters nor in the file."""
    assert recorder.flush(60) is True
    stats = recorder.stats()
    assert (stats["waiting"], stats["rejected"], stats["failed"]) == (0, 0, 0)
    assert stats["forwarded"] == stats["journaled"]
    if Path(journal).exists():
        assert journal_rows(journal) == []
        check_file(journal)


def break_connections(proxied: Proxied, how: str) -> None:
    """One of the ways in which a connection fails."""
    proxy = proxied.proxy
    if how == "outage":
        proxy.outage()
    elif how == "refuse new ones":
        proxy.refuse()
    elif how == "stall":
        proxy.stall()
    elif how == "slow":
        proxy.delay(2)
    elif how == "black hole":
        proxy.refuse()
        proxy.blackhole()


@pytest.mark.parametrize("how", ["outage", "stall", "slow", "black hole"])
def test_load_over_an_outage_loses_no_run(
    proxied: Proxied, recorder: Any, how: str
) -> None:
    with Load(recorder) as load:
        for _ in range(ROUNDS):
            load.some_more()
            break_connections(proxied, how)
            until_server(recorder, "away")
            load.some_more()
            assert recorder.stats()["waiting"] > 0
            proxied.proxy.forward()
            until_server(recorder, "up")
        load.some_more()
    assert recorder.stats()["journaled"] > 0
    check_drained(recorder, proxied.journal)
    load.acknowledged.check(proxied.query)


def test_regression_a_black_hole_in_the_middle_of_a_batch(proxied: Proxied) -> None:
    """The server does not hear of it: that session keeps the locks of its half batch.

    Whoever forwards the same runs over another connection would wait for it for ever.
    """
    proxied.proxy.refuse()
    options = proxied.options | {"postgres_timeout": 0.5, "durability": "journal"}
    with runlog.Recorder(**options) as recorder:
        acknowledged = Acknowledged("w")
        for number in range(80):
            acknowledged.log(recorder, f"r{number}", outputs={"text": "x" * 2000})
        until_server(recorder, "away")
        assert recorder.stats()["waiting"] == 80
        proxied.proxy.forward()
        proxied.proxy.swallow_after(100_000)
        check_drained(recorder, proxied.journal)
        acknowledged.check(proxied.query)


def test_load_over_dropped_connections_loses_no_run(
    proxied: Proxied, recorder: Any
) -> None:
    """The server is there all the time, and each connection dies young."""
    with Load(recorder) as load:
        for _ in range(ROUNDS * 5):
            load.some_more(20)
            proxied.proxy.drop()
        load.some_more()
    check_drained(recorder, proxied.journal)
    load.acknowledged.check(proxied.query)


def test_refused_connections_do_not_stop_writes_over_an_open_one(
    proxied: Proxied, recorder: Any
) -> None:
    """Too little to call the server away: writes go on over the connection there is."""
    with Load(recorder) as load:
        load.some_more()
        break_connections(proxied, "refuse new ones")
        load.some_more()
        proxied.proxy.forward()
    check_drained(recorder, proxied.journal)
    load.acknowledged.check(proxied.query)


def has_said_both(caplog: pytest.LogCaptureFixture, outages: int) -> bool:
    """Whether the log has the start and the end of so many outages, or of more."""
    return outages <= count_logged(caplog, ACCEPTING) == count_logged(caplog, JOURNALING)


def test_the_server_is_killed_under_load(
    own_server: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An immediate stop is a crash: no goodbye to clients, recovery at the next start."""
    dbname = own_server.create_database()
    dsn, path = own_server.dsn(dbname, tcp=True), str(tmp_path / "journal.db")
    with runlog.Recorder(postgres_dsn=dsn, sqlite_path=path) as recorder:
        with Load(recorder) as load:
            for _ in range(ROUNDS):
                before = count_logged(caplog, JOURNALING)
                load.over_a_crash(own_server)
                until(partial(has_said_both, caplog, before + 1))
                # one that shuts down may refuse a connection and still serve another
                assert count_logged(caplog, JOURNALING) <= before + 2
        check_drained(recorder, path)
        load.acknowledged.check(lambda *q: own_server.query(*q, dbname=dbname))
        assert recorder.stats()["journaled"] > 0


def test_only_the_first_call_waits_for_an_unavailable_server(
    proxied: Proxied, recorder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log, before = Acknowledged("w"), recorder.stats()["journaled"]
    proxied.proxy.stall()
    start, watch = time.monotonic(), Stopwatch()
    log.log(recorder, "first")
    assert time.monotonic() - start > 0.4
    assert watch.seconds < 0.5 + 2 * QUICK
    slowest = 0.0
    for number in range(20):
        watch = Stopwatch()
        log.log(recorder, f"r{number}", outputs=number)
        slowest = max(slowest, watch.seconds)
    assert slowest < QUICK
    stats = recorder.stats()
    assert (stats["server"], stats["waiting"]) == ("away", 21)
    assert stats["journaled"] == before + 21
    assert (stats["failed"], stats["forwarded"], stats["rejected"]) == (0, before, 0)
    assert isinstance(stats["server_error"], str)
    assert len(journal_rows(proxied.journal)) == 21
    until_logged(caplog, JOURNALING, 1)

    proxied.proxy.forward()
    until_server(recorder, "up")
    check_drained(recorder, proxied.journal)
    log.log(recorder, "last")
    stats = recorder.stats()
    assert stats["journaled"] == stats["forwarded"] == before + 21
    assert stats["server_error"] is None
    until_logged(caplog, ACCEPTING, 1)
    assert count_logged(caplog, JOURNALING) == 1
    log.check(proxied.query)


def test_flush_returns_false_until_the_server_has_every_run(
    proxied: Proxied, recorder: Any
) -> None:
    proxied.proxy.outage()
    recorder.log_run(minimal())
    start, watch = time.monotonic(), Stopwatch()
    assert recorder.flush(0.2) is False
    assert time.monotonic() - start >= 0.2
    assert watch.seconds < 0.2 + QUICK
    proxied.proxy.forward()
    assert recorder.flush(60) is True
    assert proxied.query("SELECT count(*) FROM workflow_runs") == [(2,)]


def test_reads_fail_fast_while_the_server_is_unavailable(
    proxied: Proxied, recorder: Any
) -> None:
    """They say so, soon; and see what was logged meanwhile once it is back."""
    proxied.proxy.outage()
    recorder.log_run(minimal(outputs="from the journal"))
    for read in (recorder.list_runs, lambda: recorder.get_run("r1")):
        watch = Stopwatch()
        with pytest.raises(StoreError) as caught:
            read()
        assert caught.value.retryable
        assert watch.seconds < 0.5 + 2 * QUICK
    proxied.proxy.forward()
    assert recorder.flush(60) is True
    assert recorder.get_run("r1")["outputs"] == "from the journal"


def test_reads_wait_for_the_runs_this_recorder_has_journaled(proxied: Proxied) -> None:
    with runlog.Recorder(**proxied.options, durability="journal") as recorder:
        for number in range(100):
            recorder.log_run(minimal(f"r{number}"))
            check_awaited(recorder, f"r{number}")
        assert recorder.stats()["journaled"] == 100


def test_an_idle_connection_in_a_black_hole(proxied: Proxied, recorder: Any) -> None:
    """A firewall that has forgotten it: nobody says that what is sent goes nowhere."""
    log = Acknowledged("w")
    log.log(recorder, "before")
    assert recorder.get_run("before")["status"] == "completed"
    proxied.proxy.blackhole()
    watch = Stopwatch()
    log.log(recorder, "into it")
    assert watch.seconds < 0.5 + 2 * QUICK
    until_server(recorder, "up")  # a new connection is all it takes
    assert recorder.flush(60) is True
    watch = Stopwatch()
    assert recorder.get_run("into it")["status"] == "completed"
    assert watch.seconds < 0.5 + 2 * QUICK
    log.log(recorder, "after")
    check_drained(recorder, proxied.journal)
    log.check(proxied.query)


def measured(proxied: Proxied, action: Any) -> tuple[int, int]:
    """How many bytes go up and come down for what action does."""
    before = proxied.proxy.bytes_up, proxied.proxy.bytes_down
    action()
    return proxied.proxy.bytes_up - before[0], proxied.proxy.bytes_down - before[1]


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_a_single_write_is_cut_anywhere(proxied: Proxied, up: bool) -> None:
    """The server may have committed it or not: nobody can know, so it must not matter."""
    with runlog.Recorder(**proxied.options, postgres_timeout=5) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        sizes = measured(proxied, lambda: log.log(recorder, "second", outputs="x" * 99))
        size = sizes[not up]
        assert size > 20
        for number in range(CUTS):
            proxied.proxy.cut_after(size * number // CUTS, up=up)
            log.log(recorder, f"r{number}", status="running", outputs="x" * 99)
            log.log(recorder, f"r{number}", outputs="y" * 99)
            proxied.proxy.until_cut(number + 1)
            until_server(recorder, "up")
        check_drained(recorder, proxied.journal)
        log.check(proxied.query)


@pytest.mark.long_with("down")
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_a_batch_is_cut_anywhere_while_it_is_forwarded(
    proxied: Proxied, up: bool
) -> None:
    size = 0
    with runlog.Recorder(**proxied.options, durability="journal") as recorder:
        log = Acknowledged("w")

        def log_batch(name: str) -> None:
            for number in range(120):
                log.log(recorder, f"{name}-{number}", status="running", outputs="x" * 99)
                log.log(recorder, f"{name}-{number}", outputs=[name, number])

        def forward_batch() -> None:
            log_batch("whole")
            assert recorder.flush(60) is True

        size = measured(proxied, forward_batch)[not up]
        assert size > 1000
        for number in range(CUTS):
            proxied.proxy.cut_after(size * number // CUTS, up=up)
            log_batch(f"b{number}")
            assert recorder.flush(60) is True
        check_drained(recorder, proxied.journal)
        log.check(proxied.query)
        assert proxied.proxy.cuts > CUTS // 2


@pytest.mark.parametrize("how", ["outage", "stall"])
def test_the_first_use_may_be_during_an_outage(
    proxied: Proxied, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Before a migration could be applied: the tables are made when it comes."""
    break_connections(proxied, how)
    with runlog.Recorder(**proxied.options, postgres_timeout=2) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        watch = Stopwatch()
        for number in range(10):
            log.log(recorder, f"r{number}", outputs=number)
        assert watch.seconds < QUICK
        until_logged(caplog, JOURNALING, 1)
        proxied.proxy.forward()
        check_drained(recorder, proxied.journal)
        log.check(proxied.query)


@pytest.mark.parametrize("how", ["outage", "stall", "slow", "black hole"])
def test_close_does_not_wait_for_an_unavailable_server(
    proxied: Proxied, how: str
) -> None:
    """What waits is forwarded by whoever comes next."""
    recorder = runlog.Recorder(**proxied.options, postgres_timeout=1)
    recorder.log_run(minimal("first"))
    assert recorder.flush(60)
    break_connections(proxied, how)
    recorder.log_run(minimal("second"))
    watch = Stopwatch()
    recorder.close()
    assert watch.seconds < 5 + QUICK
    assert [row["run_id"] for row in journal_rows(proxied.journal)] == ["second"]
    proxied.proxy.forward()
    with runlog.Recorder(**proxied.options) as other:
        assert other.flush(60) is True
        assert len(other.list_runs().runs) == 2


def test_close_forwards_the_journal(proxied: Proxied) -> None:
    with runlog.Recorder(**proxied.options, durability="journal") as recorder:
        for number in range(500):
            recorder.log_run(minimal(f"r{number}"))
        recorder.close(timeout=60)  # on a busy machine the default may be too short
    assert proxied.query("SELECT count(*) FROM workflow_runs") == [(500,)]


def test_the_journal_is_created_at_the_first_fallback(proxied: Proxied) -> None:
    with runlog.Recorder(**proxied.options) as recorder:
        recorder.log_run(minimal("first"))
        assert not Path(proxied.journal).exists()
        assert recorder.flush(60) is True
        assert not Path(proxied.journal).exists()
        proxied.proxy.outage()
        recorder.log_run(minimal())
        assert Path(proxied.journal).stat().st_mode & 0o777 == 0o600
