"""The names that there are, and the nearest one for a name that is wrong."""

from __future__ import annotations

from collections.abc import Iterable

STATUSES = ("completed", "failed", "interrupted", "cancelled", "running", "lost")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ": did you mean 'x'?" for the nearest name, or "" if none is near."""
    from difflib import get_close_matches

    found = get_close_matches(name, list(names), 1, 0.5)
    return f": did you mean {found[0]!r}?" if found else ""
