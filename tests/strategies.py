"""Values of every kind that runlog stores, and what becomes of each.

`to_json_model` says in plain Python what runlog's encoder does in C: the value that
`json.loads` gives for the text that is stored. `same` compares the two, strictly.
"""

import base64
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import json
import math
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import pydantic
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.types import Command, Interrupt, Send

MAX_DEPTH = 200
LARGEST_NUMBER = 10**4300  # from here on an int is stored as text


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Bits(enum.Flag):
    A = 1
    B = 2


class Mood(enum.StrEnum):
    GOOD = "good"


class Point(typing.NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Box:
    value: Any
    label: str = "box"


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    value: Any


@attrs.define
class Crate:
    value: Any
    _hidden: int = 3


@attrs.define(slots=False)
class OpenCrate:
    value: Any


class Item(pydantic.BaseModel):
    name: str
    score: float = 0.0
    when: dt.datetime | None = None


class Order(pydantic.BaseModel):
    """Everything that makes model_dump differ from the fields as they are."""

    items: list[Item] = []
    amount: decimal.Decimal = decimal.Decimal("1.10")
    internal: str = pydantic.Field(default="kept out", exclude=True)
    shout: str = "quiet"

    @pydantic.field_serializer("shout")
    def _shout(self, value: str) -> str:
        return value.upper()

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        return len(self.items)


class Plain:
    def method(self) -> None: ...


class Text(str): ...


class Int(int): ...


class Float(float): ...


def function() -> None: ...


def clean(text: str) -> str:
    """The text as both stores can hold it: no NUL, no lone surrogate."""
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def qualified(value: object) -> str:
    """What stands for a value that has no JSON of its own."""
    if isinstance(value, types.ModuleType):
        return f"<{value.__name__}>"
    named = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
    owner: Any = value if isinstance(value, named) else type(value)
    return f"<{owner.__module__}.{owner.__qualname__}>"


def key_text(key: Any) -> str:
    """The text of an object's key: a text as it is, anything else its JSON."""
    model = to_json_model(key)
    if isinstance(model, str):
        return model
    return json.dumps(model, ensure_ascii=False, separators=(",", ":"))


def _float(value: float) -> Any:
    if math.isnan(value):
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return float(value)


def _int(value: int) -> Any:
    return hex(value) if abs(value) >= LARGEST_NUMBER else int(value)


_TEXTS = (
    uuid.UUID,
    pathlib.PurePath,
    decimal.Decimal,
    fractions.Fraction,
    complex,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
)
_SCALARS: list[tuple[Any, Callable[[Any], Any]]] = [
    (type(None), lambda v: v),
    ((bool, np.bool_), bool),
    (enum.Enum, lambda v: to_json_model(v.value)),
    (int, _int),
    (float, _float),
    (str, lambda v: clean(str.__str__(v))),
    ((bytes, bytearray, memoryview), lambda v: base64.b64encode(bytes(v)).decode()),
    ((dt.datetime, dt.date, dt.time), lambda v: v.isoformat()),
    (dt.timedelta, lambda v: v.total_seconds()),
    (_TEXTS, lambda v: clean(str(v))),
    (re.Pattern, lambda v: to_json_model(v.pattern)),
    (np.datetime64, str),
    (np.generic, lambda v: to_json_model(v.item())),
]


def _fields(value: Any) -> Mapping[Any, Any] | None:  # noqa: PLR0911
    """The members of a value that is stored as an object."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump()
    if isinstance(value, Send):
        return {"node": value.node, "arg": value.arg}
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)
    return None


def to_json_model(  # noqa: PLR0911
    value: Any, _path: tuple[int, ...] = ()
) -> Any:
    """What `json.loads` gives for the text that runlog stores for a value."""
    for kinds, convert in _SCALARS:
        if isinstance(value, kinds):
            return convert(value)
    if isinstance(value, BaseException):
        return {"error": type(value).__name__, "message": clean(str(value))}
    if isinstance(value, np.ndarray):
        return to_json_model(value.tolist(), _path)
    fields = _fields(value)
    sequence = (list, tuple, set, frozenset, collections.deque, range)
    if fields is None and not isinstance(value, sequence):
        return qualified(value)
    if id(value) in _path:
        return "<cycle>"
    if len(_path) >= MAX_DEPTH:
        return "<too deep>"
    path = (*_path, id(value))
    if fields is not None:
        return {key_text(k): to_json_model(v, path) for k, v in fields.items()}
    return [to_json_model(v, path) for v in value]


def same(got: Any, expected: Any) -> bool:
    """Equality that tells 1, 1.0 and True apart."""
    if type(got) is not type(expected):
        return False
    if isinstance(got, dict):
        return got.keys() == expected.keys() and all(
            same(got[k], expected[k]) for k in got
        )
    if isinstance(got, list):
        return len(got) == len(expected) and all(map(same, got, expected))
    return bool(got == expected)


any_text = st.text(st.characters(exclude_categories=()), max_size=20)
safe_text = st.text(max_size=20)
offsets = st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
zones = st.one_of(st.none(), st.just(dt.UTC), offsets)
names = st.sampled_from(["out of range", "", "\u00fc\n\"'", "nul\0\ud800"])

hashables: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(1e-3, 1e6),
    any_text,
    st.binary(max_size=20),
    st.dates(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.sampled_from([Colour.RED, Colour.PAIR, Level.HIGH, Mood.GOOD, Text("t"), Int(7)]),
    st.tuples(st.integers(), st.booleans(), st.none()),
    st.builds(Slotted, st.integers()),
    st.ip_addresses(),
)
items = st.builds(
    Item, name=safe_text, score=st.floats(), when=st.none() | st.datetimes()
)
arrays = st.sampled_from(["int8", "uint64", "bool", "float64"]).flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3))
)
scalars: st.SearchStrategy[Any] = st.one_of(
    hashables,
    st.floats(),
    st.floats().map(Float),
    st.integers(-(2**70), 2**70),
    st.integers(1, 5000).map(lambda n: 10**n - 1),
    st.binary(max_size=20).map(bytearray),
    st.binary(max_size=20).map(lambda data: memoryview(data)[:]),
    st.datetimes(timezones=zones),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.complex_numbers(),
    any_text.map(pathlib.PurePosixPath),
    st.sampled_from([re.compile(r"a+\d"), re.compile(b"\xff"), re.compile("\u00fc")]),
    st.sampled_from([function, len, Plain, Plain().method, Plain(), json, Ellipsis]),
    st.builds(ValueError, names)
    | st.builds(KeyError, names)
    | st.builds(OSError, st.integers()),
    st.floats().map(np.float64) | st.integers(-128, 127).map(np.int8),
    st.booleans().map(np.bool_) | st.integers(0, 2**64 - 1).map(np.uint64),
    arrays,
    items,
    st.builds(Order, items=st.lists(items, max_size=3), shout=safe_text),
    st.builds(HumanMessage, safe_text) | st.builds(AIMessage, safe_text),
    st.builds(
        Document,
        page_content=safe_text,
        metadata=st.dictionaries(safe_text, st.integers()),
    ),
    st.sets(hashables, max_size=4) | st.frozensets(hashables, max_size=4),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.sampled_from([-2, 1, 3])),
)


def _containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(children, max_size=5)
    dicts = st.dictionaries(hashables, children, max_size=5)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(collections.deque),
        dicts,
        dicts.map(collections.OrderedDict),
        dicts.map(lambda d: collections.defaultdict(list, d)),
        dicts.map(types.MappingProxyType),
        dicts.map(collections.UserDict),
        st.tuples(dicts, dicts).map(lambda pair: collections.ChainMap(*pair)),
        st.lists(hashables, max_size=5).map(collections.Counter),
        st.builds(Point, children, children),
        st.builds(Box, children, any_text),
        st.builds(Slotted, children),
        st.builds(Crate, children),
        st.builds(OpenCrate, children),
        st.builds(Send, safe_text, children),
        st.builds(Command, update=children, goto=st.just("next")),
        st.builds(lambda value: Interrupt(value=value, id="i1"), children),
    )


values: st.SearchStrategy[Any] = st.recursive(scalars, _containers, max_leaves=12)
