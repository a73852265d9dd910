"""How the handler is registered, and how it ends: install(), interrupts, memory."""

import gc
import subprocess
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from fixtures_store import Store
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

import runlog
from runlog import hooks
from runlog.hooks import RunLogHandler

TESTS = Path(__file__).parent


class State(TypedDict, total=False):
    n: int


def graph(action: Any, name: str = "g", **options: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("only", action)
    builder.add_edge(START, "only")
    return builder.compile(name=name, **options)


def count_up(state: Any) -> Any:
    return {"n": state.get("n", 0) + 1}


@pytest.fixture
def installed(store: Store) -> Iterator[None]:
    runlog.configure(**store.options)
    hooks.install()
    yield
    hooks.uninstall()


@pytest.mark.usefixtures("installed")
def test_install_records_every_graph() -> None:
    graph(count_up).invoke({"n": 1})
    assert runlog.flush(60)
    ((_, status, *_),) = runlog.get_runs_by_wpk_id("g")
    assert status == "completed"


@pytest.mark.usefixtures("installed")
def test_install_twice_records_once() -> None:
    hooks.install()
    graph(count_up).invoke({"n": 1})
    assert runlog.flush(60)
    assert len(runlog.get_runs_by_wpk_id("g")) == 1


@pytest.mark.usefixtures("installed")
def test_a_graph_with_a_handler_of_its_own_is_recorded_by_that_one() -> None:
    graph(count_up).invoke({"n": 1}, {"callbacks": [RunLogHandler(wpk_id="own")]})
    assert runlog.flush(60)
    assert [run["wpk_id"] for run in runlog.list_runs().runs] == ["own"]


@pytest.mark.usefixtures("installed")
def test_uninstall_stops_recording() -> None:
    hooks.uninstall()
    graph(count_up).invoke({"n": 1})
    assert runlog.list_runs().runs == []


@pytest.mark.long_with("postgres")
def test_runlog_tracing_registers_at_import(
    store: Store, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_python(
        "import runlog.hooks\n"
        "from test_hooks import count_up, graph\n"
        "graph(count_up).invoke({'n': 1})\n"
        "assert runlog.flush(60)\n"
        "print(len(runlog.get_runs_by_wpk_id('g')))\n",
        env={**store.env, "RUNLOG_TRACING": "1", "PYTHONPATH": str(TESTS)},
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_an_interrupted_run_is_not_failed(recorder: Any) -> None:
    paused = graph(
        lambda _state: {"n": interrupt("how many?")}, checkpointer=InMemorySaver()
    )
    config: Any = {
        "callbacks": [RunLogHandler(recorder=recorder)],
        "configurable": {"thread_id": "t"},
    }
    paused.invoke({"n": 1}, config)
    assert recorder.flush(60)
    (run,) = recorder.list_runs().runs
    assert run["status"] == "interrupted"
    (log,) = recorder.get_run(run["run_id"])["node_logs"]
    assert (log["status"], log["error_type"]) == ("interrupted", None)
    assert paused.invoke(Command(resume=5), config) == {"n": 5}
    assert recorder.flush(60)
    statuses = [run["status"] for run in recorder.list_runs(thread_id="t").runs]
    assert statuses == ["completed", "interrupted"]


def test_a_static_interrupt_is_not_completed(recorder: Any) -> None:
    paused = graph(count_up, checkpointer=InMemorySaver(), interrupt_before=["only"])
    config: Any = {
        "callbacks": [RunLogHandler(recorder=recorder)],
        "configurable": {"thread_id": "t"},
    }
    paused.invoke({"n": 1}, config)
    assert recorder.flush(60)
    assert [run["status"] for run in recorder.list_runs().runs] == ["interrupted"]


@pytest.mark.parametrize(
    ("given", "kept"), [("a\0b", "a\ufffdb"), ("a\ud800b", "a\ufffdb"), (7, "7")]
)
def test_a_workflow_name_of_any_type_becomes_text(
    recorder: Any, given: Any, kept: str
) -> None:
    config: Any = {
        "callbacks": [RunLogHandler(recorder=recorder)],
        "metadata": {"wpk_id": given},
    }
    graph(count_up).invoke({"n": 1}, config)
    assert recorder.flush(60)
    assert [run["wpk_id"] for run in recorder.list_runs().runs] == [kept]


def test_events_made_by_hand_are_ignored(recorder: Any) -> None:
    handler: Any = RunLogHandler(recorder=recorder)
    handler.on_chain_start({}, {})
    handler.on_chain_start({}, {}, run_id=object(), metadata=5, tags=7, name=object())
    handler.on_chain_end({}, run_id=None)
    handler.on_chain_error(ValueError("x"), unknown=1)
    handler.on_tool_start()
    handler.on_interrupt(None)
    assert recorder.list_runs().runs == []
    assert recorder.stats()["handler_ignored"] == 6


def test_a_subclass_records_too(recorder: Any) -> None:
    class Own(RunLogHandler):
        """A user's own."""

        def __init__(self) -> None:
            super().__init__("sub", recorder=recorder)
            self.seen = 0

        def on_chain_end(self, *args: Any, **kwargs: Any) -> Any:
            self.seen += 1
            return super().on_chain_end(*args, **kwargs)

    handler = Own()
    graph(count_up).invoke({"n": 1}, {"callbacks": [handler]})
    assert recorder.flush(60)
    assert [run["wpk_id"] for run in recorder.list_runs().runs] == ["sub"]
    assert handler.seen == 2


def test_a_handler_with_open_runs_is_freed(recorder: Any) -> None:
    """Also when it is part of a cycle, which only the collector finds."""
    handler: Any = RunLogHandler(recorder=recorder)
    stream = graph(count_up).stream({"n": 1}, {"callbacks": [handler]})
    next(stream)
    assert recorder.stats()["open_runs"] == 1
    handler.own = handler
    gone = weakref.ref(handler)
    stream.close()
    del stream, handler
    gc.collect()
    assert gone() is None
    assert recorder.stats()["open_runs"] == 0
