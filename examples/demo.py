"""Records runs of a real graph with runlog, then prints the stored runs.

    python examples/demo.py [FOLDER]

The graph is that of repository_digest.py. The demo runs it four times:

1. over FOLDER, by default this repository;
2. over a small folder with a file that is still being written: LangGraph retries a node;
3. over a folder with a file that is not UTF-8: a node fails, and so does the run;
4. over FOLDER again, to measure the CPU time of the recorder.

Then it records a small history with a planted fault, by planted_fault.py, in a file that
is removed afterwards, and prints what runlog finds in it.

The runs go to the SQLite file RUNLOG_SQLITE_PATH, by default build/demo_runs.db of this
repository, or to PostgreSQL if POSTGRES_DSN is set. The exit code is 0 if everything that
happened was recorded and read back correctly.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import planted_fault
from langchain_core.callbacks import BaseCallbackHandler
from repository_digest import (
    NAME,
    TransientReadError,
    UnreadableFileError,
    build_graph,
    digest,
    request,
    settings,
)

import runlog
from runlog.hooks import RunLogHandler

if TYPE_CHECKING:
    from runlog._runlog import Run, RunSummary

REPOSITORY = Path(__file__).resolve().parent.parent
LATE_TEXT = Path(__file__).with_name("README.md")
NodeLog = dict[str, Any]


@dataclass
class Started:
    """A run that the demo started, and the values that the database must have for it."""

    title: str
    run_id: str
    status: str
    text: str | None = None
    error: str | None = None


@dataclass
class Cost:
    """The CPU seconds of a run, and the part of them that recording it took."""

    run: float
    recorder: float


class LateWriter(BaseCallbackHandler):
    """A program that is still writing a file when the graph reads it.

    The writer holds the file's lock, with half of the text written, until a read has
    failed. Then it writes the rest and releases the lock. So the first attempt always
    fails, for a real reason, and the second always finds the whole file.
    """

    run_inline = True

    def __init__(self, path: Path, text: str) -> None:
        self.rest = text[len(text) // 2 :]
        self.file = path.open("w", encoding="utf-8")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.file.write(text[: len(text) // 2])
        self.file.flush()

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        """Finish the file after a read of it has failed."""
        if isinstance(error, TransientReadError) and not self.file.closed:
            self.finish()

    def finish(self) -> None:
        """Write the rest and release the lock."""
        self.file.write(self.rest)
        self.file.close()


class Timed(BaseCallbackHandler):
    """Passes every event to the recorder, and measures the CPU time of each call."""

    run_inline = True

    def __init__(self, recorder: BaseCallbackHandler) -> None:
        self.recorder = recorder
        self.calls: list[float] = []

    def on_chain_start(self, *event: Any, **details: Any) -> None:
        """Time the start of a run or node."""
        start = time.thread_time()
        self.recorder.on_chain_start(*event, **details)
        self.calls.append(time.thread_time() - start)

    def on_chain_end(self, *event: Any, **details: Any) -> None:
        """Time the end of a run or node; the end of the run commits it."""
        start = time.thread_time()
        self.recorder.on_chain_end(*event, **details)
        self.calls.append(time.thread_time() - start)

    def on_chain_error(self, *event: Any, **details: Any) -> None:
        """Time the failure of a run or node."""
        start = time.thread_time()
        self.recorder.on_chain_error(*event, **details)
        self.calls.append(time.thread_time() - start)


# ---- The runs.


def run_folder(folder: Path) -> Started:
    """The main run: digest the folder."""
    run_id = uuid.uuid4()
    result = digest(folder, callbacks=[RunLogHandler()], run_id=run_id)
    return Started("the whole folder", str(run_id), "completed", result["text"])


def run_timed(folder: Path) -> tuple[Started, Cost]:
    """Repeat the main run, and measure the recorder's part of the CPU time."""
    run_id = uuid.uuid4()
    timed = Timed(RunLogHandler())
    start = time.process_time()
    result = digest(folder, callbacks=[timed], run_id=run_id)
    cost = Cost(time.process_time() - start, sum(timed.calls))
    return Started("the folder again", str(run_id), "completed", result["text"]), cost


