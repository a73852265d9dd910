"""All ways to register the handler, alone and together: each run is recorded once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fixtures_live import Start
from fixtures_store import Store
from handler_graphs import (
    CALLS,
    chain,
    chain_builder,
    check_two_nodes,
    each_call,
    node,
    two_nodes,
)
from helpers import stored
from langchain_core.tracers import context as langchain_context
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel
from langgraph.types import Command, interrupt

import runlog
from runlog import hooks
from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store

pregel: Any = sys.modules[Pregel.__module__]
WRAPPED = [
    "get_sync_graph_callback_manager_for_config",
    "get_async_graph_callback_manager_for_config",
]

REGISTERED = """
import runlog.hooks
from handler_graphs import two_nodes
two_nodes().invoke({"n": 1})
assert runlog.flush(60)
print(len(runlog.list_runs().runs))
"""


@pytest.fixture
def default(store: Store) -> Iterator[Store]:
    """The module's own recorder is on the store."""
    runlog.configure(**store.options)
    yield store
    hooks.uninstall()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[runlog.Recorder]:
    """Another recorder, somewhere else."""
    with runlog.Recorder(sqlite_path=str(tmp_path / "other.db")) as made:
        yield made


@contextlib.contextmanager
def installed() -> Iterator[None]:
    hooks.install()
    try:
        yield
    finally:
        hooks.uninstall()


def in_block() -> Any:
    return hooks.recording()


REGISTRATIONS = {"install": installed, "recording": in_block}
each_registration = pytest.mark.parametrize(
    "registration", REGISTRATIONS.values(), ids=REGISTRATIONS
)


def only_run(source: Any, **filters: Any) -> Any:
    """The one run that there is, whole."""
    assert source.flush(60)
    (run,) = source.list_runs(**filters).runs
    return stored(source, run["run_id"])


def runs_of(source: Any) -> list[tuple[str, str]]:
    assert source.flush(60)
    return [(run["wpk_id"], run["status"]) for run in source.list_runs().runs][::-1]


# install() and uninstall()


@each_call
def test_install_and_uninstall(default: Store, call: Any) -> None:
    graph = two_nodes()
    hooks.install()
    call(graph, {"n": 1})
    hooks.uninstall()
    call(graph, {"n": 2})
    check_two_nodes(only_run(runlog), 1)
    hooks.install()
    hooks.install()
    call(graph, {"n": 3})
    hooks.uninstall()
    hooks.uninstall()
    call(graph, {"n": 4})
    assert len(runs_of(runlog)) == 2


