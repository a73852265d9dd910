"""Benchmark: long runs, and many open runs.

The events are those that LangGraph sends, without LangGraph, so that nothing else grows.
Each part runs in a process of its own:

1. CPU time of a node: the last of 100,000 nodes of a run over the first.
2. Bytes that are written for a run of 50 MB while it is open, by checkpoints ten times
   as frequent as the default, over those of the same run when it is written once: to a
   SQLite file, to a PostgreSQL server, and to the journal while there is no server.
3. CPU time of a node with an unchanged text of 2 MB in the state over one of 64 KB.
4. 10,000 open runs with 64 KB of state each: memory, and CPU time of a node over that
   with ten open runs. All of them end as completed.
5. The most memory that get_run takes at a time, of a run of 10,000 steps that each add a
   message to the state, over the bytes of the run's text in the database.
"""

import json
import random
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import compare, cpu_seconds, report, scratch, set_up, significant
from pgserver import dsn, postgres
from relay import Relay

import runlog
from runlog.hooks import RunLogHandler

NODES = 100_000
BLOCK = 1_000
BLOCKS = 10
"""Blocks at either end that are compared."""
NODES_LIMIT = 1.1

MEGABYTES = 50
WRITTEN_LIMIT = 1.2

UNCHANGED_LIMIT = 1.5

OPEN = 10_000
FEW = 10
OPEN_NODES = 10_000
"""Nodes that are measured with many and with few open runs."""
OPEN_LIMIT_MB = 300.0
OPEN_COST_LIMIT = 1.3

STEPS = 10_000
READ_LIMIT = 3.0


def begin(handler: Any, inputs: Any) -> uuid.UUID:
    """The start of a graph."""
    root = uuid.uuid4()
    metadata = {"ls_integration": "langgraph"}
    handler.on_chain_start(
        {}, inputs, run_id=root, parent_run_id=None, metadata=metadata, name="long"
    )
    return root


def node(handler: Any, root: uuid.UUID, step: int, inputs: Any, outputs: Any) -> None:
    """The events of one node."""
    run_id = uuid.uuid4()
    metadata = {
        "ls_integration": "langgraph",
        "langgraph_checkpoint_ns": f"node:{step}",
        "langgraph_step": step,
    }
    handler.on_chain_start(
        {}, inputs, run_id=run_id, parent_run_id=root, metadata=metadata, name="node"
    )
    handler.on_chain_end(outputs, run_id=run_id, parent_run_id=root)


def recorded(folder: Path, name: str, **options: Any) -> runlog.Recorder:
    path = str(folder / f"{name}.db")
    return runlog.Recorder(sqlite_path=path, durability="journal", **options)


