"""The page: CPU of the server and bytes on the wire, for the list and for runs.

The server is a process of `runlog serve` on a SQLite file of 100,000 runs of one node.
The CPU is that of the process, so it leaves out the browser, and what else the machine
does.
"""

import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from common import Claim, compare, report, scratch, set_up, significant

import runlog

RUNS, COPIES = 1_000, 100
"""So many runs are recorded, and each is copied so often."""
ROUNDS = 5
REQUESTS = 20
BIG = (200, 1_000)
TICKS = os.sysconf("SC_CLK_TCK")
PAGES = {
    "list": ("", 50.0, 60.0),
    "list, filtered": ("?status=failed&workflow=w3", 50.0, 60.0),
    "run of 200 nodes": ("run?workflow=big&id=run-200", 250.0, 40.0),
    "run of 1,000 nodes": ("run?workflow=big&id=run-1000", 400.0, 120.0),
    "node of 1,000": ("node?workflow=big&id=run-1000&node=500", 250.0, 40.0),
}
"""For each page: its address, and the most ms of CPU and KB that it may take."""


def log(place: int) -> dict[str, Any]:
    """A node log with a state that grows."""
    said = [
        {"type": "human", "content": f"question {at}: " + "why is that so? " * 3}
        for at in range(place % 20)
    ]
    return {
        "node": f"node {place % 13}",
        "status": "completed",
        "step": place + 1,
        "attempt": 1,
        "started_at": f"2026-11-30T12:{place // 60 % 60:02d}:{place % 60:02d}Z",
        "duration_ms": 40 + place * 37 % 900,
        "inputs": {"messages": said, "n": place},
        "outputs": {"n": place * 7919 % 1000},
    }


COPY = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO workflow_runs (id, wpk_id, run_id, status, duration_ms, error_type,
        error_text, node_logs, started_at, created_at, updated_at)
    SELECT printf('00000000-0000-4000-8000-%012x', i * 100000 + workflow_runs.rowid),
        wpk_id, run_id || '-' || i, status, duration_ms, error_type, error_text,
        node_logs, started_at,
        strftime('%Y-%m-%dT%H:%M:%f000Z', created_at, '-' || i || ' minutes'), updated_at
    FROM workflow_runs, n WHERE wpk_id <> 'big'
"""


def fill(path: Path) -> None:
    """Record the runs, and copy those that are small."""
    options: dict[str, Any] = {"durability": "journal", "words": False}
    with runlog.Recorder(sqlite_path=str(path), **options) as recorder:
        for number in range(RUNS):
            failed = number % 10 == 0
            recorder.log_run(
                {
                    "wpk_id": f"w{number % 20}" if number % 7 else "w3",
                    "run_id": f"run-{number}",
                    "status": "failed" if failed else "completed",
                    "duration_ms": number % 1000,
                    "error_type": "KeyError" if failed else None,
                    "error_text": f"'price {number}'" if failed else None,
                    "node_logs": [log(1)],
                }
            )
        for nodes in BIG:
            recorder.log_run(
                {
                    "wpk_id": "big",
                    "run_id": f"run-{nodes}",
                    "status": "completed",
                    "started_at": "2026-11-30T12:00:00Z",
                    "node_logs": [log(place) for place in range(nodes)],
                }
            )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(COPY, (COPIES - 1,))
        connection.commit()


@contextmanager
def serving(path: Path) -> Iterator[tuple[str, int, float]]:
    """The address and the process id of the server, and its CPU until it listened."""
    program = Path(sys.executable).with_name("runlog")
    command = [str(program), "--db", str(path), "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        yield address, process.pid, cpu(process.pid)
        process.terminate()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> float:
    """The memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def get(address: str) -> int:
    """The bytes of a page as they are sent."""
    request = urllib.request.Request(address, headers={"Accept-Encoding": "gzip"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return len(answer.read())


def measure(address: str, pid: int) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU of a request for each page, and KB on the wire."""
    found = {}
    for name, (path, _, _) in PAGES.items():
        size = get(address + path)
        before, start = cpu(pid), time.perf_counter()
        for _ in range(REQUESTS):
            get(address + path)
        found[name] = {
            "cpu_ms": significant((cpu(pid) - before) / REQUESTS * 1e3),
            "wall_ms": significant((time.perf_counter() - start) / REQUESTS * 1e3),
            "kb": significant(size / 1e3),
        }
    return found


def main() -> None:
    set_up()
    rounds = []
    with scratch("page") as folder:
        path = folder / "runs.db"
        fill(path)
        for _ in range(ROUNDS):
            with serving(path) as (address, pid, listening):
                pages = measure(address, pid)
                rounds.append(
                    {"pages": pages, "listening_s": listening, "mb": memory(pid)}
                )

    def claim(name: str, ours: list[float], limit: float, unit: str) -> Claim:
        return compare(name, ours, [0.0] * len(ours), limit, unit, relation="difference")

    claims = []
    for name, (_, most_ms, most_kb) in PAGES.items():
        for what, limit, unit in (("cpu_ms", most_ms, "ms"), ("kb", most_kb, "KB")):
            ours = [one["pages"][name][what] for one in rounds]  # type: ignore[index]
            called = "CPU of the server" if unit == "ms" else "on the wire"
            claims.append(claim(f"{name}, {called}", ours, limit, unit))
    times = [significant(one["listening_s"]) for one in rounds]  # type: ignore[arg-type]
    claims.append(claim("CPU until the server listens", times, 0.6, "s"))
    memories = [significant(one["mb"]) for one in rounds]  # type: ignore[arg-type]
    claims.append(claim("memory of the server", memories, 70.0, "MB"))
    report("page", claims, json.loads(json.dumps({"rounds": rounds})))


if __name__ == "__main__":
    main()
