"""Who may read the page: names, tokens, what browsers are told, and mounts."""

from __future__ import annotations

import hmac
import html
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cli_help import empty, on_sqlite
from fastapi import FastAPI
from fixtures_store import Store
from fixtures_web import Page
from helpers import minimal
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from web_help import form_of

import runlog
from runlog.web import app

__all__ = ["empty"]
pytestmark = on_sqlite
TOKEN = "a token of 24 characters"


@pytest.fixture
def locked(store: Store, recorder: runlog.Recorder) -> Iterator[Page]:
    """The page behind a token."""
    recorder.log_run(minimal("r1"))
    made = Page(app(recorder, token=TOKEN))
    yield made
    made.close()


def test_what_browsers_are_told(page: Page, empty: None) -> None:
    for path in ("/", "/nowhere", "/?since=x", "/static/page.css", "/api/v1/runs"):
        headers = page.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers or "uvicorn" in headers["server"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:7117", 200),
        ("LOCALHOST.", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("evil.example:7117", 421),
        ("localhost.evil.example", 421),
        ("", 421),
        ("[::1", 200),
    ],
)
def test_other_names_do_not_lead_here(
    page: Page, empty: None, host: str, status: int
) -> None:
    answer = page.client.get("/", headers={"host": host})
    assert answer.status_code == status
    if status == 421:
        assert "--allow-host" in answer.text


def test_names_can_be_allowed(recorder: runlog.Recorder) -> None:
    for hosts, name in ((["runs.example"], "runs.example"), (None, "any.example")):
        made = Page(app(recorder, hosts=hosts))
        try:
            assert made.client.get("/", headers={"host": name}).status_code == 200
        finally:
            made.close()


def test_a_token(locked: Page) -> None:
    for path in ("/", "/run?workflow=w&id=r1", "/api/v1/runs", "/events", "/nowhere"):
        answer = locked.get(path)
        assert answer.status_code == 401
        assert "r1" not in answer.text.replace("id=r1", "")  # of the address itself
        assert TOKEN not in answer.text
    assert locked.get("/static/page.css").status_code == 200
    assert locked.get("/", token="wrong").status_code == 401
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert locked.client.get("/api/v1/runs", headers=bearer).status_code == 200
    answer = locked.get("/run", workflow="w", id="r1", token=TOKEN)
    assert answer.status_code == 303
    assert answer.headers["location"] == "./run?workflow=w&id=r1"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert locked.get("/").status_code == 200  # by the cookie
    assert "r1" in locked.text("/")


def test_a_token_in_a_form(locked: Page) -> None:
    """The page that asks for it sends it by a POST, so that it is in no address."""
    asked = locked.get("/run?workflow=w&id=r1")
    assert 'method="post"' in asked.text
    answer = locked.client.post("/run?workflow=w&id=r1", data={"token": "wrong"})
    assert (answer.status_code, "wrong" in answer.text) == (401, True)
    answer = locked.client.post("/run?workflow=w&id=r1", data={"token": TOKEN})
    assert answer.status_code == 303
    assert answer.headers["location"] == "./run?workflow=w&id=r1"
    assert locked.get("/").status_code == 200
    assert locked.client.post("/", data={"token": "x" * 100_000}).status_code in (
        405,
        413,
    )


def test_guesses_are_counted(locked: Page) -> None:
    for number in range(20):
        assert locked.get("/", token=f"guess {number}").status_code == 401
    answer = locked.get("/", token=TOKEN)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 61
    assert locked.get("/").status_code == 401  # whoever tries nothing is asked


def cookie_of(page: Page) -> str:
    """The name of the cookie: two pages of a machine must not take each other's away."""
    return f"runlog_session_{page.url.rpartition(':')[2]}"


def test_the_cookie_counts_among_any_others(locked: Page) -> None:
    answer = locked.get(token=TOKEN)
    name, _, kept = answer.headers["set-cookie"].partition(";")[0].partition("=")
    assert name == cookie_of(locked)
    locked.client.cookies.clear()
    others = 'a b=1; =; x; q="\\; [w]={1}; runlog_session=of another port'
    for header in (
        f"{name}={kept}; {others}",
        f"{others};{name}={kept}",
        f"{name}=of a page further up; {name}={kept}",
    ):
        for _ in range(25):
            assert locked.client.get("/", headers={"cookie": header}).status_code == 200
    for header in ("", others, f"x{name}={kept}", f"{name}"):
        assert locked.client.get("/", headers={"cookie": header}).status_code == 401


