"""What ran in each super-step of a run, and what of it is drawn as one.

LangGraph runs a graph in super-steps: what is ready runs side by side, and what follows
waits for all of it. The order of the super-steps is therefore known. Which node led to
which is not recorded, so nothing here says it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from runlog.views.logs import Log
from runlog.views.tree import Node, around, build, chains, is_fine, size_of

_SIDE_BY_SIDE = 8
"""More branches of one kind than this are one box."""
_BOXES = 24
"""Boxes of a super-step that are drawn."""
_WHOLE = 12
"""A run of so many super-steps is drawn whole."""
_CYCLE = 8
"""Super-steps of a loop's round, at most."""
_ROUNDS = 3
"""A loop of so many equal rounds is drawn as one of them."""


class Box(NamedTuple):
    """A node of a super-step, with all its attempts, or several nodes as one."""

    name: str
    status: str
    """That of the last attempt."""
    depth: int
    place: int
    """The place of the log of the last attempt; of several nodes, that of the first."""
    attempt: int
    attempts: int
    folded: int
    """How many nodes it stands for; 0 for one."""
    duration_ms: float | None
    """Of several: the time of all together."""


class Step(NamedTuple):
    """A super-step of the outermost graph, or the same one of all rounds of a loop."""

    first: int | None
    """Its number; None if the record has none."""
    last: int | None
    """Of a loop: the number of the one in the last round."""
    rounds: int
    boxes: list[Box]


def super_steps(run: Any, logs: list[Log], chosen: int | None = None) -> list[Step]:
    """Return what ran, by the super-steps of the outermost graph, in their order.

    Args:
        run: a run as `get_run` returns it.
        logs: its node logs.
        chosen: the place of a log that is drawn by itself, whatever else is folded.
    """
    roots = build(run, logs)
    kept = frozenset(around(roots, chosen))
    found = [
        Step(number, number, 1, _bounded(list(_boxes(chained, 0, kept)), kept))
        for number, chained in _by_step(roots).items()
    ]
    return found if len(found) <= _WHOLE else list(_loops(found, chosen))


def _by_step(nodes: tuple[Node, ...]) -> dict[int | None, list[list[Node]]]:
    """Nodes of one graph, with their attempts, by their super-steps."""
    found: dict[int | None, list[list[Node]]] = {}
    for chain in chains(nodes):
        found.setdefault(chain[0].log.step, []).append(chain)
    return found


def _boxes(chained: list[list[Node]], depth: int, kept: frozenset[int]) -> Iterator[Box]:
    """The boxes of nodes side by side, each followed by those of its inner graph."""
    keys = [_kind(chain) for chain in chained]
    alike: dict[Any, list[list[Node]]] = {}
    for key, chain in zip(keys, chained, strict=True):
        if not _has(chain, kept):
            alike.setdefault(key, []).append(chain)
    for key, chain in zip(keys, chained, strict=True):
        group = alike.get(key, [])
        if len(group) <= _SIDE_BY_SIDE or _has(chain, kept):
            yield from _box(chain, depth, kept)
        elif group[0] is chain:
            yield _fold([node for one in group for node in one], len(group), depth)


def _kind(chain: list[Node]) -> Any:
    """Nodes of one kind are drawn as one if they are many."""
    log = chain[-1].log
    return log.node, log.status, _all_fine(tuple(chain))


def _box(chain: list[Node], depth: int, kept: frozenset[int]) -> Iterator[Box]:
    last = chain[-1]
    log = next((one.log for one in chain if one.log.place in kept), last.log)
    spent = [one.log.duration_ms for one in chain if one.log.duration_ms is not None]
    yield Box(
        last.log.node,
        last.log.status,
        depth,
        log.place,
        last.log.attempt,
        last.attempts,
        0,
        sum(spent) if spent else None,
    )
    inner = tuple(node for one in chain for node in one.children)
    number = sum(map(size_of, inner))
    if number > _SIDE_BY_SIDE and _all_fine(inner) and not _has(list(inner), kept):
        yield _fold(list(inner), number, depth + 1)
        return
    for chained in _by_step(inner).values():
        yield from _boxes(chained, depth + 1, kept)


def _all_fine(nodes: tuple[Node, ...]) -> bool:
    return all(map(is_fine, nodes))


def _has(nodes: list[Node], kept: frozenset[int]) -> bool:
    """Whether one of them is the chosen node, or around it."""
    return any(node.log.place in kept for node in nodes)


def _fold(nodes: list[Node], number: int, depth: int) -> Box:
    logs = [node.log for node in nodes]
    spent = sum(log.duration_ms or 0.0 for log in logs)
    name = _names([log.node for log in logs])
    status = logs[-1].status
    return Box(name, status, depth, logs[0].place, 1, 1, number, spent)


def _names(names: list[str]) -> str:
    known = list(dict.fromkeys(names))
    return ", ".join(known[:3]) + ("" if len(known) <= 3 else " …")


def _bounded(boxes: list[Box], kept: frozenset[int]) -> list[Box]:
    """At most so many boxes: the chosen one and what did not complete before the rest."""
    if len(boxes) <= _BOXES:
        return boxes
    wanted = sorted(
        range(len(boxes)),
        key=lambda at: (
            boxes[at].place not in kept,
            boxes[at].status == "completed",
            at,
        ),
    )
    shown = sorted(wanted[: _BOXES - 1])
    rest = [boxes[at] for at in sorted(wanted[_BOXES - 1 :])]
    number = sum(max(1, box.folded) for box in rest)
    spent = sum(box.duration_ms or 0.0 for box in rest)
    status = next((box.status for box in rest if box.status != "completed"), "completed")
    more = Box(
        _names([box.name for box in rest]),
        status,
        0,
        rest[0].place,
        1,
        1,
        number,
        spent,
    )
    return [*(boxes[at] for at in shown), more]


def _loops(steps: list[Step], chosen: int | None) -> Iterator[Step]:
    """Draw rounds of a loop that are alike, and completed, as one."""
    shapes = [_shape(step, at, chosen) for at, step in enumerate(steps)]
    at = 0
    while at < len(steps):
        size, rounds = _repeated(shapes, at)
        if rounds < _ROUNDS:
            yield steps[at]
            at += 1
            continue
        for place in range(at, at + size):
            yield _merged(steps[place : at + size * rounds : size])
        at += size * rounds


def _shape(step: Step, at: int, chosen: int | None) -> Any:
    """Steps of one shape look alike; that of a failed or the chosen node is unique."""
    for box in step.boxes:
        if box.status != "completed" or box.attempts > 1 or box.place == chosen:
            return at
    return tuple((box.name, box.depth, box.folded) for box in step.boxes)


def _repeated(shapes: list[Any], at: int) -> tuple[int, int]:
    """The round that repeats most from a place on: its size, and how often it does."""
    best = (1, 1)
    for size in range(1, min(_CYCLE, len(shapes) - at) + 1):
        end = at + size
        while end < len(shapes) and shapes[end] == shapes[end - size]:
            end += 1
        rounds = (end - at) // size
        if rounds >= _ROUNDS and rounds * size > best[0] * best[1]:
            best = (size, rounds)
    return best


def _merged(steps: list[Step]) -> Step:
    boxes = []
    for alike in zip(*(step.boxes for step in steps), strict=True):
        number = sum(max(1, box.folded) for box in alike)
        spent = sum(box.duration_ms or 0.0 for box in alike)
        boxes.append(alike[0]._replace(folded=number, duration_ms=spent))
    return Step(steps[0].first, steps[-1].last, len(steps), boxes)
