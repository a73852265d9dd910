"""How many runs there are, by status and by time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple


class Counts(NamedTuple):
    """What `count_runs` returns."""

    runs: int
    by_status: dict[str, int]
    """The number of runs of each status that has any, the most first."""
    since: datetime | None
    """When the first span begins: the argument, else the time of the oldest run. None
    without any run."""
    until: datetime | None
    """When the last span ends: the argument, else just behind the newest run."""
    spans: list[dict[str, int]]
    """The same as by_status of equal spans of time, the oldest first."""
    complete: bool
    """False if a filter without an index has stopped: only runs from `since` on count."""


def count(recorder: Any, filters: dict[str, Any]) -> Counts:
    """Count runs: see `Recorder.count_runs`."""
    since, until, complete, rows = recorder._count_runs(**filters)  # noqa: SLF001
    status = filters.get("status")
    wanted = None
    if status is not None:
        wanted = {status} if isinstance(status, str) else set(status)
    spans: list[dict[str, int]] = [{} for _ in range(filters.get("spans", 1))]
    for span, state, number in rows:
        if wanted is None or state in wanted:
            spans[span][state] = spans[span].get(state, 0) + number
    spans = [_tidy(span) for span in spans] if since is not None else []
    total: dict[str, int] = {}
    for span in spans:
        for state, number in span.items():
            total[state] = total.get(state, 0) + number
    return Counts(sum(total.values()), _tidy(total), since, until, spans, complete)


def _tidy(numbers: dict[str, int]) -> dict[str, int]:
    """Without what is not there; the most first."""
    found = [(state, number) for state, number in numbers.items() if number > 0]
    return dict(sorted(found, key=lambda item: (-item[1], item[0])))
