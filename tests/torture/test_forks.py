"""Forks while runlog is in use: parent and child both record, and neither hangs.

The programs are in forking.py. Each is an interpreter of its own, so that nothing of
pytest is forked with it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import LONG, SANITIZED
from fixtures_postgres import PostgresServer
from fixtures_store import Store
from torture.programs import (
    Ended,
    Program,
    Switch,
    check_file,
    check_stored,
    fold_in,
    forward,
    logged_ids,
    refused_dsn,
    silent_listener,
)

ROUNDS = 50 if LONG and not SANITIZED else 12
RUNS = 50
WORKERS = 4


@pytest.fixture(autouse=True)
def long_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for some seconds makes no run go by the journal."""
    monkeypatch.setenv("RUNLOG_POSTGRES_TIMEOUT", "60")


def run_forking(store: Store, tmp_path: Path, name: str, *args: Any) -> Ended:
    """Run a program on a store and check that all it was acknowledged is there."""
    program = Program("forking", name, *map(str, args), folder=tmp_path, env=store.env)
    ended = program.wait()
    if store.kind == "sqlite":
        fold_in(store.options["sqlite_path"])
        check_file(store.options["sqlite_path"])
    elif name != "node_forks":  # the handler's runs go by the journal
        assert not Path(store.options["sqlite_path"]).exists()
    check_stored(store.query, ended.acknowledged)
    return ended


def names(prefix: str, count: int) -> set[str]:
    """What child.log acknowledges."""
    return {f"{prefix}-{number}" for number in range(count)}


def test_forks_under_load_lose_no_run(store: Store, tmp_path: Path) -> None:
    ended = run_forking(store, tmp_path, "under_load", ROUNDS)
    kept = set(ended.acknowledged)
    for number in range(ROUNDS):
        assert names(f"c{number}", 3) | names(f"m{number}", 1) <= kept
    assert len(kept) > ROUNDS * 4 + 2  # the threads logged as well


def test_several_threads_may_fork_at_once(store: Store, tmp_path: Path) -> None:
    rounds = ROUNDS // 5
    ended = run_forking(store, tmp_path, "threads_that_fork", rounds)
    for thread in range(3):
        for number in range(rounds):
            assert names(f"f{thread}-{number}", 3) <= set(ended.acknowledged)


def test_a_process_with_other_database_clients_may_fork(
    store: Store, tmp_path: Path
) -> None:
    """Python's sqlite3 shares SQLite's own locks with runlog; libpq has some as well."""
    ended = run_forking(store, tmp_path, "beside_other_clients", ROUNDS)
    for number in range(ROUNDS):
        assert names(f"c{number}", 3) <= set(ended.acknowledged)


@pytest.mark.long_with("postgres-while_it_is_made")
@pytest.mark.parametrize("name", ["while_it_is_made", "while_it_is_closed"])
def test_a_fork_while_a_recorder_opens_or_closes_is_safe(
    name: str, store: Store, tmp_path: Path
) -> None:
    run_forking(store, tmp_path, name, ROUNDS)


@pytest.mark.parametrize("name", ["prefork", "prefork_and_exit"])
def test_four_prefork_workers_record(name: str, store: Store, tmp_path: Path) -> None:
    ended = run_forking(store, tmp_path, name, WORKERS, RUNS)
    of_children = set().union(*[names(f"w{n}", RUNS) for n in range(WORKERS)])
    assert len(of_children) == 200
    assert set(ended.acknowledged) == of_children | {"parent-0", "after-0"}


def test_children_record_after_the_parent_has_exited(
    store: Store, tmp_path: Path
) -> None:
    """What closes the database in the parent takes nothing from the children."""
    program = Program(
        "forking", "parent_goes_first", "4", "50", folder=tmp_path, env=store.env
    )
    ended = program.wait()  # at the end of the pipes, so of the last child
    ends = {f"end-{number}" for number in range(4)}
    assert ends <= set(ended.acknowledged)
    if store.kind == "sqlite":
        fold_in(store.options["sqlite_path"])
    check_stored(store.query, [name for name in ended.acknowledged if name not in ends])
    assert len(ended.acknowledged) == 1 + 200 + 4


def test_children_of_children_record(store: Store, tmp_path: Path) -> None:
    ended = run_forking(store, tmp_path, "grandchildren", 4)
    assert len(ended.acknowledged) == 1 + 4 * 4


@pytest.mark.parametrize(
    ("method", "name"),
    [
        pytest.param(method, name, marks=() if few else pytest.mark.long)
        for method in ("fork", "spawn", "forkserver")
        for name in ("pool", "process_class", "executor")
        for few in [method == "fork" or name == "pool"]
    ],
)
def test_multiprocessing_children_record(
    method: str, name: str, store: Store, tmp_path: Path
) -> None:
    count = 8 if name == "process_class" else 40
    ended = run_forking(store, tmp_path, name, method, count)
    tasks = {f"task{number}" for number in range(count)}
    assert tasks | {"parent-0"} <= set(ended.acknowledged)


def test_asyncio_records_in_parent_and_children(store: Store, tmp_path: Path) -> None:
    ended = run_forking(store, tmp_path, "asyncio_in_both")
    assert len(ended.acknowledged) == (3 + 3) * 10


@pytest.mark.parametrize(
    "kind", ["exits", pytest.param("returns", marks=pytest.mark.long), "parallel"]
)
def test_a_node_may_fork(kind: str, store: Store, tmp_path: Path) -> None:
    """The run begun in the parent ends in the parent, once; the child's own are kept."""
    ended = run_forking(store, tmp_path, "node_forks", kind)
    ((_, status),) = ended.printed["runs"]
    assert status == "completed"
    nodes = ["node0", "node1"] if kind == "parallel" else ["node0"]
    assert ended.printed["nodes"] == ["begin", "end", *nodes]
    in_nodes = [name for name in ended.acknowledged if name.startswith("in-node-")]
    assert len(in_nodes) == 2 * len(nodes)
    wpks = store.query("SELECT wpk_id FROM workflow_runs WHERE wpk_id <> 'w'")
    expected = {"forking", "in-parent"} | ({"in-child"} if kind == "returns" else set())
    assert sorted(wpk for (wpk,) in wpks) == sorted(expected)


