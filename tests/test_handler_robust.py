"""Invalid events and values do not break the graph, and are counted."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import logging
import math
import re
import sys
import threading
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pydantic
import pytest
from conftest import SANITIZED, RunPython
from fixtures_store import Store
from handler_graphs import (
    State,
    begin_root,
    chain,
    check_two_nodes,
    each_call,
    every_page,
    node,
    two_nodes,
    uuid7,
    with_id,
)
from helpers import stored, until
from langchain_core.runnables import RunnableLambda

import runlog
from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store


@pytest.fixture
def local(tmp_path: Path) -> Any:
    """A recorder, where it does not matter which database."""
    with runlog.Recorder(sqlite_path=str(tmp_path / "local.db")) as made:
        yield made


# At construction


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"wpk_id": None},
        {"wpk_id": "\u00e4 b"},
        {"node_inputs": "delta"},
        {"node_inputs": "full"},
        {"node_inputs": "none"},
        {"checkpoint_interval": None},
        {"checkpoint_interval": 0},
        {"checkpoint_interval": 0.0},
        {"checkpoint_interval": 5},
        {"checkpoint_interval": 1e-9},
        {"checkpoint_interval": 1e300},
        {"recorder": None},
    ],
    ids=str,
)
def test_valid_options_are_accepted(local: Any, options: dict[str, Any]) -> None:
    handler = RunLogHandler(**{"recorder": local, **options})
    if options.get("recorder", local) is local:
        two_nodes().invoke({"n": 1}, {"callbacks": [handler]})
        assert len(local.list_runs().runs) == 1


class Unprintable:
    """A value whose repr raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("wpk_id", value)
            for value in ("", "a\0b", 5, b"w", True, ["w"], Unprintable())
        ),
        *(("node_inputs", value) for value in ("", "Delta", "deltas", None, 1, True)),
        ("node_inputs", b"delta"),
        ("node_inputs", Unprintable()),
        *(("checkpoint_interval", value) for value in (-1, -0.1, math.nan, math.inf)),
        *(("checkpoint_interval", value) for value in (-math.inf, True, False, "1")),
        ("checkpoint_interval", 10**400),
        ("checkpoint_interval", Decimal(1)),
        ("checkpoint_interval", Unprintable()),
        ("interval", 1),
        ("unknown_option", None),
        ("workflow_id", "w"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_invalid_options_raise_and_are_named(local: Any, field: str, value: Any) -> None:
    """The constructor raises, and the error names the argument."""
    with pytest.raises(runlog.ValidationError, match=field):
        RunLogHandler(**{"recorder": local, field: value})
    with pytest.raises(ValueError, match=field):
        RunLogHandler(**{field: value})


@pytest.mark.parametrize(
    "value", ["r", 5, object(), runlog.Recorder, False, Unprintable()]
)
def test_an_object_that_is_not_a_recorder_is_rejected(value: Any) -> None:
    with pytest.raises(TypeError, match="recorder"):
        RunLogHandler(recorder=value)


def test_only_wpk_id_is_positional(local: Any) -> None:
    make: Any = RunLogHandler
    for args in (("w", local), ("w", None, "delta"), ("w", "x", "y", "z")):
        with pytest.raises(TypeError):
            make(*args)


def test_a_rejected_handler_leaks_nothing(local: Any) -> None:
    """Again and again: nothing is kept of one that failed."""
    make: Any = RunLogHandler
    before = sys.getrefcount(local)
    for _ in range(100):
        with pytest.raises(runlog.ValidationError):
            make(recorder=local, node_inputs="x")
    assert sys.getrefcount(local) == before


def test_a_handler_may_be_initialised_again(local: Any) -> None:
    """As a subclass does that calls super().__init__ twice."""
    handler: Any = RunLogHandler("a", recorder=local)
    handler.__init__("b", recorder=local, node_inputs="none", checkpoint_interval=0)
    two_nodes().invoke({"n": 1}, {"callbacks": [handler]})
    assert [run["wpk_id"] for run in local.list_runs().runs] == ["b"]


# Events made by hand

EVENTS = [
    "on_chain_start",
    "on_chain_end",
    "on_chain_error",
    "on_tool_start",
    "on_tool_end",
    "on_tool_error",
    "on_llm_start",
    "on_chat_model_start",
    "on_llm_new_token",
    "on_llm_end",
    "on_llm_error",
    "on_retriever_start",
    "on_retriever_end",
    "on_retriever_error",
    "on_retry",
    "on_text",
    "on_custom_event",
    "on_agent_action",
    "on_agent_finish",
    "on_interrupt",
    "on_resume",
]
ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((None,), {}),
    ((None, None), {}),
    ((1, 2, 3, 4, 5, 6), {}),
    ((), {"unknown": 1}),
    (({}, {}), {"run_id": None}),
    (({}, {}), {"run_id": "no uuid"}),
    (({}, {}), {"run_id": 5, "parent_run_id": 6}),
    (({}, {}), {"run_id": object(), "tags": 7, "metadata": 8, "name": object()}),
    (({}, {}), {"run_id": uuid.UUID(int=0), "parent_run_id": "x", "metadata": {1: 2}}),
    (
        (Unprintable(), Unprintable()),
        {"run_id": Unprintable(), "metadata": Unprintable(), "tags": Unprintable()},
    ),
    ((), {"run_id": uuid.UUID(int=1), "outputs": 5, "error": None, "event": 4}),
    (([[]], [[None]]), {"run_id": uuid.UUID(int=2), "metadata": [], "tags": [None, 5]}),
]


