"""log_run beside a deletion of many small runs, and without it, on SQLite.

    python benchmarks/deletes.py [--runs 1000000] [--rounds 5] [--prune]

--prune deletes as `runlog prune` does, which gives the space back on the way. Each round
deletes its part, and is measured against log_run alone just before it. Where other
processes have the processors, calls take longer on both sides: `p99_own_us` leaves out
for how long the calling thread waited for a processor.
"""

import argparse
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from common import compare, report, scratch, set_up, significant

from runlog import Recorder

BYTES = 700
"""A run takes about so many on the disk, with its indexes."""
MOST_BYTES = 2_000_000_000
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


def fill(path: Path, runs: int, rounds: int) -> None:
    """Make a file with the runs of all rounds."""
    with Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run({"wpk_id": "w", "run_id": "first", "status": "completed"})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(FILL, (runs, rounds))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def waited_for_cpu() -> float:
    """For how many seconds this thread has waited for a processor."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


Calls = list[tuple[float, float]]
"""Of each call the seconds that it took, and those without the waits for a processor."""


def log_until(recorder: Recorder, name: str, over: threading.Event) -> Calls:
    """Log runs, with pauses, until an event."""
    calls: Calls = []
    while not over.is_set():
        run = {"wpk_id": name, "run_id": str(len(calls)), "status": "completed"}
        waited = waited_for_cpu()
        start = time.perf_counter()
        recorder.log_run(run)
        taken = time.perf_counter() - start
        calls.append((taken, max(taken - (waited_for_cpu() - waited), 0.0)))
        time.sleep(PAUSE)
    return calls


def figures(calls: Calls, deleted: float) -> dict[str, float]:
    """What the calls of a part of a round took."""
    taken, own = (sorted(times) for times in zip(*calls, strict=True))
    return {
        "calls": len(calls),
        "p50_us": at_percent(taken, 50),
        "p99_us": at_percent(taken, 99),
        "p99_own_us": at_percent(own, 99),
        "max_us": significant(taken[-1] * 1e6),
        "deleted_a_second": significant(deleted),
    }


def at_percent(taken: list[float], percent: int) -> float:
    """A percentile, in microseconds."""
    return significant(taken[len(taken) * percent // 100] * 1e6)


def print_nothing(_: int) -> None:
    """Take the progress of a deletion."""


def measure(
    recorder: Recorder, number: int, runs: int, *, prune: bool
) -> dict[str, dict[str, float]]:
    """A round: log_run alone, then beside the deletion of a part of the runs."""
    over = threading.Event()
    timer = threading.Timer(ALONE_SECONDS, over.set)
    timer.start()
    alone = log_until(recorder, f"alone-{number}", over)
    over = threading.Event()
    deleted: list[int] = []

    def delete() -> None:
        part = f"old-{number}"
        if prune:
            deleted.append(recorder._prune(print_nothing, wpk_id=part)[0])  # noqa: SLF001
        else:
            deleted.append(recorder.delete_runs(wpk_id=part))
        over.set()

    start = time.perf_counter()
    thread = threading.Thread(target=delete, daemon=True)
    thread.start()
    beside = log_until(recorder, f"beside-{number}", over)
    thread.join()
    seconds = time.perf_counter() - start
    if deleted != [runs]:
        raise SystemExit(f"deleted {deleted} runs")
    return {"alone": figures(alone, 0), "beside": figures(beside, runs / seconds)}


def arguments() -> argparse.Namespace:
    """What is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000, help="of all rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prune", action="store_true", help="as runlog prune does")
    args = parser.parse_args()
    if args.runs * BYTES > MOST_BYTES:
        parser.error(f"--runs: at most {MOST_BYTES // BYTES:,}, which take 2 GB")
    args.runs -= args.runs % args.rounds
    return args


def main() -> None:
    args = arguments()
    set_up()
    with scratch("deletes") as folder:
        path = folder / "runs.db"
        fill(path, args.runs, args.rounds)
        with Recorder(sqlite_path=str(path)) as recorder:
            rounds = [
                measure(recorder, number, args.runs // args.rounds, prune=args.prune)
                for number in range(args.rounds)
            ]
        size = path.stat().st_size
    claims = [
        compare(
            f"log_run, 99th percentile{without}: beside a deletion / alone",
            [one["beside"][figure] for one in rounds],
            [one["alone"][figure] for one in rounds],
            2.0,
            "us",
        )
        for figure, without in (
            ("p99_us", ""),
            ("p99_own_us", " without waits for a processor"),
        )
    ]
    notes = {"runs": args.runs, "prune": args.prune, "file_bytes": size}
    report("deletes", claims, {"rounds": rounds}, notes=notes)


if __name__ == "__main__":
    main()
