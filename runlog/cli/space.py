"""The space that deleted runs leave in a SQLite file, given back to the file system."""

from __future__ import annotations

import os
import signal
from typing import Any, NamedTuple

from runlog.cli.errors import WrongUsageError
from runlog.cli.history import History
from runlog.cli.progress import Progress, Waiting
from runlog.reading.places import file_size

_STEP = 0.1
"""Seconds after which the progress is shown."""


class Space(NamedTuple):
    """What became of the free space of a file, in bytes."""

    returned: int
    """Given back to the file system."""
    left: int
    """Free for later runs."""


def give_back(history: History, returned: int) -> Space | None:
    """Give free space back in short steps, beside others; None on PostgreSQL.

    A file that runlog has not made, or a version of it before that could, keeps its free
    space for later runs.

    Args:
        history: whose file it is.
        returned: bytes that were given back before.
    """
    if history.place.dsn is not None:
        return None
    reclaim = history.open()._reclaim  # noqa: SLF001 - made for this
    with Progress("KB given back") as progress:
        while True:
            now, left, can = reclaim(_STEP)
            returned += now
            progress.add(now // 1000)
            if not can or left == 0:
                return Space(returned, left)


def rewrite(history: History) -> Space:
    """Rewrite the whole file. Ctrl-C ends the process, and the file is as it was.

    Raises:
        WrongUsageError: the history is in PostgreSQL.
    """
    place = history.place
    if place.dsn is not None:
        raise WrongUsageError(
            "--vacuum is for a SQLite file; on PostgreSQL run VACUUM FULL workflow_runs"
        )
    rewrite_file = history.open()._rewrite  # noqa: SLF001 - made for this
    before = file_size(place.path) or 0
    found: Any = signal.getsignal(signal.SIGINT)
    try:
        if found is signal.default_int_handler:  # which waits until SQLite is done
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        with Waiting("rewriting the file"):
            rewrite_file()
    finally:
        signal.signal(signal.SIGINT, found)
    after = os.stat(place.path).st_size
    return Space(max(before - after, 0), 0)
