"""The page in Chromium: what people see and do."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from cli_help import Recorded, history, on_sqlite
from fixtures_browser import NARROW, WIDE, Tab
from fixtures_store import Store
from fixtures_web import Page
from helpers import minimal
from web_help import HOSTILE, fill, hostile_run, log, long_run, moment

import runlog

__all__ = ["history"]
pytestmark = [on_sqlite, pytest.mark.chromium]


def addresses(history: Recorded) -> dict[str, str]:
    """The address of each view."""
    failed = f"workflow=shop&id={history.failed}"
    return {
        "runs": "/",
        "run": f"/run?{failed}",
        "calls": f"/run?workflow=asks&id={history.asked}&node=0",
        "waits": f"/run?workflow=approval&id={history.paused}",
        "retried": f"/run?workflow=payment&id={history.retried}&node=1&state=1",
        "thread": "/thread?id=order+A1",
        "compare": f"/compare?{failed}&with=good",
        "workflows": "/workflow",
        "workflow": "/workflow?name=shop",
        "insights": "/insights",
        "search": "/search?q=price",
        "health": "/health",
        "delete": f"/delete?{failed}",
        "prune": "/prune?keep=0",
        "picture": f"/run?{failed}&show=picture",
        "zoomed": f"/run?{failed}&zoom=0-1",
    }


def heading(tab: Tab) -> str:
    text: str = tab.page.locator("h1").inner_text()
    return text


def test_from_the_list_to_the_failed_node_and_back(
    page: Page, history: Recorded, tab: Tab
) -> None:
    tab.page.goto(page.url)
    tab.page.locator(f'[data-run="{history.failed}"] .go').click()
    tab.page.wait_for_url("**/run?**")
    assert "failed at draft" in heading(tab)
    assert "KeyError" in tab.page.locator("#pane").inner_text()
    tab.page.go_back()
    tab.page.wait_for_selector(f'[data-run="{history.failed}"]')


def test_a_click_on_a_node_changes_the_pane_and_the_address(
    page: Page, history: Recorded, tab: Tab
) -> None:
    tab.page.goto(f"{page.url}/run?workflow=shop&id={history.failed}")
    tab.page.evaluate("window.here = true")
    tab.page.locator('#rows a[data-node="0"]').click()
    tab.page.wait_for_selector("#pane h2 >> text=first")
    assert "node=0" in tab.page.url
    assert (
        tab.page.locator('#rows [aria-current="true"]').get_attribute("data-node") == "0"
    )
    assert tab.page.evaluate("window.here")  # the page was not loaded anew
    deep = tab.page.url
    tab.page.go_back()
    tab.page.wait_for_selector("#pane h2 >> text=draft")
    tab.page.go_forward()
    tab.page.wait_for_selector("#pane h2 >> text=first")
    tab.page.goto(deep)
    assert "first" in tab.page.locator("#pane h2").inner_text()


def test_the_keyboard_alone(page: Page, history: Recorded, tab: Tab) -> None:
    keys = tab.page.keyboard
    tab.page.goto(page.url)
    focused = "document.activeElement.closest('tr')?.dataset.run"
    keys.press("j")
    newest = tab.page.evaluate(focused)
    keys.press("j")
    second = tab.page.evaluate(focused)
    assert second != newest
    keys.press("k")
    assert tab.page.evaluate(focused) == newest
    keys.press("Enter")
    tab.page.wait_for_url(f"**id={newest}*")
    keys.press("]")
    tab.page.wait_for_url(f"**id={second}*")
    keys.press("[")
    tab.page.wait_for_url(f"**id={newest}*")
    keys.press("?")
    assert tab.page.locator("dialog").is_visible()
    keys.press("Escape")
    tab.page.locator("dialog").wait_for(state="hidden")
    keys.press("g")
    keys.press("h")
    tab.page.wait_for_url("**/health")
    keys.press("g")
    keys.press("r")
    tab.page.wait_for_selector("#filters")
    keys.press("/")
    keys.type("shop")
    keys.press("Enter")
    tab.page.wait_for_url("**workflow=shop**")
    assert tab.page.locator("#rows tbody tr").count() == 4
    keys.press("Escape")
    tab.page.wait_for_url(lambda address: "shop" not in address)
    assert tab.page.locator("#rows tbody tr").count() == 10


def test_keys_for_errors_and_retries(page: Page, recorder: Any, tab: Tab) -> None:
    logs = [log(f"n{at}", at) for at in range(12)]
    logs[3] |= {"status": "failed", "error_text": "a"}
    logs[4] |= {"node": "n3", "step": 4, "attempt": 2}
    logs[9] |= {"status": "failed", "error_text": "b"}
    recorder.log_run(minimal("r", started_at=moment(0), node_logs=logs))
    tab.page.goto(f"{page.url}/run?workflow=w&id=r&node=0")

    def press(key: str, place: int) -> None:
        tab.page.keyboard.press(key)
        tab.page.wait_for_url(f"**node={place}*")

    press("e", 3)
    press("e", 9)
    press("E", 3)
    press("r", 4)
    tab.page.keyboard.press("j")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**node=5*")


def test_new_runs_are_announced_and_no_row_jumps(
    page: Page, recorder: runlog.Recorder, tab: Tab
) -> None:
    recorder.log_run(minimal("r1"))
    recorder.log_run(minimal("open", status="running"))
    tab.page.goto(page.url)
    tab.page.wait_for_selector("#live >> text=live")
    before = tab.page.locator('[data-run="r1"]').bounding_box()
    recorder.log_run(minimal("r2"))
    recorder.log_run(minimal("r3"))
    tab.page.wait_for_selector("#news:not([hidden]) >> text=2 new runs")
    assert tab.page.locator("#rows tbody tr").count() == 2
    recorder.log_run(minimal("open", status="failed", error_type="E", error_text="x"))
    tab.page.wait_for_selector('[data-run="open"][data-status="failed"]')
    assert before is not None
    tab.page.locator("#news a").click()
    tab.page.wait_for_selector('[data-run="r3"]')
    assert tab.page.locator("#rows tbody tr").count() == 4


def test_filters_hold_for_what_is_announced(
    page: Page, recorder: runlog.Recorder, tab: Tab
) -> None:
    recorder.log_run(minimal("r1", "one"))
    tab.page.goto(f"{page.url}/?workflow=one")
    tab.page.wait_for_selector("#live >> text=live")
    recorder.log_run(minimal("r2", "other"))
    recorder.log_run(minimal("r3", "one"))
    tab.page.wait_for_selector("#news >> text=1 new run")


def test_a_run_is_followed_to_its_end(
    page: Page, recorder: runlog.Recorder, tab: Tab
) -> None:
    running = {"started_at": moment(0), "status": "running"}
    recorder.log_run(minimal("r1", node_logs=[log("a")], **running))
    tab.page.goto(f"{page.url}/run?workflow=w&id=r1")
    tab.page.wait_for_selector("#live >> text=live")
    failed = log("b", 1, status="failed", error_type="E", error_text="broke")
    recorder.log_run(
        minimal("r1", status="failed", error_type="E", error_text="broke")
        | {"node_logs": [log("a"), failed]}
    )
    tab.page.wait_for_selector("h1 >> text=failed at b")
    tab.page.wait_for_selector("#pane >> text=broke")
    tab.page.wait_for_selector("body:not([data-live])")


def test_a_real_graph_is_seen_while_it_runs(
    page: Page, store: Store, recorder: runlog.Recorder, tab: Tab
) -> None:
    """The first node has ended, the second waits for the test."""
    import threading

    from handler_graphs import chain, node

    from runlog.hooks import RunLogHandler

    recorder.log_run(minimal("r1"))
    go = threading.Event()
    run_id = str(uuid.uuid4())

    def wait(_: Any) -> Any:
        assert go.wait(60)
        return {"n": 5}

    graph = chain("slow", first=node("first"), second=wait)
    config: Any = {"callbacks": [RunLogHandler(recorder=recorder)], "run_id": run_id}
    thread = threading.Thread(target=graph.invoke, args=({"n": 0}, config))
    thread.start()
    try:
        tab.page.goto(page.url)
        # It is a row already, or is announced.
        tab.page.wait_for_selector(f'[data-run="{run_id}"], #news:not([hidden])')
        tab.page.goto(f"{page.url}/run?workflow=slow&id={run_id}")
        tab.page.wait_for_selector('#rows a[data-node="1"] >> text=second')
        assert "running" in heading(tab)
    finally:
        go.set()
        thread.join()
    tab.page.wait_for_selector("h1 >> text=completed")


def test_news_of_a_list_are_those_that_fit(
    page: Page, recorder: runlog.Recorder, tab: Tab
) -> None:
    """Of an error, which events don't tell; and by workflow and id together."""
    failed = {"status": "failed", "error_type": "E", "error_text": "no price"}
    recorder.log_run(minimal("r1", **failed))
    tab.page.goto(f"{page.url}/?error=price")
    tab.page.wait_for_selector("#live >> text=live")
    recorder.log_run(minimal("r2"))
    recorder.log_run(minimal("r1", "another", **failed))
    news = tab.page.wait_for_selector("#news:not([hidden])")
    assert news.inner_text() == "1 new run: show"


