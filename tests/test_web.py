"""The page over HTTP: what each view says, on both stores."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_help import Recorded, empty, history, on_sqlite
from fixtures_search import search
from fixtures_store import Store
from fixtures_web import Page
from helpers import minimal, until
from web_help import HOSTILE, fill, form_of, hostile_run, log, long_run, moment

import runlog
from runlog.web import lists
from runlog.web.source import Source

__all__ = ["empty", "history"]


def rows(text: str) -> list[str]:
    """The ids of the rows of a page of runs."""
    return re.findall(r'data-run="([^"]+)"', text)


def seen(text: str) -> str:
    """What is read of a page: without its tags."""
    inner = text.partition("<main")[2].partition(">")[2].partition("</main")[0]
    inner = re.sub(r"<[^>]+>", "", re.sub(r"</(?:\w\w+|b)>", " ", inner))
    return " ".join(html.unescape(inner).split())


def test_runs(page: Page, history: Recorded) -> None:
    text = page.text()
    assert len(rows(text)) == 10
    assert rows(text)[-1] == history.done
    assert "draft KeyError: 'price'" in seen(text)
    assert "who approves?" in text
    assert "1 retry" in text


def test_filters(page: Page, history: Recorded) -> None:
    def found(**params: Any) -> set[str]:
        return set(rows(page.text("/", **params)))

    assert found(workflow="approval") == {history.paused, history.resumed}
    assert found(status="interrupted") == {history.paused}
    assert found(thread="order A1") == {history.paused, history.resumed}
    assert found(error="PRICE") == {history.failed, history.also_failed}
    assert found(node="draft", error="price") == {history.failed, history.also_failed}
    assert len(found(since="1h")) == 10
    assert found(until="1h") == set()


def test_runs_over_time(page: Page, history: Recorded) -> None:
    text = page.text("/", since="1d", status="failed")
    bars = re.findall(r'aria-label="(\d+) runs?, (\d+) failed', text)
    assert sum(int(number) for number, _ in bars) == 3
    link = re.search(r'<a href="\.(/\?[^"]+)" aria-label="\d+ run', text)
    assert link is not None
    assert 1 <= len(rows(page.text(html.unescape(link[1])))) <= 3
    assert 'aria-label="Runs over time"' not in page.text()
    assert 'aria-label="Runs over time"' in page.text("/", chart=1)


def test_pages_go_to_the_end(page: Page, store: Store, empty: None) -> None:
    fill(store, 130)
    ids: list[str] = []
    address: str | None = "/"
    while address is not None:
        text = page.text(address)
        ids += rows(text)
        more = re.search(r'rel="next" id="older" href="([^"]+)"', text)
        address = None if more is None else html.unescape(more[1]).removeprefix(".")
    assert ids == [f"many-{place}" for place in reversed(range(130))]


def test_a_page_that_looks_for_a_node_says_when_it_has_not_looked_at_all(
    page: Page, store: Store, empty: None
) -> None:
    fill(store, 10_300)
    text = page.text("/", node="nowhere")
    assert "Not all older runs were looked through" in text
    while more := re.search(r'rel="next" id="older" href="([^"]+)"', text):
        text = page.text(html.unescape(more[1]).removeprefix("."))
    assert "No more runs" in text
    assert "Not all older runs" not in text


def test_a_failed_run(page: Page, history: Recorded) -> None:
    text = page.text("/run", workflow="shop", id=history.failed)
    assert "failed at draft" in seen(text)
    assert 'aria-current="true" data-node="1"' in text
    assert "raise KeyError" in text
    assert "<rect x=" in text
    first = page.text("/run", workflow="shop", id=history.failed, node=0, state=1)
    assert "State before" in first
    assert '"n": 2' in seen(first)
    assert "raise KeyError" not in first


def test_retries_waits_and_subgraphs_on_the_time_line(
    page: Page, history: Recorded
) -> None:
    retried = page.text("/run", workflow="payment", id=history.retried)
    assert "completed in" in seen(retried)
    assert "after 1 retry" in seen(retried)
    assert re.findall(r"<b>(\d/\d)</b>", retried) == ["1/2", "2/2"]
    assert '<line class="w"' in retried
    for place in (0, 1):
        node = page.text("/run", workflow="payment", id=history.retried, node=place)
        assert re.findall(r">(\d (?:failed|ok))</a>", node) == ["1 failed", "2 ok"]
    waits = page.text("/run", workflow="approval", id=history.paused)
    assert "◐ paused at ask" in seen(waits)
    assert "Asked who approves?" in seen(waits)
    assert "<circle" in waits
    nested = page.text("/run", workflow="outer", id=history.nested)
    assert re.findall(r'class="s-completed (d\d)', nested) == ["d0", "d1", "d1"]


def test_the_calls_of_a_node_are_a_conversation(page: Page, history: Recorded) -> None:
    text = page.text("/run", workflow="asks", id=history.asked, node=0)
    assert '<li class="m-user">' in text
    assert '<li class="m-model">' in text
    assert "<b>plus</b>" in text
    assert "20 + 5 tokens" in text
    assert "k-call" in text
    without = page.text("/run", workflow="asks", id=history.asked, calls=0)
    assert "k-call" not in without


def test_a_run_that_is_long(page: Page, recorder: runlog.Recorder) -> None:
    recorder.log_run(long_run(2_000))
    text = page.text("/run", workflow="loop", id="long")
    assert text.count('data-node="') == 500
    assert "rows 1 to 500 of 2,000" in seen(text)
    last = page.text("/run", workflow="loop", id="long", node=1_999)
    assert "rows 1,501 to 2,000 of 2,000" in seen(last)
    assert 'aria-current="true" data-node="1999"' in last


def test_find_in_a_run_and_who_wrote_a_key(page: Page, recorder: runlog.Recorder) -> None:
    logs = [log(f"n{at}", at, outputs={"k": at, f"only{at % 5}": 1}) for at in range(20)]
    logs[7]["inputs"] = {"deep": [{"said": "Where is my Parcel?"}]}
    recorder.log_run(minimal("r", node_logs=logs))
    text = page.text("/run", workflow="w", id="r", find="PARCEL")
    assert re.findall(r'data-node="(\d+)"', text) == ["7"]
    assert "1 node with this text" in seen(text)
    none = seen(page.text("/run", workflow="w", id="r", find="nowhere"))
    assert "0 nodes with this text" in none
    said = seen(page.text("/run", workflow="w", id="r"))
    assert "k 14 writes before n14 , n15 , n16 , n17 , n18 , n19" in said
    assert "only3 n3 , n8 , n13 , n18" in said


@on_sqlite
def test_a_window_of_the_time_line_is_in_the_address(
    page: Page, recorder: runlog.Recorder
) -> None:
    logs = [log(f"n{at}", at, started_at=moment(at * 60_000)) for at in range(4)]
    recorder.log_run(minimal("r", started_at=moment(0), node_logs=logs))
    asked = {"workflow": "w", "id": "r"}
    text = page.text("/run", **asked, node=2)
    assert "these pauses are closed up" in seen(text)
    assert 'class="gap"' in text
    link = re.search(r'href="\./(run\?[^"]+)">zoom to it', text)
    assert link is not None
    text = page.text("/" + html.unescape(link[1]))
    assert re.findall(r'data-node="(\d)"', text) == ["2"]
    assert "3 rows before or after this are left out" in seen(text)
    names = "earlier|later|closer|wider|all of"
    links = re.findall(rf'href="\./(run\?[^"]+)">({names})', text)
    assert len(links) == 5
    for address, name in links:
        nodes = re.findall(r'data-node="(\d)"', page.text("/" + html.unescape(address)))
        assert len(nodes) == (4 if name == "all of" else 1)
    assert "Nothing ran then" in page.text("/run", **asked, zoom="9000000-9000001")


def test_many_branches_are_folded_but_for_those_that_failed(
    page: Page, recorder: runlog.Recorder
) -> None:
    logs = [log("fetch", 0, step=1, inputs={"n": at}) for at in range(90)]
    logs[70] |= {"status": "failed", "error_type": "E", "error_text": "e"}
    run = minimal("wide", "fan", status="failed", error_type="E", error_text="e")
    recorder.log_run({**run, "node_logs": logs})
    text = page.text("/run", workflow="fan", id="wide")
    assert "× 89" in seen(text)
    assert text.count('data-node="') == 2
    assert 'aria-current="true" data-node="70"' in text
    assert (
        page.text("/run", workflow="fan", id="wide", open="all").count('data-node="')
        == 90
    )
    chosen = page.text("/run", workflow="fan", id="wide", node=40)
    assert 'aria-current="true" data-node="40"' in chosen


def test_thread(page: Page, history: Recorded) -> None:
    said = seen(page.text("/thread", id="order A1"))
    assert said.index("who approves?") < said.index("Answered: Ada")
    assert "waited" in said


def test_compare(page: Page, history: Recorded) -> None:
    said = seen(
        page.text("/compare", workflow="shop", id=history.failed, **{"with": "good"})
    )
    assert said.startswith("They differ from the first node on: first")
    assert "failed" in said
    assert history.done in said
    same = page.text(
        "/compare", workflow="shop", id=history.failed, other=history.also_failed
    )
    assert "draft" in seen(same)


def test_workflow(page: Page, history: Recorded) -> None:
    assert "shop" in seen(page.text("/workflow"))
    said = seen(page.text("/workflow", name="shop", window="1d"))
    assert "75.0 %" in said
    assert "KeyError 'price' draft 2" in said
    assert "draft 4 3" in said


def test_search(page: Page, history: Recorded, recorder: runlog.Recorder) -> None:
    search(recorder, "price")
    text = page.text("/search", q="price")
    assert "<mark>price</mark>" in text
    assert history.failed in text
    assert "Nothing was found" in page.text("/search", q="nonsense")


def test_health(page: Page, history: Recorded, store: Store) -> None:
    said = seen(page.text("/health"))
    assert "can be read, and has the tables of this version" in said
    assert store.kind in said


def test_files(page: Page, history: Recorded) -> None:
    answer = page.get("/file", workflow="shop", id=history.failed)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "<style>" in answer.text
    assert "raise KeyError" in answer.text
    assert "<script" not in answer.text
    assert "http" not in answer.text.replace("http-equiv", "")
    whole = page.get("/download", workflow="shop", id=history.failed).json()
    assert whole["node_logs"][1]["error_type"] == "KeyError"
    inputs = page.get(
        "/download", workflow="shop", id=history.failed, node=1, what="inputs"
    )
    assert inputs.json()["n"] == 2


TEXT = "<word> " * 800
CALL = {
    "kind": "llm",
    "name": "m",
    "status": "completed",
    "messages": [{"type": "human", "content": TEXT}] * 8,
    "outputs": [{"type": "ai", "content": TEXT, "tool_calls": [{"args": TEXT}] * 5}],
}
TRACE = "Traceback (most recent call last):\n" + "".join(
    f'  File "/app/x{number}.py", line {number}, in f\n    raise E("{"y" * 60}")\n'
    for number in range(900)
)
FAILED = {"status": "failed", "error_type": "E", "error_text": TEXT}


@on_sqlite
@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (60, {"calls": [CALL] * 10}),
        (2, {"calls": [CALL] * 100}),
        (300, {**FAILED, "error_traceback": TRACE}),
        (60, {"inputs": {}, "outputs": {f"key{n}": "v" * 300 for n in range(2_000)}}),
        (400, {"inputs": TEXT * 20, "outputs": [TEXT] * 20}),
        (20, {"node": "n" * 200_000, "status": "s" * 200_000}),
    ],
)
def test_a_saved_file_is_bounded(
    page: Page, recorder: runlog.Recorder, number: int, fields: dict[str, Any]
) -> None:
    """Whatever fills the nodes. What failed is there, and what is left out is counted."""
    logs = [{**log(f"n{place}", place), **fields} for place in range(number)]
    logs.append(log("last", number, **FAILED))
    recorder.log_run(minimal("r", status="failed", node_logs=logs))
    text = page.text("/file", workflow="w", id="r")
    assert len(text.encode()) < 4_500_000
    assert html.escape(TEXT[:200]) in text
    if len(text) > 3_900_000:
        assert "left out" in text


@on_sqlite
@pytest.mark.parametrize(
    "text",
    [
        "waiting… for it",
        "  padded  ",
        "one line\nand\tanother",
        "x" * 119 + " and more words here to cut",
        "100% of _x_ \\ y & <b>'\"",
        "bad \x1b[31m \u202evalue",
    ],
)
def test_the_same_error_elsewhere(
    page: Page, recorder: runlog.Recorder, text: str
) -> None:
    failed: Any = {"status": "failed", "error_type": "E", "error_text": text}
    for name in ("one", "other"):
        recorder.log_run(minimal(name, node_logs=[log("a", **failed)], **failed))
    recorder.log_run(minimal("third", **{**failed, "error_text": "another"}))
    shown = page.text("/run", workflow="w", id="one")
    link = re.search(r'href="\.([^"]*)">the same error elsewhere', shown)
    assert link is not None
    assert set(rows(page.text(html.unescape(link[1])))) == {"one", "other"}


def test_a_large_value_is_shown_in_part_and_saved_whole(
    page: Page, recorder: runlog.Recorder
) -> None:
    large = {"small": 1, "items": list(range(50_000))}
    recorder.log_run(minimal("big", "b", node_logs=[log("n", outputs=large)]))
    text = page.text("/run", workflow="b", id="big", node=0)
    assert len(text) < 200_000
    shown = re.findall(r'aria-label="Outputs">(.*?)</pre>', text, re.DOTALL)[0]
    preview = json.loads(html.unescape(shown))
    assert preview["small"] == 1
    left = re.search(r"([\d,]+) elements left out", seen(text))
    assert left is not None
    assert len(preview["items"]) - 1 + int(left[1].replace(",", "")) == 50_000
    saved = page.get("/download", workflow="b", id="big", node=0, what="outputs")
    assert saved.json() == large


def test_hostile_text_is_text(page: Page, recorder: runlog.Recorder) -> None:
    run = hostile_run()
    recorder.log_run(run)
    name = run["wpk_id"]
    pages = [
        page.text(),
        page.text("/run", workflow=name, id="hostile"),
        page.text("/run", workflow=name, id="hostile", node=0, state=1),
        page.text("/run", workflow=name, id="hostile", show="picture"),
        page.text("/run", workflow=name, id="hostile", zoom="0-1"),
        page.text("/prune", keep=0, workflow=name),
        page.text("/thread", id=run["thread_id"]),
        page.text("/workflow", name=name),
        page.text("/insights"),
        page.text("/search", q="alert"),
        page.text("/file", workflow=name, id="hostile"),
        page.text("/delete", workflow=name, id="hostile"),
        page.get("/", workflow=HOSTILE.replace("\x00", "?")).text,
        page.get("/run", workflow=HOSTILE.replace("\x00", ""), id=HOSTILE).text,
    ]
    for text in pages:
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "{{" in text or "49" not in text
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text
        )
        assert 'href="javascript:' not in text
        assert len(text) < 500_000


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/run", 400, "the address has no workflow"),
        ("/run?workflow=shop&id=x", 404, "There is no run 'x'"),
        ("/run?workflow=shop&id={id}&node=99", 404, "no node 99: it has 2"),
        ("/run?workflow=shop&id={id}&node=x", 400, "no whole number"),
        ("/run?workflow=shop&id={id}&calls=2", 400, "it can be 0, 1"),
        ("/run?workflow=shop&id={id}&zoom=9-2", 400, "as 1200-1350"),
        ("/run?workflow=shop&id={id}&show=x", 400, "it can be time, picture"),
        ("/run?workflow=shop&id={id}&open=x", 400, "it can be all"),
        ("/node?workflow=shop&id={id}&node=9", 404, "no node 9"),
        ("/?workflow=shpo", 400, "did you mean 'shop'?"),
        ("/?status=faild", 400, "did you mean 'failed'?"),
        ("/?since=never", 400, "write 2h or 3d"),
        ("/?after=nonsense", 400, "after must be"),
        ("/thread?id=order+A2", 404, "did you mean 'order A1'?"),
        ("/insights?workflow=x", 400, "no workflow 'x'"),
        ("/insights?since=2099-01-01", 400, "in the future"),
        ("/workflow?name=x", 404, "no workflow 'x'"),
        ("/workflow?name=shop&window=9d", 400, "it can be 1h, 1d, 7d, 30d"),
        ("/compare?workflow=outer&id={nested}&with=good", 404, "No other run"),
        ("/nowhere", 404, "Not Found"),
        ("/static/nothing.js", 404, "There is no file"),
        ("/?workflow=" + "x" * 5000, 400, "at most 4,096"),
        ("/?" + "&".join(f"a{n}=1" for n in range(80)), 400, "more than 64"),
        ("/?workflow=a%00b", 400, "number 0"),
    ],
)
@on_sqlite
def test_what_is_wrong_is_said(
    page: Page, history: Recorded, path: str, status: int, said: str
) -> None:
    answer = page.get(path.format(id=history.failed, nested=history.nested))
    assert answer.status_code == status
    assert said in html.unescape(answer.text)


def test_nothing_is_created_by_looking(page: Page, store: Store, tmp_path: Any) -> None:
    """Without a history the page says so, and shows it once there is one."""
    if store.kind == "sqlite":
        answer = page.get()
        assert answer.status_code == 503
        assert "there is no history" in answer.text
        assert page.get("/health").status_code == 200
        assert list(tmp_path.iterdir()) == []
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal("first", "w"))
        assert rows(page.text()) == ["first"]


def test_delete(page: Page, history: Recorded) -> None:
    asked = {"workflow": "shop", "id": history.failed}
    confirm = page.text("/delete", **asked)
    form = re.search(r'name="form" value="([^"]+)"', confirm)
    assert form is not None
    for wrong in ({}, {"form": "x"}):
        answer = page.client.post("/delete", params=asked, data=wrong)
        assert answer.status_code == 403
    elsewhere = {"origin": "http://evil.example"}
    right = {"form": form[1]}
    answer = page.client.post("/delete", params=asked, data=right, headers=elsewhere)
    assert answer.status_code == 403
    assert history.failed in page.text()
    answer = page.client.post("/delete", params=asked, data=right)
    assert answer.status_code == 303
    assert history.failed not in page.text()
    assert page.client.post("/run", params=asked).status_code == 405


@on_sqlite
def test_regression_a_row_says_why_also_by_a_status_of_a_program(
    page: Page, recorder: runlog.Recorder
) -> None:
    error = {"error_type": "KeyError", "error_text": "price"}
    recorder.log_run(minimal("r1", status="timeout", **error))
    recorder.log_run(minimal("r2", status="completed", **error))
    first, second = re.findall(r"<tr class.*?</tr>", page.text(), re.DOTALL)
    assert ("KeyError: price" in first, "KeyError: price" in second) == (False, True)


@on_sqlite
def test_regression_deleting_the_last_run_of_a_workflow_ends_well(
    page: Page, recorder: runlog.Recorder
) -> None:
    """A proxy may name the port that browsers leave out."""
    recorder.log_run(minimal("r1", "only"))
    recorder.log_run(minimal("r2", "another"))
    asked = {"workflow": "only", "id": "r1"}
    host = {"host": "localhost:443"}
    form = form_of(page.client.get("/delete", params=asked, headers=host).text)
    for origin, status in (("http://localhost", 403), ("https://localhost", 303)):
        headers = {**host, "origin": origin}
        answer = page.client.post("/delete", params=asked, data=form, headers=headers)
        assert answer.status_code == status
    assert rows(page.text(f"/{answer.headers['location'][2:]}")) == ["r2"]


@on_sqlite
@pytest.mark.parametrize("at", [datetime.min, datetime.max])
def test_times_at_the_ends_of_the_calendar(
    page: Page, recorder: runlog.Recorder, at: datetime
) -> None:
    """A program's clock, and its stopwatch, may say anything."""
    moment = at.replace(tzinfo=UTC)
    started: Any = {"started_at": moment.isoformat()}
    logs = [
        log("a", **started, duration_ms=spent) for spent in (1, 251606260800000.0, 1e17)
    ]
    logs[0]["calls"] = [{"kind": "llm", "duration_ms": 1e300, **started}]
    times: Any = {"created_at": moment, "started_at": moment, "duration_ms": 2**31 - 1}
    recorder.log_run({**minimal("r1", thread_id="t", node_logs=logs), **times})
    assert rows(page.text("/", chart=1)) == ["r1"]
    asked = {"workflow": "w", "id": "r1"}
    for path in ("/run", "/file", "/delete", "/api/v1/run"):
        page.text(path, **asked)
    page.text("/run", **asked, node=2, state=1)
    page.text("/compare", **asked, other="r1")
    page.text("/thread", id="t")
    page.text("/workflow", name="w", window="30d")


