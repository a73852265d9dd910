"""Deleting old runs from the page: what would go, and the work in the background.

One such work is done at a time, in a thread of its own. It deletes in short transactions,
as `runlog prune` does, and can be stopped between them.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from runlog.reading.errors import WrongUsageError
from runlog.reading.pruning import limit_of
from runlog.web.address import Asked
from runlog.web.errors import describe
from runlog.web.lists import check_names
from runlog.web.source import Source

_PAGE = 1_000
_KEEP = 100_000
"""How many of the newest runs can be kept by their number."""
_PATIENCE = 5.0
"""Seconds that the end of the server waits for the work to stop."""
RUNNING: Final = "running"
DONE: Final = "done"
STOPPED: Final = "stopped"
FAILED: Final = "failed"


class _StopError(Exception):
    """The work was told to stop."""


class Work:
    """Runs that are being deleted, or were. The thread of the work writes it."""

    def __init__(self, number: int, before: datetime, filters: dict[str, Any]) -> None:
        self.number = number
        """How many runs there were to delete."""
        self.before = before
        self.filters = filters
        self.deleted = 0
        self.returned = 0
        """Bytes that were given back to the file system."""
        self.state = RUNNING
        self.said = ""
        """What went wrong."""


class Pruner:
    """What the address `prune` does. Its methods may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: Work | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def ask(self, source: Source, asked: Asked) -> dict[str, Any]:
        """Read what the page shows: the work, and what the one asked for would delete.

        Raises:
            WrongUsageError: a filter is wrong.
        """
        work = self._work
        older, filters = asked.get("older_than"), _filters(asked)
        keep = asked.number("keep", -1, 0, _KEEP)
        wanted = older is not None or keep >= 0
        before, number = None, 0
        if wanted:
            recorder = source.open()
            before = limit_of(
                lambda most: _newest(recorder, most, filters),
                older,
                keep if keep >= 0 else None,
            )
            if before is not None:
                number = recorder.count_runs(until=before, **filters).runs
            if number == 0:
                check_names(recorder, filters)
        return {
            "work": work,
            "wanted": wanted,
            "before": before,
            "number": number,
            "filters": filters,
            "most": _KEEP,
            "refresh": work is not None and work.state == RUNNING and not wanted,
        }

    def act(self, source: Source, asked: Asked) -> Response:
        """Begin the work that an address asks for, or stop the one that goes on.

        Raises:
            WrongUsageError: the address does not say before which time, or there is a
                work that goes on.
        """
        if asked.get("stop") is not None:
            self._stop.set()
            return RedirectResponse(asked.to("prune"), 303)
        before, filters = asked.time("before"), _filters(asked)
        if before is None:
            raise WrongUsageError("the address has no before")
        number = source.open().count_runs(until=before, **filters).runs
        with self._lock:
            if self._work is not None and self._work.state == RUNNING:
                raise WrongUsageError(
                    "runs are being deleted already: wait, or stop that"
                )
            self._stop.clear()
            self._work = Work(number, before, filters)
            self._thread = threading.Thread(
                target=self._delete,
                args=(source, self._work),
                name="runlog-web-prune",
                daemon=True,  # the end of the process does not wait for it
            )
            # Who mounts the page may not tell it that the server ends.
            atexit.unregister(self.close)
            atexit.register(self.close)
            self._thread.start()
        return RedirectResponse(asked.to("prune"), 303)

    def close(self) -> None:
        """Stop the work, and wait for that, but not for long."""
        atexit.unregister(self.close)
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _delete(self, source: Source, work: Work) -> None:
        def progress(deleted: int) -> None:
            work.deleted = deleted
            if self._stop.is_set():
                raise _StopError

        try:
            prune = source.open()._prune  # noqa: SLF001 - delete_runs, with its progress
            done = prune(progress, before=work.before, **work.filters)
            work.deleted, work.returned = done
            work.state = DONE
        except _StopError:
            work.state = STOPPED
        except Exception as error:  # noqa: BLE001 - described, or logged, there
            work.said = describe(error).said
            work.state = FAILED


def _filters(asked: Asked) -> dict[str, Any]:
    found = {"wpk_id": asked.get("workflow"), "status": asked.get("status")}
    return {name: value for name, value in found.items() if value is not None}


def _newest(recorder: Any, most: int, filters: dict[str, Any]) -> Iterator[Any]:
    after = None
    while most > 0:
        page = recorder.list_runs(limit=min(most, _PAGE), after=after, **filters)
        yield from page.runs
        most -= len(page.runs)
        after = page.next
        if after is None:
            return
