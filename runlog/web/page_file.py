"""A run as one HTML file that needs nothing else: no script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from markupsafe import escape

from runlog.views.details import Details, details
from runlog.views.logs import began
from runlog.views.outcome import decisive, outcome
from runlog.views.picture import has_steps, picture
from runlog.views.preview import preview
from runlog.views.rows import time_line
from runlog.views.words import brief
from runlog.web import assets
from runlog.web.address import Asked
from runlog.web.page_run import Whole, asked_run, run_error
from runlog.web.render import render
from runlog.web.source import Source

T = TypeVar("T")

_NODES = 500
"""How many nodes have their values in the file."""
_SIZE = 4_000_000
"""Bytes that these have together."""
_LONGEST = 65_536
"""Characters of an error, and of a value."""
_MARKUP = 200
"""Bytes of HTML around a part of a node."""
_LINK = b'<link rel="stylesheet" href="page.css">'
"""Stands where the styles go. No recorded text can hold it, as its < is escaped."""


class Saved(NamedTuple):
    """A node, and how many of its parts the file has no room for."""

    node: Details
    left_out: int


class _Room:
    """The bytes that are left."""

    def __init__(self) -> None:
        self.left = _SIZE
        self.refused = 0
        """How many parts found no room."""

    def take(self, part: T) -> T | None:
        """Return a part of a node if there is room for it."""
        size = _size(part)
        if size > self.left:
            self.refused += 1
            return None
        self.left -= size
        return part

    def take_some(self, parts: Sequence[T]) -> list[T]:
        """Return those parts for which there is room."""
        return [one for one in parts if self.take(one) is not None]


def saved(source: Source, asked: Asked) -> tuple[str, bytes]:
    """Return the name of the file, and the file."""
    whole = asked_run(source, asked)
    run, logs = whole
    log = decisive(run, logs)
    chosen = None if log is None else log.place
    wanted = list(range(min(len(logs), _NODES)))
    if chosen is not None and chosen not in wanted:
        wanted.append(chosen)
    nodes = _nodes(whole, chosen, wanted)
    values: dict[str, Any] = {
        "run": run,
        "logs": logs,
        "sentence": outcome(run, logs),
        "began": began(run),
        "line": time_line(run, calls=len(logs) <= 60, opened=None),
        "picture": picture(run, logs, chosen) if has_steps(logs) else None,
        "link": lambda place: f"#n{place}",
        "nodes": nodes,
        "wanted": {one.node.log.place for one in nodes},
        "chosen": chosen,
        "error": run_error(run, logs),
        "inputs": preview(run.get("inputs")),
        "outputs": preview(run.get("outputs")),
    }
    page = render("file.html", values)
    styles = b"<style>\n" + assets.read("page.css") + b"</style>"
    name = "".join(one for one in str(run["run_id"]) if one.isascii() and one.isalnum())
    return f"run-{name[:36] or 'saved'}.html", page.replace(_LINK, styles, 1)


def _nodes(whole: Whole, chosen: int | None, wanted: list[int]) -> list[Saved]:
    """The nodes in their order, as far as there is room: the chosen one has it first."""
    each = min(_LONGEST, max(2_000, _SIZE // (2 * max(1, len(wanted)))))
    room, found = _Room(), []
    for place in sorted(wanted, key=lambda one: one != chosen):
        if room.left < _MARKUP:
            break
        one = details(whole.run, whole.logs, place, nodes=2_000, size=each)
        found.append(_fit(one, room))
    return sorted(found, key=lambda one: one.node.log.place)


def _fit(one: Details, room: _Room) -> Saved:
    """Leave out the parts of a node for which there is no room: old calls first."""
    room.refused = 0
    room.left -= _MARKUP
    kept = one._replace(
        error=one.error and room.take(brief(one.error, _LONGEST)),
        own=one.own and room.take(one.own),
        changed=room.take_some(one.changed),
        outputs=one.outputs and room.take(one.outputs),
        inputs=one.inputs and room.take(one.inputs),
        calls=room.take_some(one.calls[::-1])[::-1],
    )
    return Saved(kept, room.refused + one.earlier)


def _size(part: Any) -> int:
    """About how many bytes of HTML a part takes."""
    if isinstance(part, str):
        return len(escape(part).encode("utf-8", "replace"))
    if isinstance(part, (tuple, list)):
        return _MARKUP + sum(map(_size, part))
    return 0
