"""Chains, models, tools and retrievers outside of graphs are runs of their own, too."""

from __future__ import annotations

import asyncio
import gc
import uuid
import weakref
from typing import Any

import pytest
from call_help import (
    ANSWER,
    DOCUMENTS,
    QUESTION,
    Chat,
    Completion,
    Finder,
    Streaming,
    ask_model,
    asks,
    calls_of,
    collect,
    completion,
    failed,
    graph_of,
    llm,
    logs_of,
    only_calls,
    plus,
    refuse,
    retrieval,
    said,
    tool_call,
)
from fixtures_store import Store
from graphs import either, invoke
from langchain_core.callbacks import CallbackManager
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from strategies import to_json_model

import runlog
from runlog._blocks import registry
from runlog.hooks import RunLogHandler, install, recording, uninstall

pytestmark = pytest.mark.either_store

PROMPT = ChatPromptTemplate.from_messages([("human", "Who is {who}?")])
ASKED = HumanMessage("Who is there?")


def run_of(recorder: Any, config: Any) -> Any:
    """A run, with its only log checked, which has the payloads of the run."""
    assert recorder.flush()
    run = recorder.get_run(str(config["run_id"]))
    assert run is not None
    (log,) = run["node_logs"]
    for key in ("status", "inputs", "outputs", "error_type", "error_text"):
        assert log[key] == run[key], key
    assert (log["step"], log["attempt"], log["parent"]) == (0, 1, None)
    return run


def call_root(call: Any, runnable: Any, given: Any, config: Any) -> None:
    """Call it under the config's run_id, which a retriever only takes as an argument."""
    its = {"run_id": config["run_id"]} if isinstance(runnable, Finder) else {}
    call(runnable, given, config, **its)


MESSAGE = {"name": "plus", "args": {"a": 1}, "id": "c0", "type": "tool_call"}
ROOTS: dict[str, tuple[Any, Any, str, Any, Any, list[Any]]] = {
    "chat": (
        Chat(),
        [QUESTION],
        "Chat",
        {"messages": [to_json_model(QUESTION)]},
        to_json_model(ANSWER),
        [llm()],
    ),
    "text": (
        Completion(),
        "Who?",
        "Completion",
        {"prompts": ["Who?"]},
        "two words",
        [completion("Who?")],
    ),
    "tool": (plus, {"a": 1}, "plus", {"a": 1}, 2, [tool_call("plus", {"a": 1}, 2)]),
    "tool_message": (
        plus,
        MESSAGE,
        "plus",
        {"a": 1},
        to_json_model(ToolMessage("2", name="plus", tool_call_id="c0")),
        [tool_call("plus", {"a": 1}, ToolMessage("2", name="plus", tool_call_id="c0"))],
    ),
    "retriever": (
        Finder(),
        "what?",
        "Finder",
        {"query": "what?"},
        to_json_model(DOCUMENTS),
        [retrieval("what?")],
    ),
    "chain": (
        PROMPT | Chat() | StrOutputParser(),
        {"who": "there"},
        "RunnableSequence",
        {"who": "there"},
        "two words",
        [llm(messages=[to_json_model(ASKED)])],
    ),
    "tool_asks": (
        ask_model,
        {"question": "Who is there?"},
        "ask_model",
        {"question": "Who is there?"},
        "two words",
        [
            tool_call("ask_model", {"question": "Who is there?"}, "two words"),
            llm(parent=0, messages=[to_json_model(ASKED)]),
        ],
    ),
}
each_root = pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS)


