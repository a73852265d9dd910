"""The ways in which a program ends: nothing is lost, nothing hangs or crashes.

The programs are in exiting.py. That an exit takes 5 s at most is the README's promise, so
that is the bound, measured from where the program begins to end.
"""

from __future__ import annotations

import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import LONG
from fixtures_postgres import PostgresServer
from handler_graphs import every_page
from torture.programs import (
    EXIT_BOUND,
    Ended,
    Program,
    check_file,
    forward,
    refused_dsn,
    silent_listener,
)

import runlog

BACKLOG = 5000 if LONG else 1500
CODES = {
    "raises": 1,
    "exits": 3,
    "os_exits": 4,
    "sigterm": -signal.SIGTERM,
    "sigterm_beside_daemons": -signal.SIGTERM,
    "sigterm_handled": 5,
    "sigterm_handled_beside_daemons": 5,
    "sigint": -signal.SIGINT,
    "exit_in_node": 6,
    "os_exit_in_node": 8,
}
WAYS = [
    "normal",
    "unused",
    "thread_exits",
    "thread_goes_on",
    "raises",
    "thread_raises",
    "exits",
    "os_exits",
    "sigterm",
    "sigterm_beside_daemons",
    "sigterm_handled",
    "sigterm_handled_beside_daemons",
    "sigint",
    "sigint_in_flush",
    "daemons",
    "daemons_with_their_own",
    "explicit",
    "explicit_and_default",
    "cycle",
    "collected_cycle",
    "late",
    "exit_in_node",
    "os_exit_in_node",
    "graphs_in_flight",
    "graphs_again_and_again",
    "asyncio_in_flight",
    "closed_and_forked",
]
# The ways that have to do with a worker thread, a journal or a server that is away.
FORWARDING = [
    "normal",
    "unused",
    "os_exits",
    "sigterm",
    "sigterm_handled_beside_daemons",
    "sigint_in_flush",
    "daemons",
    "daemons_with_their_own",
    "explicit_and_default",
    "late",
    "exit_in_node",
    "graphs_in_flight",
]
# How many runs may be stored without an acknowledgement: those of threads that were
# killed in the middle.
UNACKNOWLEDGED = {
    "sigterm_beside_daemons": 4,
    "sigterm_handled_beside_daemons": 4,
    "daemons": 4,
    "daemons_with_their_own": 4,
    "graphs_again_and_again": 4,
    "asyncio_in_flight": 50,
    "exit_in_node": 1,  # the graph that ended by it
    "os_exit_in_node": 1,  # the same, if 20 ms had passed: an open run is written then
    "graphs_in_flight": 4,
}

# Runs that never end, which are kept as they stand.
OPEN = {"graphs_in_flight": 4}


@dataclass(frozen=True)
class Place:
    """Where runs are stored, and how to read them after the program has ended."""

    env: dict[str, str]
    options: dict[str, Any]
    """Of a recorder that reaches the database."""
    before: list[str]
    """The run_ids that were there before."""

    def kept(self) -> Counter[tuple[str, str]]:
        """The (wpk_id, run_id) of every stored run; there may be more than a page."""
        path = Path(self.options["sqlite_path"])
        if "postgres_dsn" in self.options and path.exists():
            forward(self.options)
        if path.exists():
            check_file(path)
        with runlog.Recorder(**self.options) as recorder:
            runs = every_page(recorder, limit=10_000)
        return Counter((run["wpk_id"], run["run_id"]) for run in runs)


