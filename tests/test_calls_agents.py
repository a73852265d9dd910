"""Calls of agents, of graphs with many branches, and of what wraps models."""

from __future__ import annotations

import asyncio
import json
import operator
from typing import Annotated, Any, TypedDict

import pytest
from call_help import (
    ANSWER,
    QUESTION,
    Chat,
    ask,
    ask_model,
    asks,
    calls_of,
    does,
    failed,
    graph_of,
    llm,
    logs_of,
    only_calls,
    plus,
    refuse,
    said,
    tool_call,
    wants,
)
from fixtures_store import Store
from graphs import either, invoke
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Send
from strategies import to_json_model

from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store


def answers_of(logs: Any, node: str = "tools") -> list[Any]:
    """The ToolMessages that nodes have returned, as a model is given them."""
    return [
        message
        for log in logs
        if log["node"] == node
        for message in log["outputs"]["messages"]
    ]


@either
def test_an_agent_with_tools_in_parallel(recorder: Any, config: Any, call: Any) -> None:
    """Each tool is in the node log in which it ran; the model gets their answers."""
    from langchain.agents import create_agent

    asked = wants(
        ("plus", {"a": 1}), ("plus", {"a": 2}), ("ask_model", {"question": "?"})
    )
    agent = create_agent(said(asked, ANSWER), [plus, ask_model], name="g")
    call(agent, {"messages": [QUESTION]}, config)
    logs, calls = logs_of(recorder, config), calls_of(recorder, config)
    tools = {one.name: convert_to_openai_tool(one) for one in (plus, ask_model)}
    named = to_json_model(asked) | {"name": "g"}
    assert calls[0] == ("model", [llm(tools=tools, outputs=[to_json_model(asked)])])
    assert calls[-1] == (
        "model",
        [
            llm(
                tools=tools,
                messages=[to_json_model(QUESTION), named, *answers_of(logs)],
            )
        ],
    )
    outputs = [
        ToolMessage(text, name=name, tool_call_id=f"c{at}")
        for at, (name, text) in enumerate(
            [("plus", "2"), ("plus", "3"), ("ask_model", "two words")]
        )
    ]
    within = to_json_model(HumanMessage("?"))
    assert sorted(calls[1:-1], key=lambda pair: pair[1][0]["tool_call_id"]) == [
        ("tools", [tool_call("plus", {"a": 1}, outputs[0])]),
        ("tools", [tool_call("plus", {"a": 2}, outputs[1])]),
        (
            "tools",
            [
                tool_call("ask_model", {"question": "?"}, outputs[2]),
                llm(parent=0, messages=[within]),
            ],
        ),
    ]


@either
def test_tools_of_a_node_alone(recorder: Any, config: Any, call: Any) -> None:
    """Those that one node has called at once; an error that it answers is an output."""
    asked = wants(("plus", {"a": 1}), ("plus", {"wrong": 1}), ("plus", {"a": 3}))
    graph = graph_of(ToolNode([plus]))
    call(graph, {"messages": [asked]}, config)
    calls = {one["tool_call_id"]: one for one in only_calls(recorder, config)}
    for at, (n, text) in {"c0": (1, "2"), "c2": (3, "4")}.items():
        message = ToolMessage(text, name="plus", tool_call_id=at)
        assert calls[at] == tool_call("plus", {"a": n}, message)
    assert calls["c1"]["status"] == "failed"
    assert calls["c1"]["error_type"] == "ValidationError"
    assert calls["c1"]["args"] == {"wrong": 1}
    (message,) = (
        one
        for one in answers_of(logs_of(recorder, config), "a")
        if one["tool_call_id"] == "c1"
    )
    assert message["status"] == "error"


LONG = "a long text " * 20


@tool
def tell(a: int) -> str:
    """Tell something."""
    return LONG


