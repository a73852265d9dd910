"""The arithmetic of benchmarks/load.py, on a clock that stands still between calls."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

from open_loop import Clock, Histogram, Outcome, due_times, keep_up, percentiles

RATE, SECONDS = 100.0, 10.0


class Artificial(Clock):
    """Time passes when somebody waits, or when a server takes its time."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def wait_until(self, moment: float) -> None:
        self.time = max(self.time, moment)


def serve(delays: Callable[[int], float], give_up: float = math.inf) -> Outcome:
    """What a loop sees of a server that takes so long for each call."""
    clock = Artificial()

    def call(number: int) -> None:
        clock.time += delays(number)

    due = due_times(RATE, SECONDS)
    return keep_up(due, call, clock.now(), clock.now() + give_up, clock)


def about(seconds: float) -> object:
    """Up to a bucket above."""
    return pytest.approx(seconds * (1 + 1 / 128), rel=1 / 128 + 1e-9)


def test_equal_delays() -> None:
    found = serve(lambda _: 0.002).latencies
    assert found.count == 1000
    assert found.percentile(0.0) == about(0.002)
    assert found.percentile(1.0) == pytest.approx(0.002)


def test_a_stall_counts_for_all_who_wait() -> None:
    """For two seconds nothing is answered: 200 calls are due meanwhile, and wait for 2 s,
    1.99 s, 1.98 s and so on. A closed loop would have seen one slow call of a thousand.
    """
    found = serve(lambda number: 2.0 if number == 300 else 0.0).latencies
    assert found.highest == pytest.approx(2.0)
    assert found.percentile(0.80) == pytest.approx(0.0, abs=1e-8)
    for late in (1, 10, 50, 100, 199):
        assert found.percentile(1 - (late - 0.5) / 1000) == about(2.0 - (late - 1) / 100)


def test_a_server_that_is_too_slow_falls_ever_further_behind() -> None:
    """20 ms a call where one is due each 10 ms: the last of 1,000 ends 10 s late."""
    outcome = serve(lambda _: 0.02)
    assert outcome.ended == pytest.approx(20.01)
    assert outcome.latencies.highest == pytest.approx(10.01)
    assert outcome.latencies.percentile(0.5) == about(5.01)


def test_what_is_not_made_is_counted() -> None:
    outcome = serve(lambda _: 0.02, give_up=10.0)
    assert outcome.errors == {"not made": 500}
    assert outcome.latencies.count == 1000
    assert outcome.latencies.highest == pytest.approx(5.0, abs=0.03)


def test_errors_are_counted_by_type() -> None:
    def fail(number: int) -> None:
        if number % 4 == 0:
            raise {0: KeyError, 4: OSError}[number % 8]

    clock = Artificial()
    found = keep_up(due_times(RATE, 0.16), fail, clock.now(), clock=clock)
    assert found.errors == {"KeyError": 2, "OSError": 2}
    assert found.latencies.count == 16


def test_the_times_of_a_rate() -> None:
    assert list(due_times(4, 1.0)) == [0.25, 0.5, 0.75, 1.0]
    some, same, other = (list(due_times(50, 100.0, seed)) for seed in (7, 7, 8))
    assert some == same != other
    assert len(some) == pytest.approx(5000, abs=300)  # four standard deviations
    gaps = [b - a for a, b in itertools.pairwise(some)]
    assert sum(gap > 0.02 for gap in gaps) / len(gaps) == pytest.approx(
        math.exp(-1), abs=0.03
    )


@pytest.mark.parametrize("seconds", [1e-9, 3.7e-6, 0.001, 0.9999, 1.0, 1.0001, 77.7])
def test_a_bucket_is_narrow(seconds: float) -> None:
    found = Histogram()
    found.add(seconds)
    found.add(1e6)
    assert seconds * (1 - 1e-9) <= found.percentile(0.5) <= seconds * (1 + 1 / 64)


def test_histograms_add_up() -> None:
    one, two, both = Histogram(), Histogram(), Histogram()
    for number in range(1, 1001):
        (one if number % 3 else two).add(number / 1000)
        both.add(number / 1000)
    one.merge(two)
    assert one == both
    assert percentiles(one) == {
        "p50": about(500),
        "p90": about(900),
        "p99": about(990),
        "p99.9": about(999),
        "highest": 1000,
    }
    assert Histogram().percentile(0.5) == 0.0
