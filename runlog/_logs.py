"""Node logs of long runs, which are decoded when they are asked for.

A node's inputs are stored as a delta against an earlier state. get_run builds them all
while that is cheap. The states of a run of 10,000 steps that each add a message have 50
million references to messages, though. Such a run's logs are kept as text. Each is
decoded at its first use, and its inputs are built at each use and not kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from json import JSONDecoder
from typing import Any, NamedTuple

from runlog import _calls
from runlog._lazy import PENDING, LazyDict

_AS_STORED, _OF_RUN = (
    -2,
    -1,
)  # what a log's inputs are, if not a delta from those of a log
_STEPS = 20
"""How many deltas may be applied for each log; a graph's run needs about one."""


class _Working(NamedTuple):
    """A state that is changed from one log to the next."""

    at: int
    state: dict[str, Any]
    own: set[str]
    """The keys of lists that nobody else has, and that may therefore grow."""


class _Run:
    """The texts of a run's node logs, and what their inputs are deltas of."""

    def __init__(self, decoder: JSONDecoder, inputs: Any) -> None:
        self._decoder = decoder
        self._inputs = inputs
        self._texts: list[bytes] = []  # as str, one emoji would make four bytes of each
        self.since = array("q")
        self._calls: dict[int, list[bytes]] = {}  # logs of their own, by their node
        self._messages = _calls.Messages()
        self._steps = 0
        self._working: list[_Working] = []  # at most one; a thread takes it to use it

    def add(self, text: str, start: int) -> int:
        """Add the log whose text begins there; return where it ends."""
        log, end = self._decoder.raw_decode(text, start)
        index = len(self._texts)
        raw = text[start:end].encode("utf-8", "surrogatepass")
        of = _calls.node_of(log)
        if of is not None and 0 <= of < index:
            self._calls.setdefault(of, []).append(raw)
            self._messages.learn(log, self)
            return end
        self._texts.append(raw)
        self.since.append(_AS_STORED)
        delta = log.get("inputs_delta") if type(log) is dict else None
        if type(delta) is dict and self._steps < _STEPS * (index + _STEPS):
            since = delta.get("since", _AS_STORED)
            since = _OF_RUN if since is None else since
            if type(since) is int and _OF_RUN <= since < index:
                base = self._take(since, thin=True)
                if base is not None and _applies(base.state, delta):
                    self.since[index] = since
                self._working[:] = [base] if base else []
        if _calls.has_calls(log):
            for call in log["calls"]:
                self._messages.learn(call, self)
        return end

    def _decode(self, raw: bytes) -> Any:
        return self._decoder.decode(raw.decode("utf-8", "surrogatepass"))

    def load(self, index: int) -> Any:
        """The log as it is stored."""
        return self._decode(self._texts[index])

    def inputs(self, node: int) -> Any:
        """See _calls.Source."""
        return self.load(node) if 0 <= node < len(self._texts) else None

    def answers(self, node: int, call: int) -> Any:
        """See _calls.Source."""
        known = 0 <= node < len(self._texts)
        return _calls.answers_of(self._whole_log(node), call) if known else None

    def _whole_log(self, index: int) -> Any:
        """The log with its calls and events, whose prompts are as they are stored."""
        log = self.load(index)
        if _calls.has_calls(log):
            for raw in self._calls.get(index, ()):
                _calls.add(log, self._decode(raw))
            outputs = log.get("outputs")
            log["calls"] = [_calls.with_output(one, outputs) for one in log["calls"]]
        return log

    def show(self, index: int) -> Any:
        """The log with its calls and events."""
        log = self._whole_log(index)
        if _calls.has_calls(log):
            log["calls"] = [_calls.show(call, self._messages) for call in log["calls"]]
        return log

    def finish(self) -> list[Any]:
        """The logs."""
        self._working.clear()
        return [
            NodeLog(self, index) if text.startswith(b"{") else self.load(index)
            for index, text in enumerate(self._texts)
        ]

    def _whole(self, index: int) -> dict[str, Any] | None:
        """Inputs that are stored whole."""
        log = self.load(index) if index >= 0 else None
        inputs = log.get("inputs") if type(log) is dict else None
        inputs = self._inputs if index < 0 else inputs
        return dict(inputs) if type(inputs) is dict else None

    def _take(self, index: int, thin: bool = False) -> _Working | None:
        """The inputs of a log, which the caller gives back before it is done.

        With `thin` they have no values, but empty lists where lists are.
        """
        found: _Working | None = self._working.pop() if self._working else None
        path = []
        at = index
        while at >= 0 and self.since[at] != _AS_STORED and not (found and at == found.at):
            path.append(at)
            at = self.since[at]
        if found is None or at != found.at:
            whole = self._whole(at)
            if whole is None:
                return None
            found = _Working(at, _thin(whole) if thin else whole, set())
        for at in reversed(path):
            delta = self.load(at)["inputs_delta"]
            _apply(found.state, found.own, _thin_delta(delta) if thin else delta)
        self._steps += len(path)
        return found._replace(at=index)

    def build(self, index: int) -> dict[str, Any]:
        """A new dict of a log's inputs."""
        base = self._take(self.since[index])
        assert base is not None  # add has checked it
        state = dict(base.state)
        for key in base.own:
            state[key] = list(state[key])
        own = set(base.own)
        self._working[:] = [base]
        _apply(state, own, self.load(index)["inputs_delta"])
        return state


