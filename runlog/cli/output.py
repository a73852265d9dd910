"""Where results go: a terminal or a pipe, as a table, JSON, lines, TSV or Markdown."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, TextIO

from runlog.cli.errors import WrongUsageError
from runlog.cli.table import Column, join, render
from runlog.cli.text import cut, safe, safe_lines, wrap
from runlog.reading.times import moment
from runlog.views import words

FORMATS = ("table", "json", "jsonl", "tsv", "md")
_COLOURS = {
    "failed": "31",
    "lost": "31",
    "completed": "32",
    "interrupted": "33",
    "cancelled": "33",
    "running": "36",
    "bold": "1",
    "dim": "2",
}


_PLAIN = str.maketrans("│├└─∥…→█·▁▂▃▄▅▆▇", "||`-=~>#._.:-=+*")
"""What stands for the signs of trees and bars where the encoding lacks them."""


class Out:
    """The standard output of a command, and what it can show."""

    def __init__(self, stream: TextIO | None = None, notes: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._notes = sys.stderr if notes is None else notes
        self.is_terminal = self._stream.isatty()
        self.colour = _wants_colour(self.is_terminal)
        self.shortens = self.is_terminal
        """Whether what matters least is left out of long lists."""
        self._plain = not _encodes(self._stream, "│∥█")
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._encoding = None if encoding.lower().startswith("utf") else encoding
        self.now = time.time()
        for one in (self._stream, self._notes):
            if hasattr(one, "reconfigure"):  # a text that the encoding lacks
                one.reconfigure(errors="backslashreplace")

    @property
    def width(self) -> int | None:
        """The columns of the terminal; None in a pipe, where nothing is cut."""
        if not self.is_terminal:
            return None
        given = os.environ.get("COLUMNS", "")
        if given.isascii() and given.isdigit() and int(given) > 0:
            return int(given)
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def most(self, length: int, whole: bool = False) -> int | None:
        """How many characters of a value a terminal gets; None for all of it, as in a
        pipe, or if it is to be whole.
        """
        return length if self.is_terminal and not whole else None

    def shown(self, text: str) -> str:
        """A safe text as the stream has it, to be measured and cut: a character that its
        encoding lacks is shown by its number, which is wider.
        """
        if self._encoding is None or text.isascii():
            return text
        text = text.translate(_PLAIN) if self._plain else text
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def fit(self, text: str, whole: bool = False) -> str:
        """A safe text in the width of the terminal; uncut where `most` cuts nothing."""
        columns = self.width
        return text if columns is None or whole else cut(self.shown(text), columns)

    def paragraph(self, text: str, style: str = "") -> None:
        """Write a text that need not be safe in lines of the terminal's width."""
        shown, columns = self.shown(safe(text)), self.width
        for line in [shown] if columns is None else wrap(shown, columns):
            self.line(self.style(line, style))

    def line(self, text: str = "") -> None:
        """Write a line, which has to be safe."""
        self._stream.write((text.translate(_PLAIN) if self._plain else text) + "\n")

    def write(self, text: str) -> None:
        """Write a piece of a line, which has to be safe."""
        self._stream.write(text)

    def note(self, text: str) -> None:
        """Write a line about the result to stderr."""
        self._stream.flush()
        self._notes.write("".join(f"{safe(line)}\n" for line in text.split("\n")))
        self._notes.flush()

    def flush(self) -> None:
        """Pass on what was written."""
        self._stream.flush()

    def style(self, text: str, name: str) -> str:
        """The text in the colour of a status, or "bold" or "dim"."""
        code = _COLOURS.get(name) if self.colour else None
        return f"\x1b[{code}m{text}\x1b[0m" if code and text else text

    def when(self, seconds: float | None) -> str:
        """A time: relative on a terminal, by RFC 3339 in a pipe."""
        if seconds is None:
            return "-"
        return words.ago(self.now - seconds) if self.is_terminal else rfc3339(seconds)


