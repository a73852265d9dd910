"""What a browser saves: values of a run as JSON, and a run as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from runlog.web.address import Asked
from runlog.web.errors import UnknownError
from runlog.web.page_file import saved
from runlog.web.page_run import asked_run
from runlog.web.plain import to_json
from runlog.web.source import Source

_INDENTED = 100_000
"""Bytes of JSON up to which it is indented."""
_WHAT = ("all", "inputs", "outputs", "metadata")


def download(source: Source, asked: Asked) -> Response:
    """Return a run, a node log or one value of them, whole."""
    whole = asked_run(source, asked)
    place = asked.number("node", -1, 0, 10**9)
    if place >= len(whole.logs):
        raise UnknownError(f"This run has no node {place}: it has {len(whole.logs):,}.")
    value: Any = whole.run if place < 0 else whole.logs[place].raw
    what = asked.choose("what", _WHAT, "all")
    if what != "all":
        value = value.get(what)
    name = (
        f"run{'' if place < 0 else f'-node-{place}'}{'' if what == 'all' else f'-{what}'}"
    )
    return _file(_readable(value), f"{name}.json", "application/json")


def _readable(value: Any) -> bytes:
    """A value as JSON. A small one is indented; a run has a line for each node log."""
    text = to_json(value) if type(value) is not dict else b"\n".join(_lines(value))
    return (to_json(value, 2) if len(text) <= _INDENTED else text) + b"\n"


def _lines(run: dict[str, Any]) -> Iterator[bytes]:
    """Indenting takes ten times as long as this, and memory for all logs at once."""
    ends = [b","] * (len(run) - 1) + [b""]
    yield b"{"
    for (name, member), end in zip(run.items(), ends, strict=True):
        if name != "node_logs" or not isinstance(member, list):
            yield b"%b: %b%b" % (to_json(name), to_json(member), end)
            continue
        yield b'"node_logs": ['
        for at, log in enumerate(member, 1):
            yield to_json(log) + (b"," if at < len(member) else b"")
        yield b"]" + end
    yield b"}"


def file(source: Source, asked: Asked) -> Response:
    """Return a run as one HTML file."""
    name, body = saved(source, asked)
    return _file(body, name, "text/html; charset=utf-8")


def _file(body: bytes, name: str, media: str) -> Response:
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "private, no-store",
    }
    return Response(body, 200, headers, media)
