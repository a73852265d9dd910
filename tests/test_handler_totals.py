"""Calls and tokens of models and tools, per node and per run."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from graphs import (
    again,
    ainvoke,
    build,
    chain,
    count,
    either,
    failed,
    invoke,
    log,
    record,
    record_of,
    run,
    tokens,
)
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    LLMResult,
)
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START

pytestmark = pytest.mark.either_store

USAGE: Any = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
LEGACY = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
OTHER: Any = {"prompt_tokens": 50, "completion_tokens": 70, "total_tokens": 120}


class Chat(BaseChatModel):
    """A model that reports its tokens, in one of the two ways or both."""

    model_name: str = "fake-1"
    usage: Any = USAGE
    output: Any = None
    candidates: int = 1
    error: Any = None

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        if self.error:
            raise self.error
        message = AIMessage("two words", usage_metadata=self.usage)
        generations = [ChatGeneration(message=message)] * self.candidates
        return ChatResult(generations=generations, llm_output=self.output)

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for text in ("two", " words"):
            yield ChatGenerationChunk(message=AIMessageChunk(content=text))
        last = AIMessageChunk(content="", usage_metadata=self.usage)
        yield ChatGenerationChunk(message=last)


class Completion(BaseLLM):
    """A text model that reports the tokens of all prompts together."""

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(
        self, prompts: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        generations = [[Generation(text="two words")] for _ in prompts]
        return LLMResult(generations=generations, llm_output={"token_usage": LEGACY})


class Retriever(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
        Chat().invoke(query)
        return [Document("found")]


@tool
def plus(a: int) -> int:
    """Add one."""
    return a + 1


@tool
def ask_model(a: int) -> int:
    """Ask a model."""
    Chat().invoke("hi")
    return a + 1


@tool
def fail_tool(a: int) -> int:
    """Fail."""
    raise ValueError("broken")


def calls(*models: Any) -> Any:
    """A node that asks these models, in the way the graph is called."""

    def sync(state: Any) -> Any:
        for model in models:
            model.invoke("hi")
        return count(state)

    async def action(state: Any) -> Any:
        for model in models:
            await model.ainvoke("hi")
        return count(state)

    return RunnableLambda(sync, action)


def totals(llm_calls: int = 1, models: Any = ("fake-1",), **others: Any) -> Any:
    """The expected totals of a node or of a run."""
    said = {"llm_calls": llm_calls, "models": list(models)}
    said["tokens"] = tokens(5 * llm_calls, 7 * llm_calls)
    return said | others


def one_node(**said: Any) -> Any:
    """The expected record of a run of one node, both with these totals."""
    metadata = {key: value for key, value in said.items() if value}
    only = log("a", 1, {"n": 1}, {"n": 2}, **said)
    return run({"n": 1}, {"n": 2}, only, metadata=metadata or None)


@either
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Chat(), totals()),
        (Chat(output={"token_usage": OTHER}), totals()),
        (Chat(usage=None, output={"token_usage": LEGACY}), totals()),
        (Chat(usage=None), totals(tokens=None)),
        (Chat(usage=None, output={"token_usage": {}}), totals(tokens=None)),
        # each candidate has the usage of all, as those of OpenAI do
        (Chat(candidates=3), totals()),
        (Completion(), totals(models=[])),
    ],
    ids=["usage", "both", "legacy", "neither", "empty", "candidates", "completion"],
)
def test_the_tokens_of_a_model_call_are_counted(
    recorder: Any, config: Any, call: Any, model: Any, said: Any
) -> None:
    call(chain(a=calls(model)), {"n": 1}, config)
    assert record(recorder, config) == one_node(**said)


def test_a_model_without_usage_counts_only_the_call(recorder: Any, config: Any) -> None:
    answers = [
        AIMessage("one", usage_metadata=USAGE, response_metadata={"model_name": "m"}),
        AIMessage("two"),
    ]
    model = GenericFakeChatModel(messages=iter(answers))
    invoke(chain(a=calls(model, model)), {"n": 1}, config)
    expected = one_node(**totals(2, ["m"], tokens=tokens(5, 7)))
    assert record(recorder, config) == expected


def test_token_counts_that_are_no_numbers_are_ignored(recorder: Any, config: Any) -> None:
    """A server may send anything; values that are no counts are ignored."""
    invalid: list[Any] = [
        {"prompt_tokens": "many", "completion_tokens": None, "total_tokens": 1.5},
        {"prompt_tokens": -(2**70)},
        [],
        "none",
    ]
    for usage in invalid:
        its = again(config)
        model = Chat(usage=None, output={"token_usage": usage})
        invoke(chain(a=calls(model)), {"n": 1}, its)
        kept = record(recorder, its)
        assert kept["status"] == "completed"
        assert kept["node_logs"][0]["llm_calls"] == 1


@either
def test_models_are_listed_in_the_order_of_use(
    recorder: Any, config: Any, call: Any
) -> None:
    models = [Chat(model_name=name) for name in ("z", "a", "z")]
    graph = chain(a=calls(*models), b=calls(Chat(model_name="m")), c=count)
    call(graph, {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 4},
        log("a", 1, {"n": 1}, {"n": 2}, **totals(3, ["z", "a"])),
        log("b", 2, {"n": 2}, {"n": 3}, **totals(1, ["m"])),
        log("c", 3, {"n": 3}, {"n": 4}),
        metadata=totals(4, ["z", "a", "m"]),
    )


def stream_messages(graph: Any, given: Any, config: Any) -> None:
    streamed = list(graph.stream(given, config, stream_mode="messages"))
    assert len(streamed) >= 3


def astream_messages(graph: Any, given: Any, config: Any) -> None:
    async def collect() -> None:
        stream = graph.astream(given, config, stream_mode="messages")
        assert len([one async for one in stream]) >= 3

    asyncio.run(collect())


def astream_events(graph: Any, given: Any, config: Any) -> None:
    async def collect() -> None:
        stream = graph.astream_events(given, config, version="v2")
        names = [one["event"] async for one in stream]
        assert names.count("on_chat_model_stream") >= 3

    asyncio.run(collect())


@pytest.mark.parametrize(
    "way", [stream_messages, astream_messages, astream_events], ids=lambda f: f.__name__
)
def test_a_streamed_graph_counts_the_tokens_once(
    recorder: Any, config: Any, way: Any
) -> None:
    """LangChain streams the model then, and reports its tokens once, at the end."""
    way(chain(a=calls(Chat())), {"n": 1}, config)
    assert record(recorder, config) == one_node(**totals())


@either
def test_a_streamed_model_counts_one_call(recorder: Any, config: Any, call: Any) -> None:
    def sync(state: Any) -> Any:
        assert len(list(Chat().stream("hi"))) >= 3
        return count(state)

    async def action(state: Any) -> Any:
        assert len([one async for one in Chat().astream("hi")]) >= 3
        return count(state)

    call(chain(a=RunnableLambda(sync, action)), {"n": 1}, config)
    assert record(recorder, config) == one_node(**totals())


@either
def test_each_prompt_of_a_batch_is_a_call(recorder: Any, config: Any, call: Any) -> None:
    """Each prompt is a call, however many go to the server at once."""

    def sync(state: Any) -> Any:
        Chat().batch(["one", "two", "three"])
        return count(state)

    async def action(state: Any) -> Any:
        await Chat().abatch(["one", "two", "three"])
        return count(state)

    call(chain(a=RunnableLambda(sync, action)), {"n": 1}, config)
    assert record(recorder, config) == one_node(**totals(3))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Chat(), totals(2)),
        # LangChain hands the usage of all prompts on with the first
        (Completion(), totals(2, [], tokens=tokens(5, 7))),
    ],
    ids=["chat", "completion"],
)
def test_each_prompt_of_one_generate_is_a_call(
    recorder: Any, config: Any, model: Any, said: Any
) -> None:
    def action(state: Any, config: RunnableConfig) -> Any:
        prompts: Any = ["one", "two"]
        if isinstance(model, Chat):
            prompts = [[HumanMessage(text)] for text in prompts]
        model.generate(prompts, callbacks=config["callbacks"])
        return count(state)

    invoke(chain(a=action), {"n": 1}, config)
    assert record(recorder, config) == one_node(**said)


@either
def test_a_failed_model_call_is_counted(recorder: Any, config: Any, call: Any) -> None:
    """The call is counted, without tokens."""
    error = ConnectionError("away")
    graph = chain(a=calls(Chat(), Chat(model_name="fake-2", error=error)))
    with pytest.raises(ConnectionError):
        call(graph, {"n": 1}, config)
    said = totals(2, ["fake-1", "fake-2"], tokens=tokens(5, 7))
    only = log("a", 1, {"n": 1}, **said | failed(error))
    expected = run({"n": 1}, None, only, metadata=said, **failed(error))
    assert record(recorder, config) == expected


def with_tool(action: Any, **given: Any) -> Any:
    """A node that uses a tool, in the way the graph is called."""

    def sync(state: Any) -> Any:
        return {"n": action.invoke({"a": state["n"]})}

    async def its(state: Any) -> Any:
        return {"n": await action.ainvoke({"a": state["n"]})}

    return RunnableLambda(sync, its)


@either
def test_tool_calls_and_their_models_are_counted(
    recorder: Any, config: Any, call: Any
) -> None:
    """A model called by a tool counts for the node."""
    graph = chain(a=with_tool(plus), b=with_tool(ask_model))
    call(graph, {"n": 1}, config)
    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 3},
        log("a", 1, {"n": 1}, {"n": 2}, tool_calls=1),
        log("b", 2, {"n": 2}, {"n": 3}, tool_calls=1, **totals()),
        metadata={"tool_calls": 2, **totals()},
    )


@either
def test_a_failed_tool_call_is_counted(recorder: Any, config: Any, call: Any) -> None:
    error = ValueError("broken")
    with pytest.raises(ValueError, match="broken"):
        call(chain(a=with_tool(fail_tool)), {"n": 1}, config)
    only = log("a", 1, {"n": 1}, tool_calls=1, **failed(error))
    said = {"tool_calls": 1}
    expected = run({"n": 1}, None, only, metadata=said, **failed(error))
    assert record(recorder, config) == expected


def test_only_the_model_of_a_retriever_is_counted(recorder: Any, config: Any) -> None:
    """The retriever is not counted, but the model that it calls is."""

    def action(state: Any) -> Any:
        assert len(Retriever().invoke("what?")) == 1
        return count(state)

    invoke(chain(a=action), {"n": 1}, config)
    assert record(recorder, config) == one_node(**totals())


@either
def test_only_the_innermost_node_counts_a_call(
    recorder: Any, config: Any, call: Any
) -> None:
    """A node's numbers are without those of nodes within it."""
    inner = chain("inner", x=calls(Chat(model_name="x")), y=with_tool(plus))

    def sync(state: Any) -> Any:
        Chat().invoke("hi")
        return inner.invoke(state)

    async def action(state: Any) -> Any:
        await Chat().ainvoke("hi")
        return await inner.ainvoke(state)

    call(chain(sub=inner, calls=RunnableLambda(sync, action)), {"n": 1}, config)

    def its(n: int, parent: str) -> Any:
        x = log("x", 1, {"n": n}, {"n": n + 1}, parent=parent, **totals(1, ["x"]))
        n += 1
        return x, log("y", 2, {"n": n}, {"n": n + 1}, parent=parent, tool_calls=1)

    assert record(recorder, config) == run(
        {"n": 1},
        {"n": 5},
        log("sub", 1, {"n": 1}, {"n": 3}),
        *its(1, "sub"),
        log("calls", 2, {"n": 3}, {"n": 5}, **totals()),
        *its(3, "calls"),
        metadata={"tool_calls": 2, **totals(3, ["x", "fake-1"])},
    )


