"""The rows of a page of runs."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.reading.errors import WrongUsageError
from runlog.reading.names import STATUSES, nearest
from runlog.views.lines import Line, line_of
from runlog.views.outcome import question
from runlog.views.words import brief
from runlog.web.address import Asked

SIZE = 50
_CHUNK = 200
_SEARCHED = 10_000
"""How many rows are looked through for a text of errors before a page ends."""
_NAMES = 2_000
FILTERS = ("workflow", "status", "thread", "error", "node", "since", "until")


class Listed(NamedTuple):
    """A run as a row of the page."""

    line: Line
    asks: str | None
    """What a run that waits has asked."""
    created: float
    """When it was recorded first, in seconds since 1970: the order of the page."""


class RunPage(NamedTuple):
    """A page of runs."""

    lines: list[Listed]
    next: str | None
    """The cursor of the next page."""
    searched: int | None
    """How many runs were looked through, if that ended the page before it was full."""


def filters_of(asked: Asked) -> dict[str, Any]:
    """Return the filters of `list_runs` that an address has."""
    found = {
        "wpk_id": asked.get("workflow"),
        "status": asked.get("status"),
        "thread_id": asked.get("thread"),
        "since": asked.time("since"),
        "until": asked.time("until"),
    }
    return {name: value for name, value in found.items() if value is not None}


def read_page(recorder: Any, asked: Asked, size: int = SIZE) -> RunPage:
    """Read the page that an address asks for.

    Raises:
        ValidationError, WrongUsageError: a filter or the cursor is wrong.
    """
    filters, after = filters_of(asked), asked.get("after")
    wanted, node = asked.get("error"), asked.get("node")
    if wanted is None and node is None:
        page = recorder.list_runs(limit=size, after=after, **filters)
        return RunPage(lines_of(recorder, page.runs), page.next, None)
    lines: list[Listed] = []
    searched = 0
    while len(lines) < size:
        if searched >= _SEARCHED:
            return RunPage(lines, after, searched)
        page = recorder.list_runs(limit=_CHUNK, after=after, **filters)
        searched += len(page.runs)
        fit = [row for row in page.runs if wanted is None or _has_error(row, wanted)]
        lines += [
            one for one in lines_of(recorder, fit) if node is None or one.line.at == node
        ]
        after = page.next
        if after is None:
            break
    return RunPage(lines, after, None)


def _has_error(row: Any, wanted: str) -> bool:
    error = f"{row['error_type'] or ''}: {row['error_text'] or ''}"
    return wanted.lower() in error.lower()


def lines_of(recorder: Any, rows: list[Any]) -> list[Listed]:
    """The lines of rows of `list_runs`, with what only whole runs say."""
    found = []
    for row in rows:
        run = recorder.get_run(row["run_id"], row["wpk_id"]) or row
        asked = question(run) if row["status"] == "interrupted" else None
        asks = None if asked is None else brief(asked, 160)
        found.append(Listed(line_of(row, run), asks, row["created_at"].timestamp()))
    return found


def check_names(recorder: Any, filters: dict[str, Any]) -> None:
    """Make sure that the workflow and the status of an empty page exist.

    Raises:
        WrongUsageError: there is none; the message says what there is.
    """
    workflow, status = filters.get("wpk_id"), filters.get("status")
    if workflow is not None and not recorder.list_runs(limit=1, wpk_id=workflow).runs:
        names = workflows(recorder)
        if names:
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
