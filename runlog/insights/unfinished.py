"""Runs that have not ended, and should have: stuck, lost, or waiting for an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from runlog.insights.finding import MOST_RUNS, Finding
from runlog.insights.frame import Frame, Workflow
from runlog.insights.runs import Runs
from runlog.insights.wording import day, percent
from runlog.reading.times import moment
from runlog.rollup import Histogram
from runlog.views.logs import began, read_logs, seconds
from runlog.views.words import count, duration

_OPEN: Final = 200
"""How many open runs, and how many that wait, are looked at: the newest."""
_LOST: Final = 1_000
_TIMES: Final = 3
_LEAST: Final = 10.0
_KNOWN: Final = 20
"""A run is stuck after three times the p99 of its node, and ten seconds. The node must
have run so often before."""
_WAITS: Final = timedelta(days=1)


def stuck(
    workflows: Mapping[str, Workflow], runs: Runs, now: float, wpk_id: str | None
) -> Iterator[Finding]:
    """Open runs that take much longer than usual, and are not known to be lost."""
    found: dict[tuple[str, str | None], list[tuple[float, str, float]]] = {}
    filters = {} if wpk_id is None else {"wpk_id": wpk_id}
    for row in runs.rows(_OPEN, status="running", **filters):
        workflow = workflows.get(row["wpk_id"])
        run = None if workflow is None else runs.run(row["run_id"], row["wpk_id"])
        if workflow is None or run is None or run["status"] != "running":
            continue  # deleted, or ended since it was listed
        node, since = _where(run)
        usual = _p99(workflow, node)
        if since is None or usual is None:
            continue
        spent = now - since
        if spent > max(_LEAST, _TIMES * usual):
            found.setdefault((workflow.name, node), []).append(
                (spent, row["run_id"], usual)
            )
    for (name, node), those in found.items():
        those.sort(reverse=True)
        longest, _, usual = those[0]
        where = f", node {node}" if node else ""
        yield Finding(
            "stuck",
            name,
            node,
            moment(now - longest),
            f"{name}{where}: {count(len(those), 'run')} open for up to "
            f"{duration(longest * 1000)}; p99 is {duration(usual * 1000)}.",
            usual * 1000,
            longest * 1000,
            f"exact: open for over {_TIMES} times the p99, and not known to be lost",
            [run for _, run, _ in those[:MOST_RUNS]],
        )


def _where(run: Any) -> tuple[str | None, float | None]:
    """The innermost node that runs, and since when; else the run."""
    logs = [log for log in read_logs(run) if log.status == "running"]
    around = {log.parent for log in logs}
    inner = [log for log in logs if log.node not in around and log.started is not None]
    if inner:
        oldest = min(inner, key=lambda log: log.started or 0.0)
        return oldest.node, oldest.started
    return None, began(run)


def _p99(workflow: Workflow, node: str | None) -> float | None:
    """In seconds."""
    times = Histogram()
    for one in workflow.series(node).figures:
        if one is not None:
            times.add(one.durations)
    level = times.quantile(0.99) if times.number >= _KNOWN else None
    return None if level is None else level / 1e6


def lost(
    workflows: Mapping[str, Workflow], frame: Frame, runs: Runs, wpk_id: str | None
) -> Iterator[Finding]:
    """Runs whose process has died."""
    filters = {} if wpk_id is None else {"wpk_id": wpk_id}
    rows = runs.rows(_LOST, status="lost", since=frame.time(frame.first), **filters)
    start = frame.time(frame.start).timestamp()
    by_name: dict[str, list[Any]] = {}
    for row in rows:
        by_name.setdefault(row["wpk_id"], []).append(row)
    for name, those in by_name.items():
        new = [row for row in those if (_heard(row) or 0.0) >= start]
        if not new:
            continue
        workflow = workflows.get(name)
        whole = len(new) + (workflow.runs if workflow else 0)
        old = len(those) - len(new)
        before = old + (workflow.runs_before if workflow else 0)
        shares = old / before if before else 0.0, len(new) / whole
        since = moment(min(_heard(row) or start for row in new))
        yield Finding(
            "lost",
            name,
            None,
            since,
            f"{name}: {count(len(new), 'run')} lost since {day(since)} "
            f"({percent(shares[1])}), {old:,} in the week before.",
            *shares,
            "exact: the process that recorded it is gone",
            [row["run_id"] for row in new[:MOST_RUNS]],
        )


def _heard(row: Any) -> float | None:
    """When a run was written last."""
    return seconds(row.get("updated_at")) or seconds(row.get("created_at"))


def waiting(
    frame: Frame, runs: Runs, now: float, wpk_id: str | None
) -> Iterator[Finding]:
    """Runs that were interrupted over a day ago, and whose thread never went on."""
    filters = {} if wpk_id is None else {"wpk_id": wpk_id}
    until = moment(now) - _WAITS
    since = frame.time(frame.first)
    if until <= since:
        return
    rows = runs.rows(_OPEN, status="interrupted", since=since, until=until, **filters)
    by_name: dict[str, list[Any]] = {}
    for row in rows:
        known = row["thread_id"] is not None and row["created_at"] is not None
        if known and runs.is_newest(row):
            by_name.setdefault(row["wpk_id"], []).append(row)
    for name, those in by_name.items():
        oldest = those[-1]["created_at"]
        spent = now - oldest.timestamp()
        yield Finding(
            "waiting",
            name,
            None,
            oldest,
            f"{name}: {count(len(those), 'run')} interrupted and never resumed, the "
            f"oldest for {duration(spent * 1000)}.",
            _WAITS.total_seconds() * 1000,
            spent * 1000,
            f"exact: for over {_WAITS.days} day, and no newer run of the thread",
            [row["run_id"] for row in those[:MOST_RUNS]],
        )
