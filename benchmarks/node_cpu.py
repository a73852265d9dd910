"""CPU per node: of real graphs, and of their events alone, delivered by a script."""

import time
from contextlib import ExitStack
from pathlib import Path

from common import significant
from sides import Side, cpu_round, empty_side, no_collector, runlog_side, settle
from state_graphs import Mode, Workload, capture, deliver

ROUNDS = 9
TURNS = {"invoke": 18, "ainvoke": 9}  # 0.3 s of CPU and more for each side of a round
CELL_SECONDS = 12.0
DELIVERED_NODES = 600
DELIVERED_ROUNDS = 5

Rounds = dict[str, list[float]]


def check_kept(side: Side, runs: int) -> None:
    if side.arrived is None or side.arrived() != runs:
        raise SystemExit(f"not all of {runs} runs were kept")


def measure_cpu(folder: Path, workload: Workload, mode: Mode) -> Rounds:
    """Rounds without callback, with an empty handler and with runlog, on new files."""
    rounds: Rounds = {"none": [], "empty": [], "runlog": []}
    deadline = time.monotonic() + CELL_SECONDS
    for number in range(ROUNDS):
        if number >= 3 and time.monotonic() > deadline:
            break
        path = folder / f"cpu-{number}.db"
        with ExitStack() as stack:
            sides = {"none": Side(), "empty": empty_side(), "runlog": runlog_side(path)}
            for side in sides.values():
                stack.callback(side.close)
            for name, used in cpu_round(sides, workload, mode, TURNS[mode]).items():
                rounds[name].append(used)
            check_kept(sides["runlog"], (TURNS[mode] + 1) * workload.runs)
        for file in folder.glob(f"{path.name}*"):
            file.unlink()
    return rounds


def measure_delivered(folder: Path, workload: Workload) -> Rounds:
    """Rounds of captured events, which measure the methods of the handlers alone."""
    rounds: Rounds = {"empty": [], "runlog": []}
    runs, graph = DELIVERED_NODES // workload.nodes, workload.graphs["invoke"]
    with ExitStack() as stack:
        path = folder / f"delivered-{workload.title}.db"
        sides = {"empty": empty_side(), "runlog": runlog_side(path)}
        for side in sides.values():
            stack.callback(side.close)
            deliver(side.callbacks[0], capture(graph, workload.inputs(1)[0]))
        for _ in range(DELIVERED_ROUNDS):
            captured = [capture(graph, state) for state in workload.inputs(runs)]
            for name, side in sides.items():
                with no_collector():
                    start = time.process_time()
                    for events in captured:
                        deliver(side.callbacks[0], events)
                    settle()
                    used = time.process_time() - start
                rounds[name].append(significant(used / runs / workload.nodes * 1e6))
        check_kept(sides["runlog"], 1 + DELIVERED_ROUNDS * runs)
    return rounds
