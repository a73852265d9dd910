"""A thread as one story: questions, pauses, answers, and what was said."""

from __future__ import annotations

from itertools import takewhile
from typing import Any, NamedTuple

from runlog.views.conversation import Message, messages_of
from runlog.views.logs import began, number
from runlog.views.outcome import outcome, question
from runlog.views.words import brief

_BRIEF = 500
_MOST = 40
"""Messages of a turn that are shown, the newest."""


class Turn(NamedTuple):
    """A run of a thread."""

    run: Any
    """As `get_thread` returns it."""
    sentence: str
    began: float | None
    waited_ms: float | None
    """From the end of the run that it goes on from to its start."""
    answer: str | None
    """What it was answered to the question of the run before."""
    asked: str | None
    """What a first run was given, if that is no conversation."""
    asks: str | None
    """What it waits for an answer to."""
    messages: tuple[Message, ...]
    """Those that were new in this run."""
    earlier: int
    """How many new messages stand before those that are shown."""
    result: str | None


class Tied(NamedTuple):
    """What a run of a thread goes on from, and what went on from it."""

    before: Any
    """The run that it goes on from, or None."""
    waited_ms: float | None
    """From the end of that run to its start."""
    answer: str | None
    """What was answered to the question of that run."""
    after: Any
    """The newest run that went on from it, or None."""
    left_ms: float | None
    """From its end to the start of that run."""
    later: bool
    """Whether the thread has newer runs, whatever they go on from."""


def tied(runs: list[Any], run_id: str) -> Tied:
    """Return the runs that pauses tie to a run.

    Args:
        runs: those of its thread and workflow, as `get_thread` returns them: the newest.
        run_id: the run. If it is not among them, nothing but newer runs is known.
    """
    by_id = {run["run_id"]: run for run in runs}
    later = bool(runs) and runs[-1]["run_id"] != run_id
    run = by_id.get(run_id)
    if run is None:
        return Tied(None, None, None, None, None, later)
    before, after = by_id.get(run["resumes"]), by_id.get(run["resumed_by"])
    answer = run["answer"]
    return Tied(
        before,
        _waited(run, before),
        None if answer is None else brief(answer, _BRIEF),
        after,
        None if after is None else _waited(after, run),
        later,
    )


def story(runs: list[Any]) -> list[Turn]:
    """Return the turns of a thread.

    Args:
        runs: as `get_thread` returns them, the oldest first.
    """
    turns = []
    by_id = {run["run_id"]: run for run in runs}
    known: list[Message] = []
    for run in runs:
        said = _messages(run.get("outputs")) or _messages(run.get("inputs"))
        same = takewhile(lambda pair: pair[0] == pair[1], zip(said, known, strict=False))
        turns.append(_turn(run, by_id.get(run.get("resumes")), said[len(list(same)) :]))
        known = said or known
    return turns


def _turn(run: Any, before: Any, new: list[Message]) -> Turn:
    talked = bool(new)
    given = run.get("inputs") if run.get("resumes") is None else None
    result = run.get("outputs") if run.get("status") == "completed" else None
    answer, asks = run.get("answer"), question(run)
    return Turn(
        run,
        outcome(run, went_on=bool(run.get("resumed_by"))),
        began(run),
        _waited(run, before),
        None if answer is None else brief(answer, _BRIEF),
        None if talked or given is None else brief(given, _BRIEF),
        None if asks is None else brief(asks, _BRIEF),
        tuple(new[-_MOST:]),
        max(0, len(new) - _MOST),
        None if talked or result is None else brief(result, _BRIEF),
    )


def _messages(state: Any) -> list[Message]:
    return messages_of(state.get("messages")) if isinstance(state, dict) else []


def _waited(run: Any, before: Any) -> float | None:
    if before is None:
        return None
    start, first = began(run), began(before)
    spent = number(before.get("duration_ms"))
    if start is None or first is None or spent is None:
        return None
    return max(0.0, (start - first) * 1000 - spent)
