"""A run as a line of a list."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.views.logs import began, fact, number, read_logs, totals_of
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
        run: the same run as `get_run` returns it, for a row without totals. Without it,
            such a line has no nodes.
    """
    source = row if run is None else run
    totals = totals_of(row) if run is None else totals_of_logs(run)
    return Line(
        str(source.get("status")),
        str(row.get("run_id")),
        str(row.get("wpk_id")),
        totals.get("at"),
        totals.get("nodes"),
        totals.get("retries"),
        number(source.get("duration_ms")),
        totals.get("tokens"),
        began(row),
        source.get("thread_id"),
        source.get("error_type"),
        source.get("error_text"),
    )


def totals_of_logs(run: Any) -> dict[str, Any]:
    """The totals of a whole run by its node logs, as `runlog._runlog.Totals`."""
    logs = read_logs(run)
    again = retries(logs)
    log = decisive(run, logs)
    return {
        "nodes": len(logs) - again,
        "retries": again,
        "at": None if log is None else log.node,
        "tokens": total_tokens(run),
    }


def total_tokens(run: Any) -> int | None:
    """The tokens of a run, by the totals that it has; None if nobody counted."""
    tokens = fact(run, "tokens")
    total = number(tokens.get("total")) if isinstance(tokens, dict) else None
    return None if total is None else int(total)
