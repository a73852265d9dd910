"""Live writes of open runs, and runs whose process has ended: running or lost."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SANITIZED
from fixtures_live import LiveProcess, LiveServer, Start
from fixtures_proxy import Proxied
from fixtures_store import Store
from handler_graphs import (
    NODE_KEYS,
    State,
    begin_root,
    chain,
    check_two_nodes,
    each_call,
    every_page,
    hold_gil,
    node,
    spinning,
    two_nodes,
    with_id,
)
from helpers import locked, minimal, stored, until
from langgraph.graph import START, StateGraph
from stopwatch import Stopwatch
from torture.load import journal_rows
from torture.programs import Program, end_programs

import runlog
from runlog.hooks import RunLogHandler

SOON = 0.05
"""A checkpoint_interval short enough to wait for."""
LONG = 3600.0
"""A checkpoint_interval that never passes during a test."""


@pytest.fixture
def reader(store: Store) -> Iterator[runlog.Recorder]:
    """Another process' view: a recorder that records nothing of its own."""
    with runlog.Recorder(**store.options) as made:
        yield made


def kill_in_node(process: LiveProcess, count: int = 1) -> None:
    """Kill -9 once so many of its nodes are busy."""
    process.until_told("in the node", count)
    process.kill()


def kill_once_written(process: LiveProcess, reader: runlog.Recorder, nodes: int) -> Any:
    """Kill the process once so many of its nodes are stored; return the stored run."""
    process.until_told("in the node")

    def written() -> bool:
        runs = reader.list_runs().runs
        return bool(runs) and len(stored(reader, runs[0]["run_id"])["node_logs"]) == nodes

    until(written)
    kill_in_node(process)
    (run,) = reader.list_runs().runs
    return stored(reader, run["run_id"])


def check_owner(owner: str) -> None:
    """Check that the owner is this process: "host pid start boot"."""
    host, pid, start, boot = owner.split()
    assert host.startswith(socket.gethostname())
    assert pid == str(os.getpid())
    assert int(start) > 0
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    assert boot == kernel.strip().replace("-", "")


def statuses(recorder: Any, **filters: Any) -> list[str]:
    return [run["status"] for run in recorder.list_runs(**filters).runs]


def names(run: Any) -> list[tuple[str, str]]:
    return [(log["node"], log["status"]) for log in run["node_logs"]]


# checkpoint_interval=0: at every event, before it returns


@each_call
def test_each_event_is_in_the_history_before_it_returns(recorder: Any, call: Any) -> None:
    handler = RunLogHandler("live", recorder=recorder, checkpoint_interval=0)
    config = with_id(handler, metadata={"user": "u"}, tags=["t"])
    views: list[Any] = []

    def inspect() -> None:
        views.append(stored(recorder, str(config["run_id"])))

    graph = chain("g", first=node("first", inspect), second=node("second", inspect))
    before = datetime.now(UTC)
    call(graph, {"n": 0, "seen": []}, config)

    first, second = views
    for view in views:
        assert view["status"] == "running"
        assert view["inputs"] == {"n": 0, "seen": []}
        assert (view["outputs"], view["duration_ms"]) == (None, None)
        assert (view["error_type"], view["error_text"]) == (None, None)
        assert view["metadata"]["user"] == "u"
        assert view["metadata"]["tags"] == ["t"]
        check_owner(view["owner"])
        assert view["started_at"] == view["created_at"]
        assert before <= view["started_at"] <= view["updated_at"]
        assert all(set(log) == NODE_KEYS for log in view["node_logs"])
    (log,) = first["node_logs"]
    started_at = log.pop("started_at")
    assert before <= datetime.fromisoformat(started_at) <= datetime.now(UTC)
    assert log == {
        "node": "first",
        "status": "running",
        "step": 1,
        "attempt": 1,
        "parent": None,
        "error_type": None,
        "error_text": None,
        "error_traceback": None,
        "inputs": {"n": 0, "seen": []},
        "outputs": None,
        "duration_ms": None,
        "llm_calls": 0,
        "tool_calls": 0,
        "tokens": None,
        "models": [],
        "calls": [],
        "events": [],
    }
    assert names(second) == [("first", "completed"), ("second", "running")]
    assert second["node_logs"][0]["outputs"] == {"n": 1, "seen": ["first"]}
    assert second["node_logs"][0]["duration_ms"] >= 0
    assert second["node_logs"][0]["started_at"] == started_at
    assert second["node_logs"][1]["inputs"] == {"n": 1, "seen": ["first"]}
    assert first["created_at"] == second["created_at"]

    run = stored(recorder, str(config["run_id"]))
    check_two_nodes(run)
    assert run["duration_ms"] is not None
    assert run["created_at"] == first["created_at"]
    assert run["id"] == first["id"]
    assert len(recorder.list_runs().runs) == 1


