"""Read runs from an export. A run that exists already is merged as by log_run."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runlog.cli import jsonl
from runlog.cli.errors import WrongUsageError
from runlog.cli.history import History
from runlog.cli.intake import Intake
from runlog.cli.output import Out
from runlog.cli.progress import Progress
from runlog.reading.places import check_name
from runlog.views.words import count


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of import."""
    parser.add_argument("file", metavar="FILE", help="lines of JSON; - for stdin")


def run(args: Namespace, history: History, out: Out) -> int:
    """Import runs."""
    with (
        _open(args.file) as stream,
        Progress("runs imported") as progress,
        Intake.into(history, progress.add) as intake,
    ):
        try:
            for number, line in jsonl.lines(stream):
                _add(intake, number, line)
            intake.finish()
        except (ValueError, OSError) as error:
            intake.finish()
            said = error.strerror if isinstance(error, OSError) else error
            verb = "is" if progress.number == 1 else "are"
            kept = f"the {count(progress.number, 'run')} before it {verb} kept"
            raise WrongUsageError(f"{args.file}: {said}; {kept}") from None
    out.note(count(progress.number, "run"))
    return intake.say_refused(out)


def _add(intake: Intake, number: int, line: bytes) -> None:
    try:
        intake.add(jsonl.decode(line))
    except ValueError as error:  # also a ValidationError
        raise ValueError(f"line {number} {error}") from None


@contextmanager
def _open(name: str) -> Iterator[Any]:
    if name == "-":
        yield sys.stdin.buffer
        return
    check_name(name, "FILE")
    try:
        file = open(name, "rb")  # noqa: SIM115 - only opening is a wrong argument
    except OSError as error:
        raise WrongUsageError(f"{name} can't be read: {error.strerror}") from None
    with file:
        yield file
