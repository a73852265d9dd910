"""Several runs to which a program gives the same run_id: each of them is kept."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from call_help import plus
from fixtures_live import LiveProcess, Start
from fixtures_postgres import PostgresServer
from fixtures_proxy import Proxied
from fixtures_store import Store
from handler_graphs import chain, check_two_nodes, node, two_nodes, with_id
from helpers import minimal, stored
from langchain_core.runnables import RunnableLambda

import runlog
from runlog.hooks import RunLogHandler

LONG = 3600.0
INTERVALS = [0, 0.001, LONG, None]


@pytest.fixture(params=["sqlite", "postgres", "postgres, durability store"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A recorder's, so that runs go to SQLite, by the journal, and to the server."""
    path = str(tmp_path / "runs.db")
    if request.param == "sqlite":
        yield {"sqlite_path": path}
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    durability = "store" if "store" in request.param else None
    with server.borrow_database() as name:
        yield {
            "postgres_dsn": server.dsn(name),
            "sqlite_path": path,
            "durability": durability,
        }


@pytest.fixture
def recorder(options: Any) -> Iterator[runlog.Recorder]:
    with runlog.Recorder(**options) as made:
        yield made


def run_ids_of(run_id: object, count: int) -> list[str]:
    """The names under which so many runs with that id are kept: the last has the id."""
    return [*(f"{run_id}~{n}" for n in range(2, count + 1)), str(run_id)]


def stored_ids(recorder: Any) -> list[str]:
    assert recorder.flush(60)
    return [run["run_id"] for run in recorder.list_runs(limit=1000).runs][::-1]


def check_all(recorder: Any, run_id: object, count: int) -> None:
    """So many runs, begun with n = 0, 1, 2 ..., are there, each with its own record.

    The last one has the id itself. The numbers of the others go by their arrival, which
    is not their order where one of them had to wait for a file.
    """
    names = stored_ids(recorder)
    assert sorted(names) == sorted(run_ids_of(run_id, count))
    assert names[-1] == str(run_id)
    for n, name in enumerate(names):
        check_two_nodes(stored(recorder, name), n)
    assert len({stored(recorder, name)["id"] for name in names}) == count
    assert recorder.stats()["open_runs"] == 0


@pytest.mark.parametrize("interval", INTERVALS)
def test_successive_runs_with_one_id_are_all_recorded(
    recorder: Any, interval: Any
) -> None:
    handler = RunLogHandler("same", recorder=recorder, checkpoint_interval=interval)
    config = with_id(handler)
    for n in range(3):
        two_nodes().invoke({"n": n}, config)
    check_all(recorder, config["run_id"], 3)


def test_a_dozen_runs_with_one_id_are_all_recorded(recorder: Any) -> None:
    handler = RunLogHandler("same", recorder=recorder)
    config = with_id(handler)
    for n in range(12):
        asyncio.run(two_nodes().ainvoke({"n": n}, config))
    check_all(recorder, config["run_id"], 12)


def test_an_id_may_be_any_text_or_a_number(tmp_path: Path) -> None:
    """LangChain takes what it is given: the name of a job, a UUID without dashes."""
    ids: list[Any] = ["job-17", "j" * 40, 17, 0, uuid.uuid4().hex, "ä"]
    with runlog.Recorder(sqlite_path=tmp_path / "runs.db") as recorder:
        handler = RunLogHandler("jobs", recorder=recorder)
        for n, run_id in enumerate(ids):
            config: Any = {"callbacks": [handler], "run_id": run_id}
            two_nodes().invoke({"n": n}, config)
            asyncio.run(two_nodes().ainvoke({"n": n}, config))
            RunnableLambda(lambda _: plus.invoke({"a": 1})).invoke(n, config)
        assert recorder.flush()
        assert recorder.stats()["handler_unrecognised"] == 0
        for n, run_id in enumerate(ids):
            name = str(run_id)
            check_two_nodes(recorder.get_run(f"{name}~2"), n)
            check_two_nodes(recorder.get_run(f"{name}~3"), n)
            last: Any = recorder.get_run(name)
            ((call,),) = [log["calls"] for log in last["node_logs"]]
            assert call["name"] == "plus"


def test_runs_of_different_handlers_with_one_id_are_all_recorded(recorder: Any) -> None:
    """As a program does that makes one for each call."""
    run_id = uuid.uuid4()
    for n in range(3):
        handler = RunLogHandler("same", recorder=recorder, checkpoint_interval=0)
        two_nodes().invoke({"n": n}, with_id(handler, run_id))
    check_all(recorder, run_id, 3)


