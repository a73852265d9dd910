"""List what may stand at the end of a command line, for the completion of shells."""

from __future__ import annotations

from argparse import REMAINDER, Action, ArgumentParser, Namespace
from collections.abc import Iterable

from runlog.cli import shell_line
from runlog.cli.commands.completion import SCRIPTS
from runlog.cli.errors import DONE
from runlog.cli.history import History
from runlog.cli.names import STATUSES
from runlog.cli.output import Out
from runlog.reading.places import find

_NEWEST = 200
_RUNS = ("show", "diff", "export")
_WORKFLOWS = ("stats", "insights", "watch")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of complete."""
    parser.add_argument(
        "given", nargs=REMAINDER, metavar="-- LINE [REPLACED]", help="see shell_line"
    )


def run(args: Namespace, history: History, out: Out) -> int:
    """List the words that begin with the last one of a line."""
    line, *replaced = args.given[1:] or [""]
    typed = shell_line.read(line)
    found = _complete(typed.words[1:], history)
    for one in shell_line.replies(typed, replaced[0], found) if replaced else found:
        out.line(one)
    return DONE


def _complete(words: list[str], history: History) -> list[str]:
    """The whole words that begin with the last one."""
    if words[-2:-1] == ["--db"]:
        return []
    before, last = _place(words[:-1], history), words[-1] if words else ""
    option, sign, value = last.partition("=")
    found: Iterable[str]
    if sign and option.startswith("--"):
        found = [f"{option}={one}" for one in _values(before, option, value, history)]
    elif before and before[-1].startswith("-") and before[-1] not in ("-", "--"):
        found = _values(before, before[-1], last, history)
        found = found or _words(before, last, history)
    else:
        found = _words(before, last, history)
    return sorted({one for one in found if one.startswith(last) and one.isprintable()})


def _place(words: list[str], history: History) -> list[str]:
    """Have the history be that of --db; return the words without that."""
    rest: list[str] = []
    given = iter(words)
    for word in given:
        name, sign, db = word.partition("=")
        if name != "--db":
            rest.append(word)
        elif db := db if sign else next(given, ""):
            history.place = find(db)
    return rest


def _values(before: list[str], option: str, typed: str, history: History) -> list[str]:
    """What may follow an option of the command that stands before it."""
    if option in ("--status", "-s"):
        head, comma, _ = typed.rpartition(",")
        return [f"{head}{comma}{one}" for one in STATUSES]
    if option in ("--workflow", "-w"):
        return _recorded("wpk_id", history)
    if option == "--thread":
        return _recorded("thread_id", history)
    return [
        str(one)
        for action in _actions(before)
        if option in action.option_strings
        for one in action.choices or ()
    ]


def _words(before: list[str], last: str, history: History) -> Iterable[str]:
    """What may be a word of its own, behind some others."""
    from runlog.cli import COMMANDS

    if not before:
        return COMMANDS
    command = before[0]
    if last.startswith("-") and last != "-" and "--" not in before:
        return [name for one in _actions(before) for name in one.option_strings]
    known = {
        "migrate": ("status", "plan", "apply"),
        "reindex": ("words", "meaning"),
        "completion": tuple(SCRIPTS),
    }
    if command in _RUNS:
        names = ["-", *(f"@{status}" for status in STATUSES)]
        return [*names, *(row["run_id"] for row in history.rows(_NEWEST))]
    if command == "thread":
        return _recorded("thread_id", history)
    return (
        _recorded("wpk_id", history) if command in _WORKFLOWS else known.get(command, ())
    )


def _recorded(name: str, history: History) -> list[str]:
    return [row[name] for row in history.rows(_NEWEST * 10) if row[name]]


def _actions(before: list[str]) -> list[Action]:
    """What the command that a line begins with takes; list, if it begins with options."""
    from runlog.cli import COMMANDS, make_parser

    command = "list" if before[:1] and before[0].startswith("-") else "".join(before[:1])
    if command not in COMMANDS:
        return []
    return make_parser(command)._actions  # noqa: SLF001 - there is no other way
