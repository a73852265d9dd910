"""The arithmetic of an open loop: when calls are due, and how late their answers are.

A program that calls again when the last call has returned (a closed loop) sends nothing
while the database stalls, and so measures one slow call where its users had a thousand.
Here each call has a time at which it is due, whatever happened to those before, and its
latency counts from that time. See Gil Tene, "How NOT to Measure Latency" (coordinated
omission).
"""

import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

PARTS = 64
"""Buckets of a histogram for each power of two: a percentile is at most 1/64 too high."""


class Clock:
    """The time in seconds, and how to wait."""

    def now(self) -> float:
        """The time that a wait is measured with."""
        return time.monotonic()

    def wait_until(self, moment: float) -> None:
        """Return at that time, at once if it has passed."""
        while (left := moment - self.now()) > 0:
            time.sleep(left)


def due_times(rate: float, seconds: float, seed: int | None = None) -> Iterator[float]:
    """When calls are due, in seconds from the start: `rate` of them each second.

    They come at equal distances or, with a seed, at random (a Poisson process).
    """
    moment = 0.0
    chance = random.Random(seed)
    for number in itertools.count(1):
        moment = number / rate if seed is None else moment + chance.expovariate(rate)
        if moment > seconds:
            return
        yield moment


@dataclass
class Histogram:
    """Counts of durations in buckets whose limits grow by 1/64 of a power of two."""

    buckets: Counter[int] = field(default_factory=Counter)
    highest: float = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.highest = max(self.highest, seconds)
        fraction, exponent = math.frexp(max(seconds, 1e-9))  # fraction: 0.5 up to 1
        self.buckets[exponent * PARTS + math.floor((fraction * 2 - 1) * PARTS)] += 1

    def merge(self, other: "Histogram") -> None:
        """Add the counts of another one."""
        self.buckets.update(other.buckets)
        self.highest = max(self.highest, other.highest)

    @property
    def count(self) -> int:
        """How many durations were added."""
        return self.buckets.total()

    def percentile(self, share: float) -> float:
        """The least limit that `share` (0 to 1) of the durations keep, in seconds.

        It is the upper limit of their bucket, or the highest duration if that is less.
        """
        wanted = max(1, math.ceil(share * self.count - 1e-9))
        for bucket in sorted(self.buckets):
            wanted -= self.buckets[bucket]
            if wanted <= 0:
                exponent, part = divmod(bucket, PARTS)
                limit = math.ldexp((1 + (part + 1) / PARTS) / 2, exponent)
                return min(limit, self.highest)
        return 0.0


@dataclass
class Outcome:
    """What a loop has seen: latencies, and how many calls ended with which error."""

    latencies: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    ended: float = 0.0

    def merge(self, other: "Outcome") -> None:
        """Add what another loop has seen."""
        self.latencies.merge(other.latencies)
        self.errors.update(other.errors)
        self.ended = max(self.ended, other.ended)


def keep_up(
    due: Iterable[float],
    call: Callable[[int], object],
    start: float,
    give_up: float = math.inf,
    clock: Clock | None = None,
) -> Outcome:
    """Make each call when it is due, or as soon as the one before it has ended.

    `start` is the clock's time from which `due` counts. Calls that still wait when it is
    `give_up` are not made: they count as the error "not made", with the latency that they
    have by then.
    """
    clock = clock or Clock()
    outcome = Outcome()
    for number, moment in enumerate(due):
        clock.wait_until(start + moment)
        if clock.now() >= give_up:
            outcome.errors["not made"] += 1
        else:
            try:
                call(number)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                outcome.errors[type(error).__name__] += 1
        outcome.latencies.add(clock.now() - start - moment)
    outcome.ended = clock.now() - start
    return outcome


def percentiles(latencies: Histogram) -> Mapping[str, float]:
    """Those that are reported, in milliseconds."""
    named = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
    found = {name: latencies.percentile(share) for name, share in named.items()}
    found["highest"] = latencies.highest
    return {name: float(f"{value * 1e3:.4g}") for name, value in found.items()}
