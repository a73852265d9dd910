"""The names that there are, and the nearest one for a name that is wrong."""

from __future__ import annotations

from collections.abc import Iterable

STATUSES = ("completed", "failed", "interrupted", "cancelled", "running", "lost")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ": did you mean 'x'?" for the nearest name, or "" if none is near.

    The name itself may have come since it was looked for, or be of another workflow.
    """
    from difflib import get_close_matches

    found = get_close_matches(name, [other for other in names if other != name], 1, 0.5)
    return f": did you mean {found[0]!r}?" if found else ""
