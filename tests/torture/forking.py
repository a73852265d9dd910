"""Programs that fork while runlog is in use. See test_forks.py."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import json
import logging
import multiprocessing
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torture.child import (
    BOUND,
    acknowledge,
    busy,
    fork,
    log,
    note_exit,
    run,
    wait_for,
)

import runlog


def loggers(recorder: Any, count: int) -> list[Callable[[int], object]]:
    """Works that log runs and acknowledge them."""

    def make(name: str) -> Callable[[int], object]:
        return lambda n: acknowledge(recorder.log_run(run(f"{name}-{n}")))

    return [make(f"t{number}") for number in range(count)]


def everything(recorder: Any) -> list[Callable[[int], object]]:
    """Works that use all of a recorder at once."""

    def commit(number: int) -> None:
        acknowledge(recorder.commit(recorder.prepare(run(f"p-{number}"))))

    return [
        *loggers(recorder, 3),
        commit,
        lambda _: recorder.list_runs(limit=5),
        lambda _: recorder.get_run("first-0"),
        lambda _: recorder.flush(0.01),
        lambda _: recorder.stats(),
    ]


def child_work(recorder: Any, name: str) -> None:
    """What a child does: write, read, wait."""
    log(recorder, name, 3)
    assert recorder.get_run(f"{name}-2")["status"] == "completed"
    assert recorder.flush(30)


def under_load(rounds: str) -> None:
    """Fork again and again while threads use all of the recorder."""
    recorder = runlog.Recorder()
    log(recorder, "first", 1)
    with busy(*everything(recorder)):
        for number in range(int(rounds)):
            wait_for(fork(partial(child_work, recorder, f"c{number}")))
            log(recorder, f"m{number}", 1)
    log(recorder, "last", 1)


def under_load_away(rounds: str) -> None:
    """The same without the server: nothing can be read then, and flush waits in vain."""
    log(runlog, "first", 1)
    works = [*loggers(runlog, 3), lambda _: runlog.flush(0.01), lambda _: runlog.stats()]
    with busy(*works):
        for number in range(int(rounds)):
            wait_for(fork(partial(log, runlog, f"c{number}", 3)))
            log(runlog, f"m{number}", 1)


def threads_that_fork(rounds: str) -> None:
    """Several threads fork at once, beside those that log."""
    log(runlog, "first", 1)

    def work(name: str) -> None:
        for number in range(int(rounds)):
            wait_for(fork(partial(child_work, runlog, f"{name}-{number}")))
            log(runlog, f"after-{name}-{number}", 1)

    with busy(*loggers(runlog, 2)):
        threads = [threading.Thread(target=work, args=(f"f{n}",)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def beside_other_clients(rounds: str) -> None:
    """Other threads are inside of Python's sqlite3 and of psycopg at the fork."""
    log(runlog, "first", 1)

    def use_sqlite(number: int) -> None:
        connection = sqlite3.connect(f"other{number % 2}.db")
        connection.execute("CREATE TABLE IF NOT EXISTS t (x TEXT)")
        connection.executemany(
            "INSERT INTO t VALUES (?)", [(f"{'y' * 300}{n}",) for n in range(50)]
        )
        connection.execute("SELECT x, count(*) FROM t GROUP BY x ORDER BY x").fetchall()
        connection.execute("DELETE FROM t")
        connection.commit()
        connection.close()

    def use_memory(number: int) -> None:
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY, y TEXT)")
        rows = [(n, str(n) * 20) for n in range(200)]
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        connection.execute("SELECT * FROM t ORDER BY y").fetchall()
        connection.close()

    works: list[Callable[[int], object]] = [use_sqlite, use_memory, use_memory]
    if dsn := os.environ.get("POSTGRES_DSN"):
        import psycopg

        def use_psycopg(number: int) -> None:
            with psycopg.connect(dsn) as connection:
                connection.execute("SELECT count(*) FROM pg_class").fetchall()

        works.append(use_psycopg)
    with busy(*works, *loggers(runlog, 1)):
        for number in range(int(rounds)):
            wait_for(fork(partial(child_work, runlog, f"c{number}")))


def while_it_is_made(rounds: str) -> None:
    """Another thread makes and closes the module's recorder at the fork."""

    def make(number: int) -> None:
        with contextlib.suppress(runlog.ClosedError):  # by the other thread
            acknowledge(runlog.log_run(run(f"t-{number}")))

    with busy(make, lambda _: runlog.close(), lambda _: runlog.configure()):
        for number in range(int(rounds)):
            wait_for(fork(partial(log, runlog, f"c{number}", 2)))