def test_a_stale_cookie_is_taken_away_and_does_not_lock_anybody_out(locked: Page) -> None:
    locked.client.cookies.set(cookie_of(locked), "stale")
    answer = locked.get("/")
    assert answer.status_code == 401
    assert f"{cookie_of(locked)}=" in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    locked.client.cookies.set(cookie_of(locked), "stale")
    assert locked.client.post("/", data={"token": TOKEN}).status_code == 303


def test_a_wrong_token_takes_as_long_as_an_almost_right_one(
    recorder: runlog.Recorder,
) -> None:
    """Both are compared as a whole: no time grows with the part that is right."""
    compared: list[int] = []
    plain = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return plain(one, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hmac, "compare_digest", compare)
        made = Page(app(recorder, token=TOKEN))
        try:
            made.get("/", token="wrong")
            made.get("/", token=TOKEN[:-1])
        finally:
            made.close()
    assert compared == [5, len(TOKEN) - 1]


@pytest.mark.parametrize("token", ["", "short", "x" * 15])
def test_a_short_token_is_refused(recorder: runlog.Recorder, token: str) -> None:
    with pytest.raises(ValueError, match="16 at least"):
        app(recorder, token=token)


@pytest.mark.parametrize("end", ["\n", " ", "\x7f", "\udcff", "\u2028"])
def test_regression_a_token_that_nobody_could_give_is_refused(
    recorder: runlog.Recorder, end: str
) -> None:
    """No header has it, nor what a browser makes of a form."""
    for token in (TOKEN + end, end + TOKEN):
        with pytest.raises(ValueError, match="no browser could give it"):
            app(recorder, token=token)


@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
def test_mounted_under_a_prefix(recorder: runlog.Recorder, kind: str) -> None:
    recorder.log_run(minimal("r1", node_logs=[{"node": "a", "status": "completed"}]))
    inner = app(recorder, token=TOKEN)
    routes: list[Any] = [Mount("/ops/runs", inner)]
    if kind == "starlette":
        outer: Any = Starlette(routes=[*routes, Route("/", _hello)])
    else:
        outer = FastAPI()
        outer.mount("/ops/runs", inner)
    made = Page(outer)
    try:
        made.client.follow_redirects = True
        text = made.get("/ops/runs", token=TOKEN).text
        assert "r1" in text
        link = re.search(r'href="(\./run\?[^"]+)"', text)
        assert link is not None
        assert (
            made.get("/ops/runs/" + link[1][2:].replace("&amp;", "&")).status_code == 200
        )
        assert made.get("/ops/runs/static/page.css").status_code == 200
        assert 'href="../../"' in made.get("/ops/runs/a/b/c").text
        cookie = made.client.cookies.jar
        assert {one.path for one in cookie} == {"/ops/runs/"}
    finally:
        made.close()


async def _hello(_: Any) -> PlainTextResponse:
    return PlainTextResponse("hello")


