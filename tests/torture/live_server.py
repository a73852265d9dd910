"""Starts processes that record graphs, quickly: it has langgraph loaded, and forks.

Each line on standard input is a JSON object: what to run (`kind` of live.py, or `code`),
`args`, `env`, `folder` for its working directory, and the paths of its `stdin` (a named
pipe), `stdout`, `stderr` and `acks`. The answer is the process id. A process ends its
acknowledgements with "ended" and its exit code.

runlog.hooks is not loaded before the fork, so that a process may change langgraph first.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import traceback
from typing import Any

import langgraph.checkpoint.memory
import langgraph.func
import langgraph.graph
import langgraph.pregel  # noqa: F401

BOUND = 120.0


def become(order: dict[str, Any]) -> None:
    """Take on the surroundings of a process of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["folder"])
    os.environ.update(order["env"])
    os.environ["ACKS"] = order["acks"]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path, mode in (
        (1, order["stdout"], flags),
        (2, order["stderr"], flags),
        (0, order["stdin"], os.O_RDONLY),
    ):
        file = os.open(path, mode, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0, closefd=False)
    watch = threading.Timer(BOUND, os._exit, [3])
    watch.daemon = True
    watch.start()


def work(order: dict[str, Any]) -> int:
    """Do what was ordered; return the exit code."""
    try:
        become(order)
        sys.argv = ["-c", *order["args"]]
        if "code" in order:
            exec(order["code"], {"__name__": "__main__"})
        else:
            from torture import live

            live.work(order["kind"], *order["args"])
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException:  # noqa: BLE001 - reported to the test
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Fork for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has ended is gone at once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # a collection in a child would copy every page that it walks over
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = work(order)
            sys.stdout.flush()
            sys.stderr.flush()
            acks = os.open(order["acks"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(acks, f"ended {code}\n".encode())
            os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
