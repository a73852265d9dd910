"""A value as JSON that a page can show: whole, or with a count of what is left out."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, NamedTuple

from runlog.views.words import count

NODES = 5_000
SIZE = 65_536
_SHORT = 200
"""Characters of a text that is shown before longer ones get their share."""
_DEPTH = 60
_LEAST = 24
"""Characters that a member takes at the least, with its indentation."""


class Preview(NamedTuple):
    """A value, or what of it there is room for."""

    text: str
    """Its JSON, indented and always valid."""
    left_out: int
    """How many elements and members are left out, each with all that it holds."""
    cut: int
    """How many characters of texts are left out."""

    @property
    def complete(self) -> bool:
        """Whether it is the whole value."""
        return not self.left_out and not self.cut


class _Room:
    """What may still be shown."""

    def __init__(self, nodes: int, size: int) -> None:
        self.nodes = nodes
        self.size = size


class _Maker:
    def __init__(self) -> None:
        self.left_out = 0
        self.cut = 0

    def take(self, value: Any, room: _Room, depth: int) -> Any:
        """Return what of a value there is room for, and take that from the room."""
        room.nodes -= 1
        if isinstance(value, dict):
            return self._members(value, room, depth)
        if type(value) is list:
            return self._elements(value, room, depth)
        if type(value) is str:
            return self._text(value, room)
        if type(value) is float and not isfinite(value):
            value = json.dumps(value)  # JSON has no such number; recorders write a text
        room.size -= len(str(value))
        return value

    def _text(self, value: str, room: _Room) -> str:
        most = max(room.size - 2, 0)
        room.size -= min(len(value), most) + 2
        if len(value) <= most:
            return value
        self.cut += len(value) - most
        return f"{value[:most]}… {count(len(value) - most, 'more character')}"

    def _members(self, value: Any, room: _Room, depth: int) -> dict[str, Any]:
        shown = self._shown(len(value), room, depth)
        pairs = [pair for pair, _ in zip(value.items(), range(shown), strict=False)]
        keys = [self._text(str(key), _Room(1, _SHORT)) for key, _ in pairs]
        room.size -= sum(map(len, keys))
        made = self._share([one for _, one in pairs], room, depth)
        found = dict(zip(keys, made, strict=True))
        if shown < len(value):
            found["…"] = count(len(value) - shown, "more member")
        return found

    def _elements(self, value: list[Any], room: _Room, depth: int) -> list[Any]:
        shown = self._shown(len(value), room, depth)
        found = self._share(value[:shown], room, depth)
        if shown < len(value):
            found.append(f"… {count(len(value) - shown, 'more element')}")
        return found

    def _shown(self, number: int, room: _Room, depth: int) -> int:
        """How many members of a container there is room for."""
        indented = _LEAST + 2 * depth
        most = max(0, min(room.nodes, room.size // indented))
        shown = 0 if depth >= _DEPTH else min(number, most)
        self.left_out += number - shown
        room.size -= min(room.size, (2 * depth + 4) * shown)
        return shown

    def _share(self, values: list[Any], room: _Room, depth: int) -> list[Any]:
        """What is small first, then to each of the others an even share of the rest."""
        found: list[Any] = [None] * len(values)
        large = []
        for place, value in enumerate(values):
            if _is_small(value):
                found[place] = self.take(value, room, depth + 1)
            else:
                large.append(place)
        for at, place in enumerate(large):
            others = len(large) - at
            own = _Room(max(room.nodes, 0) // others, max(room.size, 0) // others)
            nodes, size = own.nodes, own.size
            found[place] = self.take(values[place], own, depth + 1)
            room.nodes -= nodes - own.nodes
            room.size -= size - own.size
        return found


def _is_small(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= _SHORT
    return not isinstance(value, (dict, list)) or not value


def preview(value: Any, nodes: int = NODES, size: int = SIZE) -> Preview:
    """Return a value as JSON, of so many values and about so many characters at most.

    Args:
        value: what the `json` module may have returned.
        nodes: how many JSON values are shown.
        size: about how many characters the text has.

    Returns:
        The preview. What is left out has a mark in its place that counts it.
    """
    maker = _Maker()
    made = maker.take(value, _Room(nodes, size), 0)
    text = json.dumps(made, ensure_ascii=False, indent=2, default=str)
    return Preview(text, maker.left_out, maker.cut)