def call_all(handler: Any) -> None:
    """Every event, in every wrong way; none of them may raise."""
    for name in EVENTS:
        event = getattr(handler, name)
        for args, kwargs in ARGUMENTS:
            try:
                # the events that are not runlog's own are langchain-core's, and strict
                assert event(*args, **kwargs) is None
            except TypeError:
                assert not type(event).__name__.startswith("builtin"), (name, args)


def test_events_made_by_hand_are_ignored(recorder: Any) -> None:
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=0, roots="graphs")
    call_all(handler)
    assert recorder.list_runs().runs == []
    stats = recorder.stats()
    assert stats["handler_ignored"] > 0
    assert (stats["handler_errors"], stats["open_runs"]) == (0, 0)
    two_nodes().invoke({"n": 1}, {"callbacks": [handler]})
    assert recorder.flush(60)
    assert len(recorder.list_runs().runs) == 1


def test_ends_without_a_start_are_counted(local: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)
    ends: list[Any] = [
        lambda run_id: handler.on_chain_end({}, run_id=run_id),
        lambda run_id: handler.on_chain_error(ValueError("x"), run_id=run_id),
        lambda run_id: handler.on_tool_end("x", run_id=run_id),
        lambda run_id: handler.on_tool_error(ValueError("x"), run_id=run_id),
        lambda run_id: handler.on_chain_end({}, run_id=run_id, parent_run_id=run_id),
    ]
    for number, end in enumerate(ends, 1):
        end(uuid7())
        assert local.stats()["handler_ignored"] == number
    assert local.list_runs().runs == []


def test_a_repeated_end_is_ignored(local: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)
    root = begin_root(handler, n=1)
    handler.on_chain_end({"n": 2}, run_id=root)
    handler.on_chain_end({"n": 3}, run_id=root)
    handler.on_chain_error(ValueError("late"), run_id=root)
    run = stored(local, str(root))
    assert (run["status"], run["outputs"]) == ("completed", {"n": 2})
    # which is what a handler that is listed twice sees: nothing to look into
    assert local.stats()["handler_ignored"] == 0
    assert len(local.list_runs().runs) == 1


def test_a_node_of_an_unknown_graph_is_ignored(local: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)
    handler.on_chain_start(
        None,
        {"n": 1},
        run_id=uuid7(),
        parent_run_id=uuid7(),
        tags=["graph:step:1"],
        metadata={"ls_integration": "langgraph", "langgraph_checkpoint_ns": "a:1"},
        name="a",
    )
    assert local.stats()["handler_ignored"] == 1
    assert local.list_runs().runs == []


@pytest.mark.parametrize(
    "error",
    [None, "text", 5, ValueError, object(), Unprintable()],
    ids=lambda e: type(e).__name__,
)
def test_an_error_event_without_an_error_fails_the_run(local: Any, error: Any) -> None:
    """The run has ended, and not well."""
    handler: Any = RunLogHandler(recorder=local)
    root = begin_root(handler, n=1)
    handler.on_chain_error(error, run_id=root)
    assert stored(local, str(root))["status"] == "failed"
    assert local.stats()["open_runs"] == 0


