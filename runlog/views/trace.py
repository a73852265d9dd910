"""A run as a trace that Perfetto and chrome://tracing show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from runlog.views.spans import ERROR, Span, spans_of

_LONGEST = 10_000
"""Characters of a value that are shown."""
_ROUGHLY = 1_000
"""Microseconds by which a span may reach beyond the one around it: two clocks differ."""


class _Placed(NamedTuple):
    """A span on a track, in microseconds."""

    span: Span
    start: int
    end: int
    track: int


def trace_of(run: Any) -> dict[str, Any]:
    """Return the trace of a run in the format of Chrome's trace viewer.

    Args:
        run: as `get_run` returns it.

    Returns:
        An object for JSON. Spans that run at one time are on tracks of their own; on a
        track, spans lie within one another.
    """
    placed = _place(list(spans_of(run)))
    name = f"{run['wpk_id']} {run['run_id']}"
    tracks = range(1, 1 + max(one.track for one in placed))
    events = [_meta("process_name", 0, name), _meta("thread_name", 0, "run")]
    events += [_meta("thread_name", track, f"beside {track}") for track in tracks]
    for one in placed:
        events += _events(one)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            name: str(run[name])
            for name in ("wpk_id", "run_id", "status", "thread_id", "started_at")
            if run.get(name) is not None
        },
    }


def _meta(kind: str, track: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": 1, "tid": track, "args": {"name": name}}


def _events(one: _Placed) -> Iterator[dict[str, Any]]:
    span = one.span
    kind = str(span.attributes.get("openinference.span.kind", "CHAIN")).lower()
    args = {name: _shown(value) for name, value in span.attributes.items()}
    if span.status == ERROR:
        args["error"] = _shown(span.message)
    base = {"pid": 1, "tid": one.track}
    yield {
        **base,
        "ph": "X",
        "name": span.name,
        "cat": kind,
        "ts": one.start,
        "dur": one.end - one.start,
        "args": args,
    }
    for event in span.events:
        yield {
            **base,
            "ph": "i",
            "s": "t",
            "name": event.name,
            "cat": "event",
            "ts": min(max(round(event.at * 1e6), one.start), one.end),
            "args": {name: _shown(value) for name, value in event.attributes.items()},
        }


def _shown(value: Any) -> Any:
    if type(value) is str and len(value) > _LONGEST:
        return f"{value[:_LONGEST]}<cut: {len(value) - _LONGEST} characters>"
    return value


def _place(spans: list[Span]) -> list[_Placed]:
    """Give each span a track: that of the span around it if it fits there."""
    open_: list[list[tuple[int, bytes]]] = []  # of each track, from the outermost
    of: dict[bytes, _Placed] = {}
    for span in sorted(spans, key=lambda one: one.start):
        start, end = round(span.start * 1e6), round(max(span.start, span.end) * 1e6)
        around = of.get(span.parent) if span.parent else None
        if around is not None:
            start = max(start, around.start)
            end = max(end, start)
            if around.end < end <= around.end + _ROUGHLY:
                end = max(start, around.end)
        track = _track(open_, start, end, around)
        open_[track].append((end, span.span))
        of[span.span] = _Placed(span, start, end, track)
    return [of[span.span] for span in spans]


def _track(
    tracks: list[list[tuple[int, bytes]]], start: int, end: int, around: _Placed | None
) -> int:
    """The track on which a span fits; a new one if there is none."""
    for stack in tracks:
        while stack and stack[-1][0] <= start:
            stack.pop()
    if around is not None:
        stack = tracks[around.track]
        if not stack or (stack[-1][1] == around.span.span and end <= stack[-1][0]):
            return around.track
    for place, stack in enumerate(tracks):
        if not stack:
            return place
    tracks.append([])
    return len(tracks) - 1
