"""Rebuild the index of words, and queue the runs that have no vector.

Other programs record and search meanwhile; until the end a search may miss runs. If it is
interrupted, the next process that records continues, or "reindex --missing".
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from typing import Any

from runlog._runlog import read_switch
from runlog.cli import options
from runlog.cli.errors import DONE, FAULT, WrongUsageError
from runlog.cli.history import History
from runlog.cli.output import Out, to_json
from runlog.cli.progress import Progress, Waiting
from runlog.views.words import count

_STEP = 0.2
"""Seconds after which the progress is shown."""
_PATIENCE = 10.0
"""Seconds without progress after which an error of the embedding server counts, or
transactions that are open elsewhere."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of reindex."""
    parser.add_argument(
        "what",
        choices=("words", "meaning"),
        nargs="?",
        help="one of the two; by default those that the environment turns on",
    )
    parser.add_argument(
        "--missing",
        action="store_true",
        help="keep the index, and add missing runs",
    )
    options.add_format(parser, fields=False, formats=("table", "json"))


def run(args: Namespace, history: History, out: Out) -> int:
    """Rebuild the indexes."""
    given = os.environ.get("RUNLOG_WORDS") or None
    is_off = read_switch(given) is False
    embeds = bool(os.environ.get("OPENAI_KEY"))
    if args.what == "words" and is_off:
        raise WrongUsageError("RUNLOG_WORDS turns the index of words off")
    if args.what == "meaning" and not embeds:
        raise WrongUsageError("OPENAI_KEY is not set, and embedding runs needs it")
    words = args.what != "meaning" and not is_off
    meaning = args.what != "words" and embeds
    recorder = history.open(search=meaning, words=(given or True) if words else False)
    done: dict[str, int] = {}
    left = held = 0
    if words:
        done["words"] = _index_words(recorder, given, args.missing)
        if history.place.dsn is not None:
            held = _wait_for_transactions(recorder)
        done["held"] = held
    if meaning:
        done["queued"] = recorder._queue_meaning()  # noqa: SLF001 - made for this
        left = _embed(recorder)
        done["waiting"] = left
    if args.output == "json":
        out.line(to_json(done))
    else:
        _say(done, out)
    if left:
        why = recorder.stats()["embedding_error"]
        out.note(
            f"{count(left, 'run waits', 'runs wait')} for the embedding server: {why}"
        )
    if held:
        out.note(
            f"{count(held, 'run')} can't be indexed before the open transactions of the "
            "server have ended (see pg_stat_activity); then the next process that "
            "records indexes them, or reindex --missing"
        )
    return FAULT if left or held else DONE


def _say(done: dict[str, int], out: Out) -> None:
    if "words" in done:
        out.line(f"indexed the words of {count(done['words'], 'run')}")
    if "queued" in done:
        out.line(f"queued {count(done['queued'], 'run')} to be embedded")
    if not done:
        out.note("nothing to do: RUNLOG_WORDS is 0, and OPENAI_KEY is not set")


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
    return max(int(total - left()), 0)


def _wait_for_transactions(recorder: Any) -> int:
    """Wait for runs that were logged beside transactions which are still open; return how
    many there are still, if none was indexed for a while.
    """
    first = left = recorder._words_waiting()  # noqa: SLF001 - made for this
    indexed, last = 0, time.monotonic()
    with Waiting("waiting for open transactions of the server"):
        while left and indexed < first:  # runs that are logged meanwhile may wait
            if time.monotonic() - last > _PATIENCE:
                return int(left)
            time.sleep(_STEP)
            recorder._fill_words()  # noqa: SLF001 - made for this, as the next
            before, left = left, recorder._words_waiting()  # noqa: SLF001
            if left < before:
                indexed, last = indexed + before - left, time.monotonic()
    return 0


def _embed(recorder: Any) -> int:
    """Wait until every run is embedded; return how many are not, as a server fails."""
    total = before = recorder.stats()["embeddings_waiting"]
    last = time.monotonic()
    with Progress("runs embedded") as progress:
        while not recorder.flush(_STEP):
            stats = recorder.stats()
            left = stats["embeddings_waiting"]
            progress.add(max(total - left - progress.number, 0))
            if left < before or stats["embedding_error"] is None:
                before, last = left, time.monotonic()
            elif time.monotonic() - last > _PATIENCE:
                break
    waiting: int = recorder.stats()["embeddings_waiting"]
    return waiting