@pytest.mark.parametrize(
    "tags", [None, 5, "abc", ["a", 5, None, "\ud800"], {"a"}, Unprintable()]
)
def test_tags_of_any_type_are_recorded(local: Any, tags: Any) -> None:
    handler: Any = RunLogHandler(recorder=local)
    root = uuid7()
    metadata = {"ls_integration": "langgraph"}
    handler.on_chain_start(None, {}, run_id=root, tags=tags, metadata=metadata, name="g")
    handler.on_chain_end({}, run_id=root)
    assert stored(local, str(root))["status"] == "completed"


def test_unknown_event_arguments_are_ignored(local: Any) -> None:
    """A later langchain-core may add some."""
    handler: Any = RunLogHandler(recorder=local)
    root = uuid7()
    handler.on_chain_start(
        None,
        {"n": 1},
        run_id=root,
        parent_run_id=None,
        tags=[],
        metadata={"ls_integration": "langgraph", "new": object()},
        name="g",
        run_type="chain",
        brand_new=Unprintable(),
    )
    handler.on_chain_end(
        {"n": 2}, run_id=root, parent_run_id=None, brand_new=Unprintable()
    )
    run = stored(local, str(root))
    assert (run["status"], run["inputs"], run["outputs"]) == (
        "completed",
        {"n": 1},
        {"n": 2},
    )


# Names and metadata


class Named:
    """Its text is a name."""

    def __str__(self) -> str:
        return "named"


class Raises:
    """Its text is none."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("w", "w"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "True"),
        (b"w", "b'w'"),
        (["a"], "['a']"),
        (Named(), "named"),
        (uuid.UUID(int=5), str(uuid.UUID(int=5))),
        ("a\0b\ud800", "a\ufffdb\ufffd"),
        # nothing that would be a name: the graph has one
        (None, "g"),
        ("", "g"),
        (Raises(), "g"),
    ],
    ids=lambda value: type(value).__name__,
)
@each_call
def test_a_workflow_of_any_type_in_the_metadata(
    local: Any, call: Any, given: Any, kept: str
) -> None:
    handler = RunLogHandler(recorder=local)
    call(two_nodes(), {"n": 1}, {"callbacks": [handler], "metadata": {"wpk_id": given}})
    assert [run["wpk_id"] for run in local.list_runs().runs] == [kept]


def test_metadata_under_reserved_names_is_renamed(recorder: Any) -> None:
    handler = RunLogHandler("m", recorder=recorder)
    own = {
        "tags": "mine",
        "interrupts": 5,
        "resumed": {"a": 1},
        "llm_calls": "many",
        "tool_calls": None,
        "tokens": [1],
        "models": "gpt",
        "totals": {"nodes": 7},
    }
    config = with_id(handler, metadata={**own, "plain": 1}, tags=["t1", "t2"])
    two_nodes().invoke({"n": 1}, config)
    metadata = stored(recorder, str(config["run_id"]))["metadata"]
    assert metadata["tags"] == ["t1", "t2"]
    assert metadata["plain"] == 1
    for key, value in own.items():
        assert metadata[f"user_{key}"] == value
    assert metadata["totals"] == {"nodes": 2}
    renamed = {f"user_{key}" for key in own}
    assert set(metadata) == {"plain", "tags", "totals", *renamed}


def test_a_run_id_that_is_the_text_of_a_uuid(local: Any) -> None:
    """A config may have it so, from a request for example; the graph does run."""
    handler = RunLogHandler(recorder=local)
    run_id = str(uuid.uuid4())
    two_nodes().invoke({"n": 1}, {"callbacks": [handler], "run_id": run_id})
    check_two_nodes(stored(local, run_id), 1)


def test_only_the_users_tags_are_recorded(local: Any) -> None:
    """LangChain adds some to what is in a chain."""
    handler = RunLogHandler(recorder=local)
    sequence: Any = RunnableLambda(lambda n: {"n": n}) | two_nodes()
    for tags in (["mine"], []):
        sequence.invoke(1, {"callbacks": [handler], "tags": tags})
    newest, oldest = (
        stored(local, run["run_id"])["metadata"] for run in local.list_runs().runs
    )
    assert oldest == {"tags": ["mine"], "totals": {"nodes": 2}}
    assert newest == {"totals": {"nodes": 2}}


# Threads and contexts


def test_a_graph_in_a_raw_thread_is_not_seen_and_breaks_nothing(recorder: Any) -> None:
    """Its callbacks are the context's, which a raw thread does not get."""
    handler = RunLogHandler("outer", recorder=recorder)
    config = with_id(handler)
    results: list[Any] = []

    def in_thread() -> None:
        inner = two_nodes("inner")
        thread = threading.Thread(target=lambda: results.append(inner.invoke({"n": 5})))
        thread.start()
        thread.join()

    graph = chain("g", first=node("first", in_thread), second=node("second"))
    graph.invoke({"n": 0}, config)
    assert results[0]["n"] == 7
    assert recorder.flush(60)
    check_two_nodes(stored(recorder, str(config["run_id"])))
    assert len(recorder.list_runs().runs) == 1


