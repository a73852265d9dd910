"""An embedding server with a real model behind OpenAI's interface, for the tests.

    python embedding_server.py [--port N] [--key KEY] [--cert FILE --cert-key FILE]

It prints one line of JSON, {"port": of the service, "control": of the controls}, and
serves on 127.0.0.1:

- POST /v1/embeddings and /openai/v1/embeddings, by
  https://platform.openai.com/docs/api-reference/embeddings/create;
- POST /openai/deployments/NAME/embeddings?api-version=..., as Azure has it;
- on the port of the controls, plain HTTP: GET /control gives the counters, POST /control
  takes orders and gives the counters after them: those of Controls, and
  {"listen": false} and true, between which the service is away.

Limits, checks and texts of errors are OpenAI's as far as they are known. Tokens are those
of the model's own tokenizer, and an input as arrays of tokens is refused. The model reads
the first 256 tokens of a text.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import select
import socket
import ssl
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy reads it

import numpy as np
from embedding_controls import (
    Answer,
    Controls,
    Fault,
    RefusedError,
    encode,
    fail,
    spoil_vectors,
)
from minilm import DIM, Array, MiniLM

HOST = "127.0.0.1"
MODELS = ("all-MiniLM-L6-v2", "text-embedding-3-small")
MAX_TEXTS = 2048
MAX_TEXT_TOKENS = 8192
MAX_REQUEST_TOKENS = 300_000
MAX_BODY = 25 << 20
PARAMETERS = {"input", "model", "encoding_format", "dimensions", "user"}

SERVICE = re.compile(r"(?:/v1|/openai/v1|/openai/deployments/([^/]+))/embeddings")
GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


@dataclass
class Request:
    """A request for embeddings that has passed all checks."""

    texts: list[str]
    tokens: list[list[int]]
    model: str
    base64: bool
    dimensions: int


def check_key(given: str | None, key: str) -> None:
    if not given:
        raise RefusedError(
            401,
            "You didn't provide an API key. You need to provide your API key in an "
            "Authorization header using Bearer auth "
            "(i.e. Authorization: Bearer YOUR_KEY).",
        )
    if given != key:
        shown = given[:8] + "*" * max(len(given) - 12, 0) + given[-4:]
        raise RefusedError(
            401, f"Incorrect API key provided: {shown}.", code="invalid_api_key"
        )


def check_texts(given: object) -> list[str]:
    """The texts of a request's input."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RefusedError(
            400,
            "'$.input' is invalid. Please check the API reference: "
            "https://platform.openai.com/docs/api-reference.",
        )
    if not texts:
        raise RefusedError(
            400,
            "Invalid 'input': empty array. Expected an array with minimum length 1, but "
            "got an empty array instead.",
            param="input",
            code="empty_array",
        )
    if len(texts) > MAX_TEXTS:
        raise RefusedError(
            400,
            f"Invalid 'input': array too long. Expected an array with maximum length "
            f"{MAX_TEXTS}, but got an array with length {len(texts)} instead.",
            param="input",
            code="array_above_max_length",
        )
    for index, text in enumerate(texts):
        if not text:
            name = "input" if isinstance(given, str) else f"input[{index}]"
            message = f"Invalid '{name}': input cannot be an empty string."
            raise RefusedError(400, message, param="input")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise RefusedError(400, "We could not parse the JSON body of your request.")
    return texts


def check_tokens(tokens: list[list[int]]) -> None:
    for ids in tokens:
        if (count := len(ids)) > MAX_TEXT_TOKENS:
            raise RefusedError(
                400,
                f"This model's maximum context length is {MAX_TEXT_TOKENS} tokens, "
                f"however you requested {count} tokens ({count} in your prompt; 0 for "
                f"the completion). Please reduce your prompt; or completion length.",
            )
    if (total := sum(map(len, tokens))) > MAX_REQUEST_TOKENS:
        name = "max_tokens_per_request"
        message = f"Requested {total} tokens, max {MAX_REQUEST_TOKENS} tokens per request"
        raise RefusedError(400, message, kind=name, code=name)


