"""List runs, newest first.

A pipe gets whole ids and times by RFC 3339. The cursor of the next page is on stderr.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE
from runlog.cli.history import History
from runlog.cli.names import short_ids
from runlog.cli.output import Field, Out, number, rfc3339
from runlog.views.lines import Line, line_of
from runlog.views.words import duration

_SEARCHED_RUNS = 5_000
_SEARCHED_ROWS = 100_000
_OF_RUN = {"at", "nodes", "retries", "tokens"}
"""The fields for which the whole run is read."""


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
            least=8,
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
    parser.add_argument("--node", metavar="NAME", help="only runs with this node")
    parser.add_argument(
        "--error", metavar="TEXT", help="only runs with this in their error"
    )
    parser.add_argument(
        "-n", "--limit", type=options.at_least(0), default=20, help="0 for all"
    )
    parser.add_argument("--after", metavar="CURSOR", help="the page after this one")
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """List runs."""
    if options.asks_for_fields(args, out, fields_of({})):
        return DONE
    filters = options.filters_of(args, history)
    wanted = set((args.fields or ",".join(DEFAULT)).replace(" ", "").split(","))
    lines = _Lines(args, history, bool(wanted & _OF_RUN), filters)
    ids: dict[str, str] = {}
    rows: Any = lines
    if args.output == "table":
        rows = list(lines)
        if out.is_terminal:
            ids = short_ids([line.run_id for line in rows])
    number = options.write(args, out, fields_of(ids), DEFAULT, rows)
    if number == 0:
        options.check_names(history, filters)
        out.note("no runs")
    if lines.incomplete:
        out.note(
            f"incomplete: only the newest {lines.searched:,} runs were looked through"
        )
    if lines.more:
        out.note("there may be more: raise --limit")
    if lines.next:
        out.note(f"more: --after {lines.next}")
    return DONE


class _Lines:
    """The lines that fit, and what is known once they were read."""

    def __init__(
        self, args: Namespace, history: History, whole: bool, filters: dict[str, Any]
    ) -> None:
        self._args = args
        self._history = history
        self._whole = whole or args.node is not None
        self._filters = filters
        self.next: str | None = None
        self.incomplete = False
        self.more = False
        """Whether the rows were not looked through to their end."""
        self.searched = 0

    def __iter__(self) -> Iterator[Line]:
        args = self._args
        picky = args.node is not None or args.error is not None
        most = _SEARCHED_RUNS if args.node is not None else _SEARCHED_ROWS
        rows = self._history.rows(
            most if picky else args.limit or None, args.after, **self._filters
        )
        found = 0
        for row in rows:
            self.searched += 1
            line = self._line(row)
            if line is None:
                continue
            yield line
            found += 1
            if picky and found == args.limit:
                self.more = True
                return
        self.next = rows.next
        self.incomplete = picky and rows.next is not None

    def _line(self, row: Any) -> Line | None:
        wanted = self._args.error
        if wanted is not None:
            error = f"{row['error_type'] or ''}: {row['error_text'] or ''}"
            if wanted.lower() not in error.lower():
                return None
        run = self._history.run(row) if self._whole else None
        if self._args.node is not None and not _has_node(run, self._args.node):
            return None
        return line_of(row, run)


def _has_node(run: Any, name: str) -> bool:
    logs = run.get("node_logs")
    return type(logs) is list and any(
        isinstance(log, dict) and log.get("node") == name for log in logs
    )
