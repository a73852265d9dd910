"""What a browser saves: values of a run as JSON, and a run as one HTML file."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from runlog.web.address import Asked
from runlog.web.errors import UnknownError
from runlog.web.page_file import saved
from runlog.web.page_run import asked_run
from runlog.web.plain import to_json
from runlog.web.source import Source

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
    return _file(to_json(value, 2) + b"\n", f"{name}.json", "application/json")


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
