"""Node logs as the handler stores them: what did not change is not repeated.

`get_run` gives every node its whole inputs and every call its whole prompt. Stored so, a
run of many steps would grow with the square of their number. docs/langgraph.md ("Node
inputs in the database") and docs/encoding.md ("Prompts") have the forms.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from runlog.cli.jsonl import text_of

_LEAST: Final = 4
"""A run of fewer logs is stored as it is."""
_OVERHEAD: Final = 60


class _State(NamedTuple):
    """Inputs of a node: for each member its JSON, of a list that of its items."""

    place: int
    texts: dict[str, str | list[str]]
    size: int


def compact(logs: Any) -> Any:
    """Return node logs from which `get_run` makes the same ones.

    Args:
        logs: the node logs that `get_run` gave, which stay as they are.
    """
    if type(logs) is not list:
        return logs
    if len(logs) < _LEAST or any(_is_odd(log) for log in logs):
        return [_plain(log) for log in logs]
    states: dict[Any, _State] = {}
    messages = _Messages()
    found = []
    for place, log in enumerate(logs):
        found.append(_compact_inputs(place, _plain(log), states))
        messages.take_from(found[-1])
    return found


def _is_odd(log: Any) -> bool:
    """Whether a log is none of the handler's."""
    return not isinstance(log, dict) or "inputs_delta" in log or "$of" in log


def _plain(value: Any) -> Any:
    """A copy of a log, and of its calls, whose members are no longer made at each use."""
    if not isinstance(value, dict):
        return value
    log = dict(value)
    if type(log.get("calls")) is list:
        log["calls"] = [
            dict(call) if isinstance(call, dict) else call for call in log["calls"]
        ]
    return log


def _compact_inputs(place: int, log: dict[str, Any], states: dict[Any, _State]) -> Any:
    """The log with the changes of its inputs, if these are shorter."""
    inputs = log.get("inputs")
    if type(inputs) is not dict or not all(type(name) is str for name in inputs):
        return log
    texts = {name: _texts(value) for name, value in inputs.items()}
    state = _State(place, texts, sum(map(_size, texts.values())))
    around = str(log.get("parent"))
    base = states.get(around)
    states[around] = state
    if base is None:
        return log
    delta, size = _delta(base, state, inputs)
    if size >= state.size:
        return log
    return {
        ("inputs_delta" if name == "inputs" else name): (
            delta if name == "inputs" else value
        )
        for name, value in log.items()
    }


def _texts(value: Any) -> str | list[str]:
    return [text_of(one) for one in value] if type(value) is list else text_of(value)


def _size(texts: str | list[str]) -> int:
    return len(texts) if type(texts) is str else sum(map(len, texts)) + len(texts)


def _delta(
    base: _State, state: _State, inputs: dict[str, Any]
) -> tuple[dict[str, Any], int]:
    """What makes the state of its base, and about how many bytes that takes."""
    changed: dict[str, Any] = {}
    tails: dict[str, Any] = {}
    size = _OVERHEAD
    for name, new in state.texts.items():
        old = base.texts.get(name)
        if old == new:
            continue
        kept = len(old) if type(old) is list else 0
        if type(new) is list and type(old) is list and kept and new[:kept] == old:
            tails[name] = inputs[name][kept:]
            size += len(name) + _size(new[kept:])
        else:
            changed[name] = inputs[name]
            size += len(name) + _size(new)
    gone = [name for name in base.texts if name not in state.texts]
    parts = {"set": changed, "append": tails, "unset": gone}
    size += sum(map(len, gone))
    filled = {name: value for name, value in parts.items() if value}
    return {"since": base.place, **filled}, size


class _Messages:
    """The messages of a run by their JSON."""

    def __init__(self) -> None:
        from runlog._calls import has_calls

        self._has_calls = has_calls
        self._numbers: dict[str, int] = {}

    def take_from(self, log: dict[str, Any]) -> None:
        """Give the calls of a log, in place, their prompts as numbers of messages."""
        if self._has_calls(log):
            log["calls"] = [self._compact(call) for call in log["calls"]]

    def _compact(self, call: Any) -> Any:
        if type(call) is not dict or call.get("kind") != "llm":
            return call
        messages = call.get("messages")
        if type(messages) is not list or not messages:
            return call
        first, numbers = len(self._numbers), []
        new: list[Any] = []
        for message in messages:
            text = text_of(message)
            number = self._numbers.setdefault(text, len(self._numbers))
            if number == first + len(new):
                new.append(message)
            numbers.append(number)
        prompt: dict[str, Any] = {"first": first, "new": new} if new else {}
        return {**call, "messages": {**prompt, "$messages": _ranges(numbers)}}


def _ranges(numbers: list[int]) -> list[list[int]]:
    """The same numbers as ranges, each without its end."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1][1] += 1
        else:
            found.append([number, number + 1])
    return found
