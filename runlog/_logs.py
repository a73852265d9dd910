"""Node logs of long runs, which are decoded when they are asked for.

A node's inputs are stored as a delta against an earlier state. get_run builds them all
while that is cheap. The states of a run of 10,000 steps that each add a message have 50
million references to messages, though. Such a run's logs are kept as text. Each is
decoded at its first use, and its inputs are built at each use and not kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from json import JSONDecoder
from sys import intern
from typing import Any, Final, NamedTuple

_AS_STORED, _OF_RUN = (
    -2,
    -1,
)  # what a log's inputs are, if not a delta from those of a log
_STEPS = 20
"""How many deltas may be applied for each log; a graph's run needs about one."""
_PENDING: Final = object()
"""What a NodeLog has in place of the inputs that it builds."""


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
        self._steps = 0
        self._working: list[_Working] = []  # at most one; a thread takes it to use it

    def add(self, text: str, start: int) -> int:
        """Add the log whose text begins there; return where it ends."""
        log, end = self._decoder.raw_decode(text, start)
        index = len(self._texts)
        self._texts.append(text[start:end].encode("utf-8", "surrogatepass"))
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
        return end

    def load(self, index: int) -> Any:
        """The log as it is stored."""
        return self._decoder.decode(self._texts[index].decode("utf-8", "surrogatepass"))

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


class NodeLog(dict[str, Any]):
    """A node log as a dict, decoded at its first use. Its "inputs" are new at each use.

    Copies of it, by pickle too, are plain dicts.
    """

    __slots__ = ("_index", "_run", "_used")
    __hash__ = None

    def __init__(self, run: _Run, index: int) -> None:
        super().__init__(inputs=_PENDING)  # never empty: json.dumps looks at the size
        self._run = run
        self._index = index
        self._used = False

    def _use(self) -> dict[str, Any]:
        """The underlying dict, with all members."""
        if not self._used:
            log = self._run.load(self._index)
            delta = self._run.since[self._index] != _AS_STORED
            super().clear()
            for key, value in log.items():
                if delta and key == "inputs_delta":
                    super().__setitem__("inputs", _PENDING)
                else:
                    super().__setitem__(intern(key), value)
            self._used = True
        return super()  # type: ignore[return-value]

    def _member(self, value: Any) -> Any:
        return self._run.build(self._index) if value is _PENDING else value

    def __getitem__(self, key: str) -> Any:
        return self._member(self._use().__getitem__(key))

    def __setitem__(self, key: str, value: Any) -> None:
        self._use().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._use().__delitem__(key)

    def __contains__(self, key: object) -> bool:
        return self._use().__contains__(key)

    def __len__(self) -> int:
        return self._use().__len__()

    def __iter__(self) -> Iterator[str]:
        return self._use().__iter__()

    def __reversed__(self) -> Iterator[str]:
        return self._use().__reversed__()

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """As of a dict."""
        return KeysView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """As of a dict."""
        return ItemsView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """As of a dict."""
        return ValuesView(self)

    def get(self, key: str, default: Any = None, /) -> Any:
        """As of a dict."""
        return self._member(self._use().get(key, default))

    def setdefault(self, key: str, default: Any = None, /) -> Any:
        """As of a dict."""
        return self._member(self._use().setdefault(key, default))

    def pop(self, key: str, /, *default: Any) -> Any:
        """As of a dict."""
        return self._member(self._use().pop(key, *default))

    def popitem(self) -> tuple[str, Any]:
        """As of a dict."""
        key, value = self._use().popitem()
        return key, self._member(value)

    def clear(self) -> None:
        """As of a dict."""
        self._use().clear()

    def update(self, *others: Any, **members: Any) -> None:
        """As of a dict."""
        self._use().update(*others, **members)

    def copy(self) -> dict[str, Any]:
        """As of a dict."""
        return dict(self)

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    def __ne__(self, other: object) -> bool:
        return dict(self) != other

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)


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
