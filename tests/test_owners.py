"""Whose process lives: runs of other hosts, boots and containers, by their heartbeats."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from child_env import child_env
from fixtures_postgres import PostgresServer
from fixtures_proxy import Proxied
from fixtures_store import Store
from handler_graphs import begin_root
from helpers import minimal, until

import runlog
from runlog.hooks import RunLogHandler

TESTS = Path(__file__).resolve().parent

# Opens a run, and does as it is told on its standard input. Killed with its parent.
PROGRAM = """
import os, signal, sys, uuid
from runlog.hooks import RunLogHandler
import runlog
handler = RunLogHandler("elsewhere", checkpoint_interval=0)
def begin():
    run_id = uuid.uuid4()
    graph = {"ls_integration": "langgraph"}
    handler.on_chain_start(None, {}, run_id=run_id, tags=[], metadata=graph, name="g")
    return run_id
run_id = begin()
print(os.getpid(), flush=True)
for line in sys.stdin:
    if line == "end\\n":
        handler.on_chain_end({"n": 2}, run_id=run_id)
        assert runlog.flush(60)
    elif line == "fork\\n" and (child := os.fork()) == 0:
        begin()
        while True:
            signal.pause()
    print("done", flush=True)
"""
OTHER_PIDS = ["--pid", "--mount-proc"]
OTHER_NAME = ["--uts"]
OTHER_BOOT = ["--mount"]
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Elsewhere:
    """A process in namespaces of its own, as in another container or on another host."""

    def __init__(self, store: Store, folder: Path, spaces: list[str]) -> None:
        as_root = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
        begin = ""
        if spaces == OTHER_NAME:
            begin = "hostname somewhere.else &&"
        elif spaces == OTHER_BOOT:
            boot = folder / "boot_id"
            boot.write_text("11111111-2222-3333-4444-555555555555\n")
            begin = f"mount --bind {boot} {BOOT_ID} &&"
        command = ["/bin/sh", "-c", f'{begin} exec "$@"', "sh", sys.executable, "-c"]
        self.process = subprocess.Popen(
            ["unshare", "--fork", "--kill-child", *as_root, *spaces, *command, PROGRAM],
            env=child_env(store.env, {"PYTHONPATH": str(TESTS)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip().isdigit()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = int(children.read_text().split()[0])

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.process.communicate(timeout=60)


Start = Callable[[list[str]], Elsewhere]
SERVER_IS_UP = """
CREATE OR REPLACE FUNCTION pg_catalog.pg_postmaster_start_time() RETURNS timestamptz
STABLE LANGUAGE sql AS $$ SELECT pg_catalog.now() - interval '%s seconds' $$
"""


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database; of PostgreSQL one whose server seems to be up for long."""
    path = str(tmp_path / "runs.db")
    if request.param == "sqlite":
        yield Store("sqlite", {"sqlite_path": path}, {"RUNLOG_SQLITE_PATH": path})
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create_database()
    server.query(SERVER_IS_UP % 3600, dbname=name)
    dsn = server.dsn(name)
    yield Store(
        "postgres",
        {"postgres_dsn": dsn, "sqlite_path": path},
        {"POSTGRES_DSN": dsn, "RUNLOG_SQLITE_PATH": path},
    )
    server.drop_database(name)


@pytest.fixture
def start(store: Store, tmp_path: Path) -> Iterator[Start]:
    started: list[Elsewhere] = []

    def one(spaces: list[str]) -> Elsewhere:
        started.append(Elsewhere(store, tmp_path, spaces))
        return started[-1]

    yield one
    for process in started:
        process.kill()


@pytest.fixture
def reader(store: Store) -> Iterator[runlog.Recorder]:
    """Another process' view: a recorder that records nothing of its own."""
    with runlog.Recorder(**store.options) as made:
        yield made


def statuses(recorder: runlog.Recorder, **filters: Any) -> list[str]:
    return [run["status"] for run in recorder.list_runs(**filters).runs]


def silence(store: Store, seconds: int) -> None:
    """Let the last heartbeats have been so long ago, by the clock of the database."""
    change = "seen_at = seen_at - ? * interval '1 second'"
    if store.kind == "sqlite":
        change = "seen_at = seen_at - ? * 1000000"
    store.query(f"UPDATE runlog_owners SET {change}", seconds)


def owners(store: Store) -> list[str]:
    """Those who were heard."""
    rows = store.query("SELECT owner FROM runlog_owners ORDER BY owner")
    return [owner for (owner,) in rows]