async def run_while_written(folder: Path) -> Started:
    """Run the graph with ainvoke, over a folder with one unfinished file."""
    for path in sorted(REPOSITORY.glob("migrations/*.sql")):
        shutil.copy(path, folder)
    writer = LateWriter(folder / "late.md", LATE_TEXT.read_text(encoding="utf-8"))
    run_id = uuid.uuid4()
    config = settings([RunLogHandler(), writer], run_id)
    try:
        result = await build_graph().ainvoke(request(folder), config)
    finally:
        if not writer.file.closed:
            writer.finish()
    return Started("a file still being written", str(run_id), "completed", result["text"])


def run_broken(folder: Path) -> Started:
    """Run the graph in strict mode over a folder with a file in Latin-1: it fails."""
    (folder / "agenda.md").write_text("# Agenda\n\nThe café pays for itself.\n", "utf-8")
    (folder / "minutes.md").write_text("# Minutes\n\nThe café is closed.\n", "latin-1")
    run_id = uuid.uuid4()
    try:
        digest(folder, callbacks=[RunLogHandler()], run_id=run_id, strict=True)
    except UnreadableFileError as error:
        return Started("a broken file", str(run_id), "failed", error=str(error))
    raise SystemExit("demo: the run over a broken file did not fail")


# ---- The records. From here on, everything is read back from the database.


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def find(wanted: set[str]) -> dict[str, RunSummary]:
    """The wanted runs as list_runs returns them, page by page, newest first."""
    found: dict[str, RunSummary] = {}
    after: str | None = None
    for _ in range(100):
        page = runlog.list_runs(wpk_id=NAME, limit=100, after=after)
        found |= {run["run_id"]: run for run in page.runs if run["run_id"] in wanted}
        after = page.next
        if after is None or len(found) == len(wanted):
            break
    return found


def local_time(when: datetime | None) -> str:
    return when.astimezone().strftime("%H:%M:%S") if when else "-"


def print_runs() -> None:
    """Print the newest runs of the workflow, including those of earlier demos."""
    print(f"{'wpk_id':17} {'run_id':36} {'status':9} {'ms':>6} started")
    for run in runlog.list_runs(wpk_id=NAME, limit=8).runs:
        ms = "-" if run["duration_ms"] is None else str(run["duration_ms"])
        print(
            f"{run['wpk_id']:17} {run['run_id']:36} {run['status']:9} {ms:>6} "
            f"{local_time(run['started_at'])}"
        )


def file_of(log: NodeLog) -> str | None:
    """The file that a node of the fan-out worked on."""
    inputs = log.get("inputs")
    return inputs.get("path") if isinstance(inputs, dict) else None


def tree(logs: list[NodeLog]) -> Iterator[tuple[int, NodeLog]]:
    """(depth, log) of each node in the order of their starts, subgraphs below their node.

    A log names its parent; if several nodes have that name, the file identifies it.
    """
    children: dict[tuple[str | None, str | None], list[NodeLog]] = {}
    top = []
    for log in sorted(logs, key=lambda log: log["started_at"]):
        if log["parent"] is None:
            top.append(log)
        else:
            children.setdefault((log["parent"], file_of(log)), []).append(log)

    def below(siblings: list[NodeLog], depth: int) -> Iterator[tuple[int, NodeLog]]:
        for log in siblings:
            yield depth, log
            inner = children.pop((log["node"], file_of(log)), [])
            yield from below(inner, depth + 1)

    yield from below(top, 0)
    for orphans in children.values():
        yield from ((0, log) for log in orphans)


def print_nodes(run: Run) -> None:
    """Print each node of a run with its step, attempt, status and duration."""
    print(f"{'node':44} {'step':>4} {'attempt':>7}  {'status':11} {'ms':>8}")
    for depth, log in tree(run["node_logs"]):
        name = "  " * depth + log["node"]
        file = file_of(log)
        if depth == 0 and file is not None:
            name += f"  {file}"
        print(
            f"{name[:44]:44} {log['step']:>4} {log['attempt']:>7}  {log['status']:11} "
            f"{log['duration_ms']:>8.2f}"
        )
        if log["status"] == "failed":
            print_error(log, "  " * (depth + 2))