def while_it_is_closed(rounds: str) -> None:
    """Another thread closes a recorder at the fork, which the child may use."""
    for number in range(int(rounds)):
        recorder = runlog.Recorder()
        log(recorder, f"first{number}", 1)

        def child(recorder: Any = recorder, number: int = number) -> None:
            with contextlib.suppress(runlog.ClosedError):
                log(recorder, f"c{number}", 1)
            log(runlog, f"d{number}", 1)

        closer = threading.Thread(target=recorder.close)
        closer.start()
        pid = fork(child)
        closer.join()
        wait_for(pid)


def prefork(workers: str, count: str) -> None:
    """A run in the parent, then children that log."""
    log(runlog, "parent", 1)
    wait_for(
        *[
            fork(partial(log, runlog, f"w{number}", int(count)))
            for number in range(int(workers))
        ]
    )
    log(runlog, "after", 1)


def prefork_and_exit(workers: str, count: str) -> None:
    """The same, with children that exit as a program does."""
    log(runlog, "parent", 1)
    pids = [
        fork(partial(log, runlog, f"w{number}", int(count)), None)
        for number in range(int(workers))
    ]
    wait_for(*pids)
    log(runlog, "after", 1)


def parent_goes_first(workers: str, count: str) -> None:
    """The parent exits at once; the children are orphans by then."""
    log(runlog, "parent", 1)
    reader, writer = os.pipe()

    def child(number: int) -> None:
        os.close(writer)
        assert os.read(reader, 1) == b""  # the parent has gone
        log(runlog, f"w{number}", int(count))
        acknowledge(f"end-{number}")

    for number in range(int(workers)):
        fork(partial(child, number))
    runlog.close()
    os._exit(0)


def grandchildren(depth: str) -> None:
    """A child forks a child, and so on; each logs before and after."""
    log(runlog, "g0", 1)

    def descend(level: int) -> None:
        log(runlog, f"down{level}", 2)
        if level < int(depth):
            wait_for(fork(partial(descend, level + 1)))
        log(runlog, f"up{level}", 2)

    descend(1)


def pool_task(name: str) -> str:
    """A task of a worker process."""
    run_id = runlog.log_run(run(name))
    acknowledge(run_id)
    return run_id


def pool(method: str, count: str) -> None:
    """A multiprocessing.Pool."""
    log(runlog, "parent", 1)
    context = multiprocessing.get_context(method)
    with context.Pool(4) as workers:
        names = [f"task{n}" for n in range(int(count))]
        assert workers.map(pool_task, names, chunksize=1) == names
        log(runlog, "beside", 1)
        workers.close()
        workers.join()
    log(runlog, "after", 1)


def process_class(method: str, count: str) -> None:
    """multiprocessing.Process, one for each run; some beside threads that log."""
    log(runlog, "parent", 1)
    context = multiprocessing.get_context(method)
    with busy(*loggers(runlog, 2)):
        processes = [
            context.Process(target=pool_task, args=(f"task{n}",))  # type: ignore[attr-defined]
            for n in range(int(count))
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
            assert process.exitcode == 0, process.exitcode


def executor(method: str, count: str) -> None:
    """A concurrent.futures.ProcessPoolExecutor."""
    log(runlog, "parent", 1)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=context) as workers:
        names = [f"task{n}" for n in range(int(count))]
        assert list(workers.map(pool_task, names)) == names
    log(runlog, "after", 1)


def asyncio_in_both() -> None:
    """asyncio in the parent, then in its children."""

    async def main(name: str) -> None:
        ids = await asyncio.gather(
            *[runlog.alog_run(run(f"{name}-{n}")) for n in range(10)]
        )
        for run_id in ids:
            acknowledge(run_id)
        assert (await runlog.aget_run(f"{name}-9")) is not None
        assert await runlog.aflush(30)

    def begin(name: str) -> None:
        asyncio.run(main(name))

    begin("a")
    pids = [fork(partial(begin, f"c{n}")) for n in range(3)]
    begin("b")
    wait_for(*pids)
    begin("d")


def invoke(graph: Any, name: str) -> Any:
    """Invoke a graph whose run has that id; acknowledge it once it has ended."""
    from runlog.hooks import RunLogHandler

    config = {"callbacks": [RunLogHandler(wpk_id=name)]}
    result = graph.invoke({"seen": []}, config=config)
    assert runlog.flush(BOUND)  # a read waits for the server only so long
    ((run_id, *_),) = runlog.get_runs_by_wpk_id(name)
    acknowledge(run_id)
    return result


