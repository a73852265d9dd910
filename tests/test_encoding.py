"""What becomes of each kind of value: the table of docs/schema, row by row."""

import collections
import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import ipaddress
import json
import pathlib
import re
import struct
import types
import uuid
import warnings
import weakref
from typing import Any

import numpy as np
import pydantic
import pydantic_core
import pytest
import strategies
from helpers import minimal
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.types import Command, Interrupt, Send
from strategies import (
    Box,
    Colour,
    Crate,
    Int,
    Item,
    Level,
    Mood,
    OpenCrate,
    Order,
    Plain,
    Point,
    Slotted,
    Text,
    same,
    to_json_model,
)

from runlog._runlog import encode_json

INDIA = dt.timezone(dt.timedelta(hours=5, minutes=30))
MOVED = collections.OrderedDict(a=1, b=2, c=3)
MOVED.move_to_end("a")


def dumps(value: Any) -> bytes:
    """Compact JSON, as runlog writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
    -(2**63) - 1,
]
PLAIN += [10**100, -(10**4299), 10**4300 - 1, 0.5, -2.5, 1.0, 0.1, 123456.789]
PLAIN += [
    "",
    "text",
    "\u00e9 \u6f22 \U0001f642 \u2028 \x7f",
    '"\\/',
    "\x01\x1f\n\r\t\b\f",
    "\x80\uffff",
]
PLAIN += [
    [],
    {},
    [[]],
    {"": {}},
    [None, [True, {"a": [1.5, "x"]}]],
    "a" * 1000 + "\n",
    "\u00fc" * 63,
]

TABLE: list[tuple[Any, Any]] = [
    (float("nan"), "NaN"),
    (float("inf"), "Infinity"),
    (float("-inf"), "-Infinity"),
    (10**4300, hex(10**4300)),
    (-(10**4300), hex(-(10**4300))),
    (2**40000, "0x1" + "0" * 10000),
    ("a\0b", "a\ufffdb"),
    ("\ud800 \udfff \ud83d\ude42", "\ufffd \ufffd \ufffd\ufffd"),
    ("x" * 100 + "\udc00\0", "x" * 100 + "\ufffd\ufffd"),
    (b"", ""),
    (b"\x00\xff\x10", "AP8Q"),
    (b"a", "YQ=="),
    (bytearray(b"ab"), "YWI="),
    (memoryview(b"abcdef")[::2], "YWNl"),
    (dt.datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),
    (dt.datetime(2024, 1, 2, 3, 4, 5, 60, INDIA), "2024-01-02T03:04:05.000060+05:30"),
    (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "0001-01-01T00:00:00+00:00"),
    (dt.date(2024, 1, 2), "2024-01-02"),
    (dt.time(3, 4, 5), "03:04:05"),
    (dt.time(3, 4, 5, 6, dt.UTC), "03:04:05.000006+00:00"),
    (dt.timedelta(milliseconds=1500), 1.5),
    (dt.timedelta(days=-1, microseconds=1), -86399.999999),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.PurePosixPath("/a/b c"), "/a/b c"),
    (pathlib.PureWindowsPath("C:\\x"), "C:\\x"),
    (decimal.Decimal("1.10"), "1.10"),
    (decimal.Decimal("NaN"), "NaN"),
    (decimal.Decimal("1E+400"), "1E+400"),
    (fractions.Fraction(1, 3), "1/3"),
    (complex(1, -2), "(1-2j)"),
    (re.compile(r"a\d+", re.IGNORECASE), r"a\d+"),
    (re.compile(b"\xff"), "/w=="),
    (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
    (ipaddress.ip_address("2001:db8::1"), "2001:db8::1"),
    (Colour.RED, "red"),
    (Colour.PAIR, [1, 2]),
    (Level.HIGH, 2),
    (Mood.GOOD, "good"),
    (strategies.Bits.B, 2),
    (Text("sub"), "sub"),
    (Int(7), 7),
    (strategies.Float(1.5), 1.5),
    (MOVED, {"b": 2, "c": 3, "a": 1}),
    (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.UserDict({"a": 1}), {"a": 1}),
    (collections.ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}),
    ({None: 1}, {"null": 1}),
    ({True: 1}, {"true": 1}),
    ({1: 1, -(2**70): 2}, {"1": 1, str(-(2**70)): 2}),
    ({1.5: 1, float("nan"): 2}, {"1.5": 1, "NaN": 2}),
    ({dt.datetime(2024, 1, 2): 1}, {"2024-01-02T00:00:00": 1}),
    ({(1, 2): 1, (): 2, ("a", None): 3}, {"[1,2]": 1, "[]": 2, '["a",null]': 3}),
    ({Colour.RED: 1, Colour.PAIR: 2, Level.LOW: 3}, {"red": 1, "[1,2]": 2, "1": 3}),
    ({b"a": 1, "\0": 2}, {"YQ==": 1, "\ufffd": 2}),
    ({Slotted(1): 1, frozenset([1]): 2}, {'{"value":1}': 1, "[1]": 2}),
    ((1, "a"), [1, "a"]),
    ({1}, [1]),
    (frozenset("a"), ["a"]),
    (collections.deque([1, 2]), [1, 2]),
    (range(0, 6, 2), [0, 2, 4]),
    (range(0), []),
    (Point(1, Point(2, None)), {"x": 1, "y": {"x": 2, "y": None}}),
    (Box([1]), {"value": [1], "label": "box"}),
    (Slotted(Box(1, "b")), {"value": {"value": 1, "label": "b"}}),
    (Crate({1}), {"value": [1], "_hidden": 3}),
    (OpenCrate(None), {"value": None}),
    (
        Item(name="a", when=dt.datetime(2024, 1, 2)),
        {"name": "a", "score": 0.0, "when": "2024-01-02T00:00:00"},
    ),
    (
        Order(items=[Item(name="a")]),
        {
            "items": [{"name": "a", "score": 0.0, "when": None}],
            "amount": "1.10",
            "shout": "QUIET",
            "total": 1,
        },
    ),
    (Send("next", {"a": Point(1, 2)}), {"node": "next", "arg": {"a": {"x": 1, "y": 2}}}),
    (ValueError("bad"), {"error": "ValueError", "message": "bad"}),
    (KeyError("k"), {"error": "KeyError", "message": "'k'"}),
    (ValueError(), {"error": "ValueError", "message": ""}),
    (KeyboardInterrupt("stop"), {"error": "KeyboardInterrupt", "message": "stop"}),
    (strategies.function, "<strategies.function>"),
    (len, "<builtins.len>"),
    (Plain, "<strategies.Plain>"),
    (Plain(), "<strategies.Plain>"),
    (Plain().method, "<strategies.Plain.method>"),
    (object(), "<builtins.object>"),
    (json, "<json>"),
    (functools.partial(len), "<functools.partial>"),
    (int, "<builtins.int>"),
    (Point, "<strategies.Point>"),
    (Item, "<strategies.Item>"),
    (Box, "<strategies.Box>"),
    (Colour, "<strategies.Colour>"),
    (..., "<builtins.ellipsis>"),
    (np.bool_(True), True),
    (np.int8(-5), -5),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.float64(0.1), 0.1),
    (np.float32(0.5), 0.5),
    (np.float16(0.25), 0.25),
    (np.float64("nan"), "NaN"),
    (np.str_("s"), "s"),
    (np.bytes_(b"a"), "YQ=="),
    (np.datetime64("2024-01-02T03:04:05"), "2024-01-02T03:04:05"),
    (np.datetime64("2024-01-02"), "2024-01-02"),
    (np.array(5), 5),
    (np.array([]), []),
    (np.array([[1, 2], [3, 4]], dtype=np.int8), [[1, 2], [3, 4]]),
    (np.array([True, False]), [True, False]),
    (np.array([0.5, np.nan, np.inf], dtype=np.float32), [0.5, "NaN", "Infinity"]),
    (np.arange(10)[::3], [0, 3, 6, 9]),
    (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
    (np.arange(3, dtype=">i4"), [0, 1, 2]),
    (np.zeros((2, 0)), [[], []]),
    (np.array([1, None, {"a": b"a"}], dtype=object), [1, None, {"a": "YQ=="}]),
    (
        np.array(["2024-01-02", "2024-01-03"], dtype="datetime64[D]"),
        ["2024-01-02", "2024-01-03"],
    ),
    (np.array(["a", "bc"]), ["a", "bc"]),
]
TABLE += [(value, value) for value in PLAIN]
FIELDS = [
    HumanMessage("hi", id="m1"),
    AIMessage("yo", tool_calls=[{"name": "t", "args": {"a": 1}, "id": "c1"}]),
    ToolMessage("done", tool_call_id="c1"),
    Document(page_content="page", metadata={"source": pathlib.PurePosixPath("a.txt")}),
    Command(update={"a": 1}, goto="next"),
    Command(goto=[Send("a", 1), Send("b", 2)], graph=Command.PARENT),
    Interrupt(value={"question": "?"}, id="i1"),
]
TABLE += [(value, to_json_model(value)) for value in FIELDS]

ROWS = [f"{number}-{type(value).__name__}" for number, (value, _) in enumerate(TABLE)]


@pytest.mark.parametrize(("value", "expected"), TABLE, ids=ROWS)
def test_each_value_has_the_documented_text(value: Any, expected: Any) -> None:
    assert encode_json(value) == dumps(expected)
    assert encode_json([value, {"k": value}]) == dumps([expected, {"k": expected}])


def test_every_row_comes_back_from_the_store(recorder: Any) -> None:
    inputs = {row: value for row, (value, _) in zip(ROWS, TABLE, strict=True)}
    expected = {row: text for row, (_, text) in zip(ROWS, TABLE, strict=True)}
    recorder.log_run(minimal(inputs=inputs, outputs=[value for value, _ in TABLE]))
    got = recorder.get_run("r1")
    wrong = {
        key: got["inputs"][key]
        for key in expected
        if not same(got["inputs"][key], expected[key])
    }
    assert wrong == {}
    assert same(got["outputs"], list(expected.values()))


@pytest.mark.parametrize(("value", "expected"), TABLE, ids=ROWS)
def test_the_model_agrees_with_the_table(value: Any, expected: Any) -> None:
    assert same(to_json_model(value), expected)


def test_messages_and_documents_keep_their_type() -> None:
    types_of = [json.loads(encode_json(value)).get("type") for value in FIELDS[:4]]
    assert types_of == ["human", "ai", "tool", "Document"]


def test_secrets_of_pydantic_stay_secret() -> None:
    class Login(pydantic.BaseModel):
        pin: pydantic.SecretStr

    assert b"hunter2" not in encode_json(Login(pin=pydantic.SecretStr("hunter2")))


def test_regression_the_urls_of_pydantic_are_stored_as_their_text() -> None:
    class Page(pydantic.BaseModel):
        at: pydantic.HttpUrl
        base: pydantic.PostgresDsn

    page = Page.model_validate({"at": "https://h/x?a=1", "base": "postgres://u:p4ss@h/d"})
    assert json.loads(encode_json(page)) == {
        "at": "https://h/x?a=1",
        "base": "postgres://u:<redacted>@h/d",
    }
    core = [pydantic_core.Url("https://h/x"), pydantic_core.MultiHostUrl("redis://h:1/0")]
    assert json.loads(encode_json(core)) == ["https://h/x", "redis://h:1/0"]


def test_float32_is_stored_exactly() -> None:
    for value in (0.1, 3.4e38, 1e-45, 16777217.0):
        got = json.loads(encode_json(np.float32(value)))
        assert np.float32(got) == np.float32(value)
    assert [
        np.float32(x) for x in json.loads(encode_json(np.array([0.1, 0.2], np.float32)))
    ] == [
        np.float32(0.1),
        np.float32(0.2),
    ]


def test_numpy_times_finer_than_a_microsecond_stay_iso() -> None:
    got = json.loads(encode_json(np.datetime64("2024-01-02T03:04:05.000000006", "ns")))
    assert got.startswith("2024-01-02T03:04:05")


@pytest.mark.parametrize(
    "value", [lambda: 0, (x for x in ""), iter([]), object(), Plain(), open]
)
def test_no_address_is_stored(value: Any) -> None:
    text = json.loads(encode_json(value))
    assert re.fullmatch(r"<[\w.<>]+>", text)
    assert "0x" not in text


DOUBLES = [
    0.0,
    -0.0,
    5e-324,
    2.2250738585072014e-308,
    1e16,
    1e21,
    1e22,
    1e23,
    9007199254740993.0,
]
DOUBLES += [
    1e308,
    -1e308,
    1.7976931348623157e308,
    123456789012345680.0,
    1e-5,
    1e-4,
    0.3,
    2 / 3,
]
DOUBLES += [4.35, 100.0, 1e15, 9.5e-7, 299792458.0, 1.0000000000000002, 9e15, 3e-310]


def test_large_and_small_doubles_come_back_equal(recorder: Any) -> None:
    recorder.log_run(minimal(inputs=DOUBLES, outputs=np.array(DOUBLES)))
    got = recorder.get_run("r1")
    assert same(got["inputs"], DOUBLES)
    assert same(got["outputs"], DOUBLES)


@pytest.mark.parametrize("value", DOUBLES)
def test_doubles_have_as_few_digits_as_repr(value: Any) -> None:
    text = encode_json(value).decode()
    assert len(text) <= 24
    assert decimal.Decimal(text) == decimal.Decimal(repr(value))
    assert struct.pack("d", float(text)) == struct.pack("d", value)


def test_a_shared_value_is_no_cycle() -> None:
    shared: dict[str, Any] = {"a": [1]}
    value = [shared, shared, {"again": shared}, (shared, shared)]
    assert encode_json(value) == dumps(value)


def cyclic_list() -> tuple[Any, Any]:
    value: list[Any] = [1]
    value.append(value)
    return value, [1, "<cycle>"]


def cyclic_dict() -> tuple[Any, Any]:
    value: dict[str, Any] = {}
    value["a"] = [{"b": value}]
    return value, {"a": [{"b": "<cycle>"}]}


def cyclic_object() -> tuple[Any, Any]:
    value = Box(None)
    value.value = (Point(value, 2),)
    return value, {"value": [{"x": "<cycle>", "y": 2}], "label": "box"}


@pytest.mark.parametrize("make", [cyclic_list, cyclic_dict, cyclic_object])
def test_a_cycle_is_marked(recorder: Any, make: Any) -> None:
    value, expected = make()
    assert json.loads(encode_json(value)) == expected
    recorder.log_run(minimal(inputs=value))
    assert recorder.get_run("r1")["inputs"] == expected


def test_enums_whose_values_are_each_other_are_marked() -> None:
    """An Enum is replaced by its value. Here the values are members of each other."""
    make: Any = enum.Enum
    one, other = make("One", "A"), make("Other", "B")
    one.A._value_, other.B._value_ = other.B, one.A
    assert json.loads(encode_json([one.A, 1])) == ["<unserializable One>", 1]
    one.A._value_ = [other.B]
    assert json.loads(encode_json(one.A)) == ["<cycle>"]


def test_a_cycle_through_an_array_is_marked() -> None:
    value = np.empty(1, dtype=object)
    value[0] = [value]
    assert b'"<cycle>"' in encode_json(value)


def nested(depth: int, wrap: Any) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap", [lambda v: [v], lambda v: {"k": v}, Slotted, lambda v: (v,)]
)
def test_at_most_200_levels_are_stored(wrap: Any) -> None:
    assert encode_json(nested(200, wrap)) == dumps(to_json_model(nested(200, wrap)))
    assert b"too deep" not in encode_json(nested(200, wrap))
    assert encode_json(nested(201, wrap)) == dumps(to_json_model(nested(201, wrap)))
    assert encode_json(nested(201, wrap)).count(b'"<too deep>"') == 1


WRAPS = [
    lambda v: [v],
    lambda v: (v,),
    lambda v: {"k": v},
    lambda v: collections.deque([v]),
    lambda v: collections.UserDict(k=v),
    lambda v: types.MappingProxyType({"k": v}),
    Box,
    Slotted,
    Crate,
    lambda v: Point(v, 0),
    lambda v: Send("n", v),
    lambda v: Command(update=v),
]


@pytest.mark.parametrize(
    "wraps",
    [WRAPS[:1], WRAPS[2:3], WRAPS[7:8], WRAPS],
    ids=["list", "dict", "slots", "mixed"],
)
def test_100000_levels_are_cut_without_a_crash(recorder: Any, wraps: Any) -> None:
    value: Any = "bottom"
    layers = []  # freed from the outside in: CPython itself may overflow
    for number in range(100_000):
        value = wraps[number % len(wraps)](value)
        layers.append(value)
    recorder.log_run(minimal(inputs=value))
    assert encode_json(value).count(b"<too deep>") == 1
    assert "<too deep>" in json.dumps(recorder.get_run("r1")["inputs"])
    del value
    while layers:
        layers.pop()


class BadText(decimal.Decimal):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class BadError(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


class BadModel(pydantic.BaseModel):
    def model_dump(self, **_: Any) -> dict[str, Any]:
        raise StopIteration


class BadProperty(Box):
    @property
    def label(self) -> str:
        raise RecursionError("no label")

    @label.setter
    def label(self, value: str) -> None: ...


class BadItems(collections.UserDict[str, int]):
    def items(self) -> Any:
        yield "a", 1
        raise ZeroDivisionError

    def __iter__(self) -> Any:
        yield "a"
        raise ZeroDivisionError


class BadArray(np.ndarray):
    def tolist(self) -> Any:
        raise RuntimeError("no list")


class BadPath(pathlib.PurePosixPath):
    def __str__(self) -> str:
        raise MemoryError


class Loud:
    """Raises for every attribute, its class included."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


