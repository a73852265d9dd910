"""What is replaced or cut before it is stored: secrets, and too large payloads."""

import collections
import dataclasses
import json
import re
import threading
import time
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from fixtures_store import Store
from helpers import minimal, stored
from strategies import Box, Item, Point

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
        outputs={"Set-Cookie": "kept", "cookie": SECRET, "api-key": {"nested": SECRET}},
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
    assert got["outputs"]["Set-Cookie"] == "kept"
    assert got["outputs"]["cookie"] == got["outputs"]["api-key"] == "<redacted>"
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
MARK = re.compile(rb"<cut: (\d+) bytes>")
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


def capped(value: Any) -> tuple[bytes, bytes]:
    """The whole text of a value and the cut one, which was checked to be well formed."""
    whole, cut = encode_json(value), encode_json(value, max_payload=CAP)
    json.loads(cut)
    assert len(cut) <= CAP + 300
    assert {int(size) for size in MARK.findall(cut)} == {len(whole)}
    return whole, cut


@pytest.mark.parametrize("unit", UNITS, ids=ascii)
@pytest.mark.parametrize("shift", range(7))
def test_a_long_text_is_cut_between_characters(unit: Any, shift: Any) -> None:
    value = "x" * shift + unit * 20_000
    whole, cut = capped(value)
    got = json.loads(cut)
    assert len(cut) > CAP // 2
    assert got.endswith(f"<cut: {len(whole)} bytes>")
    assert value.startswith(got[: got.index("<cut: ")])
    assert "\ufffd" not in got


def test_a_long_array_ends_with_the_mark() -> None:
    value = list(range(20_000))
    whole, cut = capped(value)
    got = json.loads(cut)
    assert len(cut) > CAP // 2
    assert got[-1] == f"<cut: {len(whole)} bytes>"
    assert got[:-1] == value[: len(got) - 1]


def test_a_large_object_has_the_mark_as_a_member() -> None:
    value = {f"key {number}": number for number in range(20_000)}
    whole, cut = capped(value)
    got = json.loads(cut)
    assert len(cut) > CAP // 2
    assert got.pop("<cut>") == f"<cut: {len(whole)} bytes>"
    assert list(got.items()) == list(value.items())[: len(got)]


NESTED = [
    {"a": 1, "b": ["x" * 50] * 1000, "c": {"d": "after"}},
    [{"k": "\u6f22" * 10_000}, "after"],
    {"a": {"b": {"c": [1, [2, ["y" * 50_000]]]}}},
    [[[number] * 10] for number in range(5000)],
    [{"k" * 3000: 1, "j" * 3000: 2}],
    {"k" * 50_000: 1},
    [10**4299] * 10,
    [0.1234567890123] * 5000,
    Box(Point(b"\0" * 50_000, 1)),
    np.arange(50_000).reshape(2, -1),
    [Item(name="n" * 100)] * 500,
    range(100_000),
]


@pytest.mark.parametrize("value", NESTED, ids=range(len(NESTED)))
def test_the_text_before_the_cut_is_unchanged(value: Any) -> None:
    whole, cut = capped(value)
    before = cut[: cut.index(b"<cut: ")]
    for opening in (b'"<cut>":"', b'"'):
        before = before.removesuffix(opening)
    assert whole.startswith(before.rstrip(b","))


def exponential_value() -> Any:
    """A few objects that stand for 10**60 bytes."""
    value: Any = ["ha"] * 10
    for _ in range(60):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    "value", [range(10**12), exponential_value()], ids=["range", "exponential_value"]
)
def test_a_value_too_large_to_count_is_only_marked(value: Any) -> None:
    cut = encode_json(value, max_payload=CAP)
    json.loads(cut)
    assert len(cut) <= CAP + 300
    (size,) = re.findall(rb"<cut: over (\d+) bytes>", cut)
    assert int(size) > CAP


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100])
def test_a_payload_of_exactly_the_limit_is_whole(size: Any) -> None:
    value = "a" * (CAP - 2 - size)
    assert encode_json(value, max_payload=CAP) == f'"{value}"'.encode()
    value = [0] * ((CAP - size) // 2)
    assert json.loads(encode_json(value[:-1], max_payload=CAP)) == value[:-1]


def test_each_payload_of_a_run_is_cut_on_its_own(store: Store) -> None:
    large, small = "x" * 20_000, {"small": [1, 2]}
    node_logs: list[dict[str, Any]] = [
        {"node": "a", "status": "completed", "inputs": large, "outputs": small},
        {"node": "b", "inputs": small, "outputs": [large], "duration_ms": 1.5},
        {"node": "c", "inputs": small, "outputs": small},
    ]
    with runlog.Recorder(**store.options, max_payload=CAP) as recorder:
        recorder.log_run(minimal("r1", inputs=large, outputs=small, node_logs=node_logs))
        recorder.log_run(
            minimal("r2", inputs=small, outputs={"text": large}, metadata=small)
        )
        one, two = stored(recorder), stored(recorder, "r2")

    mark = "<cut: 20002 bytes>"
    assert one["inputs"].endswith(mark)
    assert one["outputs"] == two["inputs"] == two["metadata"] == small
    assert large not in two["outputs"]["text"]
    first, second, third = one["node_logs"]
    assert first["inputs"].endswith(mark)
    assert first | {"inputs": large} == node_logs[0]
    assert second["outputs"] != node_logs[1]["outputs"]
    assert second | {"outputs": [large]} == node_logs[1]
    assert third == node_logs[2]


def test_the_cap_can_come_from_the_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLOG_MAX_PAYLOAD", "4096")
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal(inputs="x" * 20_000, node_logs={"no": "x" * 20_000}))
        got = stored(recorder)
    assert got["inputs"].endswith("<cut: 20002 bytes>")
    assert "<cut: 20009 bytes>" in json.dumps(got["node_logs"])


def test_the_default_cap_is_a_mebibyte(recorder: Any) -> None:
    fits, large = "x" * (2**20 - 2), "x" * 2**20
    recorder.log_run(minimal(inputs=fits, outputs=large))
    got = recorder.get_run("r1")
    assert got["inputs"] == fits
    assert got["outputs"].endswith(f"<cut: {2**20 + 2} bytes>")


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
