"""Programs in which something else uses runlog's SQLite file. See test_other_sqlite.py.

Each takes the name of a function below and its arguments, prints the runs it has logged,
and kills itself.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import runlog


def log(name: str, count: int) -> None:
    """Log runs, and acknowledge each as soon as it is one."""
    for number in range(count):
        run = {"wpk_id": "w", "run_id": f"{name}-{number}", "status": "completed"}
        print(runlog.log_run(run | {"outputs": "o" * 300}), flush=True)


def connect(module: str, path: str) -> Any:
    """A connection that commits each statement, and waits for locks."""
    if module == "apsw":
        apsw: Any = importlib.import_module(module)
        connection = apsw.Connection(path)
        connection.set_busy_timeout(60000)
        return connection
    return importlib.import_module(module).connect(
        path, timeout=60, isolation_level=None, check_same_thread=False
    )


def query(connection: Any, sql: str) -> list[Any]:
    return list(connection.execute(sql))


def meddle(how: str, path: str) -> None:
    """Use the file in one of the ways that drop the POSIX locks of this process."""
    for suffix in ("", "-wal", "-shm"):
        if how == "plain":
            Path(path + suffix).open("rb").close()
        elif how == "read":
            Path(path + suffix).read_bytes()
        elif how == "append":
            os.close(os.open(path + suffix, os.O_RDWR | os.O_APPEND))
        elif how == "copy":
            shutil.copy(path + suffix, path + suffix + ".copy")
        elif suffix == "":
            with closing(connect(how, path)) as connection:
                query(connection, "SELECT count(*) FROM sqlite_schema")


def another_process(path: str, sql: str = "SELECT count(*) FROM sqlite_schema") -> str:
    """Another process runs a statement and closes; returns "" or its error."""
    code = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
        "try: list(c.execute(sys.argv[2]))\n"
        "except sqlite3.Error as error: print(error)\n"
        "c.close()\n"
    )
    reading, writing = os.pipe()
    moved = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_CLOSE, reading)]
    command = [sys.executable, "-c", code, path, sql]
    pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=moved)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answer:
        text = answer.read().strip()
    os.waitpid(pid, 0)
    return text


def wal_of(path: str) -> int:
    return Path(path + "-wal").stat().st_ino


def once(how: str, path: str) -> None:
    """The file is used in the middle, and afterwards another process closes it."""
    log("first", 20)
    before = wal_of(path)
    meddle(how, path)
    another_process(path)
    assert wal_of(path) == before, "the WAL was deleted"
    log("second", 20)


def often(how: str, path: str, name: str) -> None:
    """Threads log while another uses the file, and writes to it if it has a SQLite."""
    done = threading.Event()
    log(f"{name}-start", 1)

    def keep_on() -> None:
        rows = 0
        while not done.is_set():
            meddle(how, path)
            if how in ("pysqlite3", "apsw"):
                with closing(connect(how, path)) as connection:
                    query(connection, f"INSERT INTO theirs VALUES ('{name}-{rows}')")
                rows += 1
            done.wait(0.01)
        print(f"theirs {rows}", flush=True)

    other = threading.Thread(target=keep_on)
    other.start()
    log(name, 1500)
    done.set()
    other.join()


def write_lock(module: str, path: str) -> None:
    """The other SQLite's transaction and runlog's exclude each other; forks, a fork's
    child and closing leave it its locks."""
    log("first", 1)
    second = runlog.Recorder(sqlite_path=path)
    second.list_runs()
    with closing(connect(module, path)) as theirs:
        query(theirs, "BEGIN IMMEDIATE")
        query(theirs, "INSERT INTO theirs VALUES ('held')")
        log("beside", 3)
        assert runlog.stats()["beside"] == 3, runlog.stats()
        for number in range(3):
            in_child(partial(log, f"child{number}", 2))
            assert "locked" in another_process(path, "BEGIN IMMEDIATE"), "after a fork"
        second.close(0)
        assert "locked" in another_process(path, "BEGIN IMMEDIATE"), "after closing"
        log("again", 2)
        query(theirs, "COMMIT")
    assert runlog.flush(60)
    log("last", 2)


def in_child(work: Callable[[], object]) -> None:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        work()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def forks(how: str, path: str) -> None:
    """Parent and children record, and each uses the file."""
    log("first", 1)
    theirs = connect("pysqlite3", path)
    query(theirs, "SELECT count(*) FROM sqlite_schema")

    def child(number: int) -> None:
        log(f"child{number}", 5)
        meddle(how, path)
        log(f"child{number}-more", 5)

    for number in range(10):
        in_child(partial(child, number))
        meddle(how, path)
        log(f"parent{number}", 5)
        query(theirs, f"INSERT INTO theirs VALUES ('{number}')")


def snapshot(module: str, path: str) -> None:
    """The other SQLite's reader sees what it saw first, whatever runlog writes."""
    log("first", 10)
    with closing(connect(module, path)) as theirs:
        query(theirs, "BEGIN")
        seen = query(theirs, "SELECT run_id FROM workflow_runs ORDER BY 1")
        log("more", 3000)
        assert query(theirs, "SELECT run_id FROM workflow_runs ORDER BY 1") == seen
        query(theirs, "COMMIT")
        assert runlog.flush()  # what was beside the file, while the index of words grew
        assert query(theirs, "SELECT count(*) FROM workflow_runs") == [(3010,)]
        assert query(theirs, "PRAGMA integrity_check") == [("ok",)]


def descriptors(module: str, path: str) -> None:
    """A recorder that closes leaves no descriptor, once the other SQLite is closed."""
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.list_runs()
        theirs = connect(module, path)
        query(theirs, "SELECT count(*) FROM workflow_runs")
    theirs.close()
    for _ in range(2):
        with runlog.Recorder(sqlite_path=path) as recorder:
            recorder.list_runs()
    links = [str(fd.resolve()) for fd in Path("/proc/self/fd").iterdir()]
    assert [link for link in links if link.startswith(path)] == []


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
    os.kill(os.getpid(), signal.SIGKILL)
