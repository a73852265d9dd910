"""Numbers and times as people read them."""

from __future__ import annotations

import math
from typing import Any


def duration(ms: float | None) -> str:
    """A duration: "0.4 ms", "96 ms", "1.25 s", "3 min 20 s", "2 h 5 min", "-"."""
    if ms is None:
        return "-"
    if ms < 0:
        return f"-{duration(-ms)}" if ms <= -0.05 else "0 ms"
    if ms < 999.5:
        return f"{ms:.1f} ms" if ms < 9.95 and ms % 1 else f"{ms:.0f} ms"
    return _long(ms / 1000)


def _long(seconds: float) -> str:
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 1440:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def ago(seconds: float) -> str:
    """How long ago: "now", "40 s ago", "5 min ago", "3 h ago", "2 d ago"."""
    if seconds < 0:
        return "now" if seconds > -2 else f"in {_span(-seconds)}"
    return "now" if seconds < 1 else f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} s"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: "1 run", "2 runs"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(number: float) -> str:
    """A number of bytes: "512 bytes", "1.5 MB"."""
    if number < 1000:
        return f"{number:.0f} bytes"
    units = ["GB", "MB", "KB"]
    number /= 1000
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop()
    return f"{number:.1f} {units[-1]}" if number < 9.95 else f"{number:.0f} {units[-1]}"


def brief(value: Any, length: int | None = 200) -> str:
    """A recorded value in one line of about so many characters at most.

    Args:
        value: what the `json` module may have returned.
        length: where the text is cut, with an ellipsis; None for nowhere.
    """
    if type(value) is str:
        return _cut(value, length)
    found: list[str] = []
    left = math.inf if length is None else length
    for piece in _pieces(value, length):
        found.append(piece)
        left -= len(piece)
        if left < 0:
            break
    return _cut("".join(found), length)


def _cut(text: str, length: int | None) -> str:
    if length is None or len(text) <= length:
        return text
    return text[: length - 1] + "…"


def _pieces(value: Any, most: int | None) -> Any:
    """The JSON of a value piece by piece, so that a large one need not be made whole."""
    from json import JSONEncoder

    if isinstance(value, dict):  # also one that loads its members late
        yield "{"
        for place, (key, member) in enumerate(value.items()):
            yield "" if place == 0 else ", "
            yield from _pieces(str(key), most)
            yield ": "
            yield from _pieces(member, most)
        yield "}"
    elif type(value) is str:
        yield JSONEncoder(ensure_ascii=False).encode(value[:most])
    elif type(value) is list:
        yield "["
        for place, member in enumerate(value):
            if place:
                yield ", "
            yield from _pieces(member, most)
        yield "]"
    else:
        yield JSONEncoder(default=str).encode(value)
