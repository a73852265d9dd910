"""Findings of measures that have risen, in words."""

from __future__ import annotations

from typing import Final

from runlog.insights.compare import TEST, Risen
from runlog.insights.finding import Finding
from runlog.insights.frame import Frame
from runlog.insights.measures import Measure
from runlog.insights.wording import chance, day, microseconds, of

_WHAT: Final = {
    "failure_rate": "failed",
    "retries": "were retried",
    "interruptions": "were interrupted",
}


def finding_of(risen: Risen, frame: Frame) -> Finding:
    """Say what has risen. The runs that show it are not named yet."""
    measure = risen.measure
    since = frame.time(frame.first + risen.since)
    counted = frame.time(frame.end - risen.blocks)  # from when on the numbers are
    since_words = f"since {day(counted)}"
    rose = "" if since == counted else f" It rose on {day(since)}."
    who = f"{measure.workflow}, node {measure.node}" if measure.node else measure.workflow
    now = measure.newest(risen.blocks)
    before = measure.before()
    new = of(sum(now.bad), sum(now.number))
    old = of(sum(before.bad), sum(before.number))
    things = "runs" if measure.node is None else "times"
    if measure.level is None or measure.usual is None:
        what = _WHAT[measure.kind]
        text = f"{who}: {new} {what} {since_words}, before {old}."
        numbers = risen.rise.before, risen.rise.now
    else:
        level = measure.level(risen.blocks) or 0
        if measure.kind == "slow":
            shown = microseconds(level), microseconds(measure.usual)
            numbers = measure.usual / 1000, level / 1000
        else:
            shown = f"{level:,} tokens", f"{measure.usual:,} tokens"
            numbers = float(measure.usual), float(level)
        text = (
            f"{who}: p95 is {shown[0]} {since_words}, before {shown[1]}. "
            f"{new} of the {things} are above that, before {old}."
        )
    text += rose
    return Finding(
        measure.kind,
        measure.workflow,
        measure.node,
        since,
        text,
        *numbers,
        f"{TEST}: {chance(risen.rise.p)} over the newest {risen.blocks} blocks",
        spark=spark_of(measure),
    )


def spark_of(measure: Measure) -> list[float | None]:
    """The share in each block."""
    return [
        bad / number if number else None
        for bad, number in zip(measure.counts.bad, measure.counts.number, strict=True)
    ]
