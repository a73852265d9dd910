"""Runs over time: how many failed, and how long they took, in equal spans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from runlog.views.logs import number, seconds
from runlog.views.summary import percentile

_BAD = ("failed", "lost")


class Span(NamedTuple):
    """An equal part of a time."""

    start: float
    """Seconds since 1970."""
    end: float
    runs: int
    failed: int
    p50: float | None
    """Percentiles of the durations of completed runs, in milliseconds."""
    p95: float | None


def series(counts: Any, rows: Iterable[Any]) -> list[Span]:
    """Return runs by the span in which they were recorded.

    Args:
        counts: what `count_runs` returns.
        rows: rows of `list_runs` for the percentiles; those outside of the time, and
            those that did not complete, don't count.
    """
    if counts.since is None or not counts.spans:
        return []
    since, until = counts.since.timestamp(), counts.until.timestamp()
    number_of = len(counts.spans)
    each = max((until - since) / number_of, 1e-6)
    times: list[list[float]] = [[] for _ in range(number_of)]
    for row in rows:
        moment = seconds(row.get("created_at"))
        if moment is None or not since <= moment < until:
            continue
        place = min(number_of - 1, int((moment - since) / each))
        spent = number(row.get("duration_ms"))
        if spent is not None and row.get("status") == "completed":
            times[place].append(spent)
    return [
        Span(
            since + place * each,
            since + (place + 1) * each,
            sum(counted.values()),
            sum(counted.get(status, 0) for status in _BAD),
            percentile(times[place], 0.5),
            percentile(times[place], 0.95),
        )
        for place, counted in enumerate(counts.spans)
    ]
