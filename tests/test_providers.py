"""The calls of langchain-openai and langchain-anthropic are recorded whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import HumanMessage
from provider_formats import Ask, Say, Usage
from provider_help import (
    KEY,
    OSLO,
    ROME,
    USAGE,
    WAYS,
    Make,
    ainvoke,
    anthropic,
    ask,
    calls_of,
    chat,
    each_client,
    each_way,
    invoke,
    llm,
    logs_of,
    node_of,
    responses,
    said,
    sent,
    stored_text,
    streaming_node_of,
    text_of,
    tokens_of,
    weather,
    without_clocks,
)
from provider_server import COOKIE, ProviderServer
from pydantic import BaseModel

pytestmark = pytest.mark.either_store

THINKING = {"type": "enabled", "budget_tokens": 2000}


@each_client
@each_way
def test_a_call_is_recorded_once_and_whole(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, way: Any
) -> None:
    make_node, call, streamed = way
    provider.script(Say(usage=USAGE))
    ask(make_node(make(provider)), config, call)
    log, calls = calls_of(recorder, config)
    answer = log["outputs"]["messages"]
    for output in calls[0]["outputs"] + answer:
        output.pop("chunk_position", None)  # of a chunk that only the node gets
    assert calls == [
        llm(
            make,
            messages=log["inputs"]["messages"],
            outputs=answer,
            tokens=tokens_of(make, USAGE),
            streamed=streamed,
        )
    ]
    assert text_of(answer[0]) == "Hello there"
    (request,) = provider.requests
    assert request.body.get("stream", False) is streamed
    assert said(calls[0]["messages"]) == sent(request.body)
    assert log["llm_calls"] == 1
    assert log["tokens"] == tokens_of(make, USAGE)


PARAMS: dict[Make, tuple[dict[str, Any], dict[str, Any]]] = {
    chat: (
        {"temperature": 0.5, "max_tokens": 33, "top_p": 0.9, "seed": 7, "stop": ["END"]},
        {
            "temperature": 0.5,
            "max_completion_tokens": 33,
            "top_p": 0.9,
            "seed": 7,
            "stop": ["END"],
        },
    ),
    responses: (
        {"model": "gpt-5", "reasoning": {"effort": "low", "summary": "auto"}},
        {"reasoning": {"effort": "low", "summary": "auto"}},
    ),
    anthropic: (
        {"max_tokens": 5000, "thinking": THINKING},
        {"max_tokens": 5000, "thinking": THINKING},
    ),
}
SECRET = "not-to-be-kept"
HIDDEN = {"default_headers": {"X-Account": SECRET}}


@each_client
def test_parameters_are_kept_without_keys_headers_and_addresses(
    provider: ProviderServer, recorder: Any, config: Any, store: Any, make: Make
) -> None:
    given, kept = PARAMS[make]
    provider.script(Say(reasoning="Let me see."))
    model = make(provider, **given, **HIDDEN)
    if make is not anthropic:
        model = model.bind(extra_headers={"X-More": SECRET})
    ask(node_of(model), config)
    log, (call,) = calls_of(recorder, config)
    assert call["params"] == kept
    assert call["outputs"] == log["outputs"]["messages"]
    assert SECRET in provider.requests[0].headers.values()
    kept_text = stored_text(store)
    assert "Who is there?" in kept_text
    for hidden in (KEY, SECRET, COOKIE, provider.url):
        assert hidden not in kept_text


@each_client
def test_tags_and_metadata_of_a_model_are_those_of_the_call(
    provider: ProviderServer, recorder: Any, config: Any, make: Make
) -> None:
    provider.script(Say())
    model = make(provider).with_config(tags=["draft"], metadata={"prompt": 3})
    ask(node_of(model), {**config, "tags": ["nightly"], "metadata": {"user": "u"}})
    _, (call,) = calls_of(recorder, config)
    assert call["tags"] == ["draft"]
    assert call["metadata"] == {"prompt": 3}


FUNCTION = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "type": "object",
        },
    },
}
OFFERED: dict[Make, Any] = {
    chat: FUNCTION,
    responses: FUNCTION,
    anthropic: {
        "name": "weather",
        "description": "The weather in a city.",
        "input_schema": FUNCTION["function"]["parameters"],  # type: ignore[index]
    },
}
WANTS_TOOLS = {chat: "tool_calls", responses: "completed", anthropic: "tool_use"}
AGENTS = {
    "invoke": invoke,
    "ainvoke": ainvoke,
    "messages": WAYS["messages"][1],
    "events": WAYS["events"][1],
}


@each_client
@pytest.mark.parametrize("call", AGENTS.values(), ids=AGENTS)
def test_an_agent_with_tools_in_parallel(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, call: Make
) -> None:
    from langchain.agents import create_agent

    provider.script(Say((), (OSLO, ROME)), Say(("Rain", " everywhere.")))
    agent = create_agent(make(provider), [weather], system_prompt="Be brief.", name="g")
    call(agent, {"messages": [HumanMessage("Oslo and Rome?")]}, config)
    logs = logs_of(recorder, config)
    assert [log["node"] for log in logs] == ["model", "tools", "tools", "model"]
    streamed = call not in (invoke, ainvoke)
    for log, request in zip((logs[0], logs[3]), provider.requests, strict=True):
        last = log is logs[3]
        kept = without_clocks(log["calls"][0], log)
        assert kept["messages"][0]["content"] == "Be brief."
        assert kept["messages"][1:] == log["inputs"]["messages"]
        assert sent(request.body)[0] == ("system", "Be brief.")
        assert kept == llm(
            make,
            messages=kept["messages"],
            tools={"weather": OFFERED[make]},
            outputs=[{**log["outputs"][0]["update"]["messages"][0], "name": None}],
            finish_reason=llm(make)["finish_reason"] if last else WANTS_TOOLS[make],
            streamed=streamed,
        )
    wanted = logs[0]["calls"][0]["outputs"][0]["tool_calls"]
    assert [one["args"] for one in wanted] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert sorted(tool_calls(logs[1:3])) == [
        ("call_1", {"city": "Oslo"}, "It rains in Oslo."),
        ("call_2", {"city": "Rome"}, "It rains in Rome."),
    ]


def tool_calls(logs: Any) -> Iterator[tuple[Any, Any, Any]]:
    """What the only tool call of each node was asked, and what it returned."""
    for log in logs:
        (call,) = log["calls"]
        assert (call["kind"], call["name"], call["status"]) == (
            "tool",
            "weather",
            "completed",
        )
        (message,) = log["outputs"]["messages"]
        assert call["output"] == {**message, "id": None}  # which the state gives it
        yield call["tool_call_id"], call["args"], call["output"]["content"]


CUT_SHORT = {chat: "length", responses: "max_output_tokens", anthropic: "max_tokens"}


@each_client
@pytest.mark.parametrize("node", [node_of, streaming_node_of], ids=["whole", "streamed"])
def test_why_an_answer_ended(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, node: Make
) -> None:
    provider.script(Say(finish=CUT_SHORT[make]))
    ask(node(make(provider)), config)
    _, (call,) = calls_of(recorder, config)
    assert call["finish_reason"] == CUT_SHORT[make]


def test_all_of_several_answers_are_kept(
    provider: ProviderServer, recorder: Any, config: Any
) -> None:
    provider.script(Say(others=(("Nobody", " is."),)))
    ask(node_of(chat(provider, n=2)), config)
    log, (call,) = calls_of(recorder, config)
    assert call["params"] == {"n": 2}
    assert [one["content"] for one in call["outputs"]] == ["Hello there", "Nobody is."]
    assert call["outputs"][0] == log["outputs"]["messages"][0]
    assert call["tokens"] == tokens_of(chat, Usage())


class City(BaseModel):
    """A city."""

    name: str


@each_client
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, method: str
) -> None:
    by_tool = method == "function_calling"
    oslo = Ask("City", {"name": "Oslo"}, "call_1")
    provider.script(Say((), (oslo,)) if by_tool else Say(('{"name":', ' "Oslo"}')))
    model = make(provider).with_structured_output(City, method=method)
    found = []

    def find(state: Any) -> Any:
        found.append(model.invoke(state["messages"]))
        return {}

    ask(find, config)
    assert found == [City(name="Oslo")]
    _, (call,) = calls_of(recorder, config)
    if by_tool:
        assert list(call["tools"]) == ["City"]
        assert call["outputs"][0]["tool_calls"][0]["args"] == {"name": "Oslo"}
        assert "City" in str(call["params"]["tool_choice"])
    else:
        assert call["tools"] is None
        assert text_of(call["outputs"][0]) == '{"name": "Oslo"}'
        assert '"name": {' in json.dumps(call["response_format"])


@pytest.fixture
def answers_are_cached() -> Iterator[None]:
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


@each_client
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.usefixtures("answers_are_cached")
def test_a_cached_answer(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, asynchronous: bool
) -> None:
    provider.script(Say(usage=USAGE))
    model = make(provider)

    def twice(state: Any) -> Any:
        model.invoke(state["messages"])
        return {"messages": [model.invoke(state["messages"])]}

    async def atwice(state: Any) -> Any:
        await model.ainvoke(state["messages"])
        return {"messages": [await model.ainvoke(state["messages"])]}

    if asynchronous:
        ask(atwice, config, ainvoke)
    else:
        ask(twice, config)
    log, (first, second) = calls_of(recorder, config)
    assert len(provider.requests) == 1
    assert (first["cached"], second["cached"]) == (False, True)
    assert second["outputs"] == log["outputs"]["messages"]
    assert first == {**second, "cached": False, "outputs": first["outputs"]}


def test_details_of_tokens_are_kept_as_they_are_given(
    provider: ProviderServer, recorder: Any, config: Any
) -> None:
    """Of an answer at another price OpenAI's client counts the tokens apart."""
    provider.script(Say(usage=USAGE))
    ask(node_of(chat(provider, service_tier="flex")), config)
    log, (call,) = calls_of(recorder, config)
    usage = log["outputs"]["messages"][0]["usage_metadata"]
    assert call["params"] == {"service_tier": "flex"}
    assert call["tokens"]["input_details"] == usage["input_token_details"]
    assert call["tokens"]["output_details"] == usage["output_token_details"]
    assert call["tokens"]["input_details"]["flex_cache_read"] == 30