BAD = [
    BadText(1),
    BadError(),
    BadModel(),
    BadItems(a=1),
    BadPath("x"),
]


@pytest.mark.parametrize("value", BAD, ids=lambda value: type(value).__name__)
def test_a_value_whose_conversion_raises_is_named(recorder: Any, value: Any) -> None:
    text = f"<unserializable {type(value).__name__}>"
    assert json.loads(encode_json(value)) == text
    around = {"before": [1, value, 2], "after": {"k": value, "l": 3}}
    expected = {"before": [1, text, 2], "after": {"k": text, "l": 3}}
    assert json.loads(encode_json(around)) == expected
    recorder.log_run(minimal(inputs=around, node_logs=[{"node": "a", "outputs": value}]))
    got = recorder.get_run("r1")
    assert got["inputs"] == expected
    assert got["node_logs"] == [{"node": "a", "outputs": text}]


@dataclasses.dataclass
class BadFields:
    before: int = 1
    missing: int = dataclasses.field(init=False)
    raising: int = dataclasses.field(init=False)
    after: int = 3

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError if name == "raising" else AttributeError(name)


def test_a_field_that_raises_does_not_take_the_others_away() -> None:
    """One that is not set, or whose property raises."""
    marked = "<unserializable BadFields>"
    fields = {"before": 1, "missing": marked, "raising": marked, "after": 3}
    assert json.loads(encode_json([BadFields()])) == [fields]
    boxed = {"value": 1, "label": "<unserializable BadProperty>"}
    assert json.loads(encode_json([BadProperty(1)])) == [boxed]


