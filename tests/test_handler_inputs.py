"""What a node was given is kept as it was then, whatever becomes of it afterwards."""

import contextvars
import dataclasses
import pathlib
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import pydantic
import pytest
from graphs import (
    again,
    build,
    chain,
    count,
    either,
    invoke,
    log,
    record,
    run,
)
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState

pytestmark = pytest.mark.either_store


class State(TypedDict, total=False):
    items: list[Any]
    box: Any
    n: int


class Pydantic(pydantic.BaseModel):
    items: list[Any]
    n: int = 0


@dataclasses.dataclass
class Data:
    items: list[Any]
    n: int = 0


@either
def test_inputs_are_recorded_before_nodes_change_their_lists_and_dicts(
    recorder: Any, config: Any, call: Any
) -> None:
    """The caller's own objects among them, and the outputs of nodes before."""

    def spoil(state: Any) -> Any:
        state["items"].append("spoilt")
        state["box"]["deep"][0]["list"].append(2)
        state["box"]["more"] = True
        return {"n": 1}

    def give(state: Any) -> Any:
        return {"items": list(state["items"])}

    def clear(state: Any) -> Any:
        state["items"].clear()
        del state["box"]["deep"]
        state["new"] = "only here"
        return {}

    graph = chain(state=State, spoil=spoil, give=give, clear=clear, last=lambda _: {})
    given = {"items": ["good"], "box": {"deep": [{"list": [1]}]}}
    call(graph, given, config)
    good = {"items": ["good"], "box": {"deep": [{"list": [1]}]}}
    spoilt: Any = {
        "items": ["good", "spoilt"],
        "box": {"deep": [{"list": [1, 2]}], "more": True},
        "n": 1,
    }
    left: Any = {"items": [], "box": {"more": True}, "n": 1}
    assert record(recorder, config) == run(
        good,
        left,
        log("spoil", 1, good, {"n": 1}),
        log("give", 2, spoilt, {"items": ["good", "spoilt"]}),
        log("clear", 3, spoilt, {}),
        log("last", 4, left, {}),
    )


@either
@pytest.mark.parametrize(
    ("state", "left"), [(Data, ["good", "spoilt"]), (Pydantic, ["good"])]
)
def test_inputs_are_recorded_before_nodes_change_their_objects(
    recorder: Any, config: Any, call: Any, state: Any, left: Any
) -> None:
    """Each node gets an object of its own; pydantic copies the list in it as well."""

    def spoil(given: Any) -> Any:
        given.items.append("spoilt")
        given.n = 99
        return {"n": 1}

    def clear(given: Any) -> Any:
        given.items.clear()
        return state(items=["fresh"], n=given.n + 1)

    graph = chain(state=state, spoil=spoil, clear=clear, last=lambda _: {})
    call(graph, state(items=["good"]), config)
    fresh: Any = {"items": ["fresh"], "n": 2}
    assert record(recorder, config) == run(
        {"items": ["good"], "n": 0},
        fresh,
        log("spoil", 1, {"items": ["good"], "n": 0}, {"n": 1}),
        log("clear", 2, {"items": left, "n": 1}, fresh),
        log("last", 3, fresh, {}),
    )


@either
def test_inputs_are_recorded_before_nodes_change_their_messages(
    recorder: Any, config: Any, call: Any
) -> None:
    def answer(state: Any) -> Any:
        state["messages"][0].content = "edited"
        state["messages"][0].additional_kwargs["by"] = "answer"
        return {"messages": [AIMessage("yes", id="a")]}

    def censor(state: Any) -> Any:
        for message in state["messages"]:
            message.content = "..."
        return {}

    graph = chain(state=MessagesState, answer=answer, censor=censor)
    call(graph, {"messages": [HumanMessage("hello?", id="h")]}, config)

    def hello(text: str, **more: Any) -> Any:
        return HumanMessage(text, id="h", additional_kwargs=more).model_dump()

    def yes(text: str) -> Any:
        return AIMessage(text, id="a").model_dump()

    first, second = {"messages": [hello("hello?")]}, [hello("edited", by="answer")]
    assert record(recorder, config) == run(
        first,
        {"messages": [hello("...", by="answer"), yes("...")]},
        log("answer", 1, first, {"messages": [yes("yes")]}),
        log("censor", 2, {"messages": [*second, yes("yes")]}, {}),
    )