def node_forks(kind: str) -> None:
    """A node forks, and the child goes on to the end of the node, or of the graph."""
    from torture.graphs import add, make_graph

    from runlog.hooks import RunLogHandler

    pids: list[int] = []
    own = os.getpid()

    def node(_: Any) -> dict[str, Any]:
        pid = os.fork()
        if pid:
            pids.append(pid)
            return {"seen": ["parent"]}
        log(runlog, f"in-node-{os.getpid()}", 2)
        if kind != "returns":
            os._exit(0)
        return {"seen": ["child"]}

    graph = make_graph(node, node) if kind == "parallel" else make_graph(node)
    result = graph.invoke(
        {"seen": []}, config={"callbacks": [RunLogHandler(wpk_id="forking")]}
    )
    if os.getpid() != own:  # the child, back from invoke
        assert result["seen"] == ["begin", "child", "end"]
        invoke(make_graph(add("simple")), "in-child")
        os._exit(0)
    wait_for(*pids)
    assert "parent" in result["seen"]
    invoke(make_graph(add("simple")), "in-parent")
    assert runlog.flush(BOUND)
    forking = runlog.get_runs_by_wpk_id("forking")
    for run_id, *_ in forking:
        acknowledge(run_id)
    nodes = [log["node"] for log in runlog.get_run(forking[0][0])["node_logs"]]  # type: ignore[index]
    print(json.dumps({"runs": [list(f[:2]) for f in forking], "nodes": sorted(nodes)}))


def graphs_in_children(workers: str, count: str) -> None:
    """A graph in the parent, then graphs in its children, through one handler."""

    from torture.graphs import add, make_graph

    from runlog.hooks import RunLogHandler

    graph = make_graph(add("simple"))
    config = {"callbacks": [RunLogHandler(wpk_id="graphs")]}

    def work(count: int) -> None:
        for _ in range(count):
            graph.invoke({"seen": []}, config=config)

    work(1)
    wait_for(*[fork(partial(work, int(count))) for _ in range(int(workers))])
    work(1)
    assert runlog.flush(BOUND)  # a child may have left some beside a locked file
    for run_id, *_ in runlog.get_runs_by_wpk_id("graphs", 10_000):
        acknowledge(run_id)
    print(json.dumps(runlog.stats()["handler_errors"]))


def serve(listener: socket.socket) -> None:
    """A worker of the server below: a request is a name, the answer is the run's id."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb", buffering=0) as stream:
            name = stream.readline().decode().strip()
            run_id = runlog.log_run(run(name, outputs={"worker": os.getpid()}))
            acknowledge(run_id)
            stream.write(f"{run_id}\n".encode())


def preload_server(workers: str) -> None:
    """A master that has logged a run, and forks the workers: gunicorn --preload."""
    log(runlog, "preload", 1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        pids = []
        for _ in range(int(workers)):
            pid = os.fork()
            if not pid:
                serve(listener)
            pids.append(pid)
        print(listener.getsockname()[1], flush=True)
        sys.stdin.readline()  # until it is told to stop
        note_exit()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        wait_for(*pids)
    log(runlog, "stopped", 1)


def connections(how: str) -> None:
    """A child ends in some way; the parent's connections are the same as before."""
    import psycopg

    dsn = os.environ["POSTGRES_DSN"]
    recorder = runlog.Recorder()
    log(recorder, "before", 1)
    recorder.list_runs()

    def backends() -> list[int]:
        sql = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'runlog' "
            "AND datname = current_database() ORDER BY pid"
        )
        with psycopg.connect(dsn, autocommit=True) as connection:
            return [pid for (pid,) in connection.execute(sql)]

    def child() -> None:
        nonlocal recorder
        if how == "unused":
            return
        if how == "collected_first":
            del recorder
            gc.collect()
            return
        log(recorder, "child", 2)
        recorder.list_runs()
        if how == "closed":
            recorder.close()
        elif how == "collected":
            del recorder
            gc.collect()

    before = backends()
    wait_for(fork(child, None if how == "exit" else 0))
    deadline = time.monotonic() + 30
    while len(backends()) > len(before) and time.monotonic() < deadline:
        time.sleep(0.01)  # the child's own are on their way out
    after = backends()
    log(recorder, "after", 1)
    assert len(recorder.list_runs(limit=100).runs) >= 2
    print(json.dumps({"before": before, "after": after, "at_last": backends()}))


def child_forwards() -> None:
    """The server is back when only a child is left to see it."""
    log(runlog, "parent", 20)

    def child() -> None:
        log(runlog, "child", 5)
        print("child waits", flush=True)
        assert runlog.flush(60)

    pid = fork(child)
    wait_for(pid)
    os._exit(0)


def journal_is_deleted(path: str) -> None:
    """The journal is deleted between a run and a fork."""
    records: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("runlog").addHandler(handler)
    log(runlog, "parent", 3)
    for suffix in ("", "-wal", "-shm"):
        Path(path + suffix).unlink()
    wait_for(fork(lambda: log(runlog, "child", 3)))
    log(runlog, "after", 3)
    print(json.dumps(" ".join(records)))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
