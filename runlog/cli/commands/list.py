"""List runs, newest first.

A pipe gets whole ids, and times by RFC 3339. The cursor of the next page is on stderr.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE
from runlog.cli.history import History
from runlog.cli.names import check_names, least_width, short_ids
from runlog.cli.output import Field, Out, number, rfc3339
from runlog.views.lines import Line
from runlog.views.words import duration

_SEARCHES = 8
"""How many pages are searched for --node or --error."""
_TOTALS = {"at", "nodes", "retries", "tokens"}
"""The fields for which a run without totals is read whole."""


def fields_of(ids: dict[str, str]) -> list[Field]:
    """The fields of a run.

    Args:
        ids: short ids for people.
    """
    return [
        Field("status", lambda one: one.status, status=lambda one: one.status),
        Field(
            "run",
            lambda one: one.run_id,
            lambda one, _: ids.get(one.run_id, one.run_id),
            least=least_width(ids),
        ),
        Field("workflow", lambda one: one.workflow, least=6, rank=4),
        Field("at", lambda one: one.at, least=6, rank=5),
        Field("nodes", lambda one: one.nodes, right=True, rank=7),
        number("retries", lambda one: one.retries, _few, rank=8),
        number(
            "duration_ms", lambda one: one.duration_ms, duration, rank=2, title="time"
        ),
        number("tokens", lambda one: one.tokens, _few, rank=6),
        Field("when", _when, lambda one, out: out.when(one.began), rank=1),
        Field("thread", lambda one: one.thread, least=6, rank=3),
        Field("error", lambda one: one.error, least=6, rank=3),
        Field("error_text", lambda one: one.error_text, least=10, rank=9),
    ]


DEFAULT = [
    "status",
    "run",
    "workflow",
    "at",
    "nodes",
    "retries",
    "duration_ms",
    "tokens",
    "when",
]


def _when(line: Line) -> str | None:
    return None if line.began is None else rfc3339(line.began)


def _few(number: int | None) -> str:
    return f"{number:,}" if number else "-"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of list."""
    options.add_filters(parser)
    options.add_searches(parser)
    parser.add_argument(
        "-n", "--limit", type=options.at_least(0), default=20, help="how many; 0 for all"
    )
    parser.add_argument("--after", metavar="CURSOR", help="the page after this cursor")
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """List runs."""
    if options.asks_for_fields(args, out, fields_of({})):
        return DONE
    filters = options.filters_of(args, history)
    wanted = set((args.fields or ",".join(DEFAULT)).replace(" ", "").split(","))
    found = history.rows(args.limit or None, args.after, searches=_SEARCHES, **filters)
    lines = (history.line(row, bool(wanted & _TOTALS)) for row in found)
    ids: dict[str, str] = {}
    rows: Any = lines
    if args.output == "table":
        rows = list(lines)
        if out.is_terminal:
            ids = short_ids([line.run_id for line in rows])
    number = options.write(args, out, fields_of(ids), DEFAULT, rows)
    if number == 0:
        check_names(history, filters)
        out.note("no runs" if found.complete else "no runs so far")
    if not found.complete and found.next:
        out.note(f"incomplete: nothing older than {found.next[:19]}Z was looked through")
    if found.next:
        out.note(f"more: --after {found.next}")
    return DONE
