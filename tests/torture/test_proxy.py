"""The proxy itself: each way of behaving badly, between a client and an echo server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import until
from torture.proxy import Proxy

pytestmark = pytest.mark.long  # what the tests use, not runlog


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.got = bytearray()
        self.ended = 0
        sock.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while piece := client.recv(65536):
                self.got += piece
                client.sendall(piece)
        self.ended += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield Echo(sock)
        sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.sock.getsockname()) as made:
        yield made
    assert made.open_links == 0


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=60)


def receive(client: socket.socket, count: int) -> bytes:
    """So many bytes, or what comes before the end."""
    got = b""
    while len(got) < count and (piece := client.recv(count - len(got))):
        got += piece
    return got


def receive_all(client: socket.socket) -> bytes:
    """What comes before the connection is reset; it must be."""
    got = b""
    with pytest.raises(ConnectionResetError):
        while piece := client.recv(65536):
            got += piece
    return got


def says_nothing(client: socket.socket, seconds: float = 0.3) -> bool:
    client.settimeout(seconds)
    try:
        return not client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(60)


def test_the_proxy_forwards_and_counts(proxy: Proxy, echo: Echo) -> None:
    message = bytes(range(256)) * 4000
    with connect(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(message,))
        sender.start()
        assert receive(client, len(message)) == message
        sender.join()
        client.shutdown(socket.SHUT_WR)  # an end is handed on, either way
        assert client.recv(1) == b""
    until(lambda: proxy.open_links == 0)
    assert echo.got == message
    assert (proxy.connections, proxy.bytes_up, proxy.bytes_down) == (
        1,
        len(message),
        len(message),
    )


def test_the_server_may_be_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "echo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        echo = Echo(sock)
        with Proxy(path) as proxy, connect(proxy) as client:
            client.sendall(b"through")
            assert receive(client, 7) == b"through" == echo.got
            proxy.drop()
            assert receive_all(client) == b""
            until(lambda: echo.ended == 1)
        sock.shutdown(socket.SHUT_RDWR)


def test_refuse_leaves_connections_alone(proxy: Proxy) -> None:
    with connect(proxy) as old:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        old.sendall(b"a")
        assert receive(old, 1) == b"a"
        proxy.forward()
        with connect(proxy) as new:
            new.sendall(b"b")
            assert receive(new, 1) == b"b"


def test_drop_resets_the_open_connections(proxy: Proxy, echo: Echo) -> None:
    with connect(proxy) as one, connect(proxy) as two:
        for client in (one, two):
            client.sendall(b"a")
            assert receive(client, 1) == b"a"
        proxy.drop()
        assert receive_all(one) == receive_all(two) == b""
        until(lambda: echo.ended == 2)
        with connect(proxy) as new:
            new.sendall(b"b")
            assert receive(new, 1) == b"b"


def test_an_outage_resets_and_refuses_connections(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        proxy.outage()
        assert receive_all(client) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)


def test_stall_holds_everything_until_it_forwards(proxy: Proxy, echo: Echo) -> None:
    with connect(proxy) as old:
        old.sendall(b"a")
        assert receive(old, 1) == b"a"
        proxy.stall()
        with connect(proxy) as new:
            old.sendall(b"b")
            new.sendall(b"b")
            assert says_nothing(old)
            assert says_nothing(new)
            assert echo.got == b"a"
            proxy.forward()
            assert receive(old, 1) == receive(new, 1) == b"b"


def test_a_stalled_connection_can_be_dropped(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.stall()
        client.sendall(b"a")
        assert says_nothing(client)
        proxy.drop()
        assert receive_all(client) == b""


def test_delay_holds_back_every_byte(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.delay(0.2)
        start = time.monotonic()
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        assert 0.4 <= time.monotonic() - start < 60
        proxy.delay(600)
        client.sendall(b"b")
        assert says_nothing(client)
        proxy.forward()  # lets go what is held
        assert receive(client, 1) == b"b"


@pytest.mark.parametrize("count", [0, 1, 6, 9])
def test_cut_up_ends_a_connection_after_so_many_bytes(
    proxy: Proxy, echo: Echo, count: int
) -> None:
    """Over several pieces; the connection after it is whole."""
    proxy.cut_after(count, up=True)
    with connect(proxy) as client, pytest.raises((ConnectionResetError, BrokenPipeError)):
        for byte in b"0123456789":
            client.sendall(bytes([byte]))
        receive(client, 11)
    until(lambda: echo.ended == 1)
    assert echo.got == b"0123456789"[:count]
    assert (proxy.cuts, proxy.bytes_up) == (1, count)
    with connect(proxy) as client:
        client.sendall(b"whole")
        assert receive(client, 5) == b"whole"
    assert proxy.cuts == 1


@pytest.mark.parametrize("count", [0, 1, 100_000])
def test_cut_down_ends_a_connection_after_so_many_bytes(
    proxy: Proxy, echo: Echo, count: int
) -> None:
    message = bytes(range(256)) * 400
    proxy.cut_after(count, up=False)
    with connect(proxy) as client:
        client.sendall(message)
        assert receive_all(client) == message[:count]
    until(lambda: proxy.cuts == 1)
    assert proxy.bytes_down == count


def test_a_black_hole_swallows_only_the_open_connections(
    proxy: Proxy, echo: Echo
) -> None:
    with connect(proxy) as old:
        old.sendall(b"a")
        assert receive(old, 1) == b"a"
        proxy.blackhole()
        old.sendall(b"lost")
        assert says_nothing(old)
        with connect(proxy) as new:
            new.sendall(b"b")
            assert receive(new, 1) == b"b"
        old.sendall(b"lost too")
        assert says_nothing(old)
    until(lambda: proxy.bytes_up == 2)
    assert echo.got == b"ab"


def test_an_unavailable_server_resets_the_client() -> None:
    """Who connects is reset, at once or a moment later."""
    with (
        Proxy(("127.0.0.1", 1)) as proxy,
        pytest.raises(ConnectionResetError),
        connect(proxy) as client,
    ):
        receive(client, 1)


def test_close_ends_everything(echo: Echo) -> None:
    with Proxy(echo.sock.getsockname()) as proxy:
        client = connect(proxy)
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
    with client:
        assert receive_all(client) == b""
    assert proxy.open_links == 0
