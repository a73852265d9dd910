"""The runs of a history, as far as findings need them: bounded, and read when asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from runlog.insights.finding import MOST_RUNS, Finding
from runlog.insights.frame import Workflow
from runlog.views.lines import totals_of_logs
from runlog.views.logs import number, read_logs, totals_of

_ROWS: Final = 1_000
"""How many rows are looked through for a finding."""
_WHOLE: Final = 20
"""How many runs are read whole for it."""
_READ: Final = 200
"""How many are, to find these, where rows have no totals."""
_GOOD: Final = 100
_RETRIES: Final = ("retries", "hidden_retries")


class Runs:
    """Reads runs for findings."""

    def __init__(self, recorder: Any, until: datetime) -> None:
        self._recorder = recorder
        self._until = until

    def rows(self, limit: int, **filters: Any) -> list[Any]:
        """Rows of `list_runs`, newest first, created before the time that is judged
        ends.
        """
        filters = {"until": self._until, **filters}
        found: list[Any] = self._recorder.list_runs(limit=limit, **filters).runs
        return found

    def run(self, run_id: str, workflow: str) -> Any:
        """A whole run; None if it was deleted."""
        return self._recorder.get_run(run_id, workflow)

    def is_newest(self, row: Any) -> bool:
        """Whether no newer run of its thread is there."""
        newest = self._recorder.list_runs(
            limit=1, thread_id=row["thread_id"], wpk_id=row["wpk_id"]
        ).runs
        return bool(newest) and newest[0]["run_id"] == row["run_id"]

    def there(self, names: Iterable[str | None], workflow: str) -> list[str]:
        """The first few of some runs that were not deleted."""
        found: list[str] = []
        for name in dict.fromkeys(names):
            if len(found) == MOST_RUNS:
                break
            if name is not None and self.run(name, workflow) is not None:
                found.append(name)
        return found

    def good(self, workflow: str, since: datetime) -> str | None:
        """A run to compare with: it completed without a retry, in the usual time."""
        rows = self.rows(_GOOD, wpk_id=workflow, status="completed", since=since)
        fine = [row for row in rows if not totals_of(row).get("retries")] or rows
        timed = sorted(
            (spent, row["run_id"])
            for row in fine
            if (spent := number(row.get("duration_ms"))) is not None
        )
        if timed:
            return str(timed[len(timed) // 2][1])
        return str(fine[0]["run_id"]) if fine else None


def show(finding: Finding, workflow: Workflow, runs: Runs) -> None:
    """Name the runs that show a finding, and a good one."""
    if not finding.runs:
        finding.runs = _show(finding, workflow, runs)
    else:
        finding.runs = runs.there(finding.runs, finding.workflow)
    before = workflow.frame.time(workflow.frame.first)
    finding.good = runs.good(finding.workflow, before)


def _show(finding: Finding, workflow: Workflow, runs: Runs) -> list[str]:
    since = max(finding.since, workflow.frame.time(workflow.frame.first))
    filters = {"wpk_id": finding.workflow, "since": since}
    blocks = list(reversed(workflow.judged))
    if finding.kind == "failure_rate" and finding.node is not None:
        failures = (one for block in blocks for one in block.failures)
        return runs.there(
            (run for one in failures if one.node == finding.node for run in one.runs),
            finding.workflow,
        )
    if finding.kind in ("failure_rate", "interruptions"):
        status = "failed" if finding.kind == "failure_rate" else "interrupted"
        return [row["run_id"] for row in runs.rows(MOST_RUNS, status=status, **filters)]
    if finding.kind == "slow":
        figures = (
            block.run if finding.node is None else block.nodes.get(finding.node)
            for block in blocks
        )
        slowest = sorted(
            (one for one in figures if one is not None), key=lambda one: -one.slowest_us
        )
        return runs.there((one.slowest_in for one in slowest), finding.workflow)
    if finding.kind == "stopped_node":
        return [row["run_id"] for row in runs.rows(MOST_RUNS, **filters)]
    figure = "retries" if finding.kind in _RETRIES else "tokens"
    found = [(_figure(row, figure), row) for row in _measured(finding, runs, filters)]
    found = [one for one in found if one[0]]
    found.sort(key=lambda one: -one[0])
    return list(_with_node(finding, [row for _, row in found], runs))


def _measured(finding: Finding, runs: Runs, filters: Any) -> Iterator[Any]:
    """Rows with their totals. A run that somebody else logged has none: it is read whole,
    as far as there are few of these.
    """
    left = _READ
    for row in runs.rows(_ROWS, **filters):
        if row["totals"] is not None:
            yield row
        elif left:
            left -= 1
            run = runs.run(row["run_id"], finding.workflow)
            if run is not None:
                yield {"run_id": row["run_id"], "totals": totals_of_logs(run)}


def _figure(row: Any, name: str) -> float:
    return number(totals_of(row).get(name)) or 0.0


def _with_node(finding: Finding, rows: list[Any], runs: Runs) -> Iterator[str]:
    """Of some runs the first few in which the node did it."""
    if finding.node is None:
        yield from (row["run_id"] for row in rows[:MOST_RUNS])
        return
    found = 0
    for row in rows[:_WHOLE]:
        run = runs.run(row["run_id"], finding.workflow)
        logs = [] if run is None else read_logs(run)
        those = [log for log in logs if log.node == finding.node]
        if any(log.attempt > 1 or finding.kind not in _RETRIES for log in those):
            found += 1
            yield row["run_id"]
        if found == MOST_RUNS:
            return
