"""What has risen in a report, by the blocks alone: all its tests are judged together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from runlog._sum_prices import SumPrices
from runlog.insights import cost
from runlog.insights.compare import Risen, judge, smallest
from runlog.insights.finding import Finding
from runlog.insights.frame import Frame, Workflow
from runlog.insights.measures import Measure, measures
from runlog.insights.rates import P
from runlog.insights.sentences import finding_of
from runlog.insights.wording import percent
from runlog.views.words import brief, count

_POINTS: Final = 0.1
"""A rise that would not be seen below so many points is said."""
_NAMED: Final = 5
"""How many workflows with too few runs are named."""


class Changes(NamedTuple):
    """What has risen. The runs that show it are not named yet."""

    findings: list[Finding]
    notes: list[str]
    """What could not be compared."""


def changes(workflows: list[Workflow], frame: Frame) -> Changes:
    """Compare the newest blocks of workflows with the time before.

    Raises:
        runlog.ConfigError: the table of prices can't be used.
    """
    windows = frame.windows
    compared = [one for workflow in workflows for one in measures(workflow)]
    prices = SumPrices()
    prices.renew()
    bills = [cost.priced(workflow, prices) for workflow in workflows]
    chances = [
        cost.compared(workflow, those.costs)
        for workflow, those in zip(workflows, bills, strict=True)
    ]
    others = [p for p, _ in chances]
    others += [1.0] * (len(chances) * (len(windows) - 1))  # each window is a test
    judged = judge(compared, windows, others)
    found = [finding_of(one, frame) for one in judged.risen]
    for workflow, those, (p, blocks) in zip(workflows, bills, chances, strict=True):
        if p < P and p <= judged.limit:
            found.append(cost.finding_of(workflow, those.costs, p, blocks))
    unpriced = sorted({name for those in bills for name in those.unpriced})
    return Changes(
        found, [*_without_price(unpriced), *_too_few(compared, judged.risen, windows[0])]
    )


def _without_price(models: list[str]) -> list[str]:
    if not models:
        return []
    names = ", ".join(brief(name, 40) for name in models[:3])
    more = "" if len(models) <= 3 else f" and {len(models) - 3} more"
    advice = "set RUNLOG_PRICES, or install the package genai-prices"
    return [f"cost is not compared where there is no price: {names}{more} ({advice})"]


def _too_few(compared: Iterable[Measure], risen: list[Risen], blocks: int) -> list[str]:
    """Say of which workflows only a large rise of failures would be seen."""
    known = {one.measure.workflow for one in risen}
    small = []
    for one in compared:
        if one.kind != "failure_rate" or one.node or one.workflow in known:
            continue
        number = sum(one.newest(blocks).number)
        if number:
            said = _told(one, blocks)
            small += [] if said is None else [f"{one.workflow}: {said}"]
    found = [f"too few runs of {one}" for one in small[:_NAMED]]
    if len(small) > _NAMED:
        more = count(len(small) - _NAMED, "more workflow")
        found.append(f"too few runs of {more}")
    return found


def _told(measure: Measure, blocks: int) -> str | None:
    before, now = measure.before(), measure.newest(blocks)
    runs = count(sum(now.number), "run")
    if not sum(before.number):
        return f"{runs}, and none in the week before to compare with"
    least = smallest(measure, blocks)
    if least is None:
        return (
            f"{runs}, {sum(before.number):,} in the week before: too few to detect a rise"
        )
    if least - before.share < _POINTS:
        return None
    return (
        f"{runs}: of failures, only a rise from {percent(before.share)} to "
        f"{percent(least)} or more can be detected"
    )
