"""The picture of what ran: a column for each super-step, a box for each node."""

from __future__ import annotations

import resource
from itertools import pairwise
from typing import Any

import pytest
from cli_help import on_sqlite
from fixtures_browser import Tab
from fixtures_web import Page
from helpers import minimal
from hypothesis import given
from hypothesis import strategies as st
from web_help import log, moment

import runlog
from runlog.views.logs import read_logs
from runlog.views.picture import HEIGHT, Picture, picture
from runlog.views.steps import super_steps


def drawn(logs: list[Any], chosen: int | None = None) -> Picture:
    """The picture of a run with such logs."""
    run = minimal(node_logs=logs)
    return picture(run, read_logs(run), chosen)


def boxes(logs: list[Any], chosen: int | None = None) -> list[tuple[str, list[Any]]]:
    """The columns: their titles, and the name, depth and number of each box."""
    return [
        (
            column.title,
            [(one.box.name, one.box.depth, one.box.folded) for one in column.shapes],
        )
        for column in drawn(logs, chosen).columns
    ]


def test_super_steps_are_columns_and_attempts_are_one_box() -> None:
    failed = {"status": "failed", "step": 2}
    logs = [
        log("plan", 0),
        log("flaky", 1, **failed),
        log("beside", 1, step=2),
        log("flaky", 3, **failed, attempt=2),
        log("flaky", 5, step=2, attempt=3),
        log("team", 6, step=3),
        log("one", 7, step=1, parent="team"),
        log("two", 8, step=2, parent="team"),
    ]
    assert boxes(logs) == [
        ("step 1", [("plan", 0, 0)]),
        ("step 2", [("flaky", 0, 0), ("beside", 0, 0)]),
        ("step 3", [("team", 0, 0), ("one", 1, 0), ("two", 1, 0)]),
    ]
    columns = drawn(logs).columns
    flaky = columns[1].shapes[0].box
    assert (flaky.status, flaky.attempt, flaky.attempts) == ("completed", 3, 3)
    assert flaky.duration_ms == 4.5
    assert [column.follows for column in columns] == [False, True, True]
    assert drawn(logs, chosen=1).columns[1].shapes[0].box.place == 1


def test_the_line_to_inner_nodes_has_no_gaps() -> None:
    logs = [
        log("team", 0, step=1),
        log("one", 1, step=1, parent="team"),
        log("deep", 2, step=1, parent="one"),
        log("two", 3, step=2, parent="team"),
        log("beside", 4, step=1),
    ]
    (column,) = drawn(logs).columns
    at = {shape.box.name: shape for shape in column.shapes}
    assert list(at) == ["team", "one", "deep", "two", "beside"]
    assert at["team"].bracket is at["beside"].bracket is None
    bottom, middle = at["team"].y + HEIGHT, at["one"].y + HEIGHT // 2
    x = at["one"].x - 5
    assert [at[name].bracket for name in ("one", "two")] == [(x, bottom), (x, middle)]
    assert at["deep"].bracket == (x + 10, at["one"].y + HEIGHT)


def test_many_branches_are_one_box_but_for_what_failed_and_what_is_chosen() -> None:
    logs = [log("fetch", 0, step=1) for _ in range(100)]
    logs[40] |= {"status": "failed"}
    assert boxes(logs) == [("step 1", [("fetch", 0, 99), ("fetch", 0, 0)])]
    assert boxes(logs, 70) == [
        ("step 1", [("fetch", 0, 98), ("fetch", 0, 0), ("fetch", 0, 0)])
    ]
    logs.append(log("inner", 1, status="failed", parent="fetch"))
    logs[60]["inputs"] = logs[-1]["inputs"] = {"n": 4711}
    apart = [("fetch", 0, 98), ("fetch", 0, 0), ("fetch", 0, 0), ("inner", 1, 0)]
    assert boxes(logs) == [("step 1", apart)]
    logs.pop()
    for one in logs:
        one["status"] = "failed"
    assert boxes(logs) == [("step 1", [("fetch", 0, 100)])]
    logs = [log(f"branch {at}", 0, step=1) for at in range(200)]
    logs[150] |= {"status": "failed"}
    (column,) = boxes(logs)
    assert len(column[1]) == 24
    assert ("branch 150", 0, 0) in column[1]
    assert column[1][-1][2] == 200 - 23