def test_a_second_run_never_overwrites_the_first_while_it_is_open(recorder: Any) -> None:
    """Its live writes do not touch the first, at any time."""
    handler = RunLogHandler("same", recorder=recorder, checkpoint_interval=0)
    config = with_id(handler)
    run_id = str(config["run_id"])
    views: list[Any] = []

    def inspect() -> None:
        assert recorder.flush(60)
        views.append([stored(recorder, name) for name in stored_ids(recorder)])

    two_nodes().invoke({"n": 0}, config)
    graph = chain("g", first=node("first", inspect), second=node("second", inspect))
    graph.invoke({"n": 1}, config)
    for view, nodes in zip(views, (1, 2), strict=True):
        first, second = view
        check_two_nodes(first, 0)
        assert (second["run_id"], second["status"]) == (f"{run_id}~2", "running")
        assert second["inputs"]["n"] == 1
        assert len(second["node_logs"]) == nodes
    check_all(recorder, run_id, 2)


def test_a_failed_run_and_its_repetition_are_both_recorded(recorder: Any) -> None:
    """A program that tries again with the same id: both attempts are in the history."""
    handler = RunLogHandler("same", recorder=recorder)
    config = with_id(handler)
    run_id = str(config["run_id"])

    def fail(_: Any) -> Any:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        chain("g", first=node("first"), second=fail).invoke({"n": 0}, config)
    two_nodes().invoke({"n": 1}, config)
    assert stored_ids(recorder) == run_ids_of(run_id, 2)
    first = stored(recorder, f"{run_id}~2")
    assert (first["status"], first["error_text"]) == ("failed", "boom")
    assert [log["status"] for log in first["node_logs"]] == ["completed", "failed"]
    second = stored(recorder, run_id)
    check_two_nodes(second, 1)
    assert (second["error_type"], second["error_text"]) == (None, None)


@pytest.mark.parametrize("interval", INTERVALS)
def test_simultaneous_runs_of_two_recorders_are_both_recorded(
    recorder: Any, options: Any, interval: Any
) -> None:
    """As two processes do: each is in its nodes when the other is."""
    run_id = uuid.uuid4()
    together = threading.Barrier(2, timeout=30)

    def meet() -> None:
        together.wait()

    graph = chain("g", first=node("first", meet), second=node("second", meet))

    def work(n: int, mine: Any) -> None:
        handler = RunLogHandler("same", recorder=mine, checkpoint_interval=interval)
        graph.invoke({"n": n}, with_id(handler, run_id))

    with runlog.Recorder(**options) as other, ThreadPoolExecutor(2) as pool:
        done = [pool.submit(work, n, mine) for n, mine in enumerate((recorder, other))]
        for future in done:
            future.result(60)
        assert other.flush(60)
    check_two_runs(recorder, run_id)


def check_two_runs(recorder: Any, run_id: object) -> None:
    """Two runs, begun with 0 and 1, are kept; which is the second is open."""
    assert set(stored_ids(recorder)) == set(run_ids_of(run_id, 2))
    runs = [stored(recorder, name) for name in run_ids_of(run_id, 2)]
    assert sorted(run["inputs"]["n"] for run in runs) == [0, 1]
    for run in runs:
        check_two_nodes(run, run["inputs"]["n"])


def test_simultaneous_runs_of_two_handlers_are_both_recorded(recorder: Any) -> None:
    """As two threads of a server do, each with a handler that it made for the call."""
    run_id = uuid.uuid4()
    together = threading.Barrier(2, timeout=30)

    def meet() -> None:
        together.wait()

    graph = chain("g", first=node("first", meet), second=node("second", meet))

    def work(n: int) -> None:
        handler = RunLogHandler("same", recorder=recorder, checkpoint_interval=0)
        graph.invoke({"n": n}, with_id(handler, run_id))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    check_two_runs(recorder, run_id)
    assert recorder.stats()["open_runs"] == 0


def test_the_same_id_in_another_workflow_is_not_renamed(recorder: Any) -> None:
    run_id = uuid.uuid4()
    for n, wpk_id in enumerate(("a", "b")):
        handler = RunLogHandler(wpk_id, recorder=recorder, checkpoint_interval=0)
        two_nodes().invoke({"n": n}, with_id(handler, run_id))
    assert stored_ids(recorder) == [str(run_id)] * 2
    for n, wpk_id in enumerate(("a", "b")):
        check_two_nodes(recorder.get_run(str(run_id), wpk_id), n)


def test_log_run_updates_the_run_with_exactly_that_id(recorder: Any) -> None:
    handler = RunLogHandler("same", recorder=recorder)
    config = with_id(handler)
    for n in range(2):
        two_nodes().invoke({"n": n}, config)
    first, second = run_ids_of(config["run_id"], 2)
    assert recorder.flush(60)  # from the journal they get their names at the server
    recorder.log_run(minimal(first, "same", outputs={"text": "first"}))
    recorder.log_run(minimal(second, "same", outputs={"text": "second"}, status="failed"))
    assert stored_ids(recorder) == [first, second]
    for n, (name, status) in enumerate(((first, "completed"), (second, "failed"))):
        run = stored(recorder, name)
        assert run["outputs"] == {"text": ["first", "second"][n]}
        assert (run["status"], run["inputs"]["n"]) == (status, n)
        assert [log["node"] for log in run["node_logs"]] == ["first", "second"]


