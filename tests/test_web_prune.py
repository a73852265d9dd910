"""Old runs are deleted from the page: counted first, then in the background."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_help import empty, on_sqlite
from conftest import RunPython
from fixtures_store import Store
from fixtures_web import Page
from helpers import minimal, until
from web_help import fill, form_of

import runlog
from runlog.web import app

__all__ = ["empty"]


def delete(page: Page, **asked: Any) -> httpx.Response:
    """Ask what would be deleted, then press the button."""
    text = page.text("/prune", **asked)
    action = re.search(r'method="post" action="\.(/prune\?before=[^"]+)"', text)
    assert action is not None
    address = action[1].replace("&amp;", "&")
    return page.client.post(address, data=form_of(text))


def test_old_runs_are_counted_and_deleted(
    page: Page, store: Store, recorder: runlog.Recorder, empty: None
) -> None:
    fill(store, 2_500)
    recorder.log_run(minimal("new", "w3"))
    text = page.text("/prune", older_than="1d", keep=1_000)
    assert "<b>1,501 runs</b> from before" in text
    assert recorder.count_runs().runs == 2_501  # asking deletes nothing
    assert "No run would be deleted" in page.text("/prune", keep=3_000)
    only = page.text("/prune", older_than="1h", workflow="w3", status="failed")
    assert "No run would be deleted" in only
    assert delete(page, keep=1_000).status_code == 303
    until(lambda: "were deleted" in page.text("/prune"))
    assert "1,501 runs from before" in re.sub(r"<[^>]+>", "", page.text("/prune"))
    assert recorder.count_runs().runs == 1_000
    assert delete(page, keep=0, workflow="w3").status_code == 303
    until(lambda: recorder.count_runs(wpk_id="w3").runs == 0)
    until(lambda: "were deleted" in page.text("/prune"))
    assert recorder.count_runs().runs > 900


@on_sqlite
def test_only_the_page_itself_can_ask_for_it(
    page: Page, store: Store, empty: None, recorder: runlog.Recorder
) -> None:
    fill(store, 10)
    address = "/prune?before=2100-01-01"
    right = form_of(page.text("/prune", keep=0))
    for data, headers in (
        ({}, {}),
        ({"form": "x" * 32}, {}),
        (right, {"origin": "http://evil.example"}),
        (right, {"sec-fetch-site": "cross-site"}),
    ):
        assert page.client.post(address, data=data, headers=headers).status_code == 403
    assert page.get(address).status_code == 200
    assert recorder.count_runs().runs == 10
    answer = page.client.post("/prune", data=right)
    assert (answer.status_code, "has no before" in answer.text) == (400, True)
    made = Page(app(recorder, allow_delete=False))
    try:
        assert made.get("/prune").status_code == 404
        assert made.client.post(address).status_code == 404
        assert "/prune" not in made.text("/health")
    finally:
        made.close()
    assert recorder.count_runs().runs == 10


@on_sqlite
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"older_than": "soon"}, "is no length of time"),
        ({"keep": "-1"}, "no whole number"),
        ({"keep": "999999"}, "0 to 100,000"),
        ({"keep": "0", "workflow": "w33"}, "no workflow"),
    ],
)
def test_what_is_wrong_is_said(
    page: Page, store: Store, empty: None, asked: dict[str, str], said: str
) -> None:
    fill(store, 10)
    answer = page.get("/prune", **asked)
    assert (answer.status_code, said in answer.text) == (400, True)


@on_sqlite
def test_it_is_one_work_at_a_time_and_can_be_stopped(
    page: Page, store: Store, recorder: runlog.Recorder, empty: None
) -> None:
    """A writer of SQLite that never ends has the work wait, so that it is seen."""
    fill(store, 5_000)
    right = form_of(page.text("/prune", keep=0))
    with closing(sqlite3.connect(store.options["sqlite_path"])) as other:
        other.execute("BEGIN IMMEDIATE")
        assert delete(page, keep=0).status_code == 303
        answer = page.get("/prune")
        assert "Deleted 0 of 5,000 runs" in answer.text
        assert answer.headers["refresh"] == "2"
        assert 'max="5000"' in answer.text
        again = page.client.post("/prune?before=2100-01-01", data=right)
        assert "being deleted already" in again.text
        assert page.client.post("/prune?stop=1", data=right).status_code == 303
        other.execute("ROLLBACK")
    until(lambda: "Stopped" in page.text("/prune"))
    assert "refresh" not in page.get("/prune").headers
    assert delete(page, keep=0).status_code == 303
    until(lambda: recorder.count_runs().runs == 0)
    page.close()  # waits for the work


MOUNTED = """
import asyncio, threading
import httpx
from starlette.applications import Starlette
from starlette.routing import Mount
import runlog.web
from web_help import form_of

async def main():
    page = httpx.ASGITransport(Starlette(routes=[Mount("/runs", runlog.web.app())]))
    async with httpx.AsyncClient(transport=page, base_url="http://localhost") as client:
        asked = await client.get("/runs/prune?keep=0")
        address = "/runs/prune?before=2100-01-01"
        answer = await client.post(address, data=form_of(asked.text))
        assert answer.status_code == 303, answer.text

asyncio.run(main())
work = [one for one in threading.enumerate() if one.name == "runlog-web-prune"]
print([one.daemon for one in work])
"""


@on_sqlite
def test_it_ends_with_the_process_that_has_mounted_the_page(
    store: Store, empty: None, run_python: RunPython
) -> None:
    """Nobody tells a page that is mounted that the server ends: the process does."""
    fill(store, 5_000)
    with closing(sqlite3.connect(store.options["sqlite_path"])) as other:
        other.execute("BEGIN IMMEDIATE")  # the work can't end
        tests = {"PYTHONPATH": str(Path(__file__).parent)}
        done = run_python(MOUNTED, env=store.env | tests, timeout=60)
        other.execute("ROLLBACK")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[True]\n", "")
    assert store.query("SELECT count(*) FROM workflow_runs") == [(5_000,)]
