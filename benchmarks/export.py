"""runlog export and runlog import of small runs: time a run, and memory, on both stores.

A command is a process of its own, whose start is taken off: that of an export of one run.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import Claim, compare, report, scratch, set_up, significant
from pgserver import postgres

RUNS = 40_000
ROUNDS = 5
SLOWEST_US = 50.0
"""For each run: 20,000 runs a second."""
MOST_MB = 60.0
COMMAND = "import sys; from runlog.cli import main; sys.exit(main())"


def write_runs(path: Path) -> None:
    """Write the lines of runs with a node, of half a kilobyte each."""
    with path.open("w", encoding="ascii") as file:
        for number in range(RUNS):
            moment = f"2026-01-01T{number // 3600:02d}:{number // 60 % 60:02d}"
            log = {"node": "answer", "status": "completed", "inputs": {"q": number}}
            run = {
                "runlog": 1,
                "wpk_id": "small",
                "run_id": f"run-{number}",
                "status": "completed",
                "duration_ms": number % 1000,
                "thread_id": f"thread-{number % 100}",
                "created_at": f"{moment}:{number % 60:02d}Z",
                "inputs": {"question": f"What is {number}?"},
                "outputs": {"text": f"{number} is a number."},
                "node_logs": [{**log, "outputs": {"a": 1}, "duration_ms": 1.5}],
                "metadata": {"user": "u1", "tags": ["nightly"]},
            }
            file.write(json.dumps(run) + "\n")


def measure(*argv: str) -> dict[str, float]:
    """Wall and CPU seconds of a command, and its memory in MB."""
    start = time.perf_counter()
    with Path(os.devnull).open("wb") as null:
        child = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *argv], stdout=null, stderr=null
        )
        _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"runlog {argv} ended with status {child.returncode}")
    return {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "mb": significant(used.ru_maxrss / 1024),
    }


def measure_store(store: str, place: str, lines: Path) -> tuple[list[Claim], Any]:
    """The claims of a store, and its rounds."""
    taken = measure("import", str(lines), "--db", place)
    rounds = []
    for _ in range(ROUNDS):
        whole = measure("export", "--db", place)
        one = measure("export", "-n", "1", "--db", place)
        rounds.append({"whole": whole, "one": one})

    def per_run(side: str, what: str) -> list[float]:
        return [significant(one[side][what] / RUNS * 1e6) for one in rounds]

    times = [
        compare(
            f"export on {store}, {called} of a run",
            per_run("whole", what),
            per_run("one", what),
            SLOWEST_US,
            "us",
            relation="difference",
        )
        for what, called in (("wall", "time"), ("cpu", "CPU"))
    ]
    memory = compare(
        f"export on {store}, memory",
        [one["whole"]["mb"] for one in rounds],
        [0.0] * ROUNDS,
        MOST_MB,
        "MB",
        relation="difference",
    )
    notes = {
        "import_us": significant(taken["wall"] / RUNS * 1e6),
        "import_mb": taken["mb"],
    }
    return [*times, memory], {"rounds": rounds, **notes}


def main() -> None:
    set_up()
    claims: list[Claim] = []
    raw: dict[str, Any] = {}
    with scratch("export") as folder, postgres() as server:
        os.environ["RUNLOG_SQLITE_PATH"] = str(folder / "journal.db")
        lines = folder / "runs.jsonl"
        write_runs(lines)
        uri = f"postgresql://bench@/postgres?host={server.folder}&port=5432"
        for store, place in (("SQLite", str(folder / "runs.db")), ("PostgreSQL", uri)):
            made, raw[store] = measure_store(store, place, lines)
            claims += made
    report("export", claims, raw)


if __name__ == "__main__":
    main()