def test_the_end_of_a_node_is_written_at_once(recorder: Any) -> None:
    """Of two nodes side by side, the one that fails is in the history at once."""
    handler = RunLogHandler("live", recorder=recorder, checkpoint_interval=0)
    config = with_id(handler)
    seen: list[Any] = []

    def fail() -> None:
        raise ValueError("boom")

    async def quick(_: Any) -> Any:
        fail()

    async def slow(_: Any) -> Any:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append(stored(recorder, str(config["run_id"])))
            raise

    builder: Any = StateGraph(State)
    for name, action in (("quick", quick), ("slow", slow)):
        builder.add_node(name, action)
        builder.add_edge(START, name)
    with pytest.raises(ValueError, match="boom"):
        asyncio.run(builder.compile().ainvoke({"n": 1}, config))
    assert sorted(names(seen[0])) == [("quick", "failed"), ("slow", "running")]
    run = stored(recorder, str(config["run_id"]))
    assert run["status"] == "failed"
    assert sorted(names(run)) == [("quick", "failed"), ("slow", "cancelled")]


def test_the_node_logs_of_an_open_run_are_parts(recorder: Any, store: Store) -> None:
    """As another client sees it, with the node logs in their stored form."""
    handler = RunLogHandler("live", recorder=recorder, checkpoint_interval=0)
    config = with_id(handler)
    rows: list[Any] = []

    def inspect() -> None:
        assert recorder.flush(60)
        sql = "SELECT status, owner, duration_ms, node_logs FROM workflow_runs"
        rows.append(store.query(sql))
        rows.append(store.query("SELECT name, data FROM run_parts ORDER BY name"))

    chain("g", first=node("first"), second=node("second", inspect)).invoke(
        {"n": 0}, config
    )
    ((status, owner, duration_ms, node_logs),) = rows[0]
    assert (status, duration_ms, node_logs) == ("running", None, None)
    check_owner(owner)
    assert [name for name, _ in rows[1]] == ["n0000000000", "n0000000001"]
    first, second = (json.loads(data) for _, data in rows[1])
    assert (first["node"], first["status"]) == ("first", "completed")
    assert (second["node"], second["status"]) == ("second", "running")
    assert {"inputs", "inputs_delta"} & set(second)
    # at the end the row is whole
    assert recorder.flush(60)
    assert store.query("SELECT count(*) FROM run_parts") == [(0,)]
    logs = store.json("node_logs", "live", str(config["run_id"]))
    assert [log["status"] for log in logs] == ["completed", "completed"]


# checkpoint_interval in seconds: by the worker


def test_the_worker_writes_while_a_node_sleeps(recorder: Any, reader: Any) -> None:
    handler = RunLogHandler("live", recorder=recorder, checkpoint_interval=SOON)
    config = with_id(handler)
    views: list[Any] = []

    def inspect() -> None:
        until(lambda: reader.list_runs().runs != [])
        last = [("second", "running")]
        until(lambda: names(stored(reader, str(config["run_id"])))[-1:] == last)
        views.append(stored(reader, str(config["run_id"])))

    chain("g", first=node("first"), second=node("second", inspect)).invoke(
        {"n": 0}, config
    )
    (view,) = views
    assert view["status"] == "running"
    assert view["owner"].split()[1] == str(os.getpid())
    assert names(view) == [("first", "completed"), ("second", "running")]
    check_two_nodes(stored(recorder, str(config["run_id"])))


def write_times(recorder: Any, run_id: Any, act: Callable[[], None]) -> Any:
    """A node's work that notes when it was done, and the run as it is right after."""
    seen: list[Any] = []

    def work() -> None:
        begun = datetime.now(UTC)
        act()
        seen.extend((begun, datetime.now(UTC), stored(recorder, str(run_id))))

    return seen, work


def test_the_worker_needs_no_gil(recorder: Any) -> None:
    """Not even while a call into C keeps it: the row is of the time of the call.

    If others have the processors, the worker may write later, but not each time.
    """
    handler = RunLogHandler("live", recorder=recorder, checkpoint_interval=SOON)

    seconds = 0.9  # in one call: between two of them others may get it

    def is_written_meanwhile() -> bool:
        config = with_id(handler)
        seen, work = write_times(recorder, config["run_id"], lambda: hold_gil(seconds))
        chain("g", only=node("only", work)).invoke({"n": 0}, config)
        begun, _, view = seen
        is_whole = names(view) == [("only", "running")]
        end = begun + timedelta(seconds=seconds)
        return is_whole and begun <= view["updated_at"] < end

    assert any(is_written_meanwhile() for _ in range(20))