def test_a_message_that_gets_its_id_or_name_later_is_stored_once_a_node(
    recorder: Any, store: Store, config: Any
) -> None:
    """The tools' nodes give the answers ids, and the agent its name to what the model
    said; the calls are given back as they returned.
    """
    from langchain.agents import create_agent

    said_first = wants(("tell", {"a": 1}), ("tell", {"a": 2}))
    said_last = AIMessage(f"{LONG} indeed", id="last")
    agent = create_agent(said(said_first, said_last), [tell], name="g")
    agent.invoke({"messages": [QUESTION]}, config)
    model, *told, last = calls_of(recorder, config)
    assert [call["outputs"] for _, (call,) in (model, last)] == [
        [to_json_model(said_first)],
        [to_json_model(said_last)],
    ]
    assert sorted(call["output"]["tool_call_id"] for _, (call,) in told) == ["c0", "c1"]
    for _, (call,) in told:
        output = ToolMessage(LONG, name="tell", tool_call_id=call["tool_call_id"])
        assert call["output"] == to_json_model(output)
    ((stored,),) = store.query("SELECT node_logs FROM workflow_runs")
    logs = stored if isinstance(stored, list) else json.loads(stored)
    for log in logs:
        own = [log["outputs"], *log["calls"]]
        assert json.dumps(own).count(LONG) == (log is not logs[0]), log


@tool
def complain(a: int) -> Any:
    """Answer with an error."""
    return ToolMessage(f"no {a}", tool_call_id="own", status="error", artifact={"n": a})


@either
def test_tools_that_answer_with_errors(recorder: Any, config: Any, call: Any) -> None:
    """One returns a ToolMessage that says error, with an artifact; the other raises."""
    node = ToolNode([complain, refuse], handle_tool_errors=True)
    asked = wants(("complain", {"a": 1}), ("refuse", {"a": 2}))
    call(graph_of(node), {"messages": [asked]}, config)
    calls = {one["name"]: one for one in only_calls(recorder, config)}
    output = ToolMessage("no 1", tool_call_id="own", status="error", artifact={"n": 1})
    assert calls["complain"] == tool_call("complain", {"a": 1}, output, tool_call_id="c0")
    assert calls["refuse"] == tool_call(
        "refuse", {"a": 2}, None, tool_call_id="c1", **failed(ValueError("not 2"))
    )


@either
def test_a_tool_that_ends_the_run(recorder: Any, config: Any, call: Any) -> None:
    node = ToolNode([refuse], handle_tool_errors=False)
    with pytest.raises(ValueError):
        call(graph_of(node), {"messages": [wants(("refuse", {"a": 2}))]}, config)
    assert only_calls(recorder, config) == [
        tool_call(
            "refuse", {"a": 2}, None, tool_call_id="c0", **failed(ValueError("not 2"))
        )
    ]
    (log,) = logs_of(recorder, config)
    assert (log["status"], log["error_text"]) == ("failed", "not 2")


INNER = graph_of(asks(Chat()), name="inner")


@tool
def delegate(question: str) -> str:
    """Have a graph answer."""
    state = INNER.invoke({"messages": [QUESTION]})
    return str(state["messages"][-1].content)


@either
def test_a_graph_in_a_tool(recorder: Any, config: Any, call: Any) -> None:
    """What its nodes call belongs to these, and has no parent."""
    asked = wants(("delegate", {"question": "why?"}))
    call(graph_of(ToolNode([delegate])), {"messages": [asked]}, config)
    output = ToolMessage("two words", name="delegate", tool_call_id="c0")
    (outer, (node, calls)) = calls_of(recorder, config)
    assert outer == ("a", [tool_call("delegate", {"question": "why?"}, output)])
    assert (node, calls) == ("a", [llm()])
    assert [log["parent"] for log in logs_of(recorder, config)] == [None, "a"]


@either
def test_each_retry_is_a_call(recorder: Any, config: Any, call: Any) -> None:
    errors = [ValueError("first"), ValueError("second")]
    model = said(*errors, ANSWER).with_retry(
        retry_if_exception_type=(ValueError,), wait_exponential_jitter=False
    )
    ask(call, asks(model), config)
    assert only_calls(recorder, config) == [
        *(llm(outputs=None, **failed(error)) for error in errors),
        llm(),
    ]