@each_root
@either
def test_each_root_is_a_run(recorder: Any, config: Any, call: Any, root: Any) -> None:
    runnable, given, name, inputs, outputs, calls = root
    its = {**config, "tags": ["t"], "metadata": {"user": "u"}}
    call_root(call, runnable, given, its)
    run = run_of(recorder, its)
    assert (run["wpk_id"], run["status"]) == (name, "completed")
    assert run["inputs"] == inputs
    assert run["outputs"] == outputs
    assert run["metadata"]["user"] == "u"
    assert run["metadata"]["tags"] == ["t"]
    assert not [key for key in run["metadata"] if key.startswith(("ls_", "lc_"))]
    assert run["node_logs"][0]["node"] == name
    ((_, made),) = calls_of(recorder, its)
    for one in made:
        one["tags"], one["metadata"] = [], {}
    assert made == calls
    assert run["node_logs"][0]["llm_calls"] == sum(c["kind"] == "llm" for c in calls)


@each_root
def test_the_name_of_a_root(recorder: Any, config: Any, root: Any) -> None:
    """As of a graph: that of the handler, else of the metadata, else its own."""
    runnable, given, name, *_ = root
    named = {**config, "metadata": {"wpk_id": "named"}}
    call_root(invoke, runnable, given, named)
    run = run_of(recorder, config)
    assert run["wpk_id"] == "named"
    assert run["node_logs"][0]["node"] in (name, "named")
    its: Any = {"callbacks": [RunLogHandler("mine", recorder=recorder)]}
    its["run_id"] = uuid.uuid4()
    call_root(invoke, runnable, given, its)
    assert run_of(recorder, its)["wpk_id"] == "mine"


FAILING: dict[str, tuple[Any, Any]] = {
    "chat": (said(), [QUESTION]),
    "tool": (refuse, {"a": 1}),
    "retriever": (Finder(error=ValueError("not 1")), "what?"),
    "chain": (RunnableLambda(refuse.invoke), {"a": 1}),
    "empty": (RunnableLambda(lambda _: int("x")), {"a": 1}),
}


@pytest.mark.parametrize("root", FAILING)
@either
def test_a_root_that_fails(recorder: Any, config: Any, call: Any, root: str) -> None:
    runnable, given = FAILING[root]
    if root == "chat":
        runnable = said(ValueError("not 1"))
    with pytest.raises(ValueError) as error:
        call_root(call, runnable, given, config)
    run = run_of(recorder, config)
    assert run["status"] == "failed"
    assert (run["error_type"], run["error_text"]) == ("ValueError", str(error.value))
    assert run["outputs"] is None
    (log,) = run["node_logs"]
    assert run["error_traceback"] is None
    assert str(error.value) in log["error_traceback"]
    calls = only_calls(recorder, config)
    assert len(calls) == (root != "empty")
    wanted = failed(error.value)
    assert all({key: one[key] for key in wanted} == wanted for one in calls)