@pytest.mark.long_with("postgres")
def test_the_worker_writes_while_another_thread_spins(recorder: Any) -> None:
    handler = RunLogHandler("live", recorder=recorder, checkpoint_interval=SOON)
    config = with_id(handler)
    run_id = str(config["run_id"])
    running = [("only", "running")]

    def act() -> None:
        until(lambda: names(stored(recorder, run_id)) == running)

    seen, work = write_times(recorder, run_id, act)
    with spinning():
        chain("g", only=node("only", work)).invoke({"n": 0}, config)
    _, done, view = seen
    assert view["updated_at"] <= done
    assert names(view) == running


@pytest.mark.parametrize("interval", [1.0, LONG], ids=["default", "long"])
def test_a_run_is_first_written_soon_whatever_its_interval(
    recorder: Any, reader: Any, interval: float
) -> None:
    """So a run whose process is killed in its first second is there."""
    handler = RunLogHandler("live", recorder=recorder)
    if interval == LONG:
        handler = RunLogHandler("live", recorder=recorder, checkpoint_interval=LONG)
    config = with_id(handler)
    run_id = str(config["run_id"])
    views: list[Any] = []

    def first() -> None:
        until(lambda: reader.get_run(run_id) is not None)
        views.append(stored(reader, run_id))

    def second() -> None:
        if interval != LONG:
            until(lambda: len(stored(reader, run_id)["node_logs"]) == 2)
        else:
            time.sleep(2 * SOON)
            views.append(stored(reader, run_id))

    chain("g", first=node("first", first), second=node("second", second)).invoke(
        {"n": 0}, config
    )
    assert all(view["inputs"]["n"] == 0 for view in views)
    assert all(view["status"] == "running" for view in views)
    assert all(len(view["node_logs"]) <= 1 for view in views)
    assert recorder.flush(60)
    assert statuses(recorder) == ["completed"]


def test_only_a_run_that_has_changed_is_written_again(recorder: Any, reader: Any) -> None:
    """An unchanged run is not written again."""
    handler = RunLogHandler("live", recorder=recorder, checkpoint_interval=SOON)
    config = with_id(handler)
    run_id = str(config["run_id"])
    seen: list[Any] = []

    def inspect(name: str) -> Callable[[], None]:
        def wait() -> None:
            until(lambda: reader.get_run(run_id) is not None)
            until(lambda: names(stored(reader, run_id))[-1:] == [(name, "running")])
            before = stored(reader, run_id)["updated_at"]
            time.sleep(4 * SOON)
            seen.append(stored(reader, run_id)["updated_at"] - before)

        return wait

    nodes = {name: node(name, inspect(name)) for name in ("a", "b", "c")}
    chain("g", **nodes).invoke({"n": 0}, config)
    assert seen == [timedelta(0)] * 3
    assert names(stored(recorder, run_id)) == [
        ("a", "completed"),
        ("b", "completed"),
        ("c", "completed"),
    ]


def test_a_run_that_is_written_at_its_end_costs_one_commit(recorder: Any) -> None:
    recorder.list_runs()
    handler = RunLogHandler("short", recorder=recorder, checkpoint_interval=None)
    for n in range(10):
        before = recorder.stats()["commits"]
        two_nodes().invoke({"n": n}, {"callbacks": [handler]})
        assert recorder.stats()["commits"] == before + 1
    assert recorder.flush(60)
    assert statuses(recorder) == ["completed"] * 10


def test_each_handler_has_its_own_interval(recorder: Any, reader: Any) -> None:
    """One handler's slow interval does not hold up another's, nor the other way round."""
    slow = RunLogHandler("slow", recorder=recorder, checkpoint_interval=LONG)
    quick = RunLogHandler("quick", recorder=recorder, checkpoint_interval=SOON)
    never = RunLogHandler("never", recorder=recorder, checkpoint_interval=None)
    roots = [begin_root(handler, n=1) for handler in (slow, quick, never)]
    until(lambda: len(reader.list_runs().runs) == 2)
    time.sleep(4 * SOON)
    assert {run["wpk_id"] for run in reader.list_runs().runs} == {"quick", "slow"}
    for handler, root in zip((slow, quick, never), roots, strict=True):
        event: Any = SimpleNamespace(run_id=root)
        handler.on_resume(event)
    runs = {run["wpk_id"]: run["run_id"] for run in reader.list_runs().runs}
    resumed = {"resumed": True, "totals": {"nodes": 0}}
    until(lambda: stored(reader, runs["quick"])["metadata"] == resumed)
    assert stored(reader, runs["slow"])["metadata"] == {"totals": {"nodes": 0}}
    assert len(runs) == 2
    for handler, root in zip((slow, quick, never), roots, strict=True):
        handler.on_chain_end({}, run_id=root)
    assert recorder.stats()["open_runs"] == 0
    assert recorder.flush(60)
    assert len(recorder.list_runs(status="completed").runs) == 3


