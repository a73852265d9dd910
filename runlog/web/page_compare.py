"""The page that compares two runs: where they part, first."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.views.difference import (
    ABSENT,
    Difference,
    Pair,
    Value,
    difference,
    same_until,
    slower,
    tokens_of,
)
from runlog.views.outcome import outcome
from runlog.views.wording import Piece, compare, size
from runlog.views.words import brief
from runlog.web.address import Asked
from runlog.web.errors import UnknownError
from runlog.web.page_run import Whole, asked_run, read_run
from runlog.web.source import Source

_LONG = 8_192
_FIRST, _EACH = 20, 5
"""How many values are shown of where the runs part, and of each node."""
_WORDS = 20_000
"""How many words of a page are compared: that takes time by the square of a text's."""


class Shown(NamedTuple):
    """A value that differs, as a page shows it."""

    path: str
    one: str | None
    """None if only the other run has it."""
    other: str | None
    pieces: list[Piece]
    """Word by word, if both are texts and there are not too many of them."""


class Shower:
    """Shows the values of one page. Word by word, as long as they are few words."""

    def __init__(self) -> None:
        self._left = _WORDS

    def show(self, value: Value) -> Shown:
        """Show a value."""
        pieces: list[Piece] = []
        if type(value.one) is str and type(value.other) is str:
            one, other = value.one[:_LONG], value.other[:_LONG]
            words = size(one, other)
            if words <= self._left:
                self._left -= words
                pieces = compare(one, other)
        sides = [None if side is ABSENT else brief(side, 400) for side in value[1:]]
        return Shown(value.path or "(all)", sides[0], sides[1], pieces)


class Folded(NamedTuple):
    """Pairs that follow one another and did the same, or one that did not."""

    pair: Pair | None
    same: int
    slower_ms: float | None
    more_tokens: int | None
    values: list[Shown]
    more: int
    """How many values are left out."""


def read_two(source: Source, asked: Asked) -> tuple[Whole, Whole]:
    """Read the runs that an address names.

    Raises:
        UnknownError: there is no such run, or no good one to compare with.
    """
    one = asked_run(source, asked)
    if asked.get("with") is not None:
        asked.choose("with", ("good",), "good")
        return one, _good(source, one)
    workflow = asked.get("other_workflow") or asked["workflow"]
    return one, read_run(source, workflow, asked["other"])


def _good(source: Source, one: Whole) -> Whole:
    """The newest run of the workflow that completed, but for this one."""
    workflow = one.run["wpk_id"]
    rows = source.open().list_runs(limit=2, wpk_id=workflow, status="completed").runs
    for row in rows:
        if row["run_id"] != one.run["run_id"]:
            return read_run(source, workflow, row["run_id"])
    raise UnknownError(f"No other run of {workflow!r} has completed yet.")


def compared(source: Source, asked: Asked) -> dict[str, Any]:
    """Read what the page shows."""
    one, other = read_two(source, asked)
    found = difference(one.run, other.run, _FIRST)
    first = None if found.first is None else found.pairs[found.first]
    shower = Shower()
    if first is None:
        values, more = found.values, found.values_left
    elif first.values:
        values, more = first.values, first.values_left
    else:
        values, more = first.inputs, first.inputs_left
    return {
        "sides": [
            {"letter": letter, "run": side.run, "sentence": outcome(side.run, side.logs)}
            for letter, side in (("A", one), ("B", other))
        ],
        "found": found,
        "until": same_until(found),
        "first": first,
        "values": [shower.show(one) for one in values],
        "more": more,
        "rows": list(fold(found, shower)),
    }


def fold(found: Difference, shower: Shower) -> list[Folded]:
    """The pairs of a comparison; neighbours that did the same are one row."""
    rows: list[Folded] = []
    for pair in found.pairs:
        if pair.did_same and rows and rows[-1].pair is None:
            rows[-1] = rows[-1]._replace(same=rows[-1].same + 1)
        elif pair.did_same:
            rows.append(Folded(None, 1, None, None, [], 0))
        else:
            left, right = tokens_of(pair.one), tokens_of(pair.other)
            more = None if left is None or right is None else right - left
            shown = [shower.show(value) for value in pair.values[:_EACH]]
            left_out = len(pair.values[_EACH:]) + pair.values_left
            rows.append(Folded(pair, 0, slower(pair), more, shown, left_out))
    return rows
