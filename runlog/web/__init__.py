"""The page: the history in a browser.

`app` gives an ASGI application, to be mounted in one's own under any path or served by
itself; `runlog serve` does the latter. It needs the extra `web`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from runlog.recorder import Recorder

HOSTS = ("localhost", "127.0.0.1", "::1")
INSTALL = 'the page needs more packages: pip install "langgraph-runlog[web]"'


def app(
    recorder: Recorder | None = None,
    *,
    db: str | None = None,
    token: str | None = None,
    hosts: Sequence[str] | None = HOSTS,
    allow_delete: bool = True,
) -> Starlette:
    """Return the page as an ASGI application.

    Args:
        recorder: what is shown; it stays open. Without one, a recorder that only reads is
            opened when it is first needed, and no database is created.
        db: without a recorder: the path of a SQLite file, or a URI of PostgreSQL. By
            default the environment says where the history is, as for the library.
        token: what a browser has to know, of 16 characters at least; None for nothing.
        hosts: the names, without ports, by which browsers may reach the page; any other
            is refused, so that no site can make its name lead here. None for any.
        allow_delete: whether the page has the buttons that delete runs.

    Raises:
        ImportError: the extra `web` is not installed.
        ValueError: the token is too short, or no browser could give it; both a recorder
            and db were given; or the name of a file looks like the address of a database.
    """
    try:
        from runlog.web.application import make
        from runlog.web.source import Source
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "jinja2"):
            raise
        raise ImportError(INSTALL, name=error.name) from error
    if recorder is not None and db is not None:
        raise ValueError("either a recorder or db can be given")
    from runlog.reading.errors import WrongUsageError
    from runlog.reading.places import find

    try:
        place = None if recorder is not None else find(db)
    except WrongUsageError as error:
        raise ValueError(str(error)) from None
    source = Source(recorder, place)
    return make(source, token, hosts, allow_delete)
