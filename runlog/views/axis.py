"""The axis of a time line: where a moment of a run stands on it.

A long pause in which nothing ran is closed up, so that it does not squeeze the rest into
a pixel. A window shows a part of the run at the full width.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from runlog.views.words import duration

_LEAST = 10_000.0
"""Milliseconds of a pause that is closed up, at least."""
_TIMES = 4
"""And it has to be so many times as long as all that ran."""
_MOST = 12
"""Pauses that are closed up: the longest."""
_WIDTH, _ALL = 0.06, 0.3
"""The share of the line that a closed pause takes, and all of them at most."""
_BEFORE, _AFTER = 0.2, 0.1
"""No mark of the axis is as near as this to the middle of a closed pause."""
_ZEROS = re.compile(r"\.0+(?= s)| 0 (?:s|min|h)$")
_DAY = 1_440
_MINUTES = (1, 2, 5, 10, 30, 60, 120, 360, 720, _DAY, 2 * _DAY, 7 * _DAY, 30 * _DAY)
_WINDOW = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)-(\d{1,15}(?:\.\d{1,3})?)", re.ASCII)


class Tick(NamedTuple):
    """A mark of the axis of time."""

    share: float
    label: str


class Pause(NamedTuple):
    """A time in which nothing ran, and that is closed up."""

    start: float
    """Where it stands on the line, as a share of it."""
    share: float
    length_ms: float

    @property
    def middle(self) -> float:
        """Where its length is said."""
        return self.start + self.share / 2


class Window(NamedTuple):
    """A part of a run, in milliseconds from its start."""

    start: float
    end: float

    def __str__(self) -> str:
        """As addresses have it."""
        return f"{_number(self.start)}-{_number(self.end)}"

    def moved(self, by: float, whole: float) -> Window | None:
        """The window a part of its width later, within the run; None if it is there."""
        width = self.end - self.start
        start = min(max(0.0, self.start + by * width), max(0.0, whole - width))
        return None if abs(start - self.start) < 0.001 else Window(start, start + width)

    def scaled(self, by: float, whole: float) -> Window | None:
        """The window so many times as wide, around its middle; None for the whole run."""
        half = max(0.001, (self.end - self.start) / 2 * by)
        middle = (self.start + self.end) / 2
        found = Window(max(0.0, middle - half), min(whole, middle + half))
        return None if found.start <= 0 and found.end >= whole else found


def _number(ms: float) -> str:
    return f"{ms:.3f}".rstrip("0").rstrip(".")


def read_window(given: str) -> Window | None:
    """Return the window that a text names, as "1200-1350"; None if it names none."""
    found = _WINDOW.fullmatch(given)
    if found is None or float(found[1]) >= float(found[2]):
        return None
    return Window(float(found[1]), float(found[2]))


def window_around(start: float, end: float) -> Window:
    """The window of what ran from one moment to another, with some room beside it."""
    room = max(0.05 * (end - start), 0.001)
    return Window(max(0.0, start - room), end + room)


class Axis:
    """Maps milliseconds from the start of a run to shares of the line."""

    def __init__(
        self,
        spans: Iterable[tuple[float, float]],
        whole: float,
        window: Window | None = None,
    ) -> None:
        """Lay out the axis.

        Args:
            spans: when something ran, from and to.
            whole: the length of the run.
            window: what is shown of it; None for all.
        """
        first, last = window or Window(0.0, whole)
        self.window = window
        closed = _pauses(spans, first, last)
        each = min(_WIDTH, _ALL / len(closed)) if closed else 0.0
        self.shown = max(last - first - sum(end - start for start, end in closed), 1e-6)
        """Milliseconds that are shown, without the pauses."""
        scale = (1 - each * len(closed)) / self.shown
        self._moments, self._shares, self.pauses = [first], [0.0], list[Pause]()
        for start, end in closed:
            share = self._shares[-1] + (start - self._moments[-1]) * scale
            self._moments += [start, end]
            self._shares += [share, share + each]
            self.pauses.append(Pause(share, each, end - start))
        self._moments.append(last)
        self._shares.append(1.0)
        self.ticks = list(self._marks(first))

    def at(self, ms: float) -> float:
        """Where a moment stands, 0 to 1; what is outside of the window, at its edge."""
        if ms <= self._moments[0]:
            return 0.0
        if ms >= self._moments[-1]:
            return 1.0
        place = bisect_right(self._moments, ms) - 1
        since, until = self._moments[place : place + 2]
        start, end = self._shares[place : place + 2]
        return min(1.0, start + (ms - since) / max(until - since, 1e-9) * (end - start))

    def has(self, start: float, end: float) -> bool:
        """Whether something from one moment to another is within the window."""
        return end >= self._moments[0] and start <= self._moments[-1]

    def _marks(self, first: float) -> Iterable[Tick]:
        """Round times: from the start of the run, else from the end of a pause."""
        step = _step(self.shown)
        for place in range(0, len(self._moments) - 1, 2):
            since, until = self._moments[place : place + 2]
            relative = place > 0 or first > 0
            for number in range(int((until - since) / step * (1 + 1e-9)) + 1):
                share = self.at(since + number * step)
                if any(-_BEFORE < share - one.middle < _AFTER for one in self.pauses):
                    continue
                label = _ZEROS.sub("", duration(number * step))
                yield Tick(share, f"+{label}" if relative else label)


def _pauses(
    spans: Iterable[tuple[float, float]], first: float, last: float
) -> list[tuple[float, float]]:
    """The pauses between what ran that are closed up, in their order."""
    reached, busy = first, 0.0
    idle: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if end < first or start > last:
            continue
        if start > reached:
            idle.append((reached, start))
            reached = start
        busy += max(0.0, min(end, last) - reached)
        reached = max(reached, min(end, last))
    if last > reached:
        idle.append((reached, last))
    least = max(_LEAST, _TIMES * busy)
    long = sorted(
        (one for one in idle if one[1] - one[0] >= least),
        key=lambda one: one[0] - one[1],
    )
    return sorted(long[:_MOST]) if busy > 0 else []


def _step(shown_ms: float, most: int = 5) -> float:
    """The distance of marks at round times, of which so many fit."""
    steps = [part * 10.0**power for power in range(-6, 5) for part in (1, 2, 5)]
    steps = [step for step in steps if step < 30_000]
    steps += [30_000.0, *(60_000.0 * minutes for minutes in _MINUTES)]
    return next((one for one in steps if shown_ms / one <= most), shown_ms)
