"""A server that is there, and takes longer for some runs than anybody waits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fixtures_proxy import Proxied
from helpers import minimal, until
from stopwatch import Stopwatch
from torture.load import Acknowledged, count_logged, journal_rows, until_server

import runlog

SLOW = """
CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {when} THEN
        PERFORM pg_sleep({seconds});
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS slow ON workflow_runs;
CREATE TRIGGER slow BEFORE INSERT ON workflow_runs FOR EACH ROW EXECUTE FUNCTION slow();
"""
NOT_SLOW = "DROP FUNCTION slow CASCADE"
BUSY = """
SELECT query FROM pg_stat_activity WHERE datname = current_database()
AND state = 'active' AND pid <> pg_backend_pid()
"""
TAKES_LONG = "a run takes too long"
ENDLESS = "run_id endless of the workflow w"
COUNT = "SELECT count(*) FROM workflow_runs"


def slow(proxied: Proxied, seconds: float, when: str = "true") -> None:
    proxied.query(SLOW.format(seconds=seconds, when=when))


def open_recorder(proxied: Proxied, timeout: float) -> runlog.Recorder:
    """One whose runs go to the journal first; the tables are there."""
    recorder = runlog.Recorder(
        **proxied.options, durability="journal", postgres_timeout=timeout
    )
    recorder.log_run({"wpk_id": "other", "run_id": "first", "status": "completed"})
    assert recorder.flush(60) is True
    return recorder


def arrives_within(
    proxied: Proxied, seconds: float, arrange: Callable[[], Any], **limits: Any
) -> None:
    """250 runs are forwarded, though the server does not finish a hundred in time."""
    with open_recorder(proxied, **limits) as recorder:
        log = Acknowledged("w")
        with held_back(proxied):
            for number in range(250):
                log.log(recorder, f"r{number}", outputs=number)
            arrange()
        watch = Stopwatch()
        assert recorder.flush(60) is True
        assert watch.seconds < seconds
        stats = recorder.stats()
        assert (stats["rejected"], stats["failed"], stats["waiting"]) == (0, 0, 0)
        log.check(proxied.query)


@contextlib.contextmanager
def held_back(proxied: Proxied) -> Iterator[None]:
    """While the server can't be reached, so that all runs wait in one journal."""
    proxied.proxy.outage()
    yield
    proxied.proxy.forward()


def test_a_batch_that_takes_too_long_becomes_smaller(proxied: Proxied) -> None:
    arrives_within(proxied, 30, lambda: slow(proxied, 0.01), timeout=0.5)


def test_so_it_does_after_a_time_limit_of_the_server(proxied: Proxied) -> None:
    name = f"ALTER DATABASE {proxied.dbname}"

    def arrange() -> None:
        slow(proxied, 0.01)
        proxied.query(f"{name} SET statement_timeout = '300ms'")

    try:
        arrives_within(proxied, 30, arrange, timeout=5)
    finally:
        proxied.query(f"{name} RESET statement_timeout")


@pytest.mark.parametrize(("runs", "size"), [(1, 900_000), (60, 15_000)])
def test_a_slow_link_is_no_silence(proxied: Proxied, runs: int, size: int) -> None:
    """The time-out is of a server that does not answer, not of bytes under way."""
    proxied.proxy.throttle(200_000)
    with open_recorder(proxied, 2) as recorder:
        before = proxied.proxy.bytes_up
        for number in range(runs):
            recorder.log_run(minimal(f"r{number}", outputs="x" * size))
        assert recorder.flush(60) is True
        assert proxied.proxy.bytes_up - before < 1.5 * runs * size  # sent once
        assert recorder.stats()["server"] == "up"
        proxied.proxy.forward()
        for number in range(runs):
            found = recorder.get_run(f"r{number}")
            assert found is not None
            assert len(found["outputs"]) == size


def count_named(caplog: pytest.LogCaptureFixture) -> int:
    """How often the log says that the endless run takes too long. On a busy machine it
    may say so of others as well.
    """
    return sum(TAKES_LONG in text and ENDLESS in text for text in caplog.messages)


def test_one_slow_run_holds_no_other(
    proxied: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, is cancelled in the server, and arrives once it can."""
    with open_recorder(proxied, 0.5) as recorder:
        log = Acknowledged("w")
        slow(proxied, 60, "NEW.run_id = 'endless'")
        with held_back(proxied):
            for number in range(150):
                log.log(recorder, f"r{number}", outputs=number)
                if number == 40:
                    recorder.log_run(
                        {"wpk_id": "w", "run_id": "endless", "status": "completed"}
                    )
        until(lambda: bool(proxied.query(COUNT)[0][0] == 151))
        until(lambda: bool(recorder.stats()["waiting"] == 1))
        until_server(recorder, "away")
        until(lambda: ENDLESS in (recorder.stats()["server_error"] or ""))
        assert recorder.stats()["rejected"] == 0
        log.log(recorder, "later", outputs=1)  # is not held up
        until(lambda: bool(proxied.query(COUNT)[0][0] == 152))
        log.check(proxied.query)
        assert count_named(caplog) == 1
        recorder.delete_runs(wpk_id="none")
        assert any("1 run waits in the journal" in text for text in caplog.messages)
        until(lambda: proxied.query(BUSY) == [])
        proxied.query(NOT_SLOW)
        assert recorder.flush(60) is True
        until_server(recorder, "up")
        assert journal_rows(proxied.journal) == []
        log.check(proxied.query, extra=1)
        assert count_named(caplog) == 1


def test_what_a_caller_gives_up_is_cancelled(proxied: Proxied) -> None:
    """And the caller waits no longer than it says."""
    with runlog.Recorder(**proxied.options, postgres_timeout=0.5) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        assert recorder.flush(60)  # it may have gone to the journal
        until_server(recorder, "up")
        slow(proxied, 60)
        watch = Stopwatch()
        log.log(recorder, "slow", outputs=1)
        assert watch.seconds < 3
        until(lambda: recorder.stats()["waiting"] == 1)
        proxied.query("ALTER TABLE workflow_runs DISABLE TRIGGER slow")
        until(lambda: proxied.query(BUSY) == [])
        assert recorder.flush(60) is True
        log.check(proxied.query)


def test_a_server_that_takes_no_run_in_time_is_away(
    proxied: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    """Not run after run is named, and all arrive as soon as it takes them."""
    with open_recorder(proxied, 0.2) as recorder:
        log = Acknowledged("w")
        slow(proxied, 60)
        for number in range(60):
            log.log(recorder, f"r{number}", outputs=number)
        until_server(recorder, "away")
        assert count_logged(caplog, TAKES_LONG) < 10
        proxied.query("ALTER TABLE workflow_runs DISABLE TRIGGER slow")
        assert recorder.flush(60) is True
        until_server(recorder, "up")
        log.check(proxied.query)
