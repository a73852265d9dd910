"""The server of models says what OpenAI's and Anthropic's own clients know."""

from __future__ import annotations

from typing import Any

import pytest
from provider_formats import FORMATS, Ask, Say, Usage
from pydantic import BaseModel, TypeAdapter

pytestmark = pytest.mark.long  # what the tests use, not runlog

REQUEST = {"model": "some", "stream_options": {"include_usage": True}}
ANSWERS = {
    "text": Say(),
    "usage": Say(usage=Usage(90, 40, 30, 20, 10, 2, 3)),
    "reasoning": Say(reasoning="Let me see."),
    "tools": Say((), (Ask("a", {"n": 1}, "call_1"), Ask("b", {}, "call_2"))),
    "both": Say(("Wait",), (Ask("a", {"n": 1}, "call_1"),), reasoning="Hm."),
    "choices": Say(others=(("Or", " so"),)),
}


@pytest.fixture(scope="module")
def types() -> dict[str, tuple[Any, Any]]:
    """Of each path the types of a whole answer and of an event.

    The clients are imported here, as only one worker runs these tests.
    """
    from anthropic.types import Message, RawMessageStreamEvent
    from openai.types import Completion
    from openai.types.chat import ChatCompletion, ChatCompletionChunk
    from openai.types.responses import Response, ResponseStreamEvent

    return {
        "/v1/chat/completions": (ChatCompletion, ChatCompletionChunk),
        "/v1/completions": (Completion, Any),  # of a stream it has no type
        "/v1/responses": (Response, ResponseStreamEvent),
        "/v1/messages": (Message, RawMessageStreamEvent),
    }


def check(kind: Any, value: Any) -> None:
    """All that the type asks for is there, and of its type; nothing is added."""
    found = TypeAdapter(kind).validate_python(value)
    check_extras(found)


def check_extras(found: Any) -> None:
    if isinstance(found, list):
        for one in found:
            check_extras(one)
    elif isinstance(found, BaseModel):
        assert not found.__pydantic_extra__, type(found)
        for _, one in found:
            check_extras(one)


@pytest.mark.parametrize("path", FORMATS)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_answers_have_the_types_of_the_sdks(
    path: str, answer: Say, types: dict[str, tuple[Any, Any]]
) -> None:
    whole, event = types[path]
    check(whole, FORMATS[path].whole(answer, REQUEST))
    for name, data in FORMATS[path].events(answer, REQUEST):
        if isinstance(data, dict):
            assert name == data.get("type")
            if name != "ping":  # no type of the SDK's: it drops them
                check(event, data)
