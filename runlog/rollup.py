"""What runs add up to: counts, durations and failures of a workflow in a span of time.

The roll-up of a database gives blocks (`Recorder.rollup`), one for each workflow and
span of four hours in which one of its runs was created. They add up: the figures of a
day are the sum of those of its six blocks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

BLOCK_SECONDS: Final = 4 * 3600
"""The length of a block, which begins at a multiple of it since 1970."""

CLASSIC_SECONDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0),
)
"""Upper bounds of the buckets that a metric of durations has."""

_EIGHTHS: Final = range(24, 8 * 40)
EDGES: Final = tuple(
    sorted(
        {round(1e6 * bound) for bound in CLASSIC_SECONDS}
        | {round(2.0 ** (step / 8)) for step in _EIGHTHS}
        | set(range(9))
    )
)
"""Upper bounds of the buckets of a histogram: whole numbers, in ascending order.

A value is in the first bucket whose bound is not below it; one that is greater than the
last is in the last. Up to 8, each whole number has a bucket; above, a bound is at most
9.1 % above the one before it. Durations are in microseconds, and the bounds of a metric
of durations are among the edges, so that its counts are exact.
"""


@dataclass(slots=True)
class Histogram:
    """Values by size, in the buckets of EDGES."""

    counts: Counter[int] = field(default_factory=Counter)
    """How many values are in a bucket, by its place in EDGES."""
    total: int = 0
    """The sum of the values."""

    def put(self, value: int) -> None:
        """Add a value, which is not negative."""
        self.counts[min(bisect_left(EDGES, value), len(EDGES) - 1)] += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        """Add the values of another one."""
        self.counts.update(other.counts)
        self.total += other.total

    @property
    def number(self) -> int:
        """How many values there are."""
        return self.counts.total()

    def quantile(self, share: float) -> int | None:
        """The bound of the bucket in which a share of the values ends; None without
        any.
        """
        left = share * self.number
        for place in sorted(self.counts):
            left -= self.counts[place]
            if left <= 0:
                return EDGES[place]
        return None

    def above(self, place: int) -> int:
        """How many values are in buckets behind a place in EDGES."""
        return sum(number for at, number in self.counts.items() if at > place)


@dataclass(slots=True)
class Figures:
    """What runs, or logs of a node, add up to.

    Of a node, each attempt counts: it has a log. Runs that are open are not counted.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    """completed, failed, interrupted, cancelled; other for what a program of its own
    calls a status; of node logs also running."""
    retries: int = 0
    """Of a node: logs whose attempt is above 1. Of a run: their sum."""
    retried: int = 0
    """Runs with at least one retry; of a node, runs in which it was retried."""
    recovered: int = 0
    """Among these, runs that completed."""
    waited_us: int = 0
    """Between a failed attempt's end and the start of the next one of that node, if that
    is the next log of a node with its name."""
    durations: Histogram = field(default_factory=Histogram)
    """In microseconds, of the logs and runs that have one."""
    tokens: Counter[str] = field(default_factory=Counter)
    """By kind, as in `tokens` of a log or of metadata: input, output, total, and those
    of the details with their names: input_details.cache_read, ... From the 32nd on,
    they are "other"."""
    sizes: Histogram = field(default_factory=Histogram)
    """The total tokens of each run, or log, that has any."""
    calls: Counter[str] = field(default_factory=Counter)
    """By kind: llm and tool."""
    repeats: int = 0
    """Of a node: the most logs of it with attempt 1 in one run, whatever their parent.
    Of a run: the greatest of its nodes. Of a sum: the greatest."""
    repeated_in: str | None = None
    """The run_id of the run with the most repeats; None if there are none."""
    slowest_us: int = 0
    """The greatest duration."""
    slowest_in: str | None = None
    """The run_id of the run that had it."""

    @property
    def number(self) -> int:
        """How many runs, or logs, there are."""
        return self.statuses.total()

    def add(self, other: Figures) -> None:
        """Add another one."""
        for name in ("statuses", "tokens", "calls"):
            getattr(self, name).update(getattr(other, name))
        for name in ("retries", "retried", "recovered", "waited_us"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.durations.add(other.durations)
        self.sizes.add(other.sizes)
        if other.repeats > self.repeats:
            self.repeats, self.repeated_in = other.repeats, other.repeated_in
        if other.slowest_us > self.slowest_us:
            self.slowest_us, self.slowest_in = other.slowest_us, other.slowest_in


@dataclass(slots=True)
class Model:
    """What a model was asked."""

    calls: int = 0
    tokens: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Failure:
    """Failed runs of one type of error, at one node, with alike messages."""

    error: str
    """The type of the error; "" if the run names none."""
    node: str | None
    """The node in which the run failed, as `metadata.totals.at` has it; without that, the
    node of the first failed log; None without any."""
    text: str
    """The first message, up to 240 bytes. Messages that differ in digits alone are
    alike."""
    number: int
    first: datetime
    """When the oldest of the runs was created."""
    last: datetime
    runs: list[str]
    """The run_ids of the newest, up to three. Some may have been deleted since."""


@dataclass(slots=True)
class Path:
    """Runs that went through the same nodes in the same order."""

    number: int
    run: str
    """The run_id of one of them."""


@dataclass(slots=True)
class Block:
    """The runs of a workflow that were created in a span of time."""

    workflow: str
    since: datetime
    number: int = 0
    """The place of the workflow in the order in which they were first counted."""
    run: Figures = field(default_factory=Figures)
    nodes: dict[str, Figures] = field(default_factory=dict)
    """By name, in the order in which they were first counted: the first thousand of a
    workflow; the rest is under the name "other".
    """
    models: dict[str, Model] = field(default_factory=dict)
    """By name, with the tokens of the calls that say which model they asked."""
    models_left: int = 0
    """Calls whose model found no room: the first fifty models have one."""
    failures: list[Failure] = field(default_factory=list)
    """Of failed runs: the first 64 kinds of a block. See `failures_left`."""
    failures_left: int = 0
    """Failed runs whose message found no room."""
    paths: dict[str, Path] = field(default_factory=dict)
    """By a hash of the nodes that they went through, each one once. The first hundred."""
    paths_left: int = 0
    """Runs whose path found no room."""

    def add(self, other: Block) -> None:
        """Add another block of the same workflow; the beginning stays."""
        self.run.add(other.run)
        for name, figures in other.nodes.items():
            self.nodes.setdefault(name, Figures()).add(figures)
        for name, model in other.models.items():
            mine = self.models.setdefault(name, Model())
            mine.calls += model.calls
            mine.tokens.update(model.tokens)
        self.models_left += other.models_left
        self.failures.extend(other.failures)
        self.failures_left += other.failures_left
        for name, path in other.paths.items():
            mine_path = self.paths.get(name)
            number = path.number + (mine_path.number if mine_path else 0)
            self.paths[name] = Path(number, mine_path.run if mine_path else path.run)
        self.paths_left += other.paths_left


class Rollup(NamedTuple):
    """What `Recorder.rollup` returns."""

    blocks: list[Block]
    """By workflow, and then by time."""
    waiting: int
    """Runs that are not counted yet, or not as they are now: at most so many."""
