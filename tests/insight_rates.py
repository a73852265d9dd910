"""How often a planted fault is found, and how often something is found where none is."""

from __future__ import annotations

from typing import Final, NamedTuple

from planted import Plan, found_in, make

from runlog.insights.statistics import wilson


class Scene(NamedTuple):
    """Histories of one sort."""

    name: str
    plan: Plan
    kind: str | None = None
    """The kind of the finding that is planted; None for a clean history."""


CLEAN: Final = [
    Scene("200 runs a block, steady", Plan()),
    Scene("20 runs a block, steady", Plan(runs=20)),
    Scene("1,000 runs a block, steady", Plan(runs=1000)),
    Scene("failures wander by 0.6 points", Plan(wander=0.006)),
    Scene("failures wander by 1.4 points", Plan(wander=0.014)),
    Scene("failures wander by 1.4 points, correlated 0.8", Plan(wander=0.014, alike=0.8)),
    Scene("1,000 runs, 2.4 points", Plan(runs=1000, wander=0.024)),
    Scene("times wander by 10 %", Plan(slow_wander=0.1)),
    Scene("times wander by 20 %, correlated 0.8", Plan(slow_wander=0.2, alike=0.8)),
    Scene("daily cycle of 50 %", Plan(daily=0.5)),
    Scene("weekly cycle of 50 %", Plan(weekly=0.5)),
    Scene("one bad block 32 hours ago", Plan(fault="past spike", after=0.3)),
    Scene("4 to 400 runs a block", Plan(mixed=True, wander=0.006)),
]
FAULTS: Final = [
    Scene("failures 2 → 5 %", Plan(fault="step", after=0.05), "failure_rate"),
    Scene(
        "failures 2 → 5 %, wander 0.6",
        Plan(fault="step", after=0.05, wander=0.006),
        "failure_rate",
    ),
    Scene(
        "failures 2 → 5 %, wander 1.4",
        Plan(fault="step", after=0.05, wander=0.014),
        "failure_rate",
    ),
    Scene(
        "failures 2 → 20 %, wander 1.4, correlated 0.8",
        Plan(fault="step", after=0.2, wander=0.014, alike=0.8),
        "failure_rate",
    ),
    Scene(
        "failures 2 → 20 %, 20 runs a block",
        Plan(runs=20, fault="step", after=0.2),
        "failure_rate",
    ),
    Scene(
        "failures 2 → 20 %, daily cycle",
        Plan(fault="step", after=0.2, daily=0.5),
        "failure_rate",
    ),
    Scene(
        "failures 2 → 20 %, 4 to 400 runs a block",
        Plan(fault="step", after=0.2, mixed=True),
        "failure_rate",
    ),
    Scene(
        "failures 2 → 30 % in the newest block alone",
        Plan(fault="spike", after=0.3),
        "failure_rate",
    ),
    Scene(
        "failures drift to 20 % in two days",
        Plan(fault="drift", after=0.2),
        "failure_rate",
    ),
    Scene("a node takes 1.5 times as long", Plan(slower=1.5), "slow"),
    Scene(
        "1.5 times as long, times wander by 10 %",
        Plan(slower=1.5, slow_wander=0.1),
        "slow",
    ),
    Scene("twice as many tokens", Plan(larger=2.0), "tokens"),
    Scene("retries 1 → 10 %", Plan(retried_after=0.1), "retries"),
]


class Rate(NamedTuple):
    """In how many histories of a scene something was found."""

    scene: Scene
    found: int
    of: int

    @property
    def share(self) -> float:
        return self.found / self.of

    def __str__(self) -> str:
        low, high = wilson(self.found, self.of)
        return (
            f"{self.scene.name}: {self.found} of {self.of}, {self.share:.3f} "
            f"({low:.3f} to {high:.3f})"
        )

    def row(self) -> str:
        """The rate as a row of a table."""
        low, high = wilson(self.found, self.of)
        return (
            f"| {self.scene.name} | {self.found} of {self.of} | {100 * self.share:.1f} % "
            f"| {100 * low:.1f} to {100 * high:.1f} % |"
        )


def measure(scene: Scene, number: int, first: int = 0) -> Rate:
    """Look at so many histories of a scene."""
    found = 0
    for seed in range(first, first + number):
        kinds = {one.kind for one in found_in([make(scene.plan, seed)]).findings}
        found += bool(kinds) if scene.kind is None else scene.kind in kinds
    return Rate(scene, found, number)