# flush and close, and checkpoint_interval=None


def test_flush_writes_open_runs(recorder: Any, store: Store) -> None:
    handler = RunLogHandler("open", recorder=recorder, checkpoint_interval=LONG)
    config = with_id(handler)
    views: list[Any] = []

    def inspect() -> None:
        assert recorder.flush(60)
        views.append(store.query("SELECT run_id, status FROM workflow_runs"))
        views.append(stored(recorder, str(config["run_id"])))

    chain("g", first=node("first"), second=node("second", inspect)).invoke(
        {"n": 0}, config
    )
    assert views[0] == [(str(config["run_id"]), "running")]
    assert names(views[1]) == [("first", "completed"), ("second", "running")]
    check_two_nodes(stored(recorder, str(config["run_id"])))


def store_is_empty(store: Store) -> bool:
    """Whether nothing was written, not even the tables."""
    if store.kind == "sqlite":
        tables = "SELECT 1 FROM sqlite_master WHERE name = 'workflow_runs'"
    else:
        tables = "SELECT 1 FROM pg_tables WHERE tablename = 'workflow_runs'"
    return not store.query(tables) or not store.query("SELECT 1 FROM workflow_runs")


def test_interval_none_writes_nothing_until_the_end(recorder: Any, store: Store) -> None:
    handler = RunLogHandler("never", recorder=recorder, checkpoint_interval=None)
    config = with_id(handler)
    views: list[Any] = []

    def inspect() -> None:
        time.sleep(3 * SOON)
        assert recorder.flush(60)
        views.append(recorder.list_runs().runs)
        views.append(recorder.stats()["open_runs"])

    chain("g", first=node("first"), second=node("second", inspect)).invoke(
        {"n": 0}, config
    )
    assert views == [[], 1]
    check_two_nodes(stored(recorder, str(config["run_id"])))


@pytest.mark.parametrize("interval", [LONG, SOON, 0, None])
def test_close_writes_open_runs(store: Store, reader: Any, interval: Any) -> None:
    """A run that ends after that is not stored, and the graph does not fail."""
    recorder = runlog.Recorder(**store.options)
    handler = RunLogHandler("open", recorder=recorder, checkpoint_interval=interval)
    config = with_id(handler)
    graph = chain("g", first=node("first"), second=node("second", recorder.close))
    assert graph.invoke({"n": 0}, config)["n"] == 2
    if interval is None:
        assert reader.list_runs().runs == []
        return
    run = stored(reader, str(config["run_id"]))
    assert run["status"] == "running"
    assert names(run) == [("first", "completed"), ("second", "running")]


def test_the_default_recorder_may_be_closed_in_a_node(store: Store) -> None:
    """The next default recorder stores the end of the run."""
    runlog.configure(**store.options)
    handler = RunLogHandler("open", checkpoint_interval=LONG)
    config = with_id(handler)
    views: list[Any] = []

    def inspect() -> None:
        runlog.close()
        runlog.configure(**store.options)
        views.append(stored(runlog, str(config["run_id"])))

    chain("g", first=node("first", inspect), second=node("second")).invoke(
        {"n": 0}, config
    )
    assert names(views[0]) == [("first", "running")]
    assert runlog.flush(60)
    check_two_nodes(stored(runlog, str(config["run_id"])))
    assert len(runlog.list_runs().runs) == 1


# The end wins


@pytest.mark.parametrize("interval", [0, 0.001])
def test_no_late_write_overtakes_the_end(
    recorder: Any, reader: Any, interval: float
) -> None:
    handler = RunLogHandler("ends", recorder=recorder, checkpoint_interval=interval)
    count = 40 if SANITIZED else 100

    def one(n: int) -> None:
        two_nodes().invoke({"n": n}, {"callbacks": [handler]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(count)))
    assert recorder.flush(60)
    runs = reader.list_runs(limit=1000).runs
    assert len(runs) == count
    inputs = []
    for summary in runs:
        run = stored(reader, summary["run_id"])
        inputs.append(run["inputs"]["n"])
        check_two_nodes(run, inputs[-1])
    assert sorted(inputs) == list(range(count))
    assert recorder.stats()["open_runs"] == 0