class Hostile(pydantic.BaseModel):
    """Does something the moment it is looked at."""

    action: Any = pydantic.Field(exclude=True)

    def model_dump(self, **_: Any) -> Any:
        return self.action()


class OddPath(pathlib.PurePosixPath):
    """Another kind that is asked for its text."""

    action: Any = None

    def __str__(self) -> str:
        return str(self.action())


class Plain:
    """Nothing of this is for runlog to call."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def to_json(self) -> Any:
        return self.action()

    def __repr__(self) -> str:
        return str(self.action())

    __str__ = __repr__


def path_that_acts(action: Any) -> Any:
    path = OddPath("x")
    path.action = action
    return path


def object_that_acts(action: Any) -> Any:
    return Hostile(action=action)


KINDS = pytest.mark.parametrize("kind", [object_that_acts, path_that_acts, Plain])


@either
@KINDS
@pytest.mark.parametrize(
    "error", [ValueError("no"), TimeoutError("no"), RecursionError()]
)
def test_values_that_raise_do_not_break_the_graph(
    recorder: Any, config: Any, call: Any, kind: Any, error: Any
) -> None:
    def action() -> Any:
        raise error

    bad, text = kind(action), f"<unserializable {kind.__name__}>"
    if kind is Plain:
        text = f"<{Plain.__module__}.Plain>"
    else:
        text = f"<unserializable {type(bad).__name__}>"
    graph = chain(state=State, a=lambda state: {"n": 1, "box": bad})
    call(graph, {"items": [bad, "x"]}, config)
    only = log("a", 1, {"items": [text, "x"]}, {"n": 1, "box": text})
    outputs = {"items": [text, "x"], "n": 1, "box": text}
    assert record(recorder, config) == run({"items": [text, "x"]}, outputs, only)
    assert recorder.stats()["handler_errors"] == 0


def test_ctrl_c_while_a_value_is_encoded_reaches_the_program(
    recorder: Any, config: Any
) -> None:
    """It reaches the program."""
    left = [KeyboardInterrupt()]

    def action() -> Any:
        raise left.pop() if left else ValueError("no")

    graph = chain(
        state=State, a=lambda state: {"box": object_that_acts(action)}, b=lambda _: {}
    )
    with pytest.raises(KeyboardInterrupt):
        invoke(graph, {"n": 1}, config)
    kept = record(recorder, config)
    assert (kept["status"], kept["error_type"]) == ("cancelled", "KeyboardInterrupt")
    assert kept["node_logs"][0]["outputs"] == {"box": "<unserializable Hostile>"}
    assert recorder.stats()["open_runs"] == 0


def test_an_error_whose_text_raises_is_recorded(recorder: Any, config: Any) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

    error = MuteError()

    def fail(_: Any) -> Any:
        raise error

    with pytest.raises(MuteError):
        invoke(chain(a=fail), {"n": 1}, config)
    kept = record(recorder, config)
    text = kept["error_text"]
    assert "0x" not in text
    error_said = {"status": "failed", "error_type": "MuteError", "error_text": text}
    only = log("a", 1, {"n": 1}, **error_said)
    assert kept == run({"n": 1}, None, only, **error_said)


@either
@pytest.mark.parametrize("kind", [object_that_acts, path_that_acts])
def test_values_may_invoke_a_graph_while_they_are_encoded(
    recorder: Any, handler: Any, config: Any, call: Any, kind: Any
) -> None:
    """Nothing is locked while they are looked at, and no run gets into another."""
    inner = chain("inner", deep=count)

    def action() -> Any:
        alone = contextvars.Context()  # else it would be a part of what goes on
        alone.run(inner.invoke, {"n": 1}, {"callbacks": [handler]})
        return "looked at"

    bad = kind(action)
    graph = chain(state=State, a=lambda state: {"n": 1}, b=lambda state: {"box": bad})
    call(graph, {"items": [bad]}, config)
    said: Any = {"items": ["looked at"]}
    assert record(recorder, config) == run(
        said,
        said | {"n": 1, "box": "looked at"},
        log("a", 1, said, {"n": 1}),
        log("b", 2, said | {"n": 1}, {"box": "looked at"}),
    )
    looks = recorder.list_runs(wpk_id="inner", limit=100).runs
    assert len(looks) == 6
    deep = log("deep", 1, {"n": 1}, {"n": 2})
    expected = run({"n": 1}, {"n": 2}, deep, wpk_id="inner")
    assert all(record(recorder, one["run_id"]) == expected for one in looks)
    assert recorder.stats()["open_runs"] == 0


@either
def test_values_may_change_the_state_while_they_are_encoded(
    recorder: Any, config: Any, call: Any
) -> None:
    """What was there before and after is kept, and nothing is read that is gone."""

    def action() -> Any:
        if "box" in state:
            del state["box"]
            state["items"].clear()
            state["items"].extend(["new"] * 1000)
            state.update({f"key{n}": n for n in range(1000)})
        return "changed"

    state: dict[str, Any] = {
        "n": 1,
        "items": [object_that_acts(action), "old"],
        "box": ["x"],
    }
    call(chain(state=State, a=count), state, config)
    kept = record(recorder, config)
    assert kept["status"] == "completed"
    assert kept["inputs"]["n"] == 1
    assert kept["inputs"]["items"][0] == "changed"
    (only,) = kept["node_logs"]
    assert (only["node"], only["inputs"]["n"], only["outputs"]) == ("a", 1, {"n": 2})


def test_a_value_may_end_the_run_while_it_is_encoded(
    recorder: Any, handler: Any, config: Any
) -> None:
    """The node begins when its run is over already."""
    ended: list[bool] = []

    def action() -> Any:
        if recorder.stats()["open_runs"] and not ended:
            ended.append(True)
            handler.on_chain_end({"n": 5}, run_id=config["run_id"])
        return "ended"

    graph = chain(state=State, a=lambda state: {"n": 1})
    invoke(graph, {"items": [object_that_acts(action)]}, config)
    assert ended
    kept = record(recorder, config)
    assert (kept["status"], kept["outputs"]) == ("completed", {"n": 5})
    assert recorder.stats()["open_runs"] == 0
    assert len(recorder.list_runs().runs) == 1


def test_slow_values_block_no_other_run(recorder: Any, handler: Any) -> None:
    """That is no time of the node's, and holds nobody else up.

    If others have the processors, either may seem so, but not each time.
    """

    def action() -> Any:
        time.sleep(0.1)
        return "slow"

    slow = object_that_acts(action)
    graph = chain(state=State, a=lambda state: {"n": 1, "box": slow})
    quick = chain("quick", a=count)

    def many(finished: threading.Event) -> int:
        done = 0
        while not finished.is_set():
            quick.invoke({"n": done}, {"callbacks": [handler]})
            done += 1
        return done

    def is_free() -> bool:
        config = {"callbacks": [handler], "run_id": uuid.uuid4()}
        finished = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            others = pool.submit(many, finished)
            invoke(graph, {"items": [slow]}, config)
            finished.set()
        said: Any = {"n": 1, "box": "slow"}
        assert record(recorder, config) == run(
            {"items": ["slow"]},
            {"items": ["slow"], **said},
            log("a", 1, {"items": ["slow"]}, said),
        )
        (only,) = recorder.get_run(str(config["run_id"]))["node_logs"]
        return only["duration_ms"] < 100 and others.result() > 3

    assert any(is_free() for _ in range(20))


@either
def test_states_of_any_type_are_recorded(recorder: Any, config: Any, call: Any) -> None:
    """Whatever is no object is kept as it is."""
    states: list[Any] = [[1], [1, 2], "text", {"n": 1}, {"n": 1, "m": [2]}, 5, {}]

    def action(state: Any) -> Any:
        return states[states.index(state) + 1]

    names = [f"node{n}" for n in range(len(states) - 1)]
    nodes: Any = dict.fromkeys(names, action)
    call(chain(state=object, **nodes), states[0], config)
    logs = [
        log(name, step, states[step - 1], states[step])
        for step, name in enumerate(names, 1)
    ]
    assert record(recorder, config) == run(states[0], states[-1], *logs)


def test_keys_with_the_same_text_are_recorded(recorder: Any) -> None:
    """1 and "1" are two keys of a dict. Texts that differ by a NUL are one key."""
    from runlog.hooks import RunLogHandler

    def action(state: Any) -> Any:
        return {**state, "1": [*state["1"], "more"], 2: "two"}

    inputs = []
    for mode in ("delta", "full"):
        config: Any = {
            "callbacks": [RunLogHandler(recorder=recorder, node_inputs=mode)],
            "run_id": uuid.uuid4(),
        }
        graph = chain(state=object, a=action, b=action, c=action)
        invoke(graph, {1: ["one"], "1": [], "\0": 1, "\ufffd": 2}, config)
        kept = record(recorder, config)
        inputs.append([one["inputs"] for one in kept["node_logs"]])
    assert inputs[0] == inputs[1]
    assert inputs[0][2] == {
        "1 <again: 1>": ["one"],
        "1": ["more", "more"],
        "\ufffd": 2,
        "2": "two",
    }


def test_a_text_is_not_confused_with_one_at_the_same_address(
    recorder: Any, config: Any
) -> None:
    """Each is in the place in memory that the one before had."""

    def text(n: int) -> str:
        return f"{n:04}" * 5000

    def action(state: Any) -> Any:
        state["items"].clear()
        return {"n": state["n"] + 1, "box": text(state["n"] + 1), "items": [state["n"]]}

    nodes: Any = dict.fromkeys([f"node{n}" for n in range(30)], action)
    runs = [again(config) for _ in range(3)]
    for number, its in enumerate(runs):
        graph = chain(state=State, **nodes)
        its["recursion_limit"] = 40  # 25 in versions before 1.0
        invoke(graph, {"n": number, "box": text(number), "items": [-1]}, its)
    for number, its in enumerate(runs):
        assert recorder.flush()
        logs = recorder.get_run(str(its["run_id"]))["node_logs"]
        for n, one in enumerate(logs, number):
            assert one["inputs"]["n"] == n
            assert one["inputs"]["box"] == text(n)
            assert one["outputs"]["box"] == text(n + 1)


def test_one_text_is_recorded_by_many_threads(recorder: Any, config: Any) -> None:
    texts = [f"{n:04}" * 5000 for n in range(4)]
    graph = chain(state=State, a=lambda state: {"box": texts[(state["n"] + 1) % 4]})
    configs = [again(config) for _ in range(40)]

    def one_run(n: int) -> None:
        graph.invoke({"n": n, "box": texts[n % 4], "items": [texts[n % 4]]}, configs[n])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one_run, range(40)))
    for n, its in enumerate(configs):
        assert recorder.flush()
        (one,) = recorder.get_run(str(its["run_id"]))["node_logs"]
        given = {"n": n, "box": texts[n % 4], "items": [texts[n % 4]]}
        assert (one["inputs"], one["outputs"]) == (given, {"box": texts[(n + 1) % 4]})


async def test_parallel_branches_record_the_same_inputs(
    recorder: Any, config: Any
) -> None:
    """Nodes of one step have the same state, in whichever order they begin."""

    def action(state: Any) -> Any:
        return {}

    names = [f"node{n}" for n in range(6)]
    edges = [(START, name) for name in names] + [(name, "last") for name in names]
    nodes = dict.fromkeys(names, action)
    graph = build(*edges, state=State, last=action, **nodes).compile(name="g")
    given: Any = {"items": list(range(50)), "n": 1}
    await graph.ainvoke(given, config)
    kept = record(recorder, config)
    assert {one["node"] for one in kept["node_logs"]} == {*names, "last"}
    assert all(one["inputs"] == given for one in kept["node_logs"])
