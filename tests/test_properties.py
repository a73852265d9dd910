"""Drawn values: whatever goes in, what comes back is what json would hold."""

import decimal
import itertools
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fixtures_store import Store
from helpers import minimal
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from strategies import any_text, clean, same, to_json_model, values

import runlog
from runlog._runlog import encode_json

stored = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
encoded = settings(stored, max_examples=5 * stored.max_examples)
whole_text = st.text(st.characters(exclude_categories=()), max_size=300)
bits = st.integers(0, 2**64 - 1)


@pytest.fixture
def store_value(store: Store) -> Iterator[Any]:
    """Log a value as inputs, outputs, metadata and of a node; return what is kept."""
    numbers = itertools.count()
    with runlog.Recorder(**store.options, redact=[]) as recorder:

        def log_and_get(value: Any) -> Any:
            run_id = f"r{next(numbers)}"
            logs = [{"node": "n", "inputs": value, "outputs": value}]
            run = minimal(run_id, inputs=value, outputs=[value], node_logs=logs)
            recorder.log_run(run | {"metadata": {"value": value}})
            return recorder.get_run(run_id)

        yield log_and_get


def double(pattern: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", pattern))[0])


@stored
@given(value=values)
def test_a_value_comes_back_as_json_would_hold_it(store_value: Any, value: Any) -> None:
    expected = to_json_model(value)
    got = store_value(value)
    assert same(got["inputs"], expected)
    assert same(got["outputs"], [expected])
    assert same(got["metadata"], {"value": expected})
    assert same(
        got["node_logs"], [{"node": "n", "inputs": expected, "outputs": expected}]
    )


@encoded
@given(value=values)
def test_the_text_is_the_json_of_the_model(value: Any) -> None:
    text = encode_json(value, redact=[])
    assert same(json.loads(text.decode()), to_json_model(value))
    assert text == encode_json([value], redact=[])[1:-1]


@stored
@given(text=whole_text)
@example("\0")
@example("\ud800")
@example("\udbff\udfff")
@example("".join(map(chr, range(0x300))))
@example("a" * 15 + "\ud800" + "\u00ff" * 16 + "\0" + "\U0010ffff")
def test_no_text_fails(store_value: Any, text: Any) -> None:
    got = store_value({text: text})
    assert got["inputs"] == {clean(text): clean(text)}


@stored
@given(text=any_text, field=st.sampled_from(["thread_id", "error_type", "error_text"]))
def test_no_text_of_a_column_fails(recorder: Any, text: Any, field: Any) -> None:
    recorder.log_run(minimal(inputs=text, **{field: text}))
    got = recorder.get_run("r1")
    assert got["inputs"] == clean(text)
    if text:
        assert got[field] == clean(text)


@encoded
@given(pattern=bits)
def test_every_double_is_short_and_exact(pattern: Any) -> None:
    value = double(pattern)
    got = json.loads(text := encode_json(value).decode())
    assert same(got, to_json_model(value))
    if isinstance(got, float):
        assert len(text) <= 24
        assert decimal.Decimal(text) == decimal.Decimal(repr(value))
        assert struct.pack("<d", float(text)) == struct.pack("<d", value)


@stored
@given(patterns=st.lists(bits, min_size=20, max_size=60))
def test_every_double_comes_back_from_the_store(store_value: Any, patterns: Any) -> None:
    doubles = [double(pattern) for pattern in patterns]
    expected = [to_json_model(value) for value in doubles]
    got = store_value([*doubles, np.array(doubles)])
    assert same(got["inputs"], [*expected, expected])


@stored
@given(value=st.integers() | st.integers(1, 4300).map(lambda n: 10**n - 1))
def test_every_int_comes_back(store_value: Any, value: Any) -> None:
    assert same(store_value([value, -value])["inputs"], [value, -value])


@encoded
@given(value=values, cap=st.integers(1024, 3000))
def test_a_cap_never_spoils_the_json(value: Any, cap: Any) -> None:
    text = encode_json([value, "first", value, "last"], max_payload=cap, redact=[])
    whole = encode_json([value, "first", value, "last"], redact=[])
    got = json.loads(text.decode())
    assert len(text) <= cap
    assert len(got) == 4 and got[1] == "first" and got[3] == "last"
    if len(whole) <= cap:
        assert text == whole
    else:
        assert b"<cut" in text or b"<again" in text
