"""Where the words of a search stand in a run: the pieces of text that a hit shows.

Only the hits of a page are read for it; src/words has the index that finds them. What it
takes for a word is in src/words/plain.c.
"""

from __future__ import annotations

import re
from itertools import chain
from unicodedata import normalize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from runlog._runlog import Snippet

_WIDTH = 200
"""Characters of a snippet, at most."""
_BEFORE = 60
"""Characters before the hit, if there are so many."""
_COUNT = 5
"""Snippets of a run, but for words that none of them has."""
_TEXT = 1 << 20
"""Characters of a run in which words are looked for: the index has no more."""

_SINGLE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3005-\u3007\u3021-\ua4cf"
    "\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)
"""Characters that are words of their own, as a class of a pattern."""
_SYMBOL = "\u20a0-\u20cf\u2190-\u2bff\U0001f000-\U0001faff"
_LETTER = rf"[^\W_{_SINGLE}]"
_MARK = "[\u0300-\u036f]"
"""An accent that follows its letter: the index has the letter alone."""
_PIECES = re.compile(rf"{_LETTER}+|[{_SINGLE}{_SYMBOL}]")
_TERMS = re.compile(r'"([^"]*)"?(\*?)|([^\s"]+)')


class _Fold(dict[int, int]):
    """Maps each character to its lower case without its accent: one for one."""

    def __missing__(self, code: int) -> int:
        base = normalize("NFD", chr(code).lower())[:1]
        base = "\u03c3" if base == "\u03c2" else base  # the sigma that ends words
        self[code] = folded = ord(base) if base else code
        return folded


_FOLD = _Fold()


def _fold(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_FOLD)


class Terms:
    """The words, phrases and beginnings of a search, as patterns over folded text."""

    def __init__(self, text: str) -> None:
        found = []
        for phrase, star, word in _TERMS.findall(text):
            pieces = _PIECES.findall(_fold(phrase or word))
            if pieces:
                found.append((pieces, bool(star) or word.endswith("*")))
        self.words = [self._pattern(*term) for term in found]
        """A pattern for each term."""
        self.parts = [self._pattern(pieces, None) for pieces, _ in found]
        """The same, but for parts of words: an index of trigrams finds those."""

    @staticmethod
    def _pattern(pieces: list[str], beginning: bool | None) -> re.Pattern[str]:
        middle = r"[\W_]*".join(
            "".join(f"{re.escape(char)}{_MARK}*" for char in piece) for piece in pieces
        )
        if beginning is None:
            return re.compile(middle)
        before = rf"(?<!{_LETTER})(?<!{_MARK})" if re.match(_LETTER, pieces[0]) else ""
        after = rf"(?!{_MARK}*{_LETTER})" if re.match(_LETTER, pieces[-1]) else ""
        return re.compile(before + middle + ("" if beginning else after))


def snippets(run: Mapping[str, Any], terms: Terms) -> list[Snippet]:
    """The pieces of a run that have the terms, in the order of the run."""
    texts = list(_read(run))
    return _find(texts, terms.words) or _find(texts, terms.parts)


def _find(
    texts: list[tuple[str | None, str, str]], terms: list[re.Pattern[str]]
) -> list[Snippet]:
    found: list[Snippet] = []
    unseen, places, pieces = set(terms), set(), set()
    for node, field, text in texts:
        if len(found) >= _COUNT and not unseen:
            break
        folded = _fold(text)
        hits = [match for term in terms if (match := term.search(folded))]
        for match in sorted(hits, key=lambda match: match.start()):
            known = (node, field) in places or len(found) >= _COUNT
            if known and match.re not in unseen:
                continue
            piece, start, end = _cut(text, match.start(), match.end())
            shown = _fold(piece)
            unseen -= {term for term in terms if term.search(shown)}
            if shown not in pieces:
                found.append(
                    {
                        "node": node,
                        "field": field,
                        "text": piece,
                        "start": start,
                        "end": end,
                    }
                )
            places.add((node, field))
            pieces.add(shown)
            unseen.discard(match.re)
    return found


def _cut(text: str, start: int, end: int) -> tuple[str, int, int]:
    """A piece of a text around a hit, and where the hit begins and ends in it."""
    end = min(end, start + _WIDTH)
    first = max(0, min(start - _BEFORE, len(text) - _WIDTH), end - _WIDTH)
    return text[first : first + _WIDTH], start - first, end - first


def _read(run: Mapping[str, Any]) -> Iterator[tuple[str | None, str, str]]:
    """The texts of a run as (node, field, text), up to _TEXT characters."""
    left = _TEXT
    for node, field, value in chain(_payloads(None, run), _logs(run.get("node_logs"))):
        for text in _texts(value):
            yield node, field, text[:left]
            left -= len(text)
            if left <= 0:
                return


def _payloads(node: str | None, log: Mapping[str, Any]) -> Iterator[tuple[Any, str, Any]]:
    for member, field in (
        ("error_type", "error"),
        ("error_text", "error"),
        ("error_traceback", "traceback"),
        ("inputs", "inputs"),
        ("outputs", "outputs"),
    ):
        yield node, field, log.get(member)


_CALLS = {
    "messages": "prompt",
    "prompt": "prompt",
    "outputs": "answer",
    "output": "answer",
    "documents": "answer",
    "args": "arguments",
    "query": "arguments",
    "error_type": "error",
    "error_text": "error",
    "error_traceback": "traceback",
}
"""The fields of a call."""
_OWN = {"node", "calls", "events", "inputs", "outputs", "status", "started_at", "kind"}


def _logs(logs: Any) -> Iterator[tuple[Any, str, Any]]:
    for log in logs if isinstance(logs, list) else ():
        if not isinstance(log, dict):
            yield None, "log", log
            continue
        name = log.get("node")
        node = name if isinstance(name, str) else None
        yield node, "node", name
        yield from _payloads(node, log)
        calls = log.get("calls")
        for call in calls if isinstance(calls, list) else (calls,):
            if isinstance(call, dict):
                for member, value in call.items():
                    yield node, _CALLS.get(member, "call"), value
            else:
                yield node, "call", call
        yield node, "event", log.get("events")
        for member, value in log.items():
            if member not in _OWN and not member.startswith("error_"):
                yield node, "log", value


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value, in their order."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack += reversed(list(value.values()))
        elif isinstance(value, list):
            stack += reversed(value)
