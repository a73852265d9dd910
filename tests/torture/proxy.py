"""A TCP proxy between a client and a server that can be told to behave badly.

It listens on a port of 127.0.0.1; the server is at another port, or at a unix socket.
Each connection has two threads, one for each direction. What it does may be changed at
any time:

    forward()         hand on everything; the state at the start
    refuse()          nobody listens: who connects is refused. Connections live on
    drop()            reset the connections of now
    outage()          both of these, as when the server's process has died
    stall()           accept, and hand on nothing until forward()
    delay(seconds)    hold each piece for so long
    throttle(rate)    hand on so many bytes a second to the server, on later connections
    cut_after(n, up)  hand on n more bytes in that direction, then reset that connection
    blackhole()       swallow what the connections of now send, both ways, without a word

Up is from the client to the server. The kernel still answers keep-alives for a connection
in the black hole, which a firewall would swallow as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
import termios
import threading
import time
from typing import Self

from fixtures_postgres import free_port

LINGER_NOT = struct.pack("ii", 1, 0)
PIECE = 65536
TICK = 0.05

Address = tuple[str, int] | str


def wait_until_delivered(sock: socket.socket) -> None:
    """Wait for what was sent to arrive, as a reset takes back what has not (on Linux)."""
    deadline = time.monotonic() + 60
    while sys.platform == "linux" and time.monotonic() < deadline:
        (waiting,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))
        if not waiting:
            return
        time.sleep(0.001)


class Link:
    """A connection through the proxy: the client's socket and the server's."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.swallowed = False
        self.gone = threading.Event()
        self._open = 2

    def reset(self) -> None:
        """End it as a crash does: what is under way is lost."""
        self.gone.set()
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            # wakes the thread that reads it, which then closes it
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)

    def direction_ended(self) -> bool:
        """Whether both directions have ended now; the sockets are closed by then."""
        self._open -= 1
        if self._open:
            return False
        self.client.close()
        self.server.close()
        return True


class Proxy:
    """A listening proxy; a context manager."""

    def __init__(self, server: Address) -> None:
        self.server = server
        self.port = free_port()
        self.connections = 0
        self.cuts = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self._changed = threading.Condition()
        self._links: set[Link] = set()
        self._stalled = False
        self._delay = 0.0
        self._rate = 0.0
        self._cut: dict[bool, int] = {}
        self._swallow: int | None = None
        self._closed = False
        self._listener: threading.Thread | None = None
        self._wanted = False
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def open_links(self) -> int:
        """Connections through it now."""
        with self._changed:
            return len(self._links)

    def forward(self) -> None:
        """Behave well again. What a black hole has swallowed stays there."""
        with self._changed:
            self._stalled = False
            self._delay = 0.0
            self._rate = 0.0
            self._cut.clear()
            self._swallow = None
            self._changed.notify_all()
        self._listen()

    def refuse(self) -> None:
        """Close the listening socket."""
        self._wanted = False
        if self._listener is not None:
            self._listener.join()
            self._listener = None

    def drop(self) -> None:
        """Reset the connections of now."""
        with self._changed:
            for link in self._links:
                link.reset()
            self._changed.notify_all()

    def outage(self) -> None:
        """Refuse new connections and reset the old ones."""
        self.refuse()
        self.drop()

    def stall(self) -> None:
        """Accept, and hand on nothing."""
        with self._changed:
            self._stalled = True

    def delay(self, seconds: float) -> None:
        """Hold each piece for so long."""
        with self._changed:
            self._delay = seconds

    def throttle(self, rate: float) -> None:
        """Be a slow link, with little room for what is under way."""
        with self._changed:
            self._rate = rate

    def cut_after(self, count: int, *, up: bool) -> None:
        """Hand on so many more bytes that way, over all connections, then cut once."""
        with self._changed:
            self._cut[up] = count

    def until_cut(self, count: int) -> None:
        """Wait until so many connections were cut in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.cuts >= count, 60), self.cuts

    def blackhole(self) -> None:
        """Swallow what the connections of now send."""
        with self._changed:
            for link in self._links:
                link.swallowed = True

    def swallow_after(self, count: int) -> None:
        """Hand on so many more bytes to the server, then be a black hole on that link.

        Once: a connection that is made later works.
        """
        with self._changed:
            self._swallow = count

    def close(self) -> None:
        """End everything."""
        with self._changed:
            self._closed = True
        self.outage()
        with self._changed:
            self._changed.wait_for(lambda: not self._links, 10)

    def _listen(self) -> None:
        if self._listener is not None:
            return
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        sock.listen(128)
        sock.settimeout(TICK)
        self._wanted = True
        self._listener = threading.Thread(target=self._accept, args=(sock,), daemon=True)
        self._listener.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while self._wanted:
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                client.settimeout(None)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._rate:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        family = socket.AF_UNIX if isinstance(self.server, str) else socket.AF_INET
        server = socket.socket(family)
        try:
            server.connect(self.server)
        except OSError:  # as it would be without us
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            client.close()
            server.close()
            return
        link = Link(client, server)
        with self._changed:
            self.connections += 1
            self._links.add(link)
        for up in (True, False):
            threading.Thread(target=self._pump, args=(link, up), daemon=True).start()

    def _pump(self, link: Link, up: bool) -> None:
        source, sink = link.client, link.server
        if not up:
            source, sink = sink, source
        try:
            while piece := source.recv(PIECE):
                if not self._hold(link, len(piece) if up else 0):
                    break
                if not self._hand_on(link, sink, piece, up):
                    break
            self._hold(link)
            if not link.swallowed and not link.gone.is_set():
                sink.shutdown(socket.SHUT_WR)
        except OSError:  # one side has gone; the other is told
            if not link.swallowed:
                link.reset()
        with self._changed:
            if link.direction_ended():
                self._links.discard(link)
                self._changed.notify_all()

    def _hold(self, link: Link, size: int = 0) -> bool:
        """Wait as long as the proxy stalls, delays, or hands on so many bytes; False when
        the link is gone.
        """
        with self._changed:
            pause = self._delay + (size / self._rate if self._rate else 0)
            if pause:
                self._changed.wait_for(
                    lambda: link.gone.is_set() or not (self._delay or self._rate), pause
                )
            self._changed.wait_for(lambda: link.gone.is_set() or not self._stalled)
        return not link.gone.is_set()

    def _hand_on(self, link: Link, sink: socket.socket, piece: bytes, up: bool) -> bool:
        if link.swallowed:
            return True
        cut = False
        with self._changed:
            if (left := self._cut.get(up)) is not None:
                if cut := len(piece) >= left:
                    piece = piece[:left]
                    del self._cut[up]
                else:
                    self._cut[up] = left - len(piece)
            if up and self._swallow is not None:
                link.swallowed = len(piece) >= self._swallow
                piece = piece[: self._swallow]
                self._swallow = None if link.swallowed else self._swallow - len(piece)
            if up:
                self.bytes_up += len(piece)
            else:
                self.bytes_down += len(piece)
        sink.sendall(piece)
        if cut:
            if sink.family == socket.AF_INET:
                wait_until_delivered(sink)
            link.reset()
            with self._changed:
                self.cuts += 1
                self._changed.notify_all()
        return not cut
