"""The recorder behind the functions of the module.

The first call creates it from the environment. `close()` drops it, and the next call
creates another, from the environment of that time.
"""

from __future__ import annotations

import atexit
import os
from _thread import RLock  # threading costs a third of the import

from runlog._imports import importing
from runlog._runlog import ClosedError
from runlog.recorder import Recorder, beside_the_loop, close_all

TYPE_CHECKING = False  # typing costs half of it
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import Any, Literal, TypeVar
    from uuid import UUID

    from runlog._counts import Counts
    from runlog._runlog import Hit, Page, Run, Statuses, ThreadRun

    _T = TypeVar("_T")

_lock = RLock()
"""Code of the program may run while it is held, in a signal handler, a finalizer or a
handler of logging, and call these functions too."""
_current: Recorder | None = None
_exiting = False


def _renew_lock() -> None:
    """Replace the lock in a forked child: no thread there would release the old one."""
    global _lock
    _lock = RLock()


def _forget() -> None:
    """Close every recorder at exit.

    A call after this, from a daemon thread for example, creates another recorder. The
    reference `before` keeps this one alive until `close_all` has closed it within the
    time that all recorders share; its destructor would use a time limit of its own.
    """
    global _current, _exiting
    before, _current, _exiting = _current, None, True
    close_all()
    del before


os.register_at_fork(after_in_child=_renew_lock)


def _log_fallback(recorder: Recorder) -> None:
    """Log that SQLite is the store: INFO if the user chose the file, else WARNING."""
    with importing:
        import logging

    chosen = not recorder.default_path
    logging.getLogger("runlog").log(
        logging.INFO if chosen else logging.WARNING,
        "POSTGRES_DSN is not set: runs are recorded in the %s",
        "chosen SQLite file" if chosen else "SQLite file test_runs.db",
    )


def _create() -> Recorder:
    """Create the module's recorder, unless the program does so meanwhile: see _lock."""
    global _current
    fresh = Recorder()
    if _current is not None:
        return _current
    _current = fresh
    if not _exiting:
        atexit.register(_forget)
        if not os.environ.get("POSTGRES_DSN"):
            _log_fallback(fresh)
    return fresh


def default_recorder() -> Recorder:
    """Return the module's recorder; create it if there is none. Raises ConfigError."""
    recorder = _current
    if recorder is None:
        with _lock:
            recorder = _current or _create()
    return recorder


def on_default(call: Callable[[Recorder], _T]) -> _T:
    """Make a call of the module's recorder.

    Another thread may replace or close that recorder before it has let the call in. It
    refuses the call then, before anything is done, and the next recorder gets it.
    """
    while True:
        recorder = default_recorder()
        try:
            return call(recorder)
        except ClosedError:
            if recorder is _current:  # nobody has replaced it: it is closed for good
                raise


def configure(**options: Any) -> None:
    """Replace the module's recorder by one with these options, those of `Recorder`.

    Raises:
        ConfigError, TypeError: an option is wrong; the module's recorder stays.
    """
    global _current
    fresh = Recorder(**options)
    with _lock:
        before, _current = _current, fresh
        atexit.unregister(_forget)
        atexit.register(_forget)
    if before is not None:
        before.close()


def close() -> None:
    """Close the module's recorder; the next call creates one from the environment."""
    global _current
    with _lock:
        before, _current = _current, None
        atexit.unregister(_forget)
    if before is not None:
        before.close()


def log_run(run: Mapping[str, Any]) -> str:
    """Record one run; return its run_id once it is committed. See `Recorder.log_run`."""
    return on_default(lambda recorder: recorder.log_run(run))


def get_runs_by_wpk_id(
    wpk_id: str, limit: int = 20, offset: int = 0
) -> list[tuple[str, str, int | None, datetime]]:
    """The runs of a workflow, newest first: (run_id, status, duration_ms, created_at)."""
    return on_default(lambda recorder: recorder.get_runs_by_wpk_id(wpk_id, limit, offset))


def get_run(run_id: str | UUID, wpk_id: str | None = None) -> Run | None:
    """The whole run as a dict, or None. See `Recorder.get_run`."""
    return on_default(lambda recorder: recorder.get_run(run_id, wpk_id))


def get_thread(
    thread_id: str | int | UUID, wpk_id: str | None = None, limit: int = 100
) -> list[ThreadRun]:
    """The runs of a thread, oldest first. See `Recorder.get_thread`."""
    return on_default(lambda recorder: recorder.get_thread(thread_id, wpk_id, limit))


def list_runs(
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
    limit: int = 20,
    after: str | None = None,
    run_id: str | UUID | None = None,
) -> Page:
    """A page of runs, newest first. See `Recorder.list_runs`."""
    return on_default(
        lambda recorder: recorder.list_runs(
            wpk_id=wpk_id,
            status=status,
            thread_id=thread_id,
            tag=tag,
            metadata=metadata,
            error=error,
            node=node,
            since=since,
            until=until,
            limit=limit,
            after=after,
            run_id=run_id,
        )
    )


