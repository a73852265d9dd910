"""What is replaced or cut before it is stored: secrets, and too large payloads."""

import collections
import dataclasses
import itertools
import json
import re
import threading
import time
import tracemalloc
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from fixtures_store import Store
from helpers import minimal, stored
from strategies import Box, Item

import runlog
from runlog._runlog import encode_json

SECRET = "hunter2-correct-horse"
DEFAULT_KEYS = ["password", "passwd", "secret", "token"]
DEFAULT_KEYS += ["api_key", "apikey", "authorization", "cookie"]


def stored_bytes(store: Store) -> bytes:
    """Everything that the database holds, and with SQLite its files to the last byte."""
    rows = store.query("SELECT * FROM workflow_runs")
    data = repr(rows).encode()
    if store.kind == "sqlite":
        path = Path(store.options["sqlite_path"])
        data += b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
    return data


@pytest.mark.parametrize(
    "key", [*DEFAULT_KEYS, "PassWord", "API-Key", "api-KEY", "Authorization"]
)
def test_the_value_of_a_secret_key_is_replaced(key: Any) -> None:
    for value in (SECRET, [SECRET], {"a": SECRET}, 5, None, Box(SECRET)):
        got = json.loads(encode_json({key: value, "k": [{key: value}]}))
        assert got == {key: "<redacted>", "k": [{key: "<redacted>"}]}


@pytest.mark.parametrize(
    "key", ["passwords", "tokens", "my_token", "secret ", "", "\u00fcpassword"]
)
def test_a_key_that_only_resembles_a_secret_is_stored(key: Any) -> None:
    assert json.loads(encode_json({key: 1})) == {key: 1}


class Pair(typing.NamedTuple):
    user: str
    password: str


def test_fields_of_objects_are_redacted() -> None:
    login = dataclasses.make_dataclass("Login", ["user", "password"])
    expected = {"user": "u", "password": "<redacted>"}
    assert json.loads(encode_json(login("u", SECRET))) == expected
    assert json.loads(encode_json(Pair("u", SECRET))) == expected
    model = pydantic.create_model("Model", user=(str, ...), password=(str, ...))
    assert json.loads(encode_json(model(user="u", password=SECRET))) == expected


def secretive_run() -> dict[str, Any]:
    return minimal(
        inputs={"password": SECRET, "deep": [{"headers": {"Authorization": SECRET}}]},
        outputs={"Set-Cookie": SECRET, "cookie": SECRET, "api-key": {"nested": SECRET}},
        node_logs=[
            {"node": "a", "inputs": {"token": SECRET}, "outputs": [{"secret": SECRET}]},
            {"node": "b", "token": SECRET},
        ],
        metadata={"apikey": SECRET, "user": "u"},
        passwd=SECRET,
    )


def test_no_secret_reaches_the_database(recorder: Any, store: Store) -> None:
    recorder.log_run(secretive_run())
    got = recorder.get_run("r1")
    assert got["inputs"] == {
        "password": "<redacted>",
        "deep": [{"headers": {"Authorization": "<redacted>"}}],
    }
    assert set(got["outputs"].values()) == {"<redacted>"}
    first, second = got["node_logs"]
    assert first["inputs"] == {"token": "<redacted>"}
    assert first["outputs"] == [{"secret": "<redacted>"}]
    assert second == {"node": "b", "token": "<redacted>"}
    assert got["metadata"] == {
        "apikey": "<redacted>",
        "user": "u",
        "passwd": "<redacted>",
    }
    assert SECRET.encode() not in stored_bytes(store)


@pytest.mark.parametrize(
    "keys", [["PIN", "credit-card"], ("pin", "credit_card"), "pin, Credit-Card"], ids=repr
)
def test_redact_keys_replace_the_default_list(store: Store, keys: Any) -> None:
    with runlog.Recorder(**store.options, redact=keys) as recorder:
        value = {"pin": 1, "Credit_Card": 2, "password": 3}
        recorder.log_run(minimal(inputs=value))
        expected = {"pin": "<redacted>", "Credit_Card": "<redacted>", "password": 3}
        assert stored(recorder)["inputs"] == expected
    assert json.loads(encode_json(value, redact=keys)) == expected


