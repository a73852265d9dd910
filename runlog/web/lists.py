"""The rows of a page of runs."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.reading.errors import WrongUsageError
from runlog.reading.names import STATUSES, nearest
from runlog.views.lines import Line, line_of
from runlog.views.logs import seconds
from runlog.views.outcome import question
from runlog.views.words import brief
from runlog.web.address import Asked
from runlog.web.source import Source

SIZE = 50
_SEARCHES = 4
"""How many pages that stop before they are full are read for one."""
_NAMES = 1_000
FILTERS = ("workflow", "status", "thread", "error", "node", "since", "until")


class Listed(NamedTuple):
    """A run as a row of the page."""

    line: Line
    asks: str | None
    """What a run that waits has asked."""
    went_on: bool
    """Whether that has been answered: its thread has a newer run of the workflow."""
    created: float | None
    """When it was recorded first, in seconds since 1970: the order of the page. None if
    the database has no proper time."""


class RunPage(NamedTuple):
    """A page of runs."""

    lines: list[Listed]
    next: str | None
    """The cursor of the next page."""
    complete: bool
    """False if older runs that fit were not looked for, though the page is not full."""


def filters_of(asked: Asked) -> dict[str, Any]:
    """Return the filters of `list_runs` that an address has."""
    found = {
        "wpk_id": asked.get("workflow"),
        "status": asked.get("status"),
        "thread_id": asked.get("thread"),
        "error": asked.get("error"),
        "node": asked.get("node"),
        "since": asked.time("since"),
        "until": asked.time("until"),
    }
    return {name: value for name, value in found.items() if value is not None}


def read_page(source: Source, asked: Asked, size: int = SIZE) -> RunPage:
    """Read the page that an address asks for.

    Raises:
        ValidationError, WrongUsageError: a filter or the cursor is wrong.
    """
    recorder = source.open()
    filters, after = filters_of(asked), asked.get("after")
    rows: list[Any] = []
    for _ in range(_SEARCHES):
        page = recorder.list_runs(limit=size - len(rows), after=after, **filters)
        rows += page.runs
        after = page.next
        if page.complete or after is None or len(rows) == size:
            break
    complete = after is None or len(rows) == size
    return RunPage(lines_of(source, rows), after, complete)


def lines_of(source: Source, rows: list[Any]) -> list[Listed]:
    """The lines of rows of `list_runs`. Whole runs are read for what rows don't have."""
    return [_listed(source, row) for row in rows]


def _listed(source: Source, row: Any) -> Listed:
    waits = row["status"] == "interrupted"
    created = seconds(row["created_at"])
    if row["totals"] is not None and not waits:
        return Listed(line_of(row), None, False, created)
    key = (row["wpk_id"], row["run_id"], row["status"], row["updated_at"])
    found: Listed | None = source.known.get(key)
    if found is None:
        # A run may have 64 MB, and its line is the same until it changes.
        run = source.open().get_run(row["run_id"], row["wpk_id"])
        asked = question(run) if run is not None and waits else None
        line = line_of(row, run if row["totals"] is None else None)
        asks = None if asked is None else brief(asked, 160)
        found = Listed(line, asks, False, created)
        # A replica may have answered the one question, and the primary the other.
        if run is not None and key[2:] == (run["status"], run["updated_at"]):
            source.known.add(key, found)
    return found._replace(went_on=True) if waits and _went_on(source, row) else found


def _went_on(source: Source, row: Any) -> bool:
    """Whether a run that was interrupted has a newer one in its thread."""
    if row["thread_id"] is None:
        return False
    which = {"thread_id": row["thread_id"], "wpk_id": row["wpk_id"]}
    if row["created_at"] is not None:
        which["since"] = row["created_at"]
    newer = source.open().list_runs(limit=1, **which).runs
    return bool(newer) and newer[0]["run_id"] != row["run_id"]


def check_names(recorder: Any, filters: dict[str, Any]) -> None:
    """Make sure that the workflow and the status of an empty page exist.

    Raises:
        WrongUsageError: there is none; the message says what there is.
    """
    workflow, status = filters.get("wpk_id"), filters.get("status")
    if workflow is not None and not recorder.list_runs(limit=1, wpk_id=workflow).runs:
        names = workflows(recorder)
        if names and workflow not in names:  # else its first run has come meanwhile
            raise WrongUsageError(
                f"there is no workflow {workflow!r}{nearest(workflow, names)}"
            )
    if status is None or status in STATUSES:
        return
    if not recorder.list_runs(limit=1, status=status).runs:
        raise WrongUsageError(
            f"there is no run with status {status!r}{nearest(status, STATUSES)}"
        )


def workflows(recorder: Any) -> list[str]:
    """The workflows of the newest runs, by name."""
    rows = recorder.list_runs(limit=_NAMES).runs
    return sorted({row["wpk_id"] for row in rows})
