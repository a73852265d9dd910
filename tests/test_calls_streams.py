"""Calls whose answers are streamed: once each, with what came if they ended early."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from call_help import (
    QUESTION,
    Chat,
    Completion,
    Streaming,
    amessages_mode,
    asks,
    calls_of,
    collect,
    completion,
    does,
    events_mode,
    failed,
    graph_of,
    joined,
    llm,
    logs_of,
    messages_mode,
    only_calls,
)
from graphs import ainvoke, either, invoke
from strategies import to_json_model

pytestmark = pytest.mark.either_store

GIVEN = {"messages": [QUESTION]}


def streaming(model: Any) -> Any:
    """A node that has the answer of a model streamed, and returns all of it."""

    def act(state: Any) -> Any:
        return {"messages": [joined(list(model.stream(state["messages"])))]}

    async def act_async(state: Any) -> Any:
        return {"messages": [joined(await collect(model.astream(state["messages"])))]}

    return does(act, act_async)


WAYS: dict[str, tuple[Any, Any]] = {
    "stream": (streaming, invoke),
    "astream": (streaming, ainvoke),
    "messages": (asks, messages_mode),
    "amessages": (asks, amessages_mode),
    "events": (asks, events_mode),
    "events-astream": (streaming, events_mode),
    "messages-stream": (streaming, messages_mode),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_streamed_answer_is_one_call(recorder: Any, config: Any, way: Any) -> None:
    """Whoever wants the tokens: the node, the program, or both."""
    node, call = way
    call(graph_of(node(Streaming())), GIVEN, config)
    (log,) = logs_of(recorder, config)
    (one,) = only_calls(recorder, config)
    outputs = log["outputs"]["messages"]
    for message in outputs:  # of chunks: LangChain marks what it adds up itself
        message.pop("chunk_position", None)
    for message in one["outputs"]:
        message.pop("chunk_position", None)
    assert one == llm("Streaming", outputs=outputs, streamed=True)
    assert outputs[0]["content"] == "two words"
    assert log["llm_calls"] == 1


@either
def test_an_answer_that_is_not_streamed(recorder: Any, config: Any, call: Any) -> None:
    """A model that can't stream, asked to: the answer comes in one piece."""
    call(graph_of(streaming(Chat())), GIVEN, config)
    (one,) = only_calls(recorder, config)
    assert one["outputs"][0]["content"] == "two words"


@either
def test_the_stream_of_a_text_model(recorder: Any, config: Any, call: Any) -> None:
    model = Completion(texts=("two", " words"))

    def act(_: Any) -> Any:
        assert "".join(model.stream("Who?")) == "two words"

    async def act_async(_: Any) -> Any:
        assert "".join(await collect(model.astream("Who?"))) == "two words"

    call(graph_of(does(act, act_async)), GIVEN, config)
    assert only_calls(recorder, config) == [completion("Who?", streamed=True)]


FAILING = Streaming(words=("so", " far", "never"), fails=2)


def check_partial(call: Any, **others: Any) -> None:
    """The outputs of a call are what had come; of a chunk, or a message of it."""
    (output,) = call.pop("outputs")
    assert output["type"] in ("AIMessageChunk", "ai")
    assert (output["content"], output["id"]) == ("so far", "a")
    expected = llm("Streaming", streamed=True, **others)
    del expected["outputs"]
    assert call == expected


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_stream_that_fails_keeps_what_had_come(
    recorder: Any, config: Any, way: Any
) -> None:
    node, call = way
    with pytest.raises(ValueError, match="cut"):
        call(graph_of(node(FAILING)), GIVEN, config)
    (one,) = only_calls(recorder, config)
    check_partial(one, **failed(ValueError("cut")))


