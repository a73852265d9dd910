"""All that a page shows of one node of a run."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.views.changes import Change, changes, state_after
from runlog.views.conversation import Call, Message, messages_of, read_call
from runlog.views.logs import Log
from runlog.views.outcome import error_of
from runlog.views.preview import NODES, SIZE, Preview, preview
from runlog.views.traceback import own_frames
from runlog.views.words import brief, count

_BRIEF = 300
_CALLS = 30
"""How many calls are shown, the newest."""
_LONGEST = 65_536
"""Characters of a traceback that are shown."""


class Changed(NamedTuple):
    """A key of the state that a node changed, in one line."""

    key: str
    kind: str
    before: str
    after: str


class Details(NamedTuple):
    """A node of a run."""

    log: Log
    error: str | None
    own: str | None
    """The frames of the program itself in the traceback."""
    traceback: str | None
    """The whole traceback, if it has more frames."""
    changed: list[Changed]
    inputs: Preview | None
    outputs: Preview | None
    before: Preview | None
    """The state before the node's step, if it was asked for."""
    after: Preview | None
    calls: list[Call]
    earlier: int
    """How many calls stand before those that are shown."""
    events: list[tuple[str, str]]
    said: tuple[Message, ...]
    """The messages that the node added to the state."""


def details(
    run: Any,
    logs: list[Log],
    place: int,
    *,
    state: bool = False,
    nodes: int = NODES,
    size: int = SIZE,
) -> Details:
    """Return what a page shows of a node.

    Args:
        run: a run as `get_run` returns it.
        logs: its node logs.
        place: which of them.
        state: whether the state before and after is wanted.
        nodes: how many JSON values of a payload are shown.
        size: about how many characters of it.
    """
    log = logs[place]
    whole, own = tracebacks(log.error_traceback)
    changed = changes(run, place, logs)
    calls = list(enumerate(log.calls))

    def shown(value: Any) -> Preview | None:
        return None if value is None else preview(value, nodes, size)

    return Details(
        log,
        error_of(log.raw),
        own,
        whole,
        [_changed(one) for one in changed],
        shown(log.inputs),
        shown(log.outputs),
        shown(log.inputs) if state else None,
        shown(state_after(run, place, logs)) if state else None,
        [read_call(call, at) for at, call in calls[-_CALLS:]],
        max(0, len(calls) - _CALLS),
        [(str(one.get("name")), brief(one.get("data"), _BRIEF)) for one in log.events],
        tuple(one for change in changed for one in messages_of(change.after))[-_CALLS:],
    )


def tracebacks(traceback: str | None) -> tuple[str | None, str | None]:
    """A traceback, and its own frames; the first is None if it has no others."""
    if not traceback:
        return None, None
    own = "\n".join(own_frames(traceback))
    whole = traceback if own.strip() != traceback.strip() else None
    return (whole[-_LONGEST:] if whole else None), own[-_LONGEST:]


def _changed(change: Change) -> Changed:
    before = "" if change.before is None else _short(change.before)
    if change.kind == "appended":
        before = count(len(change.before), "element")
    return Changed(change.key, change.kind, before, _short(change.after))


def _short(value: Any) -> str:
    """A value in one line; messages by who says what."""
    messages = messages_of(value)
    if not messages:
        return brief(value, _BRIEF)
    last = messages[-1]
    said = last.said or ", ".join(f"{one.name} {one.args}" for one in last.asked)
    more = f"{count(len(messages), 'message')}, the last: " if len(messages) > 1 else ""
    return brief(f"{more}{last.role}: {said}", _BRIEF)
