"""What the tests of real clients share: the clients, graphs that ask them, and the record
that is expected of a call.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from graphs import SLACK
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from provider_formats import Ask, Usage
from provider_server import ProviderServer

KEY = "sk-proj-5f3a9c0d7e1b4826"
"""The clients' key, which is never stored."""

Make = Callable[..., Any]


def chat(server: ProviderServer, **options: Any) -> Any:
    """OpenAI's chat completions."""
    from langchain_openai import ChatOpenAI  # takes a second or two

    known = {"model": "gpt-4.1", "max_retries": 0, "stream_usage": True}
    where = {"api_key": KEY, "base_url": f"{server.url}/v1"}
    return ChatOpenAI(**{**known, **where, **options})


def responses(server: ProviderServer, **options: Any) -> Any:
    """OpenAI's responses."""
    return chat(server, use_responses_api=True, **options)


def anthropic(server: ProviderServer, **options: Any) -> Any:
    """Anthropic's messages."""
    from langchain_anthropic import ChatAnthropic

    known = {"model": "claude-scripted", "max_retries": 0, "max_tokens": 64}
    return ChatAnthropic(**{**known, "api_key": KEY, "base_url": server.url, **options})


CLIENTS: dict[str, Make] = {"chat": chat, "responses": responses, "anthropic": anthropic}
each_client = pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS)

QUESTION = [SystemMessage("Be brief.", id="s"), HumanMessage("Who is there?", id="h")]
USAGE = Usage(90, 40, 30, 20, 10, 2, 3)


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It rains in {city}."


OSLO = Ask("weather", {"city": "Oslo"}, "call_1")
ROME = Ask("weather", {"city": "Rome"}, "call_2")


def node_of(model: Any) -> Callable[[Any], Any]:
    """A node that asks a model at once."""
    return lambda state: {"messages": [model.invoke(state["messages"])]}


