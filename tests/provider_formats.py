"""Answers of a model in the formats of OpenAI's and Anthropic's interfaces.

A script is written once, in `Say`; the renderers know how each interface says it, whole
and as the events of a stream:

    https://platform.openai.com/docs/api-reference/chat
    https://platform.openai.com/docs/api-reference/completions
    https://platform.openai.com/docs/api-reference/responses
    https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Semaphore
from typing import Any

Json = dict[str, Any]
Event = tuple[str | None, Json | str]
"""The name of a stream's event, if it has one, and its data."""

NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Usage:
    """Tokens. The parts are among `input` and `output`, as OpenAI counts them."""

    input: int = 11
    output: int = 7
    cache_read: int = 0
    cache_creation: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0


@dataclass(frozen=True)
class Ask:
    """A call of a tool that the model asks for."""

    name: str
    args: Json
    id: str


@dataclass(frozen=True)
class Say:
    """An answer of the model."""

    pieces: tuple[str, ...] = ("Hello", " there")
    """The text, as it is streamed."""
    asks: tuple[Ask, ...] = ()
    finish: str = ""
    """In the words of the interface; else what goes with the answer."""
    usage: Usage = Usage()
    reasoning: str = ""
    others: tuple[tuple[str, ...], ...] = ()
    """The texts of further choices (n > 1)."""
    cut: int | None = None
    """The connection ends after so many events."""
    broken: int | None = None
    """After so many events comes one that is an error."""
    paced: Semaphore | None = None
    """Each event, or an answer that is not streamed, waits until it is released."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True)
class Refuse:
    """An answer that is an error."""

    status: int = 500
    message: str = "scripted failure"
    retry_after_ms: int | None = None


@dataclass(frozen=True)
class Format:
    """How an interface says something."""

    whole: Callable[[Say, Json], Json]
    events: Callable[[Say, Json], Iterator[Event]]
    error: Callable[[int, str], Json]
    broken: Callable[[str], Event]


def halves(args: Json) -> tuple[str, str]:
    """Arguments as they are streamed: in two pieces that are no JSON by themselves."""
    text = json.dumps(args)
    return text[: len(text) // 2], text[len(text) // 2 :]


def openai_error(status: int, message: str) -> Json:
    kind = "rate_limit_exceeded" if status == 429 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": None}
    return {"error": error}


# Chat completions.


def chat_usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_creation,
            "audio_tokens": usage.audio_input,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat_call(ask: Ask, arguments: str) -> Json:
    function = {"name": ask.name, "arguments": arguments}
    return {"id": ask.id, "type": "function", "function": function}


def chat_finish(say: Say) -> str:
    return say.finish or ("tool_calls" if say.asks else "stop")


def chat_head(request: Json, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{next(NUMBERS)}",
        "object": kind,
        "created": 1_760_000_000,
        "model": f"{request['model']}-2025-08-07",
        "service_tier": request.get("service_tier", "default"),
        "system_fingerprint": "fp_scripted",
    }


def chat_whole(say: Say, request: Json) -> Json:
    choices = []
    for index, pieces in enumerate((say.pieces, *say.others)):
        message: Json = {"role": "assistant", "content": "".join(pieces) or None}
        message |= {"refusal": None, "annotations": []}
        if say.asks:
            message["tool_calls"] = [
                chat_call(ask, json.dumps(ask.args)) for ask in say.asks
            ]
        choice = {"index": index, "message": message, "logprobs": None}
        choices.append({**choice, "finish_reason": chat_finish(say)})
    head = chat_head(request, "chat.completion")
    return {**head, "choices": choices, "usage": chat_usage(say.usage)}


def chat_deltas(say: Say) -> Iterator[tuple[int, Json]]:
    """What is new of a choice, piece by piece."""
    choices = (say.pieces, *say.others)
    for index in range(len(choices)):
        yield index, {"role": "assistant", "content": "", "refusal": None}
    for texts in itertools.zip_longest(*choices):
        for index, text in enumerate(texts):
            if text is not None:
                yield index, {"content": text}
    for at, ask in enumerate(say.asks):
        yield 0, {"tool_calls": [{"index": at, **chat_call(ask, "")}]}
        for half in halves(ask.args):
            yield 0, {"tool_calls": [{"index": at, "function": {"arguments": half}}]}


def chat_events(say: Say, request: Json) -> Iterator[Event]:
    head = chat_head(request, "chat.completion.chunk")
    wants_usage = (request.get("stream_options") or {}).get("include_usage")
    if wants_usage:
        head["usage"] = None

    def chunk(index: int, delta: Json, finish: str | None = None) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None}
        return None, {**head, "choices": [{**choice, "finish_reason": finish}]}

    for index, delta in chat_deltas(say):
        yield chunk(index, delta)
    for index in range(1 + len(say.others)):
        yield chunk(index, {}, chat_finish(say))
    if wants_usage:
        yield None, {**head, "choices": [], "usage": chat_usage(say.usage)}
    yield None, "[DONE]"


def chat_broken(message: str) -> Event:
    return None, openai_error(500, message)


# Completions of texts, of old.


def text_choice(request: Json, text: str, finish: str | None) -> Json:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    head = {"id": f"cmpl-{next(NUMBERS)}", "object": "text_completion"}
    told = {"created": 1_760_000_000, "model": request["model"], "choices": [choice]}
    return {**head, **told}


def text_whole(say: Say, request: Json) -> Json:
    usage = {"prompt_tokens": say.usage.input, "completion_tokens": say.usage.output}
    usage["total_tokens"] = say.usage.input + say.usage.output
    return {**text_choice(request, say.text, say.finish or "stop"), "usage": usage}


def text_events(say: Say, request: Json) -> Iterator[Event]:
    for text in say.pieces:
        yield None, text_choice(request, text, None)
    yield None, text_choice(request, "", say.finish or "stop")
    yield None, "[DONE]"


# Responses.


def responses_items(say: Say, request: Json) -> Iterator[Json]:
    """The items of a response's output."""
    if say.reasoning:
        summary = [{"type": "summary_text", "text": say.reasoning}]
        yield {"id": f"rs_{next(NUMBERS)}", "type": "reasoning", "summary": summary}
    if say.text:
        part = {
            "type": "output_text",
            "text": say.text,
            "annotations": [],
            "logprobs": [],
        }
        yield {
            "id": f"msg_{next(NUMBERS)}",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{**part, "annotations": [], "logprobs": []}],
        }
    for ask in say.asks:
        yield {
            "id": f"fc_{next(NUMBERS)}",
            "type": "function_call",
            "status": "completed",
            "name": ask.name,
            "arguments": json.dumps(ask.args),
            "call_id": ask.id,
        }


