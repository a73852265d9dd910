"""Failures in groups, sums of many runs, tracebacks, and numbers as people read them."""

from __future__ import annotations

from typing import Any

import pytest
from test_views import at, log, run

from runlog._counts import Counts
from runlog.views.errors import group, template
from runlog.views.money import cost_of
from runlog.views.summary import by_node, percentile, sparkline, totals
from runlog.views.traceback import own_frames
from runlog.views.words import ago, brief, count, duration, size


def test_templates() -> None:
    for message, expected in (
        ("order 123 of 45.6 failed", "order <n> of <n> failed"),
        ("no run 0188b5f6-1e00-7abc-8def-000000000001", "no run <uuid>"),
        ("GET https://a.example/x?y=1 timed out", "GET <url> timed out"),
        ("/srv/app/x.txt: not UTF-8", "<path>: not UTF-8"),
        ("ada@example.org at 10.0.0.7:5432", "<email> at <address>"),
        (
            "since 2026-11-30T12:00:00Z, 0xdeadbeef, 9f86d081884c",
            "since <time>, <hex>, <hex>",
        ),
        ("'price'", "'price'"),
    ):
        assert template(message) == expected
        assert template(expected) == expected


def test_groups() -> None:
    def failed(number: int, text: str, node: str = "a") -> Any:
        error = {"error_type": "E", "error_text": text}
        return run(
            log(node, "failed", **error),
            status="failed",
            run_id=f"r{number}",
            wpk_id="w",
            **error,
        )

    found = group(
        [failed(3, "no 3"), failed(2, "no 2"), failed(1, "other"), failed(0, "no 1", "b")]
    )
    assert [(one.number, one.node, one.template, one.newest) for one in found] == [
        (2, "a", "no <n>", "r3"),
        (1, "a", "other", "r1"),
        (1, "b", "no <n>", "r0"),
    ]


def test_sums() -> None:
    assert percentile([], 0.5) is None
    assert [percentile([3, 1, 2, 4], share) for share in (0.5, 0.95, 0.0)] == [2, 4, 1]
    rows = [
        {"status": "completed", "duration_ms": ms, "created_at": at(ms * 1000)}
        for ms in range(1, 101)
    ]
    spans = [{"completed": 3}, {}, {"completed": 1, "failed": 2}]
    counts = Counts(6, {"completed": 4, "failed": 2}, None, None, spans, True)
    found = totals(counts, rows)
    assert (found.runs, found.timed, found.p50, found.p95, found.p99) == (
        6,
        100,
        50,
        95,
        99,
    )
    assert found.spark == (3, 0, 3)
    assert sparkline([0, 1, 8]) == " ▁█"
    nodes, retried, tokens = by_node(
        [run(log("a", tokens={"total": 5}), log("a", "failed", attempt=2))]
    )
    assert (nodes[0].number, nodes[0].failed, nodes[0].retried, retried, tokens) == (
        2,
        1,
        1,
        1,
        5,
    )


def test_own_frames() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/x/site-packages/l.py", line 4, in invoke [library]\n'
        "    ret = self.func()\n"
        '  File "/app/shop.py", line 41, in pay\n'
        "    return bank.charge(order)\n"
        '  File "/x/site-packages/h.py", line 2, in get [library]\n'
        "    raise E\n"
        "E: no answer"
    )
    assert own_frames(text) == [
        "Traceback (most recent call last):",
        '  File "/app/shop.py", line 41, in pay',
        "    return bank.charge(order)",
        "E: no answer",
    ]


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.42, "0.4 ms"),
        (96.4, "96 ms"),
        (999.7, "1.00 s"),
        (59_960, "1 min 0 s"),
        (3_600_000, "1 h 0 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_durations(ms: float | None, shown: str) -> None:
    assert duration(ms) == shown


def test_words() -> None:
    assert [ago(seconds) for seconds in (0.5, 40, 300, 7200, 200_000)] == [
        "now",
        "40 s ago",
        "5 min ago",
        "2 h ago",
        "2 d ago",
    ]
    assert [count(1, "run"), count(2000, "run"), count(2, "retry", "retries")] == [
        "1 run",
        "2,000 runs",
        "2 retries",
    ]
    assert [size(12), size(1500), size(99_000_000), size(5e13)] == [
        "12 bytes",
        "1.5 KB",
        "99 MB",
        "50000 GB",
    ]
    assert brief({"a": [1, None, "x"]}) == '{"a": [1, null, "x"]}'
    assert brief("x" * 300, 10) == "x" * 9 + "…"


def test_costs() -> None:
    assert cost_of(run(log("a", calls=[], llm_calls=0))) == 0
