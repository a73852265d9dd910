"""Graphs of every shape: fanned out, of tasks, agents, in chains, many at once."""

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from graphs import (
    INNER,
    Seen,
    again,
    ainvoke,
    build,
    chain,
    command,
    count,
    deep,
    either,
    failed,
    interrupts,
    invoke,
    log,
    on_thread,
    record,
    record_of,
    run,
    tokens,
    unordered,
)
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START
from langgraph.types import (
    Command,
    Send,
    interrupt,
)

pytestmark = pytest.mark.either_store


@either
def test_the_inputs_of_a_fan_out_are_what_was_sent(
    recorder: Any, config: Any, call: Any
) -> None:
    """Inputs are what was sent, not the state."""
    builder = build((START, "split"), ("work", "join"), state=Seen)
    builder.add_node("split", lambda _: {"seen": ["split"]})
    builder.add_node("work", lambda part: {"seen": [part["part"]]})
    builder.add_node("join", lambda state: {"seen": [len(state["seen"])]})
    builder.add_conditional_edges(
        "split", lambda _: [Send("work", {"part": n}) for n in range(3)], ["work"]
    )
    call(builder.compile(name="g"), {"seen": []}, config)
    work = [log("work", 2, {"part": n}, {"seen": [n]}) for n in range(3)]
    assert unordered(record(recorder, config)) == run(
        {"seen": []},
        {"seen": ["split", 0, 1, 2, 4]},
        log("split", 1, {"seen": []}, {"seen": ["split"]}),
        *work,
        log("join", 3, {"seen": ["split", 0, 1, 2]}, {"seen": [4]}),
    )


@task
def double(number: int) -> int:
    return number * 2


@task
def double_later(number: int) -> int:
    return double(number).result()


@entrypoint()
def flow(number: int) -> Any:
    return {"sum": double(number).result() + double_later(number + 1).result()}


@task
async def adouble(number: int) -> int:
    return number * 2


@task
async def adouble_later(number: int) -> int:
    return await adouble(number)


@entrypoint()
async def aflow(number: int) -> Any:
    return {"sum": await adouble(number) + await adouble_later(number + 1)}


@pytest.mark.parametrize(
    ("call", "graph", "a"), [(invoke, flow, ""), (ainvoke, aflow, "a")]
)
def test_tasks_are_nodes_within_the_entrypoint(
    recorder: Any, config: Any, call: Any, graph: Any, a: Any
) -> None:
    """A task is a node within the entrypoint's."""
    call(graph, 1, config)
    first = f"{a}double"
    assert record(recorder, config) == run(
        1,
        {"sum": 6},
        log(f"{a}flow", 0, 1, {"sum": 6}),
        log(first, 0, {"number": 1}, 2, parent=f"{a}flow"),
        log(f"{a}double_later", 0, {"number": 2}, 4, parent=f"{a}flow"),
        log(first, 0, {"number": 2}, 4, parent=f"{a}double_later"),
        wpk_id="LangGraph",
    )


def test_finished_tasks_are_not_recorded_again_after_an_interrupt(
    recorder: Any, config: Any
) -> None:
    """Tasks that have ended are not done again."""

    @entrypoint(checkpointer=InMemorySaver())
    def asks(number: int) -> Any:
        return double(number).result() + interrupt("how many?")

    first = on_thread(config)
    invoke(asks, 1, first)
    common: Any = {"wpk_id": "LangGraph", "thread_id": "t"}
    assert record(recorder, first) == run(
        1,
        None,
        log("asks", 0, 1, status="interrupted"),
        log("double", 0, {"number": 1}, 2, parent="asks"),
        status="interrupted",
        metadata=interrupts("how many?"),
        **common,
    )
    second = again(first)
    invoke(asks, Command(resume=5), second)
    asks_log, resumed = log("asks", 0, 1, 7), {"resumed": True}
    assert record(recorder, second) == run(
        command(resume=5), 7, asks_log, metadata=resumed, **common
    )


