"""What is computed from runs: outcomes, trees, bars, changes, differences, sums."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runlog._counts import Counts
from runlog.views import difference as views_difference
from runlog.views.changes import changes, state_after
from runlog.views.difference import ABSENT, difference, same_until
from runlog.views.errors import group
from runlog.views.lines import line_of
from runlog.views.logs import Log, read_logs
from runlog.views.outcome import decisive, outcome
from runlog.views.summary import by_node, totals
from runlog.views.timeline import bars
from runlog.views.tree import build, walk
from runlog.views.words import brief

T0 = datetime(2026, 11, 30, 12, tzinfo=UTC)
NAMES = "abc"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=6,
)
node_logs = st.fixed_dictionaries(
    {"node": st.sampled_from(NAMES)},
    optional={
        "status": st.sampled_from(["completed", "failed", "running", "cancelled"]),
        "step": st.integers(0, 3) | st.none(),
        "attempt": st.integers(1, 3),
        "parent": st.sampled_from(NAMES) | st.none(),
        "inputs": json_values,
        "outputs": json_values,
        "error_type": st.sampled_from(["KeyError", "ValueError"]) | st.none(),
        "error_text": st.text(max_size=5),
        "started_at": st.integers(0, 5000).map(lambda ms: at(ms).isoformat())
        | json_values,
        "duration_ms": st.floats(0, 5000) | json_values,
        "calls": json_values,
        "tokens": json_values,
    },
)
runs = st.fixed_dictionaries(
    {
        "status": st.sampled_from(
            ["completed", "failed", "interrupted", "cancelled", "running", "lost", "mine"]
        ),
        "run_id": st.text(min_size=1, max_size=3),
        "wpk_id": st.sampled_from(["w", "v"]),
        "node_logs": st.lists(node_logs, max_size=12) | json_values,
        "inputs": json_values,
        "outputs": json_values,
        "metadata": json_values
        | st.just({"tokens": {"total": 3}, "interrupts": [{"value": 1}]}),
        "duration_ms": st.integers(0, 5000) | st.none(),
        "started_at": st.none() | st.just(T0),
        "created_at": st.just(T0),
        "thread_id": st.none(),
        "error_type": st.sampled_from(["KeyError", "NodeTimeoutError", None]),
        "error_text": st.text(max_size=5) | st.none(),
        "error_traceback": st.none(),
    }
)


def at(ms: float) -> datetime:
    return T0 + timedelta(milliseconds=ms)


def log(name: str, status: str = "completed", *times: Any, **more: Any) -> dict[str, Any]:
    """A node log; times are its start and its duration in milliseconds."""
    start, ms = times or (0, 1)
    return {
        "node": name,
        "status": status,
        "step": 1,
        "attempt": 1,
        "parent": None,
        "started_at": at(start).isoformat(),
        "duration_ms": ms,
        **more,
    }


def run(*logs: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "status": status,
        "node_logs": list(logs),
        "created_at": T0,
        "started_at": T0,
        **more,
    }


@settings(max_examples=60)
@given(runs)
def test_the_tree_has_every_node_log_once(made: Any) -> None:
    logs = read_logs(made)
    placed = list(walk(build(made, logs)))
    assert sorted(one.node.log.place for one in placed) == list(range(len(logs)))
    for one in placed:
        assert one.depth == len(one.last) - 1
        assert all(inner.log.parent == one.node.log.node for inner in one.node.children)
        assert one.node.attempts >= one.node.log.attempt


@settings(max_examples=60)
@given(runs, runs)
def test_a_difference_is_empty_of_the_same_and_mirrors(one: Any, other: Any) -> None:
    same = difference(one, one)
    assert same.same
    assert same.first is None
    assert same.values == ()
    there, back = difference(one, other), difference(other, one)
    assert there.same == back.same
    assert there.first == back.first
    assert there.same_inputs == back.same_inputs
    for left, right in zip(there.pairs, back.pairs, strict=True):
        assert (left.node, left.one, left.other) == (right.node, right.other, right.one)
        assert left.same == right.same
        assert [(v.path, v.one, v.other) for v in left.values] == [
            (v.path, v.other, v.one) for v in right.values
        ]


@settings(max_examples=60)
@given(runs)
def test_any_run_can_be_looked_at(made: Any) -> None:
    assert outcome(made)
    assert line_of(made, made).run_id == made["run_id"]
    logs = read_logs(made)
    for bar in bars(made, logs):
        assert 0 <= bar.start <= 1
        assert 0 <= bar.share <= 1
    for one in logs:
        changes(made, one.place, logs)
        state_after(made, one.place, logs)
    group([made, made])
    by_node([made])
    totals(Counts(0, {}, None, None, [], True), [made])
    assert len(brief(made["node_logs"], 50)) <= 50


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=30))
def test_bars_that_overlap_have_different_lanes(spans: list[tuple[int, int]]) -> None:
    found = bars(run(*(log("a", "completed", start, ms) for start, ms in spans)))
    assert len(found) == len(spans)
    for one, other in itertools.combinations(found, 2):
        apart = (
            one.offset_ms + one.duration_ms <= other.offset_ms + 0.01
            or other.offset_ms + other.duration_ms <= one.offset_ms + 0.01
        )
        assert apart or one.lane != other.lane


def test_outcomes() -> None:
    error = {"error_type": "KeyError", "error_text": "'price'"}
    failed = run(
        log("first"),
        log("draft", "failed", **error),
        status="failed",
        duration_ms=96,
        **error,
    )
    assert outcome(failed) == "failed at draft after 96 ms: KeyError: 'price'"
    assert outcome(run(duration_ms=1250)) == "completed in 1.25 s"
    again = run(log("a", "failed"), log("a", attempt=2), duration_ms=3)
    assert outcome(again) == "completed in 3 ms, after 1 retry"
    asks = run(
        log("ask", "interrupted"),
        status="interrupted",
        duration_ms=4,
        metadata={"interrupts": [{"id": "i", "value": "who?"}]},
    )
    assert outcome(asks) == "waits at ask after 4 ms: who?"
    lost = run(log("a"), log("pay", "running", 0, None), status="lost")
    assert outcome(lost) == "lost in pay, after 1 node: its process is gone"
    between = run(log("poll"), status="failed", **error, error_traceback="...")
    assert outcome(between) == "failed: KeyError: 'price'"


def test_the_log_that_says_why_is_the_innermost() -> None:
    error = {"error_type": "E", "error_text": "x"}
    logs = [
        log("outer", "failed", **error),
        log("inner", "failed", parent="outer", **error),
        log("inner", "failed", parent="outer", attempt=2, error_traceback="tb", **error),
    ]
    found = decisive(run(status="failed", **error), read_logs(run(*logs)))
    assert found is not None
    assert (found.node, found.attempt) == ("inner", 2)


class Watched(Log):
    """A log that counts how often its attempt is read."""

    __slots__ = ()
    reads: ClassVar[list[int]] = []

    @property
    def attempt(self) -> int:
        self.reads.append(self.place)
        return self[4]


def test_what_says_why_is_found_in_one_walk() -> None:
    """Of thousands that failed alike, none is looked at for each of the others."""
    error = {"error_type": "E", "error_text": "x"}
    failed = run(*(log("a", "failed", **error) for _ in range(1000)), status="failed")
    found = decisive(failed | error, [Watched(*one) for one in read_logs(failed)])
    assert found is not None
    assert len(Watched.reads) <= 5_000


class Asked(dict[str, Any]):
    """A log that says when its inputs are read."""

    def __init__(self, place: int, asked: list[int], **fields: Any) -> None:
        super().__init__(log(f"node {place}", step=place, outputs={"n": 9}, **fields))
        self._asked, self._place = asked, place

    def get(self, key: str, default: Any = None, /) -> Any:
        if key == "inputs":
            self._asked.append(self._place)
        return super().get(key, default)


def test_inputs_are_read_in_the_order_of_the_logs() -> None:
    """Those of a long run are made from the ones before, which is cheap in order only."""
    left: list[int] = []
    right: list[int] = []
    one = run(*(Asked(place, left, inputs={"n": place}) for place in range(50)))
    other = run(*(Asked(place, right, inputs={"n": 0}) for place in range(60)))
    assert difference(one, other).first == 1
    for places in (left, right):
        assert set(places) == set(range(50))
        assert places == sorted(places)
    for look in (changes, state_after):
        left.clear()
        look(one, 7)
        assert set(left) == {7, 8}
        assert left == sorted(left)


def test_a_child_is_below_the_node_that_it_shares_values_with() -> None:
    made = run(
        log("file", "completed", 0, 50, inputs={"path": "a"}),
        log("file", "completed", 1, 50, inputs={"path": "b"}),
        log("read", "completed", 2, 1, parent="file", inputs={"path": "a"}),
        log("read", "completed", 3, 1, parent="file", inputs={"path": "b"}),
        log("orphan", "completed", 4, 1, parent="nobody"),
    )
    first, second, orphan = build(made)
    assert [one.log.inputs for one in first.children] == [{"path": "a"}]
    assert [one.log.inputs for one in second.children] == [{"path": "b"}]
    assert first.parallel
    assert orphan.log.node == "orphan"


def test_attempts_belong_together() -> None:
    made = run(
        log("pay", "failed", inputs={"n": 1}),
        log("pay", "failed", inputs={"n": 2}),
        log("pay", attempt=2, inputs={"n": 2}),
        log("pay", "failed", attempt=2, inputs={"n": 1}),
        log("pay", attempt=3, inputs={"n": 1}),
    )
    assert [one.node.attempts for one in walk(build(made))] == [3, 2, 2, 3, 3]


def test_changes() -> None:
    made = run(
        log(
            "a",
            inputs={"n": 1, "seen": ["x"], "k": 1},
            outputs={"n": 2, "seen": ["y"], "new": 0, "k": 1},
        ),
        log(
            "b",
            step=2,
            inputs={"n": 2, "seen": ["x", "y"], "new": 0, "k": 1},
            outputs={"n": 0},
        ),
        outputs={"n": 0, "seen": ["x", "y"], "new": 0},
    )
    assert [change[:2] for change in changes(made, 0)] == [
        ("n", "changed"),
        ("seen", "appended"),
        ("new", "added"),
    ]
    assert changes(made, 0)[1].after == ["y"]
    assert [(one.before, one.after) for one in changes(made, 1)] == [(2, 0)]
    command = {"graph": None, "resume": None, "goto": "b", "update": {"n": 5}}
    assert changes(run(log("a", inputs={"n": 1}, outputs=command)), 0)[0].after == 5
    assert changes(run(log("a", inputs={"n": 1}, outputs="text")), 0) == []
    alone = run(log("a", inputs={"seen": ["x"]}, outputs={"seen": ["y"]}), outputs=None)
    assert changes(alone, 0) == [("seen", "returned", None, ["y"])]


def test_a_difference() -> None:
    one = run(
        log("a", outputs={"n": 1}),
        log("b", outputs={"id": "0188b5f6-1e00-7abc-8def-000000000001"}),
        log("c", outputs=[1, 2]),
    )
    other = run(
        log("a", outputs={"n": 1}),
        log("b", outputs={"id": "0188b5f6-1e00-7abc-8def-000000000002"}),
        log("c", outputs=[1, 3, 4]),
        log("d"),
    )
    found = difference(one, other)
    assert [pair.same for pair in found.pairs] == [True, True, False, False]
    assert same_until(found) == "b"
    assert found.first == 2
    assert [(v.path, v.one, v.other) for v in found.pairs[2].values] == [
        ("1", 2, 3),
        ("2", ABSENT, 4),
    ]
    assert not difference(run(outputs=1), run(outputs=True)).same
    assert not difference(run(outputs=[{"n": 1}]), run(outputs=[{"n": True}])).same
    assert difference(run(outputs=[{"n": 1}]), run(outputs=[{"n": 1.0}])).same


@given(runs, runs, st.integers(0, 3))
def test_a_difference_keeps_as_many_values_as_are_asked_for(
    one: Any, other: Any, most: int
) -> None:
    whole, some = difference(one, other), difference(one, other, most)
    assert some[:2] + some[3:4] == whole[:2] + whole[3:4]
    assert some.values == whole.values[:most]
    assert len(some.values) + some.values_left == len(whole.values)
    for few, all_of_it in zip(some.pairs, whole.pairs, strict=True):
        assert (few.same, few.did_same) == (all_of_it.same, all_of_it.did_same)
        assert few.inputs == all_of_it.inputs[:most]
        assert few.values == all_of_it.values[:most]
        assert len(few.inputs) + few.inputs_left == len(all_of_it.inputs)
        assert len(few.values) + few.values_left == len(all_of_it.values)


def test_what_is_the_same_is_not_compared_leaf_by_leaf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaves = 0
    plain = views_difference._equal

    def counted(one: Any, other: Any) -> bool:
        nonlocal leaves
        leaves += 1
        return plain(one, other)

    monkeypatch.setattr(views_difference, "_equal", counted)

    def made(end: str) -> Any:
        same = {"messages": [{"text": str(n)} for n in range(1_000)]}
        return run(*(log("a", inputs=same | {"end": end}) for _ in range(20)))

    found = difference(made("x"), made("y"))
    assert [value.path for pair in found.pairs for value in pair.inputs] == ["end"] * 20
    assert leaves <= 100
