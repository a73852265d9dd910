"""What changes something: only by a POST, with a token that another site can't know.

The token is in a cookie and in the form. A page of another site can neither read the one
nor, because of SameSite, have the browser send it.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from runlog.web.address import Asked, cookie_path
from runlog.web.page_run import asked_run
from runlog.web.source import Source

COOKIE = "runlog_form"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}", re.ASCII)
_LONGEST = 16_384
"""Bytes of a form."""


def confirm(source: Source, asked: Asked) -> dict[str, Any]:
    """Read what the page shows that asks whether a run is to be deleted."""
    return {"run": asked_run(source, asked).run}


def form_of(request: Request) -> str:
    """The token of the forms of a browser: the one that it has, or a new one."""
    kept = request.cookies.get(COOKIE, "")
    return kept if _TOKEN.fullmatch(kept) else secrets.token_urlsafe(24)


def set_cookie(request: Request, answer: Response, form: str) -> None:
    """Have the browser keep the token of a form."""
    answer.set_cookie(
        COOKIE,
        form,
        path=cookie_path(request.scope),
        secure=request.scope.get("scheme") == "https",
        httponly=True,
        samesite="strict",
    )


async def read_form(request: Request) -> dict[str, str]:
    """Read a form, and check that it comes from this page.

    Raises:
        HTTPException: it is too long, or comes from elsewhere.
    """
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > _LONGEST:
                raise HTTPException(413, f"A form has {_LONGEST:,} bytes at most.")
    except ClientDisconnect:
        raise HTTPException(400, "This form did not arrive as a whole.") from None
    fields = parse_qs(body.decode("utf-8", "replace"), True)
    found = {name: values[-1] for name, values in fields.items()}
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if site != "same-origin" or (origin and not _is_of(origin, host)):
        raise HTTPException(403, "This form was sent by another site.")
    kept, given = request.cookies.get(COOKIE, ""), found.get("form", "")
    if not kept or not hmac.compare_digest(kept.encode(), given.encode()):
        raise HTTPException(
            403, "This form is too old. Go back, and load the page again."
        )
    return found


def _is_of(origin: str, host: str) -> bool:
    """Whether an origin is that of a host. Browsers leave out the port that a scheme has
    by default; a proxy may name it.
    """
    scheme, _, name = origin.partition("://")
    return name == host.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ""))


def delete(source: Source, asked: Asked) -> Response:
    """Delete the run that an address names, and lead to the others of its workflow."""
    run, recorder = asked_run(source, asked).run, source.open()
    workflow = run["wpk_id"]
    recorder.delete_runs(wpk_id=workflow, run_id=run["run_id"])
    if not recorder.list_runs(limit=1, wpk_id=workflow).runs:
        workflow = None  # a workflow without a run is none, and its page an error
    return RedirectResponse(asked.to("", workflow=workflow), 303)
