"""What the programs of the tests share: acknowledgements, and children to wait for.

A program is started with the file of its acknowledgements in ACKS. What it writes there
it has been told by runlog, so it must be found in the end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from stopwatch import waited_for_cpu

BOUND = 60.0
"""Seconds after which something hangs."""

faulthandler.enable()  # whoever hangs gets SIGABRT, and shows where it does
_acks = os.open(os.environ["ACKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def acknowledge(run_id: str) -> None:
    """Say that a run was acknowledged; in one write, so that lines stay whole."""
    os.write(_acks, f"{run_id}\n".encode())


def note_exit() -> None:
    """Say when the program begins to end; the last note counts."""
    now = time.monotonic() - waited_for_cpu("self")
    os.write(_acks, f"exit {now}\n".encode())


def run(run_id: str, **fields: Any) -> dict[str, Any]:
    """A small run."""
    return {
        "wpk_id": "w",
        "run_id": run_id,
        "status": "completed",
        "inputs": {"of": run_id, "text": "x" * 100},
    } | fields


def log(recorder: Any, name: str, count: int) -> None:
    """Log runs name-0, name-1 ... with a recorder or the module, and acknowledge each."""
    for number in range(count):
        acknowledge(recorder.log_run(run(f"{name}-{number}")))


def fork(work: Callable[[], object], code: int | None = 0) -> int:
    """Fork; the child works and leaves by os._exit(code), or with None by a normal exit.

    Returns the child's process id.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:  # noqa: BLE001 - the child ends here, whatever it was
        import traceback

        traceback.print_exc()
        os._exit(1)
    if code is None:
        sys.exit(0)
    os._exit(code)


def wait_for(*pids: int) -> None:
    """Wait for children, which must end well. One that hangs shows where it does."""
    deadline = time.monotonic() + BOUND
    for pid in pids:
        ended, status = os.waitpid(pid, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(0.002)
            ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            os.kill(pid, signal.SIGABRT)  # faulthandler prints its threads
            os.waitpid(pid, 0)
            sys.exit(f"child {pid} hangs")
        if status:
            sys.exit(f"child {pid} ended with {os.waitstatus_to_exitcode(status)}")


@contextlib.contextmanager
def busy(*works: Callable[[int], object]) -> Iterator[None]:
    """Threads that do their work again and again, with 0, 1, 2 ... as its argument.

    What a work raises ends the program in the end.
    """
    stop = threading.Event()
    failures: list[BaseException] = []
    begun = threading.Barrier(len(works) + 1)

    def loop(work: Callable[[int], object]) -> None:
        number = 0
        begun.wait(BOUND)
        try:
            while not stop.is_set():
                work(number)
                number += 1
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=loop, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    begun.wait(BOUND)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(BOUND)
    if failures:
        raise failures[0]
    if any(thread.is_alive() for thread in threads):
        faulthandler.dump_traceback()
        sys.exit("a thread of the parent hangs")