@either
def test_each_fallback_is_a_call(recorder: Any, config: Any, call: Any) -> None:
    error = ValueError("first")
    first = Chat(says=iter([error]), model_name="large")
    model = first.with_fallbacks([Chat(model_name="small")])
    ask(call, asks(model), config)
    assert only_calls(recorder, config) == [
        llm(model="large", outputs=None, **failed(error)),
        llm(model="small"),
    ]


@either
def test_each_attempt_of_a_node_has_its_calls(
    recorder: Any, config: Any, call: Any
) -> None:
    from langgraph.types import RetryPolicy

    error = ValueError("first")
    builder = StateGraph(MessagesState)
    policy = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ValueError)
    model = said(error, ANSWER)
    builder.add_node("a", asks(model), retry_policy=policy)
    builder.add_edge(START, "a")
    call(builder.compile(name="g"), {"messages": [QUESTION]}, config)
    assert calls_of(recorder, config) == [
        ("a", [llm(outputs=None, **failed(error))]),
        ("a", [llm()]),
    ]
    assert [log["attempt"] for log in logs_of(recorder, config)] == [1, 2]


class Branches(TypedDict, total=False):
    n: int
    seen: Annotated[list[int], operator.add]


@either
def test_200_branches_call_at_once(recorder: Any, config: Any, call: Any) -> None:
    def act(state: Any) -> Any:
        Chat().invoke([HumanMessage(str(state["n"]), id=str(state["n"]))])
        plus.invoke({"a": state["n"]})
        return {"seen": [state["n"]]}

    async def act_async(state: Any) -> Any:
        await Chat().ainvoke([HumanMessage(str(state["n"]), id=str(state["n"]))])
        await plus.ainvoke({"a": state["n"]})
        return {"seen": [state["n"]]}

    builder = StateGraph(Branches)
    builder.add_node("a", does(act, act_async))
    builder.add_conditional_edges(
        START, lambda _: [Send("a", {"n": n}) for n in range(200)], ["a"]
    )
    call(builder.compile(name="g"), {"n": 0}, config)
    logs, calls = logs_of(recorder, config), calls_of(recorder, config)
    assert sorted(log["inputs"]["n"] for log in logs) == list(range(200))
    for log, (_, made) in zip(logs, calls, strict=True):
        n = log["inputs"]["n"]
        message = to_json_model(HumanMessage(str(n), id=str(n)))
        assert made == [llm(messages=[message]), tool_call("plus", {"a": n}, n + 1)]


@either
def test_a_batch_of_calls(recorder: Any, config: Any, call: Any) -> None:
    given: Any = [[HumanMessage(str(n), id=str(n))] for n in range(10)]

    def act(_: Any) -> Any:
        Chat().batch(given)

    async def act_async(_: Any) -> Any:
        await Chat().abatch(given)

    ask(call, does(act, act_async), config)
    calls = only_calls(recorder, config)
    calls.sort(key=lambda one: one["messages"][0]["id"])
    assert calls == [llm(messages=to_json_model(messages)) for messages in given]


@either
def test_a_batch_of_runs(recorder: Any, handler: Any, call: Any) -> None:
    graph = graph_of(asks(Chat()))
    given: Any = [{"messages": [HumanMessage(str(n), id=str(n))]} for n in range(5)]
    if call is invoke:
        graph.batch(given, {"callbacks": [handler]})
    else:
        asyncio.run(graph.abatch(given, {"callbacks": [handler]}))
    assert recorder.flush()
    runs = recorder.list_runs().runs
    assert len(runs) == 5
    for one in runs:
        run = recorder.get_run(one["run_id"])
        assert only_calls(recorder, run) == [llm(messages=run["inputs"]["messages"])]


@either
def test_calls_of_a_conditional_edge(recorder: Any, config: Any, call: Any) -> None:
    """They are those of the node in front of it."""

    def choose(state: Any) -> Any:
        return "b" if Chat().invoke([QUESTION]).content == "two words" else END

    builder = StateGraph(MessagesState)
    builder.add_node("a", asks(Chat()))
    builder.add_node("b", does(lambda _: None))
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", choose)
    call(builder.compile(name="g"), {"messages": [QUESTION]}, config)
    assert calls_of(recorder, config) == [("a", [llm(), llm()]), ("b", [])]


