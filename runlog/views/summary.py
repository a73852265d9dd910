"""Many runs in a few numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from runlog.views.logs import began, number, read_logs
from runlog.views.outcome import retries

_BLOCKS = "▁▂▃▄▅▆▇█"


class Totals(NamedTuple):
    """What the rows of runs say together."""

    runs: int
    by_status: dict[str, int]
    p50: float | None
    """Percentiles of the durations of completed runs, in milliseconds."""
    p95: float | None
    p99: float | None
    first: float | None
    """When the oldest run began, in seconds since 1970."""
    last: float | None
    spark: tuple[int, ...]
    """How many runs began in each of twenty equal spans from the first to the last."""


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


def totals(rows: Iterable[Any], spans: int = 20) -> Totals:
    """Sum up rows of `list_runs`.

    Args:
        rows: any number of rows.
        spans: the number of spans of the sparkline.
    """
    by_status: dict[str, int] = {}
    times: list[float] = []
    moments: list[float] = []
    for row in rows:
        status = str(row.get("status"))
        by_status[status] = by_status.get(status, 0) + 1
        spent = number(row.get("duration_ms"))
        if spent is not None and status == "completed":
            times.append(spent)
        moment = began(row)
        if moment is not None:
            moments.append(moment)
    first, last = min(moments, default=None), max(moments, default=None)
    counted = [0] * spans
    for moment in moments:
        assert first is not None
        assert last is not None
        share = (moment - first) / (last - first) if last > first else 0.0
        counted[min(spans - 1, int(share * spans))] += 1
    return Totals(
        sum(by_status.values()),
        dict(sorted(by_status.items(), key=lambda item: -item[1])),
        percentile(times, 0.5),
        percentile(times, 0.95),
        percentile(times, 0.99),
        first,
        last,
        tuple(counted) if moments else (),
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
