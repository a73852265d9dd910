"""The page of a workflow: is it worse than in the time before?"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any, NamedTuple

from runlog.reading.names import nearest
from runlog.reading.times import moment, parse_age
from runlog.rollup import Figures
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
_DAYS, _MOST = 7, 500
"""Of how many days the runs of workflows are counted, and how many are listed."""
_WAIT = 0.5
"""Seconds that new runs may take to be counted, while the reader waits."""


class Window(NamedTuple):
    """The runs of a time."""

    filters: dict[str, Any]
    """Those of `list_runs` that select them."""
    totals: Totals
    failed: float | None
    """The share of those that failed or were lost."""
    spans: list[Span]


class Line(NamedTuple):
    """A workflow among all."""

    name: str
    runs: int
    failed: int
    p50: float | None
    """Of all runs that ended, in milliseconds; at most 9 % too high."""
    p95: float | None
    newest: float
    """When its newest run was recorded, in seconds since 1970."""


class Lines(NamedTuple):
    """The workflows, that with the newest run first."""

    rows: list[Line]
    waiting: int
    """Runs that are not counted yet."""
    more: int
    """Workflows that are left out."""


def read_lines(recorder: Any) -> Lines:
    """Read which workflows there are, and what their runs of some days add up to."""
    known = recorder.rollup_totals(wait=_WAIT)
    names = {block.workflow for block in known.blocks} | {*lists.workflows(recorder)}
    newest = recorder._gauges(json.dumps(sorted(names)))[2]  # noqa: SLF001 - ours
    since = moment(time.time() - _DAYS * 86_400)
    sums: dict[str, Figures] = {}
    for block in recorder.rollup(since=since, wait=0).blocks:
        sums.setdefault(block.workflow, Figures()).add(block.run)
    shown = sorted(newest, key=newest.__getitem__, reverse=True)[:_MOST]
    rows = [_line(name, sums.get(name, Figures()), newest[name]) for name in shown]
    return Lines(rows, known.waiting, len(newest) - len(shown))


def _line(name: str, found: Figures, newest: datetime) -> Line:
    p50, p95 = (
        None if (spent := found.durations.quantile(share)) is None else spent / 1000
        for share in (0.5, 0.95)
    )
    failed = found.statuses["failed"]
    return Line(name, found.number, failed, p50, p95, newest.timestamp())


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
    chosen = asked.choose("window", WINDOWS, "7d")
    if name is None:
        return {"name": None, **read_lines(recorder)._asdict()}
    if not recorder.list_runs(limit=1, wpk_id=name).runs:
        known = lists.workflows(recorder)
        if name not in known:  # else its first run has come between the two looks
            raise UnknownError(f"There is no workflow {name!r}{nearest(name, known)}")
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