@pytest.fixture(scope="module")
def backlog(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal in which many runs wait."""
    path = tmp_path_factory.mktemp("backlog") / "journal.db"
    options: dict[str, Any] = {"postgres_dsn": refused_dsn(), "durability": "journal"}
    with runlog.Recorder(sqlite_path=str(path), **options) as recorder:
        for number in range(BACKLOG):
            recorder.log_run(
                {
                    "wpk_id": "w",
                    "run_id": f"before-{number}",
                    "status": "completed",
                    "inputs": {"text": "y" * 1000},
                }
            )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.read_bytes()


KINDS = dict.fromkeys(("sqlite", "postgres", "refused"), WAYS) | dict.fromkeys(
    ("silent", "backlog", "backlog_away"), FORWARDING
)
# What make test runs of them.
USUAL = {
    "sqlite": WAYS,
    "postgres": FORWARDING,
    "refused": FORWARDING[:-2],  # those with graphs are the dearest
    "silent": FORWARDING[::3],
    "backlog": FORWARDING[1::3],
    "backlog_away": FORWARDING[2::3],
}
CASES = [
    pytest.param(kind, way, marks=() if way in USUAL[kind] else pytest.mark.long)
    for kind, ways in KINDS.items()
    for way in ways
]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty database, reached or not."""
    path = tmp_path / "runs.db"
    env = {"RUNLOG_SQLITE_PATH": str(path), "RUNLOG_POSTGRES_TIMEOUT": "1"}
    options: dict[str, Any] = {"sqlite_path": str(path)}
    before: list[str] = []
    if request.param == "sqlite":
        yield Place(env, options, before)
        return
    if request.param.startswith("backlog"):
        path.write_bytes(request.getfixturevalue("backlog"))
        before = [f"before-{number}" for number in range(BACKLOG)]
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.borrow_database() as name, silent_listener() as silent:
        dsn = {
            "postgres": server.dsn(name),
            "backlog": server.dsn(name),
            "silent": silent,
        }.get(request.param, refused_dsn())
        options["postgres_dsn"] = server.dsn(name)
        yield Place(env | {"POSTGRES_DSN": dsn}, options, before)


def check(place: Place, ended: Ended, unacknowledged: int, open_runs: int = 0) -> None:
    """Each acknowledged run is stored once, with at most that many others."""
    graphs = [name for name in ended.acknowledged if name == "graph"]
    acknowledged = Counter(name for name in ended.acknowledged if name != "graph")
    acknowledged.update(place.before)
    kept = place.kept()
    assert set(kept.values()) <= {1}
    runs = Counter(run_id for wpk_id, run_id in kept if wpk_id == "w")
    others = sum(wpk_id == "graph" for wpk_id, _ in kept)
    assert not acknowledged - runs
    assert others >= len(graphs) + open_runs
    assert sum((runs - acknowledged).values()) + others - len(graphs) <= unacknowledged


@pytest.mark.long_with(
    "silent-daemons", "refused", "backlog-exit_in_node", "postgres-exit_in_node"
)
@pytest.mark.parametrize(("place", "way"), CASES, indirect=["place"])
def test_no_acknowledged_run_is_lost_at_exit(
    way: str, place: Place, tmp_path: Path
) -> None:
    program = Program("exiting", way, folder=tmp_path, env=place.env)
    ended = program.wait(code=CODES.get(way, 0))
    assert 0 < ended.exit_seconds < EXIT_BOUND
    if not way.startswith(("unused", "asyncio")):
        assert ended.acknowledged
    check(place, ended, UNACKNOWLEDGED.get(way, 0), OPEN.get(way, 0))


@pytest.mark.parametrize(
    ("way", "durability"),
    [
        ("graphs_in_flight", "store"),
        ("explicit_and_default", "journal"),
        ("inside", "store"),
        ("inside", "journal"),
    ],
)
def test_exit_does_not_wait_for_a_server_that_never_answers(
    way: str, durability: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """With the default time-out, as long as the bound: exit must not wait for it."""
    path = str(tmp_path / "journal.db")
    with postgres_server.borrow_database() as name, silent_listener() as silent:
        env = {
            "RUNLOG_SQLITE_PATH": path,
            "POSTGRES_DSN": silent,
            "RUNLOG_DURABILITY": durability,
        }
        ended = Program("exiting", way, folder=tmp_path, env=env).wait()
        assert 0 < ended.exit_seconds < EXIT_BOUND
        options = {"sqlite_path": path, "postgres_dsn": postgres_server.dsn(name)}
        unacknowledged = 4 if way == "inside" else UNACKNOWLEDGED.get(way, 0)
        check(Place(env, options, []), ended, unacknowledged, OPEN.get(way, 0))


def test_regression_exit_with_several_journals_takes_one_time_limit(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Each of them had its own time for its thread to end."""
    with postgres_server.borrow_database() as name, silent_listener() as silent:
        env = {
            "POSTGRES_DSN": silent,
            "RUNLOG_DURABILITY": "journal",
            "RUNLOG_POSTGRES_TIMEOUT": "30",
        }
        program = Program("exiting", "journals_of_their_own", folder=tmp_path, env=env)
        ended = program.wait()
        assert 0 < ended.exit_seconds < EXIT_BOUND
        dsn = postgres_server.dsn(name)
        for journal in sorted(tmp_path.glob("journal?.db")):
            check_file(journal)
            forward({"sqlite_path": str(journal), "postgres_dsn": dsn})
        rows = postgres_server.query("SELECT run_id FROM workflow_runs", dbname=name)
        assert sorted(run_id for (run_id,) in rows) == sorted(ended.acknowledged)
        assert len(ended.acknowledged) == 5 * 2