def test_install_reaches_every_thread_and_context(default: Store) -> None:
    hooks.install()
    graph = two_nodes()
    threads = [threading.Thread(target=graph.invoke, args=({"n": 0},)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    contextvars.Context().run(graph.invoke, {"n": 0})
    assert runs_of(runlog) == [("g", "completed")] * 5


def test_uninstall_restores_everything(default: Store) -> None:
    before = [getattr(pregel, name) for name in WRAPPED]
    hooks.install()
    two_nodes().invoke({"n": 0})
    hooks.install()
    hooks.uninstall()
    assert [getattr(pregel, name) for name in WRAPPED] == before
    registered = len(langchain_context._configure_hooks)
    for _ in range(3):
        hooks.install()
        hooks.uninstall()
    assert [getattr(pregel, name) for name in WRAPPED] == before
    assert len(langchain_context._configure_hooks) == registered


def test_uninstall_leaves_what_another_has_wrapped(
    default: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another tool wraps the same function after us: its wrap stays, and ours is idle."""
    original = getattr(pregel, WRAPPED[0])
    monkeypatch.setattr(pregel, WRAPPED[0], original)  # what it is after the test
    hooks.install()
    ours = getattr(pregel, WRAPPED[0])

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    monkeypatch.setattr(pregel, WRAPPED[0], theirs)
    hooks.uninstall()
    assert getattr(pregel, WRAPPED[0]) is theirs
    two_nodes().invoke({"n": 0})
    assert runs_of(runlog) == []
    hooks.install()
    pause("install again", CALLS["invoke"])
    assert runs_of(runlog) == [("install again", "interrupted")]


def test_a_run_that_is_open_at_uninstall_is_recorded_to_its_end(default: Store) -> None:
    hooks.install()
    stream = two_nodes().stream({"n": 0})
    next(stream)
    hooks.uninstall()
    assert len(list(stream)) == 1
    check_two_nodes(only_run(runlog))


@pytest.mark.parametrize(
    ("value", "runs"),
    [
        *((on, 1) for on in ("1", "true", "yes", "on", "TRUE", "Yes")),
        *((off, 0) for off in ("0", "false", "no", "off", "OFF", "")),
    ],
)
def test_the_variable_registers_at_import(start: Start, value: str, runs: int) -> None:
    done = start.code(REGISTERED, RUNLOG_TRACING=value).wait()
    assert (done.stdout, done.stderr) == (f"{runs}\n", "")


@pytest.mark.parametrize("value", ["2", "y", "yes please", "calls"])
def test_a_wrong_value_of_the_variable_is_said_once(start: Start, value: str) -> None:
    """It breaks no import, and the log does not show it."""
    done = start.code(REGISTERED, RUNLOG_TRACING=value).wait()
    assert done.stdout == "0\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("RUNLOG_TRACING must be a switch (1, true, yes or on;")
    assert "please" not in line


# with_config


@each_call
def test_with_config_records_the_graph(default: Store, call: Any) -> None:
    graph = two_nodes().with_config(callbacks=[RunLogHandler("with")])
    call(graph, {"n": 1})
    run = only_run(runlog)
    assert run["wpk_id"] == "with"
    check_two_nodes(run, 1)


def test_with_config_leaves_the_original_graph_unrecorded(default: Store) -> None:
    graph = two_nodes()
    graph.with_config(callbacks=[RunLogHandler()])
    graph.invoke({"n": 1})
    assert runs_of(runlog) == []


# recording()


@each_call
def test_recording_records_only_inside_its_block(default: Store, call: Any) -> None:
    graph = two_nodes()
    call(graph, {"n": 0})
    with hooks.recording("nightly") as handler:
        assert isinstance(handler, RunLogHandler)
        call(graph, {"n": 1})
    call(graph, {"n": 2})
    run = only_run(runlog)
    assert run["wpk_id"] == "nightly"
    check_two_nodes(run, 1)


def test_recording_accepts_the_options_of_the_handler(
    default: Store, other: runlog.Recorder
) -> None:
    with hooks.recording(recorder=other, node_inputs="none", checkpoint_interval=0):
        two_nodes().invoke({"n": 1})
    assert runs_of(runlog) == []
    run = only_run(other)
    assert (run["wpk_id"], run["outputs"]["n"]) == ("g", 3)
    assert [log["inputs"] for log in run["node_logs"]] == [None, None]


@pytest.mark.parametrize(
    ("field", "value"),
    [("wpk_id", ""), ("node_inputs", "some"), ("checkpoint_interval", -1)],
)
def test_recording_rejects_invalid_options(field: str, value: Any) -> None:
    options: dict[str, Any] = {field: value}
    with (
        pytest.raises(runlog.ValidationError, match=field),
        hooks.recording(**options),
    ):
        pass


def test_an_exception_in_the_block_is_raised_unchanged(default: Store) -> None:
    with pytest.raises(KeyError), hooks.recording("a"):
        two_nodes().invoke({"n": 1})
        raise KeyError
    two_nodes().invoke({"n": 2})
    assert runs_of(runlog) == [("a", "completed")]


def test_the_innermost_block_records(default: Store, other: runlog.Recorder) -> None:
    graph = two_nodes()
    with hooks.recording("outer"):
        graph.invoke({"n": 1})
        with hooks.recording("inner"):
            graph.invoke({"n": 2})
        graph.invoke({"n": 3})
        with hooks.recording("elsewhere", recorder=other):
            graph.invoke({"n": 4})
    assert [name for name, _ in runs_of(runlog)] == ["outer", "inner", "outer"]
    assert [name for name, _ in runs_of(other)] == ["elsewhere"]


def test_a_thread_that_copies_the_context_is_in_the_block(default: Store) -> None:
    graph = two_nodes()
    with hooks.recording("nightly"), ThreadPoolExecutor(1) as pool:
        context = contextvars.copy_context()
        pool.submit(context.run, graph.invoke, {"n": 1}).result()
        pool.submit(graph.invoke, {"n": 2}).result()
    assert only_run(runlog)["inputs"]["n"] == 1


async def test_tasks_are_in_the_block_that_they_begin_in(default: Store) -> None:
    graph = two_nodes()
    with hooks.recording("a"):
        first = asyncio.create_task(graph.ainvoke({"n": 1}))
        second = asyncio.create_task(asyncio.to_thread(graph.invoke, {"n": 2}))
        with hooks.recording("b"):
            third = asyncio.create_task(graph.ainvoke({"n": 3}))
    outside = asyncio.create_task(graph.ainvoke({"n": 4}))
    await asyncio.gather(first, second, third, outside)
    runs = (await runlog.alist_runs()).runs
    kept = {}
    for run in runs:
        whole = stored(runlog, run["run_id"])
        check_two_nodes(whole, whole["inputs"]["n"])
        kept[whole["inputs"]["n"]] = whole["wpk_id"]
    assert kept == {1: "a", 2: "a", 3: "b"}


def test_blocks_of_different_tasks_are_independent(default: Store) -> None:
    async def work(name: str) -> None:
        with hooks.recording(name):
            await asyncio.sleep(0)
            await two_nodes().ainvoke({"n": 0})

    async def main() -> None:
        await asyncio.gather(*(work(f"w{n}") for n in range(10)))

    asyncio.run(main())
    assert sorted(runs_of(runlog)) == [(f"w{n}", "completed") for n in range(10)]


def test_a_stream_begun_in_the_block_goes_on_outside(default: Store) -> None:
    with hooks.recording("nightly"):
        stream = two_nodes().stream({"n": 0})
        next(stream)
    assert len(list(stream)) == 1
    check_two_nodes(only_run(runlog))


async def test_an_async_stream_begun_in_the_block_goes_on_outside(default: Store) -> None:
    with hooks.recording("nightly"):
        stream = two_nodes().astream({"n": 0})
        await anext(stream)
    assert len([item async for item in stream]) == 1
    check_two_nodes(only_run(runlog))


def test_batches_in_the_block_are_recorded(default: Store) -> None:
    with hooks.recording("nightly"):
        two_nodes().batch([{"n": n} for n in range(4)])
    assert runs_of(runlog) == [("nightly", "completed")] * 4


# All of them together


def nested() -> Any:
    """A graph with a subgraph as a node, and one that is called in a node."""
    inner = chain("inner", deep=node("deep"))

    def calls(state: Any) -> Any:
        return {"n": inner.invoke({"n": state["n"], "seen": []})["n"]}

    return chain("outer", sub=inner, calls=calls, last=node("last"))


NESTED = [
    ("sub", None),
    ("deep", "sub"),
    ("calls", None),
    ("deep", "calls"),
    ("last", None),
]
WAYS = ["callbacks", "twice", "a second handler", "with_config", "install", "recording"]


@each_call
def test_any_combination_records_each_run_once(default: Store, call: Any) -> None:
    for count in range(1, len(WAYS) + 1):
        for ways in itertools.combinations(WAYS, count):
            run_id = uuid.uuid4()
            graph, handler = nested(), RunLogHandler()
            config: dict[str, Any] = {"run_id": run_id, "callbacks": []}
            with contextlib.ExitStack() as blocks:
                if "callbacks" in ways:
                    config["callbacks"].append(handler)
                if "twice" in ways:
                    config["callbacks"] += [handler, handler]
                if "a second handler" in ways:
                    config["callbacks"].append(RunLogHandler())
                if "with_config" in ways:
                    graph = graph.with_config(callbacks=[RunLogHandler()])
                if "install" in ways:
                    blocks.enter_context(installed())
                if "recording" in ways:
                    blocks.enter_context(hooks.recording())
                call(graph, {"n": 0, "seen": []}, config)
            assert runlog.flush(60)
            runs = [(run["run_id"], run["status"]) for run in runlog.list_runs().runs]
            assert runs == [(str(run_id), "completed")], ways
            run = stored(runlog, str(run_id))
            assert [(x["node"], x["parent"]) for x in run["node_logs"]] == NESTED, ways
            assert run["outputs"]["n"] == 3, ways
            assert runlog.stats()["open_runs"] == 0, ways
            assert runlog.delete_runs(wpk_id="outer") == 1


@pytest.mark.parametrize("order", [["mine", "other"], ["other", "mine"]])
def test_two_recorders_both_have_the_run(
    default: Store, other: runlog.Recorder, order: list[str]
) -> None:
    handlers = {
        "mine": RunLogHandler("mine"),
        "other": RunLogHandler("other", recorder=other),
    }
    config: Any = {"callbacks": [handlers[name] for name in order]}
    two_nodes().invoke({"n": 1}, config)
    for source, name in ((runlog, "mine"), (other, "other")):
        run = only_run(source)
        assert run["wpk_id"] == name
        check_two_nodes(run, 1)
    assert runlog.stats()["open_runs"] == other.stats()["open_runs"] == 0


@each_registration
def test_a_handler_of_another_recorder_does_not_prevent_recording(
    default: Store, other: runlog.Recorder, registration: Any
) -> None:
    with registration():
        two_nodes().invoke({"n": 1}, {"callbacks": [RunLogHandler(recorder=other)]})
    check_two_nodes(only_run(other), 1)
    check_two_nodes(only_run(runlog), 1)


@each_registration
def test_the_explicit_handler_is_the_one_that_records(
    default: Store, registration: Any
) -> None:
    with registration():
        two_nodes().invoke({"n": 1}, {"callbacks": [RunLogHandler("explicit")]})
        two_nodes().invoke({"n": 2})
    assert runs_of(runlog) == [("explicit", "completed"), ("g", "completed")]


def test_the_first_of_two_handlers_records(default: Store) -> None:
    handlers = [RunLogHandler("first"), RunLogHandler("second")]
    two_nodes().invoke({"n": 1}, {"callbacks": handlers})
    assert runs_of(runlog) == [("first", "completed")]


@pytest.mark.parametrize("install_first", [True, False])
def test_the_block_takes_precedence_over_install(
    default: Store, install_first: bool
) -> None:
    """It is nearer to the run, and says how it is to be named."""
    with contextlib.ExitStack() as blocks:
        if install_first:
            blocks.enter_context(installed())
        blocks.enter_context(hooks.recording("nightly"))
        if not install_first:
            blocks.enter_context(installed())
        two_nodes().invoke({"n": 1})
    assert runs_of(runlog) == [("nightly", "completed")]


def test_a_duplicate_handler_counts_no_ignored_events(default: Store) -> None:
    """What is counted there is what a user should look into."""
    hooks.install()
    handler = RunLogHandler()
    config: Any = {"callbacks": [handler, handler, RunLogHandler()]}
    two_nodes().invoke({"n": 1}, config)
    go_on = pause("asks", lambda graph, *given: graph.invoke(*given), config)
    go_on(Command(resume=7))
    assert runlog.flush(60)
    statuses = [run["status"] for run in runlog.list_runs().runs]
    assert statuses == ["completed", "interrupted", "completed"]
    assert runlog.stats()["handler_ignored"] == 0
    assert runlog.stats()["handler_errors"] == 0


# Interrupts and resumes


def ask(_: Any) -> Any:
    return {"n": interrupt("how many?")}


def pause(name: str, call: Any, config: Any = None, **options: Any) -> Any:
    """A graph with a checkpointer, run once, in a thread of that name."""
    nodes = {"first": node("first"), "second": node("second")}
    if not options:
        nodes["second"] = ask
    graph = chain_builder(**nodes).compile(
        name=name, checkpointer=InMemorySaver(), **options
    )
    config = {"configurable": {"thread_id": name}, **(config or {})}
    call(graph, {"n": 0}, config)
    return lambda given: call(graph, given, config)


@each_call
@each_registration
def test_a_dynamic_interrupt_and_its_resume_are_recorded(
    default: Store, registration: Any, call: Any
) -> None:
    with registration():
        go_on = pause("asks", call)
        first = only_run(runlog)
        assert go_on(Command(resume=7))["n"] == 7
    second = stored(runlog, runlog.list_runs().runs[0]["run_id"])

    assert (first["status"], first["error_type"]) == ("interrupted", None)
    assert [log["status"] for log in first["node_logs"]] == ["completed", "interrupted"]
    assert [log["error_type"] for log in first["node_logs"]] == [None, None]
    (told,) = first["metadata"]["interrupts"]
    assert set(told) == {"id", "value"}
    assert told["value"] == "how many?"
    assert "resumed" not in first["metadata"]

    assert second["status"] == "completed"
    assert second["metadata"]["resumed"] is True
    assert "interrupts" not in second["metadata"]
    assert second["inputs"]["resume"] == 7
    assert [(x["node"], x["outputs"]) for x in second["node_logs"]] == [
        ("second", {"n": 7})
    ]
    assert first["thread_id"] == second["thread_id"] == "asks"


@each_call
@each_registration
@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
def test_a_static_interrupt_and_its_resume_are_recorded(
    default: Store, registration: Any, call: Any, when: str
) -> None:
    pauses_at = "second" if when == "interrupt_before" else "first"
    with registration():
        go_on = pause("waits", call, **{when: [pauses_at]})
        first = only_run(runlog)
        assert go_on(None)["n"] == 2
    second = stored(runlog, runlog.list_runs().runs[0]["run_id"])

    assert first["status"] == "interrupted"
    assert first["metadata"]["interrupts"] == []
    assert first["outputs"]["n"] == 1
    assert [(x["node"], x["status"]) for x in first["node_logs"]] == [
        ("first", "completed")
    ]
    assert (second["status"], second["inputs"]) == ("completed", None)
    assert second["metadata"]["resumed"] is True
    assert "interrupts" not in second["metadata"]


@each_registration
def test_an_interrupt_is_recorded_once_beside_an_explicit_handler(
    default: Store, registration: Any
) -> None:
    with registration():
        pause("asks", CALLS["invoke"], {"callbacks": [RunLogHandler("explicit")]})
    run = only_run(runlog)
    assert run["wpk_id"] == "explicit"
    assert [told["value"] for told in run["metadata"]["interrupts"]] == ["how many?"]


@each_registration
def test_other_handlers_still_receive_interrupts(
    default: Store, registration: Any
) -> None:
    from langgraph.callbacks import GraphCallbackHandler

    class Listener(GraphCallbackHandler):
        def __init__(self) -> None:
            self.heard: list[Any] = []

        def on_interrupt(self, event: Any) -> None:
            self.heard.append(event.status)

    with registration():
        listener = Listener()
        pause("asks", CALLS["invoke"], {"callbacks": [listener]})
    assert listener.heard == ["pending"]
    assert only_run(runlog)["status"] == "interrupted"


DEGRADED = """
import langgraph.pregel.main as pregel
import runlog
from runlog import hooks
from langgraph.types import Command
from handler_graphs import CALLS
from test_handler_registration import WRAPPED, only_run, pause

kept = {name: getattr(pregel, name) for name in WRAPPED}
for name in WRAPPED:
    delattr(pregel, name)
%s
for name, function in kept.items():  # as if langgraph now called them otherwise
    assert not hasattr(pregel, name)
    setattr(pregel, name, function)

for call in CALLS.values():
    go_on = pause("asks", call)
    run = only_run(runlog)
    assert run["status"] == "interrupted", run
    assert [x["status"] for x in run["node_logs"]] == ["completed", "interrupted"], run
    (told,) = run["metadata"]["interrupts"]
    assert told["value"] == "how many?", run
    go_on(Command(resume=7))
    run = runlog.get_run(runlog.list_runs().runs[0]["run_id"])
    assert run["status"] == "completed", run
    assert run["metadata"]["resumed"] is True, run
    runlog.delete_runs(wpk_id="asks")
hooks.uninstall()
assert {name: getattr(pregel, name) for name in WRAPPED} == kept
"""


@pytest.mark.parametrize(
    "register", ["hooks.install()", "block = hooks.recording(); block.__enter__()"]
)
def test_interrupts_are_recorded_without_the_functions_that_install_wraps(
    start: Start, register: str
) -> None:
    """Interrupts are still told, from GraphInterrupt, and nothing fails."""
    start.code(DEGRADED % register).wait()


MISSING = """
import sys
import langgraph.graph, langgraph.pregel, langgraph.errors
missing = sys.argv[1:]
for name in missing:
    delattr(langgraph.errors, name)
from runlog import hooks
import runlog
from handler_graphs import chain, check_two_nodes, node, two_nodes

hooks.install()
two_nodes().invoke({"n": 0})
(row,) = runlog.list_runs().runs
check_two_nodes(runlog.get_run(row["run_id"]))

def fail(state):
    raise ValueError("boom")

try:
    chain("fails", first=node("first"), second=fail).invoke({"n": 0})
except ValueError:
    pass
(row,) = runlog.list_runs(wpk_id="fails").runs
assert (row["status"], row["error_type"]) == ("failed", "ValueError"), row
assert runlog.stats()["handler_errors"] == 0
"""
CLASSES = ["GraphDrained", "ParentCommand", "GraphBubbleUp", "GraphInterrupt"]


@pytest.mark.parametrize(
    "missing", [*([name] for name in CLASSES), CLASSES], ids="-".join
)
def test_a_langgraph_without_some_exceptions_is_recorded(
    start: Start, missing: list[str]
) -> None:
    start.code(MISSING, *missing).wait()
