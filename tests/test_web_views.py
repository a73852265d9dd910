"""What the page computes, without a page: previews, rows, conversations and the like."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import Any

import pytest
from helpers import minimal
from hypothesis import given
from hypothesis import strategies as st
from web_help import log, moment

from runlog._counts import Counts
from runlog.reading import times
from runlog.views.axis import Axis, Window, read_window
from runlog.views.conversation import messages_of, read_call
from runlog.views.details import details
from runlog.views.difference import Value, difference
from runlog.views.find import find
from runlog.views.logs import read_logs, seconds
from runlog.views.preview import preview
from runlog.views.rows import time_line, window_of
from runlog.views.safe import safe_text
from runlog.views.series import series
from runlog.views.story import story, tied
from runlog.views.tree import build, in_attempts
from runlog.views.wording import Piece, compare, size
from runlog.views.writers import writers
from runlog.web import page_compare
from runlog.web.page_run import Whole


def values_with(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Values of JSON whose objects have such keys."""
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
        max_leaves=40,
    )


JSON = values_with(st.text())


@given(values_with(st.text(max_size=100)))
def test_a_small_value_is_shown_whole(value: Any) -> None:
    found = preview(value, 10**6, 10**7)
    assert found.complete
    assert json.loads(found.text) == value


@given(JSON, st.integers(1, 50), st.integers(10, 2_000))
def test_a_preview_is_valid_json_and_counts(value: Any, nodes: int, size: int) -> None:
    found = preview(value, nodes, size)
    shown = json.loads(found.text)
    if found.complete:
        assert shown == value
    else:
        assert found.left_out + found.cut > 0


def test_a_preview_is_bounded() -> None:
    text = "x" * 10_000_000
    found = preview({"text": text, "n": 1})
    assert len(found.text) < 70_000
    assert json.loads(found.text)["n"] == 1
    assert found.cut > 9_900_000
    found = preview([{"a": [1] * 1000}] * 1000)
    assert len(found.text) < 200_000
    assert not found.complete
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert len(preview(deep).text) < 20_000


def test_what_is_small_is_shown_beside_what_is_large() -> None:
    found = json.loads(preview({"a": list(range(10**5)), "z": {"b": 1}, "c": "d"}).text)
    assert found["z"] == {"b": 1}
    assert found["c"] == "d"
    assert found["a"][-1].startswith("… ")


def test_no_character_that_hides_or_turns_is_left() -> None:
    """The pattern has what unicodedata says, but for line breaks, tabs and joiners."""
    harmful = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    good: list[str] = []
    bad: list[str] = []
    for char in map(chr, range(sys.maxunicode + 1)):
        kept = unicodedata.category(char) not in harmful or char in "\n\t\u200c\u200d"
        (good if kept else bad).append(char)
    assert safe_text("".join(good)) == "".join(good)
    assert len(bad) > 2_000
    assert all(char not in safe_text(char) for char in bad)
    assert safe_text("a\r\nb") == "a\nb"


