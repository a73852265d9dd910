"""The command line: `runlog list`, `runlog show -` and so on.

    runlog [COMMAND] [ARGUMENTS]

Each command is a module of `runlog.cli.commands` with `add_arguments(parser)` and
`run(args, history, out)`, which returns the exit code. Only the module of the command
that runs is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runlog.cli import errors

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from runlog.cli.output import Out

COMMANDS = {
    "list": "list runs, newest first",
    "show": "show a run: its outcome, its nodes, its calls",
    "tail": "show runs and nodes as they happen",
    "thread": "show the runs of a thread, with questions and answers",
    "diff": "compare two runs",
    "errors": "group failures",
    "stats": "count runs, failures and times",
    "insights": "report what got worse, since when, and which runs show it",
    "watch": "make that report every few minutes, and post it to a webhook",
    "search": "find runs by words or by meaning",
    "serve": "show the history in a browser",
    "metrics": "print metrics, or serve them for Prometheus",
    "mcp": "give the history to a coding agent",
    "path": "show where the history is",
    "doctor": "check the set-up",
    "migrate": "show or apply migrations",
    "prune": "delete old runs",
    "reindex": "rebuild the index of words, and queue runs without a vector",
    "rollup": "count runs for metrics and reports",
    "export": "write runs as JSON lines, Parquet, a trace, or to an OTLP receiver",
    "import": "read runs from an export",
    "push": "send the runs of a file to PostgreSQL",
    "completion": "print a completion script for a shell",
}
HIDDEN = ("complete",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code.

    Args:
        argv: the arguments, without the program; by default those of the process.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    _replace_closed_streams()
    try:
        return _main(given)
    except KeyboardInterrupt:
        return errors.STOPPED
    except BrokenPipeError:
        _forget_stdout()
        return errors.DONE


def _replace_closed_streams() -> None:
    """Have a standard stream that is closed be an empty one, which nobody reads.

    It takes the number of the closed one, which the next file would have, such as that of
    the history.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _forget_stdout() -> None:
    """Have the interpreter not flush to a pipe that nobody reads any more."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass


def _main(given: list[str]) -> int:
    from runlog.cli.output import Out

    out = Out()
    name, rest = _split(given)
    try:
        if name in ("--help", "-h", "help"):
            out.line(_help())
            code = errors.DONE
        elif name == "--version":
            from runlog import __version__

            out.line(f"runlog {__version__}")
            code = errors.DONE
        else:
            code = _run(name, rest, out)
        out.flush()
    except SystemExit as ended:  # --help
        return ended.code if isinstance(ended.code, int) else errors.WRONG
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user
        code, said = errors.describe(error)
        out.note(f"runlog: {said}")
        if name == "diff" and code == errors.FAULT:
            code = errors.WRONG  # 1 means that the runs differ
    return code


def _split(given: list[str]) -> tuple[str, list[str]]:
    """The command and its arguments; without a command it is list."""
    options: list[str] = []
    while given and given[0].partition("=")[0] == "--db":
        taken = 1 if "=" in given[0] else 2
        options, given = [*options, *given[:taken]], given[taken:]
    if not given:
        return "list", options
    first = given[0]
    if first in COMMANDS or first in HIDDEN:
        return first, [*options, *given[1:]]
    if first in ("--help", "-h", "help", "--version"):
        return first, given[1:]
    is_option = first.startswith("-") and first != "-"
    return ("list", [*options, *given]) if is_option else (first, given)


def _help() -> str:
    lines = ["usage: runlog [COMMAND] [ARGUMENTS]", ""]
    lines += [f"  {name:11} {text}" for name, text in COMMANDS.items()]
    lines += [
        "",
        "Without a command: list. RUN is an id, a unique beginning of one, - (the",
        "newest), @failed or @failed~2. runlog COMMAND --help has the rest.",
    ]
    return "\n".join(lines)


def make_parser(name: str) -> ArgumentParser:
    """The parser of a command."""
    from argparse import RawDescriptionHelpFormatter
    from importlib import import_module
    from keyword import iskeyword

    from runlog.cli.parser import Parser

    module = f"{name}_" if iskeyword(name) else name
    command = import_module(f"runlog.cli.commands.{module}")
    parser = Parser(
        prog=f"runlog {name}",
        description=command.__doc__,
        formatter_class=lambda prog: RawDescriptionHelpFormatter(prog, width=80),
        allow_abbrev=False,
    )
    parser.add_argument(
        "--db", metavar="PATH", help="a SQLite file, or a URI of PostgreSQL"
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)
    return parser


def _run(name: str, rest: list[str], out: Out) -> int:
    if name not in COMMANDS and name not in HIDDEN:
        from runlog.cli.names import nearest

        raise errors.WrongUsageError(
            f"there is no command {name!r}{nearest(name, COMMANDS)}"
        )
    args = make_parser(name).parse_args(rest)
    from runlog.cli.history import History
    from runlog.reading.places import find

    history = History(find(args.db))
    try:
        code: int = args.run(args, history, out)
    finally:
        history.close()
    return code