def test_a_run_that_is_deleted_while_it_is_viewed(
    page: Page, history: Recorded, recorder: runlog.Recorder, tab: Tab
) -> None:
    tab.page.goto(f"{page.url}/run?workflow=shop&id={history.failed}")
    recorder.delete_runs(run_id=history.failed)
    tab.page.locator('#rows a[data-node="0"]').click()
    tab.page.wait_for_selector("h1 >> text=Not found")
    assert "There is no run" in tab.page.locator("main").inner_text()
    tab.complaints = [one for one in tab.complaints if "404" not in one]


def test_without_javascript(page: Page, history: Recorded, chromium: Any) -> None:
    tab = Tab(chromium, java_script_enabled=False)
    try:
        for path in addresses(history).values():
            assert tab.page.goto(page.url + path).status == 200
        tab.page.goto(page.url)
        tab.page.locator('select[name="status"]').select_option("failed")
        tab.page.locator("#filters button").click()
        tab.page.locator("#rows .go").last.click()
        tab.page.locator('#rows a[data-node="0"]').click()
        assert "first" in tab.page.locator("#pane h2").inner_text()
        tab.page.locator("text=delete …").click()
        tab.page.locator("button >> text=Delete it").click()
        assert tab.page.locator("#rows tbody tr").count() == 3
        assert tab.complaints == []
    finally:
        tab.context.close()


