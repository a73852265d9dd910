"""The nodes of a run as lines of a terminal: a tree with bars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runlog.cli.output import Out
from runlog.cli.text import cut, pad, safe, width
from runlog.views.logs import Log, number
from runlog.views.outcome import error_of
from runlog.views.timeline import Bar, bars
from runlog.views.tree import Placed, build, walk
from runlog.views.words import brief, count, duration

_BAR = 20
_FACTS = (("kind", "call"), ("status", "unknown"))
_MOST = 200
"""How many nodes are shown without --full."""


def tree_lines(
    out: Out, run: Any, logs: list[Log], calls: bool, whole: bool
) -> Iterator[str]:
    """Yield the lines of a run's tree, safe and styled.

    Args:
        out: where they go.
        run: the run.
        logs: its node logs.
        calls: whether the calls of each node follow it.
        whole: whether every node is shown, however many there are, and values are uncut.
    """
    placed = list(walk(build(run, logs)))
    shown = placed if whole or not out.is_terminal else _important(placed)
    for one, line in zip(shown, _lines(out, run, logs, shown), strict=True):
        yield line
        if calls:
            yield from _calls(out, one, whole)
    if len(shown) < len(placed):
        yield f"and {count(len(placed) - len(shown), 'node')} more: --full"


def node_lines(out: Out, run: Any, logs: list[Log], chosen: list[Log]) -> Iterator[str]:
    """Yield the line of each chosen node, as it is in the run's tree but for its place.

    Args:
        out: where they go.
        run: the run.
        logs: its node logs.
        chosen: some of them.
    """
    placed = {one.node.log.place: one for one in walk(build(run, logs))}
    shown = [placed[log.place]._replace(depth=0) for log in chosen]
    return _lines(out, run, logs, shown)


def _lines(out: Out, run: Any, logs: list[Log], shown: list[Placed]) -> Iterator[str]:
    """The line of each of some nodes."""
    times = {bar.place: bar for bar in bars(run, logs)}
    names = [out.shown(safe(_branch(one) + _name(one))) for one in shown]
    columns = out.width
    widest = max((width(name) for name in names), default=0)
    room = _room(columns, widest)
    for one, name in zip(shown, names, strict=True):
        log = one.node.log
        cells = [
            pad(cut(name, room), room),
            out.style(pad(log.status, 11), log.status),
            pad(duration(log.duration_ms), 9, right=True),
        ]
        if columns is None or columns - room >= 11 + 9 + 6 + _BAR:
            cells.append(_bar(times.get(log.place)))
        yield "  ".join(cells).rstrip()


def _important(placed: list[Placed]) -> list[Placed]:
    """The first nodes, and those that did not complete with all around them."""
    if len(placed) <= _MOST:
        return placed
    kept = [place < _MOST for place in range(len(placed))]
    path: list[int] = []
    for place, one in enumerate(placed):
        del path[one.depth :]
        path.append(place)
        if one.node.log.status != "completed":
            for around in path:
                kept[around] = True
    return [one for place, one in enumerate(placed) if kept[place]][: 2 * _MOST]


def _room(columns: int | None, widest: int) -> int:
    """The columns for the names."""
    if columns is None:
        return widest
    with_bar = columns - (11 + 9 + 6 + _BAR)
    without = columns - (11 + 9 + 4)
    return max(6, min(widest, with_bar if with_bar >= min(widest, 24) else without))


def _branch(placed: Placed) -> str:
    if placed.depth == 0:
        return ""
    above = "".join("   " if last else "│  " for last in placed.last[1:-1])
    return above + ("└─ " if placed.last[-1] else "├─ ")


def _name(placed: Placed) -> str:
    log = placed.node.log
    name = log.node
    if placed.node.attempts > 1:
        name += f" (try {log.attempt} of {placed.node.attempts})"
    return name + (" ∥" if placed.node.parallel else "")


def _bar(bar: Bar | None) -> str:
    if bar is None:
        return ""
    first = min(_BAR - 1, int(bar.start * _BAR))
    long = max(1, min(_BAR - first, round(bar.share * _BAR)))
    return "·" * first + "█" * long + "·" * (_BAR - first - long)


def _calls(out: Out, placed: Placed, whole: bool) -> Iterator[str]:
    indent = "   " * (placed.depth + 1)
    for call in placed.node.log.calls:
        yield from call_lines(out, call, indent, whole)


def call_lines(out: Out, call: dict[str, Any], indent: str, whole: bool) -> Iterator[str]:
    """Yield the lines of a call: what it is, what it was asked, what it said.

    Args:
        out: where they go.
        call: the call.
        indent: what they begin with.
        whole: whether a terminal gets them uncut, too.
    """
    most = out.most(500, whole)
    name = call.get("model") or call.get("name") or "?"
    tokens = call.get("tokens")
    total = number(tokens.get("total")) if isinstance(tokens, dict) else None
    facts = [str(call.get(key) or other) for key, other in _FACTS]
    facts.insert(1, str(name))
    facts.append(duration(number(call.get("duration_ms"))))
    if total:
        facts.append(count(int(total), "token"))
    yield out.fit(indent + "· " + safe("  ".join(facts)), whole)
    for key in ("messages", "prompt", "args", "query"):
        if call.get(key) is not None:
            yield out.fit(f"{indent}  > {safe(_said(call[key], most))}", whole)
    for key in ("outputs", "output", "documents"):
        if call.get(key) is not None:
            yield out.fit(f"{indent}  < {safe(_said(call[key], most))}", whole)
    if (error := error_of(call)) is not None:
        yield out.fit(f"{indent}  ! {safe(brief(error, most))}", whole)


def _said(value: Any, most: int | None) -> str:
    """What a prompt or an answer says: the text of its last message."""
    last = value[-1] if type(value) is list and value else value
    if isinstance(last, dict):
        said = last.get("content") or last.get("page_content")
        if type(said) is str and said:
            return brief(said, most)
    return brief(last, most)
