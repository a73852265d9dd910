"""The calls and events of node logs, as `get_run` gives them.

A call is stored without the members that have no value, and its prompt as numbers of
messages (src/record/graph/messages.c has the form). While a run is open, and after one
that was too long for memory, calls are logs of their own beside those of nodes.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from runlog._lazy import PENDING, LazyDict

_FIRST: Final = ("kind", "name", "parent", "status", "error_type", "error_text")
_MEMBERS: Final = {
    "llm": (
        *_FIRST,
        "model",
        "provider",
        "params",
        "tools",
        "response_format",
        "messages",
        "prompt",
        "outputs",
        "finish_reason",
        "tokens",
        "streamed",
        "first_token_ms",
        "cached",
    ),
    "tool": (*_FIRST, "tool_call_id", "args", "output"),
    "retriever": (*_FIRST, "query", "documents"),
}
"""What each kind of call has, besides its times, its tags and its metadata."""
_EAGER: Final = 2_000_000
"""How many messages the prompts of a run may have together to be lists at once."""
_MOST: Final = 10_000_000
"""The number of a message or a node is smaller: no run is so long."""
_LOST: Final = "<not stored>"


class Source(Protocol):
    """Where the messages of a run stand."""

    def inputs(self, node: int) -> Any:
        """The log of a node, as it is stored."""

    def answers(self, node: int, call: int) -> Any:
        """The outputs of a call."""


class Messages:
    """The messages of a run by number: each is stored once."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}
        self.total = 0
        """How many messages the prompts have together."""

    def learn(self, call: Any, source: Source) -> None:
        """Take the messages that a call has as the first."""
        prompt = prompt_of(call)
        if prompt is None:
            return
        found: list[Any] = []
        new = prompt.get("new", [])
        taken = 0
        for *where, count in prompt.get("from", [[len(new)]]):
            if not where:
                found += _slice(new, taken, count)
                taken += count
            elif len(where) == 2:
                found += _slice(_messages_of(source.inputs(where[0])), where[1], count)
            else:
                found += _slice(source.answers(where[0], where[1]), where[2], count)
        self._known.update(enumerate(found, prompt.get("first", 0)))
        self.total += sum(end - start for start, end in prompt["$messages"])

    def whole(self, prompt: dict[str, Any]) -> list[Any]:
        """A prompt as a new list."""
        known = self._known
        return [
            known.get(number, _LOST)
            for start, end in prompt["$messages"]
            for number in range(start, end)
        ]


def _slice(messages: Any, at: int, count: int) -> list[Any]:
    """So many messages, of which some may not be stored."""
    known = messages[at : at + count] if type(messages) is list and at >= 0 else []
    return known + [_LOST] * (count - len(known))


def prompt_of(call: Any) -> dict[str, Any] | None:
    """The stored form of a call's prompt, where it has one of numbers."""
    if type(call) is dict:
        for key in ("messages", "prompt"):
            prompt = call.get(key)
            if type(prompt) is dict and "$messages" in prompt:
                return prompt if _is_prompt(prompt) else None
    return None


def _is_prompt(prompt: dict[str, Any]) -> bool:
    """Whether it is what the handler stores: a program may log what only looks so."""
    return (
        type(prompt.get("first", 0)) is int
        and type(prompt.get("new", [])) is list
        and _are_numbers(prompt.get("from", []), 1, 3, 4)
        and _are_numbers(prompt["$messages"], 2)
    )


def _are_numbers(rows: Any, *sizes: int) -> bool:
    return type(rows) is list and all(
        type(row) is list
        and len(row) in sizes
        and all(type(n) is int and 0 <= n <= _MOST for n in row)
        for row in rows
    )


def _messages_of(log: Any) -> list[Any]:
    """The messages of a node's inputs, as they are stored."""
    if type(log) is not dict:
        return []
    inputs = log.get("inputs")
    delta = log.get("inputs_delta")
    if type(delta) is dict:
        inputs = delta.get("append")
        if type(inputs) is not dict or "messages" not in inputs:
            inputs = delta.get("set")
    found = inputs.get("messages") if type(inputs) is dict else None
    return found if type(found) is list else []


def _names_of(call: Any) -> tuple[str, ...] | None:
    """The members of a call of its kind; None for what is no call."""
    kind = call.get("kind") if type(call) is dict else None
    return _MEMBERS.get(kind) if type(kind) is str else None


def node_of(log: Any) -> int | None:
    """The number of the node that a call or event belongs to, if the log is one."""
    if type(log) is not dict or not _are_numbers([log.get("$of")], 2):
        return None
    is_part = _names_of(log) is not None or log.get("kind") == "event"
    return int(log["$of"][0]) if is_part else None


def has_calls(log: Any) -> bool:
    """Whether a log is a node's, as the handler writes it."""
    return (
        type(log) is dict
        and type(log.get("calls")) is list
        and type(log.get("events")) is list
        and "llm_calls" in log
    )