STREAMS: dict[str, tuple[Any, Any, Any]] = {
    "chat": (Streaming(), [QUESTION], "Streaming"),
    "text": (Completion(texts=("two", " words")), "Who?", "Completion"),
    "chain": (PROMPT | Streaming() | StrOutputParser(), {"who": "x"}, "RunnableSequence"),
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("way", ["stream", "astream"])
def test_the_stream_of_a_root(recorder: Any, config: Any, way: str, stream: str) -> None:
    runnable, given, name = STREAMS[stream]
    if way == "stream":
        parts = list(runnable.stream(given, config))
    else:
        parts = asyncio.run(collect(runnable.astream(given, config)))
    assert len(parts) >= 2
    run = run_of(recorder, config)
    assert (run["wpk_id"], run["status"]) == (name, "completed")
    (call,) = only_calls(recorder, config)
    assert call["streamed"] is True
    text = run["outputs"]
    assert (text if isinstance(text, str) else text["content"]) == "two words"


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_of_a_root_that_is_left(recorder: Any, config: Any, stream: str) -> None:
    runnable, given, _ = STREAMS[stream]
    parts = runnable.stream(given, config)
    next(parts)
    parts.close()
    # of a chain LangChain tells an end like any other
    status = "completed" if stream == "chain" else "cancelled"
    assert run_of(recorder, config)["status"] == status
    (call,) = only_calls(recorder, config)
    assert call["status"] == "cancelled"


def stands_still(root: Any) -> Any:
    """A model or a retriever that does not answer, and an event: it was asked."""
    begun = asyncio.Event()

    class Never(type(root)):  # type: ignore[misc]
        async def wait(self, *_: Any, **__: Any) -> Any:
            begun.set()
            await asyncio.sleep(60)

        _agenerate = _aget_relevant_documents = wait

    return Never(), begun


@pytest.mark.parametrize("root", [Chat(), Finder()], ids=["chat", "retriever"])
async def test_a_call_without_an_end_is_cancelled(
    recorder: Any, config: Any, root: Any
) -> None:
    """LangChain tells none of an ainvoke that is cancelled, and the run is over."""
    config["callbacks"] = [RunLogHandler(recorder=recorder)]
    never, begun = stands_still(root)
    given = [QUESTION] if isinstance(root, Chat) else "what?"
    its = {"run_id": config["run_id"]} if isinstance(root, Finder) else {}
    asked = asyncio.create_task(never.ainvoke(given, config, **its))
    await asyncio.wait_for(begun.wait(), 30)
    assert run_of(recorder, config)["status"] == "running"
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    del asked
    await asyncio.sleep(0)  # the loop has the task
    gc.collect()  # the exception has the frames
    run = run_of(recorder, config)
    assert (run["status"], run["outputs"]) == ("cancelled", None)
    (call,) = only_calls(recorder, config)
    assert (call["status"], call["error_type"]) == ("cancelled", None)
    assert recorder.stats()["open_runs"] == 0
    handler = weakref.ref(config["callbacks"].pop())
    gc.collect()
    assert handler() is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_retriever_that_is_interrupted(
    recorder: Any, config: Any, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        call_root(invoke, Finder(error=error()), "what?", config)
    gc.collect()  # the exception has the frames
    assert run_of(recorder, config)["status"] == "cancelled"


def test_a_manager_of_a_program_may_be_gone_before_the_end(
    recorder: Any, config: Any
) -> None:
    """One that calls LangChain's callbacks itself has no reason to keep it."""
    manager = CallbackManager.configure(inheritable_callbacks=config["callbacks"])
    run = manager.on_tool_start({"name": "own"}, "x", run_id=config["run_id"])
    del manager
    run.on_tool_end("done")
    kept = run_of(recorder, config)
    assert (kept["status"], kept["outputs"]) == ("completed", "done")


# Which roots are runs


def runs(recorder: Any) -> list[tuple[str, int]]:
    """Each run's name, and how many calls it has; the oldest first."""
    assert recorder.flush()
    found = [recorder.get_run(run["run_id"]) for run in recorder.list_runs().runs]
    return [
        (run["wpk_id"], sum(len(log["calls"]) for log in run["node_logs"]))
        for run in reversed(found)
    ]


def call_all() -> None:
    """A graph, and each kind of root."""
    graph_of(asks(Chat())).invoke({"messages": [QUESTION]})
    for runnable, given, *_ in ROOTS.values():
        runnable.invoke(given)


@pytest.mark.parametrize("roots", ["graphs", "all"])
def test_roots_of_a_block(recorder: Any, roots: Any) -> None:
    with recording(recorder=recorder, roots=roots):
        call_all()
    names = [root[2] for root in ROOTS.values()] if roots == "all" else []
    assert [name for name, _ in runs(recorder)] == ["g", *names]


def test_a_block_records_graphs_only(recorder: Any) -> None:
    with recording(recorder=recorder):
        call_all()
    assert runs(recorder) == [("g", 1)]


@pytest.mark.parametrize("setting", ["", "graphs", "all"])
def test_roots_of_a_process(
    store: Store, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    for name, value in {**store.env, "RUNLOG_ROOTS": setting}.items():
        monkeypatch.setenv(name, value)
    install()
    call_all()
    uninstall()
    assert len(runs(runlog)) == (8 if setting == "all" else 1)


def test_the_argument_precedes_the_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**store.env, "RUNLOG_ROOTS": "graphs"}.items():
        monkeypatch.setenv(name, value)
    install(roots="all")
    call_all()
    uninstall()
    assert len(runs(runlog)) == 8


def test_installing_again_changes_only_what_is_given() -> None:
    cases: list[dict[str, Any]] = [
        {"calls": "none"},
        {"calls": "none", "roots": None},
        {},
    ]
    for again in cases:
        install(roots="all", calls="summary")
        install(**again)
        installed: Any = registry.installed
        *_, calls, roots = installed._arguments()
        assert (calls, roots) == (again.get("calls", "summary"), "all")
        uninstall()


def test_a_handler_may_record_graphs_only(recorder: Any) -> None:
    handler = RunLogHandler(recorder=recorder, roots="graphs")
    Chat().invoke([QUESTION], {"callbacks": [handler]})
    graph_of(asks(Chat())).invoke({"messages": [QUESTION]}, {"callbacks": [handler]})
    assert runs(recorder) == [("g", 1)]


def test_a_chain_that_only_wraps_a_graph_is_no_run(recorder: Any, config: Any) -> None:
    graph = graph_of(asks(Chat()))
    chain = RunnableLambda(lambda x: x) | graph
    chain.invoke({"messages": [QUESTION]}, config)
    assert runs(recorder) == [("g", 1)]


@either
def test_a_chain_with_calls_of_its_own_and_a_graph(
    recorder: Any, handler: Any, call: Any
) -> None:
    """Both are runs, and no call is in both."""
    graph = graph_of(asks(Chat()))
    chain = (
        RunnableLambda(lambda _: {"messages": [Chat().invoke([QUESTION])]})
        | graph
        | (lambda state: plus.invoke({"a": len(state["messages"])}))
    )
    assert call(chain, 1, {"callbacks": [handler]}) == 2
    assert sorted(runs(recorder)) == [("RunnableSequence", 2), ("g", 1)]


@either
def test_roots_within_a_graph_are_its_calls(
    recorder: Any, handler: Any, config: Any, call: Any
) -> None:
    """Also where a model is given the handler once more."""
    its: Any = {"callbacks": [handler]}
    chain = PROMPT | Chat().with_config(its) | StrOutputParser()

    def act(_: Any) -> Any:
        chain.invoke({"who": "there"})

    call(graph_of(act), {"messages": [QUESTION]}, config)
    assert runs(recorder) == [("g", 1)]
    assert only_calls(recorder, config) == [llm(messages=[to_json_model(ASKED)])]


def test_a_graph_in_a_graph_in_a_tool(recorder: Any, config: Any) -> None:
    """A root tool whose graph has a subgraph: the graph is the run."""
    inner = graph_of(asks(Chat()), name="inner")
    outer = graph_of(inner, asks(Chat()), name="outer")

    def act(_: Any) -> Any:
        return outer.invoke({"messages": [QUESTION]})

    RunnableLambda(act, name="act").invoke(1, config)
    assert runs(recorder) == [("outer", 2)]


@pytest.mark.parametrize("calls", ["summary", "none"])
def test_how_much_is_kept_of_a_root(recorder: Any, calls: Any) -> None:
    handler = RunLogHandler(recorder=recorder, calls=calls)
    for root in ("chat", "text", "tool", "retriever"):
        its: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
        runnable, given, *_ = ROOTS[root]
        call_root(invoke, runnable, given, its)
        run = run_of(recorder, its)
        assert (run["inputs"], run["outputs"]) == (None, None)
        assert len(logs_of(recorder, its)[0]["calls"]) == (calls == "summary")


@pytest.mark.parametrize("interval", [0, None])
@either
def test_roots_at_any_interval(recorder: Any, call: Any, interval: Any) -> None:
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=interval)
    for runnable, given, _, _, outputs, calls in ROOTS.values():
        its: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
        call_root(call, runnable, given, its)
        assert run_of(recorder, its)["outputs"] == outputs
        assert only_calls(recorder, its) == calls
