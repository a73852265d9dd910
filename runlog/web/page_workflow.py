"""The page of a workflow: is it worse than in the time before?"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from runlog.reading.times import parse_age
from runlog.views.errors import group
from runlog.views.series import Span, series
from runlog.views.summary import Totals, by_node, totals
from runlog.web import lists
from runlog.web.address import Asked
from runlog.web.errors import UnknownError
from runlog.web.source import Source

WINDOWS = ("1h", "1d", "7d", "30d")
_ROWS = 10_000
"""Runs of each time that are counted, the newest."""
_WHOLE, _FAILED = 100, 200
"""How many runs are read whole for their nodes, and for their failures."""


class Window(NamedTuple):
    """The runs of a time."""

    rows: list[Any]
    totals: Totals
    failed: float | None
    """The share of those that failed or were lost."""
    complete: bool


def read_window(recorder: Any, name: str, since: float, until: float) -> Window:
    """Read the runs of a time, the newest 10,000 of it."""
    page = recorder.list_runs(
        wpk_id=name,
        since=datetime.fromtimestamp(since, UTC),
        until=datetime.fromtimestamp(until, UTC),
        limit=_ROWS,
    )
    found = totals(page.runs)
    bad = found.by_status.get("failed", 0) + found.by_status.get("lost", 0)
    share = bad / found.runs if found.runs else None
    return Window(page.runs, found, share, page.next is None)


def workflow(source: Source, asked: Asked) -> dict[str, Any]:
    """Read what the page shows; without a name, which workflows there are."""
    recorder = source.open()
    name = asked.get("name")
    if name is None:
        return {"name": None, "names": lists.workflows(recorder)}
    if not recorder.list_runs(limit=1, wpk_id=name).runs:
        raise UnknownError(f"There is no workflow {name!r}.")
    chosen = asked.choose("window", WINDOWS, "7d")
    spent = parse_age(chosen).total_seconds()
    until = time.time() + 1
    since = until - spent
    now = read_window(recorder, name, since, until)
    before = read_window(recorder, name, since - spent, since)
    whole = [_whole(recorder, row) for row in now.rows[:_WHOLE]]
    nodes, retried, tokens = by_node(whole)
    bad = [row for row in now.rows if row["status"] in ("failed", "lost")][:_FAILED]
    spans = series(now.rows, since, until)
    return {
        "name": name,
        "window": chosen,
        "windows": WINDOWS,
        "now": now,
        "before": before,
        "most_rows": _ROWS,
        "spans": spans,
        "highest": max((span.runs for span in spans), default=0) or 1,
        "slowest": max((span.p95 or 0.0 for span in spans), default=0.0) or 1.0,
        "since_of": since_of,
        "nodes": nodes[:20],
        "all_ms": sum(node.total_ms for node in nodes) or 1.0,
        "sample": len(whole),
        "retried": retried,
        "tokens": tokens,
        "failures": group(_whole(recorder, row) for row in bad),
        "failures_of": len(bad),
    }


def _whole(recorder: Any, row: Any) -> Any:
    return recorder.get_run(row["run_id"], row["wpk_id"]) or row


def since_of(span: Span) -> str:
    """When a span began, for an address."""
    return datetime.fromtimestamp(span.start, UTC).isoformat(timespec="seconds")
