"""Prompts are stored as what is new of them, and given back exactly.

The messages of a prompt may be any: dicts that look like what runlog stores for prompts,
values and logs are among them.
"""

from __future__ import annotations

import json
import operator
import uuid
from typing import Annotated, Any, TypedDict

import pytest
from call_help import Chat, asks, graph_of, logs_of, wants
from fixtures_store import Store
from graphs import invoke
from handler_graphs import begin_root, uuid7
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.graph import START, StateGraph
from strategies import to_json_model

import runlog
from runlog import _calls
from runlog.hooks import RunLogHandler

LARGE = "picture " * 1200
"""A text that is stored as a value of its own."""
POOL: list[Any] = [
    HumanMessage("one", id="1"),
    HumanMessage("one", id="2"),
    SystemMessage("Be brief."),
    AIMessage("two words", id="a"),
    wants(("plus", {"a": 1})),
    ToolMessage("2", tool_call_id="c0", artifact={"$value": "x"}),
    HumanMessage([{"type": "image_url", "image_url": {"url": LARGE}}], id="3"),
    {"$messages": [[0, 2]]},
    {"first": 0, "new": [], "$messages": [[0, 1]]},
    {"$messages": "none"},
    {"$value": "0" * 32},
    {"$value": LARGE},
    {"$of": [0, 0], "kind": "event"},
    {"first": 1},
    {"since": None, "append": {"messages": [1]}},
    {"messages": [1, 2]},
    {},
    [],
    [[0, 1]],
    "text",
    LARGE,
    "",
    None,
    0,
    0.5,
    True,
    '\u00fc\n"\\',
]
WANTED = [to_json_model(message) for message in POOL]

indexes = st.lists(st.integers(0, len(POOL) - 1), max_size=8)
steps = st.lists(
    st.tuples(st.booleans(), st.lists(indexes, max_size=4), indexes), max_size=6
)
"""Nodes: whether the inputs are the messages of a prompt, the prompts, other messages."""


