"""Which measures have risen: all of a report are judged together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log
from typing import Final, NamedTuple

from runlog.insights.measures import Measure
from runlog.insights.rates import FEWEST_BLOCKS, Counts, P, Rise, rise
from runlog.insights.statistics import accepted

_FALSE: Final = 0.05
"""The share of a report's rises that may be false (Benjamini, Hochberg)."""
TEST: Final = (
    "Fisher's exact test and a t test over blocks of 4 h, both p < 0.001, "
    "false discovery rate 5 %"
)


class Risen(NamedTuple):
    """A measure that has risen."""

    measure: Measure
    blocks: int
    """How many of the newest blocks show it most clearly."""
    rise: Rise
    since: int
    """The place of the block with which it began."""


class Judged(NamedTuple):
    """What has risen in a report."""

    risen: list[Risen]
    limit: float
    """The greatest probability that counts, with so many tests."""


def judge(measures: Iterable[Measure], windows: list[int], others: list[float]) -> Judged:
    """Return the measures that have risen.

    Args:
        measures: all of a report.
        windows: how many of the newest blocks are judged together, one after the other.
        others: the probabilities of other tests of the report.
    """
    found: list[tuple[Measure, int, Rise]] = []
    number = len(others)
    for measure in measures:
        before = measure.before()
        best: tuple[Measure, int, Rise] | None = None
        for blocks in windows:
            number += 1
            if not measure.is_large(blocks):
                continue
            said = rise(before, measure.newest(blocks))
            if said.p < P and (best is None or said.p < best[2].p):
                best = measure, blocks, said
        if best is not None:
            found.append(best)
    limit = accepted([*others, *(one[2].p for one in found)], number, _FALSE)
    clear = [
        Risen(measure, blocks, said, began(measure.counts, measure.start))
        for measure, blocks, said in found
        if said.p <= limit
    ]
    return Judged(clear, limit)


def began(counts: Counts, start: int) -> int:
    """The place of the block with which a share rose: where two shares, one before and
    one from there on, fit best.

    Args:
        counts: all blocks.
        start: the first that is judged. Nothing that began before the middle of the time
            before is dated: that is the time it is compared with.
    """
    whole_bad, whole = sum(counts.bad), sum(counts.number)
    bad = number = 0
    best, place = -1.0, start
    for at in range(len(counts.number)):
        if at >= start // 2 and 0 < number < whole:
            after = (whole_bad - bad) / (whole - number)
            fit = _fit(bad, number) + _fit(whole_bad - bad, whole - number)
            gain = fit - _fit(whole_bad, whole)
            if counts.number[at] and after > bad / number and gain > best:
                best, place = gain, at
        bad += counts.bad[at]
        number += counts.number[at]
    return place


def _fit(bad: int, number: int) -> float:
    """The logarithm of the likelihood of a share that fits best."""
    found = 0.0
    for part in (bad, number - bad):
        if part:
            found += part * log(part / number)
    return found


def smallest(measure: Measure, blocks: int) -> float | None:
    """The smallest share in the newest blocks that would count as a rise.

    Returns:
        The share; None if none would, as there are too few runs.
    """
    before, now = measure.before(), measure.newest(blocks)
    whole = sum(now.number)
    if whole == 0 or sum(1 for one in before.number if one) < FEWEST_BLOCKS:
        return None
    low, high = sum(now.bad), whole + 1
    while high - low > 1:
        middle = (low + high) // 2
        if rise(before, Counts(_spread(middle, now.number), now.number)).p < P:
            high = middle
        else:
            low = middle
    return None if high > whole else high / whole


def _spread(bad: int, numbers: Sequence[int]) -> list[int]:
    """So many bad ones over blocks, as evenly as their numbers allow."""
    found, left, whole = [], bad, sum(numbers)
    for one in numbers:
        here = round(left * one / whole) if whole else 0
        found.append(here)
        left -= here
        whole -= one
    return found
