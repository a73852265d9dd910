"""The rows of a run's time line: nodes with their attempts, calls, and what is folded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from runlog.views.axis import Axis, Pause, Tick, Window, window_around
from runlog.views.logs import Log, number, read_logs, seconds, text
from runlog.views.timeline import bars
from runlog.views.tree import Node, build, in_attempts, is_fine, size_of

_WHOLE = 60
"""A run of so many rows is shown whole."""
_SIDE_BY_SIDE = 8
"""More completed branches of a name than this are folded."""
_DEPTH = 2
"""From this depth on, what completed is folded."""


class Row(NamedTuple):
    """A row of the time line."""

    kind: str
    """ "node", "call", or "fold" for several rows that are folded."""
    name: str
    status: str
    depth: int
    place: int
    """The place of the node's log; of a fold that of the first one, or of the one around
    what is folded."""
    call: int | None
    """The place of a call among its node's."""
    attempt: int
    attempts: int
    step: int | None
    band: int
    """The number of the super-step of the outermost graph."""
    opens: bool
    """Whether it is the first row of that super-step."""
    parallel: bool
    folded: int
    """How many rows are folded."""
    duration_ms: float | None
    """Of a fold: the time of all together."""
    start: float | None
    """Where it stands on the line, as a share of it: 0 to 1."""
    share: float
    wait: float | None
    """Where the wait before a further attempt begins; it ends at `start`."""
    log: Log | None


class TimeLine(NamedTuple):
    """All of it, or what a window shows of it."""

    rows: list[Row]
    ticks: list[Tick]
    pauses: list[Pause]
    """Those that are closed up."""
    whole_ms: float
    folded: int
    """How many nodes are folded."""
    outside: int
    """How many rows the window leaves out."""


NOTHING: Final = TimeLine([], [], [], 0.0, 0, 0)
"""A time line of no rows."""


class _Place(NamedTuple):
    """Where something stands on the line."""

    start: float
    share: float


class _Scale:
    """Where a node, or a call, stands on the line."""

    def __init__(self, run: Any, logs: list[Log], window: Window | None) -> None:
        spans = {
            bar.place: (bar.offset_ms, bar.offset_ms + bar.duration_ms)
            for bar in bars(run, logs)
        }
        self.whole = length(run, spans.values()) if spans else 0.0
        self.axis = Axis(spans.values(), self.whole, window)
        self._spans = spans
        place = next(iter(spans), None)
        self._origin = 0.0
        if place is not None:
            self._origin = (logs[place].started or 0.0) - spans[place][0] / 1000

    def of_node(self, log: Log) -> _Place | None:
        span = self._spans.get(log.place)
        return None if span is None else self._between(*span)

    def of_call(self, call: dict[str, Any]) -> _Place | None:
        started = seconds(call.get("started_at"))
        if started is None or not self.whole:
            return None
        start = (started - self._origin) * 1000
        if not 0 <= start <= self.whole:
            return None
        spent = max(0.0, number(call.get("duration_ms")) or 0.0)
        return self._between(start, min(self.whole, start + spent))

    def _between(self, start: float, end: float) -> _Place | None:
        if not self.axis.has(start, end):
            return None
        at = self.axis.at(start)
        return _Place(at, self.axis.at(end) - at)


