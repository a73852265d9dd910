"""Recorder: the class of the C extension, with asyncio twins of its methods."""

from __future__ import annotations

import atexit
import os
from _weakref import ref  # weakref costs a third of the import
from time import monotonic

from runlog import _runlog

TYPE_CHECKING = False  # importing typing costs more than the rest of this module
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import ThreadPoolExecutor
    from datetime import datetime
    from typing import Any, TypeVar

    from runlog._runlog import Hit, Page, Run

    _T = TypeVar("_T")

_THREADS = 32
"""Number of calls that may wait for the database at once; they share commits."""

_pool: ThreadPoolExecutor | None = None

_LEVELS = (20, 30, 40)
"""The extension's levels 0, 1 and 2 as logging's INFO, WARNING and ERROR."""


def _log_notice(level: int, text: str) -> None:
    """Log a message of the extension, which calls this function."""
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
    for recorder in [reference() for reference in _open.values()]:
        if recorder is not None:
            recorder._close_within(deadline - monotonic())  # noqa: SLF001 - ours


atexit.register(close_all)


async def _beside_the_loop(call: Callable[..., _T], *args: Any) -> _T:
    """Run a call that releases the GIL while it waits, in a thread of runlog's pool.

    asyncio's default pool has few threads on small machines, and the program uses it.
    """
    global _pool
    import asyncio

    if _pool is None:
        from concurrent.futures import ThreadPoolExecutor

        _pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="runlog")
    return await asyncio.get_running_loop().run_in_executor(_pool, call, *args)


class Recorder(_runlog.Recorder):
    """Records runs in SQLite, or in PostgreSQL if it has a DSN.

    The environment supplies the arguments that are not given; docs/configuration.md lists
    them. Any thread may call any method.
    """

    if not TYPE_CHECKING:  # the stub has the arguments

        def __init__(self, **options: Any) -> None:
            """Create a recorder; the first call opens the database."""
            super().__init__(**options)
            key = id(self)
            _open[key] = ref(self, lambda _: _open.pop(key, None))

    async def alog_run(self, run: Mapping[str, Any]) -> str:
        """`log_run` for asyncio: encodes the run at the call, commits it in a thread."""
        return await _beside_the_loop(self.commit, self.prepare(run))

    async def aget_runs_by_wpk_id(
        self, wpk_id: str, limit: int = 20, offset: int = 0
    ) -> list[tuple[str, str, int | None, datetime]]:
        """`get_runs_by_wpk_id` for asyncio."""
        return await _beside_the_loop(self.get_runs_by_wpk_id, wpk_id, limit, offset)

    async def aget_run(self, run_id: str, wpk_id: str | None = None) -> Run | None:
        """`get_run` for asyncio."""
        return await _beside_the_loop(self.get_run, run_id, wpk_id)

    async def alist_runs(self, **filters: Any) -> Page:
        """`list_runs` for asyncio, with the same keyword arguments."""
        return await _beside_the_loop(lambda: self.list_runs(**filters))

    async def asearch_runs(self, text: str, **filters: Any) -> list[Hit]:
        """`search_runs` for asyncio, with the same keyword arguments."""
        return await _beside_the_loop(lambda: self.search_runs(text, **filters))

    async def afind_similar(
        self, run_id: str, wpk_id: str | None = None, **filters: Any
    ) -> list[Hit]:
        """`find_similar` for asyncio, with the same keyword arguments."""
        return await _beside_the_loop(
            lambda: self.find_similar(run_id, wpk_id, **filters)
        )

    async def aflush(self, timeout: float | None = None) -> bool:
        """`flush` for asyncio."""
        return await _beside_the_loop(self.flush, timeout)
