"""What the tests of the handler share: small graphs, and the records expected of them.

`record` reads all that is stored of a run. It checks the types and the order of its times
and ids, and leaves them out. `run` and `log` build the expected record, with defaults.
"""

import asyncio
import itertools
import json
import operator
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from runlog.views.lines import totals_of_logs

Call = Callable[[Any, Any, Any], Any]

SLACK = timedelta(milliseconds=100)  # between the clock of the day and the monotonic one
CLOCKS = ("started_at", "duration_ms")
ADDRESS = re.compile("<object object at 0x[0-9a-f]+>")


class State(TypedDict, total=False):
    n: int


class Seen(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]


def invoke(graph: Any, given: Any, config: Any, **options: Any) -> Any:
    return graph.invoke(given, config, **options)


def ainvoke(graph: Any, given: Any, config: Any, **options: Any) -> Any:
    results = []  # asyncio asks for the repr of what a task returns

    async def call() -> None:
        results.append(await graph.ainvoke(given, config, **options))

    asyncio.run(call())
    return results[0]


either = pytest.mark.parametrize("call", [invoke, ainvoke])


def count(state: Any) -> Any:
    """A node that counts."""
    return {"n": state["n"] + 1}


def build(*edges: tuple[Any, Any], state: Any = State, **nodes: Any) -> Any:
    """A graph of these nodes and edges, not yet compiled."""
    builder = StateGraph(state)
    for name, action in nodes.items():
        builder.add_node(name, action)
    for start, end in edges:
        builder.add_edge(start, end)
    return builder


def with_checkpointer(builder: Any, name: str = "g", **options: Any) -> Any:
    """Compile a graph that can pause and continue."""
    return builder.compile(name=name, checkpointer=InMemorySaver(), **options)


def chain(name: str = "g", state: Any = State, **nodes: Any) -> Any:
    """A graph of nodes one after the other."""
    names = [START, *nodes]
    edges = list(itertools.pairwise(names))
    return build(*edges, state=state, **nodes).compile(name=name)


def again(config: Any, **others: Any) -> Any:
    """The config for another run."""
    return {**config, "run_id": uuid.uuid4(), **others}


def invoke_again(call: Call, graph: Any, given: Any, config: Any) -> Any:
    """Invoke a graph once more on the same thread; return the config of the new run."""
    second = again(config)
    call(graph, given, second)
    return second


def on_thread(config: Any, thread_id: str = "t") -> Any:
    """The config on a thread of a checkpointer."""
    return config | {"configurable": {"thread_id": thread_id}}


def failed(error: BaseException, status: str = "failed") -> dict[str, Any]:
    """The fields of a node log or a run that an error ended."""
    return {
        "status": status,
        "error_type": type(error).__name__,
        "error_text": str(error),
    }


def cancelled(error: BaseException | None = None) -> dict[str, Any]:
    return failed(error or asyncio.CancelledError(), "cancelled")


INTERRUPTED = {"status": "interrupted"}
RUNNING = {"status": "running"}


def log(
    node: str, step: int, inputs: Any = None, outputs: Any = None, **others: Any
) -> dict[str, Any]:
    """The expected record of a node."""
    expected = {
        "node": node,
        "status": "completed",
        "step": step,
        "attempt": 1,
        "parent": None,
        "error_type": None,
        "error_text": None,
        "inputs": inputs,
        "outputs": outputs,
        "llm_calls": 0,
        "tool_calls": 0,
        "tokens": None,
        "models": [],
    }
    assert others.keys() <= expected.keys()
    return expected | others


def run(
    inputs: Any, outputs: Any, *logs: dict[str, Any], wpk_id: str = "g", **others: Any
) -> dict[str, Any]:
    """The expected record of a run."""
    expected = {
        "wpk_id": wpk_id,
        "status": "completed",
        "thread_id": None,
        "error_type": None,
        "error_text": None,
        "inputs": inputs,
        "outputs": outputs,
        "metadata": None,
        "node_logs": list(logs),
    }
    assert others.keys() <= expected.keys()
    return expected | others


def paused_run(
    inputs: Any, outputs: Any, *logs: dict[str, Any], **others: Any
) -> dict[str, Any]:
    """The expected record of a run that was interrupted on thread "t"."""
    return run(inputs, outputs, *logs, **INTERRUPTED, thread_id="t", **others)


def resumed_run(
    inputs: Any, outputs: Any, *logs: dict[str, Any], **metadata: Any
) -> dict[str, Any]:
    """The expected record of a run that continued thread "t"."""
    facts = {"resumed": True, **metadata}
    return run(inputs, outputs, *logs, thread_id="t", metadata=facts)


def command(goto: Any = (), **others: Any) -> dict[str, Any]:
    """A Command as it is recorded."""
    fields = {"graph": None, "update": None, "resume": None, "goto": goto}
    return {**fields, "goto": list(goto) if goto == () else goto, **others}


def tokens(count_in: int, count_out: int) -> dict[str, int]:
    return {"input": count_in, "output": count_out, "total": count_in + count_out}


def interrupts(*values: Any) -> dict[str, Any]:
    """The metadata of a run that was interrupted with these values."""
    return {"interrupts": [{"id": "ID", "value": value} for value in values]}