def test_keys_whose_conversion_raises_are_named() -> None:
    assert json.loads(encode_json({BadText(1): 1, "b": 2})) == {
        "<unserializable BadText>": 1,
        "b": 2,
    }


def test_an_object_that_raises_for_all_attributes_is_named() -> None:
    assert json.loads(encode_json([Loud()])) in (
        [f"<{__name__}.Loud>"],
        ["<unserializable Loud>"],
    )
    assert json.loads(encode_json(np.zeros(1).view(BadArray))) in (
        [0.0],
        "<unserializable BadArray>",
    )


def test_regression_a_dump_that_nobody_asked_for_gives_no_warning() -> None:
    """The value of a field that has another type than it should is stored."""

    class Model(pydantic.BaseModel):
        n: int

        @pydantic.computed_field
        def twice(self) -> int:
            return 2

    model = Model(n=1)
    model.n = "one"  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert json.loads(encode_json(model)) == {"n": "one", "twice": 2}


class Nameless:
    pass


class SameText(enum.Enum):
    ONE = 1
    NONE = "null"
    PASSWORD = "password"


@pytest.mark.parametrize(
    "value",
    [
        {1: "a", "1": "b"},
        {"1": "a", 1: "b"},
        {None: 1, "null": 2, SameText.NONE: 3},
        {"x": {1.5: "a", "1.5": "b"}, "y": {1.5: "c"}},
        {Nameless(): 1, Nameless(): 2, Nameless(): 3},
        {(1, 2): 1, "[1,2]": 2},
        {float("nan"): 1, float("nan"): 2},
        collections.OrderedDict({1: "a", "1": "b"}),
        collections.UserDict({Nameless(): 1, Nameless(): 2}),
    ],
)
@pytest.mark.parametrize("size", [0, 2000])
def test_regression_keys_of_one_text_stay_apart(value: Any, size: int) -> None:
    """Else whoever reads the JSON has one of their values only."""
    got = json.loads(encode_json([value, "x" * size], max_payload=1024))[0]
    inner = value.get("x")
    if inner is None:
        assert list(got.values()) == list(value.values())
    else:
        assert list(got["x"].values()) == list(inner.values())
        assert got["y"] == {"1.5": "c"}


