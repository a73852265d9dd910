"""Delete old runs. Without --yes, only print their number.

It deletes in short transactions, while other programs read and write. A SQLite file that
runlog has made then shrinks, in the same way.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import datetime
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE, WrongUsageError
from runlog.cli.history import History
from runlog.cli.names import check_names
from runlog.cli.output import Out, rfc3339, to_json
from runlog.cli.progress import Progress
from runlog.cli.space import Space, give_back, rewrite
from runlog.cli.text import safe
from runlog.reading.pruning import limit_of
from runlog.views.words import count, size

_WORTH_MENTION = 1_000_000
"""Bytes that are left free."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of prune."""
    parser.add_argument("--older-than", metavar="AGE", help="30m, 2h, 3d or 1w")
    parser.add_argument(
        "--keep",
        type=options.at_least(0),
        metavar="N",
        help="keep the newest N matching runs",
    )
    parser.add_argument("-s", "--status", metavar="STATUS", help="only this status")
    parser.add_argument("-w", "--workflow", metavar="NAME", help="only this workflow")
    parser.add_argument("--yes", action="store_true", help="delete them")
    parser.add_argument(
        "--vacuum",
        action="store_true",
        help="rewrite the SQLite file, so that an older one can shrink",
    )
    options.add_format(parser, fields=False, formats=("table", "json"))


def run(args: Namespace, history: History, out: Out) -> int:
    """Delete runs, or say how many would be deleted."""
    if args.older_than is None and args.keep is None:
        if not args.vacuum:
            raise WrongUsageError("which runs? Give --older-than AGE, or --keep N")
        return _only_vacuum(args, history, out)
    filters: dict[str, Any] = {"wpk_id": args.workflow, "status": args.status}
    filters = {name: value for name, value in filters.items() if value is not None}
    before = limit_of(
        lambda number: history.rows(number, **filters), args.older_than, args.keep
    )
    space, number, returned = None, 0, 0
    if before is None:
        pass
    elif args.yes:
        number, returned = _delete(history, before, filters)
    else:
        number = history.open().count_runs(until=before, **filters).runs
    if number == 0:
        check_names(history, filters)
    if args.yes:
        space = rewrite(history) if args.vacuum else give_back(history, returned)
    limit = None if before is None else rfc3339(before.timestamp())
    if args.output == "json":
        done = {"runs": number, "deleted": args.yes, "before": limit}
        out.line(to_json(done | _as_json(space)))
        return DONE
    verb = "deleted" if args.yes else "would delete"
    when = "" if limit is None else f" from before {limit}"
    only = "".join(f", {value}" for value in filters.values())
    out.line(safe(f"{verb} {count(number, 'run')}{when}{only}"))
    if number and not args.yes:
        out.note("nothing was deleted: add --yes")
    _say_space(space, number, history, out)
    return DONE


def _delete(
    history: History, before: datetime, filters: dict[str, Any]
) -> tuple[int, int]:
    """Delete runs; return their number, and the bytes that were given back."""
    prune = history.open()._prune  # noqa: SLF001 - delete_runs, with its progress
    with Progress("runs deleted") as progress:
        done: tuple[int, int] = prune(
            lambda so_far: progress.add(so_far - progress.number),
            before=before,
            **filters,
        )
    return done


def _only_vacuum(args: Namespace, history: History, out: Out) -> int:
    space = rewrite(history)
    if args.output == "json":
        out.line(to_json(_as_json(space)))
    else:
        _say_space(space, 0, history, out)
    return DONE


def _as_json(space: Space | None) -> dict[str, int]:
    return {} if space is None else {"returned": space.returned, "free": space.left}


def _say_space(space: Space | None, number: int, history: History, out: Out) -> None:
    """Say how much space came back, or how to get it."""
    if space is None:
        if number and history.place.dsn is not None:
            out.note("the server's autovacuum frees their space for later runs")
        return
    if space.returned:
        out.line(f"gave back {size(space.returned)}")
    if space.left >= _WORTH_MENTION:
        out.note(
            f"{size(space.left)} of the file are free for later runs; "
            "runlog prune --vacuum rewrites the file without them"
        )
