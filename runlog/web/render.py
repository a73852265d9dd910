"""Templates: autoescape is always on, and no recorded character can do harm."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from runlog.reading import times
from runlog.reading.names import STATUSES
from runlog.views import words
from runlog.views.safe import safe_text
from runlog.web import assets

SIGNS = {
    "completed": "●",
    "failed": "✕",
    "lost": "✕",
    "interrupted": "◐",
    "cancelled": "■",
    "running": "▶",
}
"""The shape of each status, beside its word and its colour."""
_SOUGHT = 120
"""Characters of an error by which others are looked for."""
_WORD = 40
"""Characters of a status that a program has made up."""
_SAID = {"completed": "ok", "interrupted": "waiting"}


def _finalize(value: Any) -> Any:
    """What a template shows in place of a value."""
    if value is None:
        return ""
    return safe_text(value) if type(value) is str else value


def status_class(status: Any) -> str:
    """The class of a status; those of a user's own have one in common."""
    return f"s-{status}" if status in STATUSES else "s-other"


def said(status: Any) -> str:
    """The word for a status."""
    return _SAID.get(status, words.brief(str(status), _WORD))


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def iso(moment: float | None) -> str:
    """A moment by RFC 3339, of UTC."""
    if moment is None:
        return ""
    found = times.moment(moment)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _clock(moment: float | None) -> str:
    return "" if moment is None else times.moment(moment).strftime("%H:%M:%S")


def _ago(moment: float | None) -> str:
    return "-" if moment is None else words.ago(time.time() - moment)


def _start(text: str) -> str:
    """The start of a text as it is, up to what no address can have: to look for it."""
    return text[:_SOUGHT].partition("\0")[0]


def short(run_id: str) -> str:
    """An id as rows and links show it: of a UUID, the first eight digits.

    Those of version 7 begin with the time: runs of a minute are told apart by the end.
    """
    if len(run_id) != 36:
        return words.brief(run_id, 24)
    return f"{run_id[:8]}…{run_id[-4:]}" if run_id[14] == "7" else run_id[:8]


@cache
def environment() -> Environment:
    """The templates."""
    made = Environment(
        loader=PackageLoader("runlog.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "ago": _ago,
        "brief": words.brief,
        "clock": _clock,
        "count": words.count,
        "duration": words.duration,
        "iso": iso,
        "percent": _percent,
        "said": said,
        "short": short,
        "sign": lambda status: SIGNS.get(status, "○"),
        "size": words.size,
        "start": _start,
        "status": status_class,
    }
    made.globals["icon"] = assets.icon()
    return made


def render(template: str, values: dict[str, Any]) -> bytes:
    """Return a page as UTF-8."""
    return environment().get_template(template).render(values).encode("utf-8", "replace")
