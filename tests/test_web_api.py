"""The API: what it gives, what it refuses, and whether it is as it is described."""

from __future__ import annotations

from typing import Any

import pytest
from cli_help import Recorded, empty, history, on_sqlite
from fixtures_store import Store
from fixtures_web import Page
from web_help import fill

__all__ = ["empty", "history"]


def read(page: Page, path: str, **params: Any) -> Any:
    """The JSON of an address of the API."""
    answer = page.get(f"/api/v1/{path}", **params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_what_the_api_gives(page: Page, history: Recorded) -> None:
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
def test_problems(page: Page, history: Recorded) -> None:
    for path, status in (
        ("run?workflow=shop&id=x", 404),
        ("run", 400),
        ("runs?limit=0", 400),
        ("runs?after=x", 400),
        ("search", 400),
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
