"""The result of a report: findings, and the limits of the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from runlog.views.summary import sparkline

KINDS: Final = (
    "failure_rate",
    "new_failure",
    "returned_failure",
    "recursion_limit",
    "lost",
    "stuck",
    "waiting",
    "slow",
    "retries",
    "hidden_retries",
    "loop",
    "tokens",
    "cost",
    "interruptions",
    "stopped_node",
    "new_path",
)
"""The kinds of findings, in the order of a report."""
MOST_RUNS: Final = 5
"""How many runs that show it a finding names."""


@dataclass(slots=True)
class Finding:
    """Something that got worse, or should not be."""

    kind: str
    """One of KINDS."""
    workflow: str
    node: str | None
    """None for the runs of the workflow."""
    since: datetime
    """From when on: the beginning of the block of four hours, or the time of the first
    run that shows it."""
    text: str
    """A sentence."""
    before: float | None
    """What it was in the time before: docs/insights.md has the unit of each kind."""
    now: float
    test: str
    """The test that decided, its result and its threshold."""
    runs: list[str] = field(default_factory=list)
    """The run_ids of some that show it, at most five."""
    good: str | None = None
    """The run_id of a run to compare with."""
    spark: list[float | None] = field(default_factory=list)
    """The figure in each block of the time before and of the time judged; None for a
    block without runs."""
    about: str = ""
    """What distinguishes it from others of its kind, workflow and node: a template."""

    @property
    def line(self) -> str:
        """The spark as a line of bars."""
        return sparkline_of(self.spark)

    def as_json(self) -> dict[str, Any]:
        """The members that programs get."""
        names = "kind workflow node since text before now test runs good"
        found: dict[str, Any] = {name: getattr(self, name) for name in names.split()}
        found["since"] = self.since.isoformat(timespec="seconds").replace("+00:00", "Z")
        return found


@dataclass(slots=True)
class Report:
    """What was found."""

    checked: int
    """The number of runs read: those that are judged, and those of the time before."""
    findings: list[Finding]
    since: datetime
    """The beginning of the judged time."""
    until: datetime
    blocks: int
    """The number of judged blocks of four hours, the last ones of each spark."""
    notes: list[str] = field(default_factory=list)
    """The limits of this report: comparisons that were not possible, and why."""

    def as_json(self) -> dict[str, Any]:
        """The report as `runlog insights --json` prints it."""
        return {
            "checked": self.checked,
            "findings": [one.as_json() for one in self.findings],
        }


def sparkline_of(values: Iterable[float | None]) -> str:
    """A bar of eight heights for each value; a blank for none."""
    known = list(values)
    most = max((one for one in known if one is not None), default=0.0)
    if most <= 0:
        return " " * len(known)
    return sparkline(round(1000 * (one or 0.0) / most) for one in known)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by workflow, and then by kind."""
    return sorted(
        findings,
        key=lambda one: (
            one.workflow,
            KINDS.index(one.kind),
            one.node is not None,
            one.node or "",
            one.about,
        ),
    )
