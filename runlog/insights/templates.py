"""Messages of one kind: which words are the template, and which vary.

Marks replace numbers, ids and paths first (`runlog.views.errors`). What is left is split
word by word: a place with few words is part of the template, and parts the messages; one
with many varies. So KeyError 'price' is another failure than KeyError 'name', but a
message that names a thousand customers is one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from runlog.views.errors import template

VERSION: Final = 1
"""Of the rules. Groups of other rules have other keys, and are not compared."""
FEW: Final = 20
"""Up to so many words in one place are kept apart."""
_ANY: Final = "<any>"
_WORDS: Final = re.compile(r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)|[^\s\"']+|[\"']")
_LONGEST: Final = 60
"""Words of a message that count."""
_SEVERAL: Final = 8
"""From so many messages on, a place in which most of them differ varies."""

_Words = tuple[str, ...]


def group(messages: Iterable[str]) -> dict[str, str]:
    """Return the template of each message.

    Args:
        messages: the messages, in any order; one that occurs again counts again.
    """
    given = Counter(messages)
    words = {message: _split(message) for message in given}
    numbers: Counter[_Words] = Counter()
    for message, number in given.items():
        numbers[words[message]] += number
    by_length: dict[int, list[_Words]] = {}
    for one in numbers:
        by_length.setdefault(len(one), []).append(one)
    found: dict[_Words, str] = {}
    for alike in by_length.values():
        _part(alike, numbers, found)
    return {message: found[one] for message, one in words.items()}


def _split(message: str) -> _Words:
    return tuple(_WORDS.findall(template(message))[:_LONGEST])


def _part(
    first: list[_Words], numbers: Counter[_Words], found: dict[_Words, str]
) -> None:
    """Give messages of one length their templates."""
    left = [first]
    while left:
        alike = left.pop()
        distinct = [len(set(place)) for place in zip(*alike, strict=True)]
        by = _splits_by(distinct, sum(numbers[one] for one in alike))
        if by is None:
            text = _text(alike[0], distinct)
            found.update(dict.fromkeys(alike, text))
            continue
        parts: dict[str, list[_Words]] = {}
        for one in alike:
            parts.setdefault(one[by], []).append(one)
        left.extend(parts.values())


def _splits_by(distinct: list[int], number: int) -> int | None:
    """The place whose words part the messages; None if all that differs varies.

    Args:
        distinct: how many words there are in each place.
        number: how many messages there are.
    """
    several = [(one, place) for place, one in enumerate(distinct) if one > 1]
    if not several:
        return None
    least, place = min(several)
    same = len(distinct) - len(several)
    if least > FEW and 3 * same >= len(distinct):
        return None
    if number >= _SEVERAL and 2 * least > number and 2 * same >= len(distinct):
        return None
    return place


def _text(words: _Words, distinct: list[int]) -> str:
    return " ".join(
        word if one == 1 else _ANY for word, one in zip(words, distinct, strict=True)
    )


def fits(name: str, message: str) -> bool:
    """Whether a message is one of a template, either of which may be cut at its end."""
    ours, theirs = tuple(_WORDS.findall(name)), _split(message)
    if len(ours) != len(theirs):
        shared = min(len(ours), len(theirs)) - 1
        if shared < _SEVERAL:
            return False
        ours, theirs = ours[:shared], theirs[:shared]
    return all(a in (_ANY, b) for a, b in zip(ours, theirs, strict=True))
