"""Count runs for metrics and reports, and print the size of the roll-up.

Other programs record and read meanwhile. If it is interrupted, the next reader continues.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE
from runlog.cli.history import History
from runlog.cli.output import Out, to_json
from runlog.cli.progress import Progress
from runlog.views.words import count, size


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of rollup."""
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="count all runs again; deleted runs stay counted",
    )
    options.add_format(parser, fields=False, formats=("table", "json"))


def run(args: Namespace, history: History, out: Out) -> int:
    """Count what waits."""
    recorder = history.open()
    if args.rebuild:
        recorder._reset_rollup()  # noqa: SLF001 - made for this, as the next
    _fill(recorder)
    blocks, runs, stored = recorder._rollup_size()  # noqa: SLF001
    if args.output == "json":
        out.line(to_json({"blocks": blocks, "runs": runs, "bytes": stored}))
    else:
        out.line(f"{count(blocks, 'block')} of {count(runs, 'run')}, {size(stored)}")
    return DONE


def _fill(recorder: Any) -> None:
    """Wait until all runs are counted."""
    left = recorder._rollup_waiting  # noqa: SLF001 - made for this, as the next
    total = left()
    with Progress("runs counted") as progress:
        while not recorder._fill_rollup():  # noqa: SLF001 - it takes up to a second
            progress.add(max(total - left() - progress.number, 0))
