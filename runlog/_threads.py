"""Ties the runs of a thread together: which run goes on from which.

A run records that it goes on from a checkpoint (`resumed`), but not from which one.
Without a `checkpoint_id` in its config, LangGraph goes on from the newest checkpoint of
the thread, so from where the run before stopped. With one, only an answer says more.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runlog._runlog import ThreadRun

_SLACK = timedelta(milliseconds=50)
"""Durations are whole milliseconds, and the clocks of two machines differ a little."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_COMMAND = {"graph", "update", "resume", "goto"}
"""The members of a recorded Command."""


def tie(newest_first: list[dict[str, Any]], limit: int) -> list[ThreadRun]:
    """Return the runs of a thread, oldest first, each with what ties it to others.

    Args:
        newest_first: the rows. One more than `limit` serves the ties only.
        limit: number of runs to return.
    """
    runs: list[Any] = [_describe(row) for row in reversed(newest_first)]
    for _, group in groupby(sorted(runs, key=itemgetter("wpk_id")), itemgetter("wpk_id")):
        _tie_workflow(list(group))
    return runs[-limit:]


def _describe(run: dict[str, Any]) -> dict[str, Any]:
    """Add what one run says by itself."""
    paused_at = _fact(run, "interrupts")
    run["interrupts"] = paused_at if isinstance(paused_at, list) else []
    run["answer"] = _answer(run)
    run["resumes"] = run["resumed_by"] = None
    return run


def _fact(run: dict[str, Any], name: str) -> Any:
    metadata = run["metadata"]
    return metadata.get(name) if isinstance(metadata, dict) else None


def _answer(run: dict[str, Any]) -> Any:
    """The resume value of the Command that the run was given."""
    given = run["inputs"]
    is_command = isinstance(given, dict) and given.keys() >= _COMMAND
    return given["resume"] if is_command and _fact(run, "resumed") is True else None


def _tie_workflow(runs: list[dict[str, Any]]) -> None:
    """Tie the runs of one workflow, which are in the order of their beginnings."""
    ended: list[tuple[datetime, int]] = []  # sorted: when each ended, and its place
    for place, run in enumerate(runs):
        if _fact(run, "resumed") is True:
            over = ended[: bisect_right(ended, (_begin(run) + _SLACK, place))]
            before = _find_continued(run, [runs[index] for _, index in reversed(over)])
            if before is not None:
                run["resumes"] = before["run_id"]
                before["resumed_by"] = run["run_id"]
        insort(ended, (_end(run), place))


def _find_continued(
    run: dict[str, Any], over: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Find the run that a resumed run continues.

    Args:
        run: the resumed run.
        over: the runs before it, the one that ended last first. A run whose end is not
            known counts as one that ended when it began.
    """
    answer = run["answer"]
    if answer is not None:  # it answers no run that is still at work
        over = [one for one in over if one["status"] != "running"]
    last = over[0] if over else None
    if last is None or last["status"] not in ("completed", "interrupted"):
        return last
    if answer is None:
        return last if last["status"] == "interrupted" else None
    asked = [one for one in over if one["status"] == "interrupted"]
    named = [one for one in asked if _names_interrupt(answer, one)]
    return next(iter(named or asked), None)


def _names_interrupt(answer: Any, run: dict[str, Any]) -> bool:
    """Whether an answer is a dict by the ids of interrupts, one of which is the run's."""
    ids = [one.get("id") for one in run["interrupts"] if isinstance(one, dict)]
    return isinstance(answer, dict) and any(name in ids for name in answer)


def _begin(run: dict[str, Any]) -> datetime:
    begun: datetime = run["started_at"] or run["created_at"] or _LONG_AGO
    return begun


def _end(run: dict[str, Any]) -> datetime:
    """When a run ended; of one whose end is not known, when it began."""
    try:
        return _begin(run) + timedelta(milliseconds=run["duration_ms"] or 0)
    except OverflowError:
        return _begin(run)
