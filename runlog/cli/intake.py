"""Writes runs that were recorded elsewhere into a history, many in one commit."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

from runlog.cli.compact import compact
from runlog.cli.errors import DONE, FAULT, AwayError
from runlog.cli.history import History
from runlog.cli.output import Out
from runlog.reading import places
from runlog.views.words import count

OPTIONS: Final[dict[str, Any]] = {
    "redact": (),  # what was recorded is redacted already, by the rules of that place
    "max_payload": 1 << 28,
    "max_value": 1 << 28,
}
"""Options of a recorder that keeps a run as it is."""
_THREADS = 16
_WAITING = 256
_CHECKED = 2048
_SECONDS = 30


def _has_bytes(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False


class Intake:
    """Commits runs in the order in which they are given, as far as that matters.

    Threads commit together, so that many runs share a transaction. Two logs of one run
    never wait at the same time.

    Args:
        recorder: made with OPTIONS.
        done: called with the number of runs that are committed, each time there are more.
    """

    def __init__(self, recorder: Any, done: Callable[[int], None]) -> None:
        self._recorder = recorder
        self._done = done
        self._threads = ThreadPoolExecutor(_THREADS, "runlog-intake")
        self._waiting: dict[tuple[str, str], Future[str]] = {}
        self._unchecked = 0
        self._refused = 0
        self._last_refusal = ""

    @classmethod
    def into(cls, history: History, done: Callable[[int], None]) -> Self:
        """An intake of a history, which is made if there is none.

        Args:
            history: not open yet.
            done: see above.

        Raises:
            AwayError: it is out of reach, it has tables of another version, or it is a
                file that holds something else.
        """
        place = history.place
        is_new = place.dsn is None and not _has_bytes(place.path)
        if not is_new and (place.dsn is None or places.applied(place)):
            places.check(place)
        durability = "journal" if history.place.dsn is None else "store"
        recorder = history.open(True, True, durability=durability, **OPTIONS)
        return cls(recorder, done)

    def add(self, run: dict[str, Any]) -> None:
        """Have a run committed.

        Args:
            run: as `log_run` takes it.

        Raises:
            ValidationError: the run can't be stored; those before it are.
            StoreError: no store took a run. One that is refused for itself is counted.
            AwayError: the server is out of reach.
        """
        if "node_logs" in run:
            run = {**run, "node_logs": compact(run["node_logs"])}
        prepared = self._recorder.prepare(run)
        name = (prepared.wpk_id, prepared.run_id)
        if name in self._waiting:
            self.finish()
        self._waiting[name] = self._threads.submit(self._recorder.commit, prepared)
        if len(self._waiting) >= _WAITING:
            self._wait(_WAITING // 2)

    def finish(self) -> None:
        """Wait until every run is committed.

        Raises:
            StoreError, AwayError: as for `add`.
        """
        self._wait(0)
        self._check()

    def _wait(self, most: int) -> None:
        number = 0
        while len(self._waiting) > most:
            name = next(iter(self._waiting))
            number += self._take(name, self._waiting.pop(name))
        self._done(number)
        self._unchecked += number
        if self._unchecked >= _CHECKED:
            self._check()

    def _take(self, name: tuple[str, str], commit: Future[str]) -> bool:
        """Wait for a commit; return whether the store took the run."""
        from runlog import StoreError

        try:
            commit.result()
        except StoreError as error:
            if error.retryable or error.sqlstate is None:
                raise
            self._refused += 1
            self._last_refusal = f"{name[1]}: {error}"
            return False
        return True

    def _check(self) -> None:
        """Make sure that the runs went to the server, and do not wait in its journal."""
        self._unchecked = 0
        stats = self._recorder.stats()
        if stats["server"] == "away":
            why = " ".join(str(stats["server_error"]).split())
            raise AwayError(f"PostgreSQL is out of reach: {why}")
        if stats["waiting"] and not self._recorder.flush(_SECONDS):
            raise AwayError("PostgreSQL does not take the runs in the journal")

    def say_refused(self, out: Out) -> int:
        """Say which runs the server refused permanently; return the exit code."""
        if not self._refused:
            return DONE
        refused = count(self._refused, "run")
        out.note(f"the server refused {refused}: {self._last_refusal}")
        return FAULT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
