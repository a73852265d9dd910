"""The history that the page shows, and the threads that read it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from runlog.reading import places

T = TypeVar("T")

_THREADS = 4
"""As many as a recorder has connections for reads."""
_WAITING = 64
"""How many requests may wait for a thread."""
_KNOWN = 2_000
_OPTIONS: dict[str, dict[str, Any]] = {
    "read": {},
    "words": {"words": None},  # as RUNLOG_WORDS says: the index is brought up to date
    "meaning": {"search": True},
}


class BusyError(Exception):
    """More requests wait already than the page lets wait."""


class Known:
    """What was made of the runs that were read last. Any thread may use it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any:
        """What is known by a key, or None."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def add(self, key: Any, value: Any) -> None:
        """Remember something, and forget what was used least recently."""
        with self._lock:
            self._found[key] = value
            while len(self._found) > self._most:
                self._found.popitem(last=False)


class Source:
    """A recorder that is opened at its first use, and a pool of threads.

    Methods may be called by any thread, but for `call`, which is for the event loop.
    """

    def __init__(self, recorder: Any, place: places.Place | None) -> None:
        """Take the recorder, or the place where there is one to be opened."""
        self._given = recorder
        self.place = place
        self.known = Known(_KNOWN)
        """The lines of runs that had to be read whole for them."""
        self._opened: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="runlog-web")
        self._waiting = 0

    def open(self, what: str = "read") -> Any:
        """Return a recorder.

        Args:
            what: "read", or "words" or "meaning" for a search.

        Raises:
            AwayError: there is no history, or it is out of reach.
        """
        if self._given is not None:
            return self._given
        assert self.place is not None
        with self._lock:
            if what not in self._opened:
                places.check(self.place)
                self._opened[what] = places.open_recorder(self.place, **_OPTIONS[what])
            return self._opened[what]

    def has_meaning(self) -> bool:
        """Whether runs can be found by meaning."""
        if self._given is not None:
            return bool(self._given._has_meaning())  # noqa: SLF001 - ours
        return bool(os.environ.get("OPENAI_KEY"))

    async def call(self, work: Callable[[], T]) -> T:
        """Do some work in a thread of the pool.

        Raises:
            BusyError: too many wait already.
        """
        if self._waiting >= _WAITING:
            raise BusyError
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Close what was opened here."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for recorder in self._opened.values():
                recorder.close(0)
            self._opened.clear()