def _encodes(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _wants_colour(is_terminal: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return is_terminal and os.environ.get("TERM") != "dumb"


def rfc3339(seconds: float) -> str:
    """A time of UTC by RFC 3339, in milliseconds."""
    text = moment(round(seconds, 3)).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


class Field(NamedTuple):
    """A field of a row."""

    name: str
    value: Callable[[Any], Any]
    """The value of a row, for programs."""
    show: Callable[[Any, Out], str] | None = None
    """The value of a row, for people; by default the value itself."""
    right: bool = False
    least: int = 0
    rank: int = 0
    """See table.Column."""
    status: Callable[[Any], str] | None = None
    """The status whose colour the cell has."""
    title: str = ""
    """Its name for people, if it is another."""


def number(
    name: str,
    value: Callable[[Any], Any],
    show: Callable[[Any], str],
    *,
    rank: int = 0,
    title: str = "",
) -> Field:
    """Return a field of numbers.

    Args:
        name: as of any field.
        value: the number of a row, for programs.
        show: its text, for people.
        rank: see table.Column.
        title: its name for people, if it is another.
    """
    return Field(
        name,
        value,
        lambda row, _: show(value(row)),
        right=True,
        rank=rank,
        title=title,
    )


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON of ASCII characters alone, so that no control character is in it."""
    text = json.dumps(value, indent=indent, default=_plain)
    return text.replace("\x7f", "\\u007f")


def to_lines(value: Any) -> list[str]:
    """A value as the lines of JSON that people read, in their own letters, each safe."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    return safe_lines(text)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value.timestamp())
    return str(value)


def choose(fields: list[Field], wanted: str | None, default: list[str]) -> list[Field]:
    """Return the fields that --fields names, or the default ones.

    Raises:
        WrongUsageError: there is no such field.
    """
    known = {field.name: field for field in fields}
    names = default if wanted is None else [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in known:
            from runlog.cli.names import nearest

            raise WrongUsageError(f"unknown field {name!r}{nearest(name, known)}")
    return [known[name] for name in names]


def write_rows(out: Out, how: str, fields: list[Field], rows: Iterable[Any]) -> int:
    """Write rows in a format; return how many there were."""
    counted = _Counted(rows)
    if how == "json":
        found = [_as_dict(fields, row) for row in counted]
        out.line(to_json(found, 2))
    elif how == "jsonl":
        for row in counted:
            out.line(to_json(_as_dict(fields, row)))
    elif how == "tsv":
        out.line("\t".join(field.name for field in fields))
        for row in counted:
            out.line("\t".join(_cell(field.value(row)) for field in fields))
    elif how == "md":
        out.line(_md_line(field.name for field in fields))
        out.line(_md_line("---" for _ in fields))
        for row in counted:
            out.line(_md_line(safe(_shown(field, row, out)) for field in fields))
    else:
        _write_table(out, fields, list(counted))
    return counted.number


class _Counted:
    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = rows
        self.number = 0

    def __iter__(self) -> Iterator[Any]:
        for row in self._rows:
            self.number += 1
            yield row


def _as_dict(fields: list[Field], row: Any) -> dict[str, Any]:
    return {field.name: field.value(row) for field in fields}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if type(value) in (dict, list, bool):
        return to_json(value)
    return safe(value)


def _md_line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _shown(field: Field, row: Any, out: Out) -> str:
    if field.show is not None:
        return field.show(row, out)
    value = field.value(row)
    if type(value) in (dict, list):
        return words.brief(value, out.most(200))
    return "-" if value is None else str(value)


def _write_table(out: Out, fields: list[Field], rows: list[Any]) -> None:
    if not rows:
        return
    columns = [
        Column(one.title or one.name, one.right, one.least, one.rank) for one in fields
    ]
    cells = [
        [out.shown(safe(_shown(field, row, out))) for field in fields] for row in rows
    ]
    shown, lines = render(columns, cells, out.width)
    out.line(out.style(join(lines[0]), "bold"))
    for row, line in zip(rows, lines[1:], strict=True):
        out.line(
            join(
                [
                    _coloured(out, fields[at], row, cell)
                    for at, cell in zip(shown, line, strict=True)
                ]
            )
        )


def _coloured(out: Out, field: Field, row: Any, cell: str) -> str:
    return out.style(cell, field.status(row)) if field.status else cell
