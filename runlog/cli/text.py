"""Recorded text on a terminal: made harmless, measured and cut.

A recorded text may hold anything: control sequences that move the cursor or set the
clipboard, characters that turn the direction of writing, halves of surrogate pairs. Each
such character is shown by its number.
"""

from __future__ import annotations

_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_JOINERS = "\u200c\u200d"
"""Format characters that Persian and emoji need, and that do nothing else."""
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def safe(text: object) -> str:
    r"""Return a text in one line without control characters.

    Args:
        text: a recorded text, or what str makes of a value.

    Returns:
        The text. A control or format character, a line break and a lone surrogate are
        shown as in Python, as \n or \x1b.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _show(char) for char in text)


def safe_lines(text: object) -> list[str]:
    """Return the lines of a text, each safe; tabs become four spaces."""
    return [safe(line.expandtabs(4)) for line in str(text).split("\n")]


def _show(char: str) -> str:
    from unicodedata import category

    kind = category(char)
    if char in _NAMED:
        return _NAMED[char]
    if kind not in _HIDDEN or char in _JOINERS:
        return " " if kind == "Zs" else char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width(text: str) -> int:
    """Return how many columns a safe text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    from unicodedata import category, east_asian_width

    if char < "\u0300":
        return 1
    if category(char) in ("Mn", "Me") or char in _JOINERS or "\ufe00" <= char <= "\ufe0f":
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


def pad(text: str, columns: int, right: bool = False) -> str:
    """Return a safe text with the spaces that make it so wide."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def wrap(text: str, columns: int) -> list[str]:
    """Return a safe text in lines of so many columns at most, broken at spaces."""
    lines, line = [], ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if width(joined) <= columns or not line:
            line = joined
        else:
            lines.append(line)
            line = word
        while columns > 0 and width(line) > columns:
            head = cut(line, columns + 1)[:-1]
            if not head:
                break
            lines.append(head)
            line = line[len(head) :]
    return [*lines, line]