class _Maker:
    def __init__(
        self, scale: _Scale, logs: list[Log], calls: bool, opened: set[int] | None
    ) -> None:
        self.scale = scale
        self.calls = calls
        self.opened = opened
        """The places that a user has opened; None for all."""
        self.rows: list[Row] = []
        self.band = 0
        self.folded = 0
        self.whole = len(logs) <= _WHOLE

    def add(self, nodes: tuple[Node, ...], depth: int) -> None:
        """Add the rows of nodes that are in one graph."""
        ordered = list(in_attempts(nodes))
        folds = {} if self._shows_all() else _folds(ordered)
        step: Any = object()
        for node in ordered:
            opens = depth == 0 and node.log.step != step
            if opens:
                step = node.log.step
                self.band += 1
            fold = folds.get(node.log.place)
            if fold is not None and fold[0].log.place not in (self.opened or ()):
                if fold[0] is node:
                    self._add_fold(fold, depth, opens)
                continue
            self._add_node(node, depth, opens)

    def _shows_all(self) -> bool:
        return self.whole or self.opened is None

    def _add_node(self, node: Node, depth: int, opens: bool) -> None:
        log = node.log
        bar = self.scale.of_node(log)
        self.rows.append(
            Row(
                "node",
                log.node,
                log.status,
                depth,
                log.place,
                None,
                log.attempt,
                node.attempts,
                log.step,
                self.band,
                opens,
                node.parallel,
                0,
                log.duration_ms,
                None if bar is None else bar.start,
                0.0 if bar is None else bar.share,
                self._wait(log, bar, depth),
                log,
            )
        )
        if self.calls:
            self._add_calls(log, depth + 1)
        if not node.children:
            return
        if self._folds_below(node, depth):
            self._add_fold(list(node.children), depth + 1, False, log.place)
        else:
            self.add(node.children, depth + 1)

    def _folds_below(self, node: Node, depth: int) -> bool:
        if self._shows_all() or node.log.place in (self.opened or ()):
            return False
        return depth + 1 >= _DEPTH and all(is_fine(one) for one in node.children)

    def _wait(self, log: Log, bar: _Place | None, depth: int) -> float | None:
        """Where the attempt before this one ended, if this is a further one."""
        if log.attempt < 2 or bar is None or not self.rows:
            return None
        for row in reversed(self.rows):
            if row.depth == depth and row.kind == "node":
                if row.name == log.node and row.attempt == log.attempt - 1:
                    ended = None if row.start is None else row.start + row.share
                    return ended if ended is not None and ended < bar.start else None
                return None
        return None

    def _add_calls(self, log: Log, depth: int) -> None:
        for place, call in enumerate(log.calls):
            placed = self.scale.of_call(call)
            name = text(call.get("model")) or text(call.get("name")) or "?"
            self.rows.append(
                Row(
                    "call",
                    f"{text(call.get('kind')) or 'call'} {name}",
                    text(call.get("status")) or "unknown",
                    depth,
                    log.place,
                    place,
                    1,
                    1,
                    None,
                    self.band,
                    False,
                    False,
                    0,
                    number(call.get("duration_ms")),
                    None if placed is None else placed.start,
                    0.0 if placed is None else placed.share,
                    None,
                    None,
                )
            )

    def _add_fold(
        self, nodes: list[Node], depth: int, opens: bool, place: int | None = None
    ) -> None:
        logs = [node.log for node in nodes]
        names = list(dict.fromkeys(log.node for log in logs))
        held = [bar for log in logs if (bar := self.scale.of_node(log)) is not None]
        start = min((bar.start for bar in held), default=None)
        end = max((bar.start + bar.share for bar in held), default=0.0)
        number_of = sum(map(size_of, nodes))
        self.folded += number_of
        more = "" if len(names) <= 3 else " …"
        self.rows.append(
            Row(
                "fold",
                ", ".join(names[:3]) + more,
                logs[0].status,
                depth,
                logs[0].place if place is None else place,
                None,
                1,
                1,
                logs[0].step,
                self.band,
                opens,
                len(names) == 1 and logs[0].step == logs[-1].step,
                number_of,
                sum(log.duration_ms or 0.0 for log in logs),
                start,
                0.0 if start is None else min(1.0, end) - start,
                None,
                None,
            )
        )


def time_line(
    run: Any,
    calls: bool = False,
    opened: set[int] | None = None,
    window: Window | None = None,
) -> TimeLine:
    """Return the time line of a run.

    Args:
        run: a run as `get_run` returns it.
        calls: whether each node is followed by its calls.
        opened: in a run of more than 60 nodes, many completed branches of one name and
            completed nodes of inner graphs are folded, but for those of these places.
            None opens all.
        window: what is shown of the run; rows of what ran outside of it are left out.
    """
    logs = read_logs(run)
    scale = _Scale(run, logs, window)
    maker = _Maker(scale, logs, calls, opened)
    maker.add(build(run, logs), 0)
    rows = maker.rows
    if window is not None:
        rows = [row for row in rows if row.start is not None]
    outside = len(maker.rows) - len(rows)
    axis = scale.axis
    marks = axis.ticks if scale.whole else []
    return TimeLine(rows, marks, axis.pauses, scale.whole, maker.folded, outside)


def window_of(run: Any, logs: list[Log], place: int) -> Window | None:
    """The window of a node; None if its start is unknown, or it is all of the run."""
    spans = {
        bar.place: (bar.offset_ms, bar.offset_ms + bar.duration_ms)
        for bar in bars(run, logs)
    }
    if place not in spans:
        return None
    start, end = spans[place]
    found = window_around(start, end)
    whole = length(run, spans.values())
    return None if found.start <= 0 and found.end >= whole else found


def length(run: Any, spans: Iterable[tuple[float, float]]) -> float:
    """Milliseconds from the start of a run to its end, or to that of its last node."""
    ends = (end for _, end in spans)
    return max(number(run.get("duration_ms")) or 0.0, 0.001, *ends)


def _folds(nodes: list[Node]) -> dict[int, list[Node]]:
    """For the place of each node that is folded: all that are folded with it."""
    alike: dict[Any, list[Node]] = {}
    for node in nodes:
        if node.parallel and node.attempts == 1 and is_fine(node):
            alike.setdefault((node.log.node, node.log.step), []).append(node)
    found: dict[int, list[Node]] = {}
    for group in alike.values():
        if len(group) > _SIDE_BY_SIDE:
            found |= {node.log.place: group for node in group}
    return found