class Model(FakeMessagesListChatModel):
    """Says what it is told to, and takes tools."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


@tool
def add(a: int, b: int) -> Any:
    """Add two numbers, and one."""
    return INNER.invoke({"n": a + b})["n"]


def stored_message(message: Any) -> Any:
    return message.model_dump()


@either
def test_an_agent_and_its_tools_are_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    """One of the tools calls a graph."""
    from langchain.agents import create_agent

    usage: Any = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    wanted: Any = [
        {"name": "add", "args": {"a": n, "b": 2}, "id": f"c{n}", "type": "tool_call"}
        for n in (1, 3)
    ]
    asks = AIMessage("", id="m1", tool_calls=wanted, usage_metadata=usage)
    says = AIMessage("done", id="m2", usage_metadata=usage)
    model = Model(responses=[asks, says])
    agent = create_agent(model, [add], name="agent")
    call(agent, {"messages": [HumanMessage("hi", id="h")]}, config)

    kept = unordered(record(recorder, config))
    results = kept["outputs"]["messages"][2:4]
    assert [one["content"] for one in results] == ["4", "6"]
    hi, asked = stored_message(HumanMessage("hi", id="h")), stored_message(asks)
    said = stored_message(says)
    one_call: Any = {"llm_calls": 1, "tokens": tokens(5, 7)}
    outputs: list[Any] = [
        {"messages": [asked]},
        {"messages": [said]},
    ]  # of langchain's model, formerly
    if any(isinstance(one["outputs"], list) for one in kept["node_logs"]):
        outputs = [[command(update=update)] for update in outputs]
    before = [hi, asked, *results]
    assert kept == run(
        {"messages": [hi]},
        {"messages": [*before, said]},
        deep(3, "tools"),
        deep(5, "tools"),
        log("model", 1, {"messages": [hi]}, outputs[0], **one_call),
        log("tools", 2, [wanted[0]], {"messages": [results[0]]}, tool_calls=1),
        log("tools", 2, [wanted[1]], {"messages": [results[1]]}, tool_calls=1),
        log("model", 3, {"messages": before}, outputs[1], **one_call),
        wpk_id="agent",
        metadata={"llm_calls": 2, "tool_calls": 2, "tokens": tokens(10, 14)},
    )


@either
def test_a_chain_around_a_graph_is_not_recorded(
    recorder: Any, config: Any, call: Any
) -> None:
    """The chain is not recorded, and the graph is as if it were alone."""
    around: Any = RunnableLambda(lambda n: {"n": n}) | INNER | RunnableLambda(str)
    assert call(around, 1, config) == "{'n': 2}"
    only = log("deep", 1, {"n": 1}, {"n": 2})
    assert record_of(recorder) == run({"n": 1}, {"n": 2}, only, wpk_id="inner")
    assert recorder.stats()["open_runs"] == 0


@either
def test_chains_within_a_graph_belong_to_the_node(
    recorder: Any, config: Any, call: Any
) -> None:
    """As nodes and in nodes; graphs in them belong to the node."""
    plus = RunnableLambda(count)
    parallel: Any = {"left": plus, "right": plus | INNER}
    sequence: Any = parallel | RunnableLambda(lambda both: both["right"])

    def calls(state: Any) -> Any:
        return (plus | plus).invoke(state)

    call(chain(itself=sequence, calls=calls), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 5},
        log("itself", 1, {"n": 1}, {"n": 3}),
        deep(2, "itself"),
        log("calls", 2, {"n": 3}, {"n": 5}),
    )


@either
@pytest.mark.parametrize("way", ["fallback", "retry"])
def test_each_attempt_of_a_whole_graph_is_a_run(
    recorder: Any, config: Any, call: Any, way: Any
) -> None:
    """LangChain does that around the graph, so that there are two runs."""
    boom = ValueError("boom")
    left = [boom]

    def flaky(state: Any) -> Any:
        if left:
            raise left.pop()
        return count(state)

    graph = chain("first", a=flaky)
    if way == "fallback":
        graph = graph.with_fallbacks([chain("second", a=count)])
    else:
        graph = graph.with_retry(wait_exponential_jitter=False)
    call(graph, {"n": 1}, config)
    assert recorder.flush()
    second, first = recorder.list_runs().runs
    a = log("a", 1, {"n": 1}, **failed(boom))
    expected = run({"n": 1}, None, a, wpk_id="first", **failed(boom))
    assert record(recorder, first["run_id"]) == expected
    a = log("a", 1, {"n": 1}, {"n": 2})
    name = "second" if way == "fallback" else "first"
    kept = record(recorder, second["run_id"])
    kept["metadata"] = None  # LangChain's tag for the attempt may be there
    assert kept == run({"n": 1}, {"n": 2}, a, wpk_id=name)


def test_a_chain_alone_is_a_run_with_one_node(recorder: Any, config: Any) -> None:
    sequence: Any = RunnableLambda(count) | RunnableLambda(count)
    assert sequence.invoke({"n": 1}, config) == {"n": 3}
    name = "RunnableSequence"
    only = log(name, 0, {"n": 1}, {"n": 3})
    assert record(recorder, config) == run({"n": 1}, {"n": 3}, only, wpk_id=name)
    assert recorder.stats()["open_runs"] == 0


@pytest.mark.parametrize("call", ["batch", "abatch"])
def test_each_item_of_a_batch_is_a_run(recorder: Any, config: Any, call: Any) -> None:
    def odd(state: Any) -> Any:
        if state["n"] % 2:
            raise ValueError(f"{state['n']} is odd")
        return count(state)

    graph, configs = chain(a=odd), [again(config) for _ in range(6)]
    given = [{"n": n} for n in range(6)]
    if call == "batch":
        graph.batch(given, configs, return_exceptions=True)
    else:
        asyncio.run(graph.abatch(given, configs, return_exceptions=True))
    for n, its in enumerate(configs):
        error = failed(ValueError(f"{n} is odd"))
        if n % 2:
            expected = run({"n": n}, None, log("a", 1, {"n": n}, **error), **error)
        else:
            expected = run({"n": n}, {"n": n + 1}, log("a", 1, {"n": n}, {"n": n + 1}))
        assert record(recorder, its) == expected
    assert len(recorder.list_runs().runs) == 6


def test_runs_of_threads_and_event_loops_do_not_mix(recorder: Any, config: Any) -> None:
    """One handler, 8 threads, 4 of which run an event loop each."""
    graph = chain(sub=INNER, last=count)
    barrier = threading.Barrier(8)
    configs = [[again(config) for _ in range(6)] for _ in range(8)]

    def many(number: int) -> None:
        barrier.wait()
        for n, its in enumerate(configs[number]):
            graph.invoke({"n": number * 100 + n}, its)

    def many_async(number: int) -> None:
        async def at_once() -> None:
            await asyncio.gather(
                *(
                    graph.ainvoke({"n": number * 100 + n}, its)
                    for n, its in enumerate(configs[number])
                )
            )

        barrier.wait()
        asyncio.run(at_once())

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(many, number) for number in range(4)]
        calls += [pool.submit(many_async, number) for number in range(4, 8)]
        for one in calls:
            one.result()
    for number, those in enumerate(configs):
        for n, its in enumerate(those, number * 100):
            assert record(recorder, its) == run(
                {"n": n},
                {"n": n + 2},
                log("sub", 1, {"n": n}, {"n": n + 1}),
                deep(n, "sub"),
                log("last", 2, {"n": n + 1}, {"n": n + 2}),
            )
    assert len(recorder.list_runs(limit=100).runs) == 48
    assert recorder.stats()["open_runs"] == 0


@either
def test_a_handler_listed_twice_records_once(
    recorder: Any, handler: Any, config: Any, call: Any
) -> None:
    """LangChain gives it the run's start and end twice."""
    config["callbacks"] = [handler, handler]
    call(chain(sub=INNER), {"n": 1}, config)
    sub = log("sub", 1, {"n": 1}, {"n": 2})
    assert record(recorder, config) == run({"n": 1}, {"n": 2}, sub, deep(1, "sub"))
    assert len(recorder.list_runs().runs) == 1
    assert recorder.stats()["open_runs"] == 0


