"""Graphs whose parent another process, or nobody, knows: each is a run of its own."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import RunPython
from fixtures_store import Store
from handler_graphs import chain, check_two_nodes, node, two_nodes

from runlog import Recorder
from runlog.hooks import RunLogHandler

PROGRAM = """
import multiprocessing, os, threading, sys
from handler_graphs import chain, node, two_nodes
from langchain_core.language_models.fake_chat_models import FakeListChatModel
import runlog
from runlog.hooks import RunLogHandler, install, recording

inner = two_nodes("inner")

def graph(n):
    inner.invoke({"n": n})

def own(n):
    inner.invoke({"n": n}, {"callbacks": [RunLogHandler("inner")]})

def chain_of_graphs(n):
    def calls(state):
        return {"n": inner.invoke({"n": state["n"]})["n"]}
    chain("around", calls=calls).invoke({"n": n})

def model(n):
    FakeListChatModel(responses=["a"]).invoke(f"of {n}")

def count():
    stats = runlog.stats()
    names = ("handler_errors", "handler_ignored", "open_runs")
    print([stats[name] for name in names], flush=True)

def fork(work):
    for n in range(2):
        child = os.fork()
        if child == 0:
            work(n)
            count()
            runlog.close()
            os._exit(0)
        os.waitpid(child, 0)

def pool(work):
    with multiprocessing.get_context("fork").Pool(2) as workers:
        workers.map(work, range(2))
        workers.close()
        workers.join()

def forks(state):
    HOW(WORK)
    return {"n": state["n"]}

WITH: chain("outer", first=node("first"), forks=forks).invoke({"n": 7}, CONFIG)
count()
"""

WITH = {
    "install": ("install()\nif True", "None"),
    "block": ("with recording()", "None"),
    "callbacks": ("if True", '{"callbacks": [RunLogHandler()]}'),
    "both": ("install()\nif True", '{"callbacks": [RunLogHandler()]}'),
}


def run_forks(
    run_python: RunPython, store: Store, setting: str, how: str, work: str
) -> list[Any]:
    """What the processes have recorded, each of which has counted no failure."""
    before, config = WITH[setting]
    code = PROGRAM.replace("WITH:", f"{before}:").replace("CONFIG", config)
    code = code.replace("HOW", how).replace("WORK", work)
    tests = str(Path(__file__).parent)
    done = run_python(code, env={**store.env, "PYTHONPATH": tests})
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == {"[0, 0, 0]"}
    with Recorder(**store.options) as recorder:
        assert recorder.flush(60)
        return [recorder.get_run(row["run_id"]) for row in recorder.list_runs().runs]


def of(runs: list[Any], wpk_id: str) -> list[Any]:
    found = [run for run in runs if run["wpk_id"] == wpk_id]
    return sorted(found, key=lambda run: run["inputs"]["n"])


@pytest.mark.long_with("postgres")
@pytest.mark.parametrize(
    ("setting", "how", "work"),
    [
        ("install", "fork", "graph"),
        ("block", "pool", "graph"),
        ("callbacks", "fork", "graph"),
        ("callbacks", "pool", "own"),
        ("both", "fork", "own"),
    ],
)
def test_a_graph_in_a_forked_child_of_a_node_is_a_run(
    run_python: RunPython, store: Store, setting: str, how: str, work: str
) -> None:
    runs = run_forks(run_python, store, setting, how, work)
    inner = of(runs, "inner")
    assert len(inner) == 2
    for number, run in enumerate(inner):
        check_two_nodes(run, number)
    (outer,) = of(runs, "outer")
    logs = [(log["node"], log["status"]) for log in outer["node_logs"]]
    assert logs == [("first", "completed"), ("forks", "completed")]
    assert len(runs) == 3


def test_graphs_within_the_graph_of_a_child_are_in_its_run(
    run_python: RunPython, store: Store
) -> None:
    runs = run_forks(run_python, store, "install", "fork", "chain_of_graphs")
    around = of(runs, "around")
    assert [len(run["node_logs"]) for run in around] == [3, 3]
    for run in around:
        assert [(log["node"], log["parent"]) for log in run["node_logs"]] == [
            ("calls", None),
            ("first", "calls"),
            ("second", "calls"),
        ]
    assert len(runs) == 3


def test_a_call_in_a_forked_child_of_a_node_is_a_run(
    run_python: RunPython, store: Store
) -> None:
    """Of a handler with roots="all"."""
    runs = run_forks(run_python, store, "callbacks", "fork", "model")
    calls = [run for run in runs if run["wpk_id"] != "outer"]
    assert len(calls) == 2
    assert all("of " in str(run["inputs"]) for run in calls)


# Threads


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(sqlite_path=str(tmp_path / "runs.db")) as made:
        yield made


def test_a_graph_that_outlives_its_node_is_a_run(recorder: Any) -> None:
    """It is begun in a thread with the node's context, when the node has ended."""
    ended = threading.Event()
    threads = []

    def late() -> None:
        assert ended.wait(30)
        two_nodes("late").invoke({"n": 5})

    def begins() -> None:
        context = contextvars.copy_context()
        threads.append(threading.Thread(target=context.run, args=(late,)))
        threads[0].start()

    handler = RunLogHandler(recorder=recorder)
    graph = chain("g", first=node("first", begins), second=node("second"))
    graph.invoke({"n": 0}, {"callbacks": [handler]})
    ended.set()
    threads[0].join()
    late_one, early = [
        recorder.get_run(row["run_id"]) for row in recorder.list_runs().runs
    ]
    check_two_nodes(early, 0)
    assert late_one["wpk_id"] == "late"
    check_two_nodes(late_one, 5)
    assert recorder.stats()["open_runs"] == 0
