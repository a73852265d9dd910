"""A consumer leaves a stream: the status of the run says whether work was left."""

import asyncio
import gc
import operator
from typing import Annotated, Any, TypedDict

import pytest
from handler_graphs import State, chain, chain_builder, node
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt

import runlog
from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store


@pytest.fixture
def recorder(tmp_path: Any) -> Any:
    """What a stream left behind does not depend on the store."""
    with runlog.Recorder(sqlite_path=tmp_path / "runs.db") as made:
        yield made


# Ways to consume a stream, and to leave it after `count` chunks, or never if it is None.


def by_hand(graph: Any, config: Any, count: int | None, **options: Any) -> list[Any]:
    stream = graph.stream({"n": 0}, config, **options)
    if count is None:
        return list(stream)
    taken = [next(stream) for _ in range(count)]
    stream.close()
    return taken


def break_and_collect(
    graph: Any, config: Any, count: int | None, **options: Any
) -> list[Any]:
    taken: list[Any] = []
    for chunk in graph.stream({"n": 0}, config, **options):
        taken.append(chunk)
        if len(taken) == count:
            break
    gc.collect()
    return taken


def closed(graph: Any, config: Any, count: int | None, **options: Any) -> list[Any]:
    async def consume() -> list[Any]:
        taken: list[Any] = []
        stream = graph.astream({"n": 0}, config, **options)
        async for chunk in stream:
            taken.append(chunk)
            if len(taken) == count:
                break
        await stream.aclose()
        return taken

    return asyncio.run(consume())


def abandoned(graph: Any, config: Any, count: int | None, **options: Any) -> list[Any]:
    """The event loop closes the stream when it ends."""

    async def consume() -> list[Any]:
        taken: list[Any] = []
        async for chunk in graph.astream({"n": 0}, config, **options):
            taken.append(chunk)
            if len(taken) == count:
                break
        return taken

    return asyncio.run(consume())


WAYS = [by_hand, break_and_collect, closed, abandoned]
each_way = pytest.mark.parametrize("take", WAYS, ids=lambda way: way.__name__)
MODES = [
    "values",
    "updates",
    "debug",
    "tasks",
    ["values", "updates"],
    ["custom", "updates"],
]


def asks(_: State) -> State:
    return {"n": interrupt("how many?")}


def plain() -> Any:
    return chain(a=node("a"), b=node("b"))


def paused() -> Any:
    return chain_builder(a=node("a"), b=asks).compile(checkpointer=InMemorySaver())


def stops_before() -> Any:
    builder = chain_builder(a=node("a"), b=node("b"))
    return builder.compile(checkpointer=InMemorySaver(), interrupt_before=["b"])


def stops_after() -> Any:
    builder = chain_builder(a=node("a"), b=node("b"))
    return builder.compile(checkpointer=InMemorySaver(), interrupt_after=["b"])


def nested() -> Any:
    return chain(a=node("a"), sub=chain(c=node("c"), d=node("d")))


def nested_paused() -> Any:
    builder = chain_builder(a=node("a"), sub=chain(c=node("c"), d=asks))
    return builder.compile(checkpointer=InMemorySaver())


GRAPHS = [plain, paused, stops_before, stops_after, nested, nested_paused]
each_graph = pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)


