"""Histories as blocks, with a fault that is planted in them or without one.

They are made from a seed, so that each is the same at every run. A rate may wander from
block to block, by itself or with the block before it, with the day and with the week.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

from runlog.insights.changes import Changes, changes
from runlog.insights.frame import Frame, Workflow, frame_of
from runlog.rollup import BLOCK_SECONDS, Block, Figures

UNTIL: Final = datetime(2026, 11, 30, 11, 59, tzinfo=UTC)
"""When the histories end: a minute before the end of a block."""
_NODES: Final = ("plan", "act")
_MIXED: Final = (0.02, 0.1, 1.0, 2.0, 1.0, 0.1)
"""The share of the runs that the blocks of a day have, where volumes are mixed."""


@dataclass(frozen=True)
class Plan:
    """What a history is like."""

    runs: int = 200
    """In a block."""
    failed: float = 0.02
    wander: float = 0.0
    """How far the share of failed runs wanders from block to block: a deviation."""
    alike: float = 0.0
    """How far a block is like the one before it."""
    slow_wander: float = 0.0
    """How far the times wander: a deviation of their logarithm."""
    daily: float = 0.0
    weekly: float = 0.0
    """How far shares and times go up and down with the day, and on two days of seven."""
    mixed: bool = False
    """Whether the blocks of a day have very different numbers of runs."""
    fault: str | None = None
    """ "step", "spike" or "drift" of the share of failed runs."""
    after: float = 0.05
    """That share, once the fault is there."""
    slower: float = 1.0
    """By how much the node "act" gets slower in the last 16 hours."""
    larger: float = 1.0
    """By how much its tokens grow."""
    retried: float = 0.01
    retried_after: float | None = None


def binomial(random: Random, number: int, share: float) -> int:
    """How many of a number of runs fail."""
    if share <= 0 or number == 0:
        return 0
    if share > 0.5:
        return number - binomial(random, number, 1 - share)
    found, place, step = 0, -1, math.log1p(-share)
    while True:
        place += 1 + int(math.log(1.0 - random.random()) / step)
        if place >= number:
            return found
        found += 1


def _share(plan: Plan, place: int, blocks: int, walk: float, cycle: float) -> float:
    """The share of failed runs of a block."""
    share = plan.failed
    left = blocks - 1 - place
    if plan.fault == "step" and left < 4:
        share = plan.after
    if plan.fault == "drift" and left < 12:
        share += (plan.after - share) * (12 - left) / 12
    if plan.fault == "spike" and left == 8:
        share = plan.after
    share += plan.wander * walk * math.sqrt(share / plan.failed)
    return min(1.0, max(0.0, share * cycle))


def make(plan: Plan, seed: int, workflow: str = "shop") -> list[Block]:
    """Make the blocks of a workflow: a week, and the sixteen hours that are judged."""
    random = Random(f"{seed} {workflow}")
    frame = frame_of(None, UNTIL)
    walk = random.gauss(0, 1)
    blocks = frame.end - frame.first
    found = []
    for place in range(blocks):
        new = math.sqrt(1 - plan.alike**2) * random.gauss(0, 1)
        walk = plan.alike * walk + new
        hour = 2 * math.pi * (frame.first + place) / 6
        weekend = (frame.first + place) // 6 % 7 in (2, 3)
        cycle = (1 + plan.daily * math.sin(hour)) * (1 + plan.weekly * weekend)
        number = plan.runs * (_MIXED[(frame.first + place) % 6] if plan.mixed else 1.0)
        number = max(0, round(random.gauss(number, math.sqrt(number))))
        share = _share(plan, place, blocks, walk, cycle)
        late = place >= blocks - 4
        speed = cycle * math.exp(plan.slow_wander * walk)
        block = Block(workflow, frame.time(frame.first + place))
        _fill(block, random, plan, number, share, speed, late)
        found.append(block)
    return found


def _fill(
    block: Block,
    random: Random,
    plan: Plan,
    number: int,
    share: float,
    speed: float,
    late: bool,
) -> None:
    failed = binomial(random, number, share)
    again = (
        plan.retried_after if late and plan.retried_after is not None else plan.retried
    )
    retried = binomial(random, number, again)
    run = block.run
    run.statuses.update({"completed": number - failed, "failed": failed})
    run.retried = run.retries = retried
    for name in _NODES:
        node = Figures()
        last = name == "act"
        bad = failed if last else 0
        tries = retried if last else 0
        node.statuses.update({"completed": number - bad, "failed": bad + tries})
        node.retries = node.retried = tries
        for _ in range(number):
            usual = random.lognormvariate(0, 0.6)
            slower = plan.slower if late and last else 1.0
            node.durations.put(round(200_000 * usual * speed * slower))
            larger = plan.larger if late and last else 1.0
            node.sizes.put(round(1_500 * random.lognormvariate(0, 0.4) * larger))
        run.durations.add(node.durations)
        run.sizes.add(node.sizes)
        block.nodes[name] = node


def found_in(histories: list[list[Block]]) -> Changes:
    """What is found in the histories of some workflows."""
    frame = frame_of(None, UNTIL)
    return changes([Workflow(one[0].workflow, frame, one) for one in histories], frame)


def block_number(moment: datetime) -> int:
    """The number of the block that begins at a moment."""
    return int(moment.timestamp() // BLOCK_SECONDS)


def judged_frame() -> Frame:
    """The frame of these histories."""
    return frame_of(None, UNTIL)
