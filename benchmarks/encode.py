"""Encoding: `encode_json` against `orjson.dumps`, CPU time of one thread.

Both return a bytes object; runlog also looks for secrets. Run records are measured
twice: just built, as a program passes them, and again as the same objects, whose texts
have their UTF-8 cached by CPython since the first time. A last figure is what the search
for secrets costs: the records with all rules over the same without any.
"""

import gc
import json
import time
from collections.abc import Callable
from typing import Any

import corpus
import orjson
from common import Claim, alternate, compare, report, set_up

from runlog._runlog import encode_json

RECORDS = 400
ROUNDS = 31
SECONDS = 12.0
LISTS = 16
REPEATS = 12
REDACTION = 1.05
Encoder = Callable[[Any], bytes]
RULES: dict[str, Encoder] = {
    "with": encode_json,
    "without": lambda value: encode_json(value, redact=()),
}
ENCODERS: dict[str, Encoder] = {"runlog": encode_json, "orjson": orjson.dumps}


def pass_over(encode: Encoder, values: list[Any], repeats: int) -> float:
    """Microseconds of CPU per value."""
    start = time.process_time_ns()
    for _ in range(repeats):
        for value in values:
            encode(value)
    return (time.process_time_ns() - start) / 1000 / (repeats * len(values))


def check_equal(values: list[Any]) -> None:
    """Check that both encoders write the same data; else their times say nothing."""
    for value in values:
        if (
            json.loads(encode_json(value)) != value
            or orjson.loads(orjson.dumps(value)) != value
        ):
            raise SystemExit(f"an encoder changed this value: {str(value)[:200]}")


def same_objects(values: list[Any], repeats: int) -> dict[str, list[float]]:
    """Rounds over objects that each encoder has encoded before."""

    def measure(name: str, _: int) -> float:
        return pass_over(ENCODERS[name], values, repeats)

    return alternate(list(ENCODERS), measure, ROUNDS, SECONDS)


def just_built(text: str) -> dict[str, list[float]]:
    """Rounds over objects that were just made from text, each used once."""

    def measure(name: str, _: int) -> float:
        values = json.loads(text)
        gc.collect()
        return pass_over(ENCODERS[name], values, 1)

    return alternate(list(ENCODERS), measure, ROUNDS, SECONDS)


def with_rules(text: str) -> dict[str, list[float]]:
    """Rounds over objects that were just made, with all rules and without."""

    def measure(name: str, _: int) -> float:
        values = json.loads(text)
        gc.collect()
        return pass_over(RULES[name], values, 1)

    return alternate(list(RULES), measure, ROUNDS, SECONDS)


def main() -> None:
    set_up()
    runs = corpus.records(RECORDS)
    normal = corpus.doubles(LISTS)
    widened = corpus.doubles(LISTS, float32=True)
    for values in (runs, normal, widened):
        check_equal(values)
    raw = {
        "run records, just built": just_built(json.dumps(runs)),
        "run records, the same again": same_objects(runs, 1),
        "1,536 doubles": same_objects(normal, REPEATS),
        "1,536 widened floats": same_objects(widened, REPEATS),
    }
    claims: list[Claim] = [
        compare(f"encode {name} / orjson", rounds["runlog"], rounds["orjson"], 1.0, "us")
        for name, rounds in raw.items()
    ]
    rules = with_rules(json.dumps(runs))
    claims.append(
        compare(
            "encode run records, all rules of redaction / none",
            rules["with"],
            rules["without"],
            REDACTION,
            "us",
        )
    )
    report(
        "encode",
        claims,
        {**raw, "redaction": rules},
        seed=corpus.SEED,
        notes={"unit": "microseconds of CPU a value", "corpus": corpus.describe(runs)},
    )


if __name__ == "__main__":
    main()