def record(recorder: Any, of: Any) -> Any:
    """Read a run, without its times and ids; `of` is its config or its run_id.

    The ids of interrupts become "ID". Tracebacks are checked, and left out, and so are
    calls and events, which tests of their own compare. The totals in the metadata are
    compared with the node logs, and left out.
    """
    run_id = str(of["run_id"] if isinstance(of, dict) else of)
    assert recorder.flush()  # a read waits for the server only so long
    kept = recorder.get_run(run_id)
    assert kept is not None, run_id
    kept = dict(kept)
    check_totals(recorder, kept)
    assert kept.pop("run_id") == run_id
    assert uuid.UUID(kept.pop("id"))
    running = kept["status"] == "running"
    owner = kept.pop("owner")
    assert not running or isinstance(owner, str)
    check_tracebacks(kept)
    begun, end = check_clocks(kept, running)
    last = begun
    for one in kept["node_logs"]:
        last = check_log_clocks(one, last, end)
        check_calls(one)
        for key in CLOCKS:
            del one[key]
        if one["status"] == "cancelled":  # LangGraph cancels with an object() of its own
            one["error_text"] = ADDRESS.sub("", one["error_text"])
    for one in (kept["metadata"] or {}).get("interrupts", []):
        assert re.fullmatch("[0-9a-f]{32}", one["id"])
        one["id"] = "ID"
    return kept


def check_totals(recorder: Any, kept: Any) -> None:
    """What a list shows of a run is what its node logs say; removes the totals."""
    wanted = totals_of_logs(kept)
    page = recorder.list_runs(wpk_id=kept["wpk_id"], limit=10_000)
    (row,) = [row for row in page.runs if row["id"] == kept["id"]]
    assert row["totals"] == wanted
    kept["metadata"] = own_metadata(kept)


def own_metadata(kept: Any) -> Any:
    """The metadata of a graph's run without its totals; None if there are no others."""
    metadata = dict(kept["metadata"])
    assert metadata.pop("totals")["nodes"] >= 0
    return metadata or None


def check_tracebacks(kept: Any) -> None:
    """Each exception has its traceback once, where it arose; removes them."""
    logs = kept["node_logs"]
    where = [(log, log["node"]) for log in logs] + [(kept, None)]
    for one, name in where:
        error = (one["status"], one["error_type"], one["error_text"])
        inner = [log for log in logs if log["parent"] == name and log is not one]
        known = any(
            (log["status"], log["error_type"], log["error_text"]) == error
            for log in inner
        )
        text = one.pop("error_traceback")
        if one["status"] == "failed" and not known:
            check_traceback(text, one["error_type"], one["error_text"])
        else:
            assert text is None, text


def check_calls(one: Any) -> None:
    """A node has its own calls, as many as it counts; removes them."""
    calls, events = one.pop("calls"), one.pop("events")
    kinds = [call["kind"] for call in calls]
    assert kinds.count("llm") == one["llm_calls"]
    assert kinds.count("tool") == one["tool_calls"]
    for at, call in enumerate(calls):
        assert call["parent"] is None or 0 <= call["parent"] < at
        assert call["started_at"] >= one["started_at"]
        assert call["status"] == "running" or call["duration_ms"] >= 0
    assert all(set(event) == {"name", "data", "at"} for event in events)


def check_traceback(text: str, error_type: str, error_text: str) -> None:
    begins = ("Traceback (most recent call last):\n", "  + Exception Group Traceback ")
    assert text.startswith(begins)
    first = error_text.split("\n", 1)[0].split("<cut: ", 1)[0][:1000]
    assert f"{error_type}: {first}".removesuffix(": ") in text
    assert len(text.encode()) <= 16384


def check_clocks(kept: Any, running: bool) -> tuple[datetime, datetime]:
    """Check the times of a run and remove them; return its start and its last update."""
    begun, end = kept.pop("started_at"), kept.pop("updated_at")
    created, duration = kept.pop("created_at"), kept.pop("duration_ms")
    for stamp in (begun, end, created):
        assert type(stamp) is datetime
        assert stamp.tzinfo is not None
    assert begun == created
    assert begun <= end + SLACK
    assert end <= datetime.now(UTC) + SLACK
    if running:
        assert duration is None
    else:
        assert type(duration) is int
        assert timedelta(0) <= timedelta(milliseconds=duration) <= end - begun + SLACK
    return begun, end


def check_log_clocks(one: Any, last: datetime, end: datetime) -> datetime:
    """Check that a node began after `last` and ended before `end`; return its start."""
    begun, duration = datetime.fromisoformat(one["started_at"]), one["duration_ms"]
    assert begun.tzinfo is not None
    assert last <= begun + SLACK
    assert begun <= end + SLACK
    if one["status"] == "running":
        assert duration is None
    else:
        assert type(duration) is float
        assert duration >= 0
        assert begun + timedelta(milliseconds=duration) <= end + SLACK
    return begun


def unordered(kept: Any) -> Any:
    """A run whose nodes may have begun in any order within a step."""

    def place(one: Any) -> Any:
        return one["step"], one["node"], json.dumps(one["inputs"], sort_keys=True)

    return {**kept, "node_logs": sorted(kept["node_logs"], key=place)}


def record_of(recorder: Any, **filters: Any) -> Any:
    """The record of the only run, where its id is not known."""
    assert recorder.flush()
    (found,) = recorder.list_runs(**filters).runs
    return record(recorder, found["run_id"])


INNER = chain("inner", deep=count)
"""A graph for others to hold."""


def deep(n: int, parent: str, step: int = 1) -> Any:
    """The log of INNER's only node."""
    return log("deep", step, {"n": n}, {"n": n + 1}, parent=parent)
