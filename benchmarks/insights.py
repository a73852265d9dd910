"""Insights over a history as long as a million runs have: the CPU seconds that they take.

What is compared grows with the workflows, their nodes and the blocks of four hours, not
with the runs: so the blocks are those of a million runs, 20 workflows of 12 nodes in 46
blocks, each with all values that it would have. The command is measured on a SQLite file
of as many blocks, with six runs each, whose roll-up is there.

Arguments: how many workflows (20).
"""

import os
import random
import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from common import Claim, compare, cpu_seconds, report, scratch, set_up, significant

from runlog import Recorder
from runlog.insights.changes import changes
from runlog.insights.failures import kinds
from runlog.insights.frame import Frame, Workflow, frame_of
from runlog.insights.shapes import hidden_retries, loops, paths, recursion, stopped
from runlog.rollup import EDGES, Block, Failure, Figures, Path

SEED = 17
NODES = 12
RUNS = 1_087
FEW = 6
"""Runs of a block where they are recorded."""
MOST_SECONDS = 2.0
TIMES = 3
UNTIL = datetime(2026, 11, 30, 11, 59, tzinfo=UTC)
FIRST = next(place for place, edge in enumerate(EDGES) if edge > 20_000)
COMMAND = [sys.executable, "-m", "runlog", "insights", "--json"]


def figures(rng: random.Random) -> Figures:
    """Those of a node, or of a workflow's runs, in a block."""
    made = Figures()
    failed = rng.randrange(30)
    made.statuses.update({"completed": RUNS - failed, "failed": failed})
    made.retries = made.retried = made.recovered = rng.randrange(20)
    for values, first in ((made.durations, FIRST), (made.sizes, 60)):
        for place in range(40):
            number = max(1, round(rng.gauss(RUNS / 40, 3)))
            values.counts[first + place] = number
            values.total += number * EDGES[first + place]
    made.repeats, made.repeated_in = rng.randrange(1, 4), "r1"
    return made


def workflow(name: str, frame: Frame, rng: random.Random) -> Workflow:
    """A workflow's blocks."""
    blocks = []
    for number in range(frame.first, frame.end):
        block = Block(name, frame.time(number))
        block.run = figures(rng)
        block.nodes = {f"node{n}": figures(rng) for n in range(NODES)}
        block.paths = {f"p{n}": Path(10, f"r{n}") for n in range(20)}
        at = block.since
        block.failures = [
            Failure("KeyError", "node1", f"no {kind} {number}", 2, at, at, ["r1"])
            for kind in ("tea", "rice", "salt")
        ]
        blocks.append(block)
    return Workflow(name, frame, blocks)


def compare_blocks(number: int) -> list[float]:
    """CPU seconds of the statistics."""
    rng = random.Random(SEED)
    frame = frame_of(None, UNTIL)
    those = [workflow(f"w{n}", frame, rng) for n in range(number)]
    spent = []
    for _ in range(TIMES):
        before = cpu_seconds()
        changes(those, frame)
        for one in those:
            for look in (recursion, hidden_retries, loops, paths, stopped):
                list(look(one))
            kinds(one)
        spent.append(cpu_seconds() - before)
    return spent


def logged(rng: random.Random, name: str, place: int, at: datetime) -> dict[str, Any]:
    """A run of a workflow."""
    return {
        "wpk_id": name,
        "run_id": f"{name}-{place}",
        "status": "completed",
        "created_at": at,
        "duration_ms": round(rng.lognormvariate(7, 0.5)),
        "node_logs": [
            {
                "node": f"node{n}",
                "status": "completed",
                "step": n,
                "attempt": 1,
                "duration_ms": rng.lognormvariate(4, 0.5),
                "tokens": {"total": rng.randrange(100, 4_000)},
            }
            for n in range(NODES)
        ],
    }


def run_command(number: int) -> list[float]:
    """CPU seconds of `runlog insights`, its start and its reads included."""
    rng = random.Random(SEED)
    now = datetime.now(UTC)
    spent = []
    with scratch("runlog-insights-") as folder:
        path = str(folder / "runs.db")
        runs = FEW * 45
        with Recorder(sqlite_path=path, words=False) as recorder:
            for name in (f"w{n}" for n in range(number)):
                for place in range(runs):
                    at = now - timedelta(hours=180) * (runs - place - 0.5) / runs
                    recorder.log_run(logged(rng, name, place, at))
            while recorder.rollup(wait=60).waiting:
                pass
        env = os.environ | {"RUNLOG_SQLITE_PATH": path}
        for _ in range(TIMES):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(COMMAND, env=env, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(
                after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            )
    return spent


def limit(name: str, spent: list[float]) -> Claim:
    """Seconds against their limit."""
    none = [0.0] * TIMES
    return compare(name, spent, none, MOST_SECONDS, "s", relation="difference")


def main() -> None:
    """Measure, and print JSON."""
    set_up()
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    raw = {"blocks": compare_blocks(number), "command": run_command(number)}
    claims = [
        limit(f"insights: {number} workflows, 46 full blocks: CPU", raw["blocks"]),
        limit("runlog insights on as many blocks: CPU", raw["command"]),
    ]
    report(
        "insights",
        claims,
        {name: [significant(one) for one in spent] for name, spent in raw.items()},
        seed=SEED,
    )


if __name__ == "__main__":
    main()
