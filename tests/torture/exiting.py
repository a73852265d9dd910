"""Programs that end in many ways while runlog is in use. See test_exits.py."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

from torture.child import acknowledge, log, note_exit, run

import runlog

RUNS = 20


def start_daemons(recorder: Any, count: int = 4) -> None:
    """Threads that log until the process has gone."""
    begun = threading.Barrier(count + 1)

    def work(name: str) -> None:
        acknowledge(recorder.log_run(run(f"{name}-begin")))
        begun.wait()
        number = 0
        while True:
            acknowledge(recorder.log_run(run(f"{name}-{number}")))
            number += 1

    for number in range(count):
        threading.Thread(target=work, args=(f"d{number}",), daemon=True).start()
    begun.wait()


def normal() -> None:
    log(runlog, "r", RUNS)
    note_exit()


def unused() -> None:
    """Nothing is logged: only what others have left is there to do."""
    runlog.stats()
    note_exit()


def thread_exits() -> None:
    """sys.exit in a thread ends that thread."""

    def work() -> NoReturn:
        log(runlog, "t", RUNS)
        sys.exit(7)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    log(runlog, "r", RUNS)
    note_exit()


def thread_goes_on() -> None:
    """The main thread ends first; the interpreter waits for the other."""
    released = threading.Event()

    def work() -> None:
        released.wait()
        log(runlog, "t", RUNS)
        note_exit()

    threading.Thread(target=work).start()
    log(runlog, "r", RUNS)
    released.set()


def raises() -> NoReturn:
    log(runlog, "r", RUNS)
    note_exit()
    raise RuntimeError("nobody catches this")


def thread_raises() -> None:
    def work() -> NoReturn:
        log(runlog, "t", RUNS)
        raise RuntimeError("nobody catches this")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    note_exit()


def exits() -> NoReturn:
    log(runlog, "r", RUNS)
    note_exit()
    sys.exit(3)


def os_exits() -> NoReturn:
    log(runlog, "r", RUNS)
    note_exit()
    os._exit(4)


def end_by(number: signal.Signals) -> None:
    note_exit()
    os.kill(os.getpid(), number)
    signal.pause()


def sigterm() -> None:
    log(runlog, "r", RUNS)
    end_by(signal.SIGTERM)


def sigterm_beside_daemons() -> None:
    start_daemons(runlog)
    end_by(signal.SIGTERM)


def sigterm_handled() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    log(runlog, "r", RUNS)
    end_by(signal.SIGTERM)


def sigterm_handled_beside_daemons() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    start_daemons(runlog)
    end_by(signal.SIGTERM)


def sigint() -> None:
    log(runlog, "r", RUNS)
    end_by(signal.SIGINT)


def sigint_in_flush() -> None:
    """Ctrl-C while the program waits for what can't be forwarded, or has been."""
    log(runlog, "r", RUNS)
    interrupt = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    interrupt.start()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            runlog.flush(60)
    note_exit()


def daemons() -> None:
    start_daemons(runlog)
    note_exit()


def daemons_with_their_own() -> None:
    """Each of a few recorders that nobody closes has threads inside of it."""
    for _ in range(2):
        recorder = runlog.Recorder()
        log(recorder, f"own{id(recorder)}", 1)
        start_daemon_pair(recorder)
    note_exit()


def start_daemon_pair(recorder: Any) -> None:
    def work(name: str) -> None:
        number = 0
        while True:
            acknowledge(recorder.log_run(run(f"{name}-{number}")))
            recorder.flush(0.01)
            number += 1

    for number in range(2):
        name = f"{id(recorder)}-{number}"
        threading.Thread(target=work, args=(name,), daemon=True).start()


def explicit() -> None:
    """A recorder that is never closed."""
    global kept  # noqa: PLW0603
    kept = runlog.Recorder()
    log(kept, "r", RUNS)
    note_exit()


kept: Any = None


def explicit_and_default() -> None:
    """Several of them, so that their times at exit could add up."""
    global kept  # noqa: PLW0603
    kept = [runlog.Recorder() for _ in range(4)]
    for number, recorder in enumerate(kept):
        log(recorder, f"e{number}", 2)
    log(runlog, "r", RUNS)
    note_exit()