def test_attempts_stand_together() -> None:
    def attempt(node: str, number: int, status: str, at: int, n: int = 0) -> Any:
        more = {"attempt": number, "status": status, "inputs": {"n": n}, "step": 1}
        return log(node, at, **more)

    logs = [
        attempt("a", 1, "failed", 0),
        attempt("a", 1, "failed", 1, 7),
        attempt("b", 1, "completed", 2),
        attempt("a", 2, "failed", 3, 7),
        attempt("a", 2, "completed", 4),
        attempt("a", 3, "completed", 5, 7),
    ]
    run = minimal(node_logs=logs)
    order = [node.log.place for node in in_attempts(build(run, read_logs(run)))]
    assert order == [0, 4, 1, 3, 5, 2]
    rows = time_line({**run, "started_at": moment(0)}).rows
    assert [row.attempts for row in rows] == [2, 2, 3, 3, 3, 1]
    assert [row.wait is not None for row in rows] == [
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    waits = [row for row in rows if row.wait is not None]
    assert all(row.wait < row.start for row in waits)  # type: ignore[operator]


def test_inner_graphs_of_a_long_run_are_folded_from_the_second_level_on() -> None:
    logs = [log(f"top {at}", at * 10) for at in range(70)]
    logs += [log("middle", 701, parent="top 69")]
    logs += [log("inner", 702, parent="middle"), log("inner", 703, parent="middle")]
    run = minimal(node_logs=logs)
    rows = time_line(run, opened=set()).rows
    assert rows[-1].kind == "fold"
    assert (rows[-1].folded, rows[-1].depth, rows[-1].place) == (2, 2, 70)
    assert len(time_line(run, opened={70}).rows) == len(logs)
    assert len(time_line(run, opened=None).rows) == len(logs)
    logs[-1] |= {"status": "failed"}
    assert len(time_line(run, opened=set()).rows) == len(logs)


def test_calls_stand_where_they_were() -> None:
    call = {"kind": "llm", "model": "m", "status": "completed", "duration_ms": 0.5}
    logs = [log("a", calls=[{**call, "started_at": moment(1)}, {**call, "kind": 7}])]
    run = minimal(started_at=moment(0), duration_ms=2, node_logs=logs)
    node, first, other = time_line(run, calls=True).rows
    assert (node.start, node.share) == (0, 0.75)
    assert first.start == pytest.approx(0.5, abs=0.001)
    assert first.share == 0.25
    assert other.start is None


def test_ticks_are_round() -> None:
    def ticks(whole: float) -> list[str]:
        return [tick.label for tick in Axis([(0, whole)], whole).ticks]

    assert ticks(96) == [
        "0 ms",
        "20 ms",
        "40 ms",
        "60 ms",
        "80 ms",
    ]
    assert ticks(3_600_000)[1] == "30 min"
    assert ticks(8_000)[1] == "2 s"
    assert time_line(minimal()).ticks == []
    for whole in (0.01, 0.3, 7, 1234, 59_000, 61_000, 10**8, 10**12):
        assert 1 <= len(ticks(whole)) <= 6, whole


DAY = 86_400_000


def paused_run() -> dict[str, Any]:
    """A run of three nodes, two days before the last two."""
    starts = (0, 20, 2 * DAY)
    logs = [
        log(f"n{place}", started_at=moment(start), duration_ms=10 * (place + 1))
        for place, start in enumerate(starts)
    ]
    logs.append(log("n3", started_at=moment(2 * DAY + 30), duration_ms=20))
    return minimal("r", started_at=moment(0), duration_ms=2 * DAY + 60, node_logs=logs)


def test_a_pause_of_days_is_closed_up() -> None:
    line = time_line(paused_run())
    (pause,) = line.pauses
    assert pause.length_ms == pytest.approx(2 * DAY - 40)
    assert pause.share == pytest.approx(0.06)
    starts = [row.start or 0.0 for row in line.rows]
    assert starts == sorted(starts)
    # All that ran has one scale: 100 ms on what the pause leaves.
    for row, spent in zip(line.rows, (10, 20, 30, 20), strict=True):
        assert row.share == pytest.approx(0.94 * spent / 100, rel=1e-4)
    third = line.rows[2].start
    assert third == pytest.approx(pause.start + pause.share)
    labels = [tick.label for tick in line.ticks]
    assert labels[0] == "0 ms"
    assert "+40 ms" in labels
    assert all(tick.share <= 1 for tick in line.ticks)
    short = minimal(node_logs=[log("a", 0), log("b", 4_000)])
    assert time_line(short).pauses == []


def test_what_was_at_work_reaches_to_when_its_process_was_last_heard_of() -> None:
    open_ = log("b", started_at=moment(10), status="running", duration_ms=None)
    run = minimal("r", started_at=moment(0), node_logs=[log("a"), open_])
    lost = {**run, "status": "lost", "updated_at": moment(40), "duration_ms": None}
    row = time_line(lost).rows[1]
    assert row.status == "lost"
    assert row.start == pytest.approx(0.25)
    assert row.share == pytest.approx(0.75)
    (first, second) = time_line({**lost, "status": "running"}).rows
    assert (second.status, first.share < 0.001) == ("running", True)  # it is long ago
    assert (second.start or 0) + second.share == pytest.approx(1)


def test_a_window_shows_a_part_of_a_run() -> None:
    run = paused_run()
    line = time_line(run, window=Window(20, 30))
    assert [(row.name, row.start, row.share) for row in line.rows] == [("n1", 0, 1)]
    assert (line.outside, line.pauses) == (3, [])
    around = window_of(run, read_logs(run), 1)
    assert around == pytest.approx((19, 41), abs=0.001)
    assert str(Window(19, 41.25)) == "19-41.25"
    assert read_window("19-41.25") == Window(19, 41.25)
    wrong = ("", "5", "5-5", "9-2", "-1-2", "1-x", "1e3-2e3")
    assert {read_window(one) for one in wrong} == {None}
    assert window_of(minimal(node_logs=[log("a")]), [], 0) is None
    window = Window(10, 20)
    assert window.moved(-0.5, 100) == (5, 15)
    assert window.moved(20, 100) == (90, 100)
    assert Window(0, 10).moved(-1, 100) is None
    assert window.scaled(2, 100) == (5, 25)
    assert window.scaled(100, 100) is None


SPANS = st.lists(
    st.tuples(st.floats(0, 1e9), st.floats(0, 1e5)).map(lambda one: (one[0], sum(one)))
)


WINDOWS = st.none() | st.tuples(st.floats(0, 1e9), st.floats(1e-3, 1e9))


@given(SPANS, st.floats(0, 2e9), WINDOWS)
def test_an_axis_never_goes_back(spans: Any, whole: float, part: Any) -> None:
    whole = max([whole, 0.001, *(end for _, end in spans)])
    window = None if part is None else Window(part[0], sum(part))
    axis = Axis(spans, whole, window)
    moments = sorted(one for span in spans for one in span)
    shares = [axis.at(moment) for moment in moments]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    assert all(-1e-9 <= tick.share <= 1 + 1e-9 for tick in axis.ticks)
    assert len(axis.ticks) <= 40


def test_messages() -> None:
    blocks = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": "x"}]
    ask = {"name": "add", "args": {"a": 1}, "id": "1"}
    given = [
        {"type": "human", "content": blocks},
        {"type": "ai", "content": "", "tool_calls": [ask]},
        {"role": "critic", "content": None},
    ]
    user, model, critic = messages_of(given)
    assert user.said.startswith("see\n")
    assert (user.role, model.role, critic.role) == ("user", "model", "critic")
    assert model.asked[0] == ("add", '{"a": 1}')
    assert (
        messages_of([1, 2]) == messages_of([{"content": "x"}]) == messages_of("x") == []
    )
    found = read_call({"kind": "tool", "name": "add", "args": {"a": 1}, "output": 2}, 0)
    assert found.given is not None
    assert json.loads(found.given.text) == {"a": 1}
    assert found.returned is not None
    assert found.returned.text == "2"


def test_what_a_node_changed() -> None:
    said = [{"type": "ai", "content": "hello"}]
    logs = [
        log("a", inputs={"messages": [], "n": 1}, outputs={"messages": said, "n": 2}),
        log("b", 1, inputs={"messages": said, "n": 2}),
    ]
    run = minimal(node_logs=logs)
    found = details(run, read_logs(run), 0)
    changed = {one.key: (one.kind, one.before, one.after) for one in found.changed}
    assert changed["n"] == ("changed", "1", "2")
    assert changed["messages"][2] == "model: hello"
    assert [one.said for one in found.said] == ["hello"]


def test_a_text_is_found_in_all_values() -> None:
    logs = read_logs(
        minimal(
            node_logs=[
                log("a", inputs={"Straße": 1}),
                log("b", 1, calls=[{"messages": [{"content": "a STRASSE and 4711"}]}]),
                log("c", 2, error_text="47"),
            ]
        )
    )
    assert find(logs, "4711") == ([1], True)
    assert find(logs, "straße") == ([0], True)
    assert find(logs, "47").places == [1, 2]


def test_who_wrote_which_key() -> None:
    command: Any = {"graph": None, "resume": None, "goto": [], "update": {"n": 5}}
    logs = [
        log("a", outputs={"n": 1, "m": 1}),
        log("b", 1, outputs=command),
        log("c", 1, outputs={"n": 2}),
        log("d", 2, outputs={"n": 3}, status="failed"),
        log("e", 2, outputs={"n": 3}, parent="c"),
        log("f", 3, outputs="text"),
    ]
    found = writers(read_logs(minimal(node_logs=logs)))
    told = [(one.key, [log.node for log in one.logs], one.together) for one in found]
    assert told == [("n", ["a", "b", "c"], True), ("m", ["a"], False)]


def test_texts_are_compared_word_by_word() -> None:
    found = compare("the order was sent", "the order was not sent")
    assert [one.text for one in found if one.kind != "one"] == [
        "the order was ",
        "not ",
        "sent",
    ]
    for one, other in (("", "a b"), ("a " * 5000, "a " * 5001), ("x", "x")):
        pieces = compare(one, other)
        assert "".join(p.text for p in pieces if p.kind != "other") == one
        assert "".join(p.text for p in pieces if p.kind != "one") == other


def test_a_page_compares_so_many_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many long texts differ; what is over is shown in brief."""
    compared = 0

    def counted(one: str, other: str) -> Any:
        nonlocal compared
        compared += size(one, other)
        return [Piece("one", one), Piece("other", other)]

    monkeypatch.setattr(page_compare, "compare", counted)
    long = "a b c " * 1_300
    nodes = [{"node": f"n{n}"} for n in range(50)]
    one, other = (
        {"node_logs": [node | {"outputs": long + end} for node in nodes]} for end in "xy"
    )
    rows = page_compare.fold(difference(one, other), page_compare.Shower())
    shown = [value for row in rows for value in row.values]
    assert len(shown) == 50
    assert [bool(value.pieces) for value in shown] == [True] * 5 + [False] * 45
    assert compared == 20_000
    assert shown[-1].one is not None
    assert shown[-1].one.startswith("a b c")
    assert len(shown[-1].one) <= 400
    few = page_compare.Shower().show(Value("x", "a b", "a c"))
    assert len(few.pieces) == 2


def test_a_comparison_keeps_what_its_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(end: str) -> Whole:
        values = {f"k{n:02}": f"{n}{end}" for n in range(30)}
        logs = [{"node": "a", "inputs": values}, {"node": "b", "outputs": values}]
        run = {"status": "completed", "node_logs": logs}
        return Whole(run, read_logs(run))

    two = whole("x"), whole("y")
    monkeypatch.setattr(page_compare, "read_two", lambda *_: two)
    page: Any = page_compare.compared(None, None)  # type: ignore[arg-type]
    inputs, outputs = page["found"].pairs
    assert (len(inputs.inputs), inputs.inputs_left) == (20, 10)
    assert (len(outputs.values), outputs.values_left) == (20, 10)
    assert [value.path for value in page["values"]] == [f"k{n:02}" for n in range(20)]
    assert page["more"] == 10
    assert [(row.same, len(row.values), row.more) for row in page["rows"]] == [
        (1, 0, 0),
        (0, 5, 25),
    ]


def test_runs_over_time() -> None:
    begin = seconds(moment(0))
    assert begin is not None
    rows = [
        minimal(str(at), created_at=moment(at * 1000), duration_ms=at, status=status)
        for at, status in enumerate(
            ["completed", "failed", "lost", "completed", "running"]
        )
    ]
    spans = [{"completed": 1, "failed": 1}, {"completed": 1, "lost": 2, "running": 1}]
    counts = Counts(6, {}, times.moment(begin), times.moment(begin + 4), spans, True)
    found = series(counts, rows)
    assert [(one.runs, one.failed) for one in found] == [(2, 1), (4, 2)]
    assert [one.p95 for one in found] == [0, 3]
    assert series(Counts(0, {}, None, None, [], True), []) == []


def test_a_thread_is_told_with_its_new_messages_only() -> None:
    def run(name: str, *said: str, **more: Any) -> dict[str, Any]:
        messages = [{"type": "human", "content": one} for one in said]
        base = {"resumes": None, "resumed_by": None, "answer": None, "duration_ms": 5}
        return {**minimal(name), **base, "outputs": {"messages": messages}, **more}

    first = run("1", "a", started_at=moment(0), status="interrupted")
    second = run("2", "a", "b", started_at=moment(1000), resumes="1", answer="yes")
    first["resumed_by"] = "2"
    one, other = story([first, second])
    assert [message.said for message in one.messages] == ["a"]
    assert [message.said for message in other.messages] == ["b"]
    assert (other.answer, other.waited_ms) == ("yes", 995)
    assert one.sentence.startswith("paused")
    third = run("3", "a", "another question", started_at=moment(2000))
    assert [one.said for one in story([first, second, third])[2].messages] == [
        "another question"
    ]
    ties = tied([first, second, third], "2")
    assert (ties.before, ties.waited_ms, ties.answer) == (first, 995, "yes")
    assert (ties.after, ties.left_ms, ties.later) == (None, None, True)
    ties = tied([first, second, third], "1")
    assert (ties.before, ties.after, ties.left_ms) == (None, second, 995)
    assert tied([first, second, third], "3") == (None,) * 5 + (False,)
    assert tied([second, third], "1") == (None,) * 5 + (True,)
