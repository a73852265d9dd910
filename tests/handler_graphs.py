"""The graphs of the handler's tests, and what is expected of their records."""

from __future__ import annotations

import asyncio
import ctypes
import operator
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

import runlog
from runlog.hooks import RunLogHandler

NODE_KEYS = {
    "node",
    "status",
    "step",
    "attempt",
    "parent",
    "error_type",
    "error_text",
    "error_traceback",
    "inputs",
    "outputs",
    "started_at",
    "duration_ms",
    "llm_calls",
    "tool_calls",
    "tokens",
    "models",
    "calls",
    "events",
}
"""What every node log has, as get_run gives it."""


CALLS: dict[str, Callable[..., Any]] = {
    "invoke": lambda graph, given, config=None: graph.invoke(given, config),
    "ainvoke": lambda graph, given, config=None: asyncio.run(
        graph.ainvoke(given, config)
    ),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


class State(TypedDict, total=False):
    """A number that the nodes count up, and the names of those that ran."""

    n: int
    seen: Annotated[list[Any], operator.add]
    extra: Any


def node(name: str, meanwhile: Callable[[], object] = lambda: None) -> Any:
    """A node that calls `meanwhile`, counts up, and adds its name to "seen"."""

    def act(state: State) -> State:
        meanwhile()
        return {"n": state.get("n", 0) + 1, "seen": [name]}

    return act


def chain(graph_name: str | None = None, /, **nodes: Any) -> Any:
    """A graph of nodes one after the other."""
    return chain_builder(**nodes).compile(name=graph_name)


def chain_builder(**nodes: Any) -> Any:
    """The same graph before it is compiled."""
    builder = StateGraph(State)
    builder.add_sequence(list(nodes.items()))
    builder.add_edge(START, next(iter(nodes)))
    return builder


def two_nodes(graph_name: str = "g") -> Any:
    """The graph of the tests that need no special one."""
    return chain(graph_name, first=node("first"), second=node("second"))


def record_two_nodes(handler: RunLogHandler) -> None:
    """What a worker process does that got a handler."""
    two_nodes().invoke({"n": 0}, {"callbacks": [handler]})
    runlog.close()


def check_two_nodes(run: Any, n: int = 0, status: str = "completed") -> None:
    """A record of two_nodes, begun with n, is whole."""
    assert run["status"] == status
    assert run["inputs"]["n"] == n
    assert run["outputs"]["n"] == n + 2
    assert run["outputs"]["seen"][-2:] == ["first", "second"]
    logs = run["node_logs"]
    assert [(log["node"], log["status"]) for log in logs] == [
        ("first", "completed"),
        ("second", "completed"),
    ]
    assert [log["inputs"]["n"] for log in logs] == [n, n + 1]
    assert [log["outputs"]["n"] for log in logs] == [n + 1, n + 2]


def with_id(handler: Any, run_id: uuid.UUID | None = None, **more: Any) -> Any:
    """A config with the handler, a run_id, and the other fields given."""
    return {"callbacks": [handler], "run_id": run_id or uuid.uuid4(), **more}


def hold_gil(seconds: float) -> None:
    """A call into C that keeps the GIL, as one that computes may do."""
    # PyDLL calls with the GIL held; usleep takes less than a second at a time
    usleep = ctypes.PyDLL(None).usleep
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        usleep(int(min(left, 0.9) * 1e6))


@contextmanager
def spinning() -> Iterator[None]:
    """Another Python thread wants the GIL all the time."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def begin_root(handler: RunLogHandler, name: str = "g", **inputs: Any) -> uuid.UUID:
    """A graph begins, by an event made by hand; returns its run_id."""
    run_id = uuid7()
    handler.on_chain_start(
        None,  # type: ignore[arg-type]
        inputs,
        run_id=run_id,
        parent_run_id=None,
        tags=[],
        metadata={"ls_integration": "langgraph"},
        name=name,
    )
    return run_id


def uuid7() -> uuid.UUID:
    """An id like langchain-core's: of the time, then random."""
    value = uuid.uuid4().int & ((1 << 80) - 1) | (time.time_ns() // 1_000_000) << 80
    value = value & ~(0xF << 76) | 7 << 76
    return uuid.UUID(int=value)


def every_page(recorder: Any, **filters: Any) -> list[Any]:
    """All runs, page after page; pages are full but for the last."""
    runs: list[Any] = []
    page = recorder.list_runs(**filters)
    while page.next is not None:
        assert len(page.runs) == filters["limit"]
        runs += page.runs
        page = recorder.list_runs(after=page.next, **filters)
    return [*runs, *page.runs]