def test_rounds_of_a_loop_are_drawn_once() -> None:
    logs = [log("start", 0)]
    logs += [log("tools" if at % 2 else "agent", at + 1) for at in range(100)]
    looped = [
        ("step 1", [("start", 0, 0)]),
        ("step 2 … 100 (50 rounds)", [("agent", 0, 50)]),
        ("step 3 … 101 (50 rounds)", [("tools", 0, 50)]),
    ]
    assert boxes(logs) == looped
    logs.append(log("tools", 101, status="failed"))
    assert boxes(logs) == [*looped, ("step 102", [("tools", 0, 0)])]
    chosen = [title for title, _ in boxes(logs, 50)]
    assert "step 51" in chosen
    assert len(chosen) < 12


def test_a_run_without_loops_is_drawn_in_parts() -> None:
    logs = [log(f"node {at}", at) for at in range(100)]
    first, other = drawn(logs), drawn(logs, 45)
    assert (len(first.columns), first.before, first.after) == (40, None, 40)
    assert (other.columns[0].title, other.before, other.after) == ("step 41", 39, 80)


NODES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["completed", "failed", "interrupted", "of one's own"]),
        st.none() | st.integers(1, 30),
        st.integers(1, 3),
        st.sampled_from([None, None, "a", "b"]),
    ),
    max_size=80,
)


@given(NODES, st.integers(0, 79))
def test_every_node_is_in_one_box(given: list[Any], chosen: int) -> None:
    names = ("node", "status", "step", "attempt", "parent")
    logs = [dict(zip(names, one, strict=True)) for one in given]
    run = minimal(node_logs=logs)
    steps = super_steps(run, read_logs(run), chosen)
    found = [box for step in steps for box in step.boxes]
    counted = sum(max(1, box.folded) for box in found)
    # A box of several attempts stands for each of them.
    attempts = sum(1 for one in logs if one["attempt"] > 1)
    assert len(logs) - attempts <= counted <= len(logs)
    for column in drawn(logs, chosen).columns:
        tops = [shape.y for shape in column.shapes]
        assert all(b - a >= HEIGHT for a, b in pairwise(tops))
        assert not tops or tops[-1] + HEIGHT <= column.height


def test_a_run_of_thousands_of_nodes_is_drawn_quickly() -> None:
    """It takes about as long a node as one of hundreds."""

    def spent(number: int) -> float:
        logs = [log(f"n{at % 97}", at, parent=None) for at in range(number)]
        logs += [log("inner", at, parent=f"n{at % 97}") for at in range(number)]
        run = minimal(node_logs=logs)
        read = read_logs(run)
        best = float("inf")
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            picture(run, read, number // 2)
            best = min(best, resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)
        return best / number

    spent(100)
    assert spent(4_000) < 8 * spent(500) + 0.0001


RETRIED = [
    log("plan", 0),
    log("flaky", 1, status="failed", error_type="E", error_text="broke"),
    log("flaky", 3, step=2, attempt=2),
    log("<b>draft", 5, step=3, status="failed", error_type="E", error_text="x"),
]


def record(recorder: runlog.Recorder) -> dict[str, Any]:
    """Record a run; return the parameters of its address."""
    broke = {"status": "failed", "error_type": "E", "error_text": "x"}
    recorder.log_run(minimal("r", started_at=moment(0), node_logs=RETRIED, **broke))
    return {"workflow": "w", "id": "r"}


@on_sqlite
def test_the_page_of_a_run_has_it(page: Page, recorder: runlog.Recorder) -> None:
    asked = record(recorder)
    assert "show=picture" in page.text("/run", **asked)
    text = page.text("/run", **asked, show="picture")
    assert 'aria-label="flaky, attempt 2 of 2, ok, 3 ms"' in text
    assert 'aria-label="&lt;b&gt;draft, failed, 1.5 ms"' in text
    assert text.count('class="to"') == 2
    assert 'class="tl"' not in text
    assert "<svg" in page.text("/file", **asked).partition("by super-steps")[2]
    recorder.log_run(minimal("none", node_logs=[{"node": "a", "status": "completed"}]))
    assert "show=picture" not in page.text("/run", workflow="w", id="none")


@on_sqlite
@pytest.mark.chromium
def test_boxes_lead_to_nodes(page: Page, recorder: runlog.Recorder, tab: Tab) -> None:
    asked = record(recorder)
    tab.page.goto(f"{page.url}/run?workflow=w&id={asked['id']}&show=picture")
    tab.page.evaluate("window.here = true")
    tab.page.locator('#rows a[data-node="0"]').click()
    tab.page.wait_for_selector("#pane h2 >> text=plan")
    assert "show=picture" in tab.page.url
    tab.page.keyboard.press("r")
    tab.page.wait_for_selector("#pane h2 >> text=flaky")
    tab.page.keyboard.press("e")
    tab.page.wait_for_selector("#pane h2 >> text=draft")
    tab.page.keyboard.press("k")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#pane h2 >> text=flaky")
    assert tab.page.evaluate("window.here")
