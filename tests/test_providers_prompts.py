"""What langchain-openai and langchain-anthropic are asked, in several calls and forms."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from graphs import again
from langchain_core.messages import HumanMessage
from provider_formats import Say
from provider_help import (
    KEY,
    QUESTION,
    USAGE,
    Make,
    anthropic,
    ask,
    asking,
    async_node_of,
    async_streaming_node_of,
    calls_of,
    chat,
    each_client,
    llm,
    logs_of,
    responses,
    said,
    sent,
    stored_text,
    text_of,
    tokens_of,
    without_clocks,
)
from provider_server import ProviderServer

pytestmark = pytest.mark.either_store


@each_client
def test_a_batch(
    provider: ProviderServer, recorder: Any, config: Any, make: Make
) -> None:
    model = make(provider)
    questions = [f"Question {number}" for number in range(5)]
    provider.script_by(lambda body: Say(("Answer to ", sent(body)[-1][1])))
    ask(lambda state: {"messages": model.batch(questions)}, config)
    log, calls = calls_of(recorder, config)
    told = {call["messages"][0]["content"]: text_of(call["outputs"][0]) for call in calls}
    assert told == {question: f"Answer to {question}" for question in questions}
    assert len(calls) == log["llm_calls"] == 5


@each_client
def test_a_prompt_grows_with_its_thread(
    provider: ProviderServer, recorder: Any, config: Any, make: Make
) -> None:
    """Each call says the whole prompt, though only what is new is stored."""
    provider.script(*(Say((f"Answer {number}",)) for number in range(4)))
    model = make(provider)

    def talk(state: Any) -> Any:
        messages = [*state["messages"]]
        for number in range(4):
            messages.append(model.invoke(messages))
            messages.append(HumanMessage(f"And {number}?"))
        return {"messages": messages[len(QUESTION) :]}

    ask(talk, config)
    log, calls = calls_of(recorder, config)
    everything = log["inputs"]["messages"] + log["outputs"]["messages"]
    for number, (call, request) in enumerate(zip(calls, provider.requests, strict=True)):
        assert len(call["messages"]) == len(QUESTION) + 2 * number
        assert contents(call["messages"]) == contents(everything[: 2 + 2 * number])
        assert len(sent(request.body)) == len(call["messages"])


def contents(messages: Any) -> list[Any]:
    return [message["content"] for message in messages]


@each_client
@pytest.mark.parametrize(
    "node", [async_node_of, async_streaming_node_of], ids=["whole", "streamed"]
)
async def test_the_calls_of_runs_at_once_do_not_mix(
    provider: ProviderServer, recorder: Any, config: Any, make: Make, node: Make
) -> None:
    provider.script_by(lambda body: Say(("Answer to ", sent(body)[-1][1])))
    graph = asking(node(make(provider)))
    configs = [again(config) for _ in range(8)]
    runs = [
        graph.ainvoke({"messages": [HumanMessage(f"Question {at}")]}, one)
        for at, one in enumerate(configs)
    ]
    await asyncio.gather(*runs)
    for at, one in enumerate(configs):
        _, (call,) = calls_of(recorder, one)
        assert contents(call["messages"]) == [f"Question {at}"]
        assert text_of(call["outputs"][0]) == f"Answer to Question {at}"
        assert call["streamed"] is (node is async_streaming_node_of)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_model_of_texts(
    provider: ProviderServer, recorder: Any, config: Any, streamed: bool
) -> None:
    from langchain_openai import OpenAI

    provider.script(Say())
    where: Any = {"api_key": KEY, "base_url": f"{provider.url}/v1"}
    model = OpenAI(model="instruct", max_retries=0, **where)

    def complete(state: Any) -> Any:
        prompt = state["messages"][-1].content
        text = "".join(model.stream(prompt)) if streamed else model.invoke(prompt)
        return {"messages": [text]}

    ask(complete, config)
    _, (call,) = calls_of(recorder, config)
    assert call["prompt"] == "Who is there?"
    assert provider.requests[0].body["prompt"] in ("Who is there?", ["Who is there?"])
    assert call["messages"] is None
    assert call["outputs"] == ["Hello there"]
    assert (call["name"], call["provider"], call["model"]) == (
        "OpenAI",
        "openai",
        "instruct",
    )
    assert call["finish_reason"] == "stop"
    assert call["streamed"] is streamed
    counted = {"input": 11, "output": 7, "total": 18}
    assert call["tokens"] == (None if streamed else counted)


PICTURE = "iVBORw0KGgo" + "A" * 40_000
SHOWN: dict[Make, dict[str, Any]] = {
    chat: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
    responses: {"type": "image", "base64": PICTURE, "mime_type": "image/png"},
    anthropic: {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PICTURE},
    },
}


@each_client
def test_a_picture_is_kept_once(
    provider: ProviderServer, recorder: Any, config: Any, store: Any, make: Make
) -> None:
    provider.script_by(lambda body: Say())
    model = make(provider)
    question = HumanMessage([{"type": "text", "text": "What is it?"}, SHOWN[make]])

    def look(state: Any) -> Any:
        first = model.invoke([question])
        return {"messages": [model.invoke([question, first, HumanMessage("Sure?")])]}

    ask(look, config)
    _, calls = calls_of(recorder, config)
    assert [len(call["messages"]) for call in calls] == [1, 3]
    for call, request in zip(calls, provider.requests, strict=True):
        text, picture = call["messages"][0]["content"]
        assert text == {"type": "text", "text": "What is it?"}
        assert PICTURE in json.dumps(picture)
        assert PICTURE in json.dumps(request.body)
    assert stored_text(store).count("A" * 40_000) == 1


@each_client
def test_a_client_that_has_the_handler_is_a_run(
    provider: ProviderServer, recorder: Any, config: Any, make: Make
) -> None:
    provider.script(Say(usage=USAGE))
    answer = make(provider).invoke(QUESTION, config)
    (log,) = logs_of(recorder, config)
    run = recorder.get_run(str(config["run_id"]))
    (call,) = log["calls"]
    kept = without_clocks(call, log)
    assert run["wpk_id"] == log["node"] == kept["name"]
    assert kept == llm(
        make,
        messages=kept["messages"],
        outputs=kept["outputs"],
        tokens=tokens_of(make, USAGE),
    )
    assert said(kept["messages"]) == sent(provider.requests[0].body)
    assert kept["outputs"][0]["content"] == answer.content
