"""Sends runs to a receiver of traces: OTLP over HTTP, in Protocol Buffers and gzip."""

from __future__ import annotations

import gzip
import os
from typing import Any, Final
from urllib.parse import unquote

from runlog.cli import protobuf
from runlog.cli.errors import WrongUsageError
from runlog.cli.post import RefusedError, check_url, post
from runlog.views.spans import spans_of

SPANS: Final = 200
BYTES: Final = 3_700_000
"""What a request may have at most, before it is compressed: 4 MB with its resources."""
_HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"
_UNREADABLE: Final = (400, 415)
"""What a receiver answers that does not unpack what is compressed."""


def address(url: str) -> str:
    """Return the URL that spans are sent to.

    Args:
        url: of the receiver; /v1/traces is added unless its path ends with /traces.

    Raises:
        WrongUsageError: it is none that requests can be sent to.
    """
    parts = check_url(url, "--otlp")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/traces") else f"{path}/v1/traces"
    return parts._replace(path=path, fragment="").geturl()


def headers(given: list[str]) -> dict[str, str]:
    """Return the headers of a request.

    Args:
        given: lines such as "Authorization: Basic ...", which replace those of
            OTEL_EXPORTER_OTLP_HEADERS ("name=value,name=value", percent-encoded).

    Raises:
        WrongUsageError: one is no header. Its value is not quoted.
    """
    found: dict[str, str] = {}
    for pair in filter(None, map(str.strip, os.environ.get(_HEADERS, "").split(","))):
        name, sign, value = pair.partition("=")
        _add(found, _HEADERS, unquote(name), sign, unquote(value))
    for line in given:
        name, sign, value = line.partition(":")
        _add(found, "--header", name, sign, value)
    return found


def _add(found: dict[str, str], source: str, name: str, sign: str, value: str) -> None:
    name, value = name.strip().lower(), value.strip()
    is_name = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    if not sign or not is_name:
        what = "'Name: value'" if source == "--header" else "name=value"
        raise WrongUsageError(f"{source} needs {what}")
    if not value.isprintable() or not value.isascii():
        raise WrongUsageError(f"{source}: the value of {name} is no text of ASCII")
    found[name] = value


class Sender:
    """Collects spans and sends them in batches.

    Args:
        url: where to, as `address` gives it.
        given: headers, as `headers` gives them.
    """

    def __init__(self, url: str, given: dict[str, str]) -> None:
        self._url = url
        self._headers = {
            "user-agent": "runlog",
            **given,
            "content-type": "application/x-protobuf",
        }
        self._is_packed = True
        self._batch: dict[str, list[bytes]] = {}
        self._spans = self._bytes = 0
        self.cursor: str | None = None
        """The cursor after the last run that was sent as a whole."""
        self._last: str | None = None
        self.sent = 0
        """How many spans."""
        self.rejected = 0
        self.said = ""
        """Why the receiver rejected spans, if it did."""

    def add(self, run: Any, cursor: str | None) -> None:
        """Send the spans of a run, at once or with those of the next ones.

        Args:
            run: as `get_run` returns it.
            cursor: of the runs after it.

        Raises:
            AwayError: the receiver was not reached, or stays busy.
            CommandError: it refused the spans.
        """
        for encoded in map(protobuf.encode_span, spans_of(run)):
            if self._spans == SPANS or self._bytes + len(encoded) > BYTES:
                self._send()
            self._batch.setdefault(str(run["wpk_id"]), []).append(encoded)
            self._spans += 1
            self._bytes += len(encoded)
        self._last = cursor or self._last

    def finish(self) -> None:
        """Send what is left. Raises what `add` raises."""
        if self._spans:
            self._send()

    def _send(self) -> None:
        from runlog import __version__

        service = os.environ.get("OTEL_SERVICE_NAME")
        body = b"".join(
            protobuf.encode_spans(
                {
                    "service.name": service or workflow,
                    "openinference.project.name": service or workflow,
                },
                ("runlog", __version__),
                spans,
            )
            for workflow, spans in self._batch.items()
        )
        self._read(self._post(body))
        self.sent += self._spans
        self.cursor = self._last
        self._batch = {}
        self._spans = self._bytes = 0

    def _post(self, body: bytes) -> bytes:
        """Send a request, compressed unless the receiver can't read that."""
        if self._is_packed:
            packed = {**self._headers, "content-encoding": "gzip"}
            try:
                return post(self._url, gzip.compress(body, 5), packed)
            except RefusedError as error:
                if error.code not in _UNREADABLE or self.sent:
                    raise
                self._is_packed = False
        return post(self._url, body, self._headers)

    def _read(self, answer: bytes) -> None:
        """Take from an ExportTraceServiceResponse what was rejected."""
        try:
            partial = protobuf.read_fields(answer).get(1, b"")
            found = protobuf.read_fields(partial) if type(partial) is bytes else {}
        except ValueError:  # a receiver may answer in another format
            return
        rejected, said = found.get(1, 0), found.get(2, b"")
        if type(rejected) is int and rejected < 1 << 63:
            self.rejected += rejected
        if type(said) is bytes and said:
            self.said = said.decode("utf-8", "replace")[:500]
