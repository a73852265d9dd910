"""The page of runs, newest first."""

from __future__ import annotations

from typing import Any

from runlog.reading.names import STATUSES
from runlog.views.logs import text
from runlog.views.words import brief
from runlog.web import lists
from runlog.web.address import Asked
from runlog.web.source import Source


def runs(source: Source, asked: Asked) -> dict[str, Any]:
    """Read what the page shows."""
    recorder = source.open()
    found = lists.read_page(recorder, asked)
    if not found.lines and asked.get("after") is None:
        lists.check_names(recorder, lists.filters_of(asked))
    chosen = {name: asked.get(name) for name in lists.FILTERS}
    return {
        "page": found,
        "chosen": chosen,
        "statuses": STATUSES,
        "workflows": lists.workflows(recorder),
        "is_live": asked.get("after") is None and asked.get("until") is None,
        "why": why,
    }


def why(one: lists.Listed) -> str:
    """What a row says of a run beside its state and its node: why."""
    line = one.line
    if one.asks is not None:
        return one.asks
    error = " ".join(filter(None, (text(line.error), text(line.error_text))))
    if error and line.status in ("failed", "lost", "cancelled"):
        return brief(": ".join(filter(None, (line.error, line.error_text))), 160)
    if line.retries:
        return f"{line.retries:,} {'retry' if line.retries == 1 else 'retries'}"
    return ""
