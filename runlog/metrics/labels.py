"""Which labels there are: so many, and the same ones for good.

What was counted first keeps its name. The rest is summed up as "other", so the number of
series is bounded, and a series never changes what it means.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from runlog.rollup import Block, Figures, Model

WORKFLOWS: Final = 100
NODES: Final = 50
"""Of each workflow."""
ERROR_TYPES: Final = 30
OTHER: Final = "other"
STATUSES: Final = ("completed", "failed", "interrupted", "cancelled")
"""Those that runlog gives. `log_run` takes any text, which counts as "other"."""
NODE_STATUSES: Final = (*STATUSES, "running")
CALLS: Final = ("llm", "tool")
DETAILS: Final = {
    "input_details.cache_read": "cache_read",
    "input_details.cache_creation": "cache_creation",
    "input_details.audio": "input_audio",
    "output_details.reasoning": "reasoning",
    "output_details.audio": "output_audio",
}
"""Parts of the tokens of a prompt and of an answer."""

_TYPE: Final = re.compile(r"[^\W\d]\w{0,79}(?:\.\w{1,80}){0,4}")
"""A name of a class. A text in its place is no label."""


def bound_workflows(blocks: Iterable[Block]) -> list[Block]:
    """Return the block of each workflow that has its own labels, and the others' sum."""
    ordered = sorted(blocks, key=lambda block: block.number)
    kept = {block.workflow: block for block in ordered[:WORKFLOWS]}
    rest = ordered[WORKFLOWS:]
    if rest:
        sum_ = kept.pop(OTHER, None)
        total = Block(OTHER, rest[0].since)
        for block in [*([sum_] if sum_ else []), *rest]:
            _add(total, block)
        kept[OTHER] = total
    return list(kept.values())


def _add(total: Block, block: Block) -> None:
    """Add what has labels: their nodes are others, too, and paths are not shown."""
    total.run.add(block.run)
    nodes = total.nodes.setdefault(OTHER, Figures())
    for figures in block.nodes.values():
        nodes.add(figures)
    for name, model in block.models.items():
        mine = total.models.setdefault(name, Model())
        mine.calls += model.calls
        mine.tokens.update(model.tokens)


def bound_nodes(nodes: Mapping[str, Figures]) -> Mapping[str, Figures]:
    """Return the figures of the nodes that have labels of their own, and the others' sum.

    Args:
        nodes: in the order in which they were first counted.
    """
    named = [(name, figures) for name, figures in nodes.items() if name != OTHER]
    kept = dict(named[:NODES])
    rest = [figures for _, figures in named[NODES:]]
    if rest or OTHER in nodes:
        total = Figures()
        for figures in [*rest, *([nodes[OTHER]] if OTHER in nodes else [])]:
            total.add(figures)
        kept[OTHER] = total
    return kept


def bound_names(counts: Mapping[str, int], known: Iterable[str]) -> dict[str, int]:
    """Return the numbers of the names that are known, and of all others together."""
    found = {name: counts.get(name, 0) for name in known}
    if more := sum(counts.values()) - sum(found.values()):
        found[OTHER] = found.get(OTHER, 0) + more
    return found


def count_errors(blocks: Iterable[Block]) -> dict[str, int]:
    """Count failed runs by the type of their error, of at most ERROR_TYPES and "other".

    The types that were seen first have labels.
    """
    counts: Counter[str] = Counter()
    first: dict[str, float] = {}
    for block in blocks:
        for failure in block.failures:
            name = error_label(failure.error)
            counts[name] += failure.number
            seen = failure.first.timestamp()
            first[name] = min(first.get(name, seen), seen)
        counts[OTHER] += block.failures_left
    named = sorted(set(first) - {OTHER}, key=lambda name: (first[name], name))
    found = {name: counts[name] for name in named[:ERROR_TYPES]}
    if more := counts.total() - sum(found.values()):
        found[OTHER] = more
    return found


def error_label(error: str) -> str:
    """The label of a type of errors: its name, if it is one."""
    if not error:
        return "unknown"
    return error if _TYPE.fullmatch(error) else OTHER