def async_node_of(model: Any) -> Callable[[Any], Any]:
    async def ask(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def whole(chunks: Any) -> Any:
    """A message of the chunks that came."""
    first, *others = chunks
    return sum(others, first)


def streaming_node_of(model: Any) -> Callable[[Any], Any]:
    """A node that has a model's answer streamed."""
    return lambda state: {"messages": [whole(list(model.stream(state["messages"])))]}


def async_streaming_node_of(model: Any) -> Callable[[Any], Any]:
    async def ask(state: Any) -> Any:
        chunks = [chunk async for chunk in model.astream(state["messages"])]
        return {"messages": [whole(chunks)]}

    return ask


def asking(node: Any) -> Any:
    """A graph of this node."""
    builder = StateGraph(MessagesState)
    builder.add_node("ask", node)
    builder.add_edge(START, "ask")
    return builder.compile(name="g")


def invoke(graph: Any, given: Any, config: Any) -> Any:
    return graph.invoke(given, config)


def ainvoke(graph: Any, given: Any, config: Any) -> Any:
    return asyncio.run(graph.ainvoke(given, config))


def stream_messages(graph: Any, given: Any, config: Any) -> Any:
    return list(graph.stream(given, config, stream_mode="messages"))


async def collect(parts: Any) -> Any:
    return [part async for part in parts]


def astream_messages(graph: Any, given: Any, config: Any) -> Any:
    return asyncio.run(collect(graph.astream(given, config, stream_mode="messages")))


def astream_events(graph: Any, given: Any, config: Any) -> Any:
    return asyncio.run(collect(graph.astream_events(given, config, version="v2")))


def stream_v3(graph: Any, given: Any, config: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The v3 streaming protocol")
        return list(graph.stream_events(given, config, version="v3"))


WAYS: dict[str, tuple[Make, Make, bool]] = {
    "invoke": (node_of, invoke, False),
    "ainvoke": (async_node_of, ainvoke, False),
    "stream": (streaming_node_of, invoke, True),
    "astream": (async_streaming_node_of, ainvoke, True),
    "messages": (node_of, stream_messages, True),
    "amessages": (async_node_of, astream_messages, True),
    "events": (async_node_of, astream_events, True),
    "events-v3": (node_of, stream_v3, True),
    "events-astream": (async_streaming_node_of, astream_events, True),
}
"""A node, how its graph is called, and whether the answer is streamed."""
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def ask(
    node: Callable[[Any], Any], config: Any, call: Make = invoke, given: Any = None
) -> Any:
    """Run a graph of the node with a question."""
    return call(asking(node), {"messages": given or QUESTION}, config)


def logs_of(recorder: Any, config: Any) -> Any:
    """The node logs of a run, whose text has no key in it."""
    assert recorder.flush()
    run = recorder.get_run(str(config["run_id"]))
    assert run is not None
    assert KEY not in json.dumps(run, default=str)
    return run["node_logs"]


def stored_text(store: Any) -> str:
    """All that is stored, as text."""
    tables = ("workflow_runs", "run_parts")
    return "".join(str(store.query(f"SELECT * FROM {table}")) for table in tables)


def calls_of(recorder: Any, config: Any) -> tuple[Any, Any]:
    """The only node log, and its calls, without their clocks."""
    (log,) = logs_of(recorder, config)
    return log, [without_clocks(call, log) for call in log["calls"]]


def without_clocks(call: Any, log: Any) -> Any:
    """A call whose times are right, without them."""
    begun = datetime.fromisoformat(call["started_at"])
    node = datetime.fromisoformat(log["started_at"])
    assert node <= begun + SLACK
    duration, left = call["duration_ms"], {**call}
    if duration is None:
        assert call["status"] == "cancelled"  # LangChain told of no end
    else:
        assert type(duration) is float
        assert duration >= 0
        end = begun + timedelta(milliseconds=duration)
        assert end <= node + timedelta(milliseconds=log["duration_ms"]) + SLACK
    if call["kind"] == "llm":
        first = left.pop("first_token_ms")
        if call["streamed"]:
            assert type(first) is float
            assert 0 < first <= (duration or first)
        else:
            assert first is None
    del left["started_at"], left["duration_ms"]
    return left


OPENAI = {"name": "ChatOpenAI", "provider": "openai", "model": "gpt-4.1-2025-08-07"}
ANTHROPIC: dict[str, Any] = {
    "name": "ChatAnthropic",
    "provider": "anthropic",
    "model": "claude-scripted",
    "params": {"max_tokens": 64},
}
NAMES: dict[Make, dict[str, Any]] = {
    chat: {**OPENAI, "params": None, "finish_reason": "stop"},
    responses: {**OPENAI, "params": None, "finish_reason": "completed"},
    anthropic: {**ANTHROPIC, "finish_reason": "end_turn"},
}
"""What is recorded of a call of each client, besides what it says."""


def llm(make: Make, **others: Any) -> dict[str, Any]:
    """The expected record of a call of a model, without its clocks."""
    expected = {
        "kind": "llm",
        "parent": None,
        "status": "completed",
        "error_type": None,
        "error_text": None,
        "tags": [],
        "metadata": {},
        "tools": None,
        "response_format": None,
        "prompt": None,
        "streamed": False,
        "cached": False,
        "tokens": tokens_of(make, Usage()),
        **NAMES[make],
    }
    assert others.keys() <= {*expected, "messages", "outputs"}
    return expected | others


def tokens_of(make: Make, usage: Usage) -> dict[str, Any]:
    """Tokens as a client counts them, in the details that its provider gives."""
    read = {"cache_read": usage.cache_read, "cache_creation": usage.cache_creation}
    audio_in, audio_out = {"audio": usage.audio_input}, {"audio": usage.audio_output}
    reasoning = {"reasoning": usage.reasoning}
    tokens: dict[str, Any] = {
        "input": usage.input,
        "output": usage.output,
        "total": usage.input + usage.output,
        "input_details": {**read, **(audio_in if make is chat else {})},
        "output_details": {**reasoning, **(audio_out if make is chat else {})},
    }
    if make is anthropic and not usage.reasoning:
        del tokens["output_details"]
    return tokens


def failed(error: BaseException, status: str = "failed") -> dict[str, Any]:
    """The fields of a call, or a node log, that an error ended."""
    return {
        "status": status,
        "error_type": type(error).__name__,
        "error_text": str(error),
    }


def said(messages: list[Any]) -> list[tuple[str, Any]]:
    """Who says what, as an interface has it, of recorded messages."""
    roles = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
    return [(roles[message["type"]], message["content"]) for message in messages]


def sent(body: Any) -> list[tuple[str, Any]]:
    """Who says what, of a request that the server got."""
    system = [("system", body["system"])] if "system" in body else []
    messages = body["messages"] if "messages" in body else body["input"]
    return system + [(one["role"], one["content"]) for one in messages if "role" in one]


def text_of(message: BaseMessage | dict[str, Any]) -> str:
    """The text of an answer, which may be in blocks."""
    content = message["content"] if isinstance(message, dict) else message.content
    if isinstance(content, str):
        return content
    return "".join(
        block if isinstance(block, str) else block.get("text", "") for block in content
    )
