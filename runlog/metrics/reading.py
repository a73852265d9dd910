"""What a scrape reads: the database's figures and those of this process.

It takes a bounded time, whatever the database does, and raises nothing: what could not be
read is None.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from runlog._runlog import ClosedError
from runlog._sum_prices import SumPrices
from runlog.metrics.labels import OTHER, bound_workflows, count_errors
from runlog.metrics.money import Cost, costs
from runlog.rollup import Block

SECONDS: Final = 5.0
"""How long a scrape waits for the database; Prometheus waits 10 s for a scrape."""
_COUNTING: Final = 0.25
"""How long it waits for the roll-up to count what is new."""
_LOCAL: Final = 1.0
"""How long it waits for what is known without a database that does not answer."""
_BESIDE: Final = ("-beside", "-beside-wal", "-beside-shm")
_JOURNAL: Final = ("", "-wal", "-shm", *_BESIDE)


@dataclass(slots=True)
class Reading:
    """What was read at a moment."""

    at: float = field(default_factory=time.time)
    up: bool = False
    """Whether all of the database was read."""
    stats: dict[str, Any] | None = None
    """What `Recorder.stats` returns."""
    journal_bytes: int = 0
    meaning: bool = False
    """Whether runs are embedded."""
    blocks: list[Block] | None = None
    """All time, of the workflows that have labels."""
    waiting: int = 0
    """Runs that the blocks do not have yet."""
    errors: dict[str, int] = field(default_factory=dict)
    """Failed runs by type of error."""
    costs: dict[str, Cost] = field(default_factory=dict)
    """By workflow."""
    open: int | None = None
    lost: int | None = None
    newest: dict[str, float] = field(default_factory=dict)
    """When the newest run of a workflow was created, seconds since 1970."""


class Reader:
    """Reads a history again and again. Any thread may use it, also after a fork."""

    def __init__(
        self, open_recorder: Callable[[], Any], seconds: float = SECONDS
    ) -> None:
        """Read what a function opens.

        Args:
            open_recorder: returns the recorder; it may raise.
            seconds: how long a reading may take.
        """
        self._open = open_recorder
        self._seconds = seconds
        self._late: threading.Thread | None = None
        self._local: threading.Thread | None = None
        self._prices = SumPrices()
        self._told: set[str] = set()

    def read(self) -> Reading:
        """Read what there is."""
        reading = Reading()
        if _is_at_work(self._late):  # the database has not answered the last one
            if not _is_at_work(self._local):
                self._local = _begin(self._fill_local, reading)
                self._local.join(_LOCAL)
            return _settled(reading)
        thread = _begin(self._fill, reading)
        thread.join(self._seconds)
        if not thread.is_alive():
            return reading
        self._late = thread
        self._tell("store", f"the database did not answer within {self._seconds:g} s")
        return _settled(reading)

    def _fill(self, reading: Reading) -> None:
        try:
            self._read_all(reading)
            self._told.discard("store")
        except Exception as error:  # noqa: BLE001 - a scrape is always answered
            self._tell("store", str(error) or type(error).__name__)

    def _read_all(self, reading: Reading) -> None:
        """Read in the order in which things may fail; the last is that it is up.

        The program may replace its recorder meanwhile: then the next one is read.
        """
        while True:
            recorder = self._open()
            try:
                self._read_local(recorder, reading)
                self._read_store(recorder, reading)
                reading.stats = stats = recorder.stats()  # the replica's lag is known now
            except ClosedError:
                if recorder is self._open():  # it is closed for good
                    raise
            else:
                reading.up = stats["server"] != "away"
                return

    def _fill_local(self, reading: Reading) -> None:
        """Read what is known without the database."""
        with suppress(Exception):  # the reading that has not ended says why
            self._read_local(self._open(), reading)

    def _read_local(self, recorder: Any, reading: Reading) -> None:
        reading.meaning = recorder._has_meaning()  # noqa: SLF001 - ours
        stats = recorder.stats()
        reading.journal_bytes = _size_of(stats)
        reading.stats = stats

    def _read_store(self, recorder: Any, reading: Reading) -> None:
        found = recorder.rollup_totals(wait=_COUNTING)
        blocks = bound_workflows(found.blocks)
        names = [block.workflow for block in blocks if block.workflow != OTHER]
        gauges = recorder._gauges(json.dumps(names))  # noqa: SLF001 - made for this
        reading.open, reading.lost, newest = gauges
        reading.newest = {name: time_.timestamp() for name, time_ in newest.items()}
        reading.waiting = found.waiting
        reading.errors = count_errors(found.blocks)
        reading.costs = self._costs(blocks)
        reading.blocks = blocks

    def _costs(self, blocks: list[Block]) -> dict[str, Cost]:
        try:
            found = costs(blocks, self._prices)
            self._told.discard("prices")
        except Exception as error:  # noqa: BLE001 - a table of prices of the user's
            self._tell("prices", str(error))
            return {}
        return found

    def _tell(self, what: str, why: str) -> None:
        """Log a fault once, until it is over."""
        if what not in self._told:
            self._told.add(what)
            subject = "the database" if what == "store" else "the table of prices"
            logging.getLogger("runlog").warning(
                "metrics leave out what %s has (logged once): %s", subject, why
            )


def _begin(work: Callable[[Reading], None], reading: Reading) -> threading.Thread:
    thread = threading.Thread(
        target=work, args=(reading,), name="runlog-metrics", daemon=True
    )
    thread.start()
    return thread


def _is_at_work(thread: threading.Thread | None) -> bool:
    return thread is not None and thread.is_alive()


def _settled(reading: Reading) -> Reading:
    """What is known of a reading that goes on: the thread may still add to it."""
    known = Reading(reading.at)
    if reading.stats is not None:
        known.stats, known.journal_bytes = reading.stats, reading.journal_bytes
        known.meaning = reading.meaning
    return known


def _size_of(stats: dict[str, Any]) -> int:
    """The bytes of the files in which runs wait."""
    size = 0
    for end in _BESIDE if stats["store"] == "sqlite" else _JOURNAL:
        with suppress(OSError):
            size += os.stat(stats["path"] + end).st_size  # noqa: PTH116 - as it is
    return size