def test_an_abandoned_stream_stays_running(recorder: Any) -> None:
    handler = RunLogHandler("hangs", recorder=recorder, checkpoint_interval=0)
    stream = two_nodes().stream({"n": 0}, {"callbacks": [handler]})
    next(stream)
    until(lambda: statuses(recorder) == ["running"])
    run = stored(recorder, recorder.list_runs().runs[0]["run_id"])
    assert names(run)[0] == ("first", "completed")
    stream.close()
    assert recorder.flush(60)
    assert statuses(recorder) == ["cancelled"]
    del stream
    gc.collect()
    assert recorder.stats()["open_runs"] == 0


# kill -9


@pytest.mark.parametrize("interval", [0, SOON])
def test_history_says_which_node_a_killed_run_was_in(
    start: Start, reader: Any, interval: float
) -> None:
    run = kill_once_written(start("stuck_in_node", interval), reader, 2)
    run_id = run["run_id"]
    assert run["status"] == "lost"
    assert run["wpk_id"] == "killed"
    assert run["inputs"]["n"] == 1
    assert (run["outputs"], run["duration_ms"]) == (None, None)
    assert (run["error_type"], run["error_text"]) == (None, None)
    assert (run["thread_id"], run["metadata"]["user"]) == ("t", "u")
    good, stuck = run["node_logs"]
    assert (good["node"], good["status"], good["outputs"]["n"]) == (
        "good",
        "completed",
        2,
    )
    assert (stuck["node"], stuck["status"], stuck["duration_ms"]) == (
        "stuck",
        "running",
        None,
    )
    assert stuck["inputs"]["n"] == 2
    assert stuck["inputs"]["seen"] == ["good"]

    assert stored_in(reader, run_id, "killed") == "lost"
    assert statuses(reader) == ["lost"]
    assert statuses(reader, status="lost") == ["lost"]
    assert statuses(reader, status="lost", wpk_id="killed", thread_id="t") == ["lost"]
    assert statuses(reader, status="lost", wpk_id="other") == []
    assert statuses(reader, status=["failed", "lost"]) == ["lost"]
    assert statuses(reader, status="running") == []
    assert statuses(reader, node="stuck", status="lost") == ["lost"]
    (row,) = reader.list_runs().runs
    assert (row["totals"]["nodes"], row["totals"]["at"]) == (2, "stuck")
    assert reader.count_runs(spans=2).by_status == {"lost": 1}
    assert reader.count_runs(node="good").by_status == {"lost": 1}
    assert reader.count_runs(status=["running", "failed"]).by_status == {}
    assert [row[:3] for row in reader.get_runs_by_wpk_id("killed")] == [
        (run_id, "lost", None)
    ]


def stored_in(recorder: Any, run_id: str, wpk_id: str) -> Any:
    run = recorder.get_run(run_id, wpk_id)
    assert run is not None
    return run["status"]


def test_the_status_lost_is_computed_and_not_stored(
    start: Start, reader: Any, store: Store
) -> None:
    kill_once_written(start("stuck_in_node", 0), reader, 2)
    assert statuses(reader) == ["lost"]
    assert store.query("SELECT status FROM workflow_runs") == [("running",)]


async def test_lost_runs_are_shown_by_asyncio_and_module_functions(
    start: Start, store: Store
) -> None:
    process = start("stuck_in_node", 0)
    await asyncio.to_thread(kill_in_node, process)
    runlog.configure(**store.options)
    assert await runlog.aflush(60)
    (run,) = (await runlog.alist_runs(status="lost")).runs
    assert (await runlog.alist_runs(status="running")).runs == []
    whole = await runlog.aget_run(run["run_id"])
    assert whole is not None
    assert whole["status"] == "lost"
    rows = await runlog.aget_runs_by_wpk_id("killed")
    assert [row[1] for row in rows] == ["lost"]


def test_a_run_killed_in_a_subgraph_shows_both_running_nodes(
    start: Start, reader: Any
) -> None:
    run = kill_once_written(start("stuck_in_subgraph", 0), reader, 3)
    assert run["status"] == "lost"
    assert [(log["node"], log["parent"], log["status"]) for log in run["node_logs"]] == [
        ("good", None, "completed"),
        ("outer", None, "running"),
        ("deep", "outer", "running"),
    ]