@either
def test_a_graph_configured_with_the_handler_is_recorded(
    recorder: Any, handler: Any, config: Any, call: Any
) -> None:
    graph = INNER.with_config(callbacks=[handler], metadata={"user": "u"}, tags=["x"])
    del config["callbacks"]
    call(graph, {"n": 1}, config | {"tags": ["y"]})
    only = log("deep", 1, {"n": 1}, {"n": 2})
    kept = record(recorder, config)
    kept["metadata"]["tags"].sort()
    metadata = {"user": "u", "tags": ["x", "y"]}
    assert kept == run({"n": 1}, {"n": 2}, only, wpk_id="inner", metadata=metadata)


@either
def test_a_trace_policy_is_obeyed(recorder: Any, config: Any, call: Any) -> None:
    from langgraph.types import TracePolicy, omit_payload

    builder = build((START, "a"), ("a", "b"), ("b", "c"), c=count)
    policy = TracePolicy(process_inputs=omit_payload)
    builder.add_node("a", count, trace_policy=policy)
    policy = TracePolicy(process_outputs=lambda _: {"withheld": True})
    builder.add_node("b", count, trace_policy=policy)
    call(builder.compile(name="g"), {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 4},
        log("a", 1, {}, {"n": 2}),
        log("b", 2, {"n": 2}, {"withheld": True}),
        log("c", 3, {"n": 3}, {"n": 4}),
    )


