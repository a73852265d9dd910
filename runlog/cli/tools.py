"""The commands as tools of a program: typed arguments in, a bounded text out."""

from __future__ import annotations

import io
import re
from argparse import Namespace
from typing import Any

from runlog.cli import make_parser
from runlog.cli.history import History
from runlog.cli.output import Out
from runlog.cli.text import safe
from runlog.reading.places import Place
from runlog.views.words import count

_MOST = 24_000
"""Characters of an answer that has no budget of its own: about 6,000 tokens."""
_LINE = 800
"""Characters of a line of such an answer, as of a run with a long error."""
_CHARACTERS = 5
"""Of a token, with room to spare: the command counts four."""
_OPTION = re.compile(r"--([a-z]+)\b")


class Answer(Out):
    """What a command writes, within a number of characters."""

    def __init__(self, budget: int | None) -> None:
        """Take the tokens that the command itself keeps to, if it does."""
        super().__init__(io.StringIO(), io.StringIO())
        self.colour = False
        self.shortens = True
        self._keeps_itself = budget is not None
        self._left = _MOST if budget is None else budget * _CHARACTERS
        self._lines: list[str] = []
        self._said: list[str] = []
        self._left_out = 0

    def line(self, text: str = "") -> None:
        """Keep a line, which has to be safe, if there is room for it."""
        if len(text) > _LINE and not self._keeps_itself:
            text = text[:_LINE] + "…"
        self._left -= len(text) + 1
        if self._left < 0:
            self._left = -1  # what follows is left out, too
            self._left_out += 1
        else:
            self._lines.append(text)

    def write(self, text: str) -> None:
        """Keep a piece of text as a line."""
        self.line(text)

    def note(self, text: str) -> None:
        """Keep a line about the result; options of commands are arguments here."""
        self._said += [safe(_OPTION.sub(r"\1", line)) for line in text.split("\n")]

    def text(self, rest: str) -> str:
        """Return the answer.

        Args:
            rest: how to get what was left out.
        """
        said = list(self._said)
        if self._left_out:
            said.insert(0, f"{count(self._left_out, 'more line')} left out: {rest}")
        elif self._keeps_itself and any("…" in line for line in self._lines):
            said.insert(0, f"… stands for what was cut: {rest}")
        between = [""] if self._lines and said else []
        return "\n".join([*self._lines, *between, *said])


def call(place: Place, command: str, given: dict[str, Any], rest: str) -> str:
    """Run a command; return what it says.

    Each call opens the history and closes it, so that any thread may call, and a
    database that was away is there again. Nothing that is missing is created.

    Args:
        place: where the history is.
        command: its name.
        given: its arguments, by the names of its options. None stands for the default.
        rest: how to get what did not fit.

    Raises:
        Exception: what `runlog.cli.errors.describe` describes.
    """
    parser = make_parser(command)
    names = ["-"] * (2 if command == "diff" else 0)  # which `given` replaces
    known = vars(parser.parse_args(names))
    known |= {name: value for name, value in given.items() if value is not None}
    args = Namespace(**known)
    answer = Answer(getattr(args, "budget", None))
    history = History(place)
    try:
        args.run(args, history, answer)
    finally:
        history.close()
    return answer.text(rest)
