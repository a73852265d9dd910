"""Options that several commands have."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from runlog.cli.history import History
from runlog.cli.names import STATUSES, find_run
from runlog.cli.output import FORMATS, Field, Out, write_rows
from runlog.cli.output import choose as choose_fields
from runlog.reading.times import parse_time

_DAY = 86_400


def at_least(least: int, most: int = 2**31 - 1) -> Any:
    """A type of argparse: whole numbers from so many on, up to so many."""

    def whole(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no whole number") from None
        if number < least:
            raise ArgumentTypeError(f"must be at least {least}, not {text}")
        if number > most:
            raise ArgumentTypeError(f"must be at most {most}, not {text}")
        return number

    return whole


def seconds(text: str) -> float:
    """A type of argparse: seconds, up to a day."""
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0 <= number <= _DAY:  # neither is nan
        raise ArgumentTypeError(f"must be from 0 to {_DAY:,} seconds, not {text}")
    return number


def add_format(
    parser: ArgumentParser, fields: bool = True, formats: tuple[str, ...] = FORMATS
) -> None:
    """Add -o and --json, and --fields."""
    parser.add_argument(
        "-o", "--output", choices=formats, default="table", help="the format"
    )
    name = "json" if "json" in formats else "jsonl"
    parser.add_argument(
        "--json", dest="output", action="store_const", const=name, help=f"-o {name}"
    )
    if fields:
        parser.add_argument("--fields", metavar="A,B", help="the fields; ? lists them")


def add_filters(parser: ArgumentParser) -> None:
    """Add --workflow, --status, --thread, --since and --until."""
    parser.add_argument("-w", "--workflow", metavar="NAME", help="only this workflow")
    parser.add_argument(
        "-s",
        "--status",
        type=_statuses,
        metavar="STATUS",
        help=f"only {', '.join(STATUSES)}, or your own; separate several by commas",
    )
    parser.add_argument("--thread", metavar="ID", help="only this thread")
    add_times(parser)


def add_searches(parser: ArgumentParser) -> None:
    """Add --node and --error."""
    parser.add_argument("--node", metavar="NAME", help="only runs with this node")
    parser.add_argument(
        "--error", metavar="TEXT", help="only runs with this text in their error"
    )


def _statuses(text: str) -> str | list[str]:
    """A type of argparse: a status, or several with commas between them."""
    found = [one.strip() for one in text.split(",") if one.strip()]
    return found if len(found) > 1 else text


def add_times(parser: ArgumentParser, until: bool = True) -> None:
    """Add --since, and --until."""
    parser.add_argument(
        "--since", metavar="TIME", help="only runs from TIME on: 2h, 3d, ISO or a run"
    )
    if until:
        parser.add_argument("--until", metavar="TIME", help="only runs before TIME")


def filters_of(args: Namespace, history: History) -> dict[str, Any]:
    """Return the filters of `list_runs` that the arguments give."""

    def run_time(name: str) -> Any:
        return find_run(history, name)["created_at"]

    def time_of(text: str | None) -> Any:
        return None if text is None else parse_time(text, run_time)

    found = {
        "wpk_id": args.workflow,
        "status": getattr(args, "status", None),
        "thread_id": getattr(args, "thread", None),
        "node": getattr(args, "node", None),
        "error": getattr(args, "error", None),
        "since": time_of(args.since),
        "until": time_of(getattr(args, "until", None)),
    }
    return {name: value for name, value in found.items() if value is not None}


def write(
    args: Namespace, out: Out, fields: list[Field], default: list[str], rows: Any
) -> int:
    """Write rows in the format that was asked for; return their number."""
    return write_rows(out, args.output, choose_fields(fields, args.fields, default), rows)


def asks_for_fields(args: Namespace, out: Out, fields: list[Field]) -> bool:
    """Whether --fields ? was given: then the fields are listed. Unknown ones raise."""
    if args.fields != "?":
        choose_fields(fields, args.fields, [])
        return False
    for field in fields:
        out.line(field.name)
    return True
