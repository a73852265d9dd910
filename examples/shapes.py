"""Small LangGraph programs, one for each shape of graph, and the records of their runs.

    python examples/shapes.py [NAME ...]

Every function with the decorator `example` is a small program. This script runs the named
ones, or all, and prints the records of their runs. docs/langgraph.md shows the programs
with their records.

The runs go to the SQLite file RUNLOG_SQLITE_PATH, by default build/shapes.db of this
repository, or to PostgreSQL if POSTGRES_DSN is set.
"""

# mypy: disable-error-code="arg-type,call-overload"
# (mypy cannot infer which kind of node a local function is)

from __future__ import annotations

import asyncio
import contextlib
import json
import operator
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.language_models.fake_chat_models import (
    FakeMessagesListChatModel,
    GenericFakeChatModel,
)
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained, GraphRecursionError, NodeTimeoutError
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.runtime import RunControl
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, interrupt

import runlog
from runlog import hooks
from runlog.hooks import RunLogHandler

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES: dict[str, Callable[[], None]] = {}
ELSEWHERE = {"killed": "dies"}
"""Examples whose program is another function, run in a child process."""


def example(function: Callable[[], None]) -> Callable[[], None]:
    """Register an example. Its workflow has the name of the function."""
    EXAMPLES[function.__name__] = function
    return function


# What the examples share


class Order(TypedDict, total=False):
    """The state of most graphs below."""

    order: str
    done: Annotated[list[str], operator.add]


def reserve(_: Order) -> Order:
    return {"done": ["reserved"]}


def charge(_: Order) -> Order:
    return {"done": ["charged"]}


def ship(_: Order) -> Order:
    return {"done": ["shipped"]}


def in_turn(*nodes: Any) -> Any:
    """A graph that runs functions in turn, each as a node with its name."""
    return StateGraph(Order).add_sequence(nodes).add_edge(START, nodes[0].__name__)


def recorded(wpk_id: str, **more: Any) -> RunnableConfig:
    """The config of a run that is recorded under this name."""
    config: RunnableConfig = {"callbacks": [RunLogHandler(wpk_id)]}
    return {**config, **more}  # type: ignore[typeddict-item]


# The examples


@example
def basic() -> None:
    graph = in_turn(reserve, charge).compile()
    graph.invoke(
        {"order": "A1"},
        config={
            "callbacks": [RunLogHandler(wpk_id="basic")],
            "metadata": {"customer": "c7"},
            "tags": ["shop"],
        },
    )


@example
def failing() -> None:
    def pay(_: Order) -> Order:
        raise ConnectionError("the bank does not answer")

    graph = in_turn(reserve, pay, ship).compile()
    with contextlib.suppress(ConnectionError):
        graph.invoke({"order": "A1"}, recorded("failing"))


@example
def retried() -> None:
    answers = iter([ConnectionError("busy"), ConnectionError("busy"), None])

    def pay(_: Order) -> Order:
        if error := next(answers):
            raise error
        return {"done": ["paid"]}

    builder = StateGraph(Order)
    policy = RetryPolicy(initial_interval=0.001, max_attempts=3)
    builder.add_node("pay", pay, retry_policy=policy)
    builder.add_edge(START, "pay")
    builder.compile().invoke({"order": "A1"}, recorded("retried"))


@example
def handled() -> None:
    def pay(_: Order) -> Order:
        raise ConnectionError("the bank does not answer")

    def cancel(_: Order) -> Order:
        return {"done": ["cancelled"]}

    builder = StateGraph(Order)
    builder.add_node("pay", pay, error_handler=cancel)
    builder.add_edge(START, "pay")
    builder.compile().invoke({"order": "A1"}, recorded("handled"))


@example
def endless() -> None:
    builder = StateGraph(Order)
    builder.add_node("poll", lambda _: {"done": ["polled"]})
    builder.add_edge(START, "poll")
    builder.add_edge("poll", "poll")
    with contextlib.suppress(GraphRecursionError):
        builder.compile().invoke({"order": "A1"}, recorded("endless", recursion_limit=2))


