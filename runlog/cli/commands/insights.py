"""Report what got worse, since when, and which runs show it.

It compares the last 12 to 16 hours with the week before; --since starts at another time.
It sends nothing anywhere, and uses no model.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE, FAULT
from runlog.cli.history import History
from runlog.cli.names import check_names
from runlog.cli.output import Out, to_json
from runlog.cli.text import safe
from runlog.views.commands import command
from runlog.views.words import count

_WAIT = 60


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of insights."""
    parser.add_argument("workflow", metavar="WORKFLOW", nargs="?")
    options.add_times(parser, until=False)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--exit-status", action="store_true", help="exit with 1 if there is a finding"
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=options.at_least(0),
        default=_WAIT,
        help="how long to wait for new runs to be counted",
    )


def run(args: Namespace, history: History, out: Out) -> int:
    """Look for what got worse."""
    report = read(args, history)
    if args.json:
        out.line(to_json(report.as_json(), 2))
    else:
        for one in report.findings:
            _show(out, one)
        out.line(f"{_found(report)} in {count(report.checked, 'run')}.")
    for note in report.notes:
        out.note(note)
    return FAULT if args.exit_status and report.findings else DONE


def read(args: Namespace, history: History) -> Any:
    """Make the report that the arguments ask for.

    Raises:
        WrongUsageError: there is no such workflow, or the time is none.
    """
    from runlog.insights import insights

    filters = options.filters_of(
        Namespace(workflow=args.workflow, since=args.since), history
    )
    check_names(history, {key: filters[key] for key in filters if key != "since"})
    recorder = history.open()
    return insights(
        args.workflow, filters.get("since"), recorder=recorder, wait=float(args.wait)
    )


def _found(report: Any) -> str:
    number = len(report.findings)
    return count(number, "finding") if number else "Nothing found"


def _show(out: Out, one: Any) -> None:
    name = f"{one.kind}  {one.workflow}" + (f"  {one.node}" if one.node else "")
    out.line(out.style(safe(name), "failed"))
    out.line(f"  {safe(one.text)}")
    if one.spark:
        out.line(f"  [{one.line}]")
    out.line(f"  {safe(one.test)}")
    if one.runs:
        out.line(f"  runs: {safe(' '.join(one.runs))}")
    if one.runs and one.good:
        line = command("diff", one.workflow, one.good, one.runs[0])
        if line is not None:
            out.line(f"  {line}")
    out.line()