def options() -> settings:
    return settings(
        max_examples=60,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def begin_node(handler: Any, root: uuid.UUID, inputs: Any) -> uuid.UUID:
    """A node begins, by an event made by hand."""
    run_id = uuid7()
    handler.on_chain_start(
        None,
        inputs,
        run_id=run_id,
        parent_run_id=root,
        tags=["graph:step:1"],
        metadata={"langgraph_checkpoint_ns": f"n:{run_id}", "langgraph_step": 1},
        name="n",
    )
    return run_id


def ask_for(handler: Any, node: uuid.UUID, prompt: list[Any], end: bool = True) -> None:
    """A model is asked in it."""
    run_id = uuid7()
    handler.on_chat_model_start(
        {"name": "Chat"}, [prompt], run_id=run_id, parent_run_id=node
    )
    if end:
        handler.on_llm_end(None, run_id=run_id)


def record_prompts(handler: Any, nodes: Any, ends: bool = True) -> tuple[str, list[Any]]:
    """Record a run of these nodes; return its id, and the prompts of each node."""
    root = begin_root(handler, "g", messages=[])
    expected: list[Any] = []
    state: list[Any] = []
    for same, prompts, others in nodes:
        state = [POOL[i] for i in others] + (state if same else [])
        if same and prompts:
            state = state + [POOL[i] for i in prompts[0]]
        node = begin_node(handler, root, {"messages": state, "n": len(expected)})
        for prompt in prompts:
            ask_for(handler, node, [POOL[i] for i in prompt])
        if same:
            ask_for(handler, node, state)
        expected.append(
            [[WANTED[i] for i in prompt] for prompt in prompts]
            + ([to_json_model(state)] if same else [])
        )
        handler.on_chain_end({"n": 1}, run_id=node)
    if ends:
        handler.on_chain_end({"n": 1}, run_id=root)
    return str(root), expected


def prompts_of(recorder: Any, run_id: str) -> list[Any]:
    """The prompts of each node, as get_run gives them."""
    logs = logs_of(recorder, {"run_id": run_id})
    return [[call["messages"] for call in log["calls"]] for log in logs]


@given(nodes=steps, calls=st.sampled_from(["delta", "full"]))
@options()
def test_every_prompt_is_given_back(local: Any, nodes: Any, calls: Any) -> None:
    handler = RunLogHandler(recorder=local, calls=calls)
    run_id, expected = record_prompts(handler, nodes)
    assert prompts_of(local, run_id) == expected


@given(nodes=steps, inputs=st.sampled_from(["full", "none"]))
@options()
def test_whatever_the_inputs_of_nodes_are_stored_as(
    local: Any, nodes: Any, inputs: Any
) -> None:
    handler = RunLogHandler(recorder=local, node_inputs=inputs)
    run_id, expected = record_prompts(handler, nodes)
    assert prompts_of(local, run_id) == expected


@given(nodes=steps)
@options()
def test_while_the_run_is_open(local: Any, nodes: Any) -> None:
    handler = RunLogHandler(recorder=local, checkpoint_interval=0)
    run_id, expected = record_prompts(handler, nodes, ends=False)
    assert prompts_of(local, run_id) == expected
    handler.on_chain_end({}, run_id=uuid.UUID(run_id))
    assert prompts_of(local, run_id) == expected


@given(nodes=steps)
@options()
def test_where_prompts_are_lists_only_when_they_are_used(local: Any, nodes: Any) -> None:
    run_id, expected = record_prompts(RunLogHandler(recorder=local), nodes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_calls, "_EAGER", 0)
        logs = logs_of(local, {"run_id": run_id})
        for log, wanted in zip(logs, expected, strict=True):
            for call, prompt in zip(log["calls"], wanted, strict=True):
                assert call["messages"] == prompt
                if prompt:
                    call["messages"].append("own")  # the reader's, of this use only
                assert call["messages"] == prompt
                assert json.loads(json.dumps(call))["messages"] == prompt


class Growing(TypedDict, total=False):
    messages: Annotated[list[Any], operator.add]


def conversation(turns: int, pad: int = 0) -> Any:
    """A graph of one node that asks a model so many times, with all that was said."""

    def act(state: Any) -> Any:
        n = len(state["messages"])
        answer = Chat().invoke(state["messages"])
        question = HumanMessage(f"question {n} " + "x" * pad, id=f"q{n}")
        return {"messages": [AIMessage(f"{answer.content} {n}", id=f"a{n}"), question]}

    builder = StateGraph(Growing)
    builder.add_node("a", act)
    builder.add_edge(START, "a")
    builder.add_conditional_edges(
        "a", lambda state: "a" if len(state["messages"]) < 2 * turns else "__end__"
    )
    return builder.compile(name="g")


def check_conversation(logs: Any, turns: int, step: int = 1) -> None:
    """Each call was asked what its node got; every `step`th is looked at."""
    assert len(logs) == turns
    for at in range(0, turns, step):
        log = logs[at]
        (call,) = log["calls"]
        assert len(call["messages"]) == 2 * at + 1
        assert call["messages"] == log["inputs"]["messages"]


BEGIN: Any = {"messages": [HumanMessage("begin", id="b")]}


def test_a_run_that_left_memory(recorder: Any, store: Store) -> None:
    with runlog.Recorder(**store.options, max_memory=2**20) as small:
        its: Any = {"callbacks": [RunLogHandler(recorder=small)], "run_id": uuid.uuid4()}
        conversation(60, 6000).invoke(BEGIN, its | {"recursion_limit": 100})
        assert small.stats()["handler_spilled"] > 0
        assert small.stats()["handler_dropped"] == 0
        check_conversation(logs_of(small, its), 60)


@pytest.mark.parametrize("memory", [pytest.param(2**30, marks=pytest.mark.long), 2**20])
def test_a_long_run(tmp_path: Any, memory: int) -> None:
    """Its logs are decoded when they are asked for, also where they had left memory."""
    path = str(tmp_path / "long.db")
    with runlog.Recorder(sqlite_path=path, max_memory=memory) as recorder:
        handler = RunLogHandler(recorder=recorder, checkpoint_interval=None)
        its: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
        conversation(1010).invoke(BEGIN, its | {"recursion_limit": 1100})
        assert (recorder.stats()["handler_spilled"] > 0) == (memory == 2**20)
        logs = logs_of(recorder, its)
    assert type(logs[0]) is not dict
    middle = logs[500]
    assert middle["calls"][0]["messages"] == middle["inputs"]["messages"]
    check_conversation(logs, 1010, 50)


@pytest.fixture
def local(tmp_path: Any) -> Any:
    """A recorder on a file: what is stored as JSON is the same on both databases."""
    with runlog.Recorder(sqlite_path=str(tmp_path / "local.db")) as made:
        yield made


def test_all_is_stored_once_a_run(recorder: Any, store: Store) -> None:
    """A picture, a system prompt and the schema of a tool, in a hundred prompts."""
    picture, brief, schema = "pic" * 4000, "Be very brief. " * 20, "A schema. " * 800
    tool = {"name": "look", "description": schema, "input_schema": {"type": "object"}}
    model = Chat().bind(tools=[tool])
    system = SystemMessage(brief, id="s")
    url = f"data:image/png;base64,{picture}"
    shown = HumanMessage([{"type": "image_url", "image_url": {"url": url}}], id="h")

    def act(state: Any) -> Any:
        for n in range(10):
            model.invoke([system, *state["messages"], HumanMessage(str(n), id=str(n))])

    handler = RunLogHandler(recorder=recorder)
    its: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
    invoke(graph_of(*[act] * 8), {"messages": [shown]}, its)
    assert recorder.flush()
    (text,) = store.query("SELECT node_logs FROM workflow_runs")[0]
    parts = str(store.query("SELECT * FROM run_parts"))
    assert (str(text) + parts).count(picture) == 1
    assert (str(text) + parts).count(schema) == 1
    assert str(text).count(brief) == 1
    logs = logs_of(recorder, its)
    wanted = to_json_model([system, shown])
    for log in logs:
        assert len(log["calls"]) == 10
        for call in log["calls"]:
            assert call["messages"][:2] == wanted
            assert call["tools"] == {"look": tool}


@pytest.mark.parametrize("eager", [True, False])
def test_what_was_read_can_be_logged_again(
    recorder: Any, config: Any, monkeypatch: pytest.MonkeyPatch, eager: bool
) -> None:
    """Calls come back as they were read, also where prompts are built at each use."""
    if not eager:
        monkeypatch.setattr(_calls, "_EAGER", 0)
    conversation(4).invoke(BEGIN, config)
    logs = logs_of(recorder, config)
    check_conversation(logs, 4)
    copy = {"wpk_id": "w", "run_id": "copy", "status": "completed", "node_logs": logs}
    recorder.log_run(copy)
    assert logs_of(recorder, {"run_id": "copy"}) == logs


def test_prompts_of_calls_at_once(recorder: Any, config: Any) -> None:
    """Messages that several ask for first, at the same time, are each of its own."""
    given: Any = [[SystemMessage("s"), HumanMessage(str(n % 7))] for n in range(100)]

    def act(_: Any) -> Any:
        Chat().batch(given)

    invoke(graph_of(act, asks(Chat())), BEGIN, config)
    logs = logs_of(recorder, config)
    texts = [[m["content"] for m in call["messages"]] for call in logs[0]["calls"]]
    assert sorted(texts) == sorted([["s", str(n % 7)] for n in range(100)])
    assert logs[1]["calls"][0]["messages"] == logs[1]["inputs"]["messages"]
