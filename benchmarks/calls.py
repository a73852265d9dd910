"""What it costs to keep the calls of models and tools.

1. CPU of a node with one model call (a prompt of 2 KB, an answer of 1 KB): calls="delta",
   which is the default, over calls="none".
2. The bytes of the node logs of a hundred steps of an agent with a system prompt and two
   tools, over those without calls; and what the calls add, over what full prompts would.
3. The memory of such a run while it is open, for each byte that is stored of it.
"""

import gc
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import corpus
from common import Claim, alternate, compare, report, scratch, set_up
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from run_cost import allocated
from sides import no_collector, settle
from state_graphs import CaptureHandler, Event, deliver

from runlog import Recorder
from runlog.hooks import RunLogHandler

CALL_LIMIT_US = 15.0
STORED_LIMIT = 1.6
FULL_LIMIT = 1 / 20
MEMORY_LIMIT = 1.0
NODES = 10
RUNS = 60
ROUNDS = 15
SECONDS = 90.0
STEPS = 100
USAGE = {"input_tokens": 512, "output_tokens": 256, "total_tokens": 768}


def words(size: int) -> str:
    """A text of about so many bytes."""
    return corpus.texts([size])[0]


class Scripted(BaseChatModel):
    """A model that answers at once."""

    answers: Any
    """An iterator of messages."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, *_: Any, **__: Any) -> Any:
        return {"ls_provider": "scripted", "ls_model_name": "scripted-1"}

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=next(self.answers))])


def answer(text: str, *calls: Any) -> AIMessage:
    return AIMessage(
        content=text,
        tool_calls=list(calls),
        usage_metadata=USAGE,
        response_metadata={"model_name": "scripted-1", "finish_reason": "stop"},
    )


def asking() -> Any:
    """A graph of nodes that each ask a model the same."""

    def answers() -> Iterator[AIMessage]:
        while True:
            yield answer(words(1024))

    model = Scripted(answers=answers())
    prompt = [SystemMessage(words(512)), HumanMessage(words(1536))]

    def ask(_: Any) -> Any:
        model.invoke(prompt)
        return {}

    builder: Any = StateGraph(MessagesState)
    names = [f"ask{n}" for n in range(NODES)]
    builder.add_sequence([(name, ask) for name in names])
    builder.add_edge(START, names[0])
    return builder.compile()


@tool
def search(query: str, limit: int = 5) -> str:
    """Search the catalogue for what the customer asks about, newest entries first."""
    return words(700) + query + str(limit)


@tool
def look_up(key: str) -> str:
    """Look up an entry of the catalogue by its key, with prices and stock."""
    return words(700) + key


def agent(steps: int) -> Any:
    """An agent that asks a model and calls a tool in turn, so many steps."""

    def answers() -> Iterator[AIMessage]:
        for n in count():  # of any number of runs
            yield answer(
                words(200),
                {"name": "search", "args": {"query": f"q{n}"}, "id": f"call_{n}"},
            )

    model = Scripted(answers=answers()).bind(
        tools=[
            {
                "type": "function",
                "function": {
                    "name": one.name,
                    "description": one.description,
                    "parameters": one.get_input_jsonschema(),
                },
            }
            for one in (search, look_up)
        ]
    )
    system = SystemMessage(words(2048))

    def think(state: Any) -> Any:
        return {"messages": [model.invoke([system, *state["messages"]])]}

    def act(state: Any) -> Any:
        call = state["messages"][-1].tool_calls[0]
        found = search.invoke({**call, "type": "tool_call"})
        assert isinstance(found, ToolMessage)
        return {"messages": [found]}

    def goes_on(state: Any) -> str:
        return END if len(state["messages"]) >= steps else "think"

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("act", act)
    builder.add_edge(START, "think")
    builder.add_edge("think", "act")
    builder.add_conditional_edges("act", goes_on, ["think", END])
    return builder.compile()


class CaptureCalls(CaptureHandler):
    """Keeps the events of models, too."""

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        """Keep the start of a call."""
        self.events.append(("on_chat_model_start", args, kwargs))

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        """Keep its end."""
        self.events.append(("on_llm_end", args, kwargs))


def captured(graph: Any) -> list[Event]:
    """The events of one run."""
    handler = CaptureCalls()
    graph.invoke({"messages": []}, {"callbacks": [handler]})
    return handler.events


def measure_calls(folder: Path) -> dict[str, list[float]]:
    """CPU microseconds of the handler's methods for a node, with calls and without.

    The events are captured before: a model's own work, which is a hundred times as much,
    would hide the difference.
    """
    graph, modes = asking(), ("delta", "none")
    recorders = {m: Recorder(sqlite_path=str(folder / f"{m}.db")) for m in modes}
    handlers = {
        m: RunLogHandler(recorder=recorders[m], calls=m)  # type: ignore[arg-type]
        for m in modes
    }
    runs: dict[int, list[list[Event]]] = {}

    def measure(mode: str, number: int) -> float:
        if number not in runs:
            runs.clear()
            runs[number] = [captured(graph) for _ in range(RUNS)]
        with no_collector():
            start = time.process_time()
            for events in runs[number]:
                deliver(handlers[mode], events)
            settle()
            return (time.process_time() - start) / RUNS / NODES * 1e6

    for mode in modes:
        measure(mode, -1)
    try:
        return alternate(modes, measure, ROUNDS, SECONDS)
    finally:
        for recorder in recorders.values():
            recorder.close()


def stored_bytes(path: Path, mode: Any) -> int:
    """The bytes of an agent's node logs, with what is stored beside the row."""
    with Recorder(sqlite_path=str(path)) as recorder:
        handler = RunLogHandler(recorder=recorder, calls=mode)
        agent(STEPS).invoke(
            {"messages": [HumanMessage(words(300))]},
            {"callbacks": [handler], "recursion_limit": 2 * STEPS},
        )
    with closing(sqlite3.connect(path)) as database:
        (size,) = database.execute(
            "SELECT (SELECT sum(length(CAST(node_logs AS BLOB))) FROM workflow_runs) + "
            "ifnull((SELECT sum(length(CAST(data AS BLOB))) FROM run_parts), 0)"
        ).fetchone()
    return int(size)


