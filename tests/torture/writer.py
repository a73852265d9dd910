"""A process that logs runs until it is killed, and says when each was acknowledged.

usage: writer.py NAME ACKNOWLEDGED [COUNT]

The settings come from the environment. Each of its threads has a workflow NAME-0, NAME-1
... and numbers its runs from 1. Once log_run has returned, the workflow and the number go
to the end of the file ACKNOWLEDGED, in one write. With COUNT, a thread stops after so
many runs; the process then closes its recorder and prints its counters as JSON.
WRITER_PAUSE is how many seconds a thread waits between two runs (0 unless given).
"""

import json
import os
import sys
import threading
import time
from itertools import count

import runlog

THREADS = 2
PAUSE = float(os.environ.get("WRITER_PAUSE", "0"))


def work(recorder: runlog.Recorder, wpk_id: str, file: int, last: int) -> None:
    """Log run after run."""
    for number in count(1):
        recorder.log_run(
            {
                "wpk_id": wpk_id,
                "run_id": str(number),
                "status": "completed",
                "inputs": {"text": "x" * (number * 37 % 2000)},
                "outputs": {"n": number},
            }
        )
        os.write(file, f"{wpk_id} {number}\n".encode())
        if number == last:
            return
        if PAUSE:
            time.sleep(PAUSE)


def end_at_once(args: threading.ExceptHookArgs) -> None:
    """An exception in a thread ends the process, so that whoever waits for it sees it."""
    sys.__excepthook__(args.exc_type, args.exc_value or SystemExit(), args.exc_traceback)
    sys.stderr.flush()
    os._exit(1)


def main() -> None:
    """Start the threads and wait for them."""
    name, path, *rest = sys.argv[1:]
    last = int(rest[0]) if rest else 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    threading.excepthook = end_at_once
    recorder = runlog.Recorder()
    threads = [
        threading.Thread(target=work, args=(recorder, f"{name}-{n}", file, last))
        for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()  # which still forwards, for others as well
    print(json.dumps(recorder.stats()))


main()
