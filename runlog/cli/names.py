"""The names of runs on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from runlog.cli.errors import WrongUsageError
from runlog.cli.history import History
from runlog.reading.names import STATUSES, nearest

__all__ = ["SEARCHED", "STATUSES", "find_run", "nearest", "short_ids"]

SEARCHED = 20_000
"""Among how many of the newest runs a beginning of an id is looked for."""
_BY_STATUS = re.compile(r"@(\w+)(?:~(\d{1,6}))?")
_OF_TIME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{0,4})?|[0-9a-f]{8}-[0-9a-f]{4}-7.*")
_NEAR = timedelta(hours=1)
_SHOWN = 10


def find_run(history: History, name: str, workflow: str | None = None) -> Any:
    """Return the run that a name stands for, as `get_run` does.

    Args:
        history: where to look.
        name: a full id, a unique beginning of one, "-" for the newest run, "@failed" for
            the newest failed one, or "@failed~2" for the second before that.
        workflow: only a run of this workflow.

    Raises:
        WrongUsageError: there is no such run, or there are several.
    """
    filters = {} if workflow is None else {"wpk_id": workflow}
    if name in ("-", "@"):
        return _nth(history, name, 0, filters)
    if match := _BY_STATUS.fullmatch(name):
        if match[1] not in STATUSES:
            raise WrongUsageError(
                f"unknown status in {name!r}{nearest(match[1], STATUSES)}"
            )
        return _nth(history, name, int(match[2] or 0), {**filters, "status": match[1]})
    run = history.open().get_run(name, workflow) if name else None
    return run if run is not None else history.run(_by_beginning(history, name, filters))


def _nth(history: History, name: str, number: int, filters: dict[str, Any]) -> Any:
    rows = list(history.rows(number + 1, **filters))
    if len(rows) <= number:
        what = f"only {len(rows)} such runs" if rows else "no such run"
        raise WrongUsageError(f"{name}: there is {what}")
    return history.run(rows[number])


def _by_beginning(history: History, name: str, filters: dict[str, Any]) -> Any:
    searched: list[Any] = []
    found: dict[tuple[str, str], Any] = {}
    for more in (*_times(name), {}):
        searched = list(history.rows(SEARCHED, **filters, **more))
        found |= {
            (row["wpk_id"], row["run_id"]): row
            for row in searched
            if name and row["run_id"].startswith(name)
        }
        if found:
            break
    if not found:
        ids = [row["run_id"] for row in searched[:2000]]
        among = f" among the newest {SEARCHED:,}" if len(searched) == SEARCHED else ""
        raise WrongUsageError(f"there is no run {name!r}{among}{nearest(name, ids)}")
    if len(found) > 1:
        raise WrongUsageError(_candidates(name, list(found.values())))
    return next(iter(found.values()))


def _candidates(name: str, rows: list[Any]) -> str:
    lines = [
        f"  {row['run_id']}  {row['wpk_id']}  {row['status']}" for row in rows[:_SHOWN]
    ]
    rest = [f"  and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    head = f"{name!r} is the beginning of {len(rows)} runs:"
    return "\n".join([head, *lines, *rest])


def _times(name: str) -> list[dict[str, Any]]:
    """When a run with such an id may have begun, if the id is of a time (UUIDv7)."""
    if not _OF_TIME.fullmatch(name):
        return []
    digits = name.replace("-", "")[:12]
    first = int(digits.ljust(12, "0"), 16) / 1000
    last = int(digits.ljust(12, "f"), 16) / 1000
    try:
        since = datetime.fromtimestamp(first, UTC) - _NEAR
        until = datetime.fromtimestamp(last, UTC) + _NEAR
    except (OverflowError, ValueError, OSError):
        return []
    return [{"since": since, "until": until}]


def short_ids(ids: list[str], least: int = 8) -> dict[str, str]:
    """Return for each id its shortest beginning that is unique among them."""
    ordered = sorted(set(ids))
    shared = [0] * (len(ordered) + 1)
    for place in range(1, len(ordered)):
        shared[place] = _shared(ordered[place - 1], ordered[place])
    return {
        one: one[: max(least, shared[place] + 1, shared[place + 1] + 1)]
        for place, one in enumerate(ordered)
    }


def _shared(one: str, other: str) -> int:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))
