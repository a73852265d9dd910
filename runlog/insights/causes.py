"""What is different about runs that failed: inputs, models, tags, metadata and nodes
that are more frequent among them than among good ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from runlog.insights.statistics import accepted, fisher
from runlog.insights.wording import chance
from runlog.views.logs import Log, dicts, fact, number, read_logs, text
from runlog.views.words import brief

SAMPLE: Final = 200
"""How many runs of either kind are read whole, at most."""
_MOST: Final = 3
_MEMBERS: Final = 50
_LENGTH: Final = 80
"""How many members of an object are looked at, and how long a value may be."""
_LEVEL: Final = 0.01
_LARGER: Final = 2.0
_FEWEST: Final = 3
_OURS: Final = ("totals", "tokens", "interrupts", "tags", "models", "llm_calls")


class Trait(NamedTuple):
    """Something that is more frequent among the failed."""

    what: str
    failed: int
    of_failed: int
    good: int
    of_good: int
    p: float

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.failed:,} of {self.of_failed:,} that failed, "
            f"{self.good:,} of {self.of_good:,} good ones ({chance(self.p)})"
        )


def traits(failed: Iterable[Any], good: Iterable[Any], node: str | None) -> list[Trait]:
    """Return what is more frequent among failed runs, the clearest first.

    Args:
        failed: whole runs, as `get_run` returns them.
        good: whole runs that completed.
        node: the node in which the runs failed.

    Returns:
        Up to three. Each has passed Fisher's exact test; the share of false ones is at
        most 1 % (Benjamini, Hochberg, over all that both kinds of runs have).
    """
    bad = [frozenset(_facts(run, node)) for run in failed]
    fine = [frozenset(_facts(run, node)) for run in good]
    numbers: dict[str, list[int]] = {}
    for side, those in enumerate((bad, fine)):
        for one in those:
            for what in one:
                numbers.setdefault(what, [0, 0])[side] += 1
    tested = []
    for what, (a, c) in numbers.items():
        if a + c >= _FEWEST:  # by both together: the choice is none of the result's
            tested.append((fisher(a, len(bad), c, len(fine)), what, a, c))
    limit = accepted([one[0] for one in tested], len(tested), _LEVEL)
    found: list[Trait] = []
    seen: set[tuple[int, int]] = set()
    for p, what, a, c in sorted(tested):
        large = bool(bad) and bool(fine) and a / len(bad) >= _LARGER * c / len(fine)
        if p <= limit and large and (a, c) not in seen:
            seen.add((a, c))  # what says the same of the same runs is said once
            found.append(Trait(what, a, len(bad), c, len(fine), p))
    return found[:_MOST]


def _facts(run: Any, node: str | None) -> Iterator[str]:
    yield from _members("inputs", run.get("inputs"), 2)
    metadata = run.get("metadata")
    if isinstance(metadata, dict):
        for tag in metadata.get("tags") or ():
            if text(tag):
                yield f"tag {brief(tag, _LENGTH)}"
        own = {key: metadata[key] for key in metadata if key not in _OURS}
        yield from _members("metadata", own, 1)
        for model in fact(run, "models") or ():
            if text(model):
                yield f"model {brief(model, _LENGTH)}"
    logs = read_logs(run)
    for log in logs:
        yield from _of_log(log, node)
    first = list(dict.fromkeys(log.node for log in logs))
    if node in first:
        way = first[: first.index(node) + 1]
        yield f"path {brief(' → '.join(way), 2 * _LENGTH)}"


def _of_log(log: Log, node: str | None) -> Iterator[str]:
    if log.node != node:
        yield f"node {brief(log.node, _LENGTH)}"
    elif log.step is not None:
        yield f"{brief(log.node, _LENGTH)} at step {log.step}"
    for call in dicts(log.raw.get("calls")):
        if text(call.get("model")):
            yield f"model {brief(call['model'], _LENGTH)}"


def _members(name: str, value: Any, depth: int) -> Iterator[str]:
    """The keys of an object, and its short values."""
    if not isinstance(value, dict):
        return
    for place, (key, member) in enumerate(value.items()):
        if place == _MEMBERS:
            return
        shown = f"{name}.{brief(str(key), _LENGTH)}"
        if isinstance(member, dict):
            yield f"{shown} is there"
            if depth > 1:
                yield from _members(shown, member, depth - 1)
        elif type(member) is str:
            yield f"{shown} is there"
            if len(member) <= _LENGTH:
                yield f"{shown} = {member!r}"
        elif member is None or type(member) is bool or number(member) is not None:
            yield f"{shown} is there"
            yield f"{shown} = {member!r}"
        else:
            yield f"{shown} is there"