def test_a_run_killed_in_two_nodes_shows_both_running(start: Start, reader: Any) -> None:
    process = start("stuck_async", 0)
    kill_in_node(process, 2)
    assert reader.flush(60)
    (summary,) = reader.list_runs(status="lost").runs
    run = stored(reader, summary["run_id"])
    assert sorted(names(run)) == [("left", "running"), ("right", "running")]


def test_a_run_of_a_zombie_process_is_lost(tmp_path: Path) -> None:
    """A zombie will never write again, although its parent has not waited for it."""
    path = {"RUNLOG_SQLITE_PATH": str(tmp_path / "runs.db")}
    program = Program("live", "stuck_in_node", "0", folder=tmp_path, env=path)
    try:
        until(lambda: program.lines() == ["in the node"])
        with runlog.Recorder(sqlite_path=path["RUNLOG_SQLITE_PATH"]) as reader:
            assert statuses(reader) == ["running"]
            program.process.kill()
            until(lambda: statuses(reader) == ["lost"])
    finally:
        end_programs()


def test_a_run_of_a_live_process_is_running(start: Start, reader: Any) -> None:
    process = start("stuck_in_node", 0)
    process.until_told("in the node")
    until(lambda: statuses(reader) == ["running"])
    assert statuses(reader, status="running") == ["running"]
    assert statuses(reader, status="lost") == []
    assert [row[1] for row in reader.get_runs_by_wpk_id("killed")] == ["running"]
    assert reader.delete_runs(status="lost") == 0
    kill_in_node(process)
    assert statuses(reader) == ["lost"]


def test_a_run_of_another_host_is_not_lost_at_once(
    start: Start, reader: Any, store: Store
) -> None:
    """See test_owners.py."""
    run = kill_once_written(start("stuck_in_node", 0), reader, 2)
    rest = run["owner"].split(" ", 1)[1]
    assert reader.flush(60)
    store.query("UPDATE workflow_runs SET owner = ?", f"another.example {rest}")
    assert statuses(reader) == ["running"]
    assert statuses(reader, status="running") == ["running"]
    assert statuses(reader, status="lost") == []
    assert stored(reader, run["run_id"])["status"] == "running"
    assert reader.delete_runs(status="lost") == 0


@pytest.mark.parametrize(
    "owner", [None, "", "x", "a b c d", "\u00e4 -1 -1", "h 1 ", "9" * 999]
)
def test_a_run_with_an_unreadable_owner_is_never_lost(
    start: Start, reader: Any, store: Store, owner: Any
) -> None:
    reader.log_run(minimal("r1", status="running"))
    store.query("UPDATE workflow_runs SET owner = ?", owner)
    assert stored(reader)["status"] == "running"
    assert statuses(reader, status="lost") == []


def test_a_run_whose_pid_was_reused_is_lost(reader: Any, store: Store) -> None:
    """The owner has the time at which its process was started, too."""
    handler = RunLogHandler(recorder=reader, checkpoint_interval=0)
    run_id = str(begin_root(handler, n=1))
    assert reader.flush(60)
    host, pid, _, boot = stored(reader, run_id)["owner"].split()
    store.query("UPDATE workflow_runs SET owner = ?", f"{host} {pid} 1 {boot}")
    assert stored(reader, run_id)["status"] == "lost"


def test_a_running_run_of_log_run_has_no_owner(start: Start, reader: Any) -> None:
    """Any process may finish the run, so the end of one process does not make it lost."""
    run = minimal("r1", status="running")
    start.code(f"import runlog; runlog.log_run({run!r}); runlog.close()").wait()
    assert stored(reader)["status"] == "running"
    assert statuses(reader, status="lost") == []


def test_log_run_may_end_a_lost_run(start: Start, reader: Any) -> None:
    """A program that knows the outcome may record it."""
    run = kill_once_written(start("stuck_in_node", 0), reader, 2)
    reader.log_run(minimal(run["run_id"], "killed", status="failed", error_text="killed"))
    after = stored(reader, run["run_id"])
    assert (after["status"], after["error_text"]) == ("failed", "killed")
    assert names(after) == [("good", "completed"), ("stuck", "running")]
    assert statuses(reader, status="lost") == []


def test_lost_runs_can_be_deleted(start: Start, reader: Any) -> None:
    kill_once_written(start("stuck_in_node", 0), reader, 2)
    here = RunLogHandler("here", recorder=reader, checkpoint_interval=0)
    root = begin_root(here, n=1)
    reader.log_run(minimal("done"))
    assert reader.flush(60)
    assert reader.delete_runs(status="lost", wpk_id="other") == 0
    assert reader.delete_runs(status="lost") == 1
    assert statuses(reader, status="lost") == []
    assert sorted(statuses(reader)) == ["completed", "running"]
    here.on_chain_end({}, run_id=root)
    assert reader.flush(60)
    assert sorted(statuses(reader)) == ["completed", "completed"]