class Reader:
    """Runs graphs, and reads what was recorded last."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder
        self.threads = 0

    def config(self) -> Any:
        self.threads += 1
        return {
            "callbacks": [RunLogHandler(recorder=self.recorder)],
            "configurable": {"thread_id": f"t{self.threads}"},
        }

    def last(self) -> Any:
        (row,) = self.recorder.list_runs(limit=1).runs
        run = self.recorder.get_run(row["run_id"])
        logs = [(log["node"], log["status"]) for log in run["node_logs"]]
        return run["status"], run["outputs"], logs

    def status(self) -> Any:
        return self.last()[0]


@pytest.fixture
def reader(recorder: Any) -> Reader:
    return Reader(recorder)


def check_last_chunk(reader: Reader, make: Any, take: Any, **options: Any) -> None:
    """The record is that of a stream that was read to its end."""
    chunks = take(make(), reader.config(), None, **options)
    whole = reader.last()
    assert whole[0] == ("completed" if make in (plain, nested) else "interrupted")
    take(make(), reader.config(), len(chunks), **options)
    assert reader.last() == whole, options


@each_graph
@pytest.mark.parametrize("take", [by_hand, closed], ids=lambda way: way.__name__)
def test_a_stream_is_left_at_its_last_chunk(reader: Reader, make: Any, take: Any) -> None:
    for mode in MODES:
        check_last_chunk(reader, make, take, stream_mode=mode)
        if make in (nested, nested_paused):
            check_last_chunk(reader, make, take, stream_mode=mode, subgraphs=True)


@each_graph
@pytest.mark.parametrize(
    "take", [break_and_collect, abandoned], ids=lambda way: way.__name__
)
def test_a_stream_is_abandoned_at_its_last_chunk(
    reader: Reader, make: Any, take: Any
) -> None:
    check_last_chunk(reader, make, take, stream_mode="updates")


@each_way
@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("make", [paused, nested_paused], ids=lambda make: make.__name__)
def test_a_stream_is_left_at_the_first_chunk_with_the_interrupt(
    reader: Reader, take: Any, make: Any, subgraphs: bool
) -> None:
    """With subgraphs, that chunk comes from within, before the outer node has ended."""
    options = {"stream_mode": "updates", "subgraphs": subgraphs}
    chunks = take(make(), reader.config(), None, **options)
    whole = reader.last()
    at = next(n for n, chunk in enumerate(chunks, 1) if "__interrupt__" in str(chunk))
    take(make(), reader.config(), at, **options)
    assert reader.last() == whole
    (row,) = reader.recorder.list_runs(limit=1).runs
    (told,) = reader.recorder.get_run(row["run_id"])["metadata"]["interrupts"]
    assert told["value"] == "how many?"
    if not subgraphs:  # else the node that the chunk came from goes on meanwhile
        take(make(), reader.config(), at - 1, **options)
        assert reader.status() == "cancelled"


@each_way
def test_a_stream_is_left_one_chunk_early(reader: Reader, take: Any) -> None:
    for mode, count in (("updates", 1), ("values", 2)):
        take(plain(), reader.config(), count, stream_mode=mode)
        assert reader.last() == ("cancelled", None, [("a", "completed")])


class Seen(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]


def adds(value: Any) -> Any:
    return lambda _: {"seen": [value]}


def join() -> Any:
    builder: Any = StateGraph(Seen)
    for name in "abc":
        builder.add_node(name, adds(name))
    builder.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "c")
    return builder.compile()


def deferred() -> Any:
    builder: Any = StateGraph(Seen)
    for name in "abc":
        builder.add_node(name, adds(name), defer=name == "c")
    builder.add_edge(START, "a").add_edge(START, "b").add_edge("a", "c")
    return builder.compile()


def sends() -> Any:
    builder: Any = StateGraph(Seen)
    builder.add_node("a", adds("a")).add_node("w", adds("w")).add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: [Send("w", state)], ["w"])
    return builder.compile()


def loops() -> Any:
    builder: Any = StateGraph(Seen)
    builder.add_node("a", adds("a")).add_edge(START, "a")
    builder.add_conditional_edges(
        "a", lambda state: "a" if len(state["seen"]) < 3 else END, ["a", END]
    )
    return builder.compile()


def commands() -> Any:
    builder: Any = StateGraph(Seen)
    builder.add_node("a", lambda _: Command(update={"seen": [1]}, goto="b"))
    builder.add_node("b", lambda _: Command(goto=END)).add_edge(START, "a")
    return builder.compile()


def handled() -> Any:
    def fail(_: Seen) -> Seen:
        raise ValueError("no")

    builder: Any = StateGraph(Seen)
    builder.add_node("a", adds("a"))
    builder.add_node("b", fail, error_handler=adds("handled"))
    return builder.add_edge(START, "a").add_edge("a", "b").compile()


def functional() -> Any:
    @task
    def square(n: int) -> int:
        return n * n

    @entrypoint()
    def total(given: Any) -> int:
        return int(square(3).result() + given["n"])

    return total


SHAPES: dict[Any, list[Any]] = {
    join: [2, 3],
    deferred: [2, 3],
    sends: [1, 2],
    loops: [2, 3],
    commands: [1, 2],
    handled: [1, 2],
    functional: [None, 2],
}


@pytest.mark.parametrize("make", SHAPES, ids=lambda make: make.__name__)
def test_whether_another_node_would_run(reader: Reader, make: Any) -> None:
    before, at_end = SHAPES[make]
    take = by_hand
    assert len(take(make(), reader.config(), None, stream_mode="updates")) == at_end
    whole = reader.last()
    take(make(), reader.config(), at_end, stream_mode="updates")
    assert reader.last() == whole
    assert whole[0] == "completed"
    if before is not None:
        take(make(), reader.config(), before, stream_mode="updates")
        assert reader.status() == "cancelled"


def test_a_reducer_that_refuses_leaves_the_run_cancelled(reader: Reader) -> None:
    """LangGraph would have failed after the last chunk."""

    class One(TypedDict, total=False):
        n: int

    builder = StateGraph(One)
    builder.add_node("a", lambda _: {"n": 1}).add_node("b", lambda _: {"n": 2})
    graph = builder.add_edge(START, "a").add_edge(START, "b").compile()
    by_hand(graph, reader.config(), 2, stream_mode="updates")
    assert reader.status() == "cancelled"


def test_reducers_leave_the_values_of_the_program_alone(reader: Reader) -> None:
    given: list[str] = ["given"]

    def grow(old: list[str], new: list[str]) -> list[str]:
        old.extend(new)  # a reducer should not, but may
        return old

    class Grown(TypedDict, total=False):
        seen: Annotated[list[str], grow]

    builder = StateGraph(Grown)
    graph = builder.add_node("a", adds("a")).add_edge(START, "a").compile()
    stream: Any = graph.stream({"seen": given}, reader.config(), stream_mode="updates")
    next(stream)
    stream.close()
    assert reader.last()[:2] == ("completed", {"seen": ["given", "a"]})


def test_a_message_of_the_last_node(reader: Reader) -> None:
    """It is sent while the node ends."""

    async def say(_: MessagesState) -> Any:
        return {"messages": [AIMessage("the answer")]}

    builder: Any = StateGraph(MessagesState)
    graph = builder.add_node("say", say).add_edge(START, "say").compile()
    for take in (closed, abandoned):
        take(graph, reader.config(), 1, stream_mode="messages")
        status, outputs, _ = reader.last()
        assert (status, outputs["messages"][-1]["content"]) == ("completed", "the answer")


async def test_a_node_that_is_cut_is_cancelled(reader: Reader) -> None:
    """It has sent its last chunk, and then waits."""
    never = asyncio.Event()

    async def waits(_: State) -> State:
        get_stream_writer()("the last chunk")
        await never.wait()
        return {"n": 1}

    stream = chain(a=waits).astream({"n": 0}, reader.config(), stream_mode="custom")
    assert await anext(stream) == "the last chunk"
    await stream.aclose()
    assert reader.last() == ("cancelled", None, [("a", "cancelled")])


@pytest.mark.parametrize(
    ("last", "status"),
    [(("on_chain_end", "b"), "completed"), (("on_chain_end", "a"), None)],
)
async def test_events_are_left(reader: Reader, last: Any, status: Any) -> None:
    """They come from a task that LangChain cancels."""
    graph = plain()
    events = graph.astream_events({"n": 0}, reader.config(), version="v2")
    async for event in events:
        if (event["event"], event["name"]) == last:
            break
    await events.aclose()
    while reader.recorder.stats()["open_runs"]:
        await asyncio.sleep(0)
    whole = reader.status() == "completed"
    ran_all = reader.last()[2] == [("a", "completed"), ("b", "completed")]
    assert whole == ran_all
    assert status is None or reader.status() == status


def test_a_graph_in_a_chain_is_left(reader: Reader) -> None:
    for count, status in ((1, "cancelled"), (2, "completed")):
        same = RunnableLambda(lambda given: given)
        stream = (same | plain()).stream({"n": 0}, reader.config())
        for _ in range(count):
            next(stream)
        stream.close()
        assert reader.status() == status


async def test_a_cancelled_call_is_cancelled(reader: Reader) -> None:
    inside = asyncio.Event()

    async def waits(state: State) -> State:
        inside.set()
        await asyncio.Event().wait()
        return state

    call = asyncio.create_task(
        chain(a=node("a"), b=waits).ainvoke({"n": 0}, reader.config())
    )
    await inside.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert reader.last() == ("cancelled", None, [("a", "completed"), ("b", "cancelled")])


def test_without_langgraphs_loop_an_interrupt_is_known(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a LangGraph whose internals are others: from the events alone."""
    monkeypatch.setattr("runlog._leaving._loop_of", lambda _: 1 / 0)
    by_hand(paused(), reader.config(), 2, stream_mode="updates")
    logs = [("a", "completed"), ("b", "interrupted")]
    assert reader.last() == ("interrupted", None, logs)
    by_hand(plain(), reader.config(), 2, stream_mode="updates")
    assert reader.status() == "cancelled"
