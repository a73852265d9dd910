"""A webhook that keeps what it is sent, and misbehaves when it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "T0PSECRET"


class Receiver:
    """What came in, and what is answered: a status, headers; None never answers."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.answer: tuple[int, dict[str, str]] | None = (200, {})
        self.holds = False
        """Whether the body of an answer is kept back."""
        self.refuses = ""
        """The workflow whose findings are refused."""
        self.let_go = threading.Event()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append(json.loads(body))
            receiver.keys.append(self.headers["idempotency-key"])
            if receiver.answer is None:
                receiver.let_go.wait(60)
                return
            status, headers = receiver.answer
            about = receiver.got[-1].get("finding", {})
            if receiver.refuses and about["workflow"] == receiver.refuses:
                status = 400
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if receiver.holds:
                receiver.let_go.wait(60)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook/{SECRET}?key={SECRET}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
