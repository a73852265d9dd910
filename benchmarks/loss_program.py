"""The program whose runs benchmarks/loss.py counts: a graph of ten nodes, recorded.

The program names no database: runlog takes it from the environment. After each invoke
has returned or raised, the program writes one ACK to the given descriptor. It ends when
its runs are done or, with --until-told, when its standard input ends.
"""

import argparse
import os
import select
import struct
import sys
import time
import uuid
from collections.abc import Callable
from typing import TypedDict

from langgraph.graph import START, StateGraph

from runlog.hooks import RunLogHandler

WPK_ID = "loss"
NODES = 10
TEXT = "What is kept is kept, whatever happens to the program. " * 37  # 2 KB
# Whether it returned, the run's id, and how many seconds the invoke took. Shorter than
# PIPE_BUF, so that several processes can write to one pipe.
ACK = struct.Struct("=?16sd")


class State(TypedDict):
    """The state of the graph."""

    text: str
    step: int


def build() -> Callable[[], bytes]:
    """Return a function that invokes the graph once and returns the ACK."""
    graph = StateGraph(State)
    before = START
    for number in range(NODES):

        def node(state: State, number: int = number) -> dict[str, int]:
            return {"step": state["step"] + number}

        name = f"node{number}"
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    compiled = graph.compile()
    handler = RunLogHandler(wpk_id=WPK_ID)

    def invoke() -> bytes:
        run_id = uuid.uuid4()
        returned = True
        start = time.monotonic()
        try:
            compiled.invoke(
                {"text": TEXT, "step": 0},
                config={"callbacks": [handler], "run_id": run_id},
            )
        except Exception as error:  # noqa: BLE001  that is what is looked for
            print(f"invoke raised {error!r}", file=sys.stderr)
            returned = False
        return ACK.pack(returned, run_id.bytes, time.monotonic() - start)

    return invoke


def told_to_end(seconds: float) -> bool:
    """Wait at most so long; return whether standard input has ended."""
    return bool(select.select([0], [], [], seconds)[0])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("fd", type=int, help="where the ACKs go")
    parser.add_argument("--runs", type=int, default=200, help="of each process")
    parser.add_argument("--children", type=int, default=0, help="who do the runs")
    parser.add_argument("--first", action="store_true", help="one run before the fork")
    parser.add_argument("--pause", type=float, default=0.0, help="between runs")
    parser.add_argument("--until-told", action="store_true")
    options = parser.parse_args()
    invoke = build()
    if options.first:
        os.write(options.fd, invoke())
    children: list[int] = []
    for _ in range(options.children):
        if (pid := os.fork()) == 0:
            break
        children.append(pid)
    if len(children) < options.children or options.children == 0:
        for _ in range(options.runs):
            os.write(options.fd, invoke())
            if options.until_told and told_to_end(options.pause):
                break
        else:
            while options.until_told and not told_to_end(60.0):
                pass
        return 0
    return max(os.waitpid(pid, 0)[1] for pid in children)


if __name__ == "__main__":
    sys.exit(main())
