"""How a run ended, in one sentence, and which node log says why."""

from __future__ import annotations

from typing import Any

from runlog.views.logs import Log, dicts, fact, number, read_logs, text, totals_of
from runlog.views.words import brief, count, duration


def outcome(
    run: Any, logs: list[Log] | None = None, went_on: bool = False, whole: bool = False
) -> str:
    """Return one sentence such as "failed at draft after 96 ms: KeyError: 'price'".

    Args:
        run: a run as `get_run` returns it. A row of `list_runs` or `get_thread` will do
            if it has totals: of a run that has not ended, the sentence is then shorter.
        logs: its node logs, if they are known already.
        went_on: whether a run that was interrupted has been resumed since.
        whole: whether what was recorded is uncut, however long it is.
    """
    logs = read_logs(run) if logs is None else logs
    status = str(run.get("status"))
    log = decisive(run, logs)
    totals = {} if logs else totals_of(run)
    node = text(totals.get("at")) if log is None else log.node
    at = "" if node is None else f" at {node}"
    spent = run.get("duration_ms")
    after = "" if spent is None else f" after {duration(spent)}"
    if status == "completed":
        took = "" if spent is None else f" in {duration(spent)}"
        tries = retries(logs) or int(number(totals.get("retries")) or 0)
        return f"completed{took}" + (f", after {_retries(tries)}" if tries else "")
    if status == "interrupted":
        asked = question(run)
        said = asked if asked is not None else error_of(run)
        waits = "paused" if went_on else "waits"
        return f"{waits}{at}{after}" + (
            f": {brief(said, None if whole else 200)}" if said else ""
        )
    if status in ("running", "lost"):
        where = "" if node is None else f" in {node}"
        done = len([one for one in logs if one.status == "completed"])
        rest = "" if not logs else f", after {count(done, 'node')}"
        return f"{status}{where}{rest}" + (
            ": its process is gone" if status == "lost" else ""
        )
    error = error_of(run)
    shown = brief(error, None if whole else 500)
    return f"{status}{at}{after}" + (f": {shown}" if error else "")


def _retries(times: int) -> str:
    return count(times, "retry", "retries")


def error_of(one: Any) -> str | None:
    """The error of a run, a node log or a call: "KeyError: 'price'"; None for none."""
    kind, said = text(one.get("error_type")), text(one.get("error_text"))
    return f"{kind}: {said}" if kind and said else kind or said


def question(run: Any) -> Any:
    """What an interrupted run asks; None if no node asked anything."""
    for asked in dicts(fact(run, "interrupts")):
        return asked.get("value")
    return None


def retries(logs: list[Log]) -> int:
    """How many attempts were made beside the first ones."""
    return sum(1 for log in logs if log.attempt > 1)


def decisive(run: Any, logs: list[Log]) -> Log | None:
    """Return the node log in which a run failed, waits, was cancelled or is now.

    Args:
        run: the run, with its status and error.
        logs: its node logs.

    Returns:
        The innermost such log. For a failed run it is the last with the run's own error,
        or the one that was cancelled, if no node failed. None if no node is to blame, as
        for a completed run, or if LangGraph itself raised between two nodes.
    """
    status = run.get("status")
    if status == "failed":
        return _failed(run, logs)
    if status in ("interrupted", "cancelled", "running", "lost"):
        return _innermost([log for log in logs if log.status == status])
    return None


def _failed(run: Any, logs: list[Log]) -> Log | None:
    own = (text(run.get("error_type")), text(run.get("error_text")))
    failed = [log for log in logs if log.status == "failed"]
    same = [log for log in failed if (log.error_type, log.error_text) == own]
    if same:
        attempt = max(log.attempt for log in same)
        last = [log for log in same if log.attempt == attempt]
        arose = [log for log in last if log.error_traceback]
        return arose[-1] if arose else _innermost(last)
    if failed and not run.get("error_traceback"):
        return _innermost([log for log in failed if not _was_retried(log, logs)])
    if run.get("error_type") in ("NodeTimeoutError", "NodeCancelledError"):
        cancelled = [log for log in logs if log.status == "cancelled"]
        # others were cancelled because of that node, which LangGraph names
        said = own[1] or ""
        named = [log for log in cancelled if said.startswith(f"Node '{log.node}'")]
        return _innermost(named or cancelled)
    return None


def _was_retried(log: Log, logs: list[Log]) -> bool:
    """Whether a later attempt followed."""
    same = (log.node, log.parent, log.step)
    return any(
        (one.node, one.parent, one.step) == same and one.attempt == log.attempt + 1
        for one in logs[log.place + 1 :]
    )


def _innermost(found: list[Log]) -> Log | None:
    """The first log of those that are around no other one of them, by their names."""
    around = {log.parent for log in found}
    inner = [log for log in found if log.node not in around]
    return (inner or found)[0] if found else None
