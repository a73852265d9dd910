"""What every supported version of LangGraph must deliver: each way to run a graph.

`make test-langgraphs` runs these on several versions, so they use only what the oldest
one has. versions.py names what a version does not deliver.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import operator
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from fixtures_store import Store
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.types import Command, RetryPolicy, Send, interrupt
from versions import LANGGRAPH, SINCE

from runlog import Recorder, hooks
from runlog.hooks import RunLogHandler

PAUSES = (1, 1, 7)
"""The version since which LangGraph tells a handler of interrupt_before."""


class State(TypedDict, total=False):
    n: int
    seen: Annotated[list[str], operator.add]


def node(name: str) -> Any:
    return lambda state: {"n": state.get("n", 0) + 1, "seen": [name]}


def failing(_: State) -> State:
    raise ValueError("no")


async def failing_async(_: State) -> State:
    raise ValueError("no")


def builder(*edges: tuple[str, str], **nodes: Any) -> Any:
    """A graph of nodes, in turn unless there are edges."""
    built = StateGraph(State)
    for name, action in nodes.items():
        built.add_node(name, action)
    names = [START, *nodes]
    for start, end in edges or itertools.pairwise(names):
        built.add_edge(start, end)
    return built


def two(**options: Any) -> Any:
    return builder(a=node("a"), b=node("b")).compile(name="g", **options)


@pytest.fixture
def kept(store: Store) -> Any:
    """A recorder; `shown` shows what it has."""
    with Recorder(**store.options) as recorder:
        yield recorder
        stats = recorder.stats()
    assert stats["handler_errors"] == 0


@pytest.fixture
def config(kept: Recorder) -> Any:
    return {
        "callbacks": [RunLogHandler(recorder=kept)],
        "configurable": {"thread_id": "t"},
    }


def shown(recorder: Recorder) -> list[str]:
    """A line for each run, oldest first: the status, and the nodes with theirs."""
    lines = []
    for summary in reversed(recorder.list_runs().runs):
        run = recorder.get_run(summary["run_id"])
        assert run is not None
        assert run["wpk_id"] == "g"
        logs = [
            f"{log['parent'] + '/' if log['parent'] else ''}{log['node']}"
            f"{'' if log['status'] == 'completed' else ' ' + log['status']}"
            for log in run["node_logs"]
        ]
        lines.append(f"{run['status']}: {', '.join(logs)}")
    return lines


def test_invoke(kept: Recorder, config: Any) -> None:
    assert two().invoke({"n": 1}, config)["n"] == 3
    assert shown(kept) == ["completed: a, b"]
    run = kept.get_run(kept.list_runs().runs[0]["run_id"])
    assert run is not None
    assert run["inputs"] == {"n": 1}
    assert run["outputs"] == {"n": 3, "seen": ["a", "b"]}
    assert run["thread_id"] == "t"
    assert [log["inputs"] for log in run["node_logs"]] == [
        {"n": 1, "seen": []},
        {"n": 2, "seen": ["a"]},
    ]
    assert [log["step"] for log in run["node_logs"]] == [1, 2]
    assert run["metadata"] == {"totals": {"nodes": 2}}


async def test_ainvoke(kept: Recorder, config: Any) -> None:
    await two().ainvoke({"n": 1}, config)
    assert shown(kept) == ["completed: a, b"]


@pytest.mark.parametrize("mode", ["values", "updates", "messages", "custom", "debug"])
def test_stream(mode: Any, kept: Recorder, config: Any) -> None:
    list(two().stream({"n": 1}, config, stream_mode=mode))
    assert shown(kept) == ["completed: a, b"]


def test_closed_stream(kept: Recorder, config: Any) -> None:
    stream = two().stream({"n": 1}, config)
    next(stream)
    stream.close()
    assert shown(kept)[0].startswith("cancelled: a")


async def test_astream(kept: Recorder, config: Any) -> None:
    async for _ in two().astream({"n": 1}, config):
        pass
    assert shown(kept) == ["completed: a, b"]


async def test_astream_events(kept: Recorder, config: Any) -> None:
    async for _ in two().astream_events({"n": 1}, config, version="v2"):
        pass
    assert shown(kept) == ["completed: a, b"]


def test_batch(kept: Recorder, config: Any) -> None:
    two().batch([{"n": 1}, {"n": 2}], {"callbacks": config["callbacks"]})
    assert shown(kept) == ["completed: a, b"] * 2


def test_failing_node(kept: Recorder, config: Any) -> None:
    with pytest.raises(ValueError, match="no"):
        builder(a=node("a"), b=failing).compile(name="g").invoke({}, config)
    assert shown(kept) == ["failed: a, b failed"]


async def test_failing_node_async(kept: Recorder, config: Any) -> None:
    with pytest.raises(ValueError, match="no"):
        await builder(a=failing_async).compile(name="g").ainvoke({}, config)
    assert shown(kept) == ["failed: a failed"]


def test_empty_input(kept: Recorder, config: Any) -> None:
    """No node starts, so that nothing but the root's own start tells of the graph."""
    with pytest.raises(Exception, match=r"\S"):
        two().invoke(None, config)
    assert shown(kept) == ["failed: "]


