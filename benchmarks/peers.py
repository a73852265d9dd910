"""The cost of recording a node, with runlog and with other recorders.

The graphs are those of handler.py, and the agent of calls.py. These sides alternate in
one process: no callback, an empty inline handler, runlog, forty lines with sqlite3, and
tracers with their defaults.
The tracers send to a server on loopback that answers at once. The figure is the CPU time
of the whole process with all its threads, flushed after each turn; the server is another
process and does not count. The script has no limits.

`make bench-peers` runs it in an environment of its own, with the versions in peers.txt,
and writes its table into docs/performance.md and README.md.
"""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import corpus
from calls import agent, words
from common import report, scratch, set_up, significant
from langchain_core.tracers import LangChainTracer
from langfuse import Langfuse
from langfuse.langchain import CallbackHandler
from langsmith import Client
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from own_handler import OwnHandler
from sides import Side, cpu_round, empty_side, runlog_side
from sink import received, sink
from state_graphs import MODES, Mode, Workload, workloads

ROUNDS = 7
TURNS = {"invoke": 6, "ainvoke": 3}
CELL_SECONDS = 60.0
WORKLOADS = ("small", "big", "fan-out")
AGENT_NODES = 20
PACKAGES = (
    "langgraph",
    "langchain-core",
    "langsmith",
    "langfuse",
    "openinference-instrumentation-langchain",
    "opentelemetry-sdk",
)

Rounds = dict[str, list[float]]


def own_side(path: Path) -> Side:
    handler = OwnHandler(path)
    return Side([handler], close=handler.close, arrived=handler.rows)


def langsmith_side(url: str) -> Side:
    client = Client(api_url=url, api_key="none")
    return Side(
        [LangChainTracer(client=client, project_name="bench")],
        flush=client.flush,
        close=client.close,
        arrived=lambda: received(url),
    )


def langfuse_side(url: str) -> Side:
    keys = {"public_key": "none", "secret_key": "none"}
    client = Langfuse(**keys, base_url=url, tracer_provider=TracerProvider())
    return Side(
        [CallbackHandler()],
        flush=client.flush,
        close=client.shutdown,
        arrived=lambda: received(url),
    )


def openinference_side(url: str) -> Side:
    """Turn on the instrumentor, which adds a handler to every callback manager."""
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    instrumentor = LangChainInstrumentor()
    return Side(
        flush=provider.force_flush,
        on=lambda: instrumentor.instrument(tracer_provider=provider),
        off=instrumentor.uninstrument,
        close=provider.shutdown,
        arrived=lambda: received(url),
    )


def agent_workload() -> Workload:
    """An agent whose nodes ask a model and call a tool in turn."""
    state = {"messages": [["user", words(300)]]}
    graphs: dict[Mode, Any] = {"invoke": agent(AGENT_NODES)}
    return Workload("an agent", graphs, json.dumps(state), AGENT_NODES, 2)


TRACERS: dict[str, Callable[[str], Side]] = {
    "LangSmith": langsmith_side,
    "Langfuse": langfuse_side,
    "OpenInference, OpenTelemetry": openinference_side,
}


def open_sides(stack: ExitStack, folder: Path) -> dict[str, Side]:
    """Every side; each tracer has a sink of its own."""
    sides = {
        "no callback": Side(),
        "an empty inline handler": empty_side(),
        "runlog": runlog_side(folder / "runlog.db"),
        "forty lines with sqlite3": own_side(folder / "own.db"),
    }
    for name, make in TRACERS.items():
        sides[name] = make(stack.enter_context(sink()))
    for side in sides.values():
        stack.callback(side.close)
    return sides


def measure(sides: Mapping[str, Side], workload: Workload, mode: Mode) -> Rounds:
    """Rounds of all sides; each must have stored or sent something."""
    rounds: Rounds = {name: [] for name in sides}
    deadline = monotonic() + CELL_SECONDS
    before = {name: side.arrived() for name, side in sides.items() if side.arrived}
    for number in range(ROUNDS):
        if number >= 3 and monotonic() > deadline:
            break
        for name, used in cpu_round(sides, workload, mode, TURNS[mode]).items():
            rounds[name].append(used)
    for name, side in sides.items():
        if side.arrived and side.arrived() <= before[name]:
            raise SystemExit(f"{name} kept nothing")
    return rounds


def over_none(rounds: Rounds) -> dict[str, float]:
    """Microseconds a node that each side adds, the median of the rounds."""
    none = rounds["no callback"]
    return {
        name: significant(median(a - b for a, b in zip(used, none, strict=True)), 3)
        for name, used in rounds.items()
        if used is not none
    }


def main() -> None:
    set_up()
    logging.disable(logging.WARNING)  # a tracer's advice about its defaults
    cells: dict[str, Rounds] = {}
    with scratch("peers") as folder, ExitStack() as stack:
        sides = open_sides(stack, folder)
        for key in WORKLOADS:
            workload = workloads()[key]
            for mode in MODES:
                cells[f"{workload.title}, {mode}"] = measure(sides, workload, mode)
        cells["an agent, invoke"] = measure(sides, agent_workload(), "invoke")
    costs = {title: over_none(rounds) for title, rounds in cells.items()}
    graph = {title: median(rounds["no callback"]) for title, rounds in cells.items()}
    raw: dict[str, Any] = {"cpu_us_a_node": cells}
    report(
        "peers",
        [],
        raw,
        seed=corpus.SEED,
        notes={"over_no_callback_us": costs, "graph_us": graph},
        more_versions={name: metadata.version(name) for name in PACKAGES},
    )


if __name__ == "__main__":
    main()
