"""Times as people write them: 2h, 3d, ISO, or those of a run."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from runlog.reading.errors import UnknownRunError, WrongUsageError

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST = 3e9
"""Seconds: nearly a century."""
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)")

_FIRST, _LAST = -62135510400, 253402214400
"""Seconds since 1970 that any datetime holds, in every zone."""


def moment(seconds: float) -> datetime:
    """The time of UTC so many seconds after 1970, or the nearest that a datetime holds.

    Programs log what they like: a node may have begun in any year, and taken any time.
    """
    return datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC)


def parse_age(text: str) -> timedelta:
    """Return the length of a time such as 2h or 3d.

    Raises:
        WrongUsageError: the text is none.
    """
    match = _AGO.fullmatch(text.strip())
    if match:
        return timedelta(seconds=min(float(match[1]) * _UNITS[match[2]], _LONGEST))
    raise WrongUsageError(f"{text!r} is no length of time: write 30m, 2h, 3d or 1w")


def parse_time(text: str, run_time: Callable[[str], datetime] | None = None) -> datetime:
    """Return the moment that a text names.

    Args:
        text: 2h or 3d for so long ago; an ISO date or time, local if it has no zone; or
            a run.
        run_time: returns when a run was created; raises UnknownRunError for none.

    Raises:
        WrongUsageError: the text names no moment, or several runs.
    """
    if _AGO.fullmatch(text.strip()):
        return datetime.now(UTC) - parse_age(text)
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text).astimezone(UTC)
    if run_time is not None and text.strip():
        with suppress(UnknownRunError):
            return run_time(text)
    raise WrongUsageError(
        f"{text!r} is no time: write 2h or 3d, 2026-11-30 or 2026-11-30T12:00, or a run"
    )