def test_model_calls_in_edges_count_for_their_node(recorder: Any, config: Any) -> None:
    """An edge's is its node's, an entry's that of __start__, one before it is neither."""

    def entry(state: Any) -> Any:
        Chat(model_name="entry").invoke("hi")
        return "a"

    def edge(state: Any) -> Any:
        Chat(model_name="edge").invoke("hi")
        return END

    builder = build(a=calls(Chat()))
    builder.add_conditional_edges(START, entry, ["a"])
    builder.add_conditional_edges("a", edge, [END])

    def before(state: Any) -> Any:
        Chat(model_name="before").invoke("hi")
        return state

    sequence: Any = RunnableLambda(before) | builder.compile(name="g")
    del config["run_id"]
    sequence.invoke({"n": 1}, config)
    expected = run(
        {"n": 1},
        {"n": 2},
        log("__start__", 0, None, {"n": 1}, **totals(1, ["entry"])),
        log("a", 1, {"n": 1}, {"n": 2}, **totals(2, ["fake-1", "edge"])),
        metadata=totals(3, ["entry", "fake-1", "edge"]),
    )
    assert record_of(recorder, wpk_id="g") == expected
    around = record_of(recorder, wpk_id="RunnableSequence")
    assert around["metadata"] == totals(1, ["before"])


