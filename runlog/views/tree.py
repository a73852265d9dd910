"""The nodes of a run as a tree: subgraphs below their nodes, attempts side by side."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NamedTuple

from runlog.views.logs import Log, read_logs


class Node(NamedTuple):
    """A node log, and what it is around."""

    log: Log
    attempts: int
    """How many attempts LangGraph made of this node; the log is one of them."""
    parallel: bool
    """Whether another node of its graph ran beside it."""
    children: tuple[Node, ...]


class Placed(NamedTuple):
    """A node with its place among all."""

    node: Node
    depth: int
    last: tuple[bool, ...]
    """For each level from the outermost: whether it is the last of its siblings."""


_COMMON = 32
"""A value that more nodes have than this tells nobody apart."""


def build(run: Any, logs: list[Log] | None = None) -> tuple[Node, ...]:
    """Return the outermost nodes of a run, in the order of their starts.

    A log names the node around it. If several have that name, the one that ran at that
    time counts, and of those the one with most inputs in common.

    Args:
        run: a run as `get_run` returns it.
        logs: its node logs, if they are known already.
    """
    logs = read_logs(run) if logs is None else logs
    around = _find_parents(logs)
    below: dict[int, list[int]] = {}
    for log in logs:
        below.setdefault(around[log.place], []).append(log.place)
    attempts = _count_attempts(logs, around)
    steps: dict[tuple[int, int | None], set[str]] = {}
    many: dict[tuple[int, int | None, int], int] = {}
    for log in logs:
        place = (around[log.place], log.step)
        steps.setdefault(place, set()).add(log.node)
        many[*place, log.attempt] = many.get((*place, log.attempt), 0) + 1
    nodes: dict[int, Node] = {}
    for log in reversed(logs):  # whoever is around a log stands before it
        place = (around[log.place], log.step)
        parallel = log.step is not None and (
            len(steps[place]) > 1 or many[*place, log.attempt] > 1
        )
        children = tuple(nodes[index] for index in below.get(log.place, ()))
        nodes[log.place] = Node(log, attempts[log.place], parallel, children)
    return tuple(nodes[index] for index in below.get(-1, ()))


def walk(roots: tuple[Node, ...]) -> Iterator[Placed]:
    """Yield every node, each before those within it."""
    stack = [Placed(node, 0, (place == 0,)) for place, node in enumerate(reversed(roots))]
    while stack:
        placed = stack.pop()
        yield placed
        stack += [
            Placed(node, placed.depth + 1, (*placed.last, place == 0))
            for place, node in enumerate(reversed(placed.node.children))
        ]


def around(roots: tuple[Node, ...], place: int | None) -> list[int]:
    """The places of the nodes around one, from the outermost, and its own.

    Args:
        roots: the outermost nodes.
        place: the place of a log. There is nothing around None, or one that is unknown.
    """
    path: list[int] = []
    for placed in walk(roots):
        del path[placed.depth :]
        path.append(placed.node.log.place)
        if placed.node.log.place == place:
            return path
    return []


def chains(nodes: tuple[Node, ...]) -> list[list[Node]]:
    """Return nodes in their order, each with the further attempts of it."""
    found: list[list[Node]] = []
    waiting: dict[Any, list[list[Node]]] = {}
    for node in nodes:
        log = node.log
        key = (log.node, log.step, log.attempt - 1)
        before = waiting.get(key) if log.attempt > 1 else None
        if before:
            chain = next((one for one in before if _goes_on(one[-1], node)), before[0])
            before.remove(chain)
        else:
            chain = []
            found.append(chain)
        chain.append(node)
        if node.attempts > 1:
            waiting.setdefault((log.node, log.step, log.attempt), []).append(chain)
    return found


def in_attempts(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """Yield nodes in their order, but further attempts after the ones before them."""
    for chain in chains(nodes):
        yield from chain


def _goes_on(before: Node, after: Node) -> bool:
    return bool(before.log.inputs == after.log.inputs)


def is_fine(node: Node) -> bool:
    """Whether a node and all within it completed at the first attempt."""
    stack = [node]
    while stack:
        one = stack.pop()
        if one.log.status != "completed" or one.attempts > 1:
            return False
        stack += one.children
    return True


def size_of(node: Node) -> int:
    """How many nodes there are in one and within it, with itself."""
    number_of, stack = 0, [node]
    while stack:
        one = stack.pop()
        number_of += 1
        stack += one.children
    return number_of


def _find_parents(logs: list[Log]) -> list[int]:
    """For each log the index of the one around it, or -1."""
    named = {log.parent for log in logs}
    by_name: dict[str, list[Log]] = {}
    for log in logs:
        if log.node in named:
            by_name.setdefault(log.node, []).append(log)
    known: dict[tuple[str, str, Any], list[int]] = {}
    for name, ours in by_name.items():
        for log in ours if len(ours) > 1 else ():
            for key, value in _traits(log):
                known.setdefault((name, key, value), []).append(log.place)
    return [_parent_of(log, by_name.get(log.parent or "", []), known) for log in logs]


def _parent_of(
    log: Log, named: list[Log], known: dict[tuple[str, str, Any], list[int]]
) -> int:
    before = named[: bisect_left(named, log.place, key=lambda one: one.place)]
    if not before:
        return -1
    if len(named) == 1:
        return before[0].place
    score: dict[int, int] = {}
    for key, value in _traits(log):
        alike = known.get((str(log.parent), key, value), [])
        for one in alike if len(alike) <= _COMMON else ():
            if one < log.place:
                score[one] = score.get(one, 0) + 1
    near = {one.place: one for one in before[-_COMMON:]}
    near |= {one.place: one for one in before if one.place in score} if score else {}
    return max(
        near,
        key=lambda at: (_was_open(near[at], log.started), score.get(at, 0), at),
    )


def _was_open(log: Log, moment: float | None) -> bool:
    if moment is None or log.started is None:
        return False
    end = float("inf") if log.duration_ms is None else log.duration_ms / 1000
    return log.started - 0.001 <= moment <= log.started + end + 0.001


def _traits(log: Log) -> Iterator[tuple[str, Any]]:
    """What may tell one of several nodes of a name from the others."""
    inputs = log.inputs
    if isinstance(inputs, dict) and len(inputs) <= _COMMON:
        for key, value in inputs.items():
            if type(value) in (str, int) and value not in ("", 0):
                yield key, value


def _count_attempts(logs: list[Log], around: list[int]) -> list[int]:
    """For each log, how many attempts were made of its node.

    An attempt goes on from the one before it: of those that nobody went on from, the one
    with equal inputs, else the first.
    """
    waiting: dict[Any, list[Log]] = {}
    chains: list[list[int]] = []
    chain_of: dict[int, int] = {}
    for log in logs:
        key = (around[log.place], log.node, log.step)
        before = waiting.get((*key, log.attempt - 1), [])
        if before:
            same = next((one for one in before if one.inputs == log.inputs), before[0])
            before.remove(same)
            chain = chain_of[same.place]
        else:
            chain = len(chains)
            chains.append([])
        chains[chain].append(log.place)
        chain_of[log.place] = chain
        if log.status != "completed":
            waiting.setdefault((*key, log.attempt), []).append(log)
    most = [max(len(chain), logs[chain[-1]].attempt) for chain in chains]
    return [most[chain_of[log.place]] for log in logs]