def check_options(body: dict[str, Any]) -> tuple[bool, int]:
    """Whether vectors go as base64, and their dimension."""
    if unknown := sorted(body.keys() - PARAMETERS):
        message = f"Unrecognized request argument supplied: {unknown[0]}"
        raise RefusedError(400, message)
    form = body.get("encoding_format", "float")
    if form not in {"float", "base64"}:
        message = f"Invalid value for 'encoding_format': {form!r}."
        raise RefusedError(400, message, param="encoding_format")
    dimensions = body.get("dimensions", DIM)
    if type(dimensions) is not int or not 1 <= dimensions <= DIM:
        message = f"Invalid value for 'dimensions' = {dimensions}: from 1 to {DIM}."
        raise RefusedError(400, message, param="dimensions")
    return form == "base64", dimensions


class Memory:
    """The model and what it has made, as the tests have a few texts embedded often."""

    MOST = 20_000

    def __init__(self) -> None:
        self.model = MiniLM()
        self._vectors: dict[tuple[int, ...], Array] = {}

    def embed(self, texts: list[list[int]]) -> Array:
        """Unit vectors [texts, DIM] of texts given by their tokens."""
        keys = [tuple(tokens) for tokens in texts]
        known = {key: self._vectors[key] for key in keys if key in self._vectors}
        new = [key for key in keys if key not in known]
        known |= zip(new, self.model.embed(new), strict=True)
        if len(self._vectors) < self.MOST:
            self._vectors |= known
        return np.array([known[key] for key in keys])


def embed(memory: Memory, request: Request) -> list[Array]:
    """The vectors of a request: the first dimensions, of length 1 again."""
    vectors = memory.embed(request.tokens)[:, : request.dimensions]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return list(vectors)


def build_answer(request: Request, vectors: list[Array], fault: Fault | None) -> Answer:
    """OpenAI's answer, or what a fault makes of it."""
    kind = fault.kind if fault is not None else ""
    if fault is not None:
        vectors = spoil_vectors(vectors, fault)
    in_base64 = request.base64 and kind != "floats"
    data = [
        {
            "object": "embedding",
            "index": 0 if kind == "index" else index,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
            if in_base64
            else vector.tolist(),
        }
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(map(len, request.tokens))
    answer: dict[str, Any] = {
        "object": "list",
        "data": data[::-1] if kind == "reverse" else data,
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    if kind in {"", "stall", "floats", "reverse"}:
        return Answer(200, encode(answer), {}, request.texts, tokens)
    return Answer(200, encode(answer), cut=kind == "truncate")


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with connections that are kept, and bodies of JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def read_json(self) -> dict[str, Any]:
        """The body; after an error that leaves it unread the connection is closed."""
        length = self.headers.get("Content-Length")
        if length is None or int(length) > MAX_BODY:
            self.close_connection = True
            if length is None:
                raise RefusedError(411, "A Content-Length is needed.")
            message = f"Maximum content size limit ({MAX_BODY}) exceeded"
            raise RefusedError(413, message, kind="server_error")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise RefusedError(400, "We could not parse the JSON body of your request.")
        return body

    def send(self, answer: Answer) -> None:
        body = answer.body
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection and not answer.cut:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if answer.cut else body)
        self.wfile.flush()
        if answer.cut:
            self.close_connection = True


class ServiceHandler(Handler):
    """The service."""

    server: Service

    def do_POST(self) -> None:
        controls = self.server.site.controls
        refused: RefusedError | None = None
        body: dict[str, Any] = {}
        try:
            body = self.read_json()
        except RefusedError as error:
            refused = error
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        texts = texts if isinstance(texts, list) else []
        texts = [text for text in texts if isinstance(text, str)]
        fault, released = controls.begin(texts, self.describe(body))
        answer: Answer | None = None
        try:
            if refused is not None:
                raise refused
            answer = self.answer(body, fault, released)
        except RefusedError as error:
            answer = error.answer
        finally:
            if self.is_gone():
                answer = None
            controls.end(answer)
        if answer is None:
            self.close_connection = True
            return
        try:
            self.send(answer)
        except OSError:
            controls.lost(answer)
            raise

    def do_GET(self) -> None:
        message = f"Not allowed to GET on {urlsplit(self.path).path}"
        self.send(RefusedError(405, message, code="method_not_supported").answer)

    def describe(self, body: dict[str, Any]) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in self.headers.items()}
        options = {name: value for name, value in body.items() if name != "input"}
        return {"path": self.path, "headers": headers, "body": options}

    def is_gone(self) -> bool:
        """Whether the client has hung up."""
        poll = select.poll()
        poll.register(self.connection, GONE)
        return bool(poll.poll(0))

    def answer(
        self, body: dict[str, Any], fault: Fault | None, released: threading.Event
    ) -> Answer | None:
        """The answer; None: the connection is closed without one."""
        if fault is not None:
            if fault.kind == "close":
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return None
            if fault.kind == "stall":
                released.wait(fault.seconds)
            elif (failed := fail(fault)) is not None:
                return failed
        request = self.check(body)
        return build_answer(request, embed(self.server.site.memory, request), fault)

    def check(self, body: dict[str, Any]) -> Request:
        """The request, when it is in order."""
        url = urlsplit(self.path)
        route = SERVICE.fullmatch(url.path)
        if route is None:
            raise RefusedError(404, f"Invalid URL (POST {url.path})")
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        given = key if scheme.lower() == "bearer" else None
        if url.path.startswith("/openai/"):
            given = self.headers.get("api-key", given)
        check_key(given, self.server.site.key)
        if (deployment := route[1]) is not None:
            if "api-version" not in parse_qs(url.query):
                raise RefusedError(404, "Resource not found", code="404")
            if deployment not in MODELS:
                message = "The API deployment for this resource does not exist."
                raise RefusedError(404, message, code="DeploymentNotFound")
        model = deployment or body.get("model")
        if model is None:
            raise RefusedError(400, "you must provide a model parameter")
        if model not in MODELS:
            message = (
                f"The model `{model}` does not exist or you do not have access to it."
            )
            raise RefusedError(404, message, code="model_not_found")
        in_base64, dimensions = check_options(body)
        texts = check_texts(body.get("input"))
        tokens = self.server.site.memory.model.tokenize(texts)
        check_tokens(tokens)
        return Request(texts, tokens, model, in_base64, dimensions)