def test_totals_of_parallel_nodes_are_added(recorder: Any, config: Any) -> None:
    """The totals of a run are the sums over its threads."""

    def action(state: Any) -> Any:
        for _ in range(5):
            Chat().invoke("hi")
        return {}

    names = [f"node{n}" for n in range(8)]
    edges = [(START, name) for name in names]
    nodes = dict.fromkeys(names, action)
    graph = build(*edges, **nodes).compile(name="g")
    invoke(graph, {"n": 1}, config)
    kept = record(recorder, config)
    kept["node_logs"].sort(key=lambda one: one["node"])
    logs = [log(name, 1, {"n": 1}, {}, **totals(5)) for name in names]
    assert kept == run({"n": 1}, {"n": 1}, *logs, metadata=totals(40))


async def test_totals_of_parallel_async_calls_are_added(
    recorder: Any, config: Any
) -> None:
    async def action(state: Any) -> Any:
        await asyncio.gather(*(Chat().ainvoke("hi") for _ in range(10)))
        return count(state)

    await chain(a=action).ainvoke({"n": 1}, config)
    assert record(recorder, config) == one_node(**totals(10))


def test_totals_of_different_runs_do_not_mix(recorder: Any, config: Any) -> None:
    first, second = again(config), again(config)
    invoke(chain(a=calls(Chat())), {"n": 1}, first)
    ainvoke(chain(a=count), {"n": 1}, second)
    assert record(recorder, first) == one_node(**totals())
    assert record(recorder, second) == one_node()