def journals_of_their_own() -> None:
    """Each has a thread that is connecting when the program ends."""
    global kept  # noqa: PLW0603
    kept = [runlog.Recorder(sqlite_path=f"journal{n}.db") for n in range(5)]
    for number, recorder in enumerate(kept):
        log(recorder, f"j{number}", 2)
    note_exit()


class Holder:
    """Something that refers to itself, and to a recorder."""

    def __init__(self) -> None:
        self.recorder = runlog.Recorder()
        self.me = self


def cycle() -> None:
    holder = Holder()
    log(holder.recorder, "r", RUNS)
    del holder
    note_exit()


def collected_cycle() -> None:
    holder = Holder()
    log(holder.recorder, "r", RUNS)
    del holder
    note_exit()
    gc.collect()


def late() -> None:
    """The program's own atexit function comes after runlog's, and logs as well."""
    log(runlog, "late", 3)


def log_late() -> None:
    """Its own time is the program's; what comes then is measured."""
    log(runlog, "at-exit", 3)
    note_exit()


def node(action: Any) -> None:
    """A graph whose node does something final, behind one that has ended well."""
    from torture.graphs import add, make_graph

    from runlog.hooks import RunLogHandler

    handler = RunLogHandler(wpk_id="graph")
    make_graph(add("fine")).invoke({"seen": []}, config={"callbacks": [handler]})
    acknowledge("graph")
    graph = make_graph(lambda _: action())
    graph.invoke({"seen": []}, config={"callbacks": [handler]})


def exit_in_node() -> None:
    log(runlog, "r", RUNS)

    def action() -> NoReturn:
        note_exit()
        sys.exit(6)

    node(action)


def os_exit_in_node() -> None:
    log(runlog, "r", RUNS)

    def action() -> NoReturn:
        note_exit()
        os._exit(8)

    node(action)


def graphs_in_flight() -> None:
    """Graphs that daemon threads have begun and will not end."""
    log(runlog, "r", RUNS)
    begun = threading.Barrier(5)

    def action() -> NoReturn:
        begun.wait()
        while True:
            threading.Event().wait(0.001)

    for _ in range(4):
        threading.Thread(target=node, args=(action,), daemon=True).start()
    begun.wait()
    note_exit()


def graphs_again_and_again() -> None:
    """Daemon threads run one graph after the other, so some end during shut-down."""
    from torture.graphs import add, make_graph

    from runlog.hooks import RunLogHandler

    graph = make_graph(add("fine"))
    begun = threading.Barrier(5)
    config = {"callbacks": [RunLogHandler(wpk_id="graph")]}

    def work() -> None:
        graph.invoke({"seen": []}, config=config)
        acknowledge("graph")
        begun.wait()
        while True:
            graph.invoke({"seen": []}, config=config)
            acknowledge("graph")

    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    begun.wait()
    note_exit()


def asyncio_in_flight() -> None:
    """The loop ends while runs are on their way beside it."""

    async def one(number: int) -> None:
        acknowledge(await runlog.alog_run(run(f"a-{number}")))

    async def main() -> None:
        tasks = [asyncio.create_task(one(number)) for number in range(50)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    asyncio.run(main())
    note_exit()


def inside() -> None:
    """Daemon threads are inside of log_run, and wait for a server."""

    def work(name: str) -> None:
        begun.wait()
        log(runlog, name, 2000)

    begun = threading.Barrier(5)
    for number in range(4):
        threading.Thread(target=work, args=(f"d{number}",), daemon=True).start()
    begun.wait()
    deadline = time.monotonic() + 30
    while not runlog.stats()["queued"] and not runlog.stats()["runs"]:
        assert time.monotonic() < deadline
    note_exit()


def closed_and_forked() -> None:
    """A child is left behind that logs on after its parent has gone."""
    log(runlog, "r", RUNS)
    if os.fork() == 0:
        log(runlog, "c", RUNS)
        os._exit(0)
    os.wait()
    note_exit()


if __name__ == "__main__":
    if sys.argv[1] == "late":
        atexit.register(log_late)
    globals()[sys.argv[1]]()
