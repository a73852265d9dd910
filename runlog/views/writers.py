"""Who wrote which key of the state."""

from __future__ import annotations

from typing import NamedTuple

from runlog.views.changes import update_of
from runlog.views.logs import Log

_KEYS = 60


class Writers(NamedTuple):
    """The nodes that returned a key, in their order."""

    key: str
    logs: list[Log]
    together: bool
    """Whether two of them ran in one super-step, so that a reducer joined theirs."""


def writers(logs: list[Log]) -> list[Writers]:
    """Return the writers of each key, the keys in the order of their first writes.

    Args:
        logs: the node logs of a run. Those of the outermost graph count, for at most 60
            keys.
    """
    found: dict[str, list[Log]] = {}
    for log in logs:
        if log.parent is not None or log.status != "completed":
            continue
        for key in update_of(log.outputs) or ():
            if key in found or len(found) < _KEYS:
                found.setdefault(str(key), []).append(log)
    return [
        Writers(key, ours, len({log.step for log in ours}) < len(ours))
        for key, ours in found.items()
    ]
