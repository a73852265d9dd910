"""Recorder: the class of the C extension, with asyncio twins of its methods."""

from __future__ import annotations

import atexit
import os
import sys
from _weakref import ref  # weakref costs a third of the import
from time import monotonic

from runlog import _runlog
from runlog._copies import plain_options, reduce_recorder
from runlog._imports import importing

TYPE_CHECKING = False  # importing typing costs more than the rest of this module
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from concurrent.futures import ThreadPoolExecutor
    from datetime import datetime
    from typing import Any, TypeVar
    from uuid import UUID

    from runlog._counts import Counts
    from runlog._runlog import Hit, Page, Run, Statuses, ThreadRun
    from runlog.rollup import Rollup

    _T = TypeVar("_T")

_THREADS = 32
"""Number of calls that may wait for the database at once; they share commits."""

_pool: ThreadPoolExecutor | None = None

_LEVELS = (20, 30, 40)
"""The extension's levels 0, 1 and 2 as logging's INFO, WARNING and ERROR."""


def _log_notice(level: int, text: str) -> None:
    """Log a message of the extension, which calls this function."""
    with importing:
        import logging

    logging.getLogger("runlog").log(_LEVELS[level], "%s", text)


def _forget_pool() -> None:
    """Drop the pool in a forked child, which has none of its parent's threads."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)

_EXIT_SECONDS = 3.0
"""Seconds that all recorders together may take at exit to empty their journals.

