"""Recorded text on a terminal: measured and cut. runlog.views.safe makes it harmless."""

from __future__ import annotations

from runlog.views.safe import JOINERS, safe, safe_lines

__all__ = ["cut", "cut_frame", "pad", "safe", "safe_lines", "width", "wrap"]


def width(text: str) -> int:
    """Return how many columns a safe text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    from unicodedata import category, east_asian_width

    if char < "\u0300":
        return 1
    if category(char) in ("Mn", "Me") or char in JOINERS or "\ufe00" <= char <= "\ufe0f":
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """Return a safe text in so many columns at most; an ellipsis shows a cut."""
    if width(text) <= columns:
        return text
    if columns < 1:
        return ""
    left, kept = columns - 1, []
    for char in text:
        left -= _columns(char)
        if left < 0:
            break
        kept.append(char)
    return "".join(kept) + "…"


def cut_frame(line: str, columns: int) -> str:
    """Cut a line of a traceback; of a frame the beginning of the path gives way.

    The end of the path, the line and the function are what a reader looks for.
    """
    head, mark, place = line.partition('File "')
    if not mark or head.strip(" |") or width(line) <= columns:
        return cut(line, columns)
    kept = columns - width(head + mark) - 1
    while place and width(place) > kept:
        place = place[1:]
    return cut(f"{head}{mark}…{place}", columns)


def pad(text: str, columns: int, right: bool = False) -> str:
    """Return a safe text with the spaces that make it so wide."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def wrap(text: str, columns: int) -> list[str]:
    """Return a safe text in lines of so many columns at most, broken at spaces."""
    lines, line, taken = [], "", 0
    for word in text.split(" "):
        wide = width(word)
        if line and taken + 1 + wide <= columns:
            line, taken = f"{line} {word}", taken + 1 + wide
            continue
        if line:
            lines.append(line)
        line, taken = word, wide
        if taken > columns > 0:
            *full, line = _parts(word, columns)
            lines += full
            taken = width(line)
    return [*lines, line]


def _parts(word: str, columns: int) -> list[str]:
    """A word in parts of so many columns at most; a wider character is one by itself."""
    parts, start, taken = [], 0, 0
    for at, char in enumerate(word):
        wide = _columns(char)
        if taken + wide > columns and at > start:
            parts.append(word[start:at])
            start, taken = at, 0
        taken += wide
    return [*parts, word[start:]]
