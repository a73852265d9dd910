"""The files that a browser loads beside a page: a style sheet and a script.

They are few and small, so they are kept in memory. Their address has a hash of all of
them, so a browser asks for them once.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MODULES = ("live", "list", "run", "keys")
_TYPES = {"page.css": "text/css", "page.js": "text/javascript"}


@cache
def read(name: str) -> bytes:
    """Return a file. The script is that of its modules, one after the other."""
    folder = files("runlog.web") / "static"
    if name == "page.js":
        return b"".join((folder / f"{one}.js").read_bytes() for one in MODULES)
    return (folder / name).read_bytes()


@cache
def icon() -> str:
    """The icon as a data: URI, in each page: a request would be larger than it is."""
    return f"data:image/svg+xml;base64,{b64encode(read('icon.svg')).decode()}"


@cache
def version() -> str:
    """A hash of all files."""
    digest = hashlib.blake2b(digest_size=6)
    for name in _TYPES:
        digest.update(read(name))
    return digest.hexdigest()


async def answer(request: Request) -> Response:
    """Answer a request for a file."""
    name = request.path_params["name"]
    if name not in _TYPES:
        raise HTTPException(404, f"There is no file {name[:40]!r}.")
    known = request.query_params.get("v") == version()
    keep = "public, max-age=31536000, immutable" if known else "no-cache"
    return Response(read(name), 200, {"cache-control": keep}, _TYPES[name])
