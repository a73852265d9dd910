"""Has a share risen? The one test for all shares that are counted in blocks of time.

Runs of a program fail, wait and take long in clusters: its users, its models and its
machine change by the hour. A test that takes each run for itself finds such a cluster
significant. So a rise must be one of the runs and also one of the blocks, measured by how
much these differ anyhow, and it must be large enough to matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import asin, sqrt
from typing import Final, NamedTuple

from runlog.insights.statistics import fisher, t_tail

P: Final = 0.001
"""What the probability of both tests must be below."""
_TIMES: Final = 1.5
_POINTS: Final = 0.01
_FEWEST: Final = 5
"""The least rise that matters: 1.5 times, one point, and five bad ones."""
_LEAST_SHARE: Final = 0.05
"""Of the variance, that which is estimated: at least so much."""
FEWEST_BLOCKS: Final = 6
"""How many blocks with runs the time before must have."""


class Counts(NamedTuple):
    """How many there were in each block, and how many of them were bad."""

    bad: Sequence[int]
    number: Sequence[int]

    def part(self, start: int, end: int | None = None) -> Counts:
        """Some of the blocks, as a slice."""
        return Counts(self.bad[start:end], self.number[start:end])

    @property
    def share(self) -> float:
        """Of the bad ones among all."""
        number = sum(self.number)
        return sum(self.bad) / number if number else 0.0


class Rise(NamedTuple):
    """What the tests say of a rise."""

    p: float
    """The greater of both probabilities; 1.0 if the rise is none that matters."""
    before: float
    now: float
    """The shares."""


def matters(before: Counts, now: Counts) -> bool:
    """Whether a share rose so much that somebody wants to know."""
    old, new = before.share, now.share
    return new >= _TIMES * old and new - old >= _POINTS and sum(now.bad) >= _FEWEST


def rise(before: Counts, now: Counts) -> Rise:
    """Compare the newest blocks with those before.

    Args:
        before: the blocks of the time before, in their order.
        now: the newest ones.
    """
    old, new = before.share, now.share
    if not matters(before, now):
        return Rise(1.0, old, new)
    exact = fisher(sum(now.bad), sum(now.number), sum(before.bad), sum(before.number))
    if exact >= P:
        return Rise(exact, old, new)
    return Rise(max(exact, over_blocks(before, now)), old, new)


class _Angles(NamedTuple):
    """Shares on a scale on which their variance depends on their number alone."""

    values: list[float]
    variances: list[float]
    """Those that chance gives them."""


def _angles(counts: Counts) -> _Angles:
    values, variances = [], []
    for bad, number in zip(counts.bad, counts.number, strict=True):
        if number > 0:
            values.append(asin(sqrt((bad + 0.375) / (number + 0.75))))
            variances.append(1 / (4 * number + 2))
    return _Angles(values, variances)


def over_blocks(before: Counts, now: Counts) -> float:
    """The probability of the newest blocks, if they are like those before.

    A t test on arcsine-root shares (by Anscombe). A block has the variance that chance
    gives it and what blocks differ besides, as the time before shows. Blocks that follow
    one another may be alike (a bad day): then there are in effect fewer of them.

    What chance gives is known, so degrees of freedom are lost for the share of the second
    variance alone, which is estimated. By Satterthwaite that share counts squared: plain,
    it is the safer of the two. How far blocks are alike is estimated, too: the more they
    are, the less counts as known.

    Returns:
        The probability; 1.0 if the time before has too few blocks with runs.
    """
    old, new = _angles(before), _angles(now)
    if len(old.values) < FEWEST_BLOCKS or not new.values:
        return 1.0
    besides = _besides(old)
    near = alike(old.values)
    stretched = stretch(near, len(old.values))
    base, base_variance = _mean(old, besides, stretched)
    level, variance = _mean(new, besides, stretch(near, len(new.values)))
    chance = sum(old.variances) / len(old.variances)
    known = chance / (chance + besides) * (1 - near)
    share = max(_LEAST_SHARE, 1 - known)
    degrees = max(1.0, len(old.values) / stretched - 1) / share
    return t_tail((level - base) / sqrt(base_variance + variance), degrees)


def _besides(angles: _Angles) -> float:
    """The variance between blocks that chance does not explain (by moments)."""
    weights = [1 / one for one in angles.variances]
    total = sum(weights)
    mean = sum(w * x for w, x in zip(weights, angles.values, strict=True)) / total
    spread = sum(w * (x - mean) ** 2 for w, x in zip(weights, angles.values, strict=True))
    scale = total - sum(w * w for w in weights) / total
    return max(0.0, (spread - (len(weights) - 1)) / scale)


def alike(values: Sequence[float]) -> float:
    """How far a block is like the one before it: the correlation, its bias removed."""
    mean = sum(values) / len(values)
    apart = [one - mean for one in values]
    spread = sum(one * one for one in apart)
    if spread <= 1e-18:
        return 0.0
    found = sum(a * b for a, b in pairwise(apart)) / spread
    return min(0.95, max(0.0, found + (1 + 3 * found) / len(values)))


def stretch(near: float, number: int) -> float:
    """By how much the variance of a mean of so many blocks grows as they are alike."""
    share = 0.0
    power = near
    for apart in range(1, number):
        share += (1 - apart / number) * power
        power *= near
        if power < 1e-6:
            break
    return 1 + 2 * share


def _mean(angles: _Angles, besides: float, stretch: float) -> tuple[float, float]:
    """The mean by the weight that each block deserves, and its variance."""
    weights = [1 / (one + besides) for one in angles.variances]
    total = sum(weights)
    mean = sum(w * x for w, x in zip(weights, angles.values, strict=True)) / total
    return mean, stretch / total
