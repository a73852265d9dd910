"""Numbers in the sentences of findings."""

from __future__ import annotations

from datetime import datetime

from runlog.views.words import duration


def percent(share: float) -> str:
    """A share: "0 %", "0.4 %", "2.1 %", "38 %"."""
    number = 100 * share
    return f"{number:.1f} %" if 0 < number < 9.95 else f"{number:.0f} %"


def of(bad: int, number: int) -> str:
    """A share with its numbers: "2.1 % (63 of 3,002)"."""
    share = bad / number if number else 0.0
    return f"{percent(share)} ({bad:,} of {number:,})"


def microseconds(value: float) -> str:
    """A duration."""
    return duration(value / 1000)


def day(moment: datetime) -> str:
    """A time of UTC in a sentence: "Mon 30 Nov 12:00 UTC"."""
    return moment.strftime("%a %d %b %H:%M UTC")


def chance(p: float) -> str:
    """A probability in the description of a test."""
    return f"p = {p:.1g}" if p >= 1e-99 else "p < 1e-99"