def test_pauses_lead_from_run_to_run(page: Page, recorder: Any) -> None:
    """And tell a question that was answered from one that waits."""

    def record(name: str, begin: int, status: str, **more: Any) -> None:
        base = minimal(name, "w", status=status, thread_id="t", duration_ms=1000)
        recorder.log_run({**base, "started_at": moment(begin), **more})

    asks = {"interrupts": [{"id": "i", "value": "how much?"}]}
    answer: Any = {"graph": None, "update": None, "resume": "less", "goto": []}
    record("first", 0, "interrupted", metadata=asks)
    resumed = {**asks, "resumed": True}
    record("second", 61_000, "interrupted", metadata=resumed, inputs=answer)
    first, second = (
        seen(page.text("/run", workflow="w", id=name)) for name in ("first", "second")
    )
    assert "paused after 1.00 s: how much?" in first
    assert "second went on from here after a pause of 1 min 0 s" in first
    assert "goes on from first after a pause of 1 min 0 s, answered less" in second
    assert "waits after 1.00 s: how much?" in second
    assert "not answered yet" in second
    assert re.findall(r"> (paused|waiting)</span>", page.text()) == ["waiting", "paused"]


@pytest.mark.parametrize("address", ["/?workflow=new", "/workflow?name=new"])
def test_the_first_run_of_a_workflow_comes_between_two_looks(
    page: Page, recorder: Any, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    recorder.log_run(minimal("r1", "old"))
    workflows = lists.workflows

    def workflows_after_it(reader: Any) -> list[str]:
        recorder.log_run(minimal("r2", "new"))
        return workflows(reader)

    monkeypatch.setattr(lists, "workflows", workflows_after_it)
    page.text(address)


def test_a_line_is_kept_only_if_it_is_of_the_run_that_was_listed(
    recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that is behind may answer for the run, and the primary for the list."""
    asked = {"interrupts": [{"value": "who?"}]}
    recorder.log_run(minimal(status="running"))
    before = recorder.get_run("r1")
    recorder.log_run(minimal(status="interrupted", metadata=asked))
    rows, source = recorder.list_runs().runs, Source(recorder, None)

    def asks(*answers: Any) -> list[str | None]:
        left = iter(answers)
        monkeypatch.setattr(recorder, "get_run", lambda *_: next(left))
        return [lists.lines_of(source, rows)[0].asks for _ in range(3)]

    now = recorder.get_run("r1")
    assert asks(before, None, now) == [None, None, "who?"]
    assert asks() == ["who?"] * 3


def test_all_workflows_with_their_figures(page: Page, history: Recorded) -> None:
    until(lambda: "not counted yet" not in page.text("/workflow"))
    text = seen(page.text("/workflow"))
    assert re.search(r"\bshop 4 75\.0 % [\d.]+ m?s [\d.]+ m?s ", text)
    assert re.search(r"\bpayment 1 [\d.]+ m?s", text)  # none failed
    answer = page.get("/workflow", name="shp")
    assert answer.status_code == 404
    assert "did you mean 'shop'?" in html.unescape(answer.text)
    found = page.get("/api/v1/workflow").json()
    assert {row["name"] for row in found["rows"]} == set(found["workflows"])


TIMES = {
    "sqlite": ("2026-12-01 08:00:00", "2026-12-01T08:00:00", "", "soon", "9999-99-99"),
    "postgres": ("infinity", "-infinity", "0044-03-15 BC", "20000-01-01"),
}
"""What may stand in a column of times, though no recorder writes it."""
DEEP = "[" * 10_000 + "]" * 10_000
VALUES = ("NaN", "{", "[NaN, 1e999]", "1" * 5_000, '"\\ud800"', '{"totals": NaN}', DEEP)
"""What may stand in a column of JSON, which SQLite does not check."""


def test_rows_that_nobody_but_a_person_writes(
    page: Page, store: Store, recorder: runlog.Recorder, empty: None
) -> None:
    """Every view answers, and what is not known is left out. JSON is JSON."""
    rows = [
        (status, column, value)
        for status in ("completed", "running", "interrupted", "failed")
        for column, values in {
            **dict.fromkeys(
                ("created_at", "updated_at", "started_at"), TIMES[store.kind]
            ),
            **dict.fromkeys(("inputs", "metadata", "node_logs"), VALUES),
        }.items()
        for value in values
        if store.kind == "sqlite" or column.endswith("_at")
    ]
    for place, (status, column, value) in enumerate(rows):
        recorder.log_run(minimal(f"r{place}", status=status, thread_id="t"))
        sql = f"UPDATE workflow_runs SET {column} = ? WHERE run_id = ?"
        store.query(sql, value, f"r{place}")

    def read(path: str, **params: str) -> None:
        answer = page.get(path, **params)
        assert answer.status_code == 200, (path, params, answer.text)
        if answer.headers["content-type"] == "application/json":
            json.loads(answer.text, parse_constant=pytest.fail)

    for path in ("/", "/insights", "/workflow", "/health", "/metrics", "/prune?keep=3"):
        read(path)
    for path in ("/api/v1/runs?limit=1000", "/api/v1/thread?id=t", "/thread?id=t"):
        read(path)
    for place in range(len(rows)):
        for path in ("/run", "/file", "/download", "/api/v1/run"):
            read(path, workflow="w", id=f"r{place}")


@on_sqlite
def test_looking_creates_nothing(
    page: Page, store: Store, recorder: runlog.Recorder
) -> None:
    """Not even a file that was there, and was deleted while the page was open."""
    recorder.log_run(minimal("r1"))
    recorder.close()
    assert rows(page.text()) == ["r1"]
    page.text("/workflow")
    folder = Path(store.options["sqlite_path"]).parent
    for path in folder.iterdir():
        path.unlink()
    until(lambda: page.get("/").status_code == 503)  # a path is checked each 5 ms
    for address in ("/", "/api/v1/runs", "/workflow", "/insights", "/search?q=x"):
        assert page.get(address).status_code == 503, address
    assert not list(folder.iterdir())
