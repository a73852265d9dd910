"""The reader of JSON texts, core/json_read.h, compared with Python's json module."""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_c import ENVIRONMENT, build, core_library

__all__ = ["core_library"]

Read = Callable[[str], str]

DOUBLE = re.compile(r"-?(0x|inf$)")

TEXTS = st.text(max_size=8) | st.text('"\\/bfnrtu0123dDcCeE89ab \n', max_size=12)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r ")])
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(["delete", "insert", "replace", "cut"]),
        st.sampled_from('{}[]",:\\ue1-.0tn \n\x01\u00e9'),
    )
)


@pytest.fixture(scope="module")
def read(core_library: Path) -> Iterator[Read]:
    """A function that hands a text to the reader."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        program = build("json_driver", core_library, monkeypatch)
    process = subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(text: str) -> str:
        data = text.encode()
        stdin.write(struct.pack("<I", len(data)) + data)
        stdin.flush()
        return stdout.readline().decode().strip()

    yield ask
    stdin.close()
    assert process.wait(60) == 0
    stdout.close()


def notation(value: Any) -> str:
    """A value in the notation of the driver; objects are lists of pairs."""
    if isinstance(value, str):
        pairs = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return "s" + pairs.encode().hex()
    if isinstance(value, Pairs):
        inner = (f"{notation(key)}:{notation(item)}," for key, item in value.items)
        return "{" + "".join(inner) + "}"
    if isinstance(value, list):
        return "[" + "".join(f"{notation(item)}," for item in value) + "]"
    if isinstance(value, float):
        return value.hex()
    return {None: "null", True: "true", False: "false"}[value]


class Pairs:
    """An object with all its members, those of one key too."""

    def __init__(self, items: list[tuple[str, Any]]) -> None:
        self.items = items


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def expected(text: str) -> str:
    """What Python reads."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=Pairs,
            parse_int=float,
            parse_float=float,
            parse_constant=no_constant,
        )
    except ValueError:
        return "invalid"
    return notation(value)


def same(got: str, want: str) -> bool:
    """Whether two notations are the same, however C and Python print a double."""

    def parts(text: str) -> list[str]:
        spaced = "".join(f" {c} " if c in "{}[],:" else c for c in text)
        return [
            float.fromhex(part).hex() if DOUBLE.match(part) else part
            for part in spaced.split()
        ]

    return parts(got) == parts(want)


def apply(text: str, edits: list[tuple[float, str, str]]) -> str:
    """The text with some characters changed."""
    for place, kind, character in edits:
        at = int(place * len(text))
        if kind == "cut":
            text = text[:at]
        else:
            behind = at if kind == "insert" else at + 1
            text = text[:at] + ("" if kind == "delete" else character) + text[behind:]
    return text


@settings(max_examples=5 * settings().max_examples)
@given(VALUES, SEPARATORS, st.booleans(), EDITS)
@example("\ud83d\ude00 \ud83d \ude00", (",", ":"), True, [])
@example({"a": {"a": []}, "": {}}, (",", ":"), True, [])
def test_reads_what_json_reads(
    read: Read, value: Any, separators: Any, ascii_only: bool, edits: Any
) -> None:
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    text = apply(text, edits)
    assert same(read(text), expected(text))


@pytest.mark.parametrize("count", [15, 17, 19, 25, 800])
def test_reads_the_nearest_double(read: Read, count: int) -> None:
    rng = random.Random(count)
    for _ in range(1500):
        digits = "".join(rng.choices("0123456789", k=rng.randrange(1, count + 1)))
        fraction = "".join(rng.choices("05", k=rng.randrange(1, count + 1)))
        exponent = rng.randrange(-345 - len(digits), 310)
        text = rng.choice(["{}.{}", "{}.{}e{}", "-{}.{}E{:+}"])
        text = text.format(digits.lstrip("0") or "0", fraction, exponent)
        assert float.fromhex(read(text)) == float(text), text


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740993", "9007199254740992.5", "9007199254740993.0000000000001",
        "1e23", "8.5e22", "2.2250738585072011e-308", "4.9e-324", "1e309", "-0.0", "0",
        "2.4703282292062327e-324", "2.4703282292062328e-324", "1.7976931348623157e308",
        "1.7976931348623159e308", "-1e999999999999999999999", "1e-999999999999999999999",
        "-0", "0e999999999999", "0.000000000000000000000001", "123456789012345678901234",
        # halfway between two doubles, and a digit far behind that decides
        "9007199254740993" + "." + "0" * 900, "9007199254740993" + "." + "0" * 900 + "1",
        "1" + "0" * 400, "0." + "0" * 400 + "1", "0." + "0" * 300 + "1e300",
    ],
)  # fmt: skip
def test_reads_hard_numbers(read: Read, text: str) -> None:
    got = float.fromhex(read(text))
    assert (got, str(got)) == (float(text), str(float(text)))