@example
def siblings() -> None:
    async def pay(_: Order) -> Order:
        raise ConnectionError("the bank does not answer")

    async def pack(_: Order) -> Order:
        await asyncio.sleep(60)
        return {"done": ["packed"]}

    builder = StateGraph(Order)
    builder.add_node("pack", pack)
    builder.add_node("pay", pay)
    builder.add_edge(START, "pack")
    builder.add_edge(START, "pay")
    with contextlib.suppress(ConnectionError):
        asyncio.run(builder.compile().ainvoke({"order": "A1"}, recorded("siblings")))


@example
def timed_out() -> None:
    async def pay(_: Order) -> Order:
        await asyncio.sleep(60)
        return {"done": ["paid"]}

    builder = StateGraph(Order)
    builder.add_node("pay", pay, timeout=0.05)
    builder.add_edge(START, "pay")
    with contextlib.suppress(NodeTimeoutError):
        asyncio.run(builder.compile().ainvoke({"order": "A1"}, recorded("timed_out")))


@example
def cancelled() -> None:
    async def pay(_: Order) -> Order:
        await asyncio.sleep(60)
        return {"done": ["paid"]}

    async def main() -> None:
        graph = in_turn(pay).compile()
        async with asyncio.timeout(0.05):
            await graph.ainvoke({"order": "A1"}, recorded("cancelled"))

    with contextlib.suppress(TimeoutError):
        asyncio.run(main())


@example
def left_early() -> None:
    graph = in_turn(reserve, charge, ship).compile()
    stream = graph.stream({"order": "A1"}, recorded("left_early"))
    for _ in stream:
        break
    stream.close()


@example
def asks() -> None:
    def approve(_: Order) -> Order:
        return {"done": [f"approved by {interrupt('who approves?')}"]}

    graph = in_turn(reserve, approve).compile(checkpointer=InMemorySaver())
    config = recorded("asks", configurable={"thread_id": "order A1"})
    graph.invoke({"order": "A1"}, config)
    graph.invoke(Command(resume="Ada"), config)


@example
def stops_before() -> None:
    graph = in_turn(reserve, charge).compile(
        checkpointer=InMemorySaver(), interrupt_before=["charge"]
    )
    config = recorded("stops_before", configurable={"thread_id": "order A1"})
    graph.invoke({"order": "A1"}, config)
    graph.invoke(None, config)


@example
def again_from_a_checkpoint() -> None:
    graph = in_turn(reserve, charge).compile(checkpointer=InMemorySaver())
    config = recorded("again_from_a_checkpoint", configurable={"thread_id": "order A1"})
    graph.invoke({"order": "A1"}, config)
    (reserved,) = [
        state for state in graph.get_state_history(config) if state.next == ("charge",)
    ]
    graph.invoke(None, {**config, **reserved.config})


@example
def drained() -> None:
    control = RunControl()

    def pack(_: Order) -> Order:
        control.request_drain("the server is going down")
        return {"done": ["packed"]}

    graph = in_turn(pack, ship).compile(checkpointer=InMemorySaver())
    config = recorded("drained", configurable={"thread_id": "order A1"})
    with contextlib.suppress(GraphDrained):
        graph.invoke({"order": "A1"}, config, control=control)


@example
def goto() -> None:
    def check(_: Order) -> Command[str]:
        return Command(goto="ship", update={"done": ["checked"]})

    builder = StateGraph(Order)
    builder.add_node("check", check, destinations=("ship",))
    builder.add_node("ship", ship)
    builder.add_edge(START, "check")
    builder.compile().invoke({"order": "A1"}, recorded("goto"))


