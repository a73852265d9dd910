"""What the blocks of a workflow show by themselves: loops, retries that hide a problem,
paths that are new, nodes that have stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from runlog.insights.failures import RECURSION
from runlog.insights.finding import MOST_RUNS, Finding
from runlog.insights.frame import Series, Workflow
from runlog.insights.rates import FEWEST_BLOCKS
from runlog.insights.wording import day, microseconds, of, percent
from runlog.rollup import Block
from runlog.views.logs import read_logs
from runlog.views.words import count

LOOP: Final = 10
"""A node that ran more often than this in one run loops."""
_HIDDEN: Final = 0.05
_FEWEST: Final = 5
"""Retries hide a problem if they saved so large a share of the runs, and so many."""
_EXPECTED: Final = 20
_PRESENT: Final = 0.9
_RUNS: Final = 5
"""A node has stopped if it would have run so often, and ran in so many of the blocks
before that have so many runs."""
_ENOUGH: Final = 100
"""Runs before that show which paths there are."""
_NEW: Final = 0.2
"""How many runs with a new path may be expected by chance."""


def _since(blocks: list[Block]) -> datetime:
    return blocks[0].since


def recursion(workflow: Workflow) -> Iterator[Finding]:
    """Runs that ended at LangGraph's limit of steps."""

    def hit(blocks: list[Block]) -> tuple[int, list[str], datetime | None]:
        found = [f for b in blocks for f in b.failures if f.error == RECURSION]
        runs = [run for one in reversed(found) for run in one.runs]
        first = min((one.first for one in found), default=None)
        return sum(one.number for one in found), runs, first

    number, runs, first = hit(workflow.judged)
    before = hit(workflow.before)[0]
    if number and first is not None:
        text = (
            f"{workflow.name}: {count(number, 'run')} ended at the recursion limit since "
            f"{day(first)}, {before:,} in the week before."
        )
        yield Finding(
            "recursion_limit",
            workflow.name,
            None,
            first,
            text,
            float(before),
            float(number),
            f"exact: the error is {RECURSION}",
            runs,
        )


def hidden_retries(workflow: Workflow) -> Iterator[Finding]:
    """Nodes whose retries hide a problem."""
    for node in workflow.nodes():
        series = workflow.series(node)
        counts = series.counts(
            lambda one: one.recovered, lambda one: one.number - one.retries
        )
        before, now = counts.part(0, series.start), counts.part(series.start)
        saved, number = sum(now.bad), sum(now.number)
        if saved < _FEWEST or now.share <= _HIDDEN:
            continue
        waited = sum(one.waited_us for one in series.figures[series.start :] if one)
        old = of(sum(before.bad), sum(before.number))
        text = (
            f"{workflow.name}, node {node}: retries saved {of(saved, number)}, and took "
            f"{microseconds(waited)} of waiting; before {old}."
        )
        yield Finding(
            "hidden_retries",
            workflow.name,
            node,
            _since(workflow.judged),
            text,
            before.share,
            now.share,
            f"exact: a retry saved over {percent(_HIDDEN)}, and at least {_FEWEST}",
            spark=[
                bad / whole if whole else None
                for bad, whole in zip(counts.bad, counts.number, strict=True)
            ],
        )


def loops(workflow: Workflow) -> Iterator[Finding]:
    """Nodes that ran over ten times in a run, and twice as often as ever before.

    The caller makes sure that it was no fan-out: many tasks of one step.
    """
    for node in workflow.nodes():
        series = workflow.series(node)
        usual = max(
            (one.repeats for one in series.figures[: series.start] if one), default=0
        )
        found = [
            (one.repeats, one.repeated_in)
            for one in series.figures[series.start :]
            if one and one.repeats > max(LOOP, 2 * usual) and one.repeated_in
        ]
        if not found:
            continue
        found.sort(reverse=True, key=lambda one: one[0])
        text = (
            f"{workflow.name}, node {node}: it ran {found[0][0]:,} times in one run, in "
            f"the week before at most {count(usual, 'time')}."
        )
        yield Finding(
            "loop",
            workflow.name,
            node,
            _since(workflow.judged),
            text,
            float(usual),
            float(found[0][0]),
            f"exact: over {LOOP} times in a run, and over twice as often as before",
            [str(run) for _, run in found[:MOST_RUNS]],
            spark=[None if one is None else one.repeats for one in series.figures],
        )


def stopped(workflow: Workflow) -> Iterator[Finding]:
    """Nodes that ran all the time before, and do not run any more."""
    before = [one for one in workflow.before if one.run.number >= _RUNS]
    runs = workflow.runs
    if len(before) < FEWEST_BLOCKS:
        return
    whole = sum(one.run.number for one in before)
    for node in workflow.nodes():
        series = workflow.series(node)
        if any(one and one.number for one in series.figures[series.start :]):
            continue
        there = [one.nodes[node] for one in before if node in one.nodes]
        times = sum(one.number - one.retries for one in there)
        often = min(1.0, times / whole)
        if len(there) < _PRESENT * len(before) or often * runs < _EXPECTED:
            continue
        text = (
            f"{workflow.name}, node {node}: it has not run in {count(runs, 'run')} since "
            f"{day(_since(workflow.judged))}; in the week before it ran {times:,} times "
            f"in {count(whole, 'run')}."
        )
        yield Finding(
            "stopped_node",
            workflow.name,
            node,
            _since(workflow.judged),
            text,
            times / whole,
            0.0,
            f"exact: in {percent(_PRESENT)} of the blocks before, and in none now, "
            f"though {_EXPECTED} times were to be expected",
            spark=_presence(series),
        )


def _presence(series: Series) -> list[float | None]:
    return [None if one is None else float(one.number) for one in series.figures]


def paths(workflow: Workflow) -> Iterator[Finding]:
    """Paths that no run took before, where a new one is no everyday thing.

    By Good and Turing, the share of runs whose path nobody has seen is about the share of
    those whose path was seen once.
    """
    known: dict[str, int] = {}
    left = 0
    for block in workflow.before:
        left += block.paths_left
        for name, path in block.paths.items():
            known[name] = known.get(name, 0) + path.number
    whole = workflow.runs_before
    once = sum(1 for number in known.values() if number == 1)
    if left or whole < _ENOUGH or workflow.runs * (once + 1) > _NEW * (whole + 1):
        return
    found: dict[str, tuple[int, list[str], datetime]] = {}
    for block in workflow.judged:
        for name, path in block.paths.items():
            if name not in known:
                number, runs, first = found.get(name, (0, [], block.since))
                found[name] = number + path.number, [path.run, *runs], first
    for name, (number, runs, first) in found.items():
        yield Finding(
            "new_path",
            workflow.name,
            None,
            first,
            f"{workflow.name}: {count(number, 'run')} since {day(first)} took a path "
            f"that none of {count(whole, 'run')} took in the week before.",
            0.0,
            float(number),
            f"exact: at most {_NEW} new paths were to be expected (Good, Turing)",
            runs,
            about=name,
        )


def is_loop(run: Any, node: str | None) -> bool:
    """Whether a node ran in many steps of a run, not in many tasks of one step."""
    logs = [log for log in read_logs(run) if log.node == node and log.attempt == 1]
    steps = [log.step for log in logs]
    known = len({step for step in steps if step is not None})
    return len(logs) > LOOP and (known > LOOP or known == 0)