def test_regression_a_key_that_is_told_apart_is_still_a_secret() -> None:
    got = json.loads(encode_json({SameText.PASSWORD: "sesame", "password": "sesame"}))
    assert list(got.values()) == ["<redacted>"] * 2


class Dumped(pydantic.BaseModel):
    a: Any

    @pydantic.computed_field
    def b(self) -> int:
        return 1


def table_of(item: Any) -> Any:
    table = np.empty((300, 300), dtype=object)
    table[0, 0] = item
    return table


@pytest.mark.parametrize(
    "make",
    [
        lambda item: {item},
        lambda item: frozenset([item]),
        lambda item: collections.deque([item]),
        lambda item: collections.UserList([item]),
        lambda item: HumanMessage("x", extra=item),
        lambda item: Dumped(a=item),
        lambda item: Point(item, item),
        lambda item: types.MappingProxyType({"a": item}),
        lambda item: collections.OrderedDict(a=item),
        ValueError,
        table_of,
    ],
)
def test_regression_no_value_is_kept_alive(make: Any) -> None:
    """Also one that nothing but its container names."""
    item = Nameless()
    gone = weakref.ref(item)
    value = [make(item), "x" * 2000]
    del item
    assert encode_json(value) and encode_json(value, max_payload=1024)
    del value
    gc.collect()
    assert gone() is None


def test_a_pending_exception_is_left_alone() -> None:
    try:
        raise ValueError("outer")  # noqa: TRY301
    except ValueError as error:
        assert b"outer" in encode_json([BadError(), error])
    encode_json(BadModel())
    with pytest.raises(ZeroDivisionError):
        1 / 0  # noqa: B018