@example
def to_the_parent() -> None:
    def give_up(_: Order) -> Command[str]:
        return Command(goto="ship", graph=Command.PARENT, update={"done": ["gave up"]})

    builder = StateGraph(Order)
    builder.add_node("payment", in_turn(give_up).compile(), destinations=("ship",))
    builder.add_node("ship", ship)
    builder.add_edge(START, "payment")
    builder.compile().invoke({"order": "A1"}, recorded("to_the_parent"))


@example
def subgraphs() -> None:
    payment = in_turn(charge).compile()

    def deliver(state: Order) -> Order:
        result = in_turn(ship).compile().invoke({"order": state["order"]})
        return {"done": result["done"]}

    builder = StateGraph(Order)
    builder.add_sequence([("payment", payment), ("deliver", deliver)])
    builder.add_edge(START, "payment")
    builder.compile().invoke({"order": "A1"}, recorded("subgraphs"))


@example
def fan_out() -> None:
    def split(state: Order) -> list[Send]:
        return [Send("pack", {"item": item}) for item in state["order"].split()]

    def pack(given: dict[str, str]) -> Order:
        return {"done": [f"packed {given['item']}"]}

    builder: Any = StateGraph(Order)
    builder.add_node("reserve", reserve)
    builder.add_node("pack", pack)
    builder.add_edge(START, "reserve")
    builder.add_conditional_edges("reserve", split, ["pack"])
    builder.compile().invoke({"order": "tea cup"}, recorded("fan_out"))


@example
def loop() -> None:
    builder = StateGraph(Order)
    builder.add_node("pack", lambda _: {"done": ["packed"]})
    builder.add_edge(START, "pack")
    builder.add_conditional_edges(
        "pack", lambda state: END if len(state["done"]) == 2 else "pack", ["pack", END]
    )
    builder.compile().invoke({"order": "A1"}, recorded("loop"))


@example
def functional() -> None:
    @task
    def square(n: int) -> int:
        return n * n

    @entrypoint()
    def total(numbers: list[int]) -> int:
        return sum(square(n).result() for n in numbers)

    total.invoke([2, 3], recorded("functional"))


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class Scripted(FakeMessagesListChatModel):
    """A chat model with scripted answers: it calls a tool, then it answers."""

    model_name: str = "scripted-1"

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        """Ignore the tools: the script already names one."""
        return self


def scripted_model() -> Any:
    def answer(text: str, **more: Any) -> AIMessage:
        usage = {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25}
        model = {"model_name": "scripted-1"}
        return AIMessage(text, usage_metadata=usage, response_metadata=model, **more)

    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "call-1"}
    return Scripted(responses=[answer("", tool_calls=[call]), answer("It is sunny.")])


@example
def agent() -> None:
    model = scripted_model().bind_tools([weather])

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("tools", ToolNode([weather]))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    question: Any = {"messages": [("user", "How is the weather in Oslo?")]}
    builder.compile().invoke(question, recorded("agent"))


class Spoken(GenericFakeChatModel):
    """A chat model that streams its scripted answers word by word."""

    model_name: str = "spoken-1"


def speaks(*answers: str) -> Any:
    return Spoken(messages=iter(map(AIMessage, answers)))


@example
def within() -> None:
    @tool
    def ask_expert(question: str) -> str:
        """Ask a model that knows more."""
        return str(speaks("Yes.").invoke(question).content)

    def answer(state: Order) -> Order:
        return {"done": [ask_expert.invoke({"question": f"Is {state['order']} paid?"})]}

    in_turn(answer).compile().invoke({"order": "A1"}, recorded("within"))


@example
def left_half_way() -> None:
    def answer(_: Order) -> Order:
        stream = speaks("It was sent today.").stream("Where is A1?")
        first = "".join(str(next(stream).content) for _ in range(3))
        stream.close()
        return {"done": [first]}

    in_turn(answer).compile().invoke({"order": "A1"}, recorded("left_half_way"))


