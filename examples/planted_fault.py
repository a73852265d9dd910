"""Records a week of small runs with a planted fault, and prints what runlog finds.

    python examples/planted_fault.py

In the last hours, orders in Swiss francs fail. The runs are recorded with log_run, with
times of the past, in a file of their own that is removed afterwards. The exit code is 0
if the fault was found, with its cause.
"""

from __future__ import annotations

import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import runlog

RUNS = 700
HOURS = 179
BAD = timedelta(hours=10)
CAUSE = "inputs.currency = 'CHF'"


def order(place: int, at: datetime, chance: random.Random, bad: bool) -> dict[str, Any]:
    """A run of the workflow "orders"."""
    currency = chance.choice(["EUR", "USD", "CHF", "CHF"])
    error: dict[str, Any] = {"status": "completed"}
    if bad and currency == "CHF":
        text = f"no price for order {place} in CHF"
        error = {"status": "failed", "error_type": "LookupError", "error_text": text}
    spent = chance.lognormvariate(5, 0.3)
    return {
        "wpk_id": "orders",
        "run_id": f"order-{place}",
        "created_at": at,
        "duration_ms": round(spent),
        "inputs": {"currency": currency, "item": chance.choice(["tea", "rice"])},
        "node_logs": [
            {"node": "read", "status": "completed", "duration_ms": spent / 4},
            {"node": "price", "duration_ms": spent / 2, **error},
        ],
        **error,
    }


def record(recorder: runlog.Recorder) -> None:
    """Record the runs."""
    chance = random.Random(1)
    now = datetime.now(UTC)
    each = timedelta(hours=HOURS) / RUNS
    for place in range(RUNS):
        at = now - (RUNS - place - 0.5) * each
        recorder.log_run(order(place, at, chance, now - at < BAD))


def find() -> list[str]:
    """Record the runs, print what is found, and return what was not."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        path = str(Path(folder) / "runs.db")
        with runlog.Recorder(
            sqlite_path=path, postgres_dsn=None, words=False
        ) as recorder:
            record(recorder)
            report = runlog.insights(recorder=recorder, wait=60)
    for finding in report.findings:
        print(f"{finding.kind}: {finding.text}")
        print(f"  [{finding.line}]")
    print(f"{len(report.findings)} findings in {report.checked:,} runs.")
    kinds = {finding.kind: finding for finding in report.findings}
    new = kinds.get("new_failure")
    if new is None or CAUSE not in new.text:
        return ["the new failure was not found with its cause"]
    return [] if "failure_rate" in kinds else ["the rise of failures was not found"]


if __name__ == "__main__":
    wrong = find()
    print(*wrong, sep="\n", file=sys.stderr, end="")
    sys.exit(1 if wrong else 0)