Their threads may take another 0.9 s to end. An exit must take at most 5 s, on a busy
machine, too.
"""

_open: dict[int, ref[Recorder]] = {}
_closed = False


def close_all() -> None:
    """Close every recorder, once. A recorder created after that stays open."""
    global _closed
    if _closed:
        return
    _closed = True
    deadline = monotonic() + _EXIT_SECONDS
    for recorder in [reference() for reference in list(_open.values())]:
        if recorder is not None:
            recorder._close_within(deadline - monotonic())  # noqa: SLF001 - ours


atexit.register(close_all)


def _running_loop() -> asyncio.AbstractEventLoop:
    """The loop of the caller, a coroutine: asyncio is loaded, and no lock is needed."""
    loaded: Any = sys.modules.get("asyncio")
    if loaded is None:
        raise RuntimeError("no running event loop")
    loop: asyncio.AbstractEventLoop = loaded.get_running_loop()
    return loop


async def beside_the_loop(call: Callable[..., _T], *args: Any) -> _T:
    """Run a call that releases the GIL while it waits, in a thread of runlog's pool.

    asyncio's default pool has few threads on small machines, and the program uses it.
    """
    global _pool
    if _pool is None:
        with importing:
            from concurrent.futures import ThreadPoolExecutor

        _pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="runlog")
    return await _running_loop().run_in_executor(_pool, call, *args)


class Recorder(_runlog.Recorder):
    """Records runs in SQLite, or in PostgreSQL if it has a DSN.

    Arguments that are not given come from the environment; docs/configuration.md lists
    them. Any thread may call any method.
    """

    _given: dict[str, Any]
    """The options, for a pickle; None in the place of secrets."""

    if not TYPE_CHECKING:  # the stub has the arguments

        def __init__(self, **options: Any) -> None:
            """Create a recorder; the first call opens the database."""
            super().__init__(**options)
            key = id(self)
            _open[key] = ref(self, lambda _: _open.pop(key, None))
            self._given = plain_options(options)

    def __copy__(self) -> Recorder:
        return self

    def __deepcopy__(self, memo: object) -> Recorder:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return reduce_recorder(self, self._given)

    def get_thread(
        self, thread_id: str | int | UUID, wpk_id: str | None = None, limit: int = 100
    ) -> list[ThreadRun]:
        """Return the runs of a LangGraph thread, oldest first, each linked to the others.

        Each run is a dict with the members of `get_run` except `node_logs`, and with:

        - `interrupts`: the interrupts at which it paused, each {"id", "value"}; [] for
          none.
        - `answer`: the `resume` of the Command that it was given, or None.
        - `resumes`: the run_id of the run that it continues, or None.
        - `resumed_by`: the run_id of the newest run that continues it, or None.

        docs/api.md, "Threads", has the rules by which runs are linked.

        Args:
            thread_id: the thread: text, an int or a uuid.UUID.
            wpk_id: only runs of this workflow.
            limit: number of runs, the newest, 1 to 1,000.

        Returns:
            The runs; [] for an unknown thread.

        Raises:
            ValidationError: an argument is wrong.
            StoreError: the database was not reached.
            MemoryError: the runs have more than 1 GiB of JSON: set a lower limit.
        """
        with importing:
            from runlog._threads import tie

        return tie(self._thread_runs(thread_id, wpk_id, limit), limit)

    def count_runs(
        self,
        *,
        wpk_id: str | None = None,
        status: Statuses | None = None,
        thread_id: str | int | UUID | None = None,
        tag: str | None = None,
        metadata: dict[str, Any] | None = None,
        error: str | None = None,
        node: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        spans: int = 1,
    ) -> Counts:
        """Count runs by their status, and by spans of time.

        The filters are those of `list_runs`. With `tag`, `metadata`, `error` or `node`,
        which have no index, it counts only the newest runs: 2,500 for each status, 1,000
        with `node`. Without these it counts all runs, and the work grows with their
        number: docs/performance.md, "Lists".

        Args:
            wpk_id: only runs of this workflow.
            status: only runs with this status, or with one of these.
            thread_id: only runs of this LangGraph thread.
            tag: only runs with this tag.
            metadata: only runs with these metadata.
            error: only runs with this text in their error.
            node: only runs with a node of this name.
            since: only runs created at this time or later.
            until: only runs created before this time.
            spans: how many spans of equal length, 1 to 200.

        Returns:
            The numbers. The spans go from `since` to `until`, or where these are missing
            from the oldest to the newest run.

        Raises:
            ValidationError: an argument is wrong.
            StoreError: the database was not reached.
        """
        filters = {name: value for name, value in locals().items() if name != "self"}
        with importing:
            from runlog._counts import count

        return count(self, filters)

    if not TYPE_CHECKING:  # the stub has it

        def search_runs(self, text: str, *, by: str | None = None, **filters: Any) -> Any:
            """Return the runs that have the words of a text, or are close in meaning."""
            with importing:
                from runlog._words import search

            return search(self, text, by, filters)

    def rollup(
        self,
        *,
        wpk_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        wait: float = 1.0,
    ) -> Rollup:
        """What runs add up to, by workflow and blocks of four hours.

        The first call has the whole history be counted, in a thread of this recorder;
        later ones what is new or has changed.

        Args:
            wpk_id: the workflow; None means all.
            since: only blocks that have this time or later ones.
            until: only blocks that begin before this time.
            wait: seconds to wait for runs that are not counted yet. What is not counted
                by then is in `waiting`; the thread goes on with it.

        Raises:
            StoreError: the database can't be read.
            ValidationError: an argument has a wrong value.
        """
        with importing:
            from runlog._rollup import rollup

        return rollup(self, wpk_id, since, until, wait)

    def rollup_totals(self, *, wait: float = 1.0) -> Rollup:
        """What all runs of each workflow add up to, one block each, since its first.

        Runs that `prune` or `delete_runs` have deleted stay in it.

        Args:
            wait: as of `rollup`.

        Raises:
            StoreError: the database can't be read.
        """
        with importing:
            from runlog._rollup import totals

        return totals(self, wait)

    async def alog_run(self, run: Mapping[str, Any]) -> str:
        """`log_run` for asyncio: encodes the run at the call, commits it in a thread."""
        return await beside_the_loop(self.commit, self.prepare(run))

    async def aget_runs_by_wpk_id(
        self, wpk_id: str, limit: int = 20, offset: int = 0
    ) -> list[tuple[str, str, int | None, datetime]]:
        """`get_runs_by_wpk_id` for asyncio."""
        return await beside_the_loop(self.get_runs_by_wpk_id, wpk_id, limit, offset)

    async def aget_run(self, run_id: str | UUID, wpk_id: str | None = None) -> Run | None:
        """`get_run` for asyncio."""
        return await beside_the_loop(self.get_run, run_id, wpk_id)

    async def aget_thread(
        self, thread_id: str | int | UUID, wpk_id: str | None = None, limit: int = 100
    ) -> list[ThreadRun]:
        """`get_thread` for asyncio."""
        return await beside_the_loop(self.get_thread, thread_id, wpk_id, limit)

    async def alist_runs(self, **filters: Any) -> Page:
        """`list_runs` for asyncio, with the same keyword arguments."""
        return await beside_the_loop(lambda: self.list_runs(**filters))

    async def acount_runs(self, **filters: Any) -> Counts:
        """`count_runs` for asyncio, with the same keyword arguments."""
        return await beside_the_loop(lambda: self.count_runs(**filters))

    async def arollup(self, **filters: Any) -> Rollup:
        """`rollup` for asyncio, with the same keyword arguments."""
        return await beside_the_loop(lambda: self.rollup(**filters))

    async def arollup_totals(self, *, wait: float = 1.0) -> Rollup:
        """`rollup_totals` for asyncio."""
        return await beside_the_loop(lambda: self.rollup_totals(wait=wait))

    async def asearch_runs(self, text: str, **filters: Any) -> list[Hit]:
        """`search_runs` for asyncio, with the same keyword arguments."""
        return await beside_the_loop(lambda: self.search_runs(text, **filters))

    async def afind_similar(
        self, run_id: str, wpk_id: str | None = None, **filters: Any
    ) -> list[Hit]:
        """`find_similar` for asyncio, with the same keyword arguments."""
        return await beside_the_loop(lambda: self.find_similar(run_id, wpk_id, **filters))

    async def aflush(self, timeout: float | None = None) -> bool:
        """`flush` for asyncio."""
        return await beside_the_loop(self.flush, timeout)
