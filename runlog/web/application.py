"""The ASGI application: its addresses, and how a request is answered."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runlog.web import assets
from runlog.web.address import Asked
from runlog.web.errors import describe
from runlog.web.guard import Guard
from runlog.web.page_run import node, run
from runlog.web.page_runs import runs
from runlog.web.render import render
from runlog.web.source import Source

Page = Callable[[Source, Asked], dict[str, Any]]
PAGES: dict[str, tuple[Page, str]] = {
    "/": (runs, "runs.html"),
    "/run": (run, "run.html"),
    "/node": (node, "node.html"),
}


def make(
    source: Source,
    token: str | None,
    hosts: Sequence[str] | None,
    allow_delete: bool,
) -> Starlette:
    """Make the application: see `runlog.web.app`.

    Its `state.stop` ends the streams of events.
    """
    common = {"allow_delete": allow_delete, "version": assets.version()}

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        source.close()

    def failed(request: Request, error: BaseException) -> Response:
        fault = describe(error)
        body = render("error.html", {**common, **_about(request), "fault": fault})
        return Response(body, fault.status, media_type="text/html")

    def answers(page: Page, template: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            def work() -> bytes:
                asked = Asked(request)
                values = page(source, asked)
                return render(template, {**common, **_about(asked), **values})

            try:
                return with_tag(request, await source.call(work), "text/html")
            except Exception as error:  # noqa: BLE001 - described, or logged, there
                return failed(request, error)

        return answer

    async def on_error(request: Request, error: Exception) -> Response:
        return failed(request, error)

    def login(scope: Any, said: str) -> Response:
        request = Request(scope)
        body = render("login.html", {**common, **_about(request), "said": said})
        return Response(body, 401, media_type="text/html")

    routes = [Route(path, answers(*what)) for path, what in PAGES.items()]
    routes.append(Route("/static/{name}", assets.answer))
    made = Starlette(
        routes=routes,
        lifespan=life,
        exception_handlers={HTTPException: on_error},
        middleware=[
            Middleware(Guard, hosts=hosts, token=token, login=login),
            Middleware(GZipMiddleware, minimum_size=500, compresslevel=5),
        ],
    )
    made.state.stop = lambda: None
    return made


def _about(asked: Any) -> dict[str, Any]:
    """What each template knows of the address."""
    if isinstance(asked, Request):
        try:
            asked = Asked(asked)
        except Exception:  # noqa: BLE001 - the address itself is what is wrong
            asked = Asked(Request({**asked.scope, "query_string": b""}))
    return {"asked": asked, "to": asked.to, "here": asked.here}


def with_tag(request: Request, body: bytes, media: str) -> Response:
    """An answer that is sent only if the browser does not have it already."""
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "accept"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return Response(body, 200, headers, media)