def measure_nodes(folder: Path) -> dict[str, Any]:
    """Microseconds of this thread for each block of nodes."""
    blocks = []
    with recorded(folder, "nodes") as recorder:
        handler: Any = RunLogHandler("long", recorder=recorder)
        root = begin(handler, {"n": 0})
        for block in range(NODES // BLOCK):
            start = time.thread_time()
            for n in range(block * BLOCK, (block + 1) * BLOCK):
                node(handler, root, n, {"n": n}, {"n": n + 1})
            blocks.append(significant((time.thread_time() - start) / BLOCK * 1e6))
        handler.on_chain_end({}, run_id=root)
        (run,) = recorder.list_runs().runs
    return {"us": blocks, "status": run["status"]}


def bytes_written() -> int:
    """Bytes that this process has written to files; not what it has sent to sockets."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


SIDES: dict[str, float | None] = {"open": 0.1, "once": None}
"""Seconds between checkpoints; None for none."""


FLUSH_SECONDS = 10.0
"""All of it passes if there is no server."""


def write_run(
    recorder: runlog.Recorder, interval: float | None, count: Callable[[], int]
) -> int:
    """Record a long run; return the bytes by `count` that it took while it was open."""
    handler: Any = RunLogHandler(
        "written", recorder=recorder, checkpoint_interval=interval
    )
    text = "x" * 999
    before = count()
    root = begin(handler, {"n": 0})
    for n in range(MEGABYTES):
        node(handler, root, n, {"n": n}, {"n": n, "items": [f"{n}{text}"] * 1_000})
        time.sleep(0.05)
    recorder.flush(FLUSH_SECONDS)
    written = count() - before
    handler.on_chain_end({}, run_id=root)
    recorder.flush(FLUSH_SECONDS)
    return written


def measure_sent(folder: Path) -> dict[str, Any]:
    """The same for a server: what is sent to it."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        between = Path(stack.enter_context(TemporaryDirectory()))
        relay = Relay(between, server.folder)
        found = {}
        for name, interval in SIDES.items():
            options = {"postgres_dsn": dsn(between), "postgres_timeout": 300}
            with recorded(folder, name, max_payload=2 << 20, **options) as recorder:
                recorder.list_runs()  # connects, and makes the tables
                before = relay.sent
                sent = write_run(recorder, interval, lambda: relay.sent)
            found[name] = sent if interval else relay.sent - before
    return found


def measure_written(folder: Path, **options: Any) -> dict[str, Any]:
    """Bytes with checkpoints and without."""
    found = {}
    for name, interval in SIDES.items():
        before = bytes_written()
        with recorded(folder, name, max_payload=2 << 20, **options) as recorder:
            found[name] = write_run(recorder, interval, bytes_written)
        if interval is None:  # with the checkpoint of SQLite, which copies all once more
            found[name] = bytes_written() - before
    return found


def measure_unchanged(folder: Path) -> dict[str, Any]:
    """Microseconds of this thread for each block, alternating between the two texts."""
    texts = {"small": "lorem ipsum é " * 4_600, "large": "lorem ipsum é " * 147_000}
    found: dict[str, list[float]] = {name: [] for name in texts}
    with recorded(folder, "unchanged") as recorder:
        handler: Any = RunLogHandler("unchanged", recorder=recorder)
        roots = {name: begin(handler, {"doc": text}) for name, text in texts.items()}
        for block in range(2 * BLOCKS):
            for name, text in texts.items():
                start = time.thread_time()
                for n in range(block * BLOCK, (block + 1) * BLOCK):
                    node(handler, roots[name], n, {"doc": text, "n": n}, {"n": n})
                found[name].append(
                    significant((time.thread_time() - start) / BLOCK * 1e6)
                )
        for root in roots.values():
            handler.on_chain_end({}, run_id=root)
    return {"us": found}


def resident_mb(field: str = "VmRSS") -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure_open(folder: Path, count: int) -> dict[str, Any]:
    """Memory and microseconds of a node with so many open runs."""
    pool = [random.Random(n).randbytes(20).hex() for n in range(count + 1_500)]
    before = resident_mb()
    spent = peak = 0.0
    with recorded(folder, f"open{count}") as recorder:
        handler: Any = RunLogHandler("open", recorder=recorder)
        roots = [
            begin(handler, {"n": 0, "items": pool[n : n + 1_500]}) for n in range(count)
        ]
        for step in range(OPEN_NODES):
            n = step % count
            inputs = {"n": step, "items": pool[n : n + 1_500]}
            start = time.thread_time()
            node(handler, roots[n], step, inputs, {"n": step})
            spent += time.thread_time() - start
            peak = max(peak, resident_mb()) if step % 500 == 0 else peak
        for root in roots:
            handler.on_chain_end({}, run_id=root)
        recorder.flush(600)
        stats = recorder.stats()
        kept = len(recorder.list_runs(status="completed", limit=10_000).runs)
    return {
        "us": significant(spent / OPEN_NODES * 1e6),
        "mb": significant(peak - before),
        "completed": kept,
        "dropped": stats["handler_dropped"],
        "spilled": stats["handler_spilled"],
    }


def growing() -> list[dict[str, Any]]:
    """Node logs of a state that grows by a message a step, as a handler stores them."""
    text = "lorem ipsum " * 50
    return [
        {
            "node": "step",
            "inputs_delta": {
                "since": step - 1 if step else None,
                "append": {"messages": [{"type": "ai", "content": f"{step} {text}"}]},
            },
            "outputs": {"messages": [{"type": "ai", "content": f"{step + 1} {text}"}]},
            "duration_ms": 0.5,
        }
        for step in range(STEPS)
    ]


def measure_read(folder: Path) -> dict[str, Any]:
    """Megabytes of a run's text, and of the memory that reading it takes at most."""
    with recorded(folder, "read") as recorder:
        run = {"wpk_id": "read", "status": "completed", "inputs": {"messages": []}}
        recorder.log_run(run | {"run_id": "warm", "node_logs": growing()[:2_000]})
        recorder.log_run(run | {"run_id": "long", "node_logs": growing()})
        recorder.get_run("warm")
        recorder.flush(60)  # the index of words has read both
        before = resident_mb()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
        logs = recorder.get_run("long")["node_logs"]  # type: ignore[index]
        peak = resident_mb("VmHWM")
        count = len(logs)
    with closing(sqlite3.connect(folder / "read.db")) as db:
        ((size,),) = db.execute("SELECT max(length(node_logs)) FROM workflow_runs")
    return {"logs": count, "text_mb": size / 1e6, "mb": (peak - before) * 1.048576}


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "nodes": measure_nodes,
    "written": measure_written,
    "sent": measure_sent,
    "journaled": lambda folder: measure_written(folder, postgres_dsn=dsn(folder)),
    "unchanged": measure_unchanged,
    "few": lambda folder: measure_open(folder, FEW),
    "many": lambda folder: measure_open(folder, OPEN),
    "read": measure_read,
}


