"""Make the index of words anew, and queue the runs that have no vector.

Others record and search meanwhile; until the end a search may miss runs. If it is ended
early, whoever records next goes on, or "reindex --missing".
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE, WrongUsageError
from runlog.cli.history import History
from runlog.cli.output import Out, to_json
from runlog.cli.progress import Progress
from runlog.views.words import count


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of reindex."""
    parser.add_argument(
        "what",
        choices=("words", "meaning"),
        nargs="?",
        help="one of the two; by default what this environment turns on",
    )
    parser.add_argument(
        "--missing",
        action="store_true",
        help="keep the words that are indexed, and add what is missing",
    )
    options.add_format(parser, fields=False, formats=("table", "json"))


def run(args: Namespace, history: History, out: Out) -> int:
    """Make the indexes anew."""
    given = os.environ.get("RUNLOG_WORDS") or None
    embeds = bool(os.environ.get("OPENAI_KEY"))
    if args.what == "words" and given == "0":
        raise WrongUsageError("RUNLOG_WORDS is 0, which turns the index of words off")
    if args.what == "meaning" and not embeds:
        raise WrongUsageError("OPENAI_KEY is not set: nothing would embed the runs")
    words = args.what != "meaning" and given != "0"
    meaning = args.what != "words" and embeds
    recorder = history.open(search=meaning, words=(given or True) if words else False)
    done: dict[str, int] = {}
    if words:
        done["words"] = _index_words(recorder, given, args.missing)
    if args.output == "json":
        out.line(to_json(done))
    elif words:
        out.line(f"indexed the words of {count(done['words'], 'run')}")
    return DONE


def _index_words(recorder: Any, mode: str | None, missing: bool) -> int:
    """Fill the index; return how many runs that were.

    Args:
        recorder: one that fills the index.
        mode: what a new index is made of; None for what the one before was made of.
        missing: keep what is there.
    """
    if not missing:
        recorder._reset_words(mode)  # noqa: SLF001 - made for this, as the next
    left = recorder._words_waiting  # noqa: SLF001
    total = left()
    with Progress("runs indexed") as progress:
        while not recorder._fill_words():  # noqa: SLF001 - it takes up to a second
            progress.add(max(total - left() - progress.number, 0))
    return max(total - left(), 0)