def test_the_handler_skips_an_id_that_log_run_has_used(recorder: Any) -> None:
    """Then the handler takes the next name."""
    handler = RunLogHandler("same", recorder=recorder)
    config = with_id(handler)
    used, other, plain = run_ids_of(config["run_id"], 3)
    two_nodes().invoke({"n": 0}, config)
    recorder.log_run(minimal(used, "same", outputs={"of": "log_run"}))
    two_nodes().invoke({"n": 1}, config)
    assert stored_ids(recorder) == [other, used, plain]
    check_two_nodes(stored(recorder, other), 0)
    assert stored(recorder, used)["outputs"] == {"of": "log_run"}
    check_two_nodes(stored(recorder, plain), 1)


# By several processes


@pytest.fixture
def reader(store: Store) -> Iterator[runlog.Recorder]:
    with runlog.Recorder(**store.options) as made:
        yield made


def begin(start: Start, interval: Any, run_id: object, n: int) -> LiveProcess:
    """A process with a run of that id, which waits for a line in its first node."""
    process = start("given_id", interval, run_id, n)
    process.until_told("in the node")
    return process


def test_successive_processes_with_one_id_are_all_recorded(
    start: Start, reader: Any
) -> None:
    run_id = uuid.uuid4()
    for n in range(3):
        process = begin(start, 0, run_id, n)
        process.tell()
        process.wait()
    check_all(reader, run_id, 3)


@pytest.mark.parametrize("interval", [0, LONG])
def test_simultaneous_processes_with_one_id_are_both_recorded(
    start: Start, reader: Any, interval: Any
) -> None:
    run_id = uuid.uuid4()
    processes = [begin(start, interval, run_id, n) for n in range(2)]
    for process in processes:
        process.tell()
    for process in processes:
        process.wait()
    check_two_runs(reader, run_id)


# Of deliveries of one job: what becomes of each, in the order of their starts.
DELIVERIES = [
    "lost completed",
    "completed lost",
    "lost lost completed",
    "lost completed lost",
    "running completed",
    "completed running",
    "lost running",
    "completed completed",
]


def finish(process: LiveProcess, outcome: str) -> None:
    if outcome == "lost":
        process.kill()
    elif outcome == "completed":
        process.tell()
        process.wait()


@pytest.mark.long_with("postgres")
@pytest.mark.parametrize("together", [False, True], ids=["in turn", "together"])
@pytest.mark.parametrize("outcomes", DELIVERIES)
def test_the_id_of_a_job_gives_the_run_that_tells_what_became_of_it(
    start: Start, reader: Any, outcomes: str, together: bool
) -> None:
    """The newest that has ended; without one, the newest. The others are there, too."""
    run_id = uuid.uuid4()
    wanted = outcomes.split()
    if together:
        processes = [begin(start, 0, run_id, n) for n in range(len(wanted))]
        for process, outcome in zip(processes, wanted, strict=True):
            finish(process, outcome)
    else:
        for n, outcome in enumerate(wanted):
            finish(begin(start, 0, run_id, n), outcome)
    assert set(stored_ids(reader)) == set(run_ids_of(run_id, len(wanted)))
    runs = {}
    for listed in reader.list_runs().runs:
        run = reader.get_run(listed["run_id"])
        runs[run["inputs"]["n"]] = run
    assert [runs[n]["status"] for n in sorted(runs)] == wanted
    ended = [n for n, outcome in enumerate(wanted) if outcome == "completed"]
    newest = max(ended, default=len(wanted) - 1)
    assert reader.get_run(run_id)["inputs"]["n"] == newest


# By the journal, with the server away


@pytest.mark.parametrize("interval", [0, LONG])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_runs_with_one_id_are_all_recorded_across_an_outage(
    proxied: Proxied, interval: Any, before: int
) -> None:
    """`before` of four runs reach the server; the others meet them when it is back."""
    with runlog.Recorder(**proxied.options) as recorder:
        handler = RunLogHandler("same", recorder=recorder, checkpoint_interval=interval)
        config = with_id(handler)
        recorder.list_runs()
        for n in range(4):
            if n == before:
                assert recorder.flush(60)
                proxied.proxy.outage()
            two_nodes().invoke({"n": n}, config)
        proxied.proxy.forward()
        check_all(recorder, config["run_id"], 4)


def test_runs_with_one_id_in_two_journals_are_all_recorded(
    proxied: Proxied, tmp_path: Path
) -> None:
    """Two machines, each with its own file; what they have meets on the server."""
    run_id = uuid.uuid4()
    other = {**proxied.options, "sqlite_path": str(tmp_path / "other.db")}
    with (
        runlog.Recorder(**proxied.options) as first,
        runlog.Recorder(**other) as second,
    ):
        first.list_runs()
        second.list_runs()
        proxied.proxy.outage()
        for n, recorder in enumerate((first, second)):
            handler = RunLogHandler("same", recorder=recorder, checkpoint_interval=0)
            two_nodes().invoke({"n": n}, with_id(handler, run_id))
        proxied.proxy.forward()
        assert first.flush(60)
        assert second.flush(60)
        check_two_runs(first, run_id)
