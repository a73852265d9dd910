"""The line that is typed in a shell, up to the cursor.

In bash, readline replaces a part of the last word: what stands behind the last of the
characters in COMP_WORDBREAKS, such as : and =, and behind a quote that is open.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PLAIN = re.compile(r"[\w@%+=:,./-]")
"""What needs no backslash."""


class Typed(NamedTuple):
    """A line up to the cursor."""

    words: list[str]
    """Its words, without quotes. The last one is being typed."""
    raw: str
    """The last word as it stands there."""
    quote: str
    """The quote that is open there, or ""."""


def read(line: str) -> Typed:
    """Split a line as shells do."""
    words, word, quote, start = [], "", "", 0
    chars = iter(enumerate(line))
    for place, char in chars:
        if char == "\\" and quote != "'":
            _, following = next(chars, (0, ""))
            kept = quote and following not in '"$`\\'
            word += f"\\{following}" if kept else following
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif not quote and char.isspace():
            if place > start:
                words.append(word)
            word, start = "", place + 1
        else:
            word += char
    return Typed([*words, word], line[start:], quote)


def replies(typed: Typed, replaced: str, found: list[str]) -> list[str]:
    """Return, for bash, what stands for the part of the last word that is replaced.

    Args:
        typed: the line.
        replaced: that part, as it stands in the line.
        found: whole words that begin with the last word.
    """
    kept = len(read(typed.raw.removesuffix(replaced)).words[-1])
    return [_quoted(word[kept:], typed.quote) for word in found]


def _quoted(text: str, quote: str) -> str:
    """The text behind an open quote, which it closes, or without one."""
    if quote == "'":
        return text.replace("'", "'\\''") + quote
    if quote == '"':  # where ! needs more than a backslash
        return re.sub(r'["$`\\]', r"\\\g<0>", text).replace("!", '"\\!"') + quote
    return "".join(one if _PLAIN.match(one) else f"\\{one}" for one in text)
