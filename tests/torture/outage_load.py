"""A program at full speed that measures itself: latency of log_run, and its own memory.

usage: outage_load.py TIMEOUT

The settings come from the environment. For each line of its standard input it logs runs
for a quarter of a second, and prints a line of JSON. When the input ends it flushes (for
TIMEOUT seconds at most) and prints what it has done in all.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import runlog

WINDOW = 0.25


def rss() -> int:
    """Bytes of memory in use; where that is not told, the most there ever were."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(count: int) -> tuple[int, dict[str, Any]]:
    """Log runs for a window's time, numbered from count on."""
    took: list[float] = []
    now = start = time.perf_counter()
    while now < start + WINDOW:
        runlog.log_run(
            {
                "wpk_id": "load",
                "run_id": str(count),
                "status": "completed",
                "inputs": {"text": "x" * 500},
                "outputs": {"n": count},
            }
        )
        count += 1
        before, now = now, time.perf_counter()
        took.append(now - before)
    took.sort()
    return count, {
        "runs": len(took),
        "p50": took[len(took) // 2] * 1e3,
        "p99": took[len(took) * 99 // 100] * 1e3,
        "max": took[-1] * 1e3,
        "rss": rss(),
        "server": runlog.stats()["server"],
    }


def main() -> None:
    """Measure as often as asked for."""
    count = 0
    for _ in sys.stdin:
        count, window = measure(count)
        print(json.dumps(window), flush=True)
    start = time.perf_counter()
    flushed = runlog.flush(float(sys.argv[1]))
    seconds = time.perf_counter() - start
    stats = runlog.stats()
    print(json.dumps({"logged": count, "flushed": flushed, "seconds": seconds} | stats))


main()
