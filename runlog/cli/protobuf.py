"""The messages of OTLP that carry spans, in the wire format of Protocol Buffers.

opentelemetry/proto/trace/v1/trace.proto has the numbers of the fields. A field is its
number and wire type as a varint, then its value: a varint, eight bytes, or a length and
so many bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

from runlog.views.spans import Event, Span

VALUE: Final = 256 * 1024
"""Bytes of UTF-8 that a text may have; of a longer one the head is sent, with a mark."""
_ATTRIBUTES: Final = 2 << 20
"""Bytes that the attributes of a span may have together; later ones are counted."""
_EVENTS: Final = 1 << 20
"""The same of its events."""
_VARINT, _EIGHT, _BYTES = 0, 1, 2
_INTERNAL: Final = 1
_LAST: Final = (1 << 64) - 1
"""The last nanosecond since 1970 that the format has."""


def varint(number: int) -> bytes:
    """A whole number; a negative one in ten bytes, as of 64 bits."""
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _whole(field: int, number: int) -> bytes:
    return varint(field << 3 | _VARINT) + varint(number)


def _fixed(field: int, number: int) -> bytes:
    return varint(field << 3 | _EIGHT) + struct.pack("<Q", number)


def block(field: int, data: bytes) -> bytes:
    """A field of bytes: a text, or a message."""
    return varint(field << 3 | _BYTES) + varint(len(data)) + data


def cut(text: str, most: int = VALUE) -> bytes:
    """A text as UTF-8. Of a longer one the head remains, with the bytes that are cut."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return data
    head = data[: most - 32].decode("utf-8", "ignore").encode()
    return head + f"<cut: {len(data) - len(head)} bytes>".encode()


def _any(value: Any) -> bytes:
    """An AnyValue."""
    if type(value) is str:
        return block(1, cut(value))
    if type(value) is bool:
        return _whole(2, value)
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        return _whole(3, value)
    if type(value) is float:
        return varint(4 << 3 | _EIGHT) + struct.pack("<d", value)
    if type(value) is list and all(type(one) is str for one in value):
        return block(5, b"".join(block(1, _any(one)) for one in value))
    return block(1, cut(json.dumps(value, ensure_ascii=False, default=str)))


def key_value(name: str, value: Any) -> bytes:
    """A KeyValue."""
    return block(1, cut(name)) + block(2, _any(value))


def _attributes(field: int, found: dict[str, Any]) -> tuple[bytes, int]:
    """The attributes that there is room for, and how many there are beside them."""
    parts = []
    left, dropped = _ATTRIBUTES, 0
    for name, value in found.items():
        part = block(field, key_value(name, value))
        if len(part) > left:
            dropped += 1
            continue
        left -= len(part)
        parts.append(part)
    return b"".join(parts), dropped


def _nanoseconds(seconds: float) -> int:
    return min(max(0, round(seconds * 1e6)) * 1000, _LAST)


def _event(event: Event) -> bytes:
    data, dropped = _attributes(3, event.attributes)
    head = _fixed(1, _nanoseconds(event.at)) + block(2, cut(event.name)) + data
    return head + (_whole(4, dropped) if dropped else b"")


def _span(span: Span) -> Iterator[bytes]:
    yield block(1, span.trace)
    yield block(2, span.span)
    if span.parent is not None:
        yield block(4, span.parent)
    yield block(5, cut(span.name))
    yield _whole(6, _INTERNAL)
    yield _fixed(7, _nanoseconds(span.start))
    yield _fixed(8, _nanoseconds(max(span.start, span.end)))
    data, dropped = _attributes(9, span.attributes)
    yield data
    if dropped:
        yield _whole(10, dropped)
    left, dropped = _EVENTS, 0
    for event in span.events:
        part = block(11, _event(event))
        dropped += len(part) > left
        if len(part) <= left:
            left -= len(part)
            yield part
    if dropped:
        yield _whole(12, dropped)
    for link in span.links:
        yield block(13, block(1, span.trace) + block(2, link))
    message = block(2, cut(span.message)) if span.message else b""
    yield block(15, message + (_whole(3, span.status) if span.status else b""))


def encode_span(span: Span) -> bytes:
    """A span as a field of ScopeSpans."""
    return block(2, b"".join(_span(span)))


def encode_spans(
    resource: dict[str, Any], scope: tuple[str, str], spans: Iterable[bytes]
) -> bytes:
    """The spans of one resource as a field of an ExportTraceServiceRequest.

    Args:
        resource: the attributes of the resource.
        scope: the name and the version of what made the spans.
        spans: each as `encode_span` gives it.
    """
    made = block(1, scope[0].encode()) + block(2, scope[1].encode())
    of = b"".join(block(1, key_value(*item)) for item in resource.items())
    return block(1, block(1, of) + block(2, block(1, made) + b"".join(spans)))


def read_fields(data: bytes) -> dict[int, Any]:
    """Return the fields of a message by number: numbers, or bytes. The last one counts.

    Raises:
        ValueError: the bytes are no message.
    """
    found: dict[int, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            found[tag >> 3], at = _read_varint(data, at)
            continue
        size = {_EIGHT: 8, 5: 4}.get(kind)
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        if size is None or at + size > len(data):
            raise ValueError("no message")
        found[tag >> 3] = data[at : at + size]
        at += size
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place in range(10):
        if at + place >= len(data):
            break
        byte = data[at + place]
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, at + place + 1
    raise ValueError("no message")