def test_deleting_running_runs_leaves_the_lost_ones(start: Start, reader: Any) -> None:
    kill_once_written(start("stuck_in_node", 0), reader, 2)
    reader.log_run(minimal("mine", status="running"))
    assert reader.delete_runs(status="running") == 1
    assert statuses(reader) == ["lost"]


def test_pages_of_lost_and_running_runs_are_full(start: Start, reader: Any) -> None:
    """Runs of a killed process, of this one, and completed ones, in turns."""
    process = start("many", 0)
    here = RunLogHandler("here", recorder=reader, checkpoint_interval=0)
    running: list[str] = []
    for turn in range(3):
        process.tell("13")
        process.until_told("done", turn + 1)
        running += [str(begin_root(here, n=n)) for n in range(9)]
        for n in range(4):
            reader.log_run(minimal(f"{turn}-{n}", "done"))
    process.kill()
    assert reader.flush(60)
    lost = [line for line in process.lines() if line != "done"]
    assert len(lost) == 39

    for limit in (1, 7, 13, 1000):
        pages = every_page(reader, status="lost", limit=limit)
        assert [run["run_id"] for run in pages] == lost[::-1]
        assert {run["status"] for run in pages} == {"lost"}
        pages = every_page(reader, status="running", limit=limit)
        assert [run["run_id"] for run in pages] == running[::-1]
        assert {run["status"] for run in pages} == {"running"}
    every = every_page(reader, limit=10)
    assert len(every) == len({run["run_id"] for run in every}) == 39 + 27 + 12
    kept = dict.fromkeys(("lost", "running", "completed"), 0)
    for run in every:
        kept[run["status"]] += 1
    assert kept == {"lost": 39, "running": 27, "completed": 12}
    assert reader.list_runs(status="lost", wpk_id="here").runs == []
    assert len(reader.list_runs(status="lost", wpk_id="many", limit=100).runs) == 39
    rows = reader.get_runs_by_wpk_id("many", limit=10, offset=35)
    assert [row[:2] for row in rows] == [(run_id, "lost") for run_id in lost[3::-1]]
    assert reader.delete_runs(status="lost") == 39
    assert [run["run_id"] for run in every_page(reader, status="running", limit=20)] == (
        running[::-1]
    )
    for run_id in running:
        here.on_chain_end({}, run_id=uuid.UUID(run_id))
    assert reader.flush(60)
    assert len(reader.list_runs(status="completed", limit=100).runs) == 39


# fork


def test_a_fork_in_a_node_leaves_the_run_to_the_parent(start: Start, reader: Any) -> None:
    """The run is the parent's whatever the child does, and reads as running meanwhile."""
    process = start("forks", SOON)
    assert process.wait().lines() == ["running"]
    (forking,) = reader.list_runs(wpk_id="forking").runs
    run = stored(reader, forking["run_id"])
    assert run["status"] == "completed"
    assert run["outputs"]["seen"] == ["first", "parent", "last"]
    assert names(run) == [
        ("first", "completed"),
        ("forks", "completed"),
        ("last", "completed"),
    ]
    (own,) = reader.list_runs(wpk_id="in-child").runs
    check_two_nodes(stored(reader, own["run_id"]), 5)
    assert len(reader.list_runs().runs) == 2


def test_a_live_child_does_not_keep_its_dead_parents_run_running(
    start: Start, reader: Any
) -> None:
    kill_in_node(start("killed_parent_of_a_fork", 0))
    assert reader.flush(60)
    assert statuses(reader) == ["lost"]


# The server is down


@contextmanager
def server_down(proxied: Proxied) -> Iterator[None]:
    proxied.proxy.outage()
    try:
        yield
    finally:
        proxied.proxy.forward()


def row_of(proxied: Proxied, run_id: str) -> Any:
    rows = proxied.query(
        "SELECT status, node_logs::text, owner FROM workflow_runs WHERE run_id = %s",
        run_id,
    )
    if not rows:
        return None
    status, node_logs, owner = rows[0]
    if node_logs is not None:
        logs = json.loads(node_logs)
    else:
        sql = "SELECT data FROM run_parts WHERE name > 'n' ORDER BY name"
        logs = [json.loads(data) for (data,) in proxied.query(sql)]
    return status, [(log["node"], log["status"]) for log in logs], owner