def test_with_the_handler_a_graph_in_a_raw_thread_is_a_run_of_its_own(
    recorder: Any,
) -> None:
    outer = RunLogHandler("outer", recorder=recorder)
    inner = RunLogHandler("inner", recorder=recorder)

    def in_thread() -> None:
        work = (two_nodes("inner").invoke, {"n": 5}, {"callbacks": [inner]})
        thread = threading.Thread(target=work[0], args=work[1:])
        thread.start()
        thread.join()

    graph = chain("g", first=node("first", in_thread), second=node("second"))
    graph.invoke({"n": 0}, {"callbacks": [outer]})
    assert recorder.flush(60)
    for name, n in (("outer", 0), ("inner", 5)):
        (run,) = recorder.list_runs(wpk_id=name).runs
        check_two_nodes(stored(recorder, run["run_id"]), n)


def context_of(graph_context: contextvars.Context) -> dict[str, Any]:
    return {variable.name: value for variable, value in graph_context.items()}


@each_call
def test_no_context_variable_is_set(local: Any, call: Any) -> None:
    """Neither for the nodes nor for the caller, beside what langgraph does by itself."""

    def names(callbacks: list[Any]) -> Any:
        seen: list[Any] = []

        def inspect() -> None:
            seen.append(set(context_of(contextvars.copy_context())))

        graph = chain("g", first=node("first", inspect), second=node("second", inspect))

        def run() -> None:
            call(graph, {"n": 1}, {"callbacks": callbacks})
            inspect()

        contextvars.Context().run(run)
        return seen

    handler = RunLogHandler(recorder=local, checkpoint_interval=0)
    assert names([handler]) == names([])


# What the user's code does inside the encoder


class Bad(pydantic.BaseModel):
    """Raises an error of its own, until pytest looks at it."""

    error: ClassVar[Exception | None] = None

    def model_dump(self, **_: Any) -> Any:
        if Bad.error is not None:
            raise Bad.error
        return {}

    def __repr__(self) -> str:
        if isinstance(Bad.error, Exception):  # asyncio itself shows values now and then
            raise Bad.error
        return "Bad"

    def __str__(self) -> str:
        return str(self.model_dump())


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), TimeoutError(), MemoryError(), RecursionError()],
    ids=lambda error: type(error).__name__,
)
@each_call
@pytest.mark.parametrize("where", ["inputs", "metadata", "wpk_id"])
def test_an_exception_of_a_value_never_reaches_the_graph(
    local: Any, monkeypatch: pytest.MonkeyPatch, call: Any, error: Any, where: str
) -> None:
    monkeypatch.setattr(Bad, "error", error)
    handler = RunLogHandler(recorder=local, checkpoint_interval=0)
    metadata = {"metadata": {"bad": Bad()}, "wpk_id": {"wpk_id": Bad()}}.get(where, {})
    config = with_id(handler, metadata=metadata)
    given: dict[str, Any] = {"n": 0, "seen": []}
    if where == "inputs":
        given |= {"extra": {"bad": Bad(), 1: [Bad()]}, "seen": [Bad()]}
    call(two_nodes(), given, config)
    monkeypatch.undo()
    run = stored(local, str(config["run_id"]))
    check_two_nodes(run)
    assert run["node_logs"][1]["inputs"].get("extra") == run["inputs"].get("extra")


