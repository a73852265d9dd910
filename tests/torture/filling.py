"""Programs whose disk is full, read-only, or loses its files. See test_disks.py."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torture.child import acknowledge, log, run

import runlog

LIMIT = 700_000
"""Bytes of a file that is full; the empty tables take some 100,000 of them."""
FILLER = "filler"
JOURNAL = Path(os.environ["RUNLOG_SQLITE_PATH"])


def limit_files() -> Callable[[], None]:
    """Let no file grow beyond LIMIT; return what lifts that. Python ignores SIGXFSZ."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def fill_disk() -> Callable[[], None]:
    """A file takes what the small file system has but LIMIT; returns what removes it."""
    filler = JOURNAL.parent / FILLER
    free = os.statvfs(JOURNAL.parent)
    filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - LIMIT))
    return filler.unlink


def narrow(kind: str) -> Callable[[], None]:
    return limit_files() if kind == "limit" else fill_disk()


class Errors:
    """What log_run raises, and the runs that it takes between that."""

    def __init__(self) -> None:
        self.raised: list[runlog.StoreError] = []
        self.count = 0

    def try_one(self, size: int) -> bool:
        self.count += 1
        try:
            acknowledge(
                runlog.log_run(run(f"f{self.count}", outputs={"text": "z" * size}))
            )
        except runlog.StoreError as error:
            self.raised.append(error)
            return False
        return True

    def fill(self) -> None:
        """Log until not even a small run is taken."""
        for size in (8000, 1000, 0):
            tries = 0
            while self.try_one(size):
                tries += 1
                assert tries < 10_000, "there is room without an end"
        for _ in range(5):
            self.try_one(0)

    def summaries(self) -> list[list[Any]]:
        return [[str(e), e.sqlstate, e.retryable] for e in self.raised]


def save(to: str) -> None:
    """A small file system goes away with its program."""
    runlog.close()
    for suffix in ("", "-wal"):
        path = Path(f"{JOURNAL}{suffix}")
        if path.exists() and str(path) != to + suffix:
            shutil.copy(path, to + suffix)


def full(kind: str, to: str) -> None:
    """The disk is full, and then it is not."""
    widen = narrow(kind)
    errors = Errors()
    errors.fill()
    failed = runlog.stats()["failed"]
    widen()
    log(runlog, "again", 20)
    result = {
        "errors": errors.summaries(),
        "failed": failed,
        "logged": errors.count - failed,
    }
    save(to)
    print(json.dumps(result))


def full_to_the_end(kind: str, to: str) -> None:
    """The program ends with a full disk."""
    narrow(kind)
    errors = Errors()
    errors.fill()
    runlog.close()
    print(json.dumps({"errors": errors.summaries()}))


class Records(logging.Handler):
    """What is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.levelname}: {record.getMessage()}")


def graphs(kind: str, to: str) -> None:
    """Graphs run on with a full disk; and are kept again when there is room."""
    from torture.graphs import add, make_graph

    from runlog.hooks import RunLogHandler

    records = Records()
    logging.getLogger("runlog").addHandler(records)
    graph = make_graph(add("node"))
    config = {"callbacks": [RunLogHandler(wpk_id="graph")]}

    def invoke() -> bool:
        result = graph.invoke({"seen": []}, config=config)
        return bool(result["seen"] == ["begin", "node", "end"])

    well = [invoke()]
    widen = narrow(kind)
    Errors().fill()
    before = len(records.texts)
    well += [invoke() for _ in range(5)]
    errors = runlog.stats()["handler_errors"]
    texts = records.texts[before:]
    widen()
    well += [invoke() for _ in range(2)]
    result = {
        "well": well,
        "errors": errors,
        "errors_at_last": runlog.stats()["handler_errors"],
        "texts": texts,
    }
    save(to)
    print(json.dumps(result))


def server_is_up(kind: str, to: str) -> None:
    """With a server, nobody needs the local disk."""
    from torture.graphs import add, make_graph

    from runlog.hooks import RunLogHandler

    Path(JOURNAL.parent / "other").write_bytes(b"x")
    if kind == "limit":
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    else:
        become_other()
    log(runlog, "r", 5)
    graph = make_graph(add("node"))
    for number in range(5):
        config = {"callbacks": [RunLogHandler(wpk_id=f"graph{number}")]}
        graph.invoke({"seen": []}, config=config)
    print(json.dumps(runlog.stats()["handler_errors"]))


def become_other() -> None:
    """Root may write anywhere: go on as another user, who may read only."""
    if os.getuid() == 0:
        os.seteuid(int(os.environ["OTHER_USER"]))


def read_only(what: str) -> None:
    """The folder or the file is read-only, and then it is not."""
    folder = JOURNAL.parent
    if what == "file":
        log(runlog, "first", 1)
        if os.environ.get("POSTGRES_DSN"):  # whatever waits stays
            assert runlog.stats()["waiting"] == 1
        runlog.close()
        JOURNAL.chmod(0o444)
    else:
        runlog.Recorder().close()
    folder.chmod(0o555)
    become_other()
    errors = Errors()
    for _ in range(3):
        errors.try_one(10)
    os.seteuid(os.getuid())
    folder.chmod(0o755)
    if what == "file":
        JOURNAL.chmod(0o644)
    log(runlog, "again", 3)
    print(json.dumps(errors.summaries()))


def until_logged(name: str) -> None:
    """Threads log until standard input ends; then all has to be forwarded."""
    records = Records()
    logging.getLogger("runlog").addHandler(records)
    stop = threading.Event()

    def work(thread: int) -> None:
        number = 0
        while not stop.is_set():
            acknowledge(runlog.log_run(run(f"{name}-{thread}-{number}")))
            number += 1

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    stop.set()
    for thread in threads:
        thread.join()
    flushed = runlog.flush(60)
    print(json.dumps({"flushed": flushed, "texts": records.texts}))


def quiet(name: str) -> None:
    """Log some, and nothing more before standard input ends."""
    records = Records()
    logging.getLogger("runlog").addHandler(records)
    log(runlog, name, 30)
    print("logged", flush=True)
    sys.stdin.readline()
    result = {
        "flushed": runlog.flush(60),
        "stats": runlog.stats(),
        "texts": records.texts,
    }
    print(json.dumps(result))


def newer_after_fork() -> None:
    """The tables belong to a newer version by the time of a fork."""
    log(runlog, "first", 1)
    print("logged", flush=True)
    sys.stdin.readline()
    pid = os.fork()
    try:
        log(runlog, f"pid{pid > 0}", 1)
        text = "it was taken"
    except runlog.StoreError as error:
        text = str(error)
    if not pid:
        print(json.dumps(text), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print(json.dumps(text), flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