def test_metadata_under_reserved_names_is_renamed(recorder: Any, config: Any) -> None:
    """Its own words give way to runlog's, under another name."""
    words = ["tags", "interrupts", "resumed", "llm_calls", "tool_calls", "tokens"]
    words.append("models")
    config["metadata"] = {word: f"my {word}" for word in words} | {"user": {"id": 7}}
    config["tags"] = ["x"]
    config["run_name"] = "named"
    invoke(INNER, {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 2},
        log("deep", 1, {"n": 1}, {"n": 2}),
        wpk_id="named",
        metadata={
            **{f"user_{word}": f"my {word}" for word in words},
            "user": {"id": 7},
            "tags": ["x"],
        },
    )


def test_a_run_is_recorded_once_per_recorder(recorder: Any, config: Any) -> None:
    """Two handlers on one recorder keep it once, on two recorders twice."""
    import runlog
    from runlog.hooks import RunLogHandler

    with runlog.Recorder(sqlite_path="other.db") as other:
        config["callbacks"] += [
            RunLogHandler("second", recorder=recorder),
            RunLogHandler("other", recorder=other),
        ]
        invoke(INNER, {"n": 1}, config)
        expected = run({"n": 1}, {"n": 2}, log("deep", 1, {"n": 1}, {"n": 2}))
        assert record_of(recorder) == expected | {"wpk_id": "inner"}
        assert record_of(other) == expected | {"wpk_id": "other"}


def test_all_runs_with_one_id_but_the_last_get_a_suffix(
    recorder: Any, config: Any
) -> None:
    assert isinstance(config["run_id"], uuid.UUID)
    for n in (1, 2, 3):
        invoke(INNER, {"n": n}, config)
    for n, suffix in ((1, "~2"), (2, "~3"), (3, "")):
        expected = run({"n": n}, {"n": n + 1}, log("deep", 1, {"n": n}, {"n": n + 1}))
        kept = record(recorder, f"{config['run_id']}{suffix}")
        assert kept == expected | {"wpk_id": "inner"}
