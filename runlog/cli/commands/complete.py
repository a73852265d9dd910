"""List what may stand at the end of a command line, for the completion of shells."""

from __future__ import annotations

from argparse import REMAINDER, ArgumentParser, Namespace
from collections.abc import Iterable

from runlog.cli.commands.completion import SCRIPTS
from runlog.cli.errors import DONE
from runlog.cli.history import History
from runlog.cli.names import STATUSES
from runlog.cli.output import FORMATS, Out

_NEWEST = 200


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of complete."""
    parser.add_argument("words", nargs=REMAINDER)


def run(args: Namespace, history: History, out: Out) -> int:
    """List the words that begin with the last one."""
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    last = words[-1] if words else ""
    for word in sorted(set(_candidates(words, history))):
        if word.startswith(last) and word.isprintable():
            out.line(word)
    return DONE


def _candidates(words: list[str], history: History) -> Iterable[str]:
    from runlog.cli import COMMANDS

    if len(words) < 2:
        return COMMANDS
    command, before, last = words[0], words[-2], words[-1]
    known = {"--status": STATUSES, "-s": STATUSES, "--output": FORMATS, "-o": FORMATS}
    if before in known:
        return known[before]
    if before in ("--workflow", "-w"):
        return _workflows(history)
    if last.startswith("-") and last != "-" and command in COMMANDS:
        return _options(command)
    return _arguments(command, history)


def _arguments(command: str, history: History) -> Iterable[str]:
    known = {
        "migrate": ("status", "plan", "apply"),
        "reindex": ("words", "meaning"),
        "completion": tuple(SCRIPTS),
    }
    if command in ("show", "diff"):
        names = ["-", "@failed", "@interrupted"]
        return [*names, *(row["run_id"] for row in history.rows(_NEWEST))]
    if command == "thread":
        rows = history.rows(_NEWEST * 10)
        return {row["thread_id"] for row in rows if row["thread_id"]}
    return _workflows(history) if command == "stats" else known.get(command, ())


def _workflows(history: History) -> set[str]:
    return {row["wpk_id"] for row in history.rows(_NEWEST * 10)}


def _options(command: str) -> list[str]:
    from runlog.cli import make_parser

    actions = make_parser(command)._actions  # noqa: SLF001 - there is no other way
    return [name for action in actions for name in action.option_strings]
