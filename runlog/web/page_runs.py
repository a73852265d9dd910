"""The page of runs, newest first."""

from __future__ import annotations

from typing import Any

from runlog.reading.names import STATUSES
from runlog.views.logs import text
from runlog.views.series import Span, series
from runlog.views.words import brief
from runlog.web import lists
from runlog.web.address import Asked
from runlog.web.source import Source

_SPANS = 48


def runs(source: Source, asked: Asked) -> dict[str, Any]:
    """Read what the page shows."""
    recorder = source.open()
    found = lists.read_page(source, asked)
    if not found.lines and asked.get("after") is None:
        lists.check_names(recorder, lists.filters_of(asked))
    chosen = {name: asked.get(name) for name in lists.FILTERS}
    asks = asked.choose("chart", ("0", "1"), "1" if asked.get("since") else "0")
    return {
        "spans": over_time(recorder, asked) if asks == "1" else None,
        "page": found,
        "chosen": chosen,
        "chosen_values": {name: value for name, value in chosen.items() if value},
        "statuses": STATUSES,
        "workflows": lists.workflows(recorder),
        "is_live": asked.get("after") is None and asked.get("until") is None,
        "why": why,
    }


def over_time(recorder: Any, asked: Asked) -> list[Span]:
    """Count the runs of an address by time. The work grows with their number."""
    filters = lists.filters_of(asked)
    counts = recorder.count_runs(spans=_SPANS, **filters)
    return series(counts, [])


def why(one: lists.Listed) -> str:
    """What a row says of a run beside its state and its node: why."""
    line = one.line
    if one.asks is not None:
        return one.asks
    error = " ".join(filter(None, (text(line.error), text(line.error_text))))
    # A program may have a status of its own for what failed.
    if error and line.status not in ("completed", "running", "interrupted"):
        return brief(": ".join(filter(None, (line.error, line.error_text))), 160)
    if line.retries:
        return f"{line.retries:,} {'retry' if line.retries == 1 else 'retries'}"
    return ""