def test_interrupt_and_resume(kept: Recorder, config: Any) -> None:
    built = builder(a=node("a"), b=lambda _: {"seen": [interrupt("sure?")]})
    graph = built.compile(name="g", checkpointer=InMemorySaver())
    graph.invoke({"n": 1}, config)
    graph.invoke(Command(resume="yes"), config)
    assert shown(kept) == ["interrupted: a, b interrupted", "completed: b"]
    runs = [kept.get_run(run["run_id"]) for run in kept.list_runs().runs]
    assert [run["metadata"].get("resumed") for run in runs if run] == [True, None]
    assert runs[1] is not None
    (told,) = runs[1]["metadata"]["interrupts"]
    assert told["value"] == "sure?"


async def test_interrupt_and_resume_async(kept: Recorder, config: Any) -> None:
    built = builder(a=node("a"), b=lambda _: {"seen": [interrupt("sure?")]})
    graph = built.compile(name="g", checkpointer=InMemorySaver())
    await graph.ainvoke({"n": 1}, config)
    await graph.ainvoke(Command(resume="yes"), config)
    assert shown(kept) == ["interrupted: a, b interrupted", "completed: b"]


def test_interrupt_before(kept: Recorder, config: Any) -> None:
    graph = two(checkpointer=InMemorySaver(), interrupt_before=["b"])
    graph.invoke({"n": 1}, config)
    graph.invoke(None, config)
    status = "interrupted" if LANGGRAPH >= PAUSES else "completed"
    assert shown(kept) == [f"{status}: a", "completed: b"]


def test_subgraph_as_a_node(kept: Recorder, config: Any) -> None:
    inner = builder(x=node("x")).compile(name="inner")
    builder(a=node("a"), sub=inner).compile(name="g").invoke({"n": 1}, config)
    assert shown(kept) == ["completed: a, sub, sub/x"]


def test_subgraph_in_a_node(kept: Recorder, config: Any) -> None:
    inner = builder(x=node("x")).compile(name="inner")

    def call(state: State) -> Any:
        return inner.invoke(state)

    builder(sub=call).compile(name="g").invoke({"n": 1}, config)
    assert shown(kept) == ["completed: sub, sub/x"]


async def test_subgraph_in_a_node_async(kept: Recorder, config: Any) -> None:
    inner = builder(x=node("x")).compile(name="inner")

    async def call(state: State) -> Any:
        return await inner.ainvoke(state)

    await builder(sub=call).compile(name="g").ainvoke({"n": 1}, config)
    assert shown(kept) == ["completed: sub, sub/x"]


