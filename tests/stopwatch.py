"""Times that busy neighbours do not lengthen, for bounds that are promises.

Linux counts for how long each thread has been ready to run while others had the
processors. That is not the program's doing, so it is taken off. Where nobody counts,
a time is as a clock has it.
"""

from __future__ import annotations

import time
from pathlib import Path


def waited_for_cpu(task: Path | str) -> float:
    """For how many seconds a task has waited for a processor: a folder below /proc."""
    path = Path("/proc", task, "schedstat")
    try:
        return int(path.read_text().split()[1]) / 1e9
    except (FileNotFoundError, ProcessLookupError):  # no Linux, or the task has ended
        return 0.0


class Stopwatch:
    """The time since it was made, as it would have been with processors to spare."""

    def __init__(self) -> None:
        self._waited = self._wait_of_threads()
        self._begun = time.monotonic()

    @staticmethod
    def _wait_of_threads() -> dict[str, float]:
        tasks = Path("/proc/self/task").glob("*")
        return {task.name: waited_for_cpu(task) for task in tasks}

    @property
    def seconds(self) -> float:
        """What a clock says, less the waits of this process's threads for a processor.

        A thread that ends while they are read has waited for 0 seconds, it seems.
        """
        passed = time.monotonic() - self._begun
        waits = self._wait_of_threads().items()
        return passed - sum(
            max(wait - self._waited.get(name, 0.0), 0.0) for name, wait in waits
        )
