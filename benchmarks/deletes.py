"""log_run beside a deletion of a million small runs, and without it, on SQLite."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from common import compare, report, scratch, set_up, significant

from runlog import Recorder

RUNS = 1_000_000
ROUNDS = 5
PAUSE = 0.002
"""Between two calls, so that each meets the deletion at another moment."""
ALONE_SECONDS = 3.0

FILL = """
WITH RECURSIVE numbers(n) AS (
    SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)
INSERT INTO workflow_runs
    (id, wpk_id, run_id, status, created_at, updated_at, outputs, revision)
SELECT printf('00000000-0000-7000-8000-%012d', n), 'old-' || (n % ?), n, 'completed',
    printf('2020-01-01T00:%02d:%02d.000000Z', n / 60 % 60, n % 60),
    '2020-01-01T00:00:00.000000Z', '{"answer": "a small one"}', 1
FROM numbers
"""


def fill(path: Path) -> None:
    """Make a file with the runs of all rounds."""
    with Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run({"wpk_id": "w", "run_id": "first", "status": "completed"})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(FILL, (RUNS, ROUNDS))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def log_until(recorder: Recorder, name: str, over: threading.Event) -> list[float]:
    """The durations of calls, in seconds, sorted."""
    taken: list[float] = []
    while not over.is_set():
        run = {"wpk_id": name, "run_id": str(len(taken)), "status": "completed"}
        start = time.perf_counter()
        recorder.log_run(run)
        taken.append(time.perf_counter() - start)
        time.sleep(PAUSE)
    return sorted(taken)


def at_percent(taken: list[float], percent: int) -> float:
    """A percentile, in microseconds."""
    return significant(taken[len(taken) * percent // 100] * 1e6)


def measure(recorder: Recorder, number: int) -> dict[str, dict[str, float]]:
    """A round: log_run alone, then beside the deletion of a part of the runs."""
    over = threading.Event()
    timer = threading.Timer(ALONE_SECONDS, over.set)
    timer.start()
    alone = log_until(recorder, f"alone-{number}", over)
    over = threading.Event()
    deleted: list[int] = []

    def delete() -> None:
        deleted.append(recorder.delete_runs(wpk_id=f"old-{number}"))
        over.set()

    start = time.perf_counter()
    thread = threading.Thread(target=delete, daemon=True)
    thread.start()
    beside = log_until(recorder, f"beside-{number}", over)
    thread.join()
    seconds = time.perf_counter() - start
    if deleted != [RUNS // ROUNDS]:
        raise SystemExit(f"deleted {deleted} runs")
    return {
        name: {
            "calls": len(taken),
            "p50_us": at_percent(taken, 50),
            "p99_us": at_percent(taken, 99),
            "max_us": significant(taken[-1] * 1e6),
            "deleted_a_second": significant(RUNS / ROUNDS / seconds),
        }
        for name, taken in (("alone", alone), ("beside", beside))
    }


def main() -> None:
    set_up()
    with scratch("deletes") as folder:
        path = folder / "runs.db"
        fill(path)
        with Recorder(sqlite_path=str(path)) as recorder:
            rounds = [measure(recorder, number) for number in range(ROUNDS)]
    claim = compare(
        "log_run, 99th percentile: beside a deletion / alone",
        [one["beside"]["p99_us"] for one in rounds],
        [one["alone"]["p99_us"] for one in rounds],
        2.0,
        "us",
    )
    report("deletes", [claim], {"rounds": rounds})


if __name__ == "__main__":
    main()