def test_handler_of_a_subgraph_alone(kept: Recorder, config: Any) -> None:
    """Called in a node of a graph without a handler, it is a run of its own."""
    inner = builder(x=node("x")).compile(name="g")
    own = inner.with_config(callbacks=config["callbacks"])
    given: Any = {"callbacks": config["callbacks"]}

    def call(state: State) -> Any:
        return own.invoke(state)

    def hand_over(state: State) -> Any:
        return inner.invoke(state, given)

    builder(one=call, two=hand_over).compile(name="outer").invoke({"n": 1})
    assert shown(kept) == ["completed: x"] * 2


async def test_handler_of_a_subgraph_alone_async(kept: Recorder, config: Any) -> None:
    inner = builder(x=node("x")).compile(name="g")
    own = inner.with_config(callbacks=config["callbacks"])

    async def call(state: State) -> Any:
        return await own.ainvoke(state)

    await builder(one=call).compile(name="outer").ainvoke({"n": 1})
    assert shown(kept) == ["completed: x"]


def test_handler_of_a_subgraph_node_alone(kept: Recorder, config: Any) -> None:
    """The subgraph is the node itself, or in a chain that is."""
    inner = builder(x=node("x")).compile(name="g")
    own = inner.with_config(callbacks=config["callbacks"])
    chain = RunnableLambda(lambda state: state) | own
    builder(one=own, two=chain).compile(name="outer").invoke({"n": 1})
    assert shown(kept) == ["completed: x"] * 2


async def test_handler_of_a_subgraph_node_alone_async(
    kept: Recorder, config: Any
) -> None:
    inner = builder(x=node("x")).compile(name="g")
    own = inner.with_config(callbacks=config["callbacks"])
    graph = builder(one=own, two=RunnableLambda(lambda state: state) | own)
    await graph.compile(name="outer").ainvoke({"n": 1})
    assert shown(kept) == ["completed: x"] * 2


def test_send(kept: Recorder, config: Any) -> None:
    built = builder((START, "a"), a=node("a"), w=lambda _: {"seen": ["w"]})
    built.add_conditional_edges("a", lambda _: [Send("w", {"n": 7})] * 2, ["w"])
    built.compile(name="g").invoke({"n": 1}, config)
    assert shown(kept) == ["completed: a, w, w"]


def test_command_goto(kept: Recorder, config: Any) -> None:
    def choose(_: State) -> Command[Any]:
        return Command(goto="b", update={"n": 5})

    builder((START, "a"), a=choose, b=node("b")).compile(name="g").invoke({}, config)
    assert shown(kept) == ["completed: a, b"]


def test_command_to_the_parent(kept: Recorder, config: Any) -> None:
    def leave(_: State) -> Command[Any]:
        return Command(goto="b", graph=Command.PARENT)

    inner = builder(x=leave).compile(name="inner")
    graph = builder((START, "sub"), sub=inner, b=node("b")).compile(name="g")
    graph.invoke({"n": 1}, config)
    assert shown(kept) == ["completed: sub, sub/x, b"]


def test_retry(kept: Recorder, config: Any) -> None:
    calls = []

    def once(_: State) -> State:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("again")
        return {"n": 1}

    policy = RetryPolicy(initial_interval=0.001, max_attempts=2)
    built: Any = StateGraph(State)
    word = "retry_policy" if LANGGRAPH >= (0, 5) else "retry"
    built.add_node("a", once, **{word: policy})
    built.add_edge(START, "a")
    built.compile(name="g").invoke({}, config)
    assert shown(kept) == ["completed: a failed, a"]


async def test_cancel(kept: Recorder, config: Any) -> None:
    started = asyncio.Event()

    async def wait(_: State) -> State:
        started.set()
        await asyncio.Event().wait()
        return {}

    running = asyncio.ensure_future(builder(a=wait).compile(name="g").ainvoke({}, config))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert shown(kept) == ["cancelled: a cancelled"]


def test_with_config(kept: Recorder, config: Any) -> None:
    two().with_config(callbacks=config["callbacks"]).invoke({"n": 1})
    assert shown(kept) == ["completed: a, b"]


