"""Send the runs of a SQLite file to PostgreSQL. Run it again to send new runs.

FILE-pushed remembers the runs that were sent, so the next push continues there. Sending a
run twice changes nothing.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from runlog.cli import jsonl
from runlog.cli.errors import WrongUsageError
from runlog.cli.history import History
from runlog.cli.intake import Intake
from runlog.cli.output import Out
from runlog.cli.progress import Progress
from runlog.cli.pushed import Pushed
from runlog.reading import places
from runlog.views.words import count

_EVERY = 1000
_OPEN = ("running", "lost")
"""A run of these changes without being written: its process ends."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of push."""
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="by default RUNLOG_SQLITE_PATH"
    )
    parser.add_argument(
        "--again", action="store_true", help="send all runs, also those sent before"
    )


def run(args: Namespace, history: History, out: Out) -> int:
    """Push runs."""
    source, target = _places(args)
    history.place = target
    places.check(source)
    there = History(source)
    try:
        with (
            Progress("runs pushed") as progress,
            Intake.into(history, progress.add) as intake,
        ):
            pushed = Pushed(source.path, target.shown())
            if args.again or not history.page(1).runs:
                pushed.forget()
            saved = _push(there, intake, pushed)
    finally:
        there.close()
    out.note(f"{count(progress.number, 'run')} to {target.shown()}")
    if not saved:
        out.note(f"{pushed.path} can't be written: the next push sends them all again")
    return intake.say_refused(out)


def _places(args: Namespace) -> tuple[places.Place, places.Place]:
    """Where the runs are, and where they go.

    Raises:
        WrongUsageError: one of them is not named.
    """
    named = places.find(args.db)
    dsn = named.dsn or os.environ.get("POSTGRES_DSN")
    if not dsn:
        raise WrongUsageError(
            "push needs a PostgreSQL: set POSTGRES_DSN, or give --db postgresql://..."
        )
    if args.file is not None and named.dsn is None:
        raise WrongUsageError("push sends one file: give FILE, or --db")
    path = places.file_of(args.file, "FILE") if args.file else named.path
    source = places.Place(path, None, "FILE" if args.file else named.chosen)
    return source, places.Place(places.find().path, dsn, named.chosen)


def _push(there: History, intake: Intake, pushed: Pushed) -> bool:
    """Send what is not sent yet; return whether that could be remembered."""
    if pushed.after is not None:  # and then the runs that began meanwhile
        _push_once(there, intake, pushed)
        pushed.finish()
    _push_once(there, intake, pushed)
    return pushed.finish()


def _push_once(there: History, intake: Intake, pushed: Pushed) -> None:
    get_run = there.open().get_run
    unsaved = 0
    for row in there.rows(after=pushed.after):
        if row["status"] in _OPEN or not pushed.has(row["updated_at"]):
            found = get_run(row["run_id"], row["wpk_id"])
            if found is not None:
                intake.add(jsonl.given(found))
                unsaved += 1
        cursor = jsonl.cursor_of(row) if unsaved >= _EVERY else None
        if cursor is not None:
            intake.finish()
            pushed.reach(cursor)
            unsaved = 0
    intake.finish()