def test_redact_keys_can_come_from_the_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLOG_REDACT", "pin,credit-card")
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal(inputs={"pin": 1, "CREDIT-CARD": 2, "password": 3}))
        got = stored(recorder)["inputs"]
    assert got == {"pin": "<redacted>", "CREDIT-CARD": "<redacted>", "password": 3}


@pytest.mark.parametrize("empty", [[], (), ""], ids=repr)
def test_an_empty_list_redacts_nothing(store: Store, empty: Any) -> None:
    with runlog.Recorder(**store.options, redact=empty) as recorder:
        recorder.log_run(secretive_run())
        assert stored(recorder)["inputs"] == secretive_run()["inputs"]
    assert json.loads(encode_json({"password": 1}, redact=empty)) == {"password": 1}


CAP = 4096
MARK = re.compile(r"<cut: (\d+) (bytes|elements)>")
UNITS = [
    "a",
    "\u00fc",
    "\u6f22",
    "\U0001f642",
    "\x01",
    '"',
    "\\",
    "\n",
    'a\u00fc\u6f22\U0001f642\x01"\\',
]


def capped(value: Any, cap: int = CAP) -> Any:
    """A value as it is stored under the cap, which was checked to hold."""
    text = encode_json(value, max_payload=cap)
    assert len(text) <= cap
    return json.loads(text)


def check_text(got: str, whole: str) -> None:
    """Head and tail of the text, and a mark that counts the bytes between them."""
    mark = MARK.search(got)
    assert mark is not None, got[:100]
    head, tail = got[: mark.start()], got[mark.end() :]
    assert whole.startswith(head) and whole.endswith(tail)
    assert abs(len(head.encode()) - len(tail.encode())) < 0.9 * len(got.encode())
    middle = whole[len(head) : len(whole) - len(tail)]
    assert mark.group(1, 2) == (str(len(middle.encode())), "bytes")


def check_list(got: list[Any], whole: list[Any]) -> None:
    """First and last elements of the list, and a mark that counts those between them."""
    (at,) = [n for n, item in enumerate(got) if MARK.fullmatch(str(item))]
    head, tail = got[:at], got[at + 1 :]
    assert head and tail and head == whole[: len(head)] and tail == whole[-len(tail) :]
    assert got[at] == f"<cut: {len(whole) - len(head) - len(tail)} elements>"


@pytest.mark.parametrize("unit", UNITS, ids=ascii)
@pytest.mark.parametrize("shift", range(7))
def test_a_long_text_keeps_head_and_tail(unit: Any, shift: Any) -> None:
    value = "x" * shift + unit * 20_000
    assert len(encode_json(value, max_payload=CAP)) > CAP - 100
    check_text(capped(value), value)
    assert "\ufffd" not in capped(value)
    check_text(capped({"a": [1, {"k": value}, 2]})["a"][1]["k"], value)
    (key,) = capped({value: 1})
    check_text(key, value)


def test_of_a_text_too_long_to_count_the_characters_are_counted() -> None:
    got = capped("\u6f22" * 3_000_000)
    mark = re.search(r"<cut: (\d+) characters>", got)
    assert mark is not None
    assert len(got) - len(mark.group()) + int(mark.group(1)) == 3_000_000