def test_graph_in_a_chain(kept: Recorder, config: Any) -> None:
    (RunnableLambda(lambda n: {"n": n}) | two()).invoke(1, config)
    assert shown(kept) == ["completed: a, b"]


async def test_graph_in_a_chain_async(kept: Recorder, config: Any) -> None:
    await (RunnableLambda(lambda n: {"n": n}) | two()).ainvoke(1, config)
    assert shown(kept) == ["completed: a, b"]


def test_chain_without_a_graph(kept: Recorder, config: Any) -> None:
    """A run of its own, but not in the node of a graph that is not recorded."""
    chain = RunnableLambda(lambda state: state) | RunnableLambda(lambda state: state)
    chain.invoke({"n": 1}, config)
    graph = builder(a=lambda state: chain.invoke(state, config)).compile(name="g")
    graph.invoke({"n": 1})
    assert [run["wpk_id"] for run in kept.list_runs().runs] == ["RunnableSequence"]


def test_recording(kept: Recorder) -> None:
    with hooks.recording(recorder=kept):
        two().invoke({"n": 1})
    two().invoke({"n": 1})
    assert shown(kept) == ["completed: a, b"]


async def test_recording_async(kept: Recorder) -> None:
    with hooks.recording(recorder=kept):
        await two().ainvoke({"n": 1})
    assert shown(kept) == ["completed: a, b"]


@pytest.mark.long_with("install")
@pytest.mark.parametrize("begin", ["hooks.install()", "pass"], ids=["install", "tracing"])
def test_every_graph_of_the_process(
    begin: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_python(
        "import asyncio, runlog\n"
        "from runlog import hooks\n"
        "from test_handler_versions import two\n"
        f"{begin}\n"
        "two().invoke({'n': 1})\n"
        "asyncio.run(two().ainvoke({'n': 1}))\n"
        "print([run['status'] for run in runlog.list_runs(wpk_id='g').runs])\n",
        env={"PYTHONPATH": str(Path(__file__).parent)}
        | ({"RUNLOG_TRACING": "1"} if begin == "pass" else {}),
    )
    assert done.stdout == "['completed', 'completed']\n", done.stderr


def test_functional_api(kept: Recorder, config: Any) -> None:
    @task
    def square(n: int) -> int:
        return n * n

    @entrypoint()
    def g(numbers: list[int]) -> int:
        return sum(square(n).result() for n in numbers)

    config["run_name"] = "g"
    assert g.invoke([2, 3], config) == 13
    assert shown(kept) == ["completed: g, g/square, g/square"]


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_create_react_agent(kept: Recorder, config: Any) -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"{city}: sun"

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "1"}
    answers = [AIMessage("", tool_calls=[call]), AIMessage("sun")]
    agent = create_react_agent(Model(messages=iter(answers)), [weather], name="g")
    agent.invoke({"messages": [("user", "weather?")]}, config)
    assert shown(kept) == ["completed: agent, tools, agent"]


def test_subclass_of_the_handler(kept: Recorder, config: Any) -> None:
    """Methods of a subclass stand between LangChain and the handler."""

    class Own(RunLogHandler):
        def on_chain_start(self, *args: Any, **kwargs: Any) -> Any:
            return super().on_chain_start(*args, **kwargs)

    config["callbacks"] = [Own(recorder=kept)]
    two().invoke({"n": 1}, config)
    asyncio.run(two().ainvoke({"n": 1}, config))
    assert shown(kept) == ["completed: a, b"] * 2


def test_nothing_is_left_behind(kept: Recorder, config: Any) -> None:
    """Looking at the stack keeps no frame, and what it holds, alive."""
    graph = two()
    graph.invoke({"n": 1}, config)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        RunnableLambda(lambda state: state).invoke({"n": 1}, config)
        graph.invoke({"n": 1}, config)
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def test_the_table_of_versions_names_tests_that_exist() -> None:
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for reasons in SINCE.values():
        for tests in reasons.values():
            for test in tests:
                assert f"def {test.partition('[')[0]}(" in texts, test