def until_heard(reader: runlog.Recorder, store: Store) -> None:
    until(lambda: statuses(reader) == ["running"] and len(owners(store)) == 1)


def check_lost(reader: runlog.Recorder) -> None:
    """Check that every query shows the one run as lost."""
    assert statuses(reader) == ["lost"]
    assert statuses(reader, status="lost") == ["lost"]
    assert statuses(reader, status="running") == []
    (run,) = reader.list_runs().runs
    whole = reader.get_run(run["run_id"])
    assert whole is not None
    assert whole["status"] == "lost"
    assert [row[1] for row in reader.get_runs_by_wpk_id("elsewhere")] == ["lost"]


@pytest.mark.long_with("postgres-boot", "sqlite-pids")
@pytest.mark.parametrize("spaces", [OTHER_PIDS, OTHER_BOOT], ids=["pids", "boot"])
def test_a_run_of_another_machine_of_the_same_name(
    start: Start, reader: runlog.Recorder, store: Store, spaces: list[str]
) -> None:
    """Its process id means nothing here: it is there as long as it is heard."""
    process = start(spaces)
    until_heard(reader, store)
    assert owners(store)[0].startswith(socket.gethostname())
    assert reader.delete_runs(status="lost") == 0
    process.kill()
    assert statuses(reader, status="running") == ["running"]
    silence(store, 30)
    assert statuses(reader) == ["running"]
    silence(store, 35)
    check_lost(reader)
    silence(store, 6 * 24 * 3600)
    assert reader.delete_runs(status="lost") == 0
    assert reader.delete_runs(status="running") == 0
    silence(store, 24 * 3600)
    assert reader.delete_runs(status="lost") == 1


@pytest.mark.long_with("postgres")
def test_a_run_of_this_machine_under_another_name(
    start: Start, reader: runlog.Recorder, store: Store
) -> None:
    """Its process can be checked, whatever its host is called."""
    process = start(OTHER_NAME)
    until_heard(reader, store)
    assert owners(store)[0].startswith("somewhere.else")
    silence(store, 10**6)
    assert statuses(reader) == ["running"]
    assert reader.delete_runs(status="lost") == 0
    process.kill()
    check_lost(reader)
    assert reader.delete_runs(status="lost") == 1


@pytest.mark.long_with("postgres")
def test_a_process_that_comes_back_is_heard_again(
    start: Start, reader: runlog.Recorder, store: Store
) -> None:
    """It was stopped, or its machine slept. Its run ends as it ends."""
    process = start(OTHER_PIDS)
    until_heard(reader, store)
    os.kill(process.pid, signal.SIGSTOP)
    silence(store, 3600)
    check_lost(reader)
    assert reader.delete_runs(status="lost") == 0
    os.kill(process.pid, signal.SIGCONT)
    until(lambda: statuses(reader) == ["running"])
    silence(store, 3600)
    check_lost(reader)
    process.tell("end")
    assert statuses(reader) == ["completed"]
    assert statuses(reader, status="lost") == []


@pytest.mark.long_with("postgres")
def test_a_child_is_another_owner(
    start: Start, reader: runlog.Recorder, store: Store
) -> None:
    process = start(OTHER_PIDS)
    until_heard(reader, store)
    process.tell("fork")
    until(lambda: len(owners(store)) == 2)
    until(lambda: statuses(reader) == ["running", "running"])
    one, other = (owner.split() for owner in owners(store))
    assert one[1] != other[1]
    assert (one[0], one[3]) == (other[0], other[3])


def test_a_process_has_one_row_however_many_runs(store: Store) -> None:
    with runlog.Recorder(**store.options) as one, runlog.Recorder(**store.options) as two:
        for recorder in (one, two) * 20:
            begin_root(RunLogHandler(recorder=recorder, checkpoint_interval=0))
        assert one.flush(60)
        assert two.flush(60)
        until(lambda: len(owners(store)) == 1)
        assert store.query("SELECT count(*) FROM workflow_runs") == [(40,)]
        assert store.query("SELECT DISTINCT owner FROM workflow_runs") == [
            (owner,) for owner in owners(store)
        ]


def test_who_only_reads_or_logs_whole_runs_writes_no_heartbeat(
    reader: runlog.Recorder, store: Store
) -> None:
    reader.log_run(minimal("r1", status="running"))
    reader.log_run(minimal("r2"))
    assert statuses(reader) == ["completed", "running"]
    assert reader.flush(60)
    assert owners(store) == []


