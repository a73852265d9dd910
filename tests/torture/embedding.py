"""Programs whose runs have texts to be embedded. See test_outbox_faults.py.

usage: embedding.py WAY NAME [COUNT]

The settings come from the environment. Each run NAME-1, NAME-2 ... has a text of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import count
from typing import Any

from torture.child import acknowledge, note_exit

import runlog


def log_text(run_id: str) -> None:
    """Log a run with a text, and acknowledge it."""
    outputs = {"text": f"what {run_id} has found"}
    run = {"wpk_id": "w", "run_id": run_id, "status": "completed", "outputs": outputs}
    acknowledge(runlog.log_run(run))


def log_some(name: str, number: str) -> None:
    for n in range(int(number)):
        log_text(f"{name}-{n}")


def forever(name: str) -> None:
    """Log until it is killed."""
    for n in count():
        log_text(f"{name}-{n}")
        time.sleep(0.02)


def wait(name: str, number: str) -> None:
    """Log some and wait to be killed."""
    log_some(name, number)
    while True:
        time.sleep(1)


def share(name: str, number: str) -> None:
    """Log some, see to it that all are indexed, and tell what this process has done."""
    log_some(name, number)
    assert runlog.flush(90)
    print(json.dumps(runlog.stats()))


def end(name: str, number: str) -> None:
    """Log some, and end when the server is at work: when a line comes."""
    log_some(name, number)
    sys.stdin.readline()
    note_exit()


def fork(name: str, number: str) -> None:
    """Fork when a line comes; both go on, and tell what they have done."""
    log_some(name, number)
    sys.stdin.readline()
    child = os.fork()
    side = "parent" if child else "child"
    acknowledge(f"forked {side}")
    log_some(f"{name}-{side}", number)
    assert runlog.flush(90)
    stats: dict[str, Any] = runlog.stats()
    acknowledge(f"stats {side} {stats['embedded']} {stats['upserted']}")
    runlog.close()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
