"""Delete old runs. Without --yes, only say how many there are.

Deleting works in short transactions; others read and write meanwhile. A SQLite file
gives the space to later runs and does not shrink.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE, WrongUsageError
from runlog.cli.history import History
from runlog.cli.output import Out, rfc3339, to_json
from runlog.cli.text import safe
from runlog.cli.times import parse_age
from runlog.views.words import count


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of prune."""
    parser.add_argument("--older-than", metavar="AGE", help="30m, 2h, 3d or 1w")
    parser.add_argument(
        "--keep",
        type=options.at_least(0),
        metavar="N",
        help="but the newest N that match",
    )
    parser.add_argument("-s", "--status", metavar="STATUS", help="only this status")
    parser.add_argument("-w", "--workflow", metavar="NAME", help="only this workflow")
    parser.add_argument("--yes", action="store_true", help="delete them")
    options.add_format(parser, fields=False, formats=("table", "json"))


def run(args: Namespace, history: History, out: Out) -> int:
    """Delete runs, or say how many would be deleted."""
    if args.older_than is None and args.keep is None:
        raise WrongUsageError("which runs? Give --older-than AGE, or --keep N")
    filters: dict[str, Any] = {"wpk_id": args.workflow, "status": args.status}
    filters = {name: value for name, value in filters.items() if value is not None}
    before = _limit(args, history, filters)
    if before is None:
        number = 0
    elif args.yes:
        number = history.open().delete_runs(before=before, **filters)
    else:
        number = history.open().count_runs(until=before, **filters).runs
    if number == 0:
        options.check_names(history, filters)
    if args.output == "json":
        limit = None if before is None else rfc3339(before.timestamp())
        out.line(to_json({"runs": number, "deleted": args.yes, "before": limit}))
        return DONE
    verb = "deleted" if args.yes else "would delete"
    when = "" if before is None else f" from before {rfc3339(before.timestamp())}"
    only = "".join(f", {value}" for value in filters.values())
    out.line(safe(f"{verb} {count(number, 'run')}{when}{only}"))
    if number and not args.yes:
        out.note("nothing was deleted: add --yes")
    return DONE


def _limit(args: Namespace, history: History, filters: dict[str, Any]) -> datetime | None:
    """The time before which runs go; None if all stay."""
    limits = []
    if args.older_than is not None:
        limits.append(datetime.now(UTC) - parse_age(args.older_than))
    if args.keep:
        oldest = None
        number = 0
        for row in history.rows(args.keep, **filters):
            oldest, number = row["created_at"], number + 1
        if oldest is None or number < args.keep:
            return None
        limits.append(oldest)
    elif args.keep == 0:
        limits.append(datetime.now(UTC))
    return min(limits)
