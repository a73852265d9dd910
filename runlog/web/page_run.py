"""The page of a run: its outcome, its time line, and one of its nodes."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.reading.errors import WrongUsageError
from runlog.views.axis import Window, read_window
from runlog.views.commands import command
from runlog.views.details import Details, details, tracebacks
from runlog.views.find import Found, find
from runlog.views.lines import total_tokens
from runlog.views.logs import Log, began, fact, read_logs
from runlog.views.outcome import decisive, outcome, question
from runlog.views.picture import has_steps, picture
from runlog.views.preview import preview
from runlog.views.rows import NOTHING, time_line, window_of
from runlog.views.story import Tied, tied
from runlog.views.tree import build, is_fine, walk
from runlog.views.words import brief
from runlog.views.writers import writers
from runlog.web.address import Asked
from runlog.web.errors import UnknownError
from runlog.web.source import Source

ROWS = 500
"""Rows of the time line on one page."""
_CALLS = 60
"""A run of so many nodes shows the calls of all of them unless it is told otherwise."""

_LONGEST = 65_536
"""Characters of an error."""
_KEYS = 200
"""And one of so many says who wrote which key."""
_LATER, _EARLIER = 20, 8
"""Runs of a thread that are read for what went on from a run, and what it continues."""


class Whole(NamedTuple):
    """A run that was read, and its node logs."""

    run: Any
    logs: list[Log]


def read_run(source: Source, workflow: str, run_id: str) -> Whole:
    """Read a run.

    Raises:
        UnknownError: there is none.
    """
    recorder = source.open()
    run = recorder.get_run(run_id, workflow)
    if run is None:
        others = recorder.list_runs(limit=1, wpk_id=workflow).runs
        more = (
            f"; the newest run of {workflow} is {others[0]['run_id']}"
            if others
            else f", and no workflow {workflow!r}"
        )
        raise UnknownError(f"There is no run {run_id!r} of it{more}.")
    return Whole(run, read_logs(run))


def asked_run(source: Source, asked: Asked) -> Whole:
    """Read the run that an address names."""
    return read_run(source, asked["workflow"], asked["id"])


def run(source: Source, asked: Asked) -> dict[str, Any]:
    """Read what the page shows."""
    whole = asked_run(source, asked)
    one, logs = whole
    chosen = chosen_place(whole, asked)
    found = None
    if (wanted := asked.get("find")) is not None:
        found = find(logs, wanted)
    drawn = None
    if asked.choose("show", ("time", "picture"), "time") == "picture" and found is None:
        drawn = picture(one, logs, chosen)
    window = _window(asked)
    line = NOTHING if drawn else _line(whole, asked, chosen, found, window)
    first = asked.number("from", 0, 0, 10**9)
    if "from" not in asked.values and chosen is not None:
        first = _page_of(line.rows, chosen)
    status = str(one.get("status"))
    ties = _tied(source, one)
    went_on = status == "interrupted" and ties is not None and ties.later
    return {
        "run": one,
        "logs": logs,
        "sentence": outcome(one, logs, went_on),
        "began": began(one),
        "command": command("show", str(one["wpk_id"]), str(one["run_id"])),
        "tokens": total_tokens(one),
        "failed": [log.place for log in logs if log.status == "failed"],
        "is_open": status == "running",
        "line": line,
        "window": window,
        "zooms": _zooms(window, line.whole_ms),
        "picture": drawn,
        "has_steps": has_steps(logs),
        "link": lambda place: asked.here(node=place, find=None),
        "rows": line.rows[first : first + ROWS],
        "first": first,
        "rows_a_page": ROWS,
        "found": found,
        "keys": writers(logs) if _with_keys(whole, asked) else None,
        "with_calls": _with_calls(whole, asked),
        "has_calls": len(logs) > _CALLS or any(log.calls for log in logs),
        "chosen": chosen,
        "error": run_error(one, logs),
        "question": question(one),
        "tied": ties,
        "went_on": went_on,
        "tags": fact(one, "tags"),
        "inputs": preview(one.get("inputs"), 500, 8_192),
        "outputs": preview(one.get("outputs"), 500, 8_192),
        "metadata": preview(one.get("metadata"), 500, 8_192),
        **(node_values(whole, asked, chosen) if chosen is not None else {}),
    }


def _tied(source: Source, run: Any) -> Tied | None:
    """What a run that did not complete, or went on from one, is tied to; else None."""
    thread, workflow = run.get("thread_id"), run["wpk_id"]
    goes_on = fact(run, "resumed") is True
    if thread is None or (run["status"] in ("completed", "running") and not goes_on):
        return None
    recorder = source.open()
    since = run["created_at"]
    filters = {} if since is None else {"since": since}
    newer = recorder.list_runs(
        limit=_LATER, thread_id=thread, wpk_id=workflow, **filters
    ).runs
    runs = recorder.get_thread(thread, workflow, len(newer) + _EARLIER)
    return tied(runs, run["run_id"])


def _with_calls(whole: Whole, asked: Asked) -> bool:
    default = "1" if len(whole.logs) <= _CALLS else "0"
    return asked.choose("calls", ("0", "1"), default) == "1"


def _with_keys(whole: Whole, asked: Asked) -> bool:
    default = "1" if len(whole.logs) <= _KEYS else "0"
    return asked.choose("keys", ("0", "1"), default) == "1"


def _window(asked: Asked) -> Window | None:
    given = asked.get("zoom")
    if given is None:
        return None
    window = read_window(given)
    if window is None:
        raise WrongUsageError(
            f"zoom is {given!r}; write from and to in milliseconds, as 1200-1350"
        )
    return window


def _zooms(window: Window | None, whole: float) -> dict[str, str | None]:
    """The windows that links lead to; None for all of the run."""
    if window is None:
        return {}
    found = {"earlier": window.moved(-0.5, whole), "later": window.moved(0.5, whole)}
    moved = {name: str(one) for name, one in found.items() if one is not None}
    wider = window.scaled(2, whole)
    return {
        **moved,
        "closer": str(window.scaled(0.5, whole)),
        "wider": None if wider is None else str(wider),
        "all of the run": None,
    }


def _line(
    whole: Whole,
    asked: Asked,
    chosen: int | None,
    found: Found | None,
    window: Window | None,
) -> Any:
    if found is not None:
        line = time_line(whole.run, window=window)
        places = set(found.places)
        return line._replace(rows=[row for row in line.rows if row.place in places])
    given = asked.get("open")
    opened: set[int] | None = None
    if given != "all":
        opened = _places(given or "")
        if chosen is not None:
            opened |= _around(whole, chosen)
    return time_line(whole.run, _with_calls(whole, asked), opened, window)


def _places(given: str) -> set[int]:
    try:
        return {int(one) for one in given.split(",") if one}
    except ValueError:
        raise WrongUsageError(f"open is {given!r}; it can be all, or places") from None


def _around(whole: Whole, chosen: int) -> set[int]:
    """The places that are open so that a node is seen: those around it, or its fold's."""
    path: list[int] = []
    seen: dict[Any, int] = {}
    for placed in walk(build(whole.run, whole.logs)):
        log = placed.node.log
        del path[placed.depth :]
        first = log.place
        if is_fine(placed.node):
            first = seen.setdefault((*path, log.node, log.step), log.place)
        if log.place == chosen:
            return {*path, first}
        path.append(log.place)
    return set()