class WithoutTextError(Exception):
    """An error without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@each_call
def test_an_error_whose_text_raises_is_recorded(local: Any, call: Any) -> None:
    def fail(_: Any) -> Any:
        raise WithoutTextError

    handler = RunLogHandler(recorder=local)
    config = with_id(handler)
    with pytest.raises(WithoutTextError):
        call(chain("g", first=node("first"), bad=fail), {"n": 1}, config)
    run = stored(local, str(config["run_id"]))
    assert (run["status"], run["error_type"]) == ("failed", "WithoutTextError")
    assert run["node_logs"][1]["error_type"] == "WithoutTextError"


def test_a_graph_run_while_a_value_is_encoded_is_its_own_record(recorder: Any) -> None:
    """With the same handler: two records, neither mixed with the other."""
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=0)
    first = iter([True])

    class Runs(pydantic.BaseModel):
        def model_dump(self, **_: Any) -> Any:
            recorder.list_runs()
            if next(first, False):
                two_nodes("inner").invoke({"n": 5}, {"callbacks": [handler]})
            return {"done": True}

    config = with_id(handler)
    two_nodes("outer").invoke({"n": 0, "extra": Runs()}, config)
    assert recorder.flush(60)
    check_two_nodes(stored(recorder, str(config["run_id"])))
    (inner,) = recorder.list_runs(wpk_id="inner").runs
    check_two_nodes(stored(recorder, inner["run_id"]), 5)


# When it cannot record


def test_a_recorder_closed_during_a_run_does_not_break_the_graph(
    store: Store, caplog: Any
) -> None:
    recorder = runlog.Recorder(**store.options)
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=0)
    graph = chain("g", first=node("first"), second=node("second", recorder.close))
    with caplog.at_level(logging.WARNING, "runlog"):
        for _ in range(3):
            assert graph.invoke({"n": 0}, {"callbacks": [handler]})["n"] == 2
    assert recorder.stats()["handler_errors"] >= 3
    assert recorder.stats()["open_runs"] == 0
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1


@pytest.mark.parametrize("interval", [0, 0.001, None])
def test_a_failing_database_is_logged_once(
    tmp_path: Path, caplog: Any, interval: Any
) -> None:
    path = str(tmp_path / "missing" / "runs.db")
    with (
        runlog.Recorder(sqlite_path=path) as recorder,
        caplog.at_level(logging.WARNING, "runlog"),
    ):
        handler = RunLogHandler(recorder=recorder, checkpoint_interval=interval)
        for n in range(20):
            assert two_nodes().invoke({"n": n}, {"callbacks": [handler]})["n"] == n + 2
        assert recorder.stats()["handler_errors"] >= 20
        assert recorder.stats()["open_runs"] == 0
        (record,) = caplog.records
        assert path in record.getMessage()
        (tmp_path / "missing").mkdir()
        two_nodes().invoke({"n": 0}, {"callbacks": [handler]})
        assert len(recorder.list_runs().runs) == 1


# No open run is given up; their memory is bounded


@pytest.mark.parametrize("interval", [None, 0.05])
def test_no_open_run_is_evicted(local: Any, interval: Any) -> None:
    """More runs than memory holds are open, and each ends as it ended."""
    with runlog.Recorder(sqlite_path="many.db", max_memory=2**20) as recorder:
        handler: Any = RunLogHandler(
            "many", recorder=recorder, checkpoint_interval=interval
        )
        count = 300
        text = "x" * 7_000
        roots = [begin_root(handler, n=n, text=f"{n}{text}") for n in range(count)]
        stats = recorder.stats()
        assert stats["open_runs"] == count
        assert stats["handler_spilled"] > count // 2
        for n, root in enumerate(roots):
            if n % 3 == 0:
                handler.on_chain_error(ValueError(str(n)), run_id=root)
            else:
                handler.on_chain_end({"n": -n}, run_id=root)
        assert recorder.stats()["open_runs"] == 0
        assert recorder.stats()["handler_ignored"] == 0
        assert recorder.stats()["handler_dropped"] == 0
        for n, root in enumerate(roots):
            run = stored(recorder, str(root))
            assert run["status"] == ("failed" if n % 3 == 0 else "completed")
            assert run["inputs"] == {"n": n, "text": f"{n}{text}"}
            assert run["outputs"] == (None if n % 3 == 0 else {"n": -n})
            assert run["node_logs"] == []


@pytest.mark.long
def test_ten_large_runs_do_not_end_a_small_one(local: Any) -> None:
    handler: Any = RunLogHandler("large", recorder=local, checkpoint_interval=None)
    parts = [str(n) * 900 for n in range(1000)]
    roots = [begin_root(handler, n=n, parts=parts) for n in range(300)]
    assert local.stats()["open_runs"] == 300
    assert two_nodes().invoke({"n": 0}, {"callbacks": [handler]})["n"] == 2
    for root in roots:
        handler.on_chain_end({}, run_id=root)
    assert local.flush()  # the ends that are beside the file for a moment
    statuses = {run["status"] for run in every_page(local, limit=60)}
    assert statuses == {"completed"}
    assert local.stats()["handler_dropped"] == 0


MANY_OPEN_RUNS = """
import resource, sys
import runlog
from handler_graphs import begin_root
from runlog.hooks import RunLogHandler

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

