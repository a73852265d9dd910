"""Which nodes of a run hold a text."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.views.logs import Log

_MOST = 50_000_000
"""Characters that are looked through: some seconds."""


class Found(NamedTuple):
    """The nodes that hold a text."""

    places: list[int]
    """The places of their logs."""
    complete: bool
    """Whether all nodes were looked through."""


def find(logs: list[Log], wanted: str) -> Found:
    """Look for a text in all values of node logs, whatever its case.

    Args:
        logs: the node logs of a run.
        wanted: the text.
    """
    lowered = wanted.lower()
    left = _MOST
    places: list[int] = []
    for log in logs:
        if left < 0:
            return Found(places, False)
        holds, read = _holds(log.raw, lowered)
        left -= read
        if holds:
            places.append(log.place)
    return Found(places, True)


def _holds(value: Any, wanted: str) -> tuple[bool, int]:
    """Whether a value holds a text in lower case, and how much of it was read."""
    read = 0
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            for key, member in one.items():
                stack += (str(key), member)
        elif type(one) is list:
            stack += one
        elif one is not None:
            text = one if type(one) is str else str(one)
            read += len(text) + 8
            if wanted in text.lower():
                return True, read
    return False, read
