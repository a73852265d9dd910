"""What the benchmarks of both stores do with a recorder: the records, and the threads."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import corpus
from common import cpu_seconds, significant

from runlog._runlog import Recorder

Record = dict[str, Any]


def run_records(count: int, prefix: str = "run") -> list[Record]:
    """So many records from the corpus, each with a run_id of its own."""
    base = corpus.records()
    return [{**base[i % len(base)], "run_id": f"{prefix}-{i:07d}"} for i in range(count)]


def rows_a_second(
    recorder: Recorder, records: Sequence[Record], threads: int, seconds: float
) -> dict[str, Any]:
    """Let so many threads log the records, shared out beforehand."""
    ready = threading.Barrier(threads + 1)
    done = [0] * threads

    def work(number: int) -> None:
        mine = records[number::threads]
        ready.wait()
        deadline = time.monotonic() + seconds
        for record in mine:
            if time.monotonic() > deadline:
                break
            recorder.log_run(record)
            done[number] += 1

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    cpu = cpu_seconds()
    ready.wait()
    wall = time.monotonic()
    for worker in workers:
        worker.join()
    spent = time.monotonic() - wall
    rows = sum(done)
    if rows == 0:
        raise SystemExit("no thread logged a row")
    return {
        "rows": rows,
        "rows_a_second": significant(rows / spent),
        "cpu_us_a_row": significant((cpu_seconds() - cpu) / rows * 1e6),
    }
