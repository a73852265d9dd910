"""The names of runs on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from runlog.cli.errors import UnknownRunError, WrongUsageError
from runlog.cli.history import History
from runlog.cli.text import width
from runlog.reading.names import STATUSES, nearest
from runlog.views.words import count

__all__ = ["SEARCHED", "STATUSES", "check_names", "find_run", "nearest", "short_ids"]

SEARCHED = 20_000
"""Among how many of the newest runs a beginning of an id is looked for."""
_BY_STATUS = re.compile(r"@(\w+)(?:~(\d{1,6}))?")
_OF_TIME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{0,4})?|[0-9a-f]{8}-[0-9a-f]{4}-7.*")
_NEAR = timedelta(hours=1)
_SHOWN = 10
_MOST = 200
"""How many workflows with runs of one id are looked at."""
_KNOWN = 2_000
"""Among how many of the newest runs the nearest name is looked for."""
_LEAST = 8
"""The columns of a short id, unless the id is shorter."""
_LONG = 24
"""An id that needs more columns is cut, so that there is room for others."""


def find_run(history: History, name: str, workflow: str | None = None) -> Any:
    """Return the run that a name stands for, as `get_run` does.

    Args:
        history: where to look.
        name: a full id, a unique beginning of one, "-" for the newest run, "@failed" for
            the newest failed one, or "@failed~2" for the second before that.
        workflow: only a run of this workflow.

    Raises:
        WrongUsageError: there is no such run or workflow, or there are several runs.
    """
    filters = {} if workflow is None else {"wpk_id": workflow}
    check_names(history, filters)
    if name in ("-", "@"):
        return _nth(history, name, 0, filters)
    if match := _BY_STATUS.fullmatch(name):
        own = {**filters, "status": match[1]}
        if match[1] not in STATUSES and not history.page(1, **own).runs:
            raise WrongUsageError(
                f"unknown status in {name!r}{nearest(match[1], STATUSES)}"
            )
        return _nth(history, name, int(match[2] or 0), own)
    rows = history.page(_MOST, run_id=name, **filters).runs if name else []
    if len(rows) > 1:
        head = f"{name!r} is the id of several runs, choose by -w"
        raise WrongUsageError(_candidates(head, rows))
    return history.run(rows[0] if rows else _by_beginning(history, name, filters))


def check_names(history: History, filters: dict[str, Any]) -> None:
    """Make sure that a workflow, a thread and a status exist.

    Args:
        history: where to look.
        filters: those of `list_runs`. Others than these count for nothing.

    Raises:
        WrongUsageError: there is none of such a name; the nearest is offered.
    """
    for name, key in (("workflow", "wpk_id"), ("thread", "thread_id")):
        value = filters.get(key)
        if value is not None and not history.page(1, **{key: value}).runs:
            rows = list(history.rows(_KNOWN))
            known = {row[key] for row in rows if row[key]}
            if rows and value not in known:  # else its first run has come meanwhile
                near = nearest(value, known)
                raise WrongUsageError(f"there is no {name} {value!r}{near}")
    status = filters.get("status")
    for one in [status] if isinstance(status, str) else status or ():
        if one not in STATUSES and not history.page(1, status=one).runs:
            near = nearest(one, STATUSES)
            if near:
                raise WrongUsageError(f"there is no run with status {one!r}{near}")


def _nth(history: History, name: str, number: int, filters: dict[str, Any]) -> Any:
    rows = list(history.rows(number + 1, **filters))
    if len(rows) <= number:
        what = f"only {count(len(rows), 'such run')}" if rows else "no such run"
        verb = "are" if len(rows) > 1 else "is"
        raise WrongUsageError(f"{name}: there {verb} {what}")
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
        raise UnknownRunError(f"there is no run {name!r}{among}{nearest(name, ids)}")
    if len(found) > 1:
        head = f"{name!r} is the beginning of {len(found)} runs"
        raise WrongUsageError(_candidates(head, list(found.values())))
    return next(iter(found.values()))


def _candidates(head: str, rows: list[Any]) -> str:
    lines = [
        f"  {row['run_id']}  {row['wpk_id']}  {row['status']}" for row in rows[:_SHOWN]
    ]
    rest = [f"  and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return "\n".join([f"{head}:", *lines, *rest])


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


def short_ids(ids: list[str], least: int = _LEAST) -> dict[str, str]:
    """Return for each id its shortest beginning that is unique among them."""
    ordered = sorted(set(ids))
    shared = [0] * (len(ordered) + 1)
    for place in range(1, len(ordered)):
        shared[place] = _shared(ordered[place - 1], ordered[place])
    return {
        one: one[: max(least, shared[place] + 1, shared[place + 1] + 1)]
        for place, one in enumerate(ordered)
    }


def least_width(ids: dict[str, str]) -> int:
    """The columns that a table leaves to short ids: cut further, they name no run."""
    widths = map(width, ids.values())
    return max((wide for wide in widths if wide <= _LONG), default=_LEAST)


def _shared(one: str, other: str) -> int:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))
