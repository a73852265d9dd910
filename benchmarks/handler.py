"""RunLogHandler: the cost of a node of a recorded graph, and of a run.

1. CPU per node over an empty inline handler: ten trivial nodes with 2 KB and with 64 KB
   of state, and a fan-out of a hundred, by invoke and by ainvoke. SQLite, all defaults.
2. The 99th percentile of the end of a graph's run beside a thread that is busy in
   Python, when releasing the GIL is expensive: wall time, less the time that the thread
   waited for a core that other programs used.
3. The bytes stored for a hundred steps of an agent whose state grows, over the bytes with
   each node's inputs stored in full.
4. The memory of an open run with 64 KB of state and ten ended nodes.
"""

from statistics import median, quantiles
from typing import Any

import corpus
from common import Claim, compare, report, scratch, set_up, significant
from node_cpu import Rounds, measure_cpu, measure_delivered
from run_cost import Ends, allocated, measure_ends, measure_memory, stored_bytes
from state_graphs import EmptyHandler, Mode, workloads

from runlog import Recorder
from runlog.hooks import RunLogHandler

LIMITS: dict[str, dict[Mode, float]] = {
    "small": {"invoke": 20.0, "ainvoke": 24.0},
    "big": {"invoke": 53.0, "ainvoke": 58.0},
    "fan-out": {"invoke": 6.0, "ainvoke": 8.0},
}
END_LIMIT_MS = 1.0
DELTA_LIMIT = 1 / 20
OPEN_LIMIT_KB = 100.0


def cpu_claims(cpu: dict[str, dict[Mode, Rounds]]) -> list[Claim]:
    titles = {key: workload.title for key, workload in workloads().items()}
    return [
        compare(
            f"{titles[key]}, {mode}, CPU a node: runlog - empty",
            cpu[key][mode]["runlog"],
            cpu[key][mode]["empty"],
            limit,
            "us",
            relation="difference",
        )
        for key, limits in LIMITS.items()
        for mode, limit in limits.items()
    ]


def spread(ours: list[float], peer: list[float]) -> dict[str, float]:
    """The median of the rounds' differences, and the smallest and largest of them."""
    found = [significant(a - b) for a, b in zip(ours, peer, strict=True)]
    return {"median": significant(median(found)), "min": min(found), "max": max(found)}


def cpu_notes(cpu: dict[str, dict[Mode, Rounds]]) -> dict[str, Any]:
    return {
        f"{key}, {mode}": {
            "runlog - empty": spread(rounds["runlog"], rounds["empty"]),
            "runlog - none": spread(rounds["runlog"], rounds["none"]),
            "empty - none": spread(rounds["empty"], rounds["none"]),
        }
        for key, modes in cpu.items()
        for mode, rounds in modes.items()
    }


def percentiles(ends: Ends) -> dict[str, float]:
    cuts = quantiles(ends.wall, n=100)
    running = [wall - queued for wall, queued in zip(ends.wall, ends.queued, strict=True)]
    return {
        "ends": len(ends.wall),
        "p50_ms": significant(cuts[49]),
        "p90_ms": significant(cuts[89]),
        "p99_ms": significant(cuts[98]),
        "max_ms": significant(max(ends.wall)),
        "p99_without_queue_ms": significant(quantiles(running, n=100)[98]),
    }


def run_claims(
    ends: dict[str, dict[str, float]],
    stored: dict[str, dict[str, int]],
    memory: dict[str, dict[str, float]],
) -> list[Claim]:
    claims = [
        compare(
            "end of a run beside a busy thread, p99: runlog - empty",
            [ends["runlog"]["p99_without_queue_ms"]],
            [ends["empty"]["p99_without_queue_ms"]],
            END_LIMIT_MS,
            "ms",
            relation="difference",
        ),
        compare(
            "node logs of 100 steps, bytes: delta / full",
            [stored["delta"]["node_logs"]],
            [stored["full"]["node_logs"]],
            DELTA_LIMIT,
            "B",
        ),
    ]
    if allocated() is not None:
        claims.append(
            compare(
                "an open run with 64 KB of state: runlog - empty",
                [memory["runlog"]["malloc_kb"]],
                [memory["empty"]["malloc_kb"]],
                OPEN_LIMIT_KB,
                "KB",
                relation="difference",
            )
        )
    return claims


def main() -> None:
    set_up()
    with scratch("handler") as folder:
        cpu: dict[str, dict[Mode, Rounds]] = {
            key: {mode: measure_cpu(folder, workload, mode) for mode in workload.graphs}
            for key, workload in workloads().items()
        }
        delivered = {
            key: measure_delivered(folder, workload)
            for key, workload in workloads().items()
            if "invoke" in workload.graphs
        }
        ends = {name: percentiles(t) for name, t in measure_ends(folder).items()}
        stored = {
            inputs: stored_bytes(folder / f"{inputs}.db", node_inputs=inputs)
            for inputs in ("delta", "full")
        }
        memory = {"empty": measure_memory(EmptyHandler())}
        with Recorder(sqlite_path=str(folder / "memory.db")) as recorder:
            memory["runlog"] = measure_memory(RunLogHandler(recorder=recorder))
    report(
        "handler",
        [*cpu_claims(cpu), *run_claims(ends, stored, memory)],
        {"cpu_us_a_node": cpu, "delivered_us_a_node": delivered},
        seed=corpus.SEED,
        notes={
            "cpu_us_a_node": cpu_notes(cpu),
            "delivered_us_a_node": {
                key: spread(rounds["runlog"], rounds["empty"])
                for key, rounds in delivered.items()
            },
            "ends": ends,
            "stored_bytes": stored,
            "open_run": memory,
        },
    )


if __name__ == "__main__":
    main()