def add(log: dict[str, Any], part: dict[str, Any]) -> None:
    """Put a call or an event, which was a log of its own, into the log of its node."""
    kind = part["kind"]
    del part["$of"]
    if kind == "event":
        del part["kind"]
    log["events" if kind == "event" else "calls"].append(part)


class Call(LazyDict):
    """A call whose prompt is a new list at each use."""

    __slots__ = ("_call", "_messages", "_prompt")

    def __init__(
        self, call: dict[str, Any], messages: Messages, prompt: dict[str, Any]
    ) -> None:
        super().__init__()
        self._call = call
        self._messages = messages
        self._prompt = prompt

    def _load(self) -> dict[str, Any]:
        return self._call

    def _build(self, key: str) -> Any:
        return _unwrap(key, self._messages.whole(self._prompt))


def _unwrap(key: str, messages: list[Any]) -> Any:
    """A model of texts is given one."""
    return messages[0] if key == "prompt" and len(messages) == 1 else messages


def _at(outputs: Any, path: Any) -> Any:
    """The value of a node's outputs at a path."""
    for step in path:
        outputs = outputs[step]
    return outputs


def _before(output: Any, late: Any) -> Any:
    """A message before it got these members."""
    return {**output, **dict.fromkeys(late)} if late else output


def _without(names: tuple[str, ...], members: dict[str, Any]) -> dict[str, Any]:
    for name in names:
        members.pop(name, None)
    return members


def with_output(call: Any, outputs: Any) -> Any:
    """The call with what it returned, where only the place in its node's outputs is
    stored.
    """
    if _names_of(call) is None:
        return call
    try:
        if "output_at" in call:
            late = call.get("output_late", ())
            output = _before(_at(outputs, call["output_at"]), late)
            return _without(("output_at", "output_late"), {**call, "output": output})
        if "outputs_at" in call:
            late = call.get("outputs_late", ())
            found = [_before(_at(outputs, at), late) for at in call["outputs_at"]]
            return _without(("outputs_at", "outputs_late"), {**call, "outputs": found})
    except (LookupError, TypeError):  # a program logs what only looks like a call
        pass
    return call


def answers_of(log: Any, call: int) -> Any:
    """The outputs of a call of a node whose calls have theirs."""
    if has_calls(log) and 0 <= call < len(log["calls"]):
        found = log["calls"][call]
        return found.get("outputs") if type(found) is dict else None
    return None


def show(call: Any, messages: Messages) -> Any:
    """A call with all its members, and its prompt whole."""
    names = _names_of(call)
    if names is None:
        return call
    shown = {**dict.fromkeys(names), **call}
    for name in ("started_at", "duration_ms"):
        shown.setdefault(name)
    shown["tags"] = call.get("tags") or []
    shown["metadata"] = call.get("metadata") or {}
    if call["kind"] == "llm":
        shown["streamed"] = shown["first_token_ms"] is not None
        shown["cached"] = bool(shown["cached"])
    prompt = prompt_of(call)
    if prompt is None:
        text = shown.get("prompt")
        if type(text) is list:
            shown["prompt"] = _unwrap("prompt", text)
        return shown
    key = "messages" if type(call.get("messages")) is dict else "prompt"
    if messages.total > _EAGER:
        shown[key] = PENDING
        return Call(shown, messages, prompt)
    shown[key] = _unwrap(key, messages.whole(prompt))
    return shown


def restore(logs: Any) -> Any:
    """Give each node log, as it is stored, its calls and events, in place.

    Args:
        logs: the decoded logs of a run, before their inputs are built.

    Returns:
        The logs of nodes; anything else but a list as it is.
    """
    if type(logs) is not list:
        return logs
    nodes: list[Any] = []
    for log in logs:
        of = node_of(log)
        if of is not None and 0 <= of < len(nodes) and has_calls(nodes[of]):
            add(nodes[of], log)
        else:
            nodes.append(log)
    messages, source = Messages(), _Decoded(nodes)
    ours = [log for log in nodes if has_calls(log)]
    for log in ours:
        outputs = log.get("outputs")
        log["calls"] = [with_output(call, outputs) for call in log["calls"]]
    for log in ours:
        for call in log["calls"]:
            messages.learn(call, source)
    for log in ours:
        log["calls"] = [show(call, messages) for call in log["calls"]]
    return nodes


class _Decoded:
    """The logs of nodes, all decoded. See Source."""

    def __init__(self, nodes: list[Any]) -> None:
        self._nodes = nodes

    def inputs(self, node: int) -> Any:
        return self._nodes[node] if 0 <= node < len(self._nodes) else None

    def answers(self, node: int, call: int) -> Any:
        return answers_of(self.inputs(node), call)
