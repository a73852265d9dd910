"""Write whole runs as lines of JSON, newest first.

The cursor of the older runs is on stderr. RUN --format chrome writes the trace of one
run, for Perfetto or chrome://tracing; --otlp URL sends runs to a receiver of traces.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain, islice
from typing import Any

from runlog.cli import jsonl, options
from runlog.cli.errors import DONE, FAULT, CommandError, WrongUsageError
from runlog.cli.history import History
from runlog.cli.names import check_names
from runlog.cli.output import Out
from runlog.cli.progress import Progress
from runlog.cli.stopping import Stopping
from runlog.reading import places
from runlog.views.words import count

FORMATS = ("jsonl", "parquet", "chrome")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of export."""
    parser.add_argument("run_name", metavar="RUN", nargs="?", help="only this run")
    options.add_filters(parser)
    parser.add_argument(
        "-n", "--limit", type=options.at_least(0), default=0, help="how many; 0 for all"
    )
    parser.add_argument("--after", metavar="CURSOR", help="continue after this cursor")
    parser.add_argument("-o", "--format", choices=FORMATS, default="jsonl")
    parser.add_argument(
        "--to", metavar="FILE", help="the file to write; with --after, to append to"
    )
    parser.add_argument(
        "--otlp", metavar="URL", help="send spans there, such as http://localhost:4318"
    )
    parser.add_argument(
        "--header",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        help="for --otlp, besides OTEL_EXPORTER_OTLP_HEADERS",
    )


def run(args: Namespace, history: History, out: Out) -> int:
    """Export runs."""
    _check(args)
    if args.to is not None:
        _check_file(args, history.place)
    if args.otlp is not None:
        return _send(args, history, out)
    if args.format == "chrome":
        return _write_trace(args, history, out)
    if args.format == "parquet":
        from runlog.cli.parquet import writer

        write = writer()
        chosen = Chosen(args, history)
        with Stopping() as stopping:
            write(chosen.until(stopping), args.to)
        return chosen.end(stopping, out)
    chosen = Chosen(args, history)
    mode = "w" if args.after is None else "a"
    with Stopping() as stopping:
        runs = chosen.until(stopping)
        with nullcontext(out) if args.to is None else _open(args.to, mode) as file:
            for one in runs:
                for piece in jsonl.encode(one):
                    file.write(piece)
                file.write("\n")
            file.flush()
    return chosen.end(stopping, out)


def _check(args: Namespace) -> None:
    """Refuse arguments that do not go together.

    Raises:
        WrongUsageError: there are some.
    """
    if args.header and args.otlp is None:
        raise WrongUsageError("--header needs --otlp URL")
    if args.otlp is not None and (args.format != "jsonl" or args.to is not None):
        raise WrongUsageError("--otlp writes no file: leave --format and --to out")
    if args.format == "chrome" and args.run_name is None:
        raise WrongUsageError("--format chrome writes one run: name it, or write -")
    if args.format == "parquet" and args.to is None:
        raise WrongUsageError("--format parquet needs --to FILE")
    for name in ("after", "status", "thread", "since", "until"):
        if args.run_name is not None and getattr(args, name) is not None:
            raise WrongUsageError(f"--{name} is for many runs, and RUN is one")


def _check_file(args: Namespace, place: places.Place) -> None:
    """Refuse a file that would lose what it has, and an address.

    Raises:
        WrongUsageError: it is one.
    """
    places.check_name(args.to, "--to")
    if places.is_part(place.path, args.to):
        raise WrongUsageError(f"{args.to} is a file of the history: name another one")
    if args.format != "parquet" or not os.path.exists(args.to):
        return
    if not os.path.isfile(args.to):
        raise WrongUsageError(f"{args.to} is no regular file: name another for Parquet")
    if args.after is not None:
        raise WrongUsageError(
            f"{args.to} exists, and a Parquet file can't be appended to: name a new file"
        )


class Chosen:
    """The runs that the arguments choose, newest first, and the cursor after the last."""

    def __init__(self, args: Namespace, history: History) -> None:
        self._args = args
        self._history = history
        self._filters = options.filters_of(args, history)
        self.cursor: str | None = args.after
        """The cursor after the last run that was taken."""
        self.number = 0

    def until(self, stopping: Stopping) -> Iterator[Any]:
        """Return the runs, until Ctrl-C.

        The first one is read at once, so that what is wrong is known before the caller
        opens a file.

        Raises:
            WrongUsageError: there is no run, as a name is wrong.
            AwayError: the history can't be read.
        """
        found = self._found()
        first = list(islice(found, 1))
        if not first:
            check_names(self._history, self._filters)
        return self._counted(chain(first, found), stopping)

    def _counted(self, found: Iterator[Any], stopping: Stopping) -> Iterator[Any]:
        with Progress("runs exported") as progress:
            for one in found:
                yield one
                self.cursor = jsonl.cursor_of(one) or self.cursor
                self.number += 1
                progress.add()
                if stopping.asked:
                    return

    def _found(self) -> Iterator[Any]:
        args = self._args
        if args.run_name is None:
            most = args.limit or None
            yield from self._history.whole(most, args.after, **self._filters)
            return
        from runlog.cli.names import find_run

        yield find_run(self._history, args.run_name, args.workflow)

    def end(self, stopping: Stopping, out: Out) -> int:
        """Say how many there were and where to go on; return the exit code.

        Raises:
            KeyboardInterrupt: Ctrl-C ended it.
        """
        out.flush()
        if self._args.run_name is None:
            if self.cursor is None:
                out.note("no runs")
            else:
                out.note(f"{count(self.number, 'run')}; go on with --after {self.cursor}")
        if stopping.asked:
            raise KeyboardInterrupt
        return DONE


def _open(name: str, mode: str) -> Any:
    try:
        return open(name, mode, encoding="ascii")
    except OSError as error:
        raise WrongUsageError(f"{name} can't be written: {error.strerror}") from None


def _write_trace(args: Namespace, history: History, out: Out) -> int:
    from runlog.cli.names import find_run
    from runlog.views.trace import trace_of

    text = jsonl.text_of(trace_of(find_run(history, args.run_name, args.workflow)))
    with nullcontext(out) if args.to is None else _open(args.to, "w") as file:
        file.write(text + "\n")
    return DONE


def _send(args: Namespace, history: History, out: Out) -> int:
    from runlog.cli.otlp import Sender, address, headers

    sender = Sender(address(args.otlp), headers(args.header))
    chosen = Chosen(args, history)
    try:
        with Stopping() as stopping:
            for one in chosen.until(stopping):
                sender.add(one, jsonl.cursor_of(one))
            sender.finish()
    except (CommandError, KeyboardInterrupt):
        if sender.cursor is not None:
            out.note(f"{count(sender.sent, 'span')}; go on with --after {sender.cursor}")
        raise
    code = chosen.end(stopping, out)
    if sender.rejected:
        why = f": {sender.said}" if sender.said else ""
        out.note(f"the receiver rejected {count(sender.rejected, 'span')}{why}")
        return FAULT
    return code
