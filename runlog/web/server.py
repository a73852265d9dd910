"""`runlog serve`: the page by itself, on one's own machine or behind a token."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable, Sequence

import uvicorn

from runlog.reading.errors import WrongUsageError
from runlog.reading.places import Place
from runlog.web import HOSTS
from runlog.web.application import make
from runlog.web.deadline import DeadlineProtocol
from runlog.web.guard import check_token
from runlog.web.source import Source

_BACKLOG = 128
_LAST_PORT = 65535
_CONNECTIONS = 200


class _Server(uvicorn.Server):
    """Ends the streams of events before it waits for requests to end."""

    def __init__(
        self,
        config: uvicorn.Config,
        started: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._started = started
        self._stop = stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then say so: from now on a signal ends it in order."""
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then as uvicorn does."""
        self._stop()
        await super().shutdown(sockets)


def serve(
    place: Place,
    *,
    host: str,
    port: int,
    names: Sequence[str],
    proxies: Sequence[str],
    allow_delete: bool,
    say: Callable[[str], None],
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        place: where the history is.
        host: the address to listen on.
        port: the port; 0 for any that is free.
        names: further names by which browsers may reach the page.
        proxies: the addresses and networks of proxies. Of a request from there, what
            X-Forwarded-For and X-Forwarded-Proto say is believed; of any other it is not,
            as everybody can write these headers.
        allow_delete: whether runs can be deleted.
        say: is told where the page is, once it listens.

    Raises:
        WrongUsageError: the address, the port or a proxy can't be used, or the token is
            too short.
    """
    token = _token(host)
    trusted = [_checked(one) for one in proxies]
    listening = _listen(host, port)
    hosts = None if names and "*" in names else [*HOSTS, host, *names]
    if _is_any(host) and not names:
        hosts = None  # by whatever name: the token says who may
    made = make(Source(None, place), token, hosts, allow_delete)
    config = uvicorn.Config(
        made,
        http=DeadlineProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        server_header=False,
        proxy_headers=bool(trusted),
        forwarded_allow_ips=trusted,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=3,
    )
    bound = listening.getsockname()[1]
    shown = socket.gethostname() if _is_any(host) else host
    shown = f"[{shown}]" if ":" in shown else shown
    more = "" if token is None else "?token=" + token
    if token is not None and token == _given():
        more = "?token=$RUNLOG_WEB_TOKEN"
    where = f"runlog: {place.shown()} is at http://{shown}:{bound}/{more}"
    try:
        _Server(config, lambda: say(where), made.state.stop).run(sockets=[listening])
    finally:
        listening.close()


def _token(host: str) -> str | None:
    """The token that browsers have to know; None on this machine's own address."""
    given = _given()
    if not given:
        return None if _is_own(host) else secrets.token_urlsafe(32)
    try:
        check_token(given)
    except ValueError as error:
        said = str(error).replace("the token", "RUNLOG_WEB_TOKEN", 1)
        raise WrongUsageError(said) from None
    return given


def _given() -> str:
    """The token of the environment. One from a file ends with a line break."""
    return os.environ.get("RUNLOG_WEB_TOKEN", "").strip()


def _checked(proxy: str) -> str:
    try:
        ipaddress.ip_network(proxy)
    except ValueError as error:
        raise WrongUsageError(
            f"--proxy {proxy!r}: {error}; give an address, or a network as 10.0.0.0/8"
        ) from None
    return proxy


def _is_own(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    if port > _LAST_PORT:
        raise WrongUsageError(f"there is no port {port}: 0 to {_LAST_PORT}")
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, number)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
            made.listen(_BACKLOG)
        except OSError:
            made.close()
            raise
    except OSError as error:
        why = error.strerror or str(error)
        raise WrongUsageError(
            f"can't listen on {host}, port {port}: {why}; see --host and --port"
        ) from None
    return made