def measure_memory(mode: Any) -> int:
    """Bytes of malloc that an open run takes after all steps of the agent."""
    events: list[int] = []

    class Held(RunLogHandler):
        """Keeps the end of the run back."""

        def on_chain_end(self, *args: Any, **kwargs: Any) -> None:
            if kwargs.get("parent_run_id") is None:
                gc.collect()
                events.append(allocated() or 0)
            super().on_chain_end(*args, **kwargs)
            if kwargs.get("parent_run_id") is None:
                gc.collect()
                events.append(allocated() or 0)

    with (
        scratch("memory") as folder,
        Recorder(sqlite_path=str(folder / "open.db")) as recorder,
    ):
        agent(STEPS).invoke(
            {"messages": [HumanMessage(words(300))]},
            {
                "callbacks": [
                    Held(recorder=recorder, calls=mode, checkpoint_interval=None)
                ],
                "recursion_limit": 2 * STEPS,
            },
        )
    held, freed = events
    return held - freed


def claims_of(
    cpu: dict[str, list[float]], stored: dict[str, int], memory: dict[str, int]
) -> Sequence[Claim]:
    found = [
        compare(
            "a node with one model call, CPU: calls - none",
            cpu["delta"],
            cpu["none"],
            CALL_LIMIT_US,
            "us",
            relation="difference",
        ),
        compare(
            "node logs of an agent, 100 steps: calls / none",
            [stored["delta"]],
            [stored["none"]],
            STORED_LIMIT,
            "B",
        ),
        compare(
            "what calls add to them: calls / full prompts",
            [stored["delta"] - stored["none"]],
            [stored["full"] - stored["none"]],
            FULL_LIMIT,
            "B",
        ),
    ]
    if allocated() is not None:
        found.append(
            compare(
                "memory of an open run: what calls add / the bytes that they store",
                [memory["delta"] - memory["none"]],
                [stored["delta"] - stored["none"]],
                MEMORY_LIMIT,
                "B",
            )
        )
    return found


def main() -> None:
    set_up()
    with scratch("calls") as folder:
        cpu = measure_calls(folder)
        modes = ("delta", "none", "full", "summary")
        stored = {m: stored_bytes(folder / f"stored-{m}.db", m) for m in modes}
        memory = {m: measure_memory(m) for m in ("delta", "none")}
    report(
        "calls",
        list(claims_of(cpu, stored, memory)),
        {"cpu_us_a_node": cpu},
        seed=corpus.SEED,
        notes={"stored_bytes": stored, "memory_of_an_open_run": memory},
    )


if __name__ == "__main__":
    main()
