"""Recorded text made harmless for where people look at it.

A recorded text may hold anything: control sequences that move the cursor or set the
clipboard, characters that turn the direction of writing, halves of surrogate pairs. Each
such character is shown by its number.
"""

from __future__ import annotations

_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
JOINERS = "\u200c\u200d"
"""Format characters that Persian and emoji need, and that do nothing else."""
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_HARMFUL = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891"
    "\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
"""What `safe_text` shows by its number: the categories of _HIDDEN, as a pattern."""


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
    if kind not in _HIDDEN or char in JOINERS:
        return " " if kind == "Zs" else char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def safe_text(text: str) -> str:
    """Return a text without such characters, with its line breaks and tabs.

    Args:
        text: a recorded text; this is quick for a long one, too.
    """
    if text.isascii() and text.isprintable():
        return text
    import re

    pattern = re.compile(_HARMFUL)  # which re keeps
    return pattern.sub(lambda match: _show(match[0]), text.replace("\r\n", "\n"))
