"""Calls of langchain-openai and langchain-anthropic that fail, are cut or repeated."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from threading import Semaphore
from typing import Any

import pytest
from helpers import until
from provider_formats import Refuse, Say
from provider_help import (
    KEY,
    NAMES,
    OSLO,
    QUESTION,
    WAYS,
    Make,
    ainvoke,
    anthropic,
    ask,
    asking,
    async_node_of,
    calls_of,
    chat,
    each_client,
    failed,
    invoke,
    llm,
    logs_of,
    node_of,
    responses,
    stored_text,
    text_of,
    weather,
)
from provider_server import COOKIE, ProviderServer

pytestmark = pytest.mark.either_store

BOTH = {"sync": (node_of, invoke), "async": (async_node_of, ainvoke)}
both = pytest.mark.parametrize("way", BOTH.values(), ids=BOTH)
STREAMED = {name: way[:2] for name, way in WAYS.items() if way[2]}
FAULTS = {f"{name}-cut": (*way, "cut") for name, way in STREAMED.items()}
for some in ("stream", "events"):
    FAULTS[f"{some}-broken"] = (*STREAMED[some], "broken")

TEXT = {chat: 2, responses: 5, anthropic: 4}
"""How many events there are up to the first piece of the text."""


def unanswered(make: Make, **others: Any) -> dict[str, Any]:
    """The expected record of a call without a whole answer."""
    asked = {"model": NAMES[make]["model"].removesuffix("-2025-08-07")}
    nothing = {"outputs": None, "finish_reason": None, "tokens": None}
    return llm(make, **{**asked, **nothing, **others})


@each_client
@both
def test_what_the_client_repeats_is_one_call(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, way: Any
) -> None:
    make_node, call = way
    provider.script(Refuse(429, retry_after_ms=1), Refuse(500, retry_after_ms=1), Say())
    ask(make_node(make(provider, max_retries=2)), config, call)
    log, calls = calls_of(recorder, config)
    messages, outputs = log["inputs"]["messages"], log["outputs"]["messages"]
    assert len(provider.requests) == 3
    assert calls == [llm(make, messages=messages, outputs=outputs)]


@each_client
@both
def test_a_call_that_is_refused(
    provider: ProviderServer,
    recorder: Any,
    config: Any,
    *,
    store: Any,
    make: Make,
    way: Any,
) -> None:
    make_node, call = way
    provider.script(Refuse(500))
    with pytest.raises(Exception, match="scripted failure") as caught:
        ask(make_node(make(provider)), config, call)
    log, calls = calls_of(recorder, config)
    messages = log["inputs"]["messages"]
    assert calls == [unanswered(make, messages=messages, **failed(caught.value))]
    assert failed(caught.value).items() <= log.items()
    assert COOKIE not in stored_text(store)


@each_client
def test_a_key_that_the_provider_repeats_is_not_stored(
    provider: ProviderServer, recorder: Any, config: Any, store: Any, make: Make
) -> None:
    provider.script(Refuse(401, f"Incorrect API key provided: {KEY}."))
    with pytest.raises(Exception, match="Incorrect API key") as caught:
        ask(node_of(make(provider)), config)
    assert KEY in str(caught.value)
    _, (call,) = calls_of(recorder, config)
    assert "Incorrect API key" in call["error_text"]
    assert KEY not in stored_text(store)


@each_client
@both
def test_each_attempt_of_with_retry_is_a_call(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, way: Any
) -> None:
    make_node, call = way
    provider.script(Refuse(500), Say())
    model = make(provider).with_retry(wait_exponential_jitter=False, stop_after_attempt=2)
    ask(make_node(model), config, call)
    log, (first, second) = calls_of(recorder, config)
    messages, outputs = log["inputs"]["messages"], log["outputs"]["messages"]
    error = {"error_type": first["error_type"], "error_text": first["error_text"]}
    assert "scripted failure" in first["error_text"]
    assert first == unanswered(make, messages=messages, status="failed", **error)
    assert second == llm(make, messages=messages, outputs=outputs)


@both
def test_each_of_the_fallbacks_is_a_call(
    provider: ProviderServer, recorder: Any, config: Any, way: Any
) -> None:
    make_node, call = way
    provider.script(Refuse(500), Refuse(500), Say())
    others = [responses(provider), anthropic(provider)]
    ask(make_node(chat(provider).with_fallbacks(others)), config, call)
    log, calls = calls_of(recorder, config)
    paths = [request.path for request in provider.requests]
    assert paths == ["/v1/chat/completions", "/v1/responses", "/v1/messages"]
    messages, outputs = log["inputs"]["messages"], log["outputs"]["messages"]
    for kept, make in zip(calls[:2], (chat, responses), strict=True):
        error = {"error_type": kept["error_type"], "error_text": kept["error_text"]}
        assert kept == unanswered(make, messages=messages, status="failed", **error)
    assert calls[2] == llm(anthropic, messages=messages, outputs=outputs)


@each_client
@pytest.mark.parametrize("way", FAULTS.values(), ids=FAULTS)
def test_what_a_stream_said_before_it_failed(
    provider: ProviderServer,
    recorder: Any,
    config: Any,
    *,
    store: Any,
    make: Make,
    way: Any,
) -> None:
    make_node, call, fault = way
    up_to = TEXT[make]
    provider.script(Say(cut=up_to) if fault == "cut" else Say(broken=up_to))
    with pytest.raises(Exception, match=r"onnection|scripted break") as caught:
        ask(make_node(make(provider)), config, call)
    log, (kept,) = calls_of(recorder, config)
    messages, outputs = log["inputs"]["messages"], kept["outputs"]
    expected = unanswered(
        make, messages=messages, outputs=outputs, streamed=True, **failed(caught.value)
    )
    assert kept == expected
    assert [text_of(output) for output in outputs] == ["Hello"]
    assert COOKIE not in stored_text(store)


WITHIN_TOOL = {chat: 3, responses: 4, anthropic: 5}
"""How many events there are up to the first half of the arguments of a tool."""


@each_client
@pytest.mark.parametrize("way", [STREAMED["stream"], STREAMED["amessages"]])
def test_half_of_a_tool_call_is_kept(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, way: Any
) -> None:
    make_node, call = way
    provider.script(Say((), (OSLO,), cut=WITHIN_TOOL[make]))
    with pytest.raises(Exception, match="onnection"):
        ask(make_node(make(provider).bind_tools([weather])), config, call)
    _, (kept,) = calls_of(recorder, config)
    (output,) = kept["outputs"]
    (part,) = output["tool_call_chunks"]
    assert (part["name"], part["id"], part["args"]) == ("weather", "call_1", '{"city":')
    assert kept["status"] == "failed"


def break_off(model: Any) -> Callable[[Any], Any]:
    """A node that reads an answer up to its first piece of text."""

    def leave(state: Any) -> Any:
        for chunk in model.stream(state["messages"]):
            if text_of(chunk):
                return {"messages": ["enough"]}
        raise AssertionError("there was no text")

    return leave


def abreak_off(model: Any) -> Callable[[Any], Any]:
    async def leave(state: Any) -> Any:
        stream = model.astream(state["messages"])
        async for chunk in stream:
            if text_of(chunk):
                await stream.aclose()
                return {"messages": ["enough"]}
        raise AssertionError("there was no text")

    return leave


LEFT = {"sync": (break_off, invoke), "async": (abreak_off, ainvoke)}


@each_client
@pytest.mark.parametrize("way", LEFT.values(), ids=LEFT)
def test_what_a_stream_said_before_the_node_left_it(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, way: Any
) -> None:
    make_node, call = way
    provider.script(Say(paced=Semaphore(TEXT[make])))
    ask(make_node(make(provider)), config, call)
    log, (kept,) = calls_of(recorder, config)
    messages, outputs = log["inputs"]["messages"], kept["outputs"]
    expected = unanswered(
        make,
        messages=messages,
        outputs=outputs,
        streamed=True,
        **failed(GeneratorExit(), "cancelled"),
    )
    assert kept == expected
    assert [text_of(output) for output in outputs] == ["Hello"]
    assert log["status"] == "completed"


@each_client
def test_what_a_stream_said_before_the_run_was_left(
    provider: ProviderServer, recorder: Any, config: Any, make: Make
) -> None:
    provider.script(Say(paced=Semaphore(TEXT[make])))
    graph = asking(async_node_of(make(provider)))

    async def leave() -> None:
        parts = graph.astream({"messages": QUESTION}, config, stream_mode="messages")
        async for chunk, _ in parts:
            if text_of(chunk):
                break
        await parts.aclose()

    asyncio.run(leave())
    log, (kept,) = calls_of(recorder, config)
    assert (log["status"], kept["status"]) == ("cancelled", "cancelled")
    assert [text_of(output) for output in kept["outputs"]] == ["Hello"]
    assert kept["streamed"]


@each_client
def test_what_a_stream_said_before_the_node_gave_up_on_it(
    provider: ProviderServer, recorder: Any, config: Any, make: Make
) -> None:
    """LangChain tells no end of a call that is streamed for others, and cancelled."""
    provider.script(Say(paced=Semaphore(TEXT[make])))
    model, heard = make(provider), asyncio.Event()

    async def give_up(state: Any) -> Any:
        task = asyncio.ensure_future(model.ainvoke(state["messages"]))
        await heard.wait()
        task.cancel()
        return {"messages": ["enough"]}

    async def run() -> None:
        given = {"messages": QUESTION}
        async for chunk, _ in asking(give_up).astream(
            given, config, stream_mode="messages"
        ):
            if text_of(chunk):
                heard.set()

    asyncio.run(run())
    log, (kept,) = calls_of(recorder, config)
    assert (log["status"], kept["status"]) == ("completed", "cancelled")
    assert [text_of(output) for output in kept["outputs"]] == ["Hello"]


@each_client
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "node"])
def test_a_call_that_is_cancelled_while_it_waits(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, whole: bool
) -> None:
    """LangChain tells of the beginning alone."""
    provider.script(Say(paced=Semaphore(0)))
    model = make(provider)

    async def give_up(state: Any) -> Any:
        task = asyncio.ensure_future(model.ainvoke(state["messages"]))
        while not provider.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return {"messages": ["enough"]}

    async def run() -> None:
        node = async_node_of(model) if whole else give_up
        await cancel_once(provider, asking(node), config, cancel=whole)

    asyncio.run(run())
    log, (kept,) = calls_of(recorder, config)
    assert log["status"] == ("cancelled" if whole else "completed")
    expected = unanswered(make, messages=log["inputs"]["messages"], status="cancelled")
    told = {"error_type": kept["error_type"], "error_text": kept["error_text"]}
    assert kept == {**expected, **told}


async def cancel_once(
    provider: ProviderServer, graph: Any, config: Any, cancel: bool
) -> None:
    """Run a graph, and cancel it, if so, when the model has been asked."""
    task = asyncio.ensure_future(graph.ainvoke({"messages": QUESTION}, config))
    if not cancel:
        await task
        return
    while not provider.requests:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@each_client
def test_an_open_run_shows_the_call_that_it_is_in(
    provider: ProviderServer, recorder: Any, config: Any, make: Make
) -> None:
    steps = Semaphore(0)
    provider.script(Say(paced=steps))
    thread = threading.Thread(target=ask, args=(node_of(make(provider)), config))
    thread.start()
    try:
        until(lambda: bool(open_calls(recorder, config)))
        (call,) = open_calls(recorder, config)
    finally:
        steps.release()
        thread.join()
    assert call["status"] == "running"
    assert call["duration_ms"] is None
    assert call["outputs"] is None
    _, (after,) = calls_of(recorder, config)
    assert call["messages"] == after["messages"]
    assert call["params"] == after["params"]


def open_calls(recorder: Any, config: Any) -> Any:
    """The calls of the node that a run is in, as far as they are stored."""
    run = recorder.get_run(str(config["run_id"]))
    return run["node_logs"][0]["calls"] if run and run["node_logs"] else []


@each_client
def test_the_time_to_the_first_token(
    provider: ProviderServer, recorder: Any, config: Any, make: Make
) -> None:
    """It is that of the first piece of the answer, not of the stream's first event."""
    steps, heard = Semaphore(TEXT[make] - 1), threading.Event()
    provider.script(Say(paced=steps))
    waits = []

    def pace() -> None:
        until(lambda: bool(provider.requests))
        waits.append(wait_visibly())
        steps.release()
        assert heard.wait(60)
        waits.append(wait_visibly())
        steps.release(50)

    def read(state: Any) -> Any:
        for chunk in make(provider).stream(state["messages"]):
            if text_of(chunk):
                heard.set()
        return {}

    thread = threading.Thread(target=pace, daemon=True)
    thread.start()
    ask(read, config)
    thread.join()
    (log,) = logs_of(recorder, config)
    (call,) = log["calls"]
    assert call["first_token_ms"] >= waits[0]
    assert call["duration_ms"] - call["first_token_ms"] >= waits[1]


