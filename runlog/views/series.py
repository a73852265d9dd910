"""Runs over time: how many ended how, and how long they took, in equal spans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from runlog.views.logs import began, number
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


def series(
    rows: Iterable[Any], since: float, until: float, number_of: int = 48
) -> list[Span]:
    """Return runs by the span in which they began.

    Args:
        rows: rows of `list_runs`; those outside of the time don't count.
        since: the beginning, in seconds since 1970.
        until: the end, later than that.
        number_of: how many spans.
    """
    each = (until - since) / number_of
    runs, failed = [0] * number_of, [0] * number_of
    times: list[list[float]] = [[] for _ in range(number_of)]
    for row in rows:
        moment = began(row)
        if moment is None or not since <= moment < until:
            continue
        place = min(number_of - 1, int((moment - since) / each))
        runs[place] += 1
        failed[place] += row.get("status") in _BAD
        spent = number(row.get("duration_ms"))
        if spent is not None and row.get("status") == "completed":
            times[place].append(spent)
    return [
        Span(
            since + place * each,
            since + (place + 1) * each,
            runs[place],
            failed[place],
            percentile(times[place], 0.5),
            percentile(times[place], 0.95),
        )
        for place in range(number_of)
    ]
