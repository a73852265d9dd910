"""The history that a command reads: a recorder that is opened at its first use."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any

from runlog.reading import places
from runlog.views.lines import Line, line_of

_PAGE = 1000
_MOST = 256
_BYTES = 1 << 20
"""How many whole runs are read at once, and how many bytes they may take about."""


def _ahead(found: Iterator[Any]) -> Generator[Any, None, None]:
    """Yield what an iterator gives, of which one item is always on its way."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "runlog-read") as thread:
        waiting = thread.submit(next, found, None)
        while (item := waiting.result()) is not None:
            waiting = thread.submit(next, found, None)
            yield item


def _in_parts(whole_runs: Any, ids: list[str]) -> Iterator[tuple[list[Any], int]]:
    """Read whole runs at once; in quarters, where they are too large together.

    How many are read at once goes by the size of those before, which says nothing of
    these.
    """
    try:
        found = whole_runs(ids)
    except MemoryError:
        if len(ids) == 1:
            raise
    else:
        yield found
        return
    size = -(-len(ids) // 4)
    for at in range(0, len(ids), size):
        yield from _in_parts(whole_runs, ids[at : at + size])


class History:
    """What is recorded. See places for where it is."""

    def __init__(self, place: places.Place) -> None:
        self.place = place
        self._recorder: Any = None

    def open(self, create: bool = False, search: bool = False, **options: Any) -> Any:
        """Return the recorder.

        Args:
            create: apply migrations, and create what is missing.
            search: the command asks the embedding server. Others leave its work alone.
            options: further options of the recorder.

        Raises:
            AwayError: there is no history, or it is out of reach.
        """
        if self._recorder is None:
            if not create:
                places.check(self.place)
            self._recorder = places.open_recorder(self.place, search, create, **options)
        return self._recorder

    def close(self) -> None:
        """Close the recorder, without waiting for what others have left to do."""
        if self._recorder is not None:
            self._recorder.close(0)
            self._recorder = None

    def page(self, limit: int, after: str | None = None, **filters: Any) -> Any:
        """A page of `list_runs`."""
        return self.open().list_runs(limit=limit, after=after, **filters)

    def rows(
        self,
        most: int | None = None,
        after: str | None = None,
        searches: int | None = None,
        **filters: Any,
    ) -> Rows:
        """Return the rows of `list_runs`, newest first, as an iterable.

        Args:
            most: how many; None for all.
            after: the cursor that they begin after.
            searches: how many pages may stop before they are full; None for all.
            filters: those of `list_runs`.
        """
        return Rows(self, most, after, searches, filters)

    def whole(
        self, most: int | None = None, after: str | None = None, **filters: Any
    ) -> Iterator[Any]:
        """Yield whole runs, newest first. One that is deleted meanwhile is left out.

        Args:
            most: how many; None for all.
            after: the cursor that they begin after.
            filters: those of `list_runs`.
        """
        found = self._batches(iter(self.rows(most, after, **filters)))
        if self.place.dsn is not None:  # where the server works meanwhile
            found = _ahead(found)
        for runs in found:
            yield from runs

    def _batches(self, rows: Iterator[Any]) -> Generator[list[Any], None, None]:
        """Yield the whole runs of some rows, as many at once as take little memory."""
        whole_runs = self.open()._whole_runs  # noqa: SLF001 - made for this
        size = 1
        while ids := [row["id"] for row in islice(rows, size)]:
            taken = 0
            for runs, more in _in_parts(whole_runs, ids):
                yield runs
                taken += more
            size = max(1, min(2 * size, _MOST, _BYTES * len(ids) // max(taken, 1)))

    def listed(self, row: Any) -> Any:
        """A row of `list_runs` if it has totals, else its whole run."""
        return row if row["totals"] is not None else self.run(row)

    def line(self, row: Any, with_totals: bool = True) -> Line:
        """The line of a row; one without totals is read whole, if these are asked for."""
        whole = with_totals and row["totals"] is None
        return line_of(row, self.run(row) if whole else None)

    def run(self, row: Any) -> Any:
        """The whole run of a row; the row itself if it was deleted meanwhile."""
        return self.open().get_run(row["run_id"], row["wpk_id"]) or row


class Rows:
    """Rows of `list_runs`, which are read page by page."""

    def __init__(
        self,
        history: History,
        most: int | None,
        after: str | None,
        searches: int | None,
        filters: dict[str, Any],
    ) -> None:
        self._history = history
        self._left = most
        self._searches = searches
        self._filters = filters
        self.next = after
        """Once all were read: the cursor of those that follow, or None."""
        self.complete = True
        """Whether the last page was full or the last of all."""

    def __iter__(self) -> Iterator[Any]:
        while self._left is None or self._left > 0:
            size = _PAGE if self._left is None else min(self._left, _PAGE)
            page = self._history.page(size, self.next, **self._filters)
            self.next = page.next
            self.complete = page.complete
            if self._left is not None:
                self._left -= len(page.runs)
            yield from page.runs
            if page.next is None:
                return
            if not page.complete and self._searches is not None:
                self._searches -= 1
                if self._searches <= 0:
                    return
