"""Large texts, which are kept once: what the encoder makes of them."""

import base64
import json
import re
import time
from typing import Any

import numpy as np
import pytest
from handler_graphs import begin_root, uuid7
from strategies import Item

from runlog._runlog import encode_json
from runlog.hooks import RunLogHandler

FROM = 8192
TEXTS = [
    "x",
    "\u00e4",
    "\u6f22",
    "\U0001f642",
    '"',
    "\n",
    'a\u00fc\u6f22\U0001f642\x01"\\',
]


def encoded(value: Any, **options: Any) -> tuple[Any, dict[str, bytes]]:
    """The payload, and its values by name."""
    values: dict[str, bytes] = {}
    text = encode_json(value, values=values, **options)
    assert len(text) <= options.get("max_payload", 2**20)
    return json.loads(text), values


def restored(payload: Any, values: dict[str, bytes]) -> Any:
    """The payload with its values put back; checks their marks."""
    if isinstance(payload, list):
        return [restored(item, values) for item in payload]
    if not isinstance(payload, dict):
        return payload
    if "$value" not in payload:
        return {key: restored(item, values) for key, item in payload.items()}
    assert list(payload) == ["$value", "bytes", "head"]
    assert re.fullmatch("[0-9a-f]{32}", payload["$value"])
    text = values[payload["$value"]]
    whole = json.loads(text)
    assert len(text) == payload["bytes"] >= FROM
    assert whole.startswith(payload["head"]) and 20 <= len(payload["head"]) <= 200
    return whole


@pytest.mark.parametrize("unit", TEXTS, ids=ascii)
def test_a_large_text_becomes_a_value(unit: Any) -> None:
    size = len(json.dumps(unit, ensure_ascii=False).encode()) - 2
    for count, is_value in ((FROM // size - 3, False), (FROM // size + 1, True)):
        text = unit * count
        payload, values = encoded({"a": text, "b": [1, {"c": text}], "d": 2})
        assert restored(payload, values) == {"a": text, "b": [1, {"c": text}], "d": 2}
        assert len(values) == is_value


@pytest.mark.parametrize(
    "value",
    [
        b"x" * 10_000,
        bytearray(b"x" * 10_000),
        memoryview(b"x" * 10_000),
        np.str_("x" * 10_000),
        type("Mine", (str,), {})("x" * 10_000),
        ValueError("x" * 10_000),
        Item(name="n" * 10_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_large_text_becomes_a_value(value: Any) -> None:
    payload, values = encoded([value, value])
    assert restored(payload, values)[0] == json.loads(encode_json(value))
    assert len(values) == 1 and len(encode_json([value, value], values={})) < 1000


def test_what_is_no_text_and_what_is_a_key_stays() -> None:
    for value in ({"k" * 10_000: 1}, {("k" * 10_000,): 1}, list(range(5000)), "x" * 8000):
        payload, values = encoded(value)
        assert values == {}
        assert payload == json.loads(encode_json(value))


def test_a_value_is_at_most_max_value() -> None:
    for text in ("x" * 5000 + "y" * 100_000_000 + "z" * 5000, b"x" * 100_000):
        payload, values = encoded({"a": text, "b": 1}, max_value=16_384)
        whole = restored(payload, values)["a"]
        assert 16_000 < len(next(iter(values.values()))) <= 16_384
        plain = text if isinstance(text, str) else base64.b64encode(text).decode()
        head, count, tail = re.split(r"<cut: (\d+) bytes>", whole)
        assert plain.startswith(head) and plain.endswith(tail)
        assert len(head) + int(count) + len(tail) == len(plain)
        assert payload["b"] == 1


def test_a_huge_text_costs_no_more_than_max_value() -> None:
    large, small = "x" * 300_000_000, "x" * (1 << 20)

    def cost(text: str) -> float:
        start = time.process_time()
        encode_json(text, values={}, max_value=1 << 20)
        return time.process_time() - start

    assert (
        min(cost(large) for _ in range(5))
        < 4 * min(cost(small) for _ in range(5)) + 0.002
    )


def test_values_of_one_payload_are_bounded() -> None:
    """Past 64 MiB of values, texts are cut like anything else."""
    texts = [str(n) + "x" * 10_000_000 for n in range(20)]
    payload, values = encoded([*texts, "last"])
    assert 40 << 20 < sum(map(len, values.values())) <= 64 << 20
    got = restored(payload, values)
    assert len(got) == 21 and got[-1] == "last"
    assert all(one.startswith(str(n)) for n, one in enumerate(got[:-1]))


def test_a_payload_too_long_for_its_marks_keeps_its_ends() -> None:
    for cap in (1024, 4096):
        value = [*(f"{n} " + "x" * 9000 for n in range(200)), {"answer": 42}]
        payload, values = encoded(value, max_payload=cap)
        got = restored(payload, values)
        assert got[0] == value[0] or got[0].startswith("0 x")
        assert got[-1] == {"answer": 42}
        names = set(re.findall('"\\$value": "([^"]*)"', json.dumps(payload)))
        assert names <= set(values)


def test_a_redacted_value_is_no_value() -> None:
    payload, values = encoded({"password": "x" * 10_000, "token": b"x" * 10_000})
    assert payload == {"password": "<redacted>", "token": "<redacted>"}
    assert values == {}


def node_cost(handler: Any, document: Any) -> float:
    """The median of a node with an unchanged document in its state, in CPU seconds."""
    root = begin_root(handler, doc=document, n=-1)
    costs = []
    for n in range(200):
        run_id, state = uuid7(), {"doc": document, "n": n}
        metadata = {"langgraph_checkpoint_ns": str(n), "langgraph_step": n}
        start = time.thread_time()
        handler.on_chain_start(
            None,
            state,
            run_id=run_id,
            parent_run_id=root,
            tags=[],
            metadata={"ls_integration": "langgraph", **metadata},
            name="node",
        )
        handler.on_chain_end({"n": n}, run_id=run_id)
        costs.append(time.thread_time() - start)
    handler.on_chain_end({"n": 0}, run_id=root)
    return sorted(costs)[100]


@pytest.mark.long_with("postgres")
@pytest.mark.parametrize("unit", ["x", "\u6f22", b"x"], ids=ascii)
def test_an_unchanged_large_text_costs_a_lookup(recorder: Any, unit: Any) -> None:
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=None)
    small, large = unit * 64_000, unit * 5_000_000
    ratios: list[float] = []
    while len(ratios) < 8 and min(ratios, default=2) >= 1.5:  # others take the caches
        ratios.append(node_cost(handler, large) / node_cost(handler, small))
    assert min(ratios) < 1.5, ratios
