"""A server of HTTP/1.1 whose answers are written in the path that is asked for.

A path is /TAG/STEP,STEP,... (whatever follows is ignored): the first request for it gets
the first step, the next one the next, and all others the last. TAG keeps the scripts of
tests apart. It also takes the requests that clients make of a proxy. The steps:

    503            this status; from 400 on with an error of OpenAI's, "scripted 503"
    503r2  503d2   the same, with Retry-After: 2, or as a date in two seconds
    echo           200, with the request's head and body, and "connection N" in front
    big1000        200, with 1,000 bytes
    stall          nothing; the connection stays open
    drip           200, and then a byte now and then, for ever
    truncate       200, with fewer bytes than were announced, and the end
    close  reset   the end, or a reset, without a byte
    garbage        what is no HTTP
    trailers       200, chunked, with the trailers of gRPC
    quota          429 with insufficient_quota
    say            400, with the request's own Authorization in OpenAI's error
    emb...         embeddings (scripted_embeddings.py)
"""

from __future__ import annotations

import contextlib
import email.utils
import itertools
import json
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import scripted_embeddings

TRAILERS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n"
    b"5\r\nhello\r\n0\r\n"
    b"grpc-status: 14\r\ngrpc-message: not %C3%A4 ready%0Ayet %zz\r\n\r\n"
)
QUOTA = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}


class Request:
    """A request that was read."""

    def __init__(self, head: bytes, body: bytes, connection: int) -> None:
        self.head = head
        self.body = body
        self.connection = connection
        self.target = head.split(b" ")[1].decode()
        self.path = re.sub(r"^\w+://[^/]*", "", self.target)

    def header(self, name: str) -> str:
        """The value of a header, or nothing."""
        found = re.search(rb"(?im)^" + name.encode() + rb": *(.*?)\r?$", self.head)
        return found[1].decode() if found else ""


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: int, message: str) -> bytes:
    """The body of an error, as OpenAI writes it."""
    return json.dumps({"error": {"message": message, "code": status}}).encode()


def status_answer(status: int, kind: str, seconds: int) -> bytes:
    headers = []
    if kind == "r":
        headers.append(f"Retry-After: {seconds}")
    elif kind == "d":
        date = email.utils.formatdate(time.time() + seconds, usegmt=True)
        headers.append(f"Retry-After: {date}")
    if 300 <= status < 400:
        headers.append("Location: /redirected/200")
    body = error(status, f"scripted {status}") if status >= 400 else b"{}"
    return answer(status, body, *headers)


