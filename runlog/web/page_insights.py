"""The page of insights: what got worse, since when, and the runs that show it."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.insights import Finding, Report
from runlog.insights import insights as look
from runlog.web import lists
from runlog.web.address import Asked
from runlog.web.source import Source

_WAIT = 2.0
"""Seconds that new runs may take to be counted, while the reader waits."""


class Bar(NamedTuple):
    """A block of a finding's chart."""

    place: int
    height: float
    """Of 1."""
    judged: bool


class Shown(NamedTuple):
    """A finding, and its chart."""

    finding: Finding
    bars: list[Bar]
    blocks: int


def read_report(source: Source, asked: Asked) -> Report:
    """Make the report that an address asks for.

    Raises:
        WrongUsageError: there is no such workflow, or the time is none.
        ValidationError: the time lies in the future.
    """
    recorder, workflow = source.open(), asked.get("workflow")
    lists.check_names(recorder, {} if workflow is None else {"wpk_id": workflow})
    return look(workflow, asked.time("since"), recorder=recorder, wait=_WAIT)


def insights(source: Source, asked: Asked) -> dict[str, Any]:
    """Read what the page shows."""
    report = read_report(source, asked)
    return {
        "report": report,
        "workflow": asked.get("workflow"),
        "since": report.since.timestamp(),
        "found": [_shown(one, report) for one in report.findings],
    }


def _shown(finding: Finding, report: Report) -> Shown:
    most = max((one for one in finding.spark if one is not None), default=0.0) or 1.0
    start = len(finding.spark) - report.blocks
    bars = [
        Bar(place, value / most, place >= start)
        for place, value in enumerate(finding.spark)
        if value
    ]
    return Shown(finding, bars, len(finding.spark))