count, size = map(int, sys.argv[1:])
pool = [str(n) * 8 for n in range(2 * count)]
with runlog.Recorder(sqlite_path="local.db", max_memory=64 << 20) as recorder:
    handler = RunLogHandler("many", recorder=recorder, checkpoint_interval=None)
    begin_root(handler, n=0)
    before = peak()
    for n in range(count):
        begin_root(handler, n=n, items=pool[n : n + size])
    stats = recorder.stats()
    print(peak() - before, stats["handler_dropped"], stats["open_runs"])
"""


@pytest.mark.long
def test_many_open_runs_take_bounded_memory(run_python: RunPython) -> None:
    """Measured in its own process: earlier tests raise the peak memory of this one."""
    count = 1_000 if SANITIZED else 6_000
    env = {"PYTHONPATH": str(Path(__file__).parent)}
    done = run_python(MANY_OPEN_RUNS, str(count), "1500", env=env)
    assert done.returncode == 0, done.stderr
    grown, dropped, still_open = map(int, done.stdout.split())
    assert dropped == 0
    assert still_open == count + 1
    assert grown < (400 if SANITIZED else 100) * 2**20


def test_memory_is_bounded_without_a_database(tmp_path: Path, caplog: Any) -> None:
    """Where nothing can be written, payloads leave their sizes. That is said once."""
    path = str(tmp_path / "missing" / "runs.db")
    with (
        runlog.Recorder(sqlite_path=path, max_memory=2**20) as recorder,
        caplog.at_level(logging.WARNING, "runlog"),
    ):
        handler: Any = RunLogHandler("away", recorder=recorder, checkpoint_interval=None)
        roots = [begin_root(handler, n=n, text="x" * 7_000) for n in range(500)]
        assert recorder.stats()["open_runs"] == 500
        assert recorder.stats()["handler_dropped"] > 300
        said = [r for r in caplog.records if "max_memory" in r.getMessage()]
        assert [r.levelno for r in said] == [logging.ERROR]
        (tmp_path / "missing").mkdir()
        for root in roots:
            handler.on_chain_end({"n": 1}, run_id=root)
        run = stored(recorder, str(roots[0]))
        assert (run["status"], run["outputs"]) == ("completed", {"n": 1})
        assert re.fullmatch(r"<dropped: \d+ bytes>", run["inputs"])
        assert stored(recorder, str(roots[-1]))["inputs"]["n"] == 499


def test_a_run_whose_nodes_left_memory_is_whole(recorder: Any, store: Store) -> None:
    """Deltas, attempts and parents go on where node logs have left memory."""
    with runlog.Recorder(**store.options, max_memory=2**20) as small:
        handler: Any = RunLogHandler("spills", recorder=small, checkpoint_interval=None)
        config = with_id(handler, recursion_limit=130)
        graph = growing(
            120, 6_000, lambda: until(lambda: small.stats()["handler_spilled"] > 0)
        )
        graph.invoke({"n": -1, "seen": []}, config)
        assert small.stats()["handler_dropped"] == 0
        logs = stored(small, str(config["run_id"]))["node_logs"]
    assert [log["node"] for log in logs] == [f"node{n}" for n in range(120)]
    for n, log in enumerate(logs):
        assert log["inputs"]["n"] == n - 1
        assert len(log["inputs"]["seen"]) == n
        assert log["outputs"]["n"] == n


# Large states, and what may not be shown


def growing(count: int, size: int, at_last: Callable[[], Any] = lambda: None) -> Any:
    """A graph whose state grows by a text of that size at each of so many nodes."""

    def grow(n: int) -> Any:
        def node(_: Any) -> Any:
            if n == count - 1:
                at_last()
            return {"n": n, "seen": [f"{n}:" + "x" * size]}

        return node

    return chain("grows", **{f"node{n}": grow(n) for n in range(count)})


@pytest.mark.parametrize("node_inputs", ["delta", "full", "none"])
def test_a_payload_that_is_too_large_is_cut_and_marked(
    store: Store, node_inputs: Any
) -> None:
    """The same with inputs stored as deltas."""
    limit = 4096
    with runlog.Recorder(**store.options, max_payload=limit) as recorder:
        handler = RunLogHandler(recorder=recorder, node_inputs=node_inputs)
        config = with_id(handler)
        growing(12, 1000).invoke({"n": -1, "seen": []}, config)
        run = stored(recorder, str(config["run_id"]))
    assert run["status"] == "completed"
    assert len(run["node_logs"]) == 12
    for n, log in enumerate(run["node_logs"]):
        assert log["status"] == "completed"
        assert log["outputs"]["n"] == n
        shown = log["inputs"]
        if node_inputs == "none":
            assert shown is None
            continue
        whole = {
            "n": n - 1,
            "seen": [f"{i}:" + "x" * 1000 for i in range(n)],
        }
        check_cut(shown, whole, limit)
    check_cut(run["outputs"], {"n": 11}, limit, must_be_cut=True)


def check_cut(shown: Any, whole: Any, limit: int, *, must_be_cut: bool = False) -> None:
    """It is all there, or it is what encode_json makes of it: cut, and marked."""
    from runlog._runlog import encode_json

    expected = json.loads(encode_json(whole, max_payload=limit))
    if must_be_cut:
        assert "<cut" in json.dumps(shown)
    else:
        assert shown == expected


@pytest.mark.parametrize("node_inputs", ["delta", "full"])
@pytest.mark.parametrize("interval", [0, None])
def test_no_secret_is_stored(
    store: Store, recorder: Any, node_inputs: Any, interval: Any
) -> None:
    """Neither in inputs nor in what changed of them, nor in outputs or metadata."""

    def act(n: int) -> Any:
        def change(state: Any) -> Any:
            assert state["extra"]["password"] == f"hunter{n}"  # the program has it
            return {
                "n": n,
                "extra": {
                    "password": f"hunter{n + 1}",
                    "plain": n,
                    "deep": [{"Api-Key": f"hunter{n}"}] * n,
                },
                "seen": [{"token": f"hunter{n}", "n": n}],
            }

        return change

    handler = RunLogHandler(
        "w", recorder=recorder, node_inputs=node_inputs, checkpoint_interval=interval
    )
    config = with_id(handler, metadata={"authorization": "hunter", "user": "u"})
    graph = chain("g", **{f"node{n}": act(n) for n in range(5)})
    graph.invoke({"extra": {"password": "hunter0", "plain": None}}, config)
    run_id = str(config["run_id"])
    run = stored(recorder, run_id)
    assert run["inputs"]["extra"]["password"] == "<redacted>"
    assert run["metadata"] == {
        "authorization": "<redacted>",
        "user": "u",
        "totals": {"nodes": 5},
    }
    for n, log in enumerate(run["node_logs"]):
        assert log["inputs"]["extra"]["password"] == "<redacted>"
        assert log["outputs"]["extra"]["deep"] == [{"Api-Key": "<redacted>"}] * n
        assert log["inputs"]["seen"] == [
            {"token": "<redacted>", "n": i} for i in range(n)
        ]
        assert log["inputs"]["extra"]["plain"] == (n - 1 if n else None)
    assert recorder.flush(60)
    for column in ("inputs", "outputs", "node_logs", "metadata"):
        assert "hunter" not in json.dumps(store.json(column, "w", run_id))


def test_a_change_of_a_redacted_value_is_not_visible(recorder: Any) -> None:
    """A delta must not show that a redacted value has changed, or its new value."""
    handler = RunLogHandler("w", recorder=recorder)
    config = with_id(handler)
    graph = chain(
        "g",
        first=lambda _: {"extra": {"secret": "b"}},
        second=lambda _: {"extra": {"secret": ["c"]}},
        third=lambda _: {"extra": 5},
    )
    graph.invoke({"extra": {"secret": "a"}}, config)
    run = stored(recorder, str(config["run_id"]))
    assert [log["inputs"]["extra"] for log in run["node_logs"]] == [
        {"secret": "<redacted>"}
    ] * 3
    assert run["outputs"]["extra"] == 5


# Around graphs


def test_plain_chains_are_not_recorded(local: Any) -> None:
    handler = RunLogHandler(recorder=local, checkpoint_interval=0, roots="graphs")
    sequence: Any = RunnableLambda(lambda n: n + 1) | RunnableLambda(lambda n: n * 2)
    for _ in range(10):
        sequence.invoke(1, {"callbacks": [handler]})
        asyncio.run(sequence.ainvoke(1, {"callbacks": [handler]}))
    assert local.list_runs().runs == []
    assert local.stats()["open_runs"] == 0
    assert local.stats()["handler_errors"] == 0


def test_a_state_that_is_no_mapping_is_recorded_whole(recorder: Any) -> None:
    """Deltas are for mappings; anything else is kept whole."""
    from langgraph.graph import START, StateGraph

    builder: Any = StateGraph(int)
    builder.add_node("first", lambda n: n + 1)
    builder.add_node("second", lambda n: n + 1)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    config = with_id(RunLogHandler(recorder=recorder))
    builder.compile().invoke(1, config)
    run = stored(recorder, str(config["run_id"]))
    assert (run["inputs"], run["outputs"]) == (1, 3)
    assert [(x["inputs"], x["outputs"]) for x in run["node_logs"]] == [(1, 2), (2, 3)]


def test_state_keys_may_have_the_names_of_a_delta(recorder: Any) -> None:
    """A state may have the names that a delta uses."""
    from langgraph.graph import START, StateGraph

    builder: Any = StateGraph(dict)
    states: list[Any] = [
        {"inputs_delta": {"since": 0}, "set": 1, "append": [1], "since": None},
        {"inputs_delta": {"since": None, "set": {"a": 1}}, "append": [1, 2], "unset": []},
        {"unset": ["append"], "since": 5},
        {},
        {"": [], "a.b": [1], "a": {"b": 1}},
        {"": [""], "a.b": [1, 1], "a": {"b": 1, "c": 2}},
    ]
    names = [f"node{n}" for n in range(len(states))]

    def becomes(state: Any) -> Any:
        return lambda _: state

    for name, state in zip(names, [*states[1:], {}], strict=True):
        builder.add_node(name, becomes(state))
    builder.add_edge(START, names[0])
    for before, after in itertools.pairwise(names):
        builder.add_edge(before, after)
    config = with_id(RunLogHandler(recorder=recorder))
    builder.compile().invoke(states[0], config)
    run = stored(recorder, str(config["run_id"]))
    assert run["inputs"] == states[0]
    assert [log["inputs"] for log in run["node_logs"]] == states


def test_a_change_in_place_does_not_change_recorded_inputs(recorder: Any) -> None:
    """The next one's inputs are as they were when it began, delta or not."""

    def spoil(state: State) -> State:
        state["extra"]["list"].append("spoilt")
        state["extra"].pop("gone", None)
        return {"n": 1}

    config = with_id(RunLogHandler(recorder=recorder))
    graph = chain("g", a=spoil, b=spoil, c=node("c"))
    graph.invoke({"extra": {"list": [], "gone": 1}}, config)
    logs = stored(recorder, str(config["run_id"]))["node_logs"]
    assert [log["inputs"]["extra"] for log in logs] == [
        {"list": [], "gone": 1},
        {"list": ["spoilt"]},
        {"list": ["spoilt", "spoilt"]},
    ]