NUMBERS = list(range(20_000))
LISTS: dict[str, Callable[[], Any]] = {
    "list": lambda: NUMBERS,
    "tuple": lambda: tuple(NUMBERS),
    "deque": lambda: collections.deque(NUMBERS),
    "long deque": lambda: collections.deque(range(100_000)),
    "UserList": lambda: collections.UserList(NUMBERS),
    "range": lambda: range(20_000),
    "array": lambda: np.arange(20_000),
    "strided array": lambda: np.repeat(np.arange(20_000), 2)[::2],
    "floats": lambda: np.arange(20_000, dtype="float64"),
    "objects": lambda: np.array([*NUMBERS, None], dtype=object)[:-1],
    "subclass": lambda: type("Mine", (list,), {})(NUMBERS),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_long_array_keeps_its_ends(name: Any) -> None:
    value = LISTS[name]()
    whole = list(range(100_000)) if name == "long deque" else NUMBERS
    for got in (capped(value), capped({"a": 1, "b": [value]})["b"][0]):
        if name == "floats":
            numbers = [number for number in got if not isinstance(number, str)]
            assert all(isinstance(number, float) for number in numbers)
        check_list(got, whole)
    assert len(encode_json(value, max_payload=CAP)) > CAP - 150


@pytest.mark.parametrize("name", ["columns", "times"])
def test_a_long_array_of_others_keeps_its_ends(name: Any) -> None:
    columns = np.arange(50_000).reshape(-1, 2)
    times = np.arange(20_000).astype("datetime64[s]")
    value = columns if name == "columns" else times
    whole = (
        columns.tolist() if name == "columns" else [t.isoformat() for t in times.tolist()]
    )
    check_list(capped(value), whole)


def test_a_set_keeps_as_many_elements_as_fit() -> None:
    for size in (20_000, 100_000):
        got = capped(set(range(size)))
        numbers = {number for number in got if isinstance(number, int)}
        assert numbers <= set(range(size)) and len(numbers) == len(got) - 1 > 500
        assert f"<cut: {size - len(numbers)} elements>" in got


class Mapped(collections.abc.Mapping[str, Any]):
    """A mapping that makes its values when they are asked for."""

    def __init__(self, size: int, value: Any = 0) -> None:
        self.size, self.value, self.read = size, value, 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Any:
        return iter(f"key_{number}" for number in range(self.size))

    def __getitem__(self, key: str) -> Any:
        self.read += 1
        return self.value


def table(size: int) -> dict[str, int]:
    return {f"key_{number}": number for number in range(size)}


class Ordered(dict[str, Any]):
    """A dict that says itself what its items are."""

    def items(self) -> Any:
        return super().items()


OBJECTS: dict[str, Any] = {
    "dict": (table(20_000), True),
    "OrderedDict": (collections.OrderedDict(table(20_000)), True),
    "proxy": (types.MappingProxyType(table(20_000)), True),
    "items": (Ordered(table(20_000)), True),
    "UserDict": (collections.UserDict(table(20_000)), False),
    "dataclass": (dataclasses.make_dataclass("Wide", table(500))(*range(500)), True),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_a_large_object_keeps_its_members_at_the_ends(name: Any) -> None:
    value, has_last = OBJECTS[name]
    whole = table(500 if name == "dataclass" else 20_000)
    for got in (capped(value), capped([{"inside": value}])[0]["inside"]):
        keys = list(got)
        at = keys.index("<cut>")
        head, tail = keys[:at], keys[at + 1 :]
        assert head == list(whole)[: len(head)]
        assert tail == list(whole)[len(whole) - len(tail) :]
        assert bool(tail) == has_last
        assert got.pop("<cut>") == f"{len(whole) - len(got)} members"
        assert got == {key: whole[key] for key in got}


def test_of_a_lazy_mapping_only_what_is_stored_is_read() -> None:
    for size, text in ((2000, "x" * 300), (30, "x" * 1_000_000), (2000, "x" * 100_000)):
        value = Mapped(size, text)
        got = capped({"before": 1, "lazy": value, "after": 2})
        assert got["before"] == 1 and got["after"] == 2
        assert value.read <= 2 * len(got["lazy"]) + 20
        if size == 30:
            assert len(got["lazy"]) == 30
            check_text(got["lazy"]["key_29"], text)


def test_what_a_mapping_can_not_give_is_marked() -> None:
    class Broken(Mapped):
        def __getitem__(self, key: str) -> Any:
            if key == "key_1":
                raise OSError("the file is gone")
            return super().__getitem__(key)

    class Short(Mapped):
        def __iter__(self) -> Any:
            yield "key_0"
            raise OSError("the file is gone")

    class Secretive(Mapped):
        def __iter__(self) -> Any:
            yield from ("password", "user")

    got = {"key_0": 0, "key_1": "<unserializable Broken>", "key_2": 0}
    assert json.loads(encode_json(Broken(3))) == got
    assert json.loads(encode_json(Short(3))) == "<unserializable Short>"
    shared = Item(name="n")
    assert json.loads(encode_json([Short(3, shared), shared, shared])) == [
        "<unserializable Short>",
        *json.loads(encode_json([Item(name="n")] * 2)),
    ]
    secretive = Secretive(2, SECRET)
    got = {"password": "<redacted>", "user": SECRET}
    assert json.loads(encode_json(secretive)) == got
    assert secretive.read == 1


def leaves(value: Any) -> list[Any]:
    """Numbers and short texts, which are never lost beside large ones."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


LARGE_VALUES: dict[str, Any] = {
    "text": "x" * 100_000,
    "wide text": "\u6f22" * 100_000,
    "bytes": b"x" * 100_000,
    "list": list(range(1000, 50_000)),
    "tables": [table(10)] * 1000,
    "dict": table(5000),
    "array": np.arange(1000, 50_000),
    "matrix": np.arange(1000, 50_000).reshape(-1, 7),
    "model": Item(name="n" * 100_000),
    "objects": [Item(name="n" * 10_000) for _ in range(50)],
    "lazy": Mapped(50, "x" * 10_000),
    "texts": ["x" * 700] * 60,
    "error": ValueError("x" * 100_000),
    "number": 10**4299,
    "nested": [[[["x" * 5000] * 10] * 10] * 10],
}


@pytest.mark.parametrize("large", LARGE_VALUES)
def test_small_values_beside_a_large_one_stay(large: Any) -> None:
    big = LARGE_VALUES[large]
    small = {"question": "what is on the picture?", "ok": True, "none": None, "n": 0.5}
    expected = sorted(map(repr, leaves([small, 1, 2, "end"])))
    shapes: list[Any] = [
        {"big": big, "small": small, "l": [1, 2], "z": "end"},
        {"small": small, "l": [1, 2], "z": "end", "big": big},
        [big, big, [1, [2, {"deep": [small, big]}]], big, "end"],
        [[[[[[big, small]]]], 1], 2, "end"],
        {"a": {"b": {"c": [small, {"d": big}, 1]}}, "e": [2, big], "f": "end"},
        [[1, 2, "end", small, *([0] * 40)], big],
    ]
    for value in shapes:
        got = capped(value, 8192)
        found = [repr(leaf) for leaf in leaves(got)]
        for leaf in set(expected):
            assert found.count(leaf) >= expected.count(leaf), (leaf, got)


def test_the_newest_message_and_the_first_one_stay() -> None:
    """A conversation past the cap, in which one message has a picture."""
    messages = [
        {"id": n, "role": "user", "content": f"message {n} " * 20} for n in range(1000)
    ]
    for picture in (0, 500, 999):
        messages[picture]["content"] = "p" * 3_000_000
    got = capped({"messages": messages, "answer": "a cat"}, 65536)
    assert got["answer"] == "a cat"
    assert [got["messages"][at]["id"] for at in (0, 1, -2, -1)] == [0, 1, 998, 999]
    check_text(got["messages"][-1]["content"], "p" * 3_000_000)
    assert got["messages"][-2] == messages[-2]


def test_a_redacted_key_that_is_cut_stays_redacted() -> None:
    key = "k" * 300
    value = {key: SECRET, "password": SECRET, "filler": ["x" * 2000] * 3}
    text = encode_json(value, max_payload=1024, redact=[key, "password"])
    assert len(text) <= 1024
    assert SECRET.encode() not in text
    assert list(json.loads(text).values())[:2] == ["<redacted>"] * 2


def exponential_value() -> Any:
    """A few objects that stand for 10**60 bytes."""
    value: Any = ["ha"] * 10
    for _ in range(60):
        value = [value] * 10
    return value


def endless() -> Any:
    """A mapping whose keys never end."""

    class Endless(Mapped):
        def __len__(self) -> int:
            raise OverflowError

        def __iter__(self) -> Any:
            return map(str, itertools.count())

    return Endless(0, [0])


HUGE: dict[str, Callable[[], Any]] = {
    "range": lambda: range(10**12),
    "range beyond 64 bits": lambda: range(10**30),
    "exponential": exponential_value,
    "endless": endless,
    "ints": lambda: list(range(3_000_000)),
    "lists": lambda: [list(range(1000))] * 1_000_000,
    "nested": lambda: [[[0] * 1_000_000] * 1000] * 1000,
    "dict": lambda: dict.fromkeys(range(1_000_000), "x"),
    "set": lambda: set(range(1_000_000)),
    "deque": lambda: collections.deque(range(1_000_000)),
    "texts": lambda: ["x" * 1_000_000] * 1_000_000,
    "text": lambda: "x" * 300_000_000,
    "wide text": lambda: "\u6f22" * 50_000_000,
    "bytes": lambda: bytes(200_000_000),
    "array": lambda: np.zeros(50_000_000),
    "matrix": lambda: np.zeros((25_000_000, 2)),
    "times": lambda: np.zeros(50_000_000, dtype="datetime64[s]"),
    "objects": lambda: np.empty(20_000_000, dtype=object),
    "keys": lambda: {"k" * 100_000_000: 1},
    "exception": lambda: ValueError([list(range(1000))] * 100_000),
    "exception of a state": lambda: ValueError("bad", {"x": [[0] * 1000] * 100_000}),
    "exception of objects": lambda: KeyError(exponential_value(), {1: {2, "x"}}),
    "exception of texts": lambda: RuntimeError("x" * 100_000_000, "y" * 100_000_000),
    "exception of an exception": lambda: RuntimeError(OSError(5, [0] * 10_000_000)),
    "exceptions": lambda: [KeyError([0] * 10_000, n) for n in range(10_000)],
}


@pytest.mark.parametrize("name", HUGE)
def test_work_and_memory_are_bounded_by_the_cap(name: Any) -> None:
    value = HUGE[name]()
    capped(value)
    peaks = [peak_of(lambda: capped(value))]
    start = time.process_time()
    capped(value)
    spent = time.process_time() - start
    peaks.append(peak_of(lambda: encode_json(value)))
    assert spent < 0.1
    assert peaks[0] < 2**20 and peaks[1] < 12 * 2**20


def peak_of(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100])
def test_a_payload_of_exactly_the_limit_is_whole(size: Any) -> None:
    value = "a" * (CAP - 2 - size)
    assert encode_json(value, max_payload=CAP) == f'"{value}"'.encode()
    value = [0] * ((CAP - size) // 2)
    assert json.loads(encode_json(value[:-1], max_payload=CAP)) == value[:-1]


def test_each_payload_of_a_run_is_cut_on_its_own(store: Store) -> None:
    large, small = NUMBERS, {"small": [1, 2]}
    node_logs: list[dict[str, Any]] = [
        {"node": "a", "status": "completed", "inputs": large, "outputs": small},
        {"node": "b", "inputs": small, "outputs": [large], "duration_ms": 1.5},
        {"node": "c", "inputs": small, "outputs": small},
    ]
    with runlog.Recorder(**store.options, max_payload=CAP) as recorder:
        recorder.log_run(minimal("r1", inputs=large, outputs=small, node_logs=node_logs))
        recorder.log_run(
            minimal("r2", inputs=small, outputs={"numbers": large}, metadata=small)
        )
        one, two = stored(recorder), stored(recorder, "r2")

    check_list(one["inputs"], large)
    assert one["outputs"] == two["inputs"] == two["metadata"] == small
    check_list(two["outputs"]["numbers"], large)
    first, second, third = one["node_logs"]
    check_list(first["inputs"], large)
    assert first | {"inputs": large} == node_logs[0]
    check_list(second["outputs"][0], large)
    assert second | {"outputs": [large]} == node_logs[1]
    assert third == node_logs[2]


def test_the_cap_can_come_from_the_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLOG_MAX_PAYLOAD", "4096")
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal(inputs=NUMBERS, node_logs={"no": "x" * 8000}))
        got = stored(recorder)
    check_list(got["inputs"], NUMBERS)
    assert len(json.dumps(got["inputs"], separators=(",", ":"))) <= CAP
    check_text(got["node_logs"]["no"], "x" * 8000)


def test_the_default_cap_is_a_mebibyte(recorder: Any) -> None:
    fits = ["x" * 1020] * 1024
    fits[0] = "x" * 2042
    assert len(encode_json(fits)) == 2**20 - 1
    recorder.log_run(minimal(inputs=fits, outputs=[*fits, 12]))
    got = recorder.get_run("r1")
    assert got["inputs"] == fits
    check_list(got["outputs"], [*fits, 12])


def test_values_may_change_while_they_are_encoded() -> None:
    items: list[Any] = [[1, "a"] for _ in range(50)]
    table: dict[str, Any] = {f"k{n}": {"n": n} for n in range(50)}
    value = {"items": items, "table": table, "both": [items, table]}
    stop = threading.Event()
    failures: list[BaseException] = []

    def mutate(seed: int) -> None:
        turn = seed
        try:
            while not stop.is_set():
                turn += 7
                items.append([turn, "x" * (turn % 50)])
                table[f"k{turn % 97}"] = {"n": [turn]}
                if items and turn % 3:
                    items.pop(0)
                table.pop(f"k{turn % 89}", None)
                if len(items) > 200 or turn % 1009 == 0:
                    items.clear()
                    table.clear()
        except IndexError:
            pass  # another of these threads was quicker
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=mutate, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    rounds, end = 0, time.monotonic() + 0.5
    while time.monotonic() < end or rounds < 20:
        got = json.loads(encode_json(value))
        assert got.keys() == value.keys()
        rounds += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


class Thief(collections.UserDict[str, Any]):
    """A mapping that empties its neighbours while it is read."""

    def __init__(self, victims: list[Any]) -> None:
        super().__init__(a=1)
        self.victims = victims

    def items(self) -> Any:
        for victim in self.victims:
            victim.clear()
        return super().items()

    def __iter__(self) -> Any:
        for victim in self.victims:
            victim.clear()
        return super().__iter__()


def test_a_conversion_may_empty_its_containers() -> None:
    for outer in ("items", "table", "ring"):
        victims: list[Any] = []
        thief = Thief(victims)
        items: list[Any] = [thief, *({"k": [n]} for n in range(100))]
        table: dict[Any, Any] = {"thief": thief, **{str(n): [n] for n in range(100)}}
        ring: collections.deque[Any] = collections.deque(items)
        victims += [items, table, ring]
        value = {"items": items, "table": table, "ring": ring}
        json.loads(encode_json(value[outer]))
        assert items == [] and table == {} and not ring


class Emptying(set[int]):
    """A set that empties what it is in while it is read."""

    def __init__(self, victims: list[Any]) -> None:
        super().__init__([1])
        self.victims = victims

    def __iter__(self) -> Any:
        for victim in self.victims:
            victim.clear()
        return super().__iter__()


def test_regression_an_argument_of_an_exception_may_change_the_others() -> None:
    """The text of the exception is measured while they do: this crashed."""
    for kind in (list, collections.deque):
        victims: list[Any] = []
        items: Any = [Emptying(victims), *([str(n)] for n in range(2000))]
        table: dict[str, Any] = {"a": Emptying(victims), "b": [[]] * 2000}
        outer = kind([items, table])
        victims += [items, table]
        assert encode_json([ValueError("bad", outer)])
        assert items == [] and table == {}


class Endless(dict[str, int]):
    """It gives what is no pair."""

    def items(self) -> Any:
        return itertools.repeat(1)


class Lists(dict[str, int]):
    def items(self) -> Any:
        return [[key, value] for key, value in super().items()]


class EndlessSet(set[int]):
    def __iter__(self) -> Any:
        return itertools.count()


def test_regression_a_container_that_never_ends_does() -> None:
    endless = Endless(a=1)
    assert json.loads(encode_json([endless])) == ["<unserializable Endless>"]
    got = json.loads(encode_json({"a": endless, "b": EndlessSet([1]), "c": 3}))
    assert got == {"a": {"<cut>": "1 members"}, "b": [0], "c": 3}


def test_regression_pairs_may_be_lists() -> None:
    assert json.loads(encode_json([Lists(a=1, b=2)])) == [{"a": 1, "b": 2}]


ERROR = 65536
TRACEBACK = 16384
NAME = 1024


@pytest.mark.parametrize("unit", ["x", "\u6f22", '"', "\U0001f642\n"], ids=ascii)
def test_every_text_of_a_run_is_capped(recorder: Any, store: Store, unit: Any) -> None:
    text = unit * 1_000_000
    recorder.log_run(
        minimal(
            status=text,
            error_type=text,
            error_text=text,
            error_traceback=text,
            metadata={"tags": [text, "small"], "user": "u", text: 1},
            note=text,
        )
    )
    (listed,) = recorder.list_runs().runs
    got = recorder.get_run("r1")
    for field, most in (("status", NAME), ("error_text", ERROR)):
        assert listed[field] == got[field]
        assert most - 200 < len(got[field].encode()) <= most
        check_text(got[field], text)
    check_text(got["error_type"], text)
    assert len(got["error_type"].encode()) <= NAME
    check_text(got["error_traceback"], text)
    assert TRACEBACK - 200 < len(got["error_traceback"].encode()) <= TRACEBACK
    assert len(json.dumps(got["metadata"], ensure_ascii=False).encode()) < 2**20 + 100
    assert got["metadata"]["user"] == "u" and got["metadata"]["tags"][1] == "small"


def test_an_exception_as_error_text_is_capped(recorder: Any) -> None:
    class StrangeError(Exception):
        def __str__(self) -> str:
            return "a\0\ud800" + "x" * 100_000 + "end"

    for number, error in enumerate(
        [StrangeError(), collections.UserString("a" + "x" * 100_000)]
    ):
        recorder.log_run(minimal(f"r{number}", error_text=error))
        got = recorder.get_run(f"r{number}")["error_text"]
        assert got.startswith("a") and ERROR - 200 < len(got) <= ERROR
        assert MARK.search(got) is not None
    assert recorder.get_run("r0")["error_text"].startswith("a\ufffd\ufffdxxx")
    assert recorder.get_run("r0")["error_text"].endswith("xend")


class NoTextError(ValueError):
    """It has the text of its base."""


class OwnTextError(KeyError):
    def __str__(self) -> str:
        return f"{len(self.args[0])} of them"


class Quiet:
    def __repr__(self) -> str:
        return "quiet"


NESTED: Any = {"a": [1, (2.5, None), {"b"}], b"c": frozenset({4}), 5: [[]]}
CYCLE: Any = [1]
CYCLE.append(CYCLE)
ERRORS: dict[str, BaseException] = {
    "a text": ValueError("it's bad"),
    "several": ValueError("bad", 1, None),
    "none": ValueError(),
    "containers": ValueError(NESTED),
    "containers and a text": NoTextError("bad", NESTED, collections.deque([NESTED])),
    "a cycle": ValueError(CYCLE, 1),
    "another's": RuntimeError(KeyError("k")),
    "a key": KeyError("k"),
    "keys": KeyError(("a", 1)),
    "a file": FileNotFoundError(2, "No such file", "a'b"),
    "two files": OSError(18, "Cross-device link", "a", None, b"b"),
    "an errno": OSError(5, NESTED),
    "an OSError of a text": OSError("closed"),
    "an import": ImportError("no module", name="x" * 100_000),
    "a line": SyntaxError("bad", ("a/b.py", 3, 1, "x" * 100_000)),
    "bytes": UnicodeDecodeError("utf-8", b"\xff" * 100_000, 0, 1, "invalid"),
    "a group": ExceptionGroup("several", [ValueError([0] * 100_000)] * 3),
    "an int": ValueError("bad", 10**2000, True),
    "an object": ValueError([Quiet()], Quiet()),
    "a long text": ValueError("x" * 60_000, "y"),
    "many": ValueError(list(range(10_000))),
    "its own": OwnTextError([0] * 1_000_000),
    "bytes as text": ValueError(b"a", bytearray(b"b"), collections.OrderedDict(a=1)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_exception_says_what_str_says(recorder: Any, name: Any) -> None:
    error = ERRORS[name]
    assert json.loads(encode_json(error))["message"] == str(error)
    recorder.log_run(minimal(error_text=error))
    assert recorder.get_run("r1")["error_text"] == str(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("first", {"x": [[0] * 1000] * 100_000}, {"last": 1}),
        NoTextError(["first", *range(10_000_000), "last"]),
        KeyError("first" + "x" * 10_000_000 + "last"),
        OSError(5, ["first", *range(1_000_000), "last"], "file"),
        SyntaxError(["first", *range(1_000_000), "last"]),
        RuntimeError(RuntimeError("first", bytes(10_000_000), "last")),
        ValueError("first", 10**1_000_000, "last"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_text_of_an_exception_costs_what_it_may_have(
    recorder: Any, error: Any
) -> None:
    spent = []
    for name in ("r1", "r2", "r3"):
        start = time.process_time()
        recorder.log_run(minimal(name, error_text=error))
        spent.append(time.process_time() - start)
    got = recorder.get_run("r1")["error_text"]
    assert "first" in got and "last" in got and len(got) <= ERROR
    assert min(spent) < 0.1


def test_a_secret_among_the_arguments_of_an_exception_is_hidden(recorder: Any) -> None:
    for number, size in enumerate((0, 1_000_000)):
        error = ValueError("bad", {"api_key": SECRET, "x": [0] * size})
        recorder.log_run(minimal(f"r{number}", error_text=error, inputs=error))
        got = recorder.get_run(f"r{number}")
        for said in (got["error_text"], json.dumps(got["inputs"])):
            assert "<redacted>" in said and SECRET not in said


def test_texts_up_to_the_cap_stay(recorder: Any) -> None:
    text = "\u00e4" * (ERROR // 2)
    name = "\n" * NAME
    recorder.log_run(minimal(error_text=text, thread_id=name, error_type="x" * NAME))
    got = recorder.get_run("r1")
    assert (got["error_text"], got["thread_id"]) == (text, name)
    assert got["error_type"] == "x" * NAME


def test_many_node_logs_keep_their_ends(store: Store) -> None:
    """Past 64 caps the logs in the middle give way, whole."""
    logs = [{"node": f"n{n}", "inputs": "x" * 1000, "n": n} for n in range(400)]
    with runlog.Recorder(**store.options, max_payload=1024) as recorder:
        recorder.log_run(minimal(node_logs=logs))
        got = stored(recorder)["node_logs"]
        check_list(got, logs)
        assert 60 * 1024 < len(json.dumps(got)) < 68 * 1024
        huge = {str(n): "x" * 1000 for n in range(1000)}
        recorder.log_run(minimal("r2", node_logs=[logs[0], huge, logs[1]]))
        first, middle, last = stored(recorder, "r2")["node_logs"]
        assert (first, last) == (logs[0], logs[1])
        assert middle["0"] == "x" * len(middle["0"]) or "<cut" in middle["0"]
        assert len(json.dumps(middle, separators=(",", ":"))) <= 1024


@pytest.mark.parametrize("length", [20_000, 3 * CAP])
def test_large_texts_of_a_lazy_mapping_are_read_as_far_as_they_are_stored(
    length: int, store: Store
) -> None:
    """Each would be a value of its own, and takes memory while the payload is kept."""
    lazy = Mapped(1000, "x" * length)
    with runlog.Recorder(**store.options, max_payload=CAP) as recorder:
        recorder.log_run(minimal(inputs=lazy))
        got = stored(recorder)["inputs"]
    assert got["key_0"] == "x" * length and lazy.read < 30


def test_metadata_of_a_lazy_mapping_is_read_as_far_as_it_is_stored(store: Store) -> None:
    lazy = Mapped(5000, "x" * 1000)
    with runlog.Recorder(**store.options, max_payload=CAP) as recorder:
        recorder.log_run(minimal(metadata=lazy))
        got = stored(recorder)["metadata"]
    assert got["key_0"] and lazy.read < 30
