"""A server that accepts any request and answers at once: the back end of the peers.

The server is a process of its own on loopback, so its CPU does not count. It prints its
port. GET /received returns the number of bytes received in bodies, and GET /info answers
LangSmith's client; the answer to everything else is an empty object.
"""

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

INFO = {
    "version": "0.0.0",
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "scale_up_qsize_trigger": 1000,
        "scale_up_nthreads_limit": 16,
        "scale_down_nempty_trigger": 4,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
    },
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    received = 0
    lock = threading.Lock()

    def _answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _read(self) -> int:
        """The body's bytes: of known length, or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        total = 0
        while size := int(self.rfile.readline().split(b";")[0], 16):
            total += len(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return total

    def do_GET(self) -> None:
        """Return the bytes received, or the abilities of the server."""
        if self.path == "/received":
            self._answer(_Handler.received)
        else:
            self._answer(INFO if self.path.endswith("/info") else {})

    def do_POST(self) -> None:
        """Accept the body."""
        size = self._read()
        with _Handler.lock:
            _Handler.received += size
        self._answer({})

    do_PATCH = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def sink() -> Iterator[str]:
    """A server of its own; its URL."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__))], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def received(url: str) -> int:
    """The number of bytes that the server has received."""
    with urllib.request.urlopen(f"{url}/received", timeout=10) as answer:  # noqa: S310
        return int(answer.read())


if __name__ == "__main__":
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    print(listener.server_address[1], flush=True)
    listener.serve_forever()
