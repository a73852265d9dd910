"""Compare two runs node by node. Exit with 0 if they are the same, 1 if they differ.

It compares status, errors, inputs and outputs. Times and tokens are only shown.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE, FAULT
from runlog.cli.history import History
from runlog.cli.names import find_run
from runlog.cli.output import Field, Out, write_rows
from runlog.cli.text import safe
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
from runlog.views.logs import Log
from runlog.views.outcome import outcome
from runlog.views.words import brief, count, duration


def _status(log: Log | None) -> str | None:
    return None if log is None else log.status


def _values(name: str, rank: int) -> Field:
    """The field of what differs of the inputs, or of the outputs."""

    def value(pair: Pair) -> list[dict[str, Any]]:
        return [one.as_json() for one in getattr(pair, name)]

    def show(pair: Pair, _: Out) -> str:
        return ", ".join(one.path or "(all)" for one in getattr(pair, name)) or "-"

    return Field(name, value, show, least=10, rank=rank)


_FIELDS = [
    Field("node", lambda one: one.node, least=8),
    Field("parent", lambda one: one.parent, least=6, rank=6),
    Field("same", lambda one: one.same, lambda one, _: "same" if one.same else "differs"),
    Field("one", lambda one: _status(one.one), rank=4),
    Field("other", lambda one: _status(one.other), rank=5),
    Field("ms_one", lambda one: one.one and one.one.duration_ms, right=True, rank=8),
    Field(
        "ms_other", lambda one: one.other and one.other.duration_ms, right=True, rank=9
    ),
    Field(
        "slower_ms",
        slower,
        lambda one, _: _signed(slower(one)),
        right=True,
        rank=3,
        title="slower",
    ),
    Field("tokens_one", lambda one: tokens_of(one.one), right=True, rank=10),
    Field("tokens_other", lambda one: tokens_of(one.other), right=True, rank=11),
    Field("calls_one", lambda one: one.one and len(one.one.calls), right=True, rank=12),
    Field(
        "calls_other", lambda one: one.other and len(one.other.calls), right=True, rank=13
    ),
    _values("inputs", 6),
    _values("values", 2),
]
_SHOWN = ["node", "same", "one", "other", "slower_ms", "inputs", "values"]
_MOST = 40
"""How many nodes a terminal gets."""
_VALUES = 20
"""How many values of a node it gets."""
_DEFAULT = [field.name for field in _FIELDS]


def _signed(ms: float | None) -> str:
    return "-" if ms is None else f"{'+' if ms > 0 else ''}{duration(ms)}"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of diff."""
    parser.add_argument("one", metavar="RUN")
    parser.add_argument("other", metavar="RUN")
    parser.add_argument("-w", "--workflow", metavar="NAME", help="of this workflow")
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """Compare two runs."""
    if options.asks_for_fields(args, out, _FIELDS):
        return DONE
    one = find_run(history, args.one, args.workflow)
    other = find_run(history, args.other, args.workflow)
    found = difference(one, other)
    if args.output == "table" and args.fields is None:
        _show(out, one, other, found)
    else:
        options.write(args, out, _FIELDS, _DEFAULT, found.pairs)
    return DONE if found.same else FAULT


def _show(out: Out, one: Any, other: Any, found: Difference) -> None:
    for sign, side in (("-", one), ("+", other)):
        _line(out, f"{sign} {side['run_id']}  {outcome(side, whole=True)}")
    if not found.same_inputs:
        out.line("the inputs differ")
    if found.same:
        out.line("the runs are the same")
    elif found.first is not None:
        first, before = found.pairs[found.first], same_until(found)
        if before is not None:
            _line(out, f"the same until {before}")
        _line(out, f"first difference: {first.node}")
        _show_values(out, first.values or first.inputs)
    if found.first is None:
        _show_values(out, found.values)
    if found.pairs:
        out.line()
        _show_pairs(out, found.pairs)


def _show_pairs(out: Out, pairs: tuple[Pair, ...]) -> None:
    """Show all pairs; of many, a terminal gets those that differ."""
    fields = [field for field in _FIELDS if field.name in _SHOWN]
    if not out.shortens or len(pairs) <= _MOST:
        write_rows(out, "table", fields, pairs)
        return
    differ = [pair for pair in pairs if not pair.same]
    write_rows(out, "table", fields, differ[:_MOST])
    if len(differ) > _MOST:
        more = len(differ) - _MOST
        out.line(f"and {count(more, 'more node that differs', 'more nodes that differ')}")
    same = len(pairs) - len(differ)
    verb = "is" if same == 1 else "are"
    out.line(f"{same:,} of {count(len(pairs), 'node')} {verb} the same")


def _show_values(out: Out, values: tuple[Value, ...]) -> None:
    shown = values[:_VALUES] if out.shortens else values
    for value in shown:
        _line(out, f"  {value.path or '(all)'}")
        for sign, side in (("-", value.one), ("+", value.other)):
            if side is not ABSENT:
                _line(out, f"    {sign} {brief(side, out.most(500))}")
    if len(shown) < len(values):
        out.line(f"  and {count(len(values) - len(shown), 'more value')}")


def _line(out: Out, text: str) -> None:
    out.line(out.fit(safe(text)))
