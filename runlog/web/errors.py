"""What a request gets that can't be answered: a status, and one sentence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from runlog.reading.errors import AwayError, ReadingError, WrongUsageError
from runlog.web.plain import to_json
from runlog.web.source import BusyError


class UnknownError(ReadingError):
    """What an address names does not exist."""


class Fault(NamedTuple):
    """What is said of an error."""

    status: int
    title: str
    said: str


def describe(error: BaseException) -> Fault:
    """Return what is said of an exception. One that nobody foresaw is logged.

    Args:
        error: what was raised while a request was answered.
    """
    import runlog

    said = " ".join(str(error).split())
    if isinstance(error, HTTPException):
        return Fault(
            error.status_code, HTTPStatus(error.status_code).phrase, error.detail
        )
    if isinstance(error, UnknownError):
        return Fault(404, "Not found", str(error))
    if isinstance(error, (WrongUsageError, runlog.ValidationError)):
        return Fault(400, "That can't be asked", said)
    if isinstance(error, (AwayError, runlog.StoreError, runlog.ClosedError)):
        return Fault(503, "The history is out of reach", said)
    if isinstance(error, runlog.ServiceError):
        return Fault(503, "A search by meaning is not possible now", said)
    if isinstance(error, runlog.ConfigError):
        return Fault(503, "A setting of the server is wrong", said)
    if isinstance(error, BusyError):
        return Fault(503, "Too many requests wait already", "Try again in a moment.")
    if isinstance(error, MemoryError):
        return Fault(507, "Out of memory", "This takes more memory than there is.")
    logging.getLogger("runlog.web").error("a request failed", exc_info=error)
    kind = type(error).__name__
    return Fault(500, "A fault of the page", f"{kind}; the log of the server has more.")


def problem(fault: Fault, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as the API gives it: see RFC 9457.

    Args:
        fault: what is said.
        headers: further headers of the answer.
    """
    found = {"title": fault.title, "status": fault.status, "detail": fault.said}
    more = {"cache-control": "no-store", **(headers or {})}
    return Response(to_json(found), fault.status, more, "application/problem+json")