@example
def another_model() -> None:
    class Busy(Spoken):
        def _generate(self, *_: Any, **__: Any) -> Any:
            raise ConnectionError("too many requests")

    model = Busy(messages=iter(())).with_fallbacks([speaks("It was sent today.")])

    def answer(_: Order) -> Order:
        return {"done": [str(model.invoke("Where is A1?").content)]}

    in_turn(answer).compile().invoke({"order": "A1"}, recorded("another_model"))


@example
def no_graph() -> None:
    prompt = ChatPromptTemplate.from_template("Where is {order}?")
    chain = prompt | speaks("It was sent today.") | StrOutputParser()
    chain.invoke({"order": "A1"}, recorded("no_graph"))


@example
def in_a_chain() -> None:
    graph = in_turn(reserve).compile()
    chain: Any = RunnableLambda(lambda order: {"order": order}) | graph
    chain.invoke("A1", recorded("in_a_chain"))


@example
def batch() -> None:
    graph = in_turn(reserve).compile()
    graph.batch([{"order": "A1"}, {"order": "A2"}], recorded("batch", max_concurrency=1))


@example
def cached() -> None:
    builder = StateGraph(Order)
    builder.add_node("price", lambda _: {"done": ["priced"]}, cache_policy=CachePolicy())
    builder.add_edge(START, "price")
    graph = builder.compile(cache=InMemoryCache())
    graph.invoke({"order": "A1"}, recorded("cached"))
    graph.invoke({"order": "A1"}, recorded("cached"))


def dies() -> None:
    @tool
    def charge_card(amount: int) -> str:
        """Charge the customer's card."""
        os.kill(os.getpid(), signal.SIGKILL)
        return f"charged {amount}"

    def pay(_: Order) -> Order:
        return {"done": [charge_card.invoke({"amount": 42})]}

    handler = RunLogHandler("killed", checkpoint_interval=0)
    in_turn(reserve, pay).compile().invoke({"order": "A1"}, {"callbacks": [handler]})


@example
def killed() -> None:
    here = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    subprocess.run([sys.executable, "-c", f"{here}; import shapes; shapes.dies()"])


@example
def same_id() -> None:
    graph, run_id = in_turn(reserve).compile(), uuid.uuid4()
    for order in ("A1", "A2"):
        graph.invoke({"order": order}, recorded("same_id", run_id=run_id))


@example
def block() -> None:
    graph = in_turn(reserve).compile()
    with hooks.recording("block"):
        graph.invoke({"order": "A1"})
    graph.invoke({"order": "A2"})  # not recorded


# How they are shown

USUAL: dict[str, Any] = {
    "attempt": 1,
    "parent": None,
    "error_type": None,
    "error_text": None,
    "llm_calls": 0,
    "tool_calls": 0,
    "tokens": None,
    "models": [],
}
"""Values that the printed node logs omit."""
OF_CALLS = (
    "error_type",
    "error_text",
    "model",
    "messages",
    "args",
    "outputs",
    "output",
    "streamed",
)
"""The members of calls that are printed."""
ON_ONE_LINE = ("node", "status", "step", "attempt", "parent", "llm_calls", "tool_calls")