def responses_whole(say: Say, request: Json) -> Json:
    usage = say.usage
    incomplete = {"reason": say.finish} if say.finish else None
    return {
        "id": f"resp_{next(NUMBERS)}",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "incomplete" if incomplete else "completed",
        "error": None,
        "incomplete_details": incomplete,
        "instructions": None,
        "metadata": {},
        "model": f"{request['model']}-2025-08-07",
        "output": list(responses_items(say, request)),
        "parallel_tool_calls": True,
        "temperature": request.get("temperature", 1.0),
        "tool_choice": "auto",
        "tools": request.get("tools", []),
        "top_p": 1.0,
        "service_tier": "default",
        "usage": {
            "input_tokens": usage.input,
            "input_tokens_details": {
                "cached_tokens": usage.cache_read,
                "cache_write_tokens": usage.cache_creation,
            },
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        },
    }


def responses_text(say: Say, item: Json, place: Json) -> Iterator[Json]:
    part = item["content"][0]
    at = {**place, "content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for text in say.pieces:
        delta = {"delta": text, "logprobs": []}
        yield {"type": "response.output_text.delta", **at, **delta}
    done = {"text": say.text, "logprobs": []}
    yield {"type": "response.output_text.done", **at, **done}
    yield {"type": "response.content_part.done", **at, "part": part}


def responses_arguments(item: Json, place: Json) -> Iterator[Json]:
    kind = "response.function_call_arguments"
    for half in halves(json.loads(item["arguments"])):
        yield {"type": f"{kind}.delta", **place, "delta": half}
    yield {"type": f"{kind}.done", **place, "arguments": item["arguments"]}


def responses_summary(item: Json, place: Json) -> Iterator[Json]:
    kind, at = "response.reasoning_summary", {**place, "summary_index": 0}
    part = item["summary"][0]
    yield {"type": f"{kind}_part.added", **at, "part": {**part, "text": ""}}
    yield {"type": f"{kind}_text.delta", **at, "delta": part["text"]}
    yield {"type": f"{kind}_text.done", **at, "text": part["text"]}
    yield {"type": f"{kind}_part.done", **at, "part": part}


def responses_item(say: Say, item: Json, index: int) -> Iterator[Json]:
    """The events of an item."""
    place = {"item_id": item["id"], "output_index": index}
    empty: dict[str, Json] = {
        "message": {"status": "in_progress", "content": []},
        "function_call": {"status": "in_progress", "arguments": ""},
        "reasoning": {"summary": []},
    }
    kind, added = item["type"], {**item, **empty[item["type"]]}
    yield {"type": "response.output_item.added", "output_index": index, "item": added}
    if kind == "message":
        yield from responses_text(say, item, place)
    elif kind == "function_call":
        yield from responses_arguments(item, place)
    else:
        yield from responses_summary(item, place)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def responses_events(say: Say, request: Json) -> Iterator[Event]:
    whole = responses_whole(say, request)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(whole["output"]):
        events += responses_item(say, item, index)
    events.append({"type": f"response.{whole['status']}", "response": whole})
    for number, event in enumerate(events):
        numbered: Json = {**event, "sequence_number": number}
        yield numbered["type"], numbered


def responses_broken(message: str) -> Event:
    error = {"type": "error", "code": "server_error", "message": message, "param": None}
    return "error", {**error, "sequence_number": 0}


# Anthropic's messages.


def anthropic_usage(usage: Usage, output: int) -> Json:
    """Anthropic's input_tokens are those that the cache has not read or written."""
    known: Json = {
        "input_tokens": usage.input - usage.cache_read - usage.cache_creation,
        "cache_creation_input_tokens": usage.cache_creation,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": output,
    }
    if usage.reasoning:
        known["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return known


def anthropic_blocks(say: Say) -> Iterator[Json]:
    if say.reasoning:
        signed = {"thinking": say.reasoning, "signature": "c2lnbmVk"}
        yield {"type": "thinking", **signed}
    if say.text:
        yield {"type": "text", "text": say.text}
    for ask in say.asks:
        yield {"type": "tool_use", "id": ask.id, "name": ask.name, "input": ask.args}


def anthropic_whole(say: Say, request: Json) -> Json:
    return {
        "id": f"msg_{next(NUMBERS)}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": list(anthropic_blocks(say)),
        "stop_reason": say.finish or ("tool_use" if say.asks else "end_turn"),
        "stop_sequence": None,
        "usage": anthropic_usage(say.usage, say.usage.output),
    }


def anthropic_deltas(say: Say, block: Json) -> tuple[Json, list[Json]]:
    """A block as it begins, and what is added to it."""
    if block["type"] == "text":
        deltas = [{"type": "text_delta", "text": text} for text in say.pieces]
        return {"type": "text", "text": ""}, deltas
    if block["type"] == "thinking":
        signature = {"type": "signature_delta", "signature": block["signature"]}
        thought = {"type": "thinking_delta", "thinking": block["thinking"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [thought, signature]
    kind = "input_json_delta"
    deltas = [{"type": kind, "partial_json": half} for half in halves(block["input"])]
    return {**block, "input": {}}, [{"type": kind, "partial_json": ""}, *deltas]


def anthropic_events(say: Say, request: Json) -> Iterator[Event]:
    whole = anthropic_whole(say, request)
    nothing: Json = {
        "content": [],
        "stop_reason": None,
        "usage": anthropic_usage(say.usage, 1),
    }
    events: list[Json] = [{"type": "message_start", "message": {**whole, **nothing}}]
    for index, block in enumerate(whole["content"]):
        start, deltas = anthropic_deltas(say, block)
        kind = "content_block"
        events.append({"type": f"{kind}_start", "index": index, "content_block": start})
        if index == 0:
            events.append({"type": "ping"})
        events += [
            {"type": f"{kind}_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": f"{kind}_stop", "index": index})
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": stop, "usage": whole["usage"]})
    events.append({"type": "message_stop"})
    for event in events:
        yield event["type"], event


def anthropic_error(status: int, message: str) -> Json:
    kind = "rate_limit_error" if status == 429 else "api_error"
    return {"type": "error", "error": {"type": kind, "message": message}}


def anthropic_broken(message: str) -> Event:
    error = {"type": "overloaded_error", "message": message}
    return "error", {"type": "error", "error": error}


FORMATS = {
    "/v1/completions": Format(text_whole, text_events, openai_error, chat_broken),
    "/v1/chat/completions": Format(chat_whole, chat_events, openai_error, chat_broken),
    "/v1/responses": Format(
        responses_whole, responses_events, openai_error, responses_broken
    ),
    "/v1/messages": Format(
        anthropic_whole, anthropic_events, anthropic_error, anthropic_broken
    ),
}