@either
def test_the_functional_api(recorder: Any, config: Any, call: Any) -> None:
    """Calls of a task are in its log, those of the entrypoint in its own."""

    @task
    def look(a: int) -> Any:
        return plus.invoke({"a": a})

    @task
    async def look_async(a: int) -> Any:
        return await plus.ainvoke({"a": a})

    @entrypoint()
    def flow(question: str) -> Any:
        Chat().invoke([QUESTION])
        return look(1).result()

    @entrypoint()
    async def flow_async(question: str) -> Any:
        await Chat().ainvoke([QUESTION])
        return await look_async(1)

    graph = flow if call is invoke else flow_async
    assert call(graph, "why?", config) == 2
    suffix = "" if call is invoke else "_async"
    assert calls_of(recorder, config) == [
        (f"flow{suffix}", [llm()]),
        (f"look{suffix}", [tool_call("plus", {"a": 1}, 2)]),
    ]


def test_tasks_that_nobody_waits_for(recorder: Any, config: Any) -> None:
    """Most begin when the entrypoint has returned, and the run ends after them."""

    @task
    def look(a: int) -> Any:
        chain: Any = RunnableLambda(lambda _: {"a": a}) | plus
        return chain.invoke(None)

    @entrypoint()
    def flow(question: str) -> Any:
        for a in range(5):
            look(a)
        return "done"

    assert flow.invoke("why?", config) == "done"
    first, *tasks = logs_of(recorder, config)
    assert (first["node"], first["outputs"]) == ("flow", "done")
    assert sorted(log["outputs"] for log in tasks) == [1, 2, 3, 4, 5]
    for log in tasks:
        assert (log["node"], log["parent"], log["status"]) == (
            "look",
            "flow",
            "completed",
        )
        (call,) = log["calls"]
        assert (call["args"], call["output"]) == (log["inputs"], log["outputs"])
    assert recorder.stats()["handler_ignored"] == 0


@pytest.mark.parametrize("interval", [0, None])
async def test_calls_that_begin_when_their_node_has_ended(
    recorder: Any, config: Any, interval: float | None
) -> None:
    """By a task that the node has begun: they are its own, as those that end late."""
    ended = asyncio.Event()
    made: list[asyncio.Task[Any]] = []

    async def late() -> None:
        await ended.wait()
        await Chat().ainvoke([QUESTION])
        chain: Any = RunnableLambda(lambda _: [QUESTION]) | Chat()
        await chain.ainvoke(None)

    async def begins(_: Any) -> Any:
        made.append(asyncio.create_task(late()))
        return {"messages": []}

    async def waits(_: Any) -> Any:
        ended.set()
        await asyncio.wait_for(made[0], 30)
        return {"messages": []}

    handler = RunLogHandler(recorder=recorder, checkpoint_interval=interval)
    config["callbacks"] = [handler]
    await graph_of(begins, waits).ainvoke({"messages": [QUESTION]}, config)
    assert calls_of(recorder, config) == [("a", [llm(), llm()]), ("b", [])]
    assert [log["llm_calls"] for log in logs_of(recorder, config)] == [2, 0]
    assert recorder.stats()["handler_ignored"] == 0


@either
def test_a_call_that_is_made_by_a_graph_in_a_node(
    recorder: Any, config: Any, call: Any
) -> None:
    """Each level has its own calls; the model before and after is the outer node's."""

    def act(_: Any) -> Any:
        Chat().invoke([QUESTION])
        INNER.invoke({"messages": [QUESTION]})
        Chat().invoke([QUESTION])

    ask(call, does(act), config)
    assert [made for _, made in calls_of(recorder, config)] == [[llm(), llm()], [llm()]]
    totals = [log["llm_calls"] for log in logs_of(recorder, config)]
    assert totals == [2, 1]


def test_a_call_in_a_lambda_is_its_nodes(recorder: Any, config: Any) -> None:
    """What only passes on calls is no call, and no parent."""
    inner: Any = RunnableLambda(lambda _: Chat().invoke([QUESTION]))
    outer = RunnableLambda(inner.invoke)
    ask(invoke, does(lambda _: outer.invoke(1) and None), config)
    assert only_calls(recorder, config) == [llm()]
