"""Show the migrations of a history, or apply the missing ones.

status lists all migrations, plan the missing ones. apply applies these, and also creates
a new history. It applies all or none; but if there are many runs, it builds indexes last,
one by one, while other programs read and write. On a terminal it shows the time so far.
--distributed applies them, too, and then distributes the tables over a Citus cluster.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE, FAULT, AwayError, WrongUsageError
from runlog.cli.history import History
from runlog.cli.output import Field, Out
from runlog.cli.progress import Waiting
from runlog.reading import places
from runlog.views.words import count
from runlog.views.words import size as size_text

_SECONDS = 5.0

_FIELDS = [
    Field("number", lambda one: one["number"], right=True),
    Field("name", lambda one: one["name"], least=10),
    Field("state", lambda one: one["state"]),
]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of migrate."""
    parser.add_argument(
        "what", choices=("status", "plan", "apply"), nargs="?", default="status"
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="distribute the tables over a Citus cluster, by workflow",
    )
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """Show or apply migrations."""
    if options.asks_for_fields(args, out, _FIELDS):
        return DONE
    if args.distributed:
        _distribute(args, history, out)
    rows = _states(history, args.what == "apply")
    bad = [row for row in rows if row["state"] in ("changed", "newer")]
    waiting = [row for row in rows if row["state"] == "pending"]
    if args.what != "status" and not bad:
        _tell_what_takes_long(history.place, {row["number"] for row in waiting}, out)
    if args.what == "apply" and waiting and not bad:
        recorder = history.open(create=True)
        with Waiting(f"applying {count(len(waiting), 'migration')}"):
            recorder._build_indexes()  # noqa: SLF001 - made for this
        rows = _states(history, False)
        out.note(f"applied {count(len(waiting), 'migration')} to {history.place.shown()}")
    if args.what != "status":
        rows = [
            row for row in rows if row["number"] in {one["number"] for one in waiting}
        ]
        if not waiting:
            out.note("nothing to apply")
    options.write(args, out, _FIELDS, ["number", "name", "state"], rows)
    for row in bad:
        fix = {
            "newer": "this history was made by a newer runlog: update runlog",
            "changed": "its file has changed since it was applied: restore the file",
        }[row["state"]]
        out.note(f"migration {row['number']}: {fix}")
    return FAULT if bad else DONE


def _tell_what_takes_long(place: places.Place, waiting: set[int], out: Out) -> None:
    """Say how much is read for indexes of many runs."""
    indexes = sum(
        built for number, built in places.later(place.kind).items() if number in waiting
    )
    if not indexes or not places.is_large(place):
        return
    size = (
        places.file_size(place.path) or 0
        if place.dsn is None
        else places.look(place.dsn)["database"]["bytes"] or 0
    )
    out.note(
        f"{count(indexes, 'index', 'indexes')} will be built while others read and "
        f"write. Each reads the runs, {size_text(size)}: from a disk of 200 MB/s "
        f"that takes about {indexes * size / 2e8:,.0f} s"
    )


def _distribute(args: Namespace, history: History, out: Out) -> None:
    """Lay the tables out, or say why that can't be."""
    from runlog import StoreError, _runlog

    place = history.place
    if place.dsn is None:
        raise WrongUsageError(
            f"{place.shown()} is a SQLite file: --distributed is for Citus"
        )
    if args.what == "plan":
        raise WrongUsageError("--distributed is for apply, and can't be planned")
    try:
        with Waiting("copying the runs to the servers of the cluster"):
            changed = _runlog.distribute_postgres(place.dsn, _SECONDS)
    except StoreError as error:
        raise AwayError(" ".join(str(error).split())) from None
    since = "now" if changed else "already"
    out.note(f"the tables of {place.shown()} are {since} distributed over the cluster")


def _states(history: History, create: bool) -> list[dict[str, Any]]:
    place = history.place
    try:
        there = dict(places.applied(place) or [])
    except AwayError:
        if not create or place.dsn is not None or places.is_there(place.path):
            raise
        there = {}
    if there == {} and places.is_there(place.path) and places.is_of_others(place):
        raise AwayError(f"{place.shown()} is no history: it has another program's tables")
    rows = []
    for number, name, checksum in places.known(place.kind):
        state = "pending" if number not in there else "applied"
        if there.get(number, checksum) != checksum:
            state = "changed"
        rows.append({"number": number, "name": name, "state": state})
    rows += [
        {"number": number, "name": "?", "state": "newer"}
        for number in sorted(there)
        if number > len(rows)
    ]
    return rows
