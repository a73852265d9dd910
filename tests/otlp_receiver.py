"""A receiver of traces, which parses what it is sent with the official classes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Answer = tuple[int, dict[str, str], bytes]


class Receiver:
    """What came in, and what is answered.

    `answers` are given first, one to each request: status, headers and body. After them
    every request is accepted.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, dict[str, str], int]] = []
        """Of each request its path, its headers and the bytes of its message."""
        self.unpacks = True
        """Whether it reads what is compressed; else all of that gets a 400."""
        self.requests: list[Any] = []
        """The messages that were accepted."""

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        assert headers["content-type"] == "application/x-protobuf"
        is_packed = headers.get("content-encoding") == "gzip"
        assert is_packed or not self.unpacks
        if is_packed and not self.unpacks:
            self.asked.append((path, headers, len(body)))
            return 400, {}, b""
        data = gzip.decompress(body) if is_packed else body
        self.asked.append((path, headers, len(data)))
        request = ExportTraceServiceRequest.FromString(data)
        if request.SerializeToString() == b"" or unknown(request):
            return 400, {}, b""
        if self.answers:
            answer = self.answers.pop(0)
            if answer[0] != 200:
                return answer
        else:
            answer = 200, {}, ExportTraceServiceResponse().SerializeToString()
        self.requests.append(request)
        return answer

    def spans(self) -> list[Any]:
        """All spans that were accepted, in their order."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def unknown(message: Any) -> bool:
    """Whether a message, or one within it, has fields that its class does not know."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    if len(UnknownFieldSet(message)):
        return True
    return any(
        unknown(each)
        for field, value in message.ListFields()
        if field.message_type is not None
        for each in (value if hasattr(value, "__len__") else [value])
    )


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                status, given, answer = receiver.take(self.path, headers, body)
            except Exception as error:  # noqa: BLE001 - the client has to see it
                status, given, answer = 500, {}, repr(error).encode()
            self.send_response(status)
            for name, value in given.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def value_of(value: Any) -> Any:
    """What an AnyValue holds."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(one) for one in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def attributes_of(one: Any) -> dict[str, Any]:
    """The attributes of a span, an event or a resource."""
    found = {item.key: value_of(item.value) for item in one.attributes}
    assert len(found) == len(one.attributes)
    return found