def count_runs(**filters: Any) -> Counts:
    """Numbers of runs by status and time. See `Recorder.count_runs` for the arguments."""
    return on_default(lambda recorder: recorder.count_runs(**filters))


def delete_runs(
    *,
    wpk_id: str | None = None,
    run_id: str | UUID | None = None,
    status: str | None = None,
    thread_id: str | int | UUID | None = None,
    tag: str | None = None,
    metadata: dict[str, Any] | None = None,
    before: datetime | None = None,
) -> int:
    """Delete the runs that fit every filter given; return how many there were."""
    # Not on_default: a close ends it midway, and the next recorder may have other runs.
    return default_recorder().delete_runs(
        wpk_id=wpk_id,
        run_id=run_id,
        status=status,
        thread_id=thread_id,
        tag=tag,
        metadata=metadata,
        before=before,
    )


def flush(timeout: float | None = None) -> bool:
    """Wait until every run handed over is in the database; False when time ran out."""
    return on_default(lambda recorder: recorder.flush(timeout))


def stats() -> dict[str, Any]:
    """Counters of the module's recorder. See `Recorder.stats`."""
    return on_default(lambda recorder: recorder.stats())


def search_runs(
    text: str,
    *,
    by: Literal["words", "meaning"] | None = None,
    wpk_id: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    limit: int = 10,
) -> list[Hit]:
    """Return the runs that have the words of a text, or those closest to it in meaning.

    See `Recorder.search_runs`.
    """
    return on_default(
        lambda recorder: recorder.search_runs(
            text, by=by, wpk_id=wpk_id, status=status, since=since, limit=limit
        )
    )


def find_similar(
    run_id: str,
    wpk_id: str | None = None,
    *,
    within: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    limit: int = 10,
) -> list[Hit]:
    """Return the runs closest in meaning to a run. See `Recorder.find_similar`."""
    return on_default(
        lambda recorder: recorder.find_similar(
            run_id, wpk_id, within=within, status=status, since=since, limit=limit
        )
    )


def generate_embedding(text: str) -> list[float] | None:
    """Return the embedding of a text, or None if OPENAI_KEY is not set."""
    return on_default(lambda recorder: recorder.generate_embedding(text))


def upsert_to_milvus(
    run_id: str, embedding: Sequence[float], metadata: Mapping[str, Any]
) -> bool:
    """Upsert a vector to Milvus; return False if MILVUS_ENDPOINT is not set."""
    return on_default(
        lambda recorder: recorder.upsert_to_milvus(run_id, embedding, metadata)
    )


async def alog_run(run: Mapping[str, Any]) -> str:
    """`log_run` for asyncio: encodes the run at the call, commits it in a thread."""
    prepared = default_recorder().prepare(run)
    return await beside_the_loop(on_default, lambda recorder: recorder.commit(prepared))


async def aget_runs_by_wpk_id(
    wpk_id: str, limit: int = 20, offset: int = 0
) -> list[tuple[str, str, int | None, datetime]]:
    """`get_runs_by_wpk_id` for asyncio."""
    return await beside_the_loop(get_runs_by_wpk_id, wpk_id, limit, offset)


async def aget_run(run_id: str | UUID, wpk_id: str | None = None) -> Run | None:
    """`get_run` for asyncio."""
    return await beside_the_loop(get_run, run_id, wpk_id)


async def aget_thread(
    thread_id: str | int | UUID, wpk_id: str | None = None, limit: int = 100
) -> list[ThreadRun]:
    """`get_thread` for asyncio."""
    return await beside_the_loop(get_thread, thread_id, wpk_id, limit)


async def alist_runs(**filters: Any) -> Page:
    """`list_runs` for asyncio, with the same keyword arguments."""
    return await beside_the_loop(lambda: list_runs(**filters))


async def acount_runs(**filters: Any) -> Counts:
    """`count_runs` for asyncio, with the same keyword arguments."""
    return await beside_the_loop(lambda: count_runs(**filters))


async def asearch_runs(text: str, **filters: Any) -> list[Hit]:
    """`search_runs` for asyncio, with the same keyword arguments."""
    return await beside_the_loop(lambda: search_runs(text, **filters))


async def afind_similar(
    run_id: str, wpk_id: str | None = None, **filters: Any
) -> list[Hit]:
    """`find_similar` for asyncio, with the same keyword arguments."""
    return await beside_the_loop(lambda: find_similar(run_id, wpk_id, **filters))


async def aflush(timeout: float | None = None) -> bool:
    """`flush` for asyncio."""
    return await beside_the_loop(flush, timeout)
