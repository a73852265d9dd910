"""Two runs node by node: how long they are the same, and where they part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import Any, Final, NamedTuple

from runlog.views.logs import Log, number, read_logs
from runlog.views.outcome import error_of

_UUID = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)
ABSENT: Final = object()
"""Stands for a value that only the other run has. Nothing recorded equals it."""


class Value(NamedTuple):
    """A value that differs."""

    path: str
    """Its place, as in "messages.0.content"."""
    one: Any
    other: Any

    def as_json(self) -> dict[str, Any]:
        """Its members, without that of the run which has no such value."""
        found = self._asdict()
        return {name: side for name, side in found.items() if side is not ABSENT}


class Pair(NamedTuple):
    """A node of both runs, or of one of them."""

    node: str
    parent: str | None
    one: Log | None
    other: Log | None
    inputs: tuple[Value, ...]
    """The inputs that differ."""
    values: tuple[Value, ...]
    """The outputs that differ."""
    did_same: bool
    """Whether status, error and outputs are the same. Times and tokens don't count."""
    inputs_left: int = 0
    values_left: int = 0
    """How many more of either differ than were asked for."""

    @property
    def same(self) -> bool:
        """Whether the inputs are the same, too."""
        return self.did_same and not self.inputs and not self.inputs_left


class Difference(NamedTuple):
    """How two runs differ."""

    same: bool
    """Whether status, error, inputs, outputs and all nodes are the same."""
    same_inputs: bool
    pairs: tuple[Pair, ...]
    first: int | None
    """The place of the first pair that differs; None if none does. If the inputs of the
    runs differ, so do those of their nodes: then it is the first that did not do the
    same, if there is one."""
    values: tuple[Value, ...]
    """The outputs of the runs that differ."""
    values_left: int
    """How many more of them do than were asked for."""


def difference(one: Any, other: Any, most: int | None = None) -> Difference:
    """Compare two runs.

    The k-th log of a node in the one run is compared with the k-th in the other. Ids that
    are new in each run (UUIDs) are equal to one another.

    Args:
        one: a run as `get_run` returns it.
        other: another.
        most: how many values are kept of the inputs and of the outputs of each node, and
            of the run: the others are counted. None for all.

    Returns:
        The difference. Given the other way round, the two sides are swapped, and the rest
        is the same.
    """
    pairs = tuple(_pairs(read_logs(one), read_logs(other), most))
    values, left = _first_values(one.get("outputs"), other.get("outputs"), most)
    same_inputs = not any(values_of(one.get("inputs"), other.get("inputs")))
    first = _first(pairs, same_inputs)
    alike = _end(one) == _end(other)
    return Difference(
        alike and same_inputs and first is None and not values and not left,
        same_inputs,
        pairs,
        first,
        values,
        left,
    )


def _first(pairs: tuple[Pair, ...], same_inputs: bool) -> int | None:
    differ = [place for place, pair in enumerate(pairs) if not pair.same]
    did = [place for place in differ if not pairs[place].did_same]
    return next(iter(differ if same_inputs else did or differ), None)


def _end(one: Any) -> tuple[Any, ...]:
    return one.get("status"), _plain(error_of(one))


def _pairs(ones: list[Log], others: list[Log], most: int | None) -> list[Pair]:
    left, right = _by_key(ones), _by_key(others)
    found = []
    for key in {**left, **right}:  # in their order, in which lazy logs are cheap
        one, other = left.get(key), right.get(key)
        places = [log.place for log in (one, other) if log is not None]
        found.append(((min(places), max(places), str(key)), _pair(one, other, most)))
    return [pair for _, pair in sorted(found, key=lambda item: item[0])]


def _by_key(logs: list[Log]) -> dict[tuple[Any, ...], Log]:
    counted: dict[tuple[Any, ...], int] = {}
    found = {}
    for log in logs:
        key = (log.parent, log.node, log.attempt)
        counted[key] = counted.get(key, 0) + 1
        found[*key, counted[key]] = log
    return found


def _pair(one: Log | None, other: Log | None, most: int | None) -> Pair:
    some = one or other
    assert some is not None
    if one is None or other is None:
        return Pair(some.node, some.parent, one, other, (), (), False)
    inputs, inputs_left = _first_values(one.inputs, other.inputs, most)
    values, values_left = _first_values(one.outputs, other.outputs, most)
    did_same = not values and not values_left and _end(one.raw) == _end(other.raw)
    return Pair(
        some.node,
        some.parent,
        one,
        other,
        inputs,
        values,
        did_same,
        inputs_left,
        values_left,
    )


def _first_values(
    one: Any, other: Any, most: int | None
) -> tuple[tuple[Value, ...], int]:
    """The first values that differ, and how many more there are."""
    found = values_of(one, other)
    return tuple(islice(found, most)), sum(1 for _ in found)


def values_of(one: Any, other: Any) -> Iterator[Value]:
    """Yield the values that differ, in the order of their places.

    Args:
        one: a value of JSON.
        other: another.
    """
    stack: list[Iterator[Value]] = [iter((Value("", one, other),))]
    while stack:
        value = next(stack[-1], None)
        if value is None:
            stack.pop()
        elif (members := _members(value)) is not None:
            if not _is_copy(value.one, value.other):
                stack.append(members)
        elif not _equal(value.one, value.other):
            yield value


def _members(value: Value) -> Iterator[Value] | None:
    """The members of two objects or of two lists; None for anything else."""
    _, one, other = value
    if isinstance(one, dict) and isinstance(other, dict):
        return _of_dicts(value)
    return _of_lists(value) if type(one) is type(other) is list else None


def _of_dicts(value: Value) -> Iterator[Value]:
    path, one, other = value
    below = f"{path}." if path else ""
    for key in sorted(one.keys() | other.keys(), key=str):
        yield Value(f"{below}{key}", one.get(key, ABSENT), other.get(key, ABSENT))


def _of_lists(value: Value) -> Iterator[Value]:
    path, one, other = value
    below = f"{path}." if path else ""
    for at, (a, b) in enumerate(zip_longest(one, other, fillvalue=ABSENT)):
        yield Value(f"{below}{at}", a, b)


def _is_copy(one: Any, other: Any) -> bool:
    """Whether two values are the same at a quick look. Their texts tell 1 from True."""
    return bool(one == other and repr(one) == repr(other))


def _equal(one: Any, other: Any) -> bool:
    if type(one) is bool or type(other) is bool:
        return one is other
    return bool(_plain(one) == _plain(other))


def _plain(value: Any) -> Any:
    return _UUID.sub("<uuid>", value) if type(value) is str and "-" in value else value


def same_until(found: Difference) -> str | None:
    """The node after which the runs part; None if they do so at once, or never."""
    if not found.first:
        return None
    return found.pairs[found.first - 1].node


def slower(pair: Pair) -> float | None:
    """By how many milliseconds the other node was slower; None if a time is missing."""
    if pair.one is None or pair.other is None:
        return None
    left, right = pair.one.duration_ms, pair.other.duration_ms
    return None if left is None or right is None else right - left


def tokens_of(log: Log | None) -> int | None:
    """The tokens of a node's calls; None if nobody counted."""
    tokens = log.raw.get("tokens") if log is not None else None
    total = number(tokens.get("total")) if isinstance(tokens, dict) else None
    return None if total is None else int(total)