class NodeLog(LazyDict):
    """A node log, decoded at its first use. Its "inputs" are new at each use."""

    __slots__ = ("_index", "_run")

    def __init__(self, run: _Run, index: int) -> None:
        super().__init__()
        self._run = run
        self._index = index

    def _load(self) -> dict[str, Any]:
        log: dict[str, Any] = self._run.show(self._index)
        if self._run.since[self._index] == _AS_STORED:
            return log
        return {
            ("inputs" if key == "inputs_delta" else key): (
                PENDING if key == "inputs_delta" else value
            )
            for key, value in log.items()
        }

    def _build(self, _: str) -> Any:
        return self._run.build(self._index)


def _apply(state: dict[str, Any], own: set[str], delta: dict[str, Any]) -> None:
    """Make the changes of a delta. `own`: the keys of lists that may grow in place."""
    for key, tail in delta.get("append", {}).items():
        if key in own:
            state[key].extend(tail)
        else:
            state[key] = state[key] + tail
            own.add(key)
    for key in delta.get("unset", ()):
        del state[key]
        own.discard(key)
    update = delta.get("set", {})
    state.update(update)
    own.difference_update(update)


def _thin(members: dict[str, Any]) -> dict[str, Any]:
    return {key: [] if type(value) is list else None for key, value in members.items()}


def _thin_delta(delta: dict[str, Any]) -> dict[str, Any]:
    return {
        "append": _thin(delta.get("append", {})),
        "unset": delta.get("unset", []),
        "set": _thin(delta.get("set", {})),
    }


def _applies(base: dict[str, Any], delta: dict[str, Any]) -> bool:
    """Whether the delta can be applied: a dict that a program logs may only look so."""
    tails, gone = delta.get("append", {}), delta.get("unset", [])
    return (
        type(tails) is dict
        and type(gone) is list
        and type(delta.get("set", {})) is dict
        and all(type(tail) is list for tail in tails.values())
        and all(type(base.get(key)) is list for key in tails)
        and all(type(key) is str and key in base for key in gone)
    )


def load(
    text: str, hook: Callable[[dict[str, Any]], Any] | None, inputs: Any
) -> list[Any]:
    """Read the JSON array of a run's node logs, whose own inputs are given.

    Raises:
        ValueError: the text is not JSON of an array.
    """
    run = _Run(JSONDecoder(object_hook=hook), inputs)
    at = _skip_space(text, 0)
    if text[at : at + 1] != "[":
        raise ValueError("no array")
    at = _skip_space(text, at + 1)
    while text[at : at + 1] != "]":
        at = _skip_space(text, run.add(text, at))
        if text[at : at + 1] == ",":
            at = _skip_space(text, at + 1)
    return run.finish()


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
