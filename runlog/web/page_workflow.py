"""The page of a workflow: is it worse than in the time before?"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from runlog.reading.times import moment, parse_age
from runlog.views.errors import group
from runlog.views.series import Span, series
from runlog.views.summary import Totals, by_node, totals
from runlog.web import lists
from runlog.web.address import Asked
from runlog.web.errors import UnknownError
from runlog.web.source import Source

WINDOWS = ("1h", "1d", "7d", "30d")
_ROWS = 5_000
"""Of how many runs of each time the percentiles are, the newest."""
_SPANS = 48
_BAD = ["failed", "lost"]
_WHOLE, _FAILED = 100, 200
"""How many runs are read whole for their nodes, and for their failures."""


class Window(NamedTuple):
    """The runs of a time."""

    filters: dict[str, Any]
    """Those of `list_runs` that select them."""
    totals: Totals
    failed: float | None
    """The share of those that failed or were lost."""
    spans: list[Span]


def read_window(recorder: Any, name: str, since: float, until: float) -> Window:
    """Count the runs of a time; the times are those of the newest that completed."""
    filters = {"wpk_id": name, "since": moment(since), "until": moment(until)}
    counts = recorder.count_runs(spans=_SPANS, **filters)
    rows = recorder.list_runs(limit=_ROWS, status="completed", **filters).runs
    found = totals(counts, rows)
    bad = sum(found.by_status.get(status, 0) for status in _BAD)
    share = bad / found.runs if found.runs else None
    return Window(filters, found, share, series(counts, rows))


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
    newest = recorder.list_runs(limit=_WHOLE, **now.filters).runs
    nodes, retried, tokens = by_node(_whole(recorder, row) for row in newest)
    bad = recorder.list_runs(limit=_FAILED, status=_BAD, **now.filters).runs
    spans = now.spans
    return {
        "name": name,
        "window": chosen,
        "windows": WINDOWS,
        "now": now,
        "before": before,
        "most_rows": _ROWS,
        "spans": spans,
        "slowest": max((span.p95 or 0.0 for span in spans), default=0.0) or 1.0,
        "nodes": nodes[:20],
        "all_ms": sum(node.total_ms for node in nodes) or 1.0,
        "sample": len(newest),
        "retried": retried,
        "tokens": tokens,
        "failures": group(_whole(recorder, row) for row in bad),
        "failures_of": len(bad),
    }


def _whole(recorder: Any, row: Any) -> Any:
    return recorder.get_run(row["run_id"], row["wpk_id"]) or row