@pytest.mark.parametrize("interval", [0, SOON])
def test_live_writes_reach_the_journal_during_an_outage(
    proxied: Proxied, interval: float
) -> None:
    with runlog.Recorder(**proxied.options) as recorder:
        recorder.log_run(minimal("first", "other"))
        assert recorder.flush(60)  # row_of needs the tables
        handler = RunLogHandler("away", recorder=recorder, checkpoint_interval=interval)
        config = with_id(handler)
        run_id = str(config["run_id"])

        def waits() -> list[Any]:
            """The node logs that the journal has, each in its last state."""
            try:
                every = journal_rows(proxied.journal)
            except sqlite3.OperationalError:  # it is not made yet
                return []
            parts: dict[str, Any] = {}
            for row in every:
                if row["run_id"] == run_id and row["parts"]:
                    assert (row["status"], row["node_logs"]) == ("running", None)
                    parts |= json.loads(row["parts"])
            return [(log["node"], log["status"]) for _, log in sorted(parts.items())]

        reached = [("first", "completed"), ("second", "running")]

        def inspect() -> None:
            until(lambda: waits() == reached)
            assert row_of(proxied, run_id) is None
            proxied.proxy.forward()
            until(lambda: row_of(proxied, run_id) is not None)
            until(lambda: row_of(proxied, run_id)[1] == reached)
            status, _, owner = row_of(proxied, run_id)
            assert status == "running"
            assert owner.split()[1] == str(os.getpid())

        graph = chain("g", first=node("first"), second=node("second", inspect))
        with server_down(proxied):
            graph.invoke({"n": 0, "seen": []}, config)
        assert recorder.flush(60)
        check_two_nodes(stored(recorder, run_id))
        assert recorder.stats()["waiting"] == 0
    assert row_of(proxied, run_id)[0] == "completed"


def test_a_run_that_ends_during_an_outage_is_one_record(proxied: Proxied) -> None:
    """Its writes from before the outage, during it and after it make one record."""
    with runlog.Recorder(**proxied.options) as recorder:
        handler = RunLogHandler("away", recorder=recorder, checkpoint_interval=0)
        config = with_id(handler)
        run_id = str(config["run_id"])

        def inspect() -> None:
            assert recorder.flush(60)
            assert row_of(proxied, run_id)[0] == "running"
            proxied.proxy.outage()

        chain("g", first=node("first", inspect), second=node("second")).invoke(
            {"n": 0, "seen": []}, config
        )
        proxied.proxy.forward()
        assert recorder.flush(60)
        check_two_nodes(stored(recorder, run_id))
    assert proxied.query("SELECT count(*) FROM workflow_runs") == [(1,)]


def test_a_killed_run_is_forwarded_by_the_next_process(
    proxied: Proxied, live_server: LiveServer, tmp_path: Path
) -> None:
    with runlog.Recorder(**proxied.options) as recorder:
        recorder.log_run(minimal("first", "other"))
    proxied.proxy.outage()
    process = live_server.start(tmp_path, proxied.env, 0, kind="stuck_in_node")
    kill_in_node(process)
    proxied.proxy.forward()
    with runlog.Recorder(**proxied.options) as recorder:
        assert recorder.flush(60)
        (summary,) = recorder.list_runs(status="lost").runs
        run = stored(recorder, summary["run_id"])
    assert names(run) == [("good", "completed"), ("stuck", "running")]


# Beside others


def test_a_slow_database_does_not_block_nodes(recorder: Any, store: Store) -> None:
    """The worker waits for the lock, the nodes do not."""
    recorder.list_runs()
    handler = RunLogHandler("slow", recorder=recorder, checkpoint_interval=SOON)
    took: list[float] = []
    graph = chain(
        "g",
        first=node("first"),
        second=node("second", lambda: time.sleep(6 * SOON)),
        third=node("third"),
        fourth=node("fourth"),
    )
    stream = graph.stream({"n": 0}, {"callbacks": [handler]})
    with locked(store):
        watch = Stopwatch()
        for _ in range(3):
            next(stream)
        took.append(watch.seconds)
    assert list(stream) != []
    assert took[0] < 3
    assert statuses(recorder) == ["completed"]


def test_threads_may_flush_while_runs_are_open(recorder: Any) -> None:
    handler = RunLogHandler("flushed", recorder=recorder, checkpoint_interval=0.002)
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            recorder.flush(60)
            recorder.list_runs(limit=5)

    threads = [threading.Thread(target=flush) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(30):
        two_nodes().invoke({"n": n}, {"callbacks": [handler]})
    done.set()
    for thread in threads:
        thread.join()
    assert statuses(recorder, limit=100) == ["completed"] * 30
