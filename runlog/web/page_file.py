"""A run as one HTML file that needs nothing else: no script, no network."""

from __future__ import annotations

from typing import Any

from runlog.views.details import details
from runlog.views.logs import began
from runlog.views.outcome import decisive, outcome
from runlog.views.picture import has_steps, picture
from runlog.views.preview import preview
from runlog.views.rows import time_line
from runlog.web import assets
from runlog.web.address import Asked
from runlog.web.page_run import asked_run, run_error
from runlog.web.render import render
from runlog.web.source import Source

_NODES = 500
"""How many nodes have their values in the file."""
_SIZE = 4_000_000
"""About how many characters these have together."""
_LINK = b'<link rel="stylesheet" href="page.css">'
"""Stands where the styles go. No recorded text can hold it, as its < is escaped."""


def saved(source: Source, asked: Asked) -> tuple[str, bytes]:
    """Return the name of the file, and the file."""
    whole = asked_run(source, asked)
    run, logs = whole
    log = decisive(run, logs)
    chosen = None if log is None else log.place
    wanted = list(range(min(len(logs), _NODES)))
    if chosen is not None and chosen not in wanted:
        wanted.append(chosen)
    each = max(2_000, _SIZE // (2 * max(1, len(wanted))))
    values: dict[str, Any] = {
        "run": run,
        "logs": logs,
        "sentence": outcome(run, logs),
        "began": began(run),
        "line": time_line(run, calls=len(logs) <= 60, opened=None),
        "picture": picture(run, logs, chosen) if has_steps(logs) else None,
        "link": lambda place: f"#n{place}",
        "nodes": [
            details(run, logs, place, nodes=2_000, size=min(each, 65_536))
            for place in wanted
        ],
        "wanted": set(wanted),
        "chosen": chosen,
        "error": run_error(run, logs),
        "inputs": preview(run.get("inputs")),
        "outputs": preview(run.get("outputs")),
    }
    page = render("file.html", values)
    styles = b"<style>\n" + assets.read("page.css") + b"</style>"
    name = "".join(one for one in str(run["run_id"]) if one.isascii() and one.isalnum())
    return f"run-{name[:36] or 'saved'}.html", page.replace(_LINK, styles, 1)