def print_error(log: NodeLog, indent: str) -> None:
    text = f"{log['error_type']}: {log['error_text']}"
    print(textwrap.fill(text, 80, initial_indent=indent, subsequent_indent=indent))


def print_summary(run: Run) -> None:
    """Print the nodes of a big run, one line for all nodes with the same name."""
    print(
        f"{'node':16} {'step':>6} {'times':>5}  {'status':9} {'median ms':>9} "
        f"{'longest':>8}  longest for"
    )
    groups: dict[tuple[str | None, str], list[NodeLog]] = {}
    for _, log in tree(run["node_logs"]):
        groups.setdefault((log["parent"], log["node"]), []).append(log)
    for (parent, node), logs in groups.items():
        name = f"  {node}" if parent else node
        steps = [log["step"] for log in logs]
        step = "-".join(str(step) for step in sorted({min(steps), max(steps)}))
        statuses = {log["status"] for log in logs}
        status = statuses.pop() if len(statuses) == 1 else "mixed"
        median = statistics.median(log["duration_ms"] for log in logs)
        longest = max(logs, key=lambda log: log["duration_ms"])
        line = (
            f"{name:16} {step:>6} {len(logs):>5}  "
            f"{status:9} {median:>9.2f} "
            f"{longest['duration_ms']:>8.2f}  {Path(file_of(longest) or '').name[:19]}"
        )
        print(line.rstrip())
    print("(The branches run side by side: a time includes waiting for the others.)")


def size_of(run: Run) -> int:
    """The bytes of a run's payloads as JSON."""
    return sum(
        len(json.dumps(payload, ensure_ascii=False).encode())
        for payload in (run["inputs"], run["outputs"], run["node_logs"])
    )


def count(run: Run, node: str, status: str) -> int:
    logs = run["node_logs"]
    return sum(log["node"] == node and log["status"] == status for log in logs)


def check(started: Started, listed: RunSummary | None, run: Run) -> list[str]:
    """The differences between the run that took place and its record."""
    wrong = []
    if listed is None or listed["status"] != started.status:
        wrong.append(f"listed as {listed and listed['status']}, not {started.status}")
    if run["status"] != started.status:
        wrong.append(f"stored as {run['status']}, not {started.status}")
    if started.text is not None and run["outputs"]["text"] != started.text:
        wrong.append("the stored text is not the one that the run returned")
    if started.error is not None and run["error_text"] != started.error:
        wrong.append(f"the stored error is {run['error_text']!r}, not {started.error!r}")
    if started.status == "completed":
        files, rounds = run["outputs"]["files"], run["outputs"]["rounds"]
        nodes = dict.fromkeys(("scan", "weigh", "report"), 1)
        nodes |= dict.fromkeys(("digest_file", "read", "split", "score", "pick"), files)
        nodes["refine"] = rounds
        for node, times in nodes.items():
            if count(run, node, "completed") != times:
                stored = count(run, node, "completed")
                wrong.append(f"node {node} completed {times} times, {stored} are stored")
    return [f"{started.title}: {what}" for what in wrong]


def check_retry(run: Run) -> list[str]:
    """Check that the unfinished file failed once and was then read as a whole."""
    reads = [
        log
        for _, log in tree(run["node_logs"])
        if log["node"] == "read" and file_of(log) == "late.md"
    ]
    attempts = [(log["attempt"], log["status"]) for log in reads]
    if attempts != [(1, "failed"), (2, "completed")]:
        return [f"a file still being written: it was read {attempts}"]
    if reads[-1]["outputs"]["text"] != LATE_TEXT.read_text(encoding="utf-8"):
        return ["a file still being written: the stored text is not the whole file"]
    return []


def check_failure(run: Run) -> list[str]:
    """Check that the failed node and the enclosing one have the error of the run."""
    failed = [log for log in run["node_logs"] if log["status"] == "failed"]
    names = sorted(log["node"] for log in failed)
    right = names == ["digest_file", "read"] and all(
        log["error_text"] == run["error_text"] for log in failed
    )
    return [] if right else [f"a broken file: failed nodes {names}"]


