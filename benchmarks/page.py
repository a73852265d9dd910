"""The page: CPU of the server and bytes on the wire, for the list and for runs.

The server is a process of `runlog serve` on a SQLite file of runs of one node. The CPU is
that of the process, so it leaves out the browser, and what else the machine does.

Then a program records beside its own page: `log_run` is measured with ten open tabs and
without, in turns.

Arguments: how many runs the file has (100000), a multiple of a thousand.
"""

import contextlib
import json
import os
import resource
import selectors
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn
from common import Claim, alternate, compare, report, scratch, set_up, significant

import runlog
from runlog.web import app

RECORDED = 1_000
"""So many runs are recorded, and copied until there are enough."""
ROUNDS = 5
REQUESTS = 20
BIG = (200, 1_000)
TICKS = os.sysconf("SC_CLK_TCK")
PAGES = {
    "list": ("", 50.0, 60.0),
    "list, old": ("?after={middle}", 50.0, 60.0),
    "list, filtered": ("?status=failed&workflow=w3", 50.0, 60.0),
    "run of 200 nodes": ("run?workflow=big&id=run-200", 250.0, 40.0),
    "run of 1,000 nodes": ("run?workflow=big&id=run-1000", 400.0, 120.0),
    "workflows": ("workflow", 100.0, 60.0),
    "node of 1,000": ("node?workflow=big&id=run-1000&node=500", 250.0, 40.0),
}
"""For each page: its address, and the most ms of CPU and KB that it may take. {middle}
stands for the cursor behind half of the runs."""


TABS = 10
CALLS = 1_500
"""Calls of log_run in a turn, a millisecond apart: some looks of the page for news."""
SLOWER = 1.05
"""What a call may take with open tabs, over what it takes without."""


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


def fill(path: Path, runs: int) -> str:
    """Record some runs, copy the small ones, and return the cursor of the middle."""
    options: dict[str, Any] = {"durability": "journal", "words": False}
    with runlog.Recorder(sqlite_path=str(path), **options) as recorder:
        for number in range(RECORDED):
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
        if runs > RECORDED:
            connection.execute(COPY, (runs // RECORDED - 1,))
        connection.commit()
        ordered = (
            "SELECT created_at, id FROM workflow_runs ORDER BY created_at DESC, id DESC"
        )
        middle = connection.execute(f"{ordered} LIMIT 1 OFFSET {runs // 2}").fetchone()
    return quote("~".join(middle))


@contextmanager
def serving(path: Path) -> Iterator[tuple[str, int, float]]:
    """The address and the process id of the server, and its CPU until it listened."""
    program = Path(sys.executable).with_name("runlog")
    command = [str(program), "--db", str(path), "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().split()[-1]
            yield address, process.pid, cpu(process.pid)
        finally:
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


def measure(address: str, pid: int, middle: str) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU of a request for each page, and KB on the wire."""
    found = {}
    for name, (path, _, _) in PAGES.items():
        page = address + path.format(middle=middle)
        size = get(page)
        before, start = cpu(pid), time.perf_counter()
        for _ in range(REQUESTS):
            get(page)
        found[name] = {
            "cpu_ms": significant((cpu(pid) - before) / REQUESTS * 1e3),
            "wall_ms": significant((time.perf_counter() - start) / REQUESTS * 1e3),
            "kb": significant(size / 1e3),
        }
    return found


@contextmanager
def tabs(port: int) -> Iterator[None]:
    """Ten browsers that listen to what is new: another process."""
    command = [sys.executable, __file__, "--listen", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()  # all are answered
            yield
        finally:
            process.terminate()


def listen(port: int) -> None:
    """Open the tabs, say so, and read until the process is ended."""
    request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with selectors.DefaultSelector() as ready:
        for _ in range(TABS):
            one = socket.create_connection(("127.0.0.1", port))
            one.sendall(request)
            one.recv(65_536)
            ready.register(one, selectors.EVENT_READ, one)
        print("open", flush=True)
        while True:
            for key, _ in ready.select():
                key.data.recv(65_536)


def record(recorder: runlog.Recorder, name: str) -> tuple[float, float]:
    """Microseconds of CPU of a log_run, and the wall time that 99 % do not exceed."""
    run = {"wpk_id": "beside", "status": "completed", "node_logs": [log(7)]}
    spent, waited = 0.0, []
    for number in range(CALLS):
        cpu_before, before = time.thread_time(), time.perf_counter()
        recorder.log_run({**run, "run_id": f"{name}-{number}"})
        waited.append(time.perf_counter() - before)
        spent += time.thread_time() - cpu_before
        time.sleep(0.001)
    return spent / CALLS * 1e6, sorted(waited)[CALLS * 99 // 100] * 1e6


def beside(folder: Path) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """log_run in the process of a page, with open tabs and without."""
    waits: dict[str, list[float]] = {"tabs": [], "none": []}
    with runlog.Recorder(sqlite_path=str(folder / "own.db")) as recorder:
        config = uvicorn.Config(app(recorder), port=0, http="h11", log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]

        def turn(name: str, number: int) -> float:
            with tabs(port) if name == "tabs" else contextlib.nullcontext():
                spent, wait = record(recorder, f"{name}-{number}")
            waits[name].append(significant(wait))
            return spent

        spent = alternate(("tabs", "none"), turn, ROUNDS, 300)
        server.should_exit = True
        thread.join()
    return spent, waits


def main() -> None:
    set_up()
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rounds = []
    with scratch("page") as folder:
        path = folder / "runs.db"
        middle = fill(path, runs)
        spent, waits = beside(folder)
        for _ in range(ROUNDS):
            with serving(path) as (address, pid, listening):
                pages = measure(address, pid, middle)
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
    claims += [
        compare(
            f"log_run {what} beside {TABS} tabs / without",
            one["tabs"],
            one["none"],
            limit,
            "us",
        )
        for what, one, limit in (("CPU", spent, SLOWER), ("p99", waits, 1.2))
    ]
    raw = {"rounds": rounds, "log_run_cpu_us": spent, "log_run_p99_us": waits}
    report("page", claims, json.loads(json.dumps(raw)), notes={"runs": runs})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--listen"]:
        listen(int(sys.argv[2]))
    else:
        main()
