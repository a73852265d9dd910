"""Which runs go when old ones are deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from runlog.reading.times import parse_age


def limit_of(
    newest: Callable[[int], Iterable[Any]], older_than: str | None, keep: int | None
) -> datetime | None:
    """The time before which runs go.

    Args:
        newest: returns so many of the newest runs that match, the newest first.
        older_than: how old a run has to be, such as 3d.
        keep: but the newest so many stay.

    Returns:
        The time; None if all stay.

    Raises:
        WrongUsageError: older_than is no length of time.
    """
    limits = []
    if older_than is not None:
        limits.append(datetime.now(UTC) - parse_age(older_than))
    if keep:
        oldest, number = None, 0
        for row in newest(keep):
            oldest, number = row["created_at"] or oldest, number + 1
        if oldest is None or number < keep:
            return None
        limits.append(oldest)
    elif keep == 0:
        limits.append(datetime.now(UTC))
    return min(limits, default=None)