def wait_visibly() -> float:
    """Wait so long that it has to be seen in a record; returns the milliseconds."""
    begun = time.monotonic()
    time.sleep(0.05)
    return (time.monotonic() - begun) * 1000


@each_client
@pytest.mark.parametrize("how", ["refused", "cut", "left"])
def test_a_client_without_a_graph_fails(
    provider: ProviderServer,
    recorder: Any,
    config: Any,
    *,
    store: Any,
    make: Make,
    how: str,
) -> None:
    """The run of a model alone ends as its call does, with what came of the answer."""
    provider.script(Refuse(500) if how == "refused" else Say(cut=TEXT[make]))
    expected = failed(GeneratorExit(), "cancelled")
    if how == "left":
        break_off(make(provider).with_config(config))({"messages": QUESTION})
    else:
        with pytest.raises(Exception, match=r"onnection|scripted failure") as caught:
            list(make(provider).stream(QUESTION, config))
        expected = failed(caught.value)
    (log,) = logs_of(recorder, config)
    run = recorder.get_run(str(config["run_id"]))
    (call,) = log["calls"]
    for kept in (run, log, call):
        assert expected.items() <= kept.items()
    said = [text_of(output) for output in call["outputs"] or []]
    assert said == ([] if how == "refused" else ["Hello"])
    assert COOKIE not in stored_text(store)
