"""The rows of a run's time line: nodes with their attempts, calls, and what is folded."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from runlog.views.logs import Log, number, read_logs, seconds, text
from runlog.views.timeline import Bar, bars
from runlog.views.tree import Node, build, in_attempts, is_fine, size_of
from runlog.views.words import duration

_WHOLE = 60
"""A run of so many rows is shown whole."""
_SIDE_BY_SIDE = 8
"""More completed branches of a name than this are folded."""
_DAY = 1_440
_MINUTES = (1, 2, 5, 10, 30, 60, 120, 360, 720, _DAY, 2 * _DAY, 7 * _DAY, 30 * _DAY)
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
    """From the start of the run, as a share of it: 0 to 1."""
    share: float
    wait: float | None
    """Where the wait before a further attempt begins; it ends at `start`."""
    log: Log | None


class Tick(NamedTuple):
    """A mark of the axis of time."""

    share: float
    label: str


class TimeLine(NamedTuple):
    """All of it."""

    rows: list[Row]
    ticks: list[Tick]
    whole_ms: float
    folded: int
    """How many nodes are folded."""


NOTHING: Final = TimeLine([], [], 0.0, 0)
"""A time line of no rows."""


class _Scale:
    """Where a moment stands on the line."""

    def __init__(self, run: Any, logs: list[Log]) -> None:
        self.bars = {bar.place: bar for bar in bars(run, logs)}
        first = next(iter(self.bars.values()), None)
        self.whole = 0.0
        self._origin = 0.0
        if first is not None:
            spent = [bar for bar in self.bars.values() if bar.share > 0]
            some = max(spent, key=lambda bar: bar.share, default=None)
            self.whole = some.duration_ms / some.share if some else 0.0
            started = logs[first.place].started or 0.0
            self._origin = started - first.offset_ms / 1000

    def of_call(self, call: dict[str, Any]) -> tuple[float | None, float]:
        started = seconds(call.get("started_at"))
        if started is None or not self.whole:
            return None, 0.0
        start = (started - self._origin) * 1000 / self.whole
        if not 0 <= start <= 1:
            return None, 0.0
        spent = number(call.get("duration_ms"))
        return start, min(1 - start, (spent or 0.0) / self.whole)


class _Maker:
    def __init__(self, run: Any, logs: list[Log], calls: bool, opened: set[int] | None):
        self.scale = _Scale(run, logs)
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
        bar = self.scale.bars.get(log.place)
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

    def _wait(self, log: Log, bar: Bar | None, depth: int) -> float | None:
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
            start, share = self.scale.of_call(call)
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
                    start,
                    share,
                    None,
                    None,
                )
            )

    def _add_fold(
        self, nodes: list[Node], depth: int, opens: bool, place: int | None = None
    ) -> None:
        logs = [node.log for node in nodes]
        names = list(dict.fromkeys(log.node for log in logs))
        held = [
            self.scale.bars[log.place] for log in logs if log.place in self.scale.bars
        ]
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


def time_line(run: Any, calls: bool = False, opened: set[int] | None = None) -> TimeLine:
    """Return the time line of a run.

    Args:
        run: a run as `get_run` returns it.
        calls: whether each node is followed by its calls.
        opened: in a run of more than 60 nodes, many completed branches of one name and
            completed nodes of inner graphs are folded, but for those of these places.
            None opens all.
    """
    logs = read_logs(run)
    maker = _Maker(run, logs, calls, opened)
    maker.add(build(run, logs), 0)
    whole = maker.scale.whole
    return TimeLine(maker.rows, ticks(whole), whole, maker.folded)


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


def ticks(whole_ms: float, most: int = 5) -> list[Tick]:
    """Return the marks of an axis from 0 to so many milliseconds, at round times."""
    if whole_ms <= 0:
        return []
    steps = [part * 10.0**power for power in range(-6, 5) for part in (1, 2, 5)]
    steps = [step for step in steps if step < 30_000]
    steps += [30_000.0, *(60_000.0 * minutes for minutes in _MINUTES)]
    step = next((one for one in steps if whole_ms / one <= most), whole_ms)
    return [
        Tick(place * step / whole_ms, duration(place * step))
        for place in range(int(whole_ms / step) + 1)
    ]