def print_closing(runs: list[Run], cost: Cost) -> None:
    """Print the size of the records, their cost, and a query to run next."""
    nodes = sum(len(run["node_logs"]) for run in runs)
    size = sum(size_of(run) for run in runs)
    print(
        f"Stored: {len(runs)} runs, {nodes} nodes, "
        f"{size / 1024:,.0f} KB of inputs and outputs."
    )
    each = cost.recorder / len(runs[-1]["node_logs"]) * 1e6
    print(
        f"Cost: {cost.recorder * 1e3:.1f} ms of the {cost.run * 1e3:.0f} ms of CPU that "
        f"the folder took, {each:.0f} us a node."
    )
    print("To look at the runs:")
    for line in next_lines():
        print(f"  {line}")


def next_lines() -> list[str]:
    """Return what a user may type next, in this folder."""
    command = shlex.quote(str(shown(Path(sys.executable).with_name("runlog"))))
    view = '"SELECT run_id, status FROM runs_v"'
    if os.environ.get("POSTGRES_DSN"):
        query = f'psql "$POSTGRES_DSN" -c {view}'
    else:
        path = shlex.quote(str(shown(Path(os.environ["RUNLOG_SQLITE_PATH"]))))
        command = f"{command} --db {path}"
        query = f"sqlite3 {path} {view}"
    return [
        f"{command} list",
        f"{command} show @failed",
        f"{command} stats",
        query,
        f"{command} serve  # and open http://127.0.0.1:7117/ in a browser",
    ]


def shown(path: Path) -> Path:
    """The path as a user would type it in this folder."""
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path


def choose_store() -> str:
    """Return the store's name: SQLite in build/, unless the environment names one."""
    os.environ.setdefault(
        "RUNLOG_SQLITE_PATH", str(REPOSITORY / "build" / "demo_runs.db")
    )
    path = Path(os.environ["RUNLOG_SQLITE_PATH"])
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.environ.get("POSTGRES_DSN"):
        return "PostgreSQL (POSTGRES_DSN)"
    return f"SQLite, {shown(path)}"


def demo(folder: Path) -> list[str]:
    """Run the graphs, print and check the records; return the faults."""
    print(f"Recording to {choose_store()}")
    whole = run_folder(folder)
    with tempfile.TemporaryDirectory(prefix="unfinished-") as temporary:
        unfinished = asyncio.run(run_while_written(Path(temporary)))
    with tempfile.TemporaryDirectory(prefix="broken-") as temporary:
        broken = run_broken(Path(temporary))
    again, cost = run_timed(folder)

    heading("The digest")
    print(whole.text)
    heading("The stored runs (the newest 8)")
    print_runs()
    started = [whole, unfinished, broken, again]
    listed = find({run.run_id for run in started})
    runs = []
    for one in started:
        run = runlog.get_run(one.run_id, NAME)
        if run is None:
            return [f"{one.title}: the run {one.run_id} is not stored"]
        runs.append(run)
    wrong = []
    for one, run in zip(started, runs, strict=True):
        wrong += check(one, listed.get(one.run_id), run)
    wrong += check_retry(runs[1]) + check_failure(runs[2])
    errors = runlog.stats().get("handler_errors")
    if errors:
        wrong.append(f"the handler counted {errors} errors")

    heading(f"{whole.title.capitalize()}: run {whole.run_id}")
    print_summary(runs[0])
    heading(f"{unfinished.title.capitalize()}: run {unfinished.run_id}")
    print_nodes(runs[1])
    heading(f"{broken.title.capitalize()}: run {broken.run_id}")
    print_nodes(runs[2])
    heading("A fault planted in another history: runlog insights")
    wrong += planted_fault.find()
    print()
    print_closing(runs, cost)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY)
    try:
        wrong = demo(parser.parse_args().folder)
    except (OSError, runlog.RunlogError) as error:
        wrong = [str(error)]
    for what in wrong:
        print(f"demo: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
