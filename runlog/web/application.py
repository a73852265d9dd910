"""The ASGI application: its addresses, and how a request is answered."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runlog.web import actions, api, assets, openapi, raw
from runlog.web.address import API, Asked, is_api, path_of
from runlog.web.errors import describe, problem
from runlog.web.guard import Guard, check_token
from runlog.web.live import Live
from runlog.web.page_compare import compared
from runlog.web.page_health import health
from runlog.web.page_insights import insights
from runlog.web.page_metrics import Metrics
from runlog.web.page_run import node, run
from runlog.web.page_runs import runs
from runlog.web.page_search import search
from runlog.web.page_thread import thread
from runlog.web.page_workflow import workflow
from runlog.web.plain import to_json
from runlog.web.pruning import Pruner
from runlog.web.render import render
from runlog.web.source import Source

_LARGE = 1 << 20
"""Bytes of an answer that are not compressed any more."""

Page = Callable[[Source, Asked], dict[str, Any]]
Send = Callable[[Source, Asked], Response]

PAGES: dict[str, tuple[Page, str]] = {
    "/": (runs, "runs.html"),
    "/run": (run, "run.html"),
    "/node": (node, "node.html"),
    "/thread": (thread, "thread.html"),
    "/compare": (compared, "compare.html"),
    "/workflow": (workflow, "workflow.html"),
    "/insights": (insights, "insights.html"),
    "/search": (search, "search.html"),
    "/health": (health, "health.html"),
}
FILES: dict[str, Send] = {"/download": raw.download, "/file": raw.file}
_MARKDOWN = "text/markdown"


class Site:
    """The endpoints. Reading and rendering happen in a thread of the source."""

    def __init__(self, source: Source, allow_delete: bool) -> None:
        self.source = source
        self._common = {"allow_delete": allow_delete, "version": assets.version()}
        self._metrics = Metrics(source)

    def render(self, request: Request, template: str, values: dict[str, Any]) -> bytes:
        """Fill in a template for a request."""
        asked = _asked(request)
        about = {"asked": asked, "to": asked.to, "here": asked.here}
        return render(template, {**self._common, **about, **values})

    def failed(self, request: Request, error: BaseException) -> Response:
        """The answer to a request that can't be answered."""
        fault = describe(error)
        headers = {"cache-control": "no-store"}
        if isinstance(error, HTTPException):
            headers |= error.headers or {}
        if is_api(request.scope):
            return problem(fault, headers)
        body = self.render(request, "error.html", {"fault": fault})
        return Response(body, fault.status, headers, "text/html")

    async def on_error(self, request: Request, error: Exception) -> Response:
        """Answer what no address, or no method of one, answers."""
        return self.failed(request, error)

    async def answer(self, request: Request, work: Callable[[], Response]) -> Response:
        """Do the work of a request in a thread; describe what it raises."""
        try:
            return await self.source.call(work)
        except Exception as error:  # noqa: BLE001 - described, or logged, there
            return self.failed(request, error)

    def page(self, page: Page, template: str) -> Any:
        """The endpoint of a page."""

        async def endpoint(request: Request) -> Response:
            def work() -> Response:
                values = page(self.source, Asked(request))
                return with_tag(
                    request, self.render(request, template, values), "text/html"
                )

            return await self.answer(request, work)

        return endpoint

    def file(self, send: Send) -> Any:
        """The endpoint of what is saved."""

        async def endpoint(request: Request) -> Response:
            return await self.answer(request, lambda: send(self.source, Asked(request)))

        return endpoint

    def data(self, read: Callable[[Source, Asked], Any]) -> Any:
        """The endpoint of an address of the API."""

        async def endpoint(request: Request) -> Response:
            def work() -> Response:
                asked = Asked(request)
                if read is api.run and _wants_markdown(request, asked):
                    text = api.as_markdown(self.source, asked)
                    return with_tag(request, text.encode("utf-8", "replace"), _MARKDOWN)
                body = to_json(read(self.source, asked))
                return with_tag(request, body, "application/json")

            return await self.answer(request, work)

        return endpoint

    async def openapi(self, request: Request) -> Response:
        """Answer with the description of the API."""
        from runlog import __version__

        return with_tag(
            request, to_json(openapi.describe(__version__)), "application/json"
        )

    async def metrics(self, request: Request) -> Response:
        """Answer a scrape."""
        accepts = request.headers.get("accept", "")
        return await self.answer(request, lambda: self._metrics.answer(accepts))

    def action(self, ask: Page, template: str, act: Send) -> Any:
        """The endpoint of what changes something: a GET asks, a POST does it."""

        async def endpoint(request: Request) -> Response:
            if request.method == "POST":
                try:
                    await actions.read_form(request)
                except HTTPException as error:
                    return self.failed(request, error)
                return await self.answer(
                    request, lambda: act(self.source, Asked(request))
                )
            return await self.answer(request, lambda: self._ask(request, ask, template))

        return endpoint

    def _ask(self, request: Request, ask: Page, template: str) -> Response:
        form = actions.form_of(request)
        values = ask(self.source, Asked(request))
        body = self.render(request, template, {**values, "form": form})
        headers = {"cache-control": "no-store"}
        if values.get("refresh"):
            headers["refresh"] = "2"
        answer = Response(body, 200, headers, "text/html")
        actions.set_cookie(request, answer, form)
        return answer

    def login(self, scope: Any, said: str) -> Response:
        """The answer that asks for the token."""
        request = Request(scope)
        body = self.render(request, "login.html", {"said": said})
        return Response(body, 401, {"cache-control": "no-store"}, "text/html")


