"""Inputs of nodes are stored as what changed, and read as what they were."""

import asyncio
import json
import operator
import uuid
from typing import Annotated, Any, TypedDict

import pytest
from fixtures_store import Store
from graphs import RUNNING, again, chain, invoke, log, record, run
from helpers import minimal, stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from strategies import any_text, same, to_json_model

import runlog
from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store

LONG = "a long text " * 200

some = settings(
    deadline=None,
    max_examples=min(40, settings().max_examples),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class State(TypedDict, total=False):
    n: int
    seen: Annotated[list[Any], operator.add]
    text: str
    rest: str  # long enough for a delta to be the shorter one


def three() -> Any:
    return chain(
        state=State,
        a=lambda _: {"n": 1, "seen": ["a"]},
        b=lambda _: {"text": "changed"},
        c=lambda _: {"seen": ["c"]},
    )


GIVEN: Any = {"n": 0, "seen": ["s"], "text": LONG, "rest": LONG}
GROWN: Any = {**GIVEN, "n": 1, "seen": ["s", "a"]}
CHANGED: Any = {**GROWN, "text": "changed"}
EXPECTED = run(
    GIVEN,
    {**CHANGED, "seen": ["s", "a", "c"]},
    log("a", 1, GIVEN, {"n": 1, "seen": ["a"]}),
    log("b", 2, GROWN, {"text": "changed"}),
    log("c", 3, CHANGED, {"seen": ["c"]}),
)
DELTAS = [
    {"since": None},
    {"since": 0, "set": {"n": 1}, "append": {"seen": ["a"]}},
    {"since": 1, "set": {"text": "changed"}},
]


def with_inputs(recorder: Any, mode: Any) -> Any:
    """A config whose handler keeps inputs in this way."""
    handler = RunLogHandler(recorder=recorder, node_inputs=mode)
    return {"callbacks": [handler], "run_id": uuid.uuid4()}


def raw(recorder: Any, store: Store, config: Any) -> Any:
    """The node logs as they are stored."""
    assert recorder.flush()
    return store.json("node_logs", "g", str(config["run_id"]))


def test_only_the_changed_inputs_are_stored(
    recorder: Any, store: Store, config: Any
) -> None:
    """By default; what is empty is left out."""
    invoke(three(), GIVEN, config)
    assert record(recorder, config) == EXPECTED
    logs = raw(recorder, store, config)
    assert [one["inputs_delta"] for one in logs] == DELTAS
    assert not any("inputs" in one for one in logs)
    delta = with_inputs(recorder, "delta")
    invoke(three(), GIVEN, delta)
    assert record(recorder, delta) == EXPECTED
    assert [one["inputs_delta"] for one in raw(recorder, store, delta)] == DELTAS


def test_whole_inputs_are_stored(recorder: Any, store: Store) -> None:
    config = with_inputs(recorder, "full")
    invoke(three(), GIVEN, config)
    assert record(recorder, config) == EXPECTED
    logs = raw(recorder, store, config)
    inputs = [one["inputs"] for one in EXPECTED["node_logs"]]
    assert [one["inputs"] for one in logs] == inputs
    assert not any("inputs_delta" in one for one in logs)


def test_no_inputs_are_stored(recorder: Any, store: Store) -> None:
    """Those of the run are, and outputs."""
    config = with_inputs(recorder, "none")
    invoke(three(), GIVEN, config)
    kept = record(recorder, config)
    for expected, one in zip(EXPECTED["node_logs"], kept["node_logs"], strict=True):
        assert one == expected | {"inputs": None}
    assert kept == EXPECTED | {"node_logs": kept["node_logs"]}
    assert LONG not in json.dumps(raw(recorder, store, config))


def test_a_growing_state_is_stored_only_once(
    recorder: Any, store: Store, config: Any
) -> None:
    """A conversation of a hundred steps takes a twentieth of what it takes in full."""

    def step(state: Any) -> Any:
        return {"messages": [AIMessage(LONG[:400], id=f"a{len(state['messages'])}")]}

    def edge(state: Any) -> Any:
        return END if len(state["messages"]) > 100 else "step"

    builder = StateGraph(MessagesState)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", edge, ["step", END])
    graph = builder.compile(name="g")
    question: Any = {"messages": [HumanMessage("?", id="q")]}
    invoke(graph, question, config | {"recursion_limit": 200})
    kept = record(recorder, config)
    logs = kept["node_logs"]
    messages = kept["outputs"]["messages"]
    assert len(logs) == 100
    for n, one in enumerate(logs, 1):
        assert one["inputs"] == {"messages": messages[:n]}
    whole = sum(len(json.dumps(one["inputs"])) for one in logs)
    small = sum(
        len(json.dumps(one.get("inputs_delta", one.get("inputs"))))
        for one in raw(recorder, store, config)
    )
    assert small * 20 < whole


async def test_an_unfinished_run_has_its_full_inputs(recorder: Any, config: Any) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def waits(state: Any) -> Any:
        inside.set()
        await go_on.wait()
        return {}

    graph = chain(state=State, a=lambda _: {"seen": ["a"]}, b=waits)
    task = asyncio.create_task(graph.ainvoke(GIVEN, config))
    await inside.wait()
    assert recorder.flush()
    grown = {**GIVEN, "seen": ["s", "a"]}
    a, b = log("a", 1, GIVEN, {"seen": ["a"]}), log("b", 2, grown, **RUNNING)
    assert record(recorder, config) == run(GIVEN, None, a, b, **RUNNING)
    go_on.set()
    await task
    b |= {"outputs": {}, "status": "completed"}
    assert record(recorder, config) == run(GIVEN, grown, a, b)


def test_large_inputs_are_cut_whole_and_as_deltas(store: Store) -> None:
    """A payload that is too large is marked, not stored by pieces."""
    kept = []
    with runlog.Recorder(**store.options, max_payload=1024) as recorder:
        for mode in ("delta", "full"):
            config = with_inputs(recorder, mode)
            graph = chain(
                state=State,
                a=lambda _: {"seen": [LONG]},
                b=lambda _: {"text": LONG},
                c=lambda _: {"text": "short"},
                d=lambda _: {},
            )
            invoke(graph, {"n": 1, "seen": [], "text": LONG[:500]}, config)
            kept.append(record(recorder, config))
    assert kept[0] == kept[1]
    assert kept[0]["node_logs"][0]["inputs"]["text"] == LONG[:500]


def test_a_subgraph_has_its_own_base_for_deltas(
    recorder: Any, store: Store, config: Any
) -> None:
    """They are compared with one another, not with those around."""
    inner = chain("inner", State, x=lambda _: {"n": 7}, y=lambda _: {})

    def calls(state: Any) -> Any:
        inner.invoke(state)
        return inner.invoke({**state, "seen": ["other"]})

    graph = chain(state=State, sub=inner, calls=calls, last=lambda _: {})
    invoke(graph, GIVEN, config)
    logs = raw(recorder, store, config)
    kept = recorder.get_run(str(config["run_id"]))["node_logs"]
    names = [one["node"] for one in logs]
    assert names == ["sub", "x", "y", "calls", "x", "y", "x", "y", "last"]
    graphs = [0, 1, 1, 0, 2, 2, 2, 2, 0]
    for one, its in zip(logs, graphs, strict=True):
        since = one.get("inputs_delta", {}).get("since", "whole")
        if since is None:
            assert its == 0
        elif since != "whole":
            assert graphs[since] == its
    assert "inputs_delta" in logs[2]
    assert logs[8]["inputs_delta"]["since"] == 3
    doubled = {**GIVEN, "n": 7, "seen": ["s", "s"]}
    assert kept[2]["inputs"] == {**GIVEN, "n": 7}
    assert kept[3]["inputs"] == doubled
    assert kept[5]["inputs"] == doubled
    assert kept[7]["inputs"] == {**doubled, "seen": ["other"]}
    assert kept[8]["inputs"] == {**doubled, "seen": ["s", "s", "other"]}


def assert_inputs(recorder: Any, run_id: Any, states: Any) -> None:
    assert recorder.flush()
    logs = recorder.get_run(str(run_id))["node_logs"]
    assert len(logs) == len(states)
    for one, state in zip(logs, states, strict=True):
        assert same(one["inputs"], to_json_model(state)), (one["inputs"], state)


METADATA = {"ls_integration": "langgraph"}


def begin(handler: Any, inputs: Any, parent: Any = None, ns: str | None = None) -> Any:
    """What LangGraph says when a graph, or a node with a namespace, begins."""
    key = uuid.uuid4()
    metadata: Any = dict(METADATA)
    if ns is not None:
        metadata |= {"langgraph_checkpoint_ns": ns, "langgraph_step": 1}
    handler.on_chain_start(
        None,
        inputs,
        run_id=key,
        parent_run_id=parent,
        metadata=metadata,
        tags=[],
        name="name",
    )
    return key


def check_deltas(
    recorder: Any, store: Store, handler: Any, first: Any, states: list[Any]
) -> None:
    """Nodes with these inputs come back as they were, and each is stored as a delta."""
    root = begin(handler, first)
    for n, state in enumerate(states):
        handler.on_chain_end({}, run_id=begin(handler, state, root, str(n)))
    handler.on_chain_end({}, run_id=root)
    assert_inputs(recorder, root, states)
    text = json.dumps(store.json("node_logs", "name", str(root)))
    assert text.count("inputs_delta") == len(states)
    assert text.count(LONG) == 0


ARRAYS: list[Any] = [
    [1],
    [12],
    [12, 3],
    [12, 34],
    [],
    [[]],
    [[], []],
    [[1]],
    [[1], 2],
    [[1, 2]],
    ["a"],
    ["a", "b"],
    ["a,b"],
    ["a", "b", "]"],
    ["a", "b", "]", "["],
    ["a", "b", "]", "[,"],
    ['"'],
    ['"', '","'],
    ["\\"],
    ["\\", "\\"],
    [{}],
    [{"a": 1}],
    [{"a": 1}, {}],
    [{"a": 1, "b": 2}],
    [None],
    [None, None],
    [1.0],
    [1],
    [True],
    {"0": 1},
    [1],
    "[1",
    [1, 2],
    [1, 2, 3],
    [1, 2, 3],
    [1, 2],
    [1, 2, 4],
]


def test_arrays_that_only_seem_to_have_grown_come_back(
    recorder: Any, store: Store, handler: Any
) -> None:
    states = [{"items": items, "rest": LONG} for items in ARRAYS]
    check_deltas(recorder, store, handler, {"items": [0], "rest": LONG}, states)


def test_keys_that_appear_and_disappear_come_back(
    recorder: Any, store: Store, handler: Any
) -> None:
    states = []
    for n in range(40):
        state: Any = {f"key{k}": k for k in range(n % 7, n % 11)}
        state |= {"rest": LONG, **({"late": [n] * (n % 5)} if n % 3 else {})}
        states.append(state)
    check_deltas(recorder, store, handler, {"rest": LONG}, states)


INVALID_DELTAS: list[Any] = [
    None,
    7,
    [],
    {},
    {"since": 999},
    {"since": -1},
    {"since": "0"},
    {"since": 2**70},
    {"since": None, "set": 5},
    {"since": None, "append": {"n": [1]}},
    {"since": None, "append": {"missing": [1]}},
    {"since": None, "append": {"items": 5}},
    {"since": None, "unset": {"n": 1}},
    {"since": None, "unset": [5]},
]


def test_node_logs_of_log_run_may_hold_any_keys(recorder: Any) -> None:
    """What is no delta of runlog's is read as it was written."""
    inputs = {"n": 1, "items": []}
    logs: list[Any] = [
        {"node": "mine", "inputs_delta": delta} for delta in INVALID_DELTAS
    ]
    itself = {"since": len(logs), "set": {"n": 1}}
    logs += [{"node": "itself", "inputs_delta": itself}, "no log", None, [5]]
    recorder.log_run(minimal(inputs=inputs, node_logs=logs))
    assert stored(recorder)["node_logs"] == logs
    for number, others in enumerate([{"inputs_delta": {"since": 1}}, 5, "text"]):
        recorder.log_run(minimal(f"r{number}", inputs=inputs, node_logs=others))
        assert stored(recorder, f"r{number}")["node_logs"] == others


# States that change as those of graphs do, and as they don't.
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text
    | st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, "", "1", [], {}, [[]], [{}]]),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(any_text, children, max_size=4)
    ),
    max_leaves=6,
)
keys = any_text | st.sampled_from(
    ["messages", "n", "since", "set", "append", "unset", 'a"b', "a\\", "\u00fc", ""]
)


