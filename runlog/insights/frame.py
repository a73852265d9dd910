"""The time that is judged, the time before it, and the blocks of a workflow in both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, NamedTuple

from runlog.insights.rates import Counts
from runlog.reading.times import moment
from runlog.rollup import BLOCK_SECONDS, Block, Figures, Histogram

BEFORE: Final = 42
"""Blocks of the time before: a week."""
JUDGED: Final = 4
"""Blocks that are judged, unless somebody says since when: 12 to 16 hours."""
OTHER: Final = "other"
"""The name under which the roll-up adds up nodes that are too many."""


class Frame(NamedTuple):
    """Blocks by their number since 1970: the time before, and the time that is judged."""

    first: int
    start: int
    """The first that is judged."""
    end: int
    """Behind the last."""

    @property
    def windows(self) -> list[int]:
        """How many of the newest blocks are judged together: all, and fewer of them."""
        whole = self.end - self.start
        return sorted({whole, max(1, whole // 2), max(1, whole // 4)}, reverse=True)

    def time(self, number: int) -> datetime:
        """When a block begins."""
        return moment(number * BLOCK_SECONDS)


def frame_of(since: datetime | None, until: datetime) -> Frame:
    """The frame of a time, the newest block of which may have just begun."""
    end = int(until.timestamp() // BLOCK_SECONDS) + 1
    start = end - JUDGED
    if since is not None:
        start = min(int(since.timestamp() // BLOCK_SECONDS), end - 1)
    return Frame(start - BEFORE, start, end)


class Workflow:
    """The blocks of a workflow within a frame."""

    def __init__(self, name: str, frame: Frame, blocks: Iterable[Block]) -> None:
        self.name = name
        self.frame = frame
        self._by_number = {
            int(one.since.timestamp() // BLOCK_SECONDS): one for one in blocks
        }

    def blocks(self, first: int, end: int) -> list[Block]:
        """Those that there are, from a number up to another."""
        found = self._by_number
        return [found[number] for number in range(first, end) if number in found]

    @property
    def before(self) -> list[Block]:
        """The blocks of the time before."""
        return self.blocks(self.frame.first, self.frame.start)

    @property
    def judged(self) -> list[Block]:
        """The blocks that are judged."""
        return self.blocks(self.frame.start, self.frame.end)

    @property
    def runs_before(self) -> int:
        """How many runs there were in the time before."""
        return sum(one.run.number for one in self.before)

    @property
    def runs(self) -> int:
        """How many are judged."""
        return sum(one.run.number for one in self.judged)

    def nodes(self) -> list[str]:
        """The names of its nodes, in the order in which they were first counted."""
        found: dict[str, None] = {}
        for block in self._by_number.values():
            found.update(dict.fromkeys(block.nodes))
        return [name for name in found if name != OTHER]

    def series(self, node: str | None) -> Series:
        """The figures of a node, or of the runs, block by block."""
        found: list[Figures | None] = []
        for number in range(self.frame.first, self.frame.end):
            block = self._by_number.get(number)
            if block is None:
                found.append(None)
            else:
                found.append(block.run if node is None else block.nodes.get(node))
        return Series(found, self.frame.start - self.frame.first)


class Series:
    """Figures block by block, of the time before and of the time judged."""

    def __init__(self, figures: list[Figures | None], start: int) -> None:
        self.figures = figures
        self.start = start
        """The place of the first that is judged."""

    def counts(
        self, bad: Callable[[Figures], int], number: Callable[[Figures], int]
    ) -> Counts:
        """Count in each block. There are never more bad ones than there are."""
        found: tuple[list[int], list[int]] = [], []
        for one in self.figures:
            whole = 0 if one is None else max(0, number(one))
            found[0].append(0 if one is None else min(whole, max(0, bad(one))))
            found[1].append(whole)
        return Counts(*found)

    def values(
        self, of: Callable[[Figures], Histogram], start: int, end: int | None = None
    ) -> Histogram:
        """The values of some blocks together."""
        found = Histogram()
        for one in self.figures[start:end]:
            if one is not None:
                found.add(of(one))
        return found
