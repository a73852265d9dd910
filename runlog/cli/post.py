"""A request over HTTP that is sent again while the server is busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException
from math import inf
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from runlog.cli.errors import AwayError, CommandError, WrongUsageError

_SECONDS: Final = 30
_TRIES: Final = 6
_LONGEST: Final = 300
"""Seconds that a server may have us wait."""
_BUSY: Final = (429, 502, 503, 504)
_ANSWER: Final = 1 << 20


class RefusedError(CommandError):
    """The server refused the request; `code` is the status of its answer."""

    def __init__(self, said: str, code: int) -> None:
        super().__init__(said)
        self.code = code


class _NoRedirect(HTTPRedirectHandler):
    """Follows nothing: a redirect would turn the request into another one, and take its
    headers to another server.
    """

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def check_url(url: str, name: str) -> SplitResult:
    """Return the parts of a URL that requests can be sent to.

    Args:
        url: what somebody has given.
        name: what it was given as, such as "--otlp".

    Raises:
        WrongUsageError: it can't be used. It is not quoted, as it may have credentials.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise WrongUsageError(f"{name} has a character that no URL has: encode it")
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        fine = False
    if not fine:
        raise WrongUsageError(f"{name} must be a URL that begins http:// or https://")
    if "@" in parts.netloc:
        raise WrongUsageError(f"{name} has a user or a password before the host")
    return parts


def post(
    url: str,
    body: bytes,
    headers: dict[str, str],
    *,
    tries: int = _TRIES,
    seconds: float = _SECONDS,
    within: float = inf,
    taken: Callable[[], None] | None = None,
) -> bytes:
    """Send a request, and return the answer's body.

    A busy server (429, 502, 503, 504) is asked again after the time in its Retry-After,
    else after 1 second, 2, 4 and so on.

    Args:
        url: of http or https.
        body: the request's.
        headers: the request's.
        tries: how often it is sent at most.
        seconds: how long the server may be silent.
        within: seconds after which nothing is sent any more.
        taken: is called once the server has said that it has the request. Then that must
            not be sent twice: it is not sent again where nobody knows whether it arrived,
            and an answer whose body never ends is one.

    Raises:
        AwayError: the server was not reached, or stays busy.
        RefusedError: it refused the request. Neither message has the path of the URL or
            a header.
    """
    place = urlsplit(url)
    shown = f"{place.scheme}://{place.hostname}" + (
        f":{place.port}" if place.port else ""
    )
    opener = build_opener(_NoRedirect)
    said, begun = "", time.monotonic()
    for number in range(tries):
        pause: float = min(2**number, 30)
        request = Request(url, body, headers, method="POST")  # noqa: S310 - see address
        try:
            with opener.open(request, timeout=seconds) as answer:
                return _read(answer, taken)
        except HTTPError as error:
            with error:
                said = f"{shown} answered {_status(error.code)}"
                if error.code not in _BUSY:
                    raise RefusedError(said, error.code) from None
                pause = _retry_after(error.headers, pause)
        except (URLError, OSError, HTTPException, ValueError) as error:
            said = f"{shown} is out of reach: {_reason(error)}"
            if number >= 2 or taken is not None:
                break
        if pause > _LONGEST:
            raise AwayError(f"{said}, and asks for {pause:,.0f} seconds")
        if time.monotonic() - begun + pause + seconds > within:
            break
        if number < tries - 1:
            time.sleep(pause)
    raise AwayError(said)


def _read(answer: Any, taken: Callable[[], None] | None) -> bytes:
    """The body of an answer that says that the server has the request."""
    if taken is None:
        return bytes(answer.read(_ANSWER))
    taken()
    try:
        return bytes(answer.read(_ANSWER))
    except OSError:  # it takes too long, or the connection ends
        return b""


def _status(code: int) -> str:
    """A status with its standard phrase: a server's own may quote the request."""
    known = {one.value: one.phrase for one in HTTPStatus}
    return f"{code} {known.get(code, '')}".rstrip()


def _reason(error: Exception) -> str:
    """Why a server was not reached, but not what it has sent, as for its status."""
    reason = error.reason if isinstance(error, URLError) else error
    own = isinstance(reason, (TimeoutError, ConnectionError))
    if own or (isinstance(reason, OSError) and reason.errno is not None):
        return str(reason)
    return f"no proper answer ({type(reason).__name__})"


def _retry_after(headers: Message, otherwise: float) -> float:
    """The seconds that a server asks for."""
    given = (headers.get("retry-after") or "").strip()
    if given.isascii() and given.isdigit():
        return float(given[:9])
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return otherwise