@st.composite
def histories(draw: Any) -> list[dict[str, Any]]:
    """The states of a graph, each made from the one before.

    Most are long enough for deltas to be the shorter way.
    """
    state: Any = draw(st.dictionaries(keys, plain | st.lists(plain), max_size=5))
    if draw(st.integers(0, 9)) > 0:
        state["rest"] = LONG
    states = [state]
    for _ in range(draw(st.integers(0, 6))):
        state = dict(state)
        for _ in range(draw(st.integers(0, 3))):
            change_one_value(draw, state)
        states.append(state)
    return states


def change_one_value(draw: Any, state: Any) -> None:
    names = sorted(state)
    kind = draw(st.sampled_from(["new", "gone", "changed", "grown", "shorter", "edited"]))
    if kind == "new" or not names:
        state[draw(keys)] = draw(plain)
        return
    name = draw(st.sampled_from(names))
    value = state[name]
    if kind == "gone":
        del state[name]
    elif kind == "changed" or not isinstance(value, list) or not value:
        state[name] = draw(plain)
    elif kind == "grown":
        state[name] = [*value, *draw(st.lists(plain, min_size=1, max_size=3))]
    elif kind == "shorter":
        state[name] = value[: draw(st.integers(0, len(value) - 1))]
    else:
        at = draw(st.integers(0, len(value) - 1))
        state[name] = [*value[:at], draw(plain), *value[at + 1 :], draw(plain)]