class Service(ThreadingHTTPServer):
    """The service's listener, and its connections."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, port: int, site: Site) -> None:
        self.site = site
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__((HOST, port), ServiceHandler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.site.tls is not None:  # the handshake is the handler's, in its own thread
            connection = self.site.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        self.site.controls.connected()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """Stop listening, and hang up on everybody."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or trusts no certificate, is nothing to report."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Site:
    """The service, which can be away for a while, and what its requests share."""

    def __init__(self, port: int, key: str, tls: ssl.SSLContext | None) -> None:
        self.key = key
        self.tls = tls
        self.memory = Memory()
        self.controls = Controls()
        self._lock = threading.Lock()
        self._service: Service | None = None
        self.port = port
        self.listen()

    def listen(self) -> None:
        """Serve, if it does not already."""
        with self._lock:
            if self._service is None:
                self._service = Service(self.port, self)
                self.port = self._service.server_port
                serve(self._service)

    def leave(self) -> None:
        """Be away: connections are refused, those that are open are cut."""
        with self._lock:
            if self._service is not None:
                self._service.cut()
                self.controls.obey({"release": True})
                self._service = None

    def obey(self, order: dict[str, Any]) -> None:
        self.controls.obey(order)
        if order.get("listen") is False:
            self.leave()
        elif order.get("listen") or order.get("reset"):
            self.listen()


class ControlHandler(Handler):
    """The controls."""

    site: ClassVar[Site]

    def do_GET(self) -> None:
        self.send(Answer(200, encode(self.site.controls.counters())))

    def do_POST(self) -> None:
        try:
            self.site.obey(self.read_json())
        except RefusedError as error:
            self.send(error.answer)
        except (TypeError, ValueError) as error:
            self.send(RefusedError(400, str(error)).answer)
        else:
            self.do_GET()


def make_tls(cert: str | None, cert_key: str | None) -> ssl.SSLContext | None:
    if cert is None:
        return None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, cert_key)
    return tls


def serve(listener: ThreadingHTTPServer) -> None:
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()


def end_with_input() -> None:
    """End the process when its standard input does: its starter has gone."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="sk-test")
    parser.add_argument("--cert")
    parser.add_argument("--cert-key")
    parser.add_argument("--until-eof", action="store_true", help="end with the input")
    options = parser.parse_args()
    if options.until_eof:
        threading.Thread(target=end_with_input, daemon=True).start()
    tls = make_tls(options.cert, options.cert_key)
    site = ControlHandler.site = Site(options.port, options.key, tls)
    controls = ThreadingHTTPServer((HOST, 0), ControlHandler)
    ports = {"port": site.port, "control": controls.server_port}
    print(json.dumps(ports), flush=True)
    controls.serve_forever()


if __name__ == "__main__":
    main()
