"""The page of a search: by words, and by meaning in a list of its own."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from runlog.reading.errors import WrongUsageError
from runlog.views.lines import Line
from runlog.web import lists
from runlog.web.address import Asked
from runlog.web.source import Source

_LIMIT = 50


class Hit(NamedTuple):
    """A run that was found."""

    line: Line
    score: float | None
    snippets: list[Any]


class Hits(NamedTuple):
    """What a search has found."""

    hits: list[Hit]
    waiting: int
    """How many runs are not indexed yet."""
    seconds: float
    more: bool
    """Whether there may be more hits than these."""


def find(source: Source, asked: Asked, by: str) -> Hits:
    """Search for the words, or for the meaning, that an address has."""
    if by == "meaning" and not source.has_meaning():
        raise WrongUsageError("a search by meaning needs OPENAI_KEY, which is not set")
    recorder = source.open(by)
    filters = {
        "wpk_id": asked.get("workflow"),
        "status": asked.get("status"),
        "since": asked.time("since"),
    }
    given = {name: value for name, value in filters.items() if value is not None}
    begun = time.monotonic()
    found = recorder.search_runs(asked["q"], by=by, limit=_LIMIT, **given)
    spent = time.monotonic() - begun
    listed = lists.lines_of(source, found)
    hits = [
        Hit(one.line, hit.get("score"), hit.get("snippets", [])[:3])
        for one, hit in zip(listed, found, strict=True)
    ]
    return Hits(hits, getattr(found, "waiting", 0), spent, len(found) == _LIMIT)


def search(source: Source, asked: Asked) -> dict[str, Any]:
    """Read what the page shows."""
    text = asked.get("q")
    by = asked.choose("by", ("words", "meaning"), "words")
    return {
        "text": text,
        "by": by,
        "has_meaning": source.has_meaning(),
        "hits": None if text is None else find(source, asked, by),
        "parts": parts,
    }


def parts(snippet: Any) -> tuple[str, str, str]:
    """What stands before a hit, the hit, and what stands after it."""
    text, start, end = snippet["text"], snippet["start"], snippet["end"]
    return text[:start], text[start:end], text[end:]
