"""Objects that occur again in a payload: each is walked once."""

import collections
import dataclasses
import json
import time
import typing
from collections.abc import Callable
from typing import Any

import attrs
import pydantic
import pytest

from runlog._runlog import encode_json


@dataclasses.dataclass(eq=False)
class Entity:
    name: str
    links: list[Any] = dataclasses.field(default_factory=list, repr=False)


@attrs.define(eq=False)
class Attr:
    name: str
    links: list[Any] = attrs.Factory(list)


class Model(pydantic.BaseModel):
    name: str
    links: list[Any] = []


class Dumped(Model):
    """A model that is not just its fields."""

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def size(self) -> int:
        return len(self.links)

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return {"name": self.name, "links": self.links}


class Table(collections.UserDict[str, Any]):
    """A mapping, whose members are others."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, links=[])

    @property
    def links(self) -> Any:
        return self["links"]

    @links.setter
    def links(self, links: Any) -> None:
        self["links"] = links


class Node(collections.deque[Any]):
    """A deque that has a name at its beginning, and others behind it."""

    def __init__(self, name: str) -> None:
        super().__init__([name])

    links = property(fset=collections.deque.append)


class Tuple(typing.NamedTuple):
    name: str
    links: list[Any]


KINDS: dict[str, Callable[[str], Any]] = {
    "dataclass": Entity,
    "attrs": Attr,
    "pydantic": lambda name: Model(name=name),
    "dumped": lambda name: Dumped(name=name),
    "mapping": Table,
    "namedtuple": lambda name: Tuple(name, []),
    "deque": Node,
}
WRAPS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "dict": lambda others: {str(n): other for n, other in enumerate(others)},
    "deep": lambda others: [{"to": [other]} for other in others],
}


def linked(kind: str, count: int, wrap: str = "list") -> list[Any]:
    """Objects that all name one another."""
    every = [KINDS[kind](f"e{n}") for n in range(count)]
    for one in every:
        others = WRAPS[wrap]([other for other in every if other is not one])
        if kind == "namedtuple":
            one.links.append(others)
        else:
            one.links = others
    return every


@pytest.mark.long_with("deep")
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("kind", KINDS)
def test_objects_that_name_one_another_are_walked_once(kind: Any, wrap: Any) -> None:
    for count in (14, 300):
        every = linked(kind, count, wrap)
        start = time.process_time()
        text = encode_json({"kg": every, "n": 1})
        spent = time.process_time() - start
        got = json.loads(text)
        assert spent < 0.5
        assert len(text) <= 2**20
        assert got["n"] == 1
        shown = [f'"e{n}"' in text.decode() for n in range(count)]
        assert shown[0] and shown[-1]
        assert all(shown) or count == 300


def test_an_object_that_occurs_again_is_written_again() -> None:
    one = Entity("e", [1, 2])
    text = {"name": "e", "links": [1, 2]}
    value = {"a": one, "b": [one, {"c": one}], "d": Model(name="m", links=[one])}
    assert json.loads(encode_json(value)) == {
        "a": text,
        "b": [text, {"c": text}],
        "d": {"name": "m", "links": [text]},
    }


def test_a_long_object_is_named_where_it_occurs_again() -> None:
    for size in (8000, 9000):
        one = Entity("x" * size)
        got = json.loads(encode_json([one, one, {"again": one}]))
        whole = {"name": "x" * size, "links": []}
        other = whole if size == 8000 else "<again: Entity>"
        assert got == [whole, other, {"again": other}]


def test_equal_objects_are_not_the_same() -> None:
    """Nor are those that a mapping makes one after the other, at one address maybe."""

    class Makes(collections.UserDict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            return Entity(key + "x" * 9000)

    value = Makes({str(n): None for n in range(50)})
    got = json.loads(encode_json(value))
    assert [one["name"] for one in got.values()] == [
        f"{n}" + "x" * 9000 for n in range(50)
    ]
    pair = [Entity("x" * 9000), Entity("x" * 9000)]
    first, second = json.loads(encode_json(pair))
    assert first == second == {"name": "x" * 9000, "links": []}


def test_what_contains_itself_is_still_a_cycle() -> None:
    one = Entity("a")
    one.links = [Entity("b", [one])]
    assert json.loads(encode_json(one)) == {
        "name": "a",
        "links": [{"name": "b", "links": ["<cycle>"]}],
    }


def test_copies_do_not_nest_too_deep() -> None:
    """An object of many levels, in one of many levels, in one of many levels."""
    every: list[Any] = []
    for number in range(20):
        value: Any = list(every[-1:])
        for _ in range(90):
            value = [value]
        every.append(Entity(f"e{number}", value))
    value = json.loads(encode_json(every))
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            inner
            for one in level
            if isinstance(one, list | dict)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    assert deepest <= 202


def test_an_object_is_known_within_a_payload_that_is_too_long() -> None:
    one, large = Entity("e", [1]), Entity("y" * 3000)
    got = json.loads(
        encode_json([one, large, "x" * 9000, one, large, {"z": one}], max_payload=4096)
    )
    assert got[0] == got[3] == got[5]["z"] == {"name": "e", "links": [1]}
    assert "<cut: 6" in got[2] or "<cut: 7" in got[2] or "<cut: 8" in got[2]


@pytest.mark.parametrize("kind", [frozenset, collections.deque])
def test_sets_and_deques_that_share_others_are_walked_once(kind: Any) -> None:
    value: Any = kind(["first"])
    for _ in range(60):
        value = kind([(value, n) for n in range(3)])
    start = time.process_time()
    text = encode_json(value)
    assert time.process_time() - start < 0.02
    assert b"first" in text and b"<again: " in text and len(text) < 2**18


def test_many_distinct_objects_cost_what_they_cost() -> None:
    """The table of objects is no linear search."""
    few, many = [[Entity(f"{n}") for n in range(size)] for size in (4_000, 64_000)]

    def cost(value: Any) -> float:
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            encode_json(value)
            best = min(best, time.process_time() - start)
        return best / len(value)

    assert cost(many) < 3 * cost(few)
