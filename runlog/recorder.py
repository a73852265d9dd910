"""Recorder: the C one, with its asyncio twins."""

from __future__ import annotations

import atexit
import os
from _weakref import ref  # weakref costs a third of the import
from time import monotonic

from runlog import _runlog

TYPE_CHECKING = False  # importing typing costs more than everything else here
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import ThreadPoolExecutor
    from datetime import datetime
    from typing import Any, TypeVar

    from runlog._runlog import Hit, Page, Run

    _T = TypeVar("_T")

_THREADS = 32
"""Calls that may wait for the database at once; they share commits."""

_pool: ThreadPoolExecutor | None = None

_LEVELS = (20, 30, 40)
"""logging's INFO, WARNING and ERROR, by the number that the extension has for them."""


def _log_notice(level: int, text: str) -> None:
    """Log a notice of the extension, which calls this."""
    import logging

    logging.getLogger("runlog").log(_LEVELS[level], "%s", text)


def _forget_pool() -> None:
    """A forked child has none of its parent's threads."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)

_EXIT_SECONDS = 3.0
"""What all recorders together may take at exit to forward what is in their journals.

Their threads may take 0.9 s more to end, and an exit is to take 5 s at most on a busy
machine, too.
"""

_open: dict[int, ref[Recorder]] = {}
_closed = False


def close_all() -> None:
    """Close every recorder, once: one that is made during the exit stays open."""
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
    """Run a call that waits without the GIL in a thread of a pool for such calls.

    asyncio's default pool has few threads on small machines, and the program uses it too.
    """
    global _pool
    import asyncio

    if _pool is None:
        from concurrent.futures import ThreadPoolExecutor

        _pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="runlog")
    return await asyncio.get_running_loop().run_in_executor(_pool, call, *args)


class Recorder(_runlog.Recorder):
    """Keeps runs in SQLite, or in PostgreSQL when it is given a DSN.

    Arguments that are not given are taken from the environment; see the README's table of
    settings. Methods may be called from any thread.
    """

    if not TYPE_CHECKING:  # the stub has the arguments

        def __init__(self, **options: Any) -> None:
            """Make a recorder; nothing is opened before its first use."""
            super().__init__(**options)
            key = id(self)
            _open[key] = ref(self, lambda _: _open.pop(key, None))

    async def alog_run(self, run: Mapping[str, Any]) -> str:
        """`log_run` for asyncio: encoded at the call, committed beside the loop."""
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
        """`list_runs` for asyncio; takes the same keyword arguments."""
        return await _beside_the_loop(lambda: self.list_runs(**filters))

    async def asearch_runs(self, text: str, **filters: Any) -> list[Hit]:
        """`search_runs` for asyncio; takes the same keyword arguments."""
        return await _beside_the_loop(lambda: self.search_runs(text, **filters))

    async def afind_similar(
        self, run_id: str, wpk_id: str | None = None, **filters: Any
    ) -> list[Hit]:
        """`find_similar` for asyncio; takes the same keyword arguments."""
        return await _beside_the_loop(
            lambda: self.find_similar(run_id, wpk_id, **filters)
        )

    async def aflush(self, timeout: float | None = None) -> bool:
        """`flush` for asyncio."""
        return await _beside_the_loop(self.flush, timeout)
