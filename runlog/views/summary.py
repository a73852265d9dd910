"""Many runs in a few numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from runlog.views.logs import number, read_logs, seconds
from runlog.views.outcome import retries

_BLOCKS = "▁▂▃▄▅▆▇█"


class Totals(NamedTuple):
    """What runs say together."""

    runs: int
    by_status: dict[str, int]
    p50: float | None
    """Percentiles of the durations of some completed runs, in milliseconds."""
    p95: float | None
    p99: float | None
    timed: int
    """How many runs these are of."""
    first: float | None
    """From when on runs were counted, in seconds since 1970."""
    last: float | None
    """Until when."""
    spark: tuple[int, ...]
    """How many runs there were in each of some equal spans from the first to the last."""


class NodeTotals(NamedTuple):
    """What the logs of a node say together."""

    node: str
    number: int
    failed: int
    retried: int
    p50: float | None
    p95: float | None
    total_ms: float
    """The time that all of them took."""


def percentile(values: list[float], share: float) -> float | None:
    """The smallest value that so large a share of the values does not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    place = -(-len(ordered) * share // 1)  # the ceiling
    return ordered[max(0, min(len(ordered), int(place)) - 1)]


def totals(counts: Any, rows: Iterable[Any]) -> Totals:
    """Sum up runs.

    Args:
        counts: what `count_runs` returns.
        rows: rows of `list_runs` for the percentiles, read once.
    """
    times = [number(row.get("duration_ms")) for row in rows]
    known = [spent for spent in times if spent is not None]
    return Totals(
        counts.runs,
        counts.by_status,
        percentile(known, 0.5),
        percentile(known, 0.95),
        percentile(known, 0.99),
        len(known),
        seconds(counts.since),
        seconds(counts.until),
        tuple(sum(span.values()) for span in counts.spans),
    )


def by_node(runs: Iterable[Any]) -> tuple[list[NodeTotals], int, int]:
    """Sum up the nodes of runs.

    Args:
        runs: any number of runs as `get_run` returns them. It is read once.

    Returns:
        The nodes, those that took most time first; how many runs retried a node; and the
        number of tokens.
    """
    times: dict[str, list[float]] = {}
    counted: dict[str, list[int]] = {}
    retried = tokens = 0
    for run in runs:
        logs = read_logs(run)
        retried += retries(logs) > 0
        for log in logs:
            numbers = counted.setdefault(log.node, [0, 0, 0])
            numbers[0] += 1
            numbers[1] += log.status == "failed"
            numbers[2] += log.attempt > 1
            if log.duration_ms is not None:
                times.setdefault(log.node, []).append(log.duration_ms)
            used = log.raw.get("tokens")
            total = number(used.get("total")) if isinstance(used, dict) else None
            tokens += int(total or 0)
    found = [
        NodeTotals(
            name,
            numbers[0],
            numbers[1],
            numbers[2],
            percentile(times.get(name, []), 0.5),
            percentile(times.get(name, []), 0.95),
            sum(times.get(name, [])),
        )
        for name, numbers in counted.items()
    ]
    return sorted(found, key=lambda one: -one.total_ms), retried, tokens


def sparkline(counts: Iterable[int]) -> str:
    """Return a bar of eight heights for each number; a blank for 0."""
    numbers = list(counts)
    most = max(numbers, default=0)
    return "".join(
        _BLOCKS[(one * len(_BLOCKS) - 1) // most] if one > 0 else " " for one in numbers
    )
