"""Histories as blocks, with a fault that is planted in them or without one.

They are made from a seed, so that each is the same at every run. Rates and times may
wander from block to block, by themselves or with the block before, with the day and with
the week.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple

from runlog.insights.changes import Changes, changes
from runlog.insights.frame import Frame, Workflow, frame_of
from runlog.rollup import EDGES, Block, Figures, Histogram

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
    """How far shares and times go up and down with the day, and up on two days of seven.
    """
    mixed: bool = False
    """Whether the blocks of a day have very different numbers of runs."""
    fault: str | None = None
    """ "step", "spike", "past spike" or "drift" of the share of failed runs."""
    after: float = 0.05
    """That share, once the fault is there."""
    slower: float = 1.0
    """By how much the node "act" gets slower in the last 16 hours."""
    larger: float = 1.0
    """By how much its tokens grow."""
    retried: float = 0.01
    retried_after: float | None = None


class _Level(NamedTuple):
    """What a block is like."""

    number: int
    failed: float
    retried: float
    speed: float
    size: float


def binomial(random: Random, number: int, share: float) -> int:
    """How many of a number fail, each with the same probability."""
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


def _poisson(random: Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    limit, found, product = math.exp(-mean), 0, random.random()
    while product > limit:
        found += 1
        product *= random.random()
    return found


def _values(random: Random, number: int, middle: float, spread: float) -> Histogram:
    """About so many values, by a lognormal distribution."""
    made = Histogram()
    below = 0.0
    for place, edge in enumerate(EDGES):
        if edge < middle * math.exp(-4 * spread):
            continue
        score = (math.log(edge) - math.log(middle)) / spread
        until = 0.5 + 0.5 * math.erf(score / math.sqrt(2))
        drawn = _poisson(random, number * (until - below))
        if drawn:
            made.counts[place] = drawn
            made.total += drawn * edge
        below = until
        if score > 4:
            break
    return made


def _share(plan: Plan, left: int, walk: float) -> float:
    """The share of failed runs of a block that is followed by so many others."""
    share = plan.failed
    if plan.fault == "step" and left < 4:
        share = plan.after
    if plan.fault == "drift" and left < 12:
        share += (plan.after - share) * (12 - left) / 12
    if plan.fault == "spike" and left == 0:
        share = plan.after
    if plan.fault == "past spike" and left == 8:
        share = plan.after
    return share + plan.wander * walk * math.sqrt(share / plan.failed)


def make(plan: Plan, seed: int, workflow: str = "shop") -> list[Block]:
    """Make the blocks of a workflow: a week, and the sixteen hours that are judged."""
    random = Random(f"{seed} {workflow}")
    frame = frame_of(None, UNTIL)
    walk = random.gauss(0, 1)
    found = []
    for block in range(frame.first, frame.end):
        left = frame.end - 1 - block
        walk = plan.alike * walk + math.sqrt(1 - plan.alike**2) * random.gauss(0, 1)
        weekend = block // 6 % 7 in (2, 3)
        cycle = 1 + plan.daily * math.sin(math.pi * block / 3) + plan.weekly * weekend
        mean = plan.runs * (_MIXED[block % 6] if plan.mixed else 1.0)
        late = left < 4
        again = plan.retried_after if late else None
        level = _Level(
            number=_poisson(random, mean),
            failed=min(1.0, max(0.0, _share(plan, left, walk) * cycle)),
            retried=plan.retried if again is None else again,
            speed=cycle * math.exp(plan.slow_wander * walk),
            size=plan.larger if late else 1.0,
        )
        slower = plan.slower if late else 1.0
        found.append(_fill(Block(workflow, frame.time(block)), random, level, slower))
    return found


def make_timed(points: list[float], seed: int, workflow: str = "shop") -> list[Block]:
    """Make the newest blocks of a workflow, each 10 % slower for each unit of a point."""
    random = Random(f"{seed} {workflow}")
    frame = frame_of(None, UNTIL)
    found = []
    for place, point in enumerate(points, frame.end - len(points)):
        level = _Level(
            200, failed=0.02, retried=0.01, speed=math.exp(point / 10), size=1.0
        )
        found.append(_fill(Block(workflow, frame.time(place)), random, level, 1.0))
    return found


def _fill(block: Block, random: Random, level: _Level, slower: float) -> Block:
    number = level.number
    failed = binomial(random, number, level.failed)
    retried = binomial(random, number, level.retried)
    run = block.run
    run.statuses.update({"completed": number - failed, "failed": failed})
    run.retried = run.retries = retried
    for name in _NODES:
        node = Figures()
        last = name == "act"
        bad, tries = (failed, retried) if last else (0, 0)
        node.statuses.update({"completed": number - bad, "failed": bad + tries})
        node.retries = node.retried = tries
        middle = 200_000 * level.speed * (slower if last else 1.0)
        node.durations = _values(random, number, middle, 0.6)
        node.sizes = _values(random, number, 1_500 * (level.size if last else 1.0), 0.4)
        run.durations.add(node.durations)
        run.sizes.add(node.sizes)
        block.nodes[name] = node
    return block


def judged_frame() -> Frame:
    """The frame of these histories."""
    return frame_of(None, UNTIL)


def found_in(histories: list[list[Block]]) -> Changes:
    """What is found in the histories of some workflows."""
    frame = judged_frame()
    return changes([Workflow(one[0].workflow, frame, one) for one in histories], frame)