class ScriptedServer:
    """Listens on a free port of 127.0.0.1 until it is stopped; TLS with a certificate."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: set[socket.socket] = set()
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        """End all connections; nothing listens any more."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _listen(self) -> None:
        threads = []
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._serve, args=(connection,))
                thread.start()
                threads.append(thread)
        for thread in threads:
            thread.join()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
            number = next(self._numbers)
            stopped = self._stopped.is_set()
        with contextlib.suppress(OSError, ConnectionError), connection:
            if self._tls is not None and not stopped:
                connection.settimeout(30)
                secured = self._tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._connections.add(secured)
                connection = secured
            connection.settimeout(None)
            while not stopped and self._serve_one(connection, number):
                pass
        with contextlib.suppress(OSError):
            connection.close()

    def _serve_one(self, connection: socket.socket, number: int) -> bool:
        """Answer a request; whether the connection goes on."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return False
            head += byte
        if not re.match(rb"POST \S+/\S+ HTTP/1", head):  # HTTP/2's preface, say
            connection.sendall(answer(400, b""))
            return False
        found = re.search(rb"(?im)^content-length: *(\d+)", head)
        body = b""
        while len(body) < (int(found[1]) if found else 0):
            piece = connection.recv(1 << 20)
            if not piece:
                return False
            body += piece
        request = Request(head, body, number)
        return self._answer(connection, request, self._next_step(request.path))

    def _next_step(self, path: str) -> str:
        script = path.split("?", maxsplit=1)[0]
        steps = script.split("/")[2].split(",")
        with self._lock:
            step = steps[min(self._asked[script], len(steps) - 1)]
            self._asked[script] += 1
        return step

    def _answer(self, connection: socket.socket, request: Request, step: str) -> bool:
        status = re.fullmatch(r"(\d{3})(?:([rd])(-?\d+))?", step)
        if status:
            data = status_answer(int(status[1]), status[2] or "", int(status[3] or 0))
            connection.sendall(data)
            return True
        if step.startswith("emb"):
            code, body = 404, error(404, f"there is no {request.path}")
            if re.search(r"\w/embeddings(\?[^/]*)?$", request.path):
                code, body = scripted_embeddings.answer(step[3:], request.body)
            connection.sendall(answer(code, body))
            return True
        if step.startswith("big"):
            connection.sendall(answer(200, b"x" * int(step[3:])))
            return True
        faults: dict[str, Callable[[socket.socket], None]] = {
            "stall": self._stall,
            "drip": self._drip,
            "truncate": lambda to: to.sendall(answer(200, b"x" * 100)[:-50]),
            "close": lambda _: None,
            "reset": reset,
            "garbage": lambda to: to.sendall(b"hello\r\nworld\r\n\r\n"),
        }
        if step in faults:
            faults[step](connection)
            return False
        connection.sendall(whole_answer(request, step))
        return True

    def _stall(self, connection: socket.socket) -> None:
        """Wait until the client goes away."""
        while connection.recv(1000):
            pass

    def _drip(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not self._stopped.wait(0.02):
            connection.sendall(b"x")


def whole_answer(request: Request, step: str) -> bytes:
    """The steps that answer the request by what is in it."""
    if step == "echo":
        start = f"connection {request.connection}\n".encode()
        return answer(200, start + request.head + request.body)
    if step == "trailers":
        return TRAILERS
    if step == "quota":
        return answer(429, json.dumps(QUOTA).encode())
    if step == "say":
        said = f"line\none {request.header('authorization')} {request.header('x-secret')}"
        return answer(400, error(400, said))
    raise ValueError(f"no such step: {step}")


def reset(connection: socket.socket) -> None:
    """Close so that the client gets a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Certificates:
    """An authority, and certificates by it: good, expired, of another host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = folder / "ca.crt"
        key = ("-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt")
        self._openssl("req", "-x509", *key, "-subj", "/CN=runlog test", "-days", "2")
        self.good = self._make("good", "IP:127.0.0.1,DNS:localhost", 2)
        self.expired = self._make("expired", "IP:127.0.0.1,DNS:localhost", -1)
        self.other = self._make("other", "DNS:other.invalid", 2)

    def _openssl(self, *args: str) -> None:
        command = ["openssl", *args]
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True)

    def _make(self, name: str, names: str, days: int) -> tuple[Path, Path]:
        key = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key")
        self._openssl("req", *key, "-subj", f"/CN={name}", "-out", f"{name}.csr")
        (self._folder / "names").write_text(f"subjectAltName={names}\n")
        signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
        files = ("-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", "names")
        self._openssl("x509", "-req", *files, *signer, "-days", str(days))
        return self._folder / f"{name}.crt", self._folder / f"{name}.key"


@contextlib.contextmanager
def scripted_servers(folder: Path) -> Iterator[dict[str, str]]:
    """Four servers, over plain HTTP and with each certificate, and the environment in
    which C programs find them.
    """
    keys = Certificates(folder)
    with contextlib.ExitStack() as stack:

        def start(certificate: tuple[Path, Path] | None = None) -> str:
            server = ScriptedServer(certificate)
            stack.callback(server.stop)
            return f"http{'s' if certificate else ''}://{server.address}"

        yield {
            "TEST_HTTP": start(),
            "TEST_HTTPS": start(keys.good),
            "TEST_HTTPS_EXPIRED": start(keys.expired),
            "TEST_HTTPS_OTHER": start(keys.other),
            "TEST_CA": str(keys.ca),
        }
