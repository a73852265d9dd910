"""What got worse, since when, and the runs that show it.

    import runlog
    for finding in runlog.insights().findings:
        print(finding.text)

Imports point one way: report → what compares → frame, statistics → runlog.rollup, and
report → views and the recorder. What compares reads nothing: it is given blocks.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from runlog._runlog import ValidationError
from runlog.insights.finding import KINDS, Finding, Report

__all__ = ["KINDS", "Finding", "Report", "insights"]

_WAIT = 5.0


def insights(
    wpk_id: str | None = None,
    since: datetime | None = None,
    recorder: Any = None,
    *,
    wait: float = _WAIT,
) -> Report:
    """Compare the runs of the last hours with those of the week before.

    docs/insights.md says what is found, and what is missed. Nothing is sent anywhere, and
    no model is asked.

    Args:
        wpk_id: only this workflow.
        since: from when on runs are judged; by default for 12 to 16 hours, the newest
            four blocks of the roll-up. The time before is the week before that.
        recorder: whose history is looked at; by default the module's.
        wait: how many seconds the roll-up may take to count new runs. What it has not
            counted by then is not looked at: a note of the report says so.

    Returns:
        The report. "Nothing found" is a result, too: `checked` has the number of runs.

    Raises:
        ValidationError: since is no datetime, or lies in the future.
        ConfigError: the table of prices can't be used.
        StoreError: the database was not reached.
    """
    from runlog.insights.report import make

    until = datetime.now(UTC)
    since = None if since is None else _check(since, until)
    if recorder is None:
        from runlog._default import on_default

        return on_default(lambda current: make(current, wpk_id, since, until, wait))
    return make(recorder, wpk_id, since, until, wait)


def _check(since: object, until: datetime) -> datetime:
    if not isinstance(since, datetime):
        raise ValidationError(f"since must be a datetime, not {type(since).__name__}")
    try:
        found = since.astimezone(UTC)  # a naive datetime is local time, as for Python
    except (OverflowError, ValueError):
        raise ValidationError(f"since is {since}, which is no time of UTC") from None
    if found > until:
        raise ValidationError("since lies in the future: name a time before now")
    return found


class _Callable(ModuleType):
    """Has `runlog.insights()` be the function, although a module has its name."""

    def __call__(self, *args: Any, **options: Any) -> Report:
        return insights(*args, **options)


sys.modules[__name__].__class__ = _Callable
