"""A run as a line of a list."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.views.logs import Log, began, fact, number, read_logs
from runlog.views.outcome import decisive, retries


class Line(NamedTuple):
    """A run as a line of a list."""

    status: str
    run_id: str
    workflow: str
    at: str | None
    """The node in which the run failed, waits, was cancelled or is now."""
    nodes: int | None
    """How many nodes ended or began, attempts beside the first not counted."""
    retries: int | None
    duration_ms: float | None
    tokens: int | None
    began: float | None
    """Seconds since 1970."""
    thread: str | None
    error: str | None
    """The type of the error."""
    error_text: str | None


def line_of(row: Any, run: Any = None) -> Line:
    """Return the line of a run.

    Args:
        row: a row of `list_runs`.
        run: the same run as `get_run` returns it. Without it, the line has no nodes.
    """
    source = row if run is None else run
    logs = read_logs(source)
    return Line(
        str(source.get("status")),
        str(row.get("run_id")),
        str(row.get("wpk_id")),
        None if run is None else _at(run, logs),
        None if run is None else len(logs) - retries(logs),
        None if run is None else retries(logs),
        number(source.get("duration_ms")),
        None if run is None else total_tokens(run),
        began(row),
        source.get("thread_id"),
        source.get("error_type"),
        source.get("error_text"),
    )


def _at(run: Any, logs: list[Log]) -> str | None:
    log = decisive(run, logs)
    return None if log is None else log.node


def total_tokens(run: Any) -> int | None:
    """The tokens of a run, by the totals that it has; None if nobody counted."""
    tokens = fact(run, "tokens")
    total = number(tokens.get("total")) if isinstance(tokens, dict) else None
    return None if total is None else int(total)