def test_too_many_requests_at_once_are_refused(
    recorder: runlog.Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from runlog.web import source

    monkeypatch.setattr(source, "_WAITING", 3)
    slow, refused = recorder.list_runs, threading.Event()

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(recorder, name)

        def list_runs(self, **filters: Any) -> Any:
            refused.wait(60)
            return slow(**filters)

    made = Page(app(Slow()))  # type: ignore[arg-type]

    def get(_: int) -> int:
        status = made.get("/").status_code
        if status != 200:
            refused.set()
        return status

    try:
        with ThreadPoolExecutor(12) as threads:
            found = list(threads.map(get, range(12)))
    finally:
        made.close()
    assert set(found) == {200, 503}


@pytest.mark.parametrize("token", [TOKEN, "schlüssel zum löschen ✓"])
@pytest.mark.parametrize("by", ["bearer", "form", "address"])
def test_a_form_is_read_however_the_token_was_given(
    recorder: runlog.Recorder, token: str, by: str
) -> None:
    """The body of a request can be read once: the guard leaves it to the form."""
    recorder.log_run(minimal("r1"))
    made = Page(app(recorder, token=token))
    asked = {"workflow": "w", "id": "r1"}
    try:
        if by == "bearer":
            given = b"Bearer " + token.encode()
            made.client.headers = httpx.Headers([(b"authorization", given)])
        elif by == "form":
            assert made.client.post("/", data={"token": token}).status_code == 303
        else:
            assert made.get(token=token).status_code == 303
        form = form_of(made.text("/delete", **asked))
        assert made.client.post("/delete", params=asked, data=form).status_code == 303
    finally:
        made.close()
    assert not recorder.list_runs().runs


def test_the_form_of_a_second_tab(locked: Page) -> None:
    """It asks for the token although another tab has given it meanwhile."""
    asked = locked.get("/run?workflow=w&id=r1").text
    found = re.search(r'action="\.([^"]+)"', asked)
    assert found is not None
    address = html.unescape(found[1])
    assert locked.get(token=TOKEN).status_code == 303
    for token in (TOKEN, "wrong"):
        answer = locked.client.post(address, data={"token": token})
        assert answer.status_code == 303
        assert answer.headers["location"] == "./run?workflow=w&id=r1"


@pytest.mark.parametrize("what", ["/", "/delete?workflow=w&id=r1"])
def test_a_browser_that_goes_within_a_form(
    locked: Page, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is answered, and nothing is said to be wrong with the page."""
    port = int(locked.url.rpartition(":")[2])
    head = f"POST {what} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n"
    for more in ("", f"authorization: Bearer {TOKEN}\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as browser:
            browser.sendall(f"{head}{more}\r\ntoken=".encode())
    locked.close()  # waits for both
    assert "Exception" not in caplog.text


@pytest.mark.parametrize(
    "prefix", ["/my runs", "/läufe/é", "/記録", "/a,b", "/a;b", "/a%b", "/x(y)"]
)
def test_cookies_of_a_page_under_any_path(recorder: runlog.Recorder, prefix: str) -> None:
    """A browser sends a cookie to the path as it writes that itself: encoded."""
    recorder.log_run(minimal("r1"))
    made = Page(Starlette(routes=[Mount(prefix, app(recorder, token=TOKEN))]))
    base = quote(prefix, safe="/;,()")
    asked = {"workflow": "w", "id": "r1"}
    try:
        answer = made.get(f"{base}/", token=TOKEN)
        assert answer.status_code == 303
        answer.headers["set-cookie"].encode("ascii")
        form = form_of(made.text(f"{base}/delete", **asked))
        answer = made.client.post(f"{base}/delete", params=asked, data=form)
        assert answer.status_code == 303, answer.text
        assert not recorder.list_runs().runs
        made.client.cookies.set(cookie_of(made), "stale", path=f"{base}/")
        made.client.cookies.clear()
        answer = made.client.get(f"{base}/", headers={"cookie": f"{cookie_of(made)}=x"})
        gone = answer.headers["set-cookie"].partition("Path=")[2].partition(";")[0]
        assert f"{base}/".startswith(gone)
        assert len(gone) > 1 or ";" in prefix
    finally:
        made.close()


def test_errors_of_the_api(locked: Page) -> None:
    """They are as the API describes them, also those of the guard."""
    bearer = {"authorization": f"Bearer {TOKEN}"}

    def problem(answer: httpx.Response, status: int) -> Any:
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        said = answer.json()
        assert said["status"] == status
        assert said["detail"]
        return answer.headers

    for address in ("/api/v1/runs", "/api/v1/nowhere"):
        headers = problem(locked.get(address), 401)
        assert headers["www-authenticate"].startswith("Bearer")
    assert locked.get("/").headers["www-authenticate"].startswith("Bearer")
    evil = {"host": "evil.example"}
    problem(locked.client.get("/api/v1/runs", headers=evil), 421)
    for address in ("/api/v1/runs", "/", "/file", "/static/page.css"):
        answer = locked.client.put(address, headers=bearer)
        assert answer.status_code == 405
        assert answer.headers["allow"]
    problem(locked.client.put("/api/v1/runs", headers=bearer), 405)
    for _ in range(20):
        locked.get("/api/v1/runs", token="wrong")
    assert problem(locked.get("/api/v1/runs", token="wrong"), 429)["retry-after"]