@pytest.fixture
def open_recorder(store: Store) -> Any:
    with runlog.Recorder(**store.options, redact=[]) as made:
        yield made


@pytest.mark.long_with("postgres")
@some
@given(states=histories())
def test_every_state_of_a_graph_comes_back(open_recorder: Any, states: Any) -> None:
    config = with_inputs(open_recorder, "delta")
    at = iter(range(1, len(states) + 1))

    def action(_: Any) -> Any:
        return (states + states[-1:])[next(at)]

    nodes: Any = dict.fromkeys([f"node{n}" for n in range(len(states))], action)
    invoke(chain(state=dict, **nodes), states[0], config)
    assert_inputs(open_recorder, config["run_id"], states)


@pytest.mark.long_with("postgres")
@some
@given(
    given=plain,
    graphs=st.lists(histories(), min_size=1, max_size=3),
    data=st.data(),
)
def test_every_state_of_several_graphs_comes_back(
    open_recorder: Any, given: Any, graphs: Any, data: Any
) -> None:
    """Graphs within one another, whose nodes begin in any order and end at any time."""
    handler = RunLogHandler(recorder=open_recorder)
    root = begin(handler, given)
    parents, states = [(root, "")], []
    for number, history in enumerate(graphs[1:]):  # a node, and the graph in it
        ns = f"sub{number}:{number}"
        within, ns_within = data.draw(st.sampled_from(parents))
        ns = f"{ns_within}|{ns}" if ns_within else ns
        node = begin(handler, history[0], within, ns)
        states.append(history[0])
        parents.append((begin(handler, history[0], node, ns), ns))
    left = [
        (parent, f"{ns}|{n}" if ns else str(n), state)
        for (parent, ns), history in zip(parents, graphs, strict=True)
        for n, state in enumerate(history)
    ]
    for parent, ns, state in data.draw(st.permutations(left)):
        key = begin(handler, state, parent, ns)
        states.append(state)
        if data.draw(st.booleans()):
            handler.on_chain_end({}, run_id=key)
    handler.on_chain_end({}, run_id=root)
    assert_inputs(open_recorder, root, states)
    assert same(open_recorder.get_run(str(root))["inputs"], to_json_model(given))