def _page_of(rows: list[Any], chosen: int) -> int:
    at = next((at for at, row in enumerate(rows) if row.place == chosen), 0)
    return at // ROWS * ROWS


def chosen_place(whole: Whole, asked: Asked) -> int | None:
    """The place of the node that is shown: the one asked for, else the one to blame.

    Raises:
        UnknownError: there is no such node.
    """
    logs = whole.logs
    given = asked.number("node", -1, 0, 10**9)
    if given >= 0:
        if given >= len(logs):
            raise UnknownError(f"This run has no node {given}: it has {len(logs):,}.")
        return given
    log = decisive(whole.run, logs)
    if log is not None:
        return log.place
    return None


def run_error(one: Any, logs: list[Log]) -> dict[str, Any] | None:
    """The run's own error, if no node's pane shows it."""
    if decisive(one, logs) is not None or not one.get("error_type"):
        return None
    whole, own = tracebacks(one.get("error_traceback"))
    return {
        "said": brief(f"{one['error_type']}: {one.get('error_text') or ''}", _LONGEST),
        "own": own,
        "traceback": whole,
    }


def node_values(whole: Whole, asked: Asked, place: int) -> dict[str, Any]:
    """Read what the pane of a node shows."""
    state = asked.choose("state", ("0", "1"), "0") == "1"
    found: Details = details(whole.run, whole.logs, place, state=state)
    attempts = [
        log
        for log in whole.logs
        if (log.node, log.step, log.parent) == _key(whole.logs[place])
        and (log.place == place or whole.logs[place].attempt + log.attempt > 2)
    ]
    return {
        "node": found,
        "zoom": window_of(whole.run, whole.logs, place),
        "state_asked": state,
        "attempts": attempts if len(attempts) > 1 else [],
    }


def _key(log: Log) -> tuple[Any, ...]:
    return log.node, log.step, log.parent


def node(source: Source, asked: Asked) -> dict[str, Any]:
    """Read the pane of a node alone, for the script that puts it into the page."""
    whole = asked_run(source, asked)
    place = chosen_place(whole, asked)
    if place is None:
        raise WrongUsageError("the address has no node")
    ties = _tied(source, whole.run) if whole.logs[place].status == "interrupted" else None
    went_on = ties is not None and ties.later
    values = node_values(whole, asked, place)
    question_ = question(whole.run)
    return {
        "run": whole.run,
        "chosen": place,
        "went_on": went_on,
        "question": question_,
        **values,
    }