@either
def test_a_stream_that_is_left_keeps_what_had_come(
    recorder: Any, config: Any, call: Any
) -> None:
    """The node breaks off, and goes on."""
    model = Streaming(words=("so", " far", "never", "more"))

    def act(state: Any) -> Any:
        stream: Any = model.stream(state["messages"])
        parts = [next(stream), next(stream)]
        stream.close()
        Chat().invoke(state["messages"])
        return {"messages": [joined(parts)]}

    async def act_async(state: Any) -> Any:
        stream: Any = model.astream(state["messages"])
        parts = [await anext(stream), await anext(stream)]
        await stream.aclose()
        await Chat().ainvoke(state["messages"])
        return {"messages": [joined(parts)]}

    call(graph_of(does(act, act_async)), GIVEN, config)
    left, after = only_calls(recorder, config)
    check_partial(left, **failed(GeneratorExit(), "cancelled"))
    assert after == llm()
    (log,) = logs_of(recorder, config)
    assert log["status"] == "completed"


@pytest.mark.parametrize("streams", [True, False], ids=["astream", "ainvoke"])
async def test_a_stream_that_is_cancelled_keeps_what_had_come(
    recorder: Any, config: Any, streams: bool
) -> None:
    """With its node; LangChain tells no end of an ainvoke."""
    come = asyncio.Event()

    class Slow(Streaming):
        async def _astream(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
        ) -> Any:
            for chunk in super()._stream(messages):
                if run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
            come.set()
            await asyncio.sleep(60)

    model = Slow(words=("so", " far"))
    node = streaming(model) if streams else asks(model)
    graph = graph_of(node)
    made = asyncio.create_task(
        collect(graph.astream(GIVEN, config, stream_mode="messages"))
    )
    await asyncio.wait_for(come.wait(), 30)
    made.cancel()
    with pytest.raises(asyncio.CancelledError):
        await made
    (log,) = logs_of(recorder, config)
    (one,) = log["calls"]
    assert (log["status"], one["status"]) == ("cancelled", "cancelled")
    assert one["streamed"] is True
    assert [output["content"] for output in one["outputs"]] == ["so far"]


async def test_a_call_that_is_cancelled_alone(recorder: Any, config: Any) -> None:
    """Its node completes without it: it did not end, so it ends with the run."""
    begun = asyncio.Event()

    class Never(Chat):
        async def _agenerate(self, *args: Any, **options: Any) -> Any:
            begun.set()
            await asyncio.sleep(60)

    async def act(_: Any) -> Any:
        asked = asyncio.create_task(Never().ainvoke([QUESTION]))
        await asyncio.wait_for(begun.wait(), 30)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    await graph_of(act).ainvoke(GIVEN, config)
    (log,) = logs_of(recorder, config)
    (one,) = log["calls"]
    assert (log["status"], one["status"]) == ("completed", "cancelled")
    assert one["messages"] == [to_json_model(QUESTION)]
    assert one["outputs"] is None


def test_a_graph_whose_stream_is_left(recorder: Any, config: Any) -> None:
    """The call had ended when the program left the stream of the graph."""
    stream = graph_of(asks(Chat()), asks(Chat())).stream(GIVEN, config)
    next(stream)
    stream.close()
    assert calls_of(recorder, config)[0] == ("a", [llm()])


@pytest.mark.parametrize("count", [2, 3])
def test_streams_at_once_are_not_mixed(recorder: Any, config: Any, count: int) -> None:
    """Their tokens come by turns, and each fails with its own."""
    models = [
        Streaming(words=(str(n), "-", str(n), "never"), fails=3) for n in range(count)
    ]

    def act(_: Any) -> Any:
        streams = [model.stream([QUESTION]) for model in models]
        for _ in range(3):
            for stream in streams:
                next(stream)
        for stream in streams:
            with pytest.raises(ValueError):
                next(stream)

    graph_of(does(act)).invoke(GIVEN, config)
    calls = only_calls(recorder, config)
    texts = [[output["content"] for output in call["outputs"]] for call in calls]
    assert texts == [[f"{n}-{n}"] for n in range(count)]