def same_each_time(text: str) -> str:
    """The text with placeholders for ids and times."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", text)
    text = re.sub(r'"id": "[0-9a-f]{32}"', '"id": "<id>"', text)
    text = re.sub(r"elapsed: [\d.]+s", "elapsed: <time>", text)
    return re.sub(r'"\d{4}-\d\d-\d\dT[^"]*"', '"<time>"', text)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def members(names: Sequence[str], values: dict[str, Any]) -> str:
    """The members with unusual values, on one line."""
    given = [name for name in names if USUAL.get(name, ...) != values.get(name)]
    return ", ".join(f"{name}: {values[name]}" for name in given if name in values)


def shown(run: Any) -> Iterator[str]:
    """The lines of a run: its columns, then its node logs."""
    same_id = run["wpk_id"] == "same_id"
    run_id = f", run_id: {same_each_time(run['run_id'])}" if same_id else ""
    yield f"wpk_id: {run['wpk_id']}, status: {run['status']}{run_id}"
    for key in ("error_type", "error_text", "thread_id"):
        if run[key]:
            yield f"{key}: {run[key].splitlines()[0]}"
    for key in ("metadata", "inputs", "outputs"):
        if run[key] is not ... and (key != "metadata" or run[key]):
            yield f"{key}: {as_json(run[key])}"
    for log in run["node_logs"]:
        yield f"  - {members(ON_ONE_LINE, log)}"
        for key in ("tokens", "models", "error_type", "error_text", "inputs", "outputs"):
            if log[key] not in (USUAL.get(key, ...), "", ...):
                plain = key.startswith("error")
                yield f"    {key}: {log[key] if plain else as_json(log[key])}"
        for call in log["calls"]:
            yield from shown_call(call)


def shown_call(call: Any) -> Iterator[str]:
    """The lines of a call."""
    told = {key: call[key] for key in ("status", "parent") if call[key] is not None}
    facts = "".join(f", {key}: {value}" for key, value in told.items())
    yield f"    - {call['kind']}: {call['name']}{facts}"
    for key in OF_CALLS:
        if call.get(key) not in (None, [], "", False):
            yield f"      {key}: {as_json(shortly(call[key]))}"


def shortly(value: Any) -> Any:
    """Of messages, what they say."""
    if isinstance(value, list):
        return [shortly(one) for one in value]
    if isinstance(value, dict) and "content" in value:
        names = ("type", "content", "tool_calls")
        return {key: value[key] for key in names if value.get(key)}
    return value


def without_payloads(run: Any) -> Any:
    """The run without inputs and outputs, whose messages are long."""
    logs = [{**log, "inputs": ..., "outputs": ...} for log in run["node_logs"]]
    return {**run, "inputs": ..., "outputs": ..., "node_logs": logs}


def whole(run: Any) -> str:
    """A run as get_run returns it, one line for each column and member."""

    def block(values: dict[str, Any], indent: str) -> str:
        lines = [f'{indent}  "{key}": {value}' for key, value in values.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"

    def plain(values: dict[str, Any]) -> dict[str, str]:
        values = {key: as_text(value) for key, value in values.items()}
        return {key: as_json(value) for key, value in values.items()}

    logs = [block(plain({**log, "duration_ms": 1.2}), "    ") for log in run["node_logs"]]
    owner = "<host> <process id> <its start> <boot>"
    columns = plain({**run, "duration_ms": 3, "node_logs": None, "owner": owner})
    columns["node_logs"] = "[\n    " + ",\n    ".join(logs) + "\n  ]"
    return block(columns, "")


def as_text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def stored(name: str) -> str:
    """The stored runs of an example, in the order of their starts."""
    runs = [
        runlog.get_run(run["run_id"], name)
        for run in reversed(runlog.list_runs(wpk_id=name).runs)
    ]
    if name == "basic":
        return same_each_time("\n".join(map(whole, runs)))
    if name == "agent":
        runs = list(map(without_payloads, runs))
    return same_each_time("\n\n".join("\n".join(shown(run)) for run in runs))


def record(name: str) -> str:
    """Run an example and return the text of its records."""
    runlog.delete_runs(wpk_id=name)
    EXAMPLES[name]()
    return stored(name)


def main(names: Sequence[str]) -> None:
    """Run the named examples, or all, and print their records."""
    if not os.environ.get("POSTGRES_DSN") and not os.environ.get("RUNLOG_SQLITE_PATH"):
        path = REPOSITORY / "build" / "shapes.db"
        path.parent.mkdir(exist_ok=True)
        os.environ["RUNLOG_SQLITE_PATH"] = str(path)
    for name in names or EXAMPLES:
        print(f"# {name}\n\n{record(name)}\n")
    runlog.close()


if __name__ == "__main__":
    main(sys.argv[1:])
