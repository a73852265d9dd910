"""What was said: the messages of prompts, answers and states, and calls as such."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.views.logs import dicts, number, text
from runlog.views.outcome import error_of
from runlog.views.preview import Preview, preview
from runlog.views.words import brief

_ROLES = {
    "human": "user",
    "ai": "model",
    "AIMessageChunk": "model",
    "system": "system",
    "tool": "tool",
}
_MOST = 60
"""Messages that are shown, the newest."""
_LONG = 16_384
"""Characters of a message that are shown."""
_SMALL = 4_096


class Asked(NamedTuple):
    """A call of a tool that a model asks for."""

    name: str
    args: str


class Message(NamedTuple):
    """A message of a conversation."""

    role: str
    said: str
    more: int
    """How many characters are left out."""
    asked: tuple[Asked, ...]
    name: str | None


class Call(NamedTuple):
    """A call of a model, a tool or a retriever."""

    place: int
    kind: str
    name: str
    status: str
    duration_ms: float | None
    first_ms: float | None
    """When the first piece of a streamed answer came."""
    tokens: str
    error: str | None
    earlier: int
    """How many messages stand before those that are shown."""
    prompt: tuple[Message, ...]
    answer: tuple[Message, ...]
    given: Preview | None
    """What was asked, if those are no messages."""
    returned: Preview | None


def messages_of(value: Any) -> list[Message]:
    """Return the messages of a list; [] if it is none of messages.

    Args:
        value: a value of a state, a prompt or an answer.
    """
    found = dicts(value)
    if not found or len(found) != len(value):
        return []
    if not all("type" in one or "role" in one for one in found):
        return []
    return [_message(one) for one in found]


def _message(one: dict[str, Any]) -> Message:
    kind = str(one.get("type") or one.get("role"))
    said = _said(one.get("content"))
    asked = tuple(
        Asked(str(call.get("name")), brief(call.get("args"), _SMALL))
        for call in dicts(one.get("tool_calls"))
    )
    more = max(0, len(said) - _LONG)
    return Message(
        _ROLES.get(kind, kind), said[:_LONG], more, asked, text(one.get("name"))
    )


def _said(content: Any) -> str:
    """The text of a message, whose content may be a list of blocks."""
    if type(content) is str:
        return content
    if content is None:
        return ""
    if type(content) is list:
        return "\n".join(filter(None, map(_block, content)))
    return brief(content, _LONG)


def _block(block: Any) -> str:
    if type(block) is str:
        return block
    if isinstance(block, dict):
        said = block.get("text") or block.get("thinking") or block.get("reasoning")
        if type(said) is str:
            return said
        if block.get("type") in ("tool_use", "tool_call"):
            return ""  # stands among the calls that the message asks for
    return brief(block, 400)


def read_call(call: dict[str, Any], place: int) -> Call:
    """Return a call of a node log as people read it.

    Args:
        call: the call.
        place: its place among those of its node.
    """
    prompt = messages_of(call.get("messages"))
    answer = messages_of(call.get("outputs")) or messages_of([call.get("output")])
    given = returned = None
    if not prompt:
        asked = [call.get(key) for key in ("messages", "prompt", "args", "query")]
        given = _shown(asked)
    if not answer:
        said = [call.get(key) for key in ("outputs", "output", "documents")]
        returned = _shown(said)
    return Call(
        place,
        text(call.get("kind")) or "call",
        text(call.get("model")) or text(call.get("name")) or "?",
        text(call.get("status")) or "unknown",
        number(call.get("duration_ms")),
        number(call.get("first_token_ms")),
        _tokens(call.get("tokens")),
        error_of(call),
        max(0, len(prompt) - _MOST),
        tuple(prompt[-_MOST:]),
        tuple(answer[-_MOST:]),
        given,
        returned,
    )


def _shown(values: list[Any]) -> Preview | None:
    value = next((one for one in values if one is not None), None)
    return None if value is None else preview(value, 500, _LONG)


def _tokens(tokens: Any) -> str:
    if not isinstance(tokens, dict):
        return ""
    given, made = number(tokens.get("input")), number(tokens.get("output"))
    if given is None or made is None:
        total = number(tokens.get("total"))
        return "" if total is None else f"{int(total):,} tokens"
    return f"{int(given):,} + {int(made):,} tokens"
