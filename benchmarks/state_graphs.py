"""The graphs that the benchmarks record, and their states.

Nodes only return a small update, so the callbacks dominate the figures. Nodes are
functions for invoke and coroutines for ainvoke: LangGraph would pass a function to a
thread, which costs more than the callbacks and adds noise. The keys of a state are
those of a real program: a question, a long text, documents, and a list of messages to
which each node adds one. The texts come from the corpus.
"""

import asyncio
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import corpus
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.callbacks import GraphCallbackHandler
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

Mode = Literal["invoke", "ainvoke"]
MODES: tuple[Mode, Mode] = ("invoke", "ainvoke")
NODES = 10
BRANCHES = 100
STEPS = 100
SMALL = 2 * 1024
BIG = 64 * 1024

State = dict[str, Any]


class Conversation(TypedDict):
    """The state of a chain and of an agent."""

    question: str
    context: str
    documents: list[Any]
    messages: Annotated[list[Any], operator.add]
    step: int


class Task(TypedDict):
    """The input of a branch of the fan-out."""

    item: int
    title: str


class Results(TypedDict):
    """The results of the branches."""

    topic: str
    results: Annotated[list[int], operator.add]


def make_state(size: int) -> State:
    """A state of about so many bytes of JSON: half of it messages."""
    messages, documents = max(4, size // 1600), max(2, size // 8192)
    question, context, *rest = corpus.texts(
        [size // 16, size * 3 // 16]
        + [size // 4 // documents - 50] * documents
        + [size // 2 // messages - 40] * messages
    )
    return {
        "question": question,
        "context": context,
        "documents": [
            {"title": f"Document {i}", "score": 0.5 + i / 100, "content": text}
            for i, text in enumerate(rest[:documents])
        ],
        "messages": [
            {"role": "assistant" if i % 2 else "user", "content": text}
            for i, text in enumerate(rest[documents:])
        ],
        "step": 0,
    }


def _with_messages(state: State) -> State:
    """The state with LangChain's message objects, as chat models take and return them."""
    kinds = {"user": HumanMessage, "assistant": AIMessage}
    messages = [kinds[m["role"]](content=m["content"]) for m in state["messages"]]
    return {**state, "messages": messages}


def _for_mode(node: Callable[[Any], State], mode: Mode) -> Any:
    """The node as it is, or as a coroutine."""

    async def coroutine(state: Any) -> State:
        return node(state)

    return node if mode == "invoke" else coroutine


def _node(number: int, message: Callable[[str], Any]) -> Callable[[Any], State]:
    def node(state: Conversation) -> State:
        text = f"{number} is done, after {len(state['messages'])} messages"
        return {"step": number, "messages": [message(text)]}

    return node


def _as_dict(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _as_message(text: str) -> AIMessage:
    return AIMessage(content=text)


def chain(mode: Mode = "invoke", message: Callable[[str], Any] = _as_dict) -> Any:
    """Ten nodes, one after another."""
    graph = StateGraph(Conversation)
    before = START
    for number in range(NODES):
        graph.add_node(f"node{number}", _for_mode(_node(number, message), mode))
        graph.add_edge(before, f"node{number}")
        before = f"node{number}"
    return graph.compile(name="chain")


def fan_out(mode: Mode = "invoke") -> Any:
    """A hundred branches at once, each with an argument of its own."""

    def plan(state: Results) -> list[Send]:
        topic = state["topic"]
        return [
            Send("work", {"item": i, "title": f"{topic} {i}"}) for i in range(BRANCHES)
        ]

    def work(state: Task) -> dict[str, list[int]]:
        return {"results": [state["item"]]}

    graph = StateGraph(Results)
    graph.add_node("work", _for_mode(work, mode), input_schema=Task)
    graph.add_conditional_edges(START, plan, ["work"])
    graph.add_edge("work", END)
    return graph.compile(name="fan-out")


def agent(reply_size: int = 700) -> Any:
    """Two nodes that take turns for a hundred steps, each adding a message."""
    replies = corpus.texts([reply_size] * STEPS)

    def add(state: Conversation) -> State:
        step = state["step"]
        return {"step": step + 1, "messages": [_as_dict(replies[step])]}

    def more(state: Conversation) -> str:
        return "tools" if state["step"] < STEPS else END

    graph = StateGraph(Conversation)
    graph.add_node("agent", add)
    graph.add_node("tools", add)
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", more, ["tools", END])
    graph.add_conditional_edges(
        "tools", lambda s: "agent" if s["step"] < STEPS else END, ["agent", END]
    )
    return graph.compile(name="agent")


@dataclass
class Workload:
    """A graph, its input, and how many runs of it are timed together."""

    title: str
    graphs: Mapping[Mode, Any]
    text: str  # the input as JSON: each run gets objects of its own
    nodes: int
    runs: int
    convert: Callable[[State], State] = dict

    def inputs(self, runs: int) -> list[State]:
        """An input for each run."""
        return [self.convert(json.loads(self.text)) for _ in range(runs)]


def workloads() -> dict[str, Workload]:
    """Each of them about 20 ms by invoke."""
    small, big = json.dumps(make_state(SMALL)), json.dumps(make_state(BIG))
    chains = {mode: chain(mode) for mode in MODES}
    wide = {mode: fan_out(mode) for mode in MODES}
    topic = '{"topic": "port", "results": []}'
    messages = {mode: chain(mode, _as_message) for mode in MODES}
    functions: dict[Mode, Any] = {"ainvoke": chains["invoke"]}
    return {
        "small": Workload("2 KB of state", chains, small, NODES, 10),
        "big": Workload("64 KB of state", chains, big, NODES, 10),
        "fan-out": Workload("fan-out of 100", wide, topic, BRANCHES, 2),
        "messages": Workload(
            "64 KB, message objects", messages, big, NODES, 10, _with_messages
        ),
        "functions": Workload("2 KB, functions in threads", functions, small, NODES, 10),
        "big functions": Workload(
            "64 KB, functions in threads", functions, big, NODES, 10
        ),
    }


def run_all(
    runner: asyncio.Runner,
    mode: Mode,
    graph: Any,
    inputs: Sequence[State],
    callbacks: Sequence[BaseCallbackHandler],
) -> None:
    """Run the graph on each input, one after another."""
    config: RunnableConfig | None = {"callbacks": list(callbacks)} if callbacks else None

    async def each() -> None:
        for state in inputs:
            await graph.ainvoke(state, config)

    if mode == "ainvoke":
        runner.run(each())
    else:
        for state in inputs:
            graph.invoke(state, config)


class EmptyHandler(GraphCallbackHandler):
    """What no handler can cost less than: called in the thread that runs the node."""

    run_inline = True

    def on_chain_start(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def on_chain_end(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def on_chain_error(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        """Do nothing; without it LangChain makes a text of the messages."""


Event = tuple[str, tuple[Any, ...], dict[str, Any]]


class CaptureHandler(EmptyHandler):
    """Keeps the events of a graph, to be delivered again."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        """Keep the start of a graph or node."""
        self.events.append(("on_chain_start", args, kwargs))

    def on_chain_end(self, *args: Any, **kwargs: Any) -> None:
        """Keep its end."""
        self.events.append(("on_chain_end", args, kwargs))


def capture(graph: Any, state: State) -> list[Event]:
    """The events of one run, as LangGraph gives them."""
    handler = CaptureHandler()
    graph.invoke(state, {"callbacks": [handler]})
    return handler.events


def deliver(handler: BaseCallbackHandler, events: Sequence[Event]) -> None:
    """Give a handler events that were captured."""
    for name, args, kwargs in events:
        getattr(handler, name)(*args, **kwargs)
