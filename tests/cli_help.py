"""What the tests of the command line share: a history of real graphs, and a terminal."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from call_help import asks, graph_of, said, wants
from graphs import build, with_checkpointer
from handler_graphs import State, chain, node
from helpers import minimal
from langgraph.graph import START
from langgraph.types import Command, RetryPolicy, interrupt

from runlog.cli import main
from runlog.hooks import RunLogHandler

STYLE = re.compile("\x1b\\[[0-9;]*m")
HOSTILE = "a\x1b[2Jb\x1b]52;c;aGk=\x07c\x9b31md\u202ee\u2066f\u2028g\rh\x00i"
"""Text that clears the screen, sets the clipboard, and turns the direction."""


_USED = {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25}


class Done(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Cli:
    """Runs command lines in this process."""

    def __init__(self, capsys: Any) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str) -> Done:
        self._capsys.readouterr()
        code = main(argv)
        got = self._capsys.readouterr()
        return Done(code, got.out, got.err)

    def on_terminal(self, *argv: str, columns: int = 80, encoding: str = "utf-8") -> Done:
        """Run with a pseudo-terminal as standard output."""
        self._capsys.readouterr()
        with _terminal(columns, encoding) as read:
            code = main(argv)
        return Done(code, read().replace("\r\n", "\n"), "")


@contextlib.contextmanager
def _terminal(columns: int, encoding: str) -> Iterator[Any]:
    ours, theirs = pty.openpty()
    got: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                got.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm")
        stream = os.fdopen(theirs, "w", encoding=encoding)
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", io.StringIO())
        try:
            yield lambda: b"".join(got).decode(encoding)
        finally:
            stream.close()
            reader.join()
            os.close(ours)


on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""For what is the same on both stores."""


@pytest.fixture
def history(recorder: Any) -> Recorded:
    """A history of a dozen runs."""
    return record_history(recorder)


@pytest.fixture
def empty(recorder: Any) -> None:
    """A history without runs."""
    recorder.log_run(minimal())
    recorder.delete_runs(run_id="r1")


@pytest.fixture
def cli(store: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Cli:
    """The command line on the store."""
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    return Cli(capsys)


class Recorded(NamedTuple):
    """The run_ids of the runs of a history, by what became of them, oldest first."""

    done: str
    failed: str
    also_failed: str
    paused: str
    resumed: str
    retried: str
    parallel: str
    nested: str
    asked: str


def _fail(state: Any) -> Any:
    raise KeyError("price" if state.get("n", 0) < 5 else "name")


def _pause(state: Any) -> Any:
    return {"seen": [interrupt("who approves?")]}


def _once(errors: Iterator[Any]) -> Any:
    def act(state: Any) -> Any:
        if (error := next(errors)) is not None:
            raise error
        return {"n": 1}

    return act


def record_history(recorder: Any) -> Recorded:
    """Record a dozen runs by real graphs; return the ids of those that tests name."""

    def run(graph: Any, given: Any, **config: Any) -> str:
        run_id = str(uuid.uuid4())
        handler = RunLogHandler(recorder=recorder)
        with contextlib.suppress(KeyError):
            graph.invoke(given, {"callbacks": [handler], "run_id": run_id, **config})
        return run_id

    shop = chain("shop", first=node("first"), draft=node("draft"))
    bad = chain("shop", first=node("first"), draft=_fail)
    pausing = with_checkpointer(
        build(
            (START, "first"),
            ("first", "ask"),
            state=State,
            first=node("first"),
            ask=_pause,
        ),
        "approval",
    )
    retry = build(state=State)
    retry.add_node(
        "pay",
        _once(iter([KeyError("busy"), None])),
        retry_policy=RetryPolicy(
            initial_interval=0.001, jitter=False, retry_on=lambda _: True
        ),
    )
    retry.add_edge(START, "pay")
    side = build(
        (START, "one"),
        (START, "two"),
        state=State,
        one=lambda _: {"extra": 1},
        two=lambda _: {"n": 2},
    )
    inner = chain("i", first=node("first"), last=node("last"))
    outer = build((START, "inner"), state=State, inner=inner)
    thread = {"configurable": {"thread_id": "order A1"}}
    done = run(shop, {"n": 0})
    failed = run(bad, {"n": 1})
    also = run(bad, {"n": 2})
    run(bad, {"n": 7})
    paused = run(pausing, {"n": 0}, **thread)
    resumed = run(pausing, Command(resume="Ada"), **thread)
    retried = run(retry.compile(name="payment"), {"n": 0})
    parallel = run(side.compile(name="side"), {"n": 0})
    nested = run(outer.compile(name="outer"), {"n": 0})
    model = said(wants(("plus", {"a": 1}), usage_metadata=_USED))
    asked = run(graph_of(asks(model), name="asks"), {"messages": [("user", "hi")]})
    assert recorder.flush(60)
    return Recorded(done, failed, also, paused, resumed, retried, parallel, nested, asked)
