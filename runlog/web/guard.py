"""Who may read the page: by which name, and with which token.

An ASGI middleware around the whole application.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from runlog.web.address import cookie_path, is_api, path_of
from runlog.web.errors import Fault, problem

COOKIE = "runlog_session"
"""Cookies of a machine are those of all its ports, so the port is a part of the name."""
LEAST = 16
"""Characters of a token."""
_FORM = 4_096
"""Bytes of the form with a token."""
_NEEDED = "Give the token that runlog serve has printed, as Authorization: Bearer TOKEN."
_TRIES, _WINDOW, _ADDRESSES = 20, 60.0, 10_000
"""Wrong tokens that an address may try in so many seconds, and how many are counted."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def check_token(token: str) -> None:
    """Make sure that a token can't be guessed, and that a header and a form can have it.

    Raises:
        ValueError: it is too short, or has what neither can.
    """
    if len(token) < LEAST:
        raise ValueError(f"the token has {len(token)} characters: {LEAST} at least")
    if not token.isprintable() or token != token.strip():
        raise ValueError(
            "the token begins or ends with a space, or has a line break or another "
            "character that is not printed: no browser could give it"
        )


class _Tries:
    """Wrong tokens by the addresses that they came from."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """For how many seconds an address is refused; 0 if it is not."""
        now = time.monotonic()
        recent = [one for one in self._found.get(address, ()) if one > now - _WINDOW]
        return 0 if len(recent) < _TRIES else 1 + int(recent[0] + _WINDOW - now)

    def add(self, address: str) -> None:
        """Count one."""
        recent = self._found.setdefault(address, [])
        recent.append(time.monotonic())
        del recent[:-_TRIES]
        self._found.move_to_end(address)
        while len(self._found) > _ADDRESSES:
            self._found.popitem(last=False)


class Guard:
    """The middleware. It is used by one event loop."""

    def __init__(
        self, app: Any, hosts: Sequence[str] | None, token: str | None, login: Any
    ) -> None:
        """Guard an application.

        Args:
            app: the application.
            hosts: the names by which it may be reached; None for any.
            token: the token; None for none.
            login: makes the answer that asks for the token, from a scope and a message.
        """
        self._app = app
        self._hosts = None if hosts is None else {one.lower() for one in hosts}
        self._token = None if token is None else token.encode()
        self._login = login
        self._tries = _Tries()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        answer = await self._refuse(scope, receive)

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._app if answer is None else answer)(scope, receive, told)

    async def _refuse(self, scope: Any, receive: Any) -> Response | None:
        headers = Headers(scope=scope)
        name = _host(headers.get("host", ""))
        if self._hosts is not None and name not in self._hosts:
            said = (
                f"The page may not be reached by the name {name!r}. "
                "Its operator can allow the name: runlog serve --allow-host NAME, or "
                "runlog.web.app(hosts=[...])."
            )
            return _refusal(scope, Fault(421, "Not by this name", said))
        if self._token is None or path_of(scope).startswith("/static/"):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), True)
        given = [value for key, value in query if key == "token"]
        known = self._knows(headers) or self._bears(headers)
        if scope["method"] == "POST" and not known:
            given += await _read_token(scope, receive)  # it is never passed on
        return self._check(scope, headers, query, given)

    def _check(
        self, scope: Any, headers: Headers, query: list[tuple[str, str]], given: list[str]
    ) -> Response | None:
        """The answer to a request without the right token.

        Args:
            scope: the request.
            headers: its headers.
            query: its address.
            given: the tokens in its address, or in a form.
        """
        assert self._token is not None
        bearer = headers.get("authorization", "")
        cookies = _cookies(headers)
        tried = bool(given or bearer or cookies)
        address = (scope.get("client") or ("?",))[0]
        if tried and (seconds := self._tries.wait(address)):
            said = f"Too many wrong tokens: try again in {seconds} s."
            fault = Fault(429, "Too many wrong tokens", said)
            return _refusal(scope, fault, {"retry-after": str(seconds)})
        if self._knows(headers):
            return self._without(scope, query) if given else None
        if self._bears(headers):
            return None
        if given and _same(given[-1], self._token):
            return self._let_in(scope, query)
        if tried:
            self._tries.add(address)
        said = "This token is wrong." if given or bearer else ""
        answer: Response
        if is_api(scope):
            answer = problem(Fault(401, "The token is missing", said or _NEEDED))
        else:
            answer = self._login(scope, said)
        answer.headers["www-authenticate"] = 'Bearer realm="runlog"'
        if cookies:
            answer.delete_cookie(_name(headers), path=cookie_path(scope))
        return answer

    def _knows(self, headers: Headers) -> bool:
        """Whether a browser has the cookie of those who know the token."""
        return any(_same(cookie, self._session()) for cookie in _cookies(headers))

    def _bears(self, headers: Headers) -> bool:
        """Whether a program gives the token."""
        assert self._token is not None
        kind, _, given = headers.get("authorization", "").partition(" ")
        # The bytes of a header are given as characters of Latin-1.
        return kind.lower() == "bearer" and _same(given.encode("latin-1"), self._token)

    def _session(self) -> bytes:
        assert self._token is not None
        made = hmac.new(self._token, b"runlog page", hashlib.sha256)
        return made.hexdigest().encode()

    def _without(self, scope: Any, query: list[tuple[str, str]]) -> Response:
        """Lead to the same address without the token, so that it is not shown around."""
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        path = quote(scope["path"].rpartition("/")[2])
        return RedirectResponse(f"./{path}" + (f"?{rest}" if rest else ""), 303)

    def _let_in(self, scope: Any, query: list[tuple[str, str]]) -> Response:
        answer = self._without(scope, query)
        answer.set_cookie(
            _name(Headers(scope=scope)),
            self._session().decode(),
            path=cookie_path(scope),
            secure=scope.get("scheme") == "https",
            httponly=True,
            samesite="strict",
        )
        return answer


async def _read_token(scope: Any, receive: Any) -> list[str]:
    """The token in the form of the page that asks for it."""
    body = b""
    try:
        async for piece in Request(scope, receive).stream():
            body += piece
            if len(body) > _FORM:
                return [""]
    except ClientDisconnect:
        return []  # nobody is there to be answered
    return [value for key, value in parse_qsl(body.decode("latin-1")) if key == "token"]


def _refusal(scope: Any, fault: Fault, headers: dict[str, str] | None = None) -> Response:
    if is_api(scope):
        return problem(fault, headers)
    return PlainTextResponse(f"{fault.said}\n", fault.status, headers)


def _same(one: str | bytes, other: bytes) -> bool:
    given = one.encode("utf-8", "replace") if isinstance(one, str) else one
    return hmac.compare_digest(given, other)


def _cookies(headers: Headers) -> list[str]:
    """The cookies that may be those of who knows the token.

    There are several if another page is mounted further up. What other programs of the
    machine have set may be malformed, and is passed over.
    """
    name = _name(headers)
    pairs = [
        pair.strip().partition("=")
        for header in headers.getlist("cookie")
        for pair in header.split(";")
    ]
    return [value for given, _, value in pairs if given == name and value]


def _name(headers: Headers) -> str:
    """The name of the cookie at the port that the browser has asked."""
    _, _, port = headers.get("host", "").rpartition("]")[2].rpartition(":")
    return f"{COOKIE}_{port}" if port.isascii() and port.isdigit() else COOKIE


def _host(header: str) -> str:
    """The name in a Host header, without its port and brackets."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")
