"""A week of real runs with faults in its last hours, recorded with times of the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from helpers import minimal

HOURS = 179
"""How long the histories are: the week before, and what is judged."""
BAD_HOURS = 10
_PRICE = "no price for {} in order {}"


def _log(node: str, step: int, **fields: Any) -> dict[str, Any]:
    return {
        "node": node,
        "status": "completed",
        "step": step,
        "attempt": 1,
        "duration_ms": 20.0,
        **fields,
    }


def times(now: datetime, runs: int) -> list[tuple[datetime, bool]]:
    """When so many runs were made, oldest first, and whether in the bad hours."""
    each = timedelta(hours=HOURS) / runs
    first = now - timedelta(hours=HOURS) + each / 2
    found = [first + place * each for place in range(runs)]
    return [(at, now - at < timedelta(hours=BAD_HOURS)) for at in found]


def shop_runs(now: datetime, runs: int = 600) -> list[dict[str, Any]]:
    """A workflow that fails with a new error, for one value of its inputs."""
    random = Random(1)
    made = []
    for place, (at, bad) in enumerate(times(now, runs)):
        currency = random.choice(["EUR", "USD", "CHF", "CHF"])
        fails = bad and currency == "CHF"
        error: dict[str, Any] = {}
        if fails or place % 60 == 7:
            text = (
                _PRICE.format(currency, place) if fails else f"timed out after {place} ms"
            )
            error = {
                "status": "failed",
                "error_type": "LookupError" if fails else "TimeoutError",
                "error_text": text,
            }
        logs = [_log("read", 1), _log("price", 2, **error)]
        made.append(
            minimal(
                f"shop-{place}",
                "shop",
                created_at=at,
                duration_ms=int(random.lognormvariate(6, 0.4)),
                inputs={"currency": currency, "order": place},
                node_logs=logs,
                **error,
            )
        )
    return made


def steps_runs(now: datetime, runs: int = 600) -> list[dict[str, Any]]:
    """A workflow whose node "check" no longer runs, whose node "call" is retried, and
    that loops, once, and once takes another path.
    """
    made = []
    last = runs - 2
    for place, (at, bad) in enumerate(times(now, runs)):
        logs = [_log("plan", 1)]
        if bad and place % 2 == 0:
            logs.append(_log("call", 2, status="failed", error_type="OSError"))
            logs.append(_log("call", 2, attempt=2))
        else:
            logs.append(_log("call", 2))
        if now - at > timedelta(hours=20):
            logs.append(_log("check", 3))
        if place == last - 1:
            logs.insert(1, _log("other", 2))
        if place == last:
            logs += [_log("plan", 3 + n) for n in range(30)]
        made.append(
            minimal(
                f"steps-{place}", "steps", created_at=at, duration_ms=50, node_logs=logs
            )
        )
    return made


def odd_runs(now: datetime) -> list[dict[str, Any]]:
    """A run that waits, one that is stuck, and one that reached the recursion limit."""
    hour = timedelta(hours=1)
    usual = [
        minimal(
            f"odd-{n}",
            "odd",
            created_at=now - (100 - n) * hour,
            duration_ms=30,
            node_logs=[_log("ask", 1)],
        )
        for n in range(70)
    ]
    begun = (now - 2 * hour).isoformat()
    open_ = {**_log("ask", 1), "status": "running", "started_at": begun}
    del open_["duration_ms"]
    return [
        *usual,
        minimal(
            "odd-waits",
            "odd",
            status="interrupted",
            created_at=now - 30 * hour,
            thread_id="left",
            node_logs=[_log("ask", 1, status="interrupted")],
        ),
        minimal(
            "odd-answered",
            "odd",
            status="interrupted",
            created_at=now - 31 * hour,
            thread_id="answered",
            node_logs=[_log("ask", 1, status="interrupted")],
        ),
        minimal(
            "odd-answer",
            "odd",
            created_at=now - 29 * hour,
            thread_id="answered",
            duration_ms=30,
            node_logs=[_log("ask", 1)],
        ),
        minimal(
            "odd-limit",
            "odd",
            status="failed",
            created_at=now - hour,
            duration_ms=30,
            error_type="GraphRecursionError",
            error_text="Recursion limit of 25 reached without a stop",
            node_logs=[_log("ask", 1)],
        ),
        minimal(
            "odd-stuck",
            "odd",
            status="running",
            created_at=now - 2 * hour,
            started_at=begun,
            node_logs=[open_],
        ),
    ]


def record(recorder: Any, *histories: list[dict[str, Any]]) -> None:
    """Record the runs of histories."""
    for run in (run for runs in histories for run in runs):
        recorder.log_run(run)
    assert recorder.flush(60)


def now() -> datetime:
    """The time, which the histories end at."""
    return datetime.now(UTC)