@pytest.mark.long_with("sqlite")
def test_graphs_in_prefork_workers_are_recorded(store: Store, tmp_path: Path) -> None:
    """On PostgreSQL they go through the journal, so there is a file."""
    program = Program(
        "forking", "graphs_in_children", "4", "50", folder=tmp_path, env=store.env
    )
    ended = program.wait()
    assert ended.printed == 0  # handler_errors
    assert len(set(ended.acknowledged)) == 202
    if store.kind == "postgres":
        forward(store.options)
    check_file(store.options["sqlite_path"])
    check_stored(store.query, ended.acknowledged)


def ask(port: int, name: str) -> str:
    """Have a worker of the server log a run; return what it answers."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(f"{name}\n".encode())
        with connection.makefile() as stream:
            return stream.readline().strip()


@pytest.mark.long_with("postgres")
def test_a_preloading_server_records_in_its_workers(store: Store, tmp_path: Path) -> None:
    program = Program("forking", "preload_server", "4", folder=tmp_path, env=store.env)
    assert program.process.stdout is not None
    port = int(program.process.stdout.readline())
    wanted = [f"request{number}" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda name: ask(port, name), wanted)) == wanted
    ended = program.wait()  # which ends its standard input
    assert ended.exit_seconds < 5
    check_stored(store.query, ended.acknowledged)
    assert set(ended.acknowledged) == {"preload-0", "stopped-0", *wanted}
    workers = {store.json("outputs", "w", name)["worker"] for name in wanted[:100]}
    assert len(workers) > 1


@pytest.mark.parametrize(
    "how", ["exit", "os_exit", "closed", "collected", "collected_first", "unused"]
)
def test_the_parents_connections_outlive_its_children(
    how: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with postgres_server.borrow_database() as name:
        # The index of words would have a connection of its own, some time or other.
        env = {"POSTGRES_DSN": postgres_server.dsn(name), "RUNLOG_WORDS": "0"}
        ended = Program("forking", "connections", how, folder=tmp_path, env=env).wait()
        before = ended.printed["before"]
        assert len(before) == 2  # one writes, one reads
        assert ended.printed["after"] == ended.printed["at_last"] == before

        def query(sql: str) -> list[Any]:
            return postgres_server.query(sql, dbname=name)

        check_stored(query, ended.acknowledged)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Store]:
    """An empty database, for what a journal holds in the end."""
    with postgres_server.borrow_database() as name:
        yield Store("postgres", {"postgres_dsn": postgres_server.dsn(name)}, {})


@pytest.fixture
def switch(postgres_server: PostgresServer, database: Store) -> Iterator[Switch]:
    """A way to that database that is not there yet."""
    ((name,),) = database.query("SELECT current_database()")
    made = Switch(postgres_server, name)
    yield made
    made.remove()


AWAY = ["under_load", "prefork", "prefork_and_exit", "grandchildren", "pool", "executor"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(name, "refused") for name in AWAY],
        (AWAY[0], "silent"),
        *[pytest.param(name, "silent", marks=pytest.mark.long) for name in AWAY[1:]],
    ],
)
def test_forks_during_an_outage_lose_no_run(
    name: str, kind: str, database: Store, tmp_path: Path
) -> None:
    """Parent and children keep their runs in one journal, and all of it is forwarded."""
    arguments = {"under_load": ["5"], "grandchildren": ["4"]}.get(name, ["4", "20"])
    if name in ("pool", "executor"):
        arguments = ["fork", "20"]
    journal = str(tmp_path / "journal.db")
    env = {"RUNLOG_SQLITE_PATH": journal, "RUNLOG_POSTGRES_TIMEOUT": "0.5"}
    with silent_listener() as silent:
        env["POSTGRES_DSN"] = refused_dsn() if kind == "refused" else silent
        program = name if name != "under_load" else "under_load_away"
        ended = Program("forking", program, *arguments, folder=tmp_path, env=env).wait()
    forward(database.options | {"sqlite_path": journal})
    check_file(journal)
    check_stored(database.query, ended.acknowledged)


def test_a_child_forwards_the_journal_of_its_parent(
    database: Store, switch: Switch, tmp_path: Path
) -> None:
    """The parent does nothing any more, so the child's worker thread must."""
    journal = str(tmp_path / "journal.db")
    env = {"RUNLOG_SQLITE_PATH": journal, "POSTGRES_DSN": switch.dsn}
    program = Program("forking", "child_forwards", folder=tmp_path, env=env)
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == "child waits\n"
    switch.on()
    ended = program.wait()
    check_stored(database.query, ended.acknowledged)
    assert len(ended.acknowledged) == 20 + 5


def test_a_fork_after_the_journal_was_deleted(database: Store, tmp_path: Path) -> None:
    """Parent and child go on with a new file, and the parent reports the old one."""
    journal = str(tmp_path / "journal.db")
    env = {"RUNLOG_SQLITE_PATH": journal, "POSTGRES_DSN": refused_dsn()}
    program = Program("forking", "journal_is_deleted", journal, folder=tmp_path, env=env)
    ended = program.wait()
    assert len(ended.acknowledged) == 9
    assert "was deleted" in ended.printed
    forward(database.options | {"sqlite_path": journal})
    assert set(logged_ids(database.query)) == set(ended.acknowledged[3:])
