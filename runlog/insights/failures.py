"""Failures that are new, or have come back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from runlog.insights import templates
from runlog.insights.frame import Workflow
from runlog.rollup import Block, Failure

RECURSION: Final = "GraphRecursionError"
"""LangGraph's error of a run that reached its limit of steps: a finding of its own."""


@dataclass(slots=True)
class Kind:
    """Failures that are alike."""

    error: str
    node: str | None
    template: str
    number: int = 0
    """How many runs of the time judged failed so."""
    first: datetime | None = None
    """When the oldest of these was created."""
    before: int = 0
    """How many runs of the week before failed so."""
    earlier: int = 0
    """How many runs before that week."""
    earlier_last: datetime | None = None
    runs: list[str] = field(default_factory=list)
    """The run_ids of the newest of those judged, as far as they are known."""
    texts: set[str] = field(default_factory=set)
    """Messages of it, as the roll-up has them."""

    @property
    def about(self) -> str:
        """Its key, the same at each look."""
        return f"{templates.VERSION}|{self.error}|{self.node or ''}|{self.template}"


def kinds(workflow: Workflow, earlier: Iterable[Block] = ()) -> list[Kind]:
    """Group the failures of a workflow.

    Args:
        workflow: the blocks of the frame.
        earlier: those of the time before the frame.
    """
    parts = [("now", failure) for block in workflow.judged for failure in block.failures]
    parts += [
        ("before", failure) for block in workflow.before for failure in block.failures
    ]
    parts += [("earlier", failure) for block in earlier for failure in block.failures]
    alike: dict[tuple[str, str | None], list[Failure]] = {}
    for _, failure in parts:
        alike.setdefault((failure.error, failure.node), []).append(failure)
    found: dict[tuple[str, str | None, str], Kind] = {}
    names = {
        key: templates.group(one.text for one in group) for key, group in alike.items()
    }
    for when, failure in parts:
        name = names[failure.error, failure.node][failure.text]
        key = failure.error, failure.node, name
        _add(found.setdefault(key, Kind(*key)), when, failure)
    return list(found.values())


def _add(kind: Kind, when: str, failure: Failure) -> None:
    if when == "before":
        kind.before += failure.number
    elif when == "earlier":
        kind.earlier += failure.number
        if kind.earlier_last is None or failure.last > kind.earlier_last:
            kind.earlier_last = failure.last
    else:
        kind.number += failure.number
        kind.runs = [*failure.runs, *kind.runs]
        kind.texts.add(failure.text)
        if kind.first is None or failure.first < kind.first:
            kind.first = failure.first


def unknown(found: Iterable[Kind]) -> list[Kind]:
    """Those that were not there in the week before, the most frequent first."""
    return sorted(
        (
            kind
            for kind in found
            if kind.number and not kind.before and kind.error != RECURSION
        ),
        key=lambda kind: (-kind.number, kind.about),
    )
