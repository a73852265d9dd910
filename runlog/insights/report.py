"""A report: reads the roll-up, compares, and names the runs that show each finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from runlog.insights import shapes, unfinished
from runlog.insights.causes import SAMPLE, traits
from runlog.insights.changes import changes
from runlog.insights.failures import Kind, kinds, unknown
from runlog.insights.finding import Finding, Report, in_order
from runlog.insights.frame import BEFORE, Frame, Workflow, frame_of
from runlog.insights.runs import Runs, show
from runlog.insights.templates import fits
from runlog.insights.wording import day
from runlog.rollup import BLOCK_SECONDS, Block
from runlog.views.logs import totals_of
from runlog.views.words import brief, count

_EARLIER: Final = 4 * BEFORE
"""Blocks before the frame in which a failure that has come back is looked for."""
_CAUSES: Final = 5
"""For how many findings causes are looked for."""


def make(
    recorder: Any,
    wpk_id: str | None,
    since: datetime | None,
    until: datetime,
    wait: float,
) -> Report:
    """Look at the history: see `runlog.insights.insights`."""
    frame = frame_of(since, until)
    read = recorder.rollup(
        wpk_id=wpk_id, since=frame.time(frame.first), until=until, wait=wait
    )
    workflows, frame = _sort(read.blocks, frame)
    return _Maker(recorder, workflows, frame, until, wpk_id).make(read.waiting)


def _sort(blocks: Iterable[Block], frame: Frame) -> tuple[dict[str, Workflow], Frame]:
    """The blocks by their workflow; the frame begins where there are any."""
    by_name: dict[str, list[Block]] = {}
    for block in blocks:
        by_name.setdefault(block.workflow, []).append(block)
    oldest = min(
        (int(one.since.timestamp()) for those in by_name.values() for one in those),
        default=frame.start * BLOCK_SECONDS,
    )
    first = max(frame.first, min(oldest // BLOCK_SECONDS, frame.end - 1))
    frame = Frame(first, max(frame.start, first), frame.end)
    return {name: Workflow(name, frame, those) for name, those in by_name.items()}, frame


class _Maker:
    """Makes one report."""

    def __init__(
        self,
        recorder: Any,
        workflows: dict[str, Workflow],
        frame: Frame,
        until: datetime,
        wpk_id: str | None,
    ) -> None:
        self._recorder = recorder
        self._workflows = workflows
        self._frame = frame
        self._until = until
        self._wpk_id = wpk_id
        self._runs = Runs(recorder, until)
        self._notes: list[str] = []
        self._causes = _CAUSES

    def make(self, waits: int) -> Report:
        """Make it; so many runs are not counted yet."""
        workflows = list(self._workflows.values())
        checked = sum(one.runs + one.runs_before for one in workflows)
        since = self._frame.time(self._frame.start)
        if waits:
            self._notes.append(f"{count(waits, 'run')} not counted yet: look again")
        if not any(one.runs for one in workflows):
            self._notes.append(f"no run has ended since {day(since)}")
        risen, notes = changes(workflows, self._frame)
        self._notes += notes
        found = [*risen, *self._shapes(workflows)]
        for one in workflows:
            found += self._failures(one)
        found += self._unfinished()
        for finding in found:
            workflow = self._workflows.get(finding.workflow)
            if workflow is None:  # of whose runs none has ended
                continue
            show(finding, workflow, self._runs)
        for finding in found:
            if finding.kind == "failure_rate":
                self._explain(finding, None)
        judged = self._frame.end - self._frame.start
        return Report(checked, in_order(found), since, self._until, judged, self._notes)

    def _shapes(self, workflows: list[Workflow]) -> Iterator[Finding]:
        for one in workflows:
            if not one.runs:
                continue
            yield from shapes.recursion(one)
            yield from shapes.hidden_retries(one)
            yield from shapes.stopped(one)
            for found in shapes.loops(one):
                found.runs = [r for r in found.runs if self._loops(r, found)]
                if found.runs:
                    yield found
            for found in shapes.paths(one):
                found.runs = [r for r in found.runs if self._completed(r, found)]
                if found.runs:
                    yield found

    def _completed(self, run_id: str, finding: Finding) -> bool:
        """Whether a run completed: one that failed has not gone its way to the end."""
        run = self._runs.run(run_id, finding.workflow)
        return run is not None and run["status"] == "completed"

    def _loops(self, run_id: str, finding: Finding) -> bool:
        """Whether a node ran in many steps of a run, not in many tasks of one."""
        run = self._runs.run(run_id, finding.workflow)
        return run is not None and shapes.is_loop(run, finding.node)

    def _failures(self, workflow: Workflow) -> Iterator[Finding]:
        left = sum(block.failures_left for block in workflow.judged)
        if left:
            self._notes.append(
                f"{workflow.name}: {count(left, 'failure')} not sorted by their message: "
                "too many are different"
            )
        if not unknown(kinds(workflow)):
            return
        frame = workflow.frame
        earlier = self._recorder.rollup(
            wpk_id=workflow.name,
            since=frame.time(frame.first - _EARLIER),
            until=frame.time(frame.first),
            wait=0,
        ).blocks
        for kind in unknown(kinds(workflow, earlier)):
            if kind.number == 1 and not self._for_good(kind, workflow):
                continue
            found = _say(kind, workflow)
            self._explain(found, kind)
            yield found

    def _for_good(self, kind: Kind, workflow: Workflow) -> bool:
        """Whether the only run that failed so was not tried again with success."""
        run = self._runs.run(kind.runs[0], workflow.name) if kind.runs else None
        if run is None or run["thread_id"] is None:
            return True
        filters = {"wpk_id": workflow.name, "thread_id": run["thread_id"]}
        if run["created_at"] is not None:
            filters["since"] = run["created_at"]
        newest = self._runs.rows(1, **filters)
        return not newest or newest[0]["status"] != "completed"

    def _explain(self, finding: Finding, kind: Kind | None) -> None:
        """Add what is different about the runs that failed, if anything is."""
        if self._causes == 0:
            return
        self._causes -= 1
        since = self._frame.time(self._frame.start)
        name = finding.workflow
        rows = self._runs.rows(
            2 * SAMPLE, wpk_id=name, status="failed", since=min(since, finding.since)
        )
        if kind is not None:
            rows = [row for row in rows if _is_of(row, kind)]
        elif finding.node is not None:
            rows = [row for row in rows if totals_of(row).get("at") == finding.node]
        good = self._runs.rows(SAMPLE, wpk_id=name, status="completed", since=since)
        if not rows or not good:
            return
        found = traits(
            self._whole(rows[:SAMPLE], name), self._whole(good, name), finding.node
        )
        if found:
            finding.text += f" More frequent among them: {'; '.join(map(str, found))}."

    def _whole(self, rows: Iterable[Any], workflow: str) -> Iterator[Any]:
        """The whole runs of some rows: one at a time, as each may take much memory."""
        for row in rows:
            if run := self._runs.run(row["run_id"], workflow):
                yield run

    def _unfinished(self) -> Iterator[Finding]:
        now = self._until.timestamp()
        yield from unfinished.stuck(self._workflows, self._runs, now, self._wpk_id)
        yield from unfinished.lost(self._workflows, self._frame, self._runs, self._wpk_id)
        yield from unfinished.waiting(self._frame, self._runs, now, self._wpk_id)


def _is_of(row: Any, kind: Kind) -> bool:
    if (row["error_type"] or "") != kind.error:
        return False
    at = totals_of(row).get("at")
    return (at is None or at == kind.node) and fits(
        kind.template, row["error_text"] or ""
    )


def _say(kind: Kind, workflow: Workflow) -> Finding:
    where = f", node {kind.node}" if kind.node else ""
    first = kind.first or datetime.now(UTC)
    said = ": ".join(part for part in (kind.error, brief(kind.template, 200)) if part)
    if kind.earlier:
        name, last = "returned_failure", kind.earlier_last
        seen = f"gone for a week; last seen {day(last)}" if last else "gone for a week"
    else:
        name = "new_failure"
        before = workflow.runs_before
        seen = f"not seen in {count(before, 'run')} of the week before"
        if not before:
            seen = "there is no run of the week before to compare with"
    return Finding(
        name,
        workflow.name,
        kind.node,
        first,
        f"{workflow.name}{where}: {count(kind.number, 'run')} failed with {said} since "
        f"{day(first)}: {seen}.",
        0.0,
        float(kind.number),
        "exact: no such failure in the week before",
        kind.runs,
        spark=_spark(kind, workflow),
        about=kind.about,
    )


def _spark(kind: Kind, workflow: Workflow) -> list[float | None]:
    found: list[float | None] = []
    for number in range(workflow.frame.first, workflow.frame.end):
        blocks = workflow.blocks(number, number + 1)
        alike = (
            one
            for block in blocks
            for one in block.failures
            if (one.error, one.node) == (kind.error, kind.node) and one.text in kind.texts
        )
        found.append(float(sum(one.number for one in alike)) if blocks else None)
    return found