def test_hostile_text_does_nothing(page: Page, recorder: Any, tab: Tab) -> None:
    run = hostile_run()
    recorder.log_run(run)
    asked = {"workflow": run["wpk_id"], "id": "hostile"}
    page.text("/run", **asked)  # it is there
    tab.page.goto(page.url)
    assert tab.page.locator("#rows tbody tr").count() == 1
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]
    tab.page.locator("#rows .go").click()
    tab.page.wait_for_selector("#pane")
    for size in (WIDE, NARROW):
        tab.page.set_viewport_size(size)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    tab.page.locator("#pane summary").last.click()
    tab.page.locator('#rows a[data-node="0"]').click()
    tab.page.wait_for_url("**node=0*")
    targets = "links => links.map((link) => link.getAttribute('href'))"
    for target in tab.page.eval_on_selector_all("a", targets):
        assert target.startswith((".", "#")), target
    for path in ("thread", "workflow", "search", "compare"):
        tab.page.goto(f"{page.url}/{path}?q=alert")
    tab.complaints = [one for one in tab.complaints if "Failed to load" not in one]
    assert "alert" not in str(tab.complaints)


def test_a_run_of_2000_nodes_and_a_store_of_100000_runs(
    page: Page, store: Store, recorder: runlog.Recorder, tab: Tab
) -> None:
    recorder.log_run(long_run(2_000))
    fill(store, 100_000)
    tab.page.goto(f"{page.url}/run?workflow=loop&id=long&node=700")
    chosen = tab.page.locator('#rows [aria-current="true"]')
    assert chosen.get_attribute("data-node") == "700"
    tab.page.locator("text=rows after").click()
    tab.page.goto(f"{page.url}/?status=failed&workflow=w10")
    assert tab.page.locator("#rows tbody tr").count() == 50
    for _ in range(3):
        first = tab.page.locator("#rows tr[data-run]").first.get_attribute("data-run")
        tab.page.locator("#older").click()
        assert first is not None
        tab.page.locator(f'[data-run="{first}"]').wait_for(state="detached")
    assert tab.page.evaluate("document.querySelectorAll('*').length") <= 900


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_for_axe(
    page: Page, history: Recorded, chromium: Any, theme: str, size: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab = Tab(chromium, color_scheme=theme, bypass_csp=True)
    tab.page.set_viewport_size(size)
    axe = Axe()
    found = []
    try:
        for name, path in addresses(history).items():
            tab.page.goto(page.url + path)
            width = tab.page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{name} is {width} wide"
            for one in axe.run(tab.page).response["violations"]:
                if one["impact"] in ("serious", "critical"):
                    where = [str(node["html"])[:200] for node in one["nodes"][:3]]
                    found.append((name, one["id"], where))
    finally:
        tab.context.close()
    assert found == []


def test_what_a_first_visit_loads(page: Page, history: Recorded, tab: Tab) -> None:
    """Rows are in the HTML; beside it come a style sheet and a script."""
    requests: list[str] = []
    tab.page.on("request", lambda request: requests.append(request.url))
    tab.page.goto(page.url)
    tab.page.wait_for_selector("#live >> text=live")
    kinds = {re.sub(r"\?.*", "", url.removeprefix(page.url)) for url in requests}
    assert kinds == {"/", "/static/page.css", "/static/page.js", "/events"}
    assert len(requests) == 4
    text = page.client.get("/", headers={"accept-encoding": "gzip"})
    assert text.headers["content-encoding"] == "gzip"
    assert HOSTILE not in text.text


def test_copy_buttons(page: Page, history: Recorded, chromium: Any) -> None:
    tab = Tab(chromium, permissions=["clipboard-read", "clipboard-write"])
    try:
        tab.page.goto(f"{page.url}/run?workflow=shop&id={history.failed}")

        def copied(name: str) -> str:
            tab.page.evaluate("navigator.clipboard.writeText('')")
            tab.page.get_by_role("button", name=name, exact=True).click()
            text = tab.page.wait_for_function("navigator.clipboard.readText()")
            return str(text.json_value())

        assert copied("copy: the id") == history.failed
        command = copied("copy as command: the command that shows this run in a terminal")
        assert command == f"runlog show --workflow=shop {history.failed}"
        assert copied("Copy: the error").startswith("KeyError")
        tab.page.locator('#rows a[data-node="0"]').click()
        tab.page.wait_for_selector("#pane h2 >> text=first")
        assert "{" in copied("Copy: Outputs")
        assert tab.complaints == []
    finally:
        tab.context.close()
