"""A server that speaks OpenAI's and Anthropic's interfaces, and answers by a script.

It listens on a free port of 127.0.0.1. A test hands over the answers, in the order in
which they are asked for, and looks at the requests that came:

    server.script(Refuse(429, retry_after_ms=1), Say(("Hello", " there")))
    ...
    assert server.requests[0].body["messages"] == ...

Where requests come in any order, the script is a function that gets each body. No key is
checked, and no request refused but by the script.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any

from provider_formats import FORMATS, Event, Format, Json, Refuse, Say

COOKIE = "session=not-to-be-kept"
"""What is in the head of every answer, as with real providers."""

Answer = Say | Refuse
Choose = Callable[[Json], Answer]


@dataclass(frozen=True)
class Request:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: Json


def no_script(body: Json) -> Answer:
    """What a request gets that no script foresaw."""
    return Refuse(400, "the script has no more answers")


def pace(answer: Say, over: threading.Event) -> None:
    """Wait until the test lets the answer go on, or for the end of the test."""
    if answer.paced is not None:
        while not answer.paced.acquire(timeout=0.05) and not over.is_set():
            pass


class ProviderServer(ThreadingHTTPServer):
    """Serves in a thread until it is stopped."""

    request_queue_size = 128

    def __init__(self) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[Request] = []
        self.over = threading.Event()
        self._choose: Choose = no_script
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def script(self, *answers: Answer) -> None:
        """The answers to come."""
        left = iter(answers)
        self.script_by(lambda body: next(left, None) or no_script(body))

    def script_by(self, choose: Choose) -> None:
        """The answer to each request is a function's of its body."""
        with self._lock:
            self._choose = choose

    def take(self, request: Request) -> Answer:
        """The answer to a request."""
        with self._lock:
            self.requests.append(request)
            return self._choose(request.body)

    def reset(self) -> None:
        """Begin another test: no answer of the last one waits any more."""
        with self._lock:
            self.over.set()
            self.over = threading.Event()
            self.requests = []
            self._choose = no_script

    def stop(self) -> None:
        """Listen no more, and hang up on everybody."""
        self.over.set()
        self.shutdown()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nothing to report."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """A connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ProviderServer

    def end_headers(self) -> None:
        self.send_header("Set-Cookie", COOKIE)
        self.send_header("Connection", "close")  # clients never close those they keep
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        over = self.server.over
        answer = self.server.take(Request(path, dict(self.headers), body))
        form = FORMATS.get(path)
        if form is None:
            self.send_json(404, {"error": {"message": f"there is no {path}"}})
        elif isinstance(answer, Refuse):
            self.refuse(answer, form)
        elif body.get("stream"):
            self.stream(answer, form, body, over)
        else:
            pace(answer, over)
            self.send_json(200, form.whole(answer, body))

    def refuse(self, answer: Refuse, form: Format) -> None:
        headers = {}
        if answer.retry_after_ms is not None:
            headers["retry-after-ms"] = str(answer.retry_after_ms)
        self.send_json(answer.status, form.error(answer.status, answer.message), headers)

    def send_json(self, status: int, body: Json, headers: Json | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def stream(
        self, answer: Say, form: Format, body: Json, over: threading.Event
    ) -> None:
        """Send the events of an answer, up to where the script cuts or breaks it."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        short = answer.cut if answer.broken is None else answer.broken
        for event in islice(form.events(answer, body), short):
            pace(answer, over)
            self.send_event(event)
        if answer.broken is not None:
            self.send_event(form.broken("scripted break"))
        if answer.cut is None:
            self.wfile.write(b"0\r\n\r\n")

    def send_event(self, event: Event) -> None:
        name, data = event
        text = data if isinstance(data, str) else json.dumps(data)
        lines = f"event: {name}\n" if name else ""
        block = f"{lines}data: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
