"""Group failures by their type, the node and the message without numbers and ids."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE
from runlog.cli.history import History
from runlog.cli.names import check_names, least_width, short_ids
from runlog.cli.output import Field, Out, rfc3339
from runlog.views.errors import group
from runlog.views.words import count


def _fields(ids: dict[str, str]) -> list[Field]:
    return [
        Field("count", lambda one: one.number, right=True),
        Field("error", lambda one: one.error, least=10),
        Field("node", lambda one: one.node, least=6, rank=3),
        Field("message", lambda one: one.template, least=12, rank=5),
        Field(
            "newest",
            lambda one: one.newest,
            lambda one, _: ids.get(one.newest, one.newest),
            least=least_width(ids),
        ),
        Field(
            "last",
            lambda one: _time(one.last),
            lambda one, out: out.when(one.last),
            rank=4,
        ),
        Field(
            "first",
            lambda one: _time(one.first),
            lambda one, out: out.when(one.first),
            rank=6,
        ),
        Field(
            "workflows",
            lambda one: list(one.workflows),
            lambda one, _: ", ".join(one.workflows),
            least=8,
            rank=7,
        ),
    ]


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of errors."""
    parser.add_argument("-w", "--workflow", metavar="NAME", help="only this workflow")
    parser.add_argument("--thread", metavar="ID", help="only this thread")
    options.add_times(parser)
    parser.add_argument(
        "-n",
        "--limit",
        type=options.at_least(0),
        default=1000,
        help="how many runs to read",
    )
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """Group failures."""
    if options.asks_for_fields(args, out, _fields({})):
        return DONE
    filters = options.filters_of(args, history)
    read = _Read()
    groups = group(read.runs(history, args.limit or None, filters))
    ids = short_ids([one.newest for one in groups]) if out.is_terminal else {}
    fields = _fields(ids)
    default = [field.name for field in fields if field.name != "workflows"]
    if args.output != "table":
        default.append("workflows")
    if not options.write(args, out, fields, default, groups):
        check_names(history, filters)
        out.note("no failures")
    for status in read.more:
        verb = "was" if args.limit == 1 else "were"
        newest = count(args.limit, f"{status} run")
        out.note(f"incomplete: only the newest {newest} {verb} read")
    return DONE


class _Read:
    """The runs that failed or are lost, and of which there were more."""

    def __init__(self) -> None:
        self.more: list[str] = []

    def runs(
        self, history: History, most: int | None, filters: dict[str, Any]
    ) -> Iterator[Any]:
        """Yield the runs, the newest of each status first."""
        for status in ("failed", "lost"):
            rows = history.rows(most, **filters, status=status)
            yield from map(history.listed, rows)
            if rows.next is not None:
                self.more.append(status)