@pytest.mark.parametrize(
    "owner",
    ["a b c d", "h 1 1 0123456789abcdef0123456789abcdef", "h 1 1 -", "h 1 1 x y z"],
)
def test_an_owner_that_was_never_heard_is_not_lost(
    reader: runlog.Recorder, store: Store, owner: str
) -> None:
    reader.log_run(minimal("r1", status="running"))
    store.query("UPDATE workflow_runs SET owner = ?", owner)
    assert statuses(reader) == ["running"]
    assert reader.delete_runs(status="lost") == 0


def test_owners_without_runs_are_forgotten(store: Store) -> None:
    """By the next process that announces itself; those with a run stay."""
    with runlog.Recorder(**store.options) as recorder:
        for name in ("old", "kept"):
            recorder.log_run(minimal(name, status="running"))
            store.query(
                "UPDATE workflow_runs SET owner = ? WHERE run_id = ?",
                f"{name} 1 1 -",
                name,
            )
        now = "0" if store.kind == "sqlite" else "now() - interval '2 hours'"
        for name in ("old", "kept"):
            store.query(f"INSERT INTO runlog_owners VALUES (?, {now})", f"{name} 1 1 -")
        recorder.log_run(minimal("old"))
        begin_root(RunLogHandler(recorder=recorder, checkpoint_interval=0))
        until(lambda: "old 1 1 -" not in owners(store))
        assert "kept 1 1 -" in owners(store)
        assert statuses(recorder, status="lost") == ["lost"]


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    name = postgres_server.create_database()
    yield name
    postgres_server.drop_database(name)


def test_nobody_is_silent_before_a_server_that_has_just_started(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    """It was away, so nobody could be heard: they are given the time to come back."""
    options: dict[str, Any] = {
        "postgres_dsn": postgres_server.dsn(database),
        "sqlite_path": str(tmp_path / "runs.db"),
    }
    with runlog.Recorder(**options) as recorder:
        recorder.log_run(minimal("r1", status="running"))
        postgres_server.query(
            "UPDATE workflow_runs SET owner = 'h 1 1 -';"
            "INSERT INTO runlog_owners VALUES ('h 1 1 -', now() - interval '30 days')",
            dbname=database,
        )
        postgres_server.query(SERVER_IS_UP % 50, dbname=database)
        assert statuses(recorder) == ["running"]
        assert recorder.delete_runs(status="lost") == 0
        postgres_server.query(SERVER_IS_UP % 61, dbname=database)
        assert statuses(recorder) == ["lost"]
        assert recorder.delete_runs(status="lost") == 1


def test_a_process_that_died_before_its_server_was_reached_is_missed(
    proxied: Proxied, tmp_path: Path
) -> None:
    """Whoever forwards its run says that its owner was there."""
    proxied.proxy.outage()
    store = Store("postgres", proxied.options, proxied.env)
    process = Elsewhere(store, tmp_path, OTHER_PIDS)
    process.kill()
    proxied.proxy.forward()
    with runlog.Recorder(**proxied.options) as recorder:
        recorder.list_runs()
        assert recorder.flush(60)
        rows = proxied.query(
            "SELECT count(*) FROM workflow_runs JOIN runlog_owners USING (owner)"
        )
        assert rows == [(1,)]
        assert statuses(recorder) == ["running"]


def test_a_role_that_may_not_write_heartbeats_still_records(
    postgres_server: PostgresServer,
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = str(tmp_path / "runs.db")
    with runlog.Recorder(
        postgres_dsn=postgres_server.dsn(database), sqlite_path=path
    ) as recorder:
        recorder.list_runs()
    postgres_server.query("CREATE ROLE meek LOGIN")
    postgres_server.query(
        "GRANT USAGE ON SCHEMA public TO meek; GRANT SELECT, INSERT, UPDATE, DELETE ON"
        " workflow_runs, run_parts, run_embeddings TO meek;"
        " GRANT SELECT ON runlog_migrations TO meek",
        dbname=database,
    )
    dsn = postgres_server.dsn(database, user="meek")
    try:
        with runlog.Recorder(postgres_dsn=dsn, sqlite_path=path) as recorder:
            begin_root(RunLogHandler(recorder=recorder, checkpoint_interval=0))
            assert recorder.flush(60)
            until(lambda: bool(recorder.stats()) and "runlog_owners" in caplog.text)
            assert statuses(recorder) == ["running"]
            postgres_server.query(
                "UPDATE workflow_runs SET owner = 'h 1 1 -'", dbname=database
            )
            assert statuses(recorder) == ["running"]
    finally:
        postgres_server.query("DROP OWNED BY meek", dbname=database)
        postgres_server.query("DROP ROLE meek")
    assert caplog.text.count("heartbeat to runlog_owners") == 1
