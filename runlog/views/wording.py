"""Two texts word by word: what both have, and what only one has."""

from __future__ import annotations

import re
from typing import NamedTuple

_MOST = 2_000
"""Words of each text that are compared."""
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


class Piece(NamedTuple):
    """A piece of the two texts."""

    kind: str
    """ "same", "one" or "other"."""
    text: str


def size(one: str, other: str) -> int:
    """Return how many words of two texts `compare` compares."""
    return sum(min(len(_WORDS.findall(text)), _MOST) for text in (one, other))


def compare(one: str, other: str) -> list[Piece]:
    """Return the pieces of two texts, in their order.

    Args:
        one: a text.
        other: another. Of both, 2,000 words are compared; what follows is one piece.
    """
    from difflib import SequenceMatcher

    left, right = _WORDS.findall(one), _WORDS.findall(other)
    rests = "".join(left[_MOST:]), "".join(right[_MOST:])
    left, right = left[:_MOST], right[:_MOST]
    found = []
    for kind, a, b, c, d in SequenceMatcher(None, left, right, False).get_opcodes():
        if kind == "equal":
            found.append(Piece("same", "".join(left[a:b])))
            continue
        found.append(Piece("one", "".join(left[a:b])))
        found.append(Piece("other", "".join(right[c:d])))
    if rests[0] == rests[1]:
        found.append(Piece("same", rests[0]))
    else:
        found += [Piece("one", rests[0]), Piece("other", rests[1])]
    return [piece for piece in found if piece.text]
