"""Check the set-up, and suggest a fix for each fault. Exit with 1 if there is a fault."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from runlog.cli import options
from runlog.cli.errors import AWAY, DONE, FAULT
from runlog.cli.history import History
from runlog.cli.output import Field, Out
from runlog.cli.progress import Waiting
from runlog.cli.text import safe
from runlog.reading.checks import Check, checks_of

_COLOURS = {"ok": "completed", "note": "interrupted", "fault": "failed"}
_FIELDS = [
    Field("check", lambda one: one.what),
    Field("state", lambda one: one.state, status=lambda one: _COLOURS[one.state]),
    Field("found", lambda one: one.said),
    Field("fix", lambda one: one.fix),
]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of doctor."""
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """Look for faults."""
    if options.asks_for_fields(args, out, _FIELDS):
        return DONE
    plain = args.output == "table" and args.fields is None
    checks = []
    for one in _in_turn(history):
        checks.append(one)
        if plain:  # at once: the next one may wait for a server or a lock
            state = out.style(f"{one.state:5}", _COLOURS[one.state])
            out.line(f"{state}  {one.what:10}  {safe(one.said)}")
            if one.fix:
                out.line(f"{'':17}  -> {safe(one.fix)}")
            out.flush()
    if not plain:
        options.write(args, out, _FIELDS, ["check", "state", "found", "fix"], checks)
    if any(one.away for one in checks):
        return AWAY
    return FAULT if any(one.state == "fault" for one in checks) else DONE


def _in_turn(history: History) -> Iterator[Check]:
    """Yield what was looked at; a terminal shows when the next one takes long."""
    checks = checks_of(history.place, history.open)
    one: Check | None
    while True:
        with Waiting("checking"):
            one = next(checks, None)
        if one is None:
            return
        yield one
