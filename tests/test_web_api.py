"""The API: what it gives, what it refuses, and whether it is as it is described."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from cli_help import Recorded, empty, history, on_sqlite
from fixtures_search import search
from fixtures_store import Store
from fixtures_web import Page
from helpers import minimal
from web_help import fill

import runlog
from runlog.web import app

__all__ = ["empty", "history"]
TOKEN = "a token of 24 characters"


def read(page: Page, path: str, **params: Any) -> Any:
    """The JSON of an address of the API."""
    answer = page.get(f"/api/v1/{path}", **params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_what_the_api_gives(
    page: Page, history: Recorded, recorder: runlog.Recorder
) -> None:
    runs = read(page, "runs", workflow="shop", status="failed")
    assert [run["at"] for run in runs["runs"]] == ["draft"] * 3
    asked = {"workflow": "shop", "id": history.failed}
    run = read(page, "run", **asked)
    assert run["outcome"].startswith("failed at draft")
    assert run["created_at"].endswith("Z")
    assert run["nodes"][run["at"]]["error_type"] == "KeyError"
    node = read(page, "node", **asked)
    assert (node["place"], node["node"]) == (1, "draft")
    assert read(page, "node", **asked, node=0)["outputs"]["n"] == 2
    thread = read(page, "thread", id="order A1")
    assert [one["answer"] for one in thread["runs"]] == [None, "Ada"]
    assert not read(page, "compare", **asked, other=history.done)["same"]
    assert "shop" in read(page, "workflow")["workflows"]
    workflow = read(page, "workflow", name="shop")
    assert workflow["now"]["failed"] == 0.75
    assert workflow["failures"][0]["error"] == "KeyError"
    search(recorder, "price")
    hits = read(page, "search", q="price")
    assert hits["hits"][0]["snippets"]
    assert any(one["what"] == "store" for one in read(page, "health")["checks"])


def test_pages_of_the_api(page: Page, store: Store, empty: None) -> None:
    fill(store, 250)
    ids: list[str] = []
    after: dict[str, str] = {}
    while True:
        found = read(page, "runs", limit=100, **after)
        ids += [run["run_id"] for run in found["runs"]]
        if found["next"] is None:
            break
        after = {"after": found["next"]}
    assert ids == [f"many-{place}" for place in reversed(range(250))]


@on_sqlite
def test_a_run_as_markdown(page: Page, history: Recorded) -> None:
    asked = {"workflow": "shop", "id": history.failed}
    accept = {"accept": "text/markdown"}
    answer = page.client.get("/api/v1/run", params=asked, headers=accept)
    assert answer.headers["content-type"].startswith("text/markdown")
    assert answer.text.startswith("# failed at draft")
    assert answer.text == page.get("/api/v1/run", **asked, **{"as": "markdown"}).text
    short = page.get("/api/v1/run", **asked, **{"as": "markdown"}, tokens=100)
    assert len(short.text) <= 400 < len(answer.text)


@on_sqlite
def test_a_tag_saves_the_body(page: Page, history: Recorded) -> None:
    path = f"/api/v1/run?workflow=shop&id={history.failed}"
    tag = page.get(path).headers["etag"]
    again = page.client.get(path, headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert page.client.get(path, headers={"if-none-match": 'W/"x"'}).status_code == 200


@on_sqlite
def test_what_is_large_is_not_compressed(page: Page, recorder: Any) -> None:
    """That would be done in the event loop, where all others wait for it."""
    for size, way in ((100_000, "gzip"), (2_000_000, None)):
        text = "x" * size
        logs = [{"node": "a", "status": "completed", "outputs": text}]
        recorder.log_run(minimal(str(size), node_logs=logs))
        asked = {"workflow": "w", "id": str(size), "node": "0"}
        answer = page.get("/api/v1/node", **asked)
        assert answer.headers.get("content-encoding") == way
        assert answer.json()["outputs"] == text
        refused = {"accept-encoding": "br, gzip;q=0"}
        answer = page.client.get("/api/v1/node", params=asked, headers=refused)
        assert "content-encoding" not in answer.headers


@on_sqlite
def test_problems(page: Page, history: Recorded) -> None:
    for path, status in (
        ("run?workflow=shop&id=x", 404),
        ("run", 400),
        ("runs?limit=0", 400),
        ("runs?after=x", 400),
        ("search", 400),
        (f"run?workflow=shop&id={history.done}&tokens=1", 400),
        ("workflow?window=2h", 400),
        ("nowhere", 404),
    ):
        answer = page.get(f"/api/v1/{path}")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert problem["title"]
        assert problem["detail"]


@on_sqlite
def test_the_api_is_as_it_is_described(page: Page, history: Recorded) -> None:
    """Requests that are made from the description, right ones and wrong ones."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import CHECKS
    from schemathesis.core.result import Ok

    schema = schemathesis.openapi.from_url(f"{page.url}/api/v1/openapi.json")
    # No schema tells a cursor or a time from another text.
    not_described = CHECKS.get_by_names(["positive_data_acceptance"])
    tried = 0
    for operation in schema.get_all_operations():
        assert isinstance(operation, Ok)
        case_of = operation.ok().as_strategy()

        @given(case=case_of)
        @settings(
            max_examples=15,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(
                base_url=f"{page.url}/api/v1", timeout=60, excluded_checks=not_described
            )

        check()
    assert tried > 50


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*", ""])
@on_sqlite
def test_json_is_given_unless_markdown_is_asked_for(
    page: Page, history: Recorded, accept: str
) -> None:
    asked = {"workflow": "shop", "id": history.failed}
    answer = page.client.get("/api/v1/run", params=asked, headers={"accept": accept})
    assert answer.headers["content-type"] == "application/json"


WORDS = (
    "",
    " ",
    "[",
    "%",
    "é",
    "\u0663",
    "-1",
    "9" * 400,
    "1e999",
    "NaN",
    "x" * 4_000,
    "x" * 5_000,
    "a\x00b",
    "0001-01-01",
    "0001-01-02",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999-14:00",
    "99999999999w",
    "1-2-3",
    "5-1",
    ",,,",
    "1" * 5_00 + ",2",
)
"""Values that no parameter is meant to have."""
ONE_RUN = ("workflow", "id", "node")
LIST = ("workflow", "status", "thread", "error", "node", "since", "until", "after")
READ = {
    "": (*LIST, "chart"),
    "run": (*ONE_RUN, "find", "show", "zoom", "from", "open", "calls", "keys", "state"),
    "node": (*ONE_RUN, "state"),
    "thread": ("id", "workflow"),
    "compare": (*ONE_RUN, "other", "with"),
    "workflow": ("name", "window"),
    "insights": ("workflow", "since"),
    "search": ("q", "by", "workflow", "status", "since"),
    "download": (*ONE_RUN, "what"),
    "file": ONE_RUN,
    "delete": ("workflow", "id"),
    "prune": ("older_than", "keep", "workflow", "status"),
    "api/v1/runs": (*LIST, "limit"),
    "api/v1/run": (*ONE_RUN, "as", "tokens"),
    "api/v1/node": ONE_RUN,
    "api/v1/thread": ("id",),
    "api/v1/compare": (*ONE_RUN, "other"),
    "api/v1/workflow": ("name", "window"),
    "api/v1/insights": ("workflow", "since"),
    "api/v1/search": ("q", "by", "workflow", "status", "since"),
}
"""The parameters of each address."""


@on_sqlite
@pytest.mark.parametrize("path", READ)
def test_no_parameter_is_a_fault_of_the_page(
    page: Page, history: Recorded, path: str
) -> None:
    right = {"workflow": "shop", "id": history.failed, "q": "price", "other": "x"}
    for name in READ[path]:
        for word in WORDS:
            answer = page.get(f"/{path}", **{**right, name: word})
            assert answer.status_code in (200, 400, 404), (name, word, answer.text)


@on_sqlite
def test_regression_a_parameter_may_have_any_name(page: Page, history: Recorded) -> None:
    """Also that of an argument within the page, which has its parameters as arguments."""
    right = {"workflow": "shop", "id": history.failed, "q": "price", "with": "good"}
    more = dict.fromkeys(("self", "page", "changes", "values"), "1")
    for path in READ:
        answer = page.client.get(f"/{path}", params={**right, "name": "shop", **more})
        assert answer.status_code == (404 if path.endswith("thread") else 200), path


@on_sqlite
def test_no_header_is_a_fault_of_the_page(recorder: Any, empty: None) -> None:
    recorder.log_run(minimal("r1"))
    made = Page(app(recorder, token=TOKEN, hosts=None))
    bearer = (b"authorization", b"Bearer " + TOKEN.encode())
    words = [b"", b"[", b"http://[", b"null", b"\xe9\xff", b"=;=", b"a" * 4_000]
    words += [b"application/openmetrics-text; version=" + one for one in (b"x", b"9" * 9)]
    words += [b"text/plain; version=\xb2", b"Bearer", b"Bearer \xff", b"W/", b'"']
    names = ["origin", "accept", "if-none-match", "sec-fetch-site", "cookie", "host"]
    names += ["accept-encoding", "content-type", "x-forwarded-for", "range", "forwarded"]
    paths = ("/", "/metrics", "/api/v1/run?workflow=w&id=r1", "/delete?workflow=w&id=r1")
    try:
        for name in (*names, "authorization"):
            for word in words:
                for path in paths:
                    known = [] if name == "authorization" else [bearer]
                    headers = httpx.Headers([*known, (name.encode(), word)])
                    made.client.cookies.clear()
                    answer = made.client.get(path, headers=headers)
                    assert answer.status_code < 500, (name, word, path, answer.text)
                answer = made.client.post(path, headers=headers, data={"form": "x"})
                assert 400 <= answer.status_code < 500, (name, word)
    finally:
        made.close()
    assert recorder.list_runs().runs


@on_sqlite
def test_a_setting_that_is_wrong_is_said(
    page: Page, history: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody searches by meaning."""
    monkeypatch.setenv("RUNLOG_PRICES", "/nowhere/prices.json")
    for path in ("/insights", "/api/v1/insights"):
        answer = page.get(path)
        assert answer.status_code == 503
        assert "A setting of the server is wrong" in answer.text
        assert "/nowhere/prices.json" in answer.text
        assert "by meaning is" not in answer.text
