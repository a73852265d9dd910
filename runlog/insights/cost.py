"""What a run costs, compared with the time before: a mean, block by block."""

from __future__ import annotations

from math import log, sqrt
from typing import Final, NamedTuple

from runlog._sum_prices import SumPrices
from runlog.insights.finding import Finding
from runlog.insights.frame import Workflow
from runlog.insights.rates import FEWEST_BLOCKS, alike, stretch
from runlog.insights.statistics import t_tail
from runlog.insights.wording import chance, day
from runlog.rollup import Block

_RUNS: Final = 5
"""A block with fewer runs does not count: one dear run would decide it."""
_LARGER: Final = 1.25
TEST: Final = (
    "a t test over blocks of 4 h on the logarithm of the cost of a run, p < 0.001"
)


class Priced(NamedTuple):
    """What the runs of each block cost."""

    costs: list[float | None]
    """The mean of a run in each block of the frame; None for a block that has too few
    runs, or none with a price."""
    unpriced: set[str]
    """The models without a price."""


def priced(workflow: Workflow, prices: SumPrices) -> Priced:
    """Compute what the runs of a workflow cost."""
    frame = workflow.frame
    costs: list[float | None] = []
    unpriced: set[str] = set()
    for number in range(frame.first, frame.end):
        blocks = workflow.blocks(number, number + 1)
        costs.append(_mean(blocks[0], prices, unpriced) if blocks else None)
    return Priced(costs, unpriced)


def _mean(block: Block, prices: SumPrices, unpriced: set[str]) -> float | None:
    if not block.models:
        return None
    total = 0.0
    for name, model in block.models.items():
        cost = prices.price(name, model.tokens)
        if cost is None:
            unpriced.add(name)
            return None
        total += float(cost)
    return total / block.run.number if block.run.number >= _RUNS else None


def dearer(workflow: Workflow, costs: list[float | None], blocks: int) -> float:
    """The probability of what a run of the newest blocks costs, if nothing has changed;
    1.0 if the rise is none that matters.
    """
    start = workflow.frame.start - workflow.frame.first
    old = [log(one) for one in costs[:start] if one]
    new = [log(one) for one in costs[len(costs) - blocks :] if one]
    if len(old) < FEWEST_BLOCKS or not new:
        return 1.0
    base, level = sum(old) / len(old), sum(new) / len(new)
    if level - base < log(_LARGER):
        return 1.0
    near = alike(old)
    stretched = stretch(near, len(old))
    spread = sum((one - base) ** 2 for one in old) / (len(old) - 1) + 1e-12
    variance = spread * (stretched / len(old) + stretch(near, len(new)) / len(new))
    return t_tail((level - base) / sqrt(variance), max(1.0, len(old) / stretched - 1))


def compared(workflow: Workflow, costs: list[float | None]) -> tuple[float, int]:
    """The smallest probability, and over how many of the newest blocks."""
    windows = workflow.frame.windows
    return min((dearer(workflow, costs, blocks), blocks) for blocks in windows)


def finding_of(
    workflow: Workflow, costs: list[float | None], p: float, blocks: int
) -> Finding:
    """Say that runs cost more. Those that show it are not named yet."""
    frame = workflow.frame
    start = frame.start - frame.first
    old = [one for one in costs[:start] if one]
    new = [one for one in costs[len(costs) - blocks :] if one]
    before, now = sum(old) / len(old), sum(new) / len(new)
    since = frame.time(frame.end - blocks)
    return Finding(
        "cost",
        workflow.name,
        None,
        since,
        f"{workflow.name}: a run costs {now:.3g} on the average since {day(since)}, "
        f"before {before:.3g}.",
        before,
        now,
        f"{TEST}: {chance(p)} over the newest {blocks} blocks",
        spark=list(costs),
    )