@pytest.mark.long_with("postgres")
@some
@given(states=histories())
def test_every_node_inputs_option_reads_back_the_same(
    open_recorder: Any, states: Any
) -> None:
    kept = []
    for mode in ("delta", "full", "none"):
        handler = RunLogHandler(recorder=open_recorder, node_inputs=mode)
        root = begin(handler, states[0])
        for n, state in enumerate(states):
            key = begin(handler, state, root, str(n))
            handler.on_chain_end(state, run_id=key)
        handler.on_chain_end(states[-1], run_id=root)
        one = record(open_recorder, root)
        kept.append(one)
    for one in kept[1]["node_logs"]:
        assert same(one["inputs"], one["outputs"])
    assert same(kept[0], kept[1])
    for one in kept[1]["node_logs"]:
        one["inputs"] = None
    assert same(kept[2], kept[1])


def test_the_inputs_of_one_run_are_not_the_base_of_another(
    recorder: Any, store: Store, config: Any
) -> None:
    graph = three()
    invoke(graph, GIVEN, config)
    second = again(config)
    invoke(graph, {**GIVEN, "n": 5}, second)
    assert [one["inputs_delta"] for one in raw(recorder, store, second)] == [
        {"since": None},
        DELTAS[1],
        DELTAS[2],
    ]
    assert record(recorder, second)["node_logs"][0]["inputs"] == {**GIVEN, "n": 5}