WRITTEN = {
    "written": "written to SQLite",
    "sent": "sent to PostgreSQL",
    "journaled": "written to the journal",
}


def in_child(part: str, folder: Path) -> dict[str, Any]:
    """The result of one part, and the CPU time of its process."""
    command = [sys.executable, __file__, part, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    set_up()
    with scratch("length") as folder:
        found = {part: in_child(part, folder) for part in PARTS}
    us = found["nodes"]["us"]
    few, many = found["few"], found["many"]
    if many["completed"] != OPEN or many["dropped"] or few["completed"] != FEW:
        raise SystemExit(f"not every open run was stored whole: {many}, {few}")
    claims = [
        compare(
            f"CPU of a node: the last thousands of {NODES:,} / the first",
            us[-BLOCKS:],
            us[1 : BLOCKS + 1],
            NODES_LIMIT,
            "us",
        ),
        *(
            compare(
                f"bytes {what} for an open run of {MEGABYTES} MB / written once",
                [found[part]["open"]],
                [found[part]["once"]],
                WRITTEN_LIMIT,
                "B",
            )
            for part, what in WRITTEN.items()
        ),
        compare(
            "CPU of a node: an unchanged text of 2 MB in the state / of 64 KB",
            found["unchanged"]["us"]["large"],
            found["unchanged"]["us"]["small"],
            UNCHANGED_LIMIT,
            "us",
        ),
        compare(
            f"memory of {OPEN:,} open runs of 64 KB - none",
            [many["mb"]],
            [0.0],
            OPEN_LIMIT_MB,
            "MB",
            relation="difference",
        ),
        compare(
            f"CPU of a node: {OPEN:,} runs open / {FEW}",
            [many["us"]],
            [few["us"]],
            OPEN_COST_LIMIT,
            "us",
        ),
        compare(
            f"memory of get_run of {STEPS:,} growing steps / its text",
            [found["read"]["mb"]],
            [found["read"]["text_mb"]],
            READ_LIMIT,
            "MB",
        ),
    ]
    report("length", claims, {**found, "cpu_seconds": significant(cpu_seconds())})


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(PARTS[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main()