@pytest.mark.parametrize("unit", ["x", "\u6f22"], ids=ascii)
def test_every_text_of_a_graph_is_capped(recorder: Any, unit: Any) -> None:
    """Names, thread id, tags and errors, of any size."""
    text: str = unit * 500_000

    class ApiError(Exception):
        def __str__(self) -> str:
            return text

    def fails(_: Any) -> Any:
        raise ApiError

    graph = chain("capped", step=fails)
    config = with_id(RunLogHandler(recorder=recorder, wpk_id=text))
    config["configurable"] = {"thread_id": text}
    config["tags"] = [text, "small"]
    config["metadata"] = {"note": text, "user": "u"}
    with pytest.raises(ApiError):
        graph.invoke({"n": 1, "seen": []}, config)
    assert recorder.flush(60)
    (listed,) = recorder.list_runs().runs
    run = stored(recorder, str(config["run_id"]))
    assert run["status"] == "failed"
    for name, most in (("wpk_id", 1024), ("thread_id", 1024), ("error_text", 65536)):
        assert most - 200 < len(run[name].encode()) <= most
        assert run[name].startswith(unit) and run[name].endswith(unit)
        assert listed[name] == run[name]
    (log,) = run["node_logs"]
    assert log["error_text"] == run["error_text"]
    first, small = run["metadata"]["tags"]
    assert small == "small" and len(first.encode()) <= 1024
    assert run["metadata"]["user"] == "u"
