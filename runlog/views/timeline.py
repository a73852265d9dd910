"""The nodes of a run on a line of time."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from runlog.views.logs import Log, began, number, read_logs, seconds


class Bar(NamedTuple):
    """When a node ran, within its run."""

    place: int
    """The place of its log."""
    offset_ms: float
    """From the start of the run to that of the node."""
    duration_ms: float
    start: float
    """The same as shares of the run, 0 to 1."""
    share: float
    lane: int
    """Nodes that ran at one time have different lanes, from 0."""


def bars(run: Any, logs: list[Log] | None = None) -> list[Bar]:
    """Return the bar of each node log whose start is known, in their order.

    Args:
        run: a run as `get_run` returns it. Nodes that are still open reach to its end.
        logs: its node logs, if they are known already.
    """
    logs = read_logs(run) if logs is None else logs
    timed = [(log, log.started) for log in logs if log.started is not None]
    if not timed:
        return []
    first = min(started for _, started in timed)
    origin = began(run)
    origin = first if origin is None else min(origin, first)
    ends = [
        (started - origin) * 1000 + max(0.0, log.duration_ms or 0.0)
        for log, started in timed
    ]
    whole = max(number(run.get("duration_ms")) or 0.0, _reached(run, origin), *ends)
    whole = max(whole, 0.001)
    found = []
    for log, started in timed:
        offset = (started - origin) * 1000
        spent = whole - offset if log.duration_ms is None else max(0.0, log.duration_ms)
        found.append((log.place, offset, spent))
    lanes = _lanes(found)
    return [
        Bar(index, offset, spent, offset / whole, min(1.0, spent / whole), lane)
        for (index, offset, spent), lane in zip(found, lanes, strict=True)
    ]


def _reached(run: Any, origin: float) -> float:
    """Milliseconds from a moment to when a run that has not ended was last known to be
    at work: now, or when its process last wrote it.
    """
    if run.get("status") == "running":
        return (time.time() - origin) * 1000
    last = seconds(run.get("updated_at")) if run.get("status") == "lost" else None
    return 0.0 if last is None else (last - origin) * 1000


def _lanes(spans: list[tuple[int, float, float]]) -> list[int]:
    """For each (index, offset, duration) the first lane that is free then."""
    from heapq import heappop, heappush

    free: list[int] = []
    busy: list[tuple[float, int]] = []
    lanes = [0] * len(spans)
    for place in sorted(range(len(spans)), key=lambda at: spans[at][1]):
        _, offset, spent = spans[place]
        while busy and busy[0][0] <= offset:
            heappush(free, heappop(busy)[1])
        lane = heappop(free) if free else len(busy)
        lanes[place] = lane
        heappush(busy, (offset + spent, lane))
    return lanes
