"""What is compared with the time before: shares of runs and nodes, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from runlog.insights.frame import Series, Workflow
from runlog.insights.rates import Counts
from runlog.rollup import EDGES, Figures, Histogram

_HIGH: Final = 0.95
_LARGER: Final = 1.2
"""By how much a p95 must have grown."""
_GAP: Final = 6
"""Blocks before those that are judged, which are not compared with either: a day."""
_LEAST_US: Final = 5_000
"""By how many microseconds at least: nobody wants to know of less."""
_LEAST_TOKENS: Final = 50


@dataclass(slots=True)
class Measure:
    """A share that is compared."""

    kind: str
    workflow: str
    node: str | None
    counts: Counts
    """Of all blocks of the frame."""
    start: int
    """The place of the first block that is judged."""
    usual: int | None = None
    """For shares above a value: that value, the 95th percentile of the time before."""
    level: Callable[[int], int | None] | None = None
    """For these: the 95th percentile of so many of the newest blocks."""
    least: int = 0
    """By how much this must have grown."""

    def before(self) -> Counts:
        """The blocks of the time before, without the day just before what is judged."""
        return self.counts.part(0, gap(self.start))

    def newest(self, number: int) -> Counts:
        """The newest blocks."""
        return self.counts.part(len(self.counts.number) - number)

    def is_large(self, number: int) -> bool:
        """Whether the newest blocks have grown enough to matter, as to their values."""
        if self.level is None or self.usual is None:
            return True
        new = self.level(number) or 0
        return new >= _LARGER * self.usual and new - self.usual >= self.least


def gap(start: int) -> int:
    """Where the time that is compared with ends, given the first block that is judged.

    A fault that began some hours earlier, and grows, must not pass for what is usual.
    """
    return start - _GAP if start >= 4 * _GAP else start


def measures(workflow: Workflow) -> Iterator[Measure]:
    """Yield what is compared of a workflow and of its nodes."""
    for node in (None, *workflow.nodes()):
        series = workflow.series(node)
        for kind, bad, number in _SHARES if node is None else _NODE_SHARES:
            yield Measure(
                kind, workflow.name, node, series.counts(bad, number), series.start
            )
        for values in _VALUES:
            made = _above(values, workflow.name, node, series)
            if made is not None:
                yield made


class _Values(NamedTuple):
    """Values whose 95th percentile is compared."""

    kind: str
    of: Callable[[Figures], Histogram]
    least: int
    """By how much it must have grown."""


def _number(figures: Figures) -> int:
    return figures.number


def _firsts(figures: Figures) -> int:
    """How often a node began, attempts beside the first not counted."""
    return figures.number - figures.retries


_SHARES: Final = (
    ("failure_rate", lambda one: one.statuses["failed"], _number),
    ("retries", lambda one: one.retried, _number),
    ("interruptions", lambda one: one.statuses["interrupted"], _number),
)
_NODE_SHARES: Final = (
    # Each attempt but the first follows one that failed.
    ("failure_rate", lambda one: one.statuses["failed"] - one.retries, _firsts),
    ("retries", lambda one: one.retried, _firsts),
)


_VALUES: Final = (
    _Values("slow", lambda one: one.durations, _LEAST_US),
    _Values("tokens", lambda one: one.sizes, _LEAST_TOKENS),
)


def _above(
    values: _Values, workflow: str, node: str | None, series: Series
) -> Measure | None:
    """The share of those above the 95th percentile of the time before."""
    of = values.of
    usual = series.values(of, 0, gap(series.start)).quantile(_HIGH)
    if usual is None:
        return None
    place = EDGES.index(usual)
    counts = series.counts(lambda one: of(one).above(place), lambda one: of(one).number)

    def level(number: int) -> int | None:
        return series.values(of, -number).quantile(_HIGH)

    return Measure(
        values.kind,
        workflow,
        node,
        counts,
        series.start,
        usual,
        level,
        values.least,
    )