def make(
    source: Source, token: str | None, hosts: Sequence[str] | None, allow_delete: bool
) -> Starlette:
    """Make the application: see `runlog.web.app`.

    Its `state.stop` ends the streams of events, `state.listeners` counts them.
    """
    if token is not None:
        check_token(token)
    site, live, pruner = Site(source, allow_delete), Live(source), Pruner()

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        live.stop()
        pruner.close()
        source.close()

    routes = [Route(path, site.page(*what)) for path, what in PAGES.items()]
    routes += [Route(path, site.file(send)) for path, send in FILES.items()]
    routes += [
        Route(f"{API}/{name}", site.data(getattr(api, name)))
        for name in openapi.OPERATIONS
    ]
    routes.append(Route(f"{API}/openapi.json", site.openapi))
    routes.append(Route("/metrics", site.metrics))
    routes.append(Route("/events", live, methods=["GET"]))
    routes.append(Route("/static/{name}", assets.answer))
    if allow_delete:
        both = ["GET", "POST"]
        delete = site.action(actions.confirm, "delete.html", actions.delete)
        prune = site.action(pruner.ask, "prune.html", pruner.act)
        routes.append(Route("/delete", delete, methods=both))
        routes.append(Route("/prune", prune, methods=both))
    made = Starlette(
        routes=routes,
        lifespan=life,
        exception_handlers={HTTPException: site.on_error},
        middleware=[
            Middleware(Guard, hosts=hosts, token=token, login=site.login),
            Middleware(_Gzip, minimum_size=500, compresslevel=5),
        ],
    )
    made.state.stop, made.state.listeners = live.stop, live.listeners
    return made


class _Gzip:
    """Compresses pages. It does so in the event loop, where all others wait for it: so
    files, and answers that are large, are sent as they are.
    """

    def __init__(self, app: Any, /, **options: Any) -> None:
        self.app = app
        self._options = options

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or path_of(scope) in FILES or _refuses_gzip(scope):
            await self.app(scope, receive, send)
            return

        async def app(scope: Any, receive: Any, compress: Any) -> None:
            way = compress

            async def choose(message: Any) -> None:
                nonlocal way
                if message["type"] == "http.response.start" and _is_large(message):
                    way = send
                await way(message)

            await self.app(scope, receive, choose)

        await GZipMiddleware(app, **self._options)(scope, receive, send)


def _refuses_gzip(scope: Any) -> bool:
    """Whether a request says so. That it does not name it is starlette's to see."""
    named = Headers(scope=scope).get("accept-encoding", "").lower().split(",")
    refused = re.compile(r"\s*gzip\s*;\s*q=0(\.0*)?\s*")
    return any(map(refused.fullmatch, named))


def _is_large(start: Any) -> bool:
    """Whether an answer of this beginning is; one without a length is a stream."""
    length = dict(start.get("headers", ())).get(b"content-length", b"0")
    return int(length) > _LARGE


def _asked(request: Request) -> Asked:
    try:
        return Asked(request)
    except Exception:  # noqa: BLE001 - the address itself is what is wrong
        return Asked(Request({**request.scope, "query_string": b""}))


def _wants_markdown(request: Request, asked: Asked) -> bool:
    accepts = request.headers.get("accept", "").startswith(_MARKDOWN)
    default = "markdown" if accepts else "json"
    return asked.choose("as", ("json", "markdown"), default) == "markdown"


def with_tag(request: Request, body: bytes, media: str) -> Response:
    """An answer that is sent only if the browser does not have it already."""
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "accept"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return Response(body, 200, headers, media)
