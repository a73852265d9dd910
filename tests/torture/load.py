"""Load on a recorder: threads that log runs and remember what was acknowledged."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from fixtures_postgres import PostgresServer
from helpers import minimal, stored, until

import runlog

JOURNALING = "runs are stored in the journal"
ACCEPTING = "PostgreSQL accepts runs again"

STATES = "SELECT run_id, status, outputs FROM workflow_runs WHERE wpk_id = %s"
TWICE = "SELECT wpk_id, run_id FROM workflow_runs GROUP BY 1, 2 HAVING count(*) > 1"


@dataclass
class Acknowledged:
    """The latest state of each run that log_run has acknowledged."""

    wpk_id: str
    states: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def log(self, recorder: runlog.Recorder, run_id: str, **fields: Any) -> None:
        """Log a run; when that returns, it is acknowledged."""
        run = minimal(run_id, self.wpk_id, **fields)
        assert recorder.log_run(run) == run_id
        self.states[run_id] = (run["status"], run.get("outputs"))

    def check(self, query: Callable[..., list[Any]], extra: int = 0) -> None:
        """Each is stored once, in its latest state, with at most `extra` others."""
        assert query(TWICE) == []
        kept = {
            run_id: (status, None if outputs is None else json.loads(outputs))
            for run_id, status, outputs in query(STATES, self.wpk_id)
        }
        lost = {
            run_id: (state, kept.get(run_id))
            for run_id, state in self.states.items()
            if kept.get(run_id) != state
        }
        assert not lost, f"{len(lost)} of {len(self.states)}: {list(lost.items())[:5]}"
        others = kept.keys() - self.states.keys()
        assert len(others) <= extra, sorted(others)[:5]


class Load:
    """Threads that log run after run until the end of the with block.

    Every third run is logged as "running" first. An exception in one of them is raised at
    the end.
    """

    def __init__(
        self, recorder: runlog.Recorder, *, threads: int = 4, pause: float = 0.003
    ) -> None:
        self.recorder = recorder
        self.acknowledged = Acknowledged("load")
        self.slowest = 0.0
        self.errors: list[BaseException] = []
        self._pause = pause
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(n,), daemon=True)
            for n in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, _type: object, error: object, _traceback: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(120)
        if error is None:
            assert not any(thread.is_alive() for thread in self._threads), "it hangs"
            if self.errors:
                raise self.errors[0]

    def some_more(self, count: int = 50) -> None:
        """Wait until so many more runs were acknowledged."""
        target = len(self.acknowledged.states) + count
        until(lambda: len(self.acknowledged.states) >= target or bool(self.errors))

    def over_a_crash(self, server: PostgresServer) -> None:
        """Kill the server under this load, and start it again; a crash says no goodbye.

        Some more runs are acknowledged in each state.
        """
        self.some_more()
        server.halt(immediate=True)
        until_server(self.recorder, "away")
        self.some_more()
        server.resume()
        until_server(self.recorder, "up")
        self.some_more()

    def _work(self, number: int) -> None:
        count = 0
        try:
            while not self._done.wait(self._pause):
                count += 1
                run_id = f"{number}-{count}"
                if count % 3 == 0:
                    self._log(run_id, status="running", inputs={"of": number})
                self._log(run_id, outputs={"n": count}, inputs={"text": "x" * count})
        except BaseException as error:  # noqa: BLE001 - raised at the end
            self.errors.append(error)

    def _log(self, run_id: str, **fields: Any) -> None:
        start = time.monotonic()
        self.acknowledged.log(self.recorder, run_id, **fields)
        self.slowest = max(self.slowest, time.monotonic() - start)


def count_logged(caplog: Any, phrase: str) -> int:
    """How many messages of the logger "runlog" contain that phrase."""
    return sum(
        record.name == "runlog" and phrase in record.getMessage()
        for record in caplog.records
    )


def until_logged(caplog: Any, phrase: str, count: int) -> None:
    """Wait for exactly that many messages of "runlog" with that phrase."""
    until(lambda: count_logged(caplog, phrase) >= count)
    assert count_logged(caplog, phrase) == count


def until_server(recorder: runlog.Recorder, state: str) -> None:
    """Wait until the recorder reports the server as "up" or as "away"."""
    until(lambda: bool(recorder.stats()["server"] == state))


def check_awaited(recorder: runlog.Recorder, run_id: str) -> None:
    """A read finds a run, or waits a second for it, which may be too short on a busy
    machine: the first run's way to the server begins with the tables.
    """
    begun = time.monotonic()
    found = recorder.get_run(run_id)
    assert found is not None or time.monotonic() - begun >= 1
    stored(recorder, run_id)


def journal_rows(path: str, table: str = "journal") -> list[Any]:
    """The rows of a table of a journal, read by another client; [] for a file whose
    process was killed before it made the table.
    """
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as other:
        other.row_factory = sqlite3.Row
        made = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        if other.execute(made, [table]).fetchone() is None:
            return []
        return other.execute(f"SELECT * FROM {table}").fetchall()
