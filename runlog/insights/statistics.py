"""The statistics that findings stand on, without numpy: exact tails and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma, log, log1p, sqrt
from typing import Final

_ENOUGH: Final = 1e-16
_MOST: Final = 500
"""Terms of a continued fraction; fewer than 50 are needed for what is asked here."""


def _log_choose(of: int, chosen: int) -> float:
    return lgamma(of + 1) - lgamma(chosen + 1) - lgamma(of - chosen + 1)


def fisher(bad: int, number: int, bad_before: int, number_before: int) -> float:
    """How probable so many bad ones or more are, if nothing has changed: Fisher's exact
    test, one-sided.

    Args:
        bad: how many of those now are bad.
        number: how many there are now.
        bad_before: how many were bad before.
        number_before: how many there were before.

    Returns:
        The tail of the hypergeometric distribution, between 0 and 1.
    """
    whole, all_bad = number + number_before, bad + bad_before
    highest = min(number, all_bad)
    lowest = max(0, number - (whole - all_bad))
    if bad <= lowest:
        return 1.0

    def steps(one: int) -> tuple[int, int]:
        """By what the next term is greater, as a fraction."""
        return (
            (all_bad - one) * (number - one),
            (one + 1) * (whole - all_bad - number + one + 1),
        )

    up, down = steps(bad)
    if up > down:  # the first terms would be the smallest, and may be 0.0: so the rest
        fine = number - bad + 1
        return 1.0 - fisher(fine, number, whole - all_bad - fine, number_before)
    first = (
        _log_choose(all_bad, bad)
        + _log_choose(whole - all_bad, number - bad)
        - _log_choose(whole, number)
    )
    term = total = 1.0  # by the first one, which may be too small for a float
    for one in range(bad, highest):
        up, down = steps(one)
        term *= up / down
        total += term
        if term < _ENOUGH * total:
            break
    return min(1.0, exp(first + log(total)))


def t_tail(t: float, degrees: float) -> float:
    """How probable a value of at least t is by Student's distribution."""
    if t <= 0:
        return 1.0 - t_tail(-t, degrees) if t < 0 else 0.5
    return 0.5 * _beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def _beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x > (a + 1) / (a + b + 2):
        return 1.0 - front * _fraction(b, a, 1 - x) / b
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """Its continued fraction, from the front (by Lentz)."""
    tiny = 1e-300
    c, d = 1.0, 1.0 / ((1.0 - (a + b) * x / (a + 1)) or tiny)
    found = d
    for m in range(1, _MOST):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / ((1.0 + factor * d) or tiny)
            c = (1.0 + factor / c) or tiny
            found *= c * d
        if abs(c * d - 1.0) < _ENOUGH:
            break
    return found


def wilson(found: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval of a share by Wilson, by default of 95 %."""
    if of == 0:
        return 0.0, 1.0
    share = found / of
    middle = share + z * z / (2 * of)
    reach = z * sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    below = 1 + z * z / of
    return max(0.0, (middle - reach) / below), min(1.0, (middle + reach) / below)


def accepted(chances: Sequence[float], number: int, level: float) -> float:
    """The greatest p-value that counts, with so many tests (Benjamini, Hochberg).

    Args:
        chances: the p-values that are below 1.
        number: how many tests there were, these among them.
        level: the share of what counts that may be false.

    Returns:
        That p-value; 0 if none counts.
    """
    best = 0.0
    for rank, chance in enumerate(sorted(chances), 1):
        if chance <= level * rank / max(number, 1):
            best = chance
    return best
