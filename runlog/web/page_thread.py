"""The page of a thread: its runs as one story."""

from __future__ import annotations

from typing import Any

from runlog.reading.names import nearest
from runlog.views.story import story
from runlog.web.address import Asked
from runlog.web.errors import UnknownError
from runlog.web.source import Source

_MOST = 100
_NAMES = 2_000


def read_thread(source: Source, asked: Asked) -> list[Any]:
    """Read the runs of the thread that an address names, the oldest first.

    Raises:
        UnknownError: there is none.
    """
    recorder = source.open()
    name = asked["id"]
    runs: list[Any] = recorder.get_thread(name, asked.get("workflow"), _MOST)
    if not runs:
        rows = recorder.list_runs(limit=_NAMES).runs
        known = {row["thread_id"] for row in rows if row["thread_id"]}
        raise UnknownError(f"There is no thread {name!r}{nearest(name, known)}")
    return runs


def thread(source: Source, asked: Asked) -> dict[str, Any]:
    """Read what the page shows."""
    runs = read_thread(source, asked)
    return {"name": asked["id"], "turns": story(runs), "most": _MOST}
