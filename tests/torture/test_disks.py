"""Disks that are full, read-only, or lose the files; files of a newer version; settings.

The programs are in filling.py: a limit on the size of files, or another user, is for a
process of its own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures_postgres import PostgresServer, server_user
from fixtures_store import Store
from helpers import minimal, until
from torture.programs import (
    Ended,
    Program,
    Switch,
    check_file,
    check_stored,
    forward,
    logged_ids,
    refused_dsn,
)

import runlog
from runlog import ConfigError

if TYPE_CHECKING:
    from conftest import RunPython

SIZE = "4m"
MOUNT = f'mount -t tmpfs -o size={SIZE} tmpfs "$0" && exec "$@"'
DISK_FULL = re.compile("disk is full|File too large|No space left|disk I/O error")


@functools.cache
def namespace() -> list[str]:
    """The command that gives a process mounts of its own, or nothing where none does."""
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        probe = [*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        if (
            shutil.which("unshare")
            and subprocess.run(probe, capture_output=True).returncode == 0
        ):
            return command
    return []


KINDS = ["limit", "tmpfs"] if namespace() else ["limit"]


@dataclass(frozen=True)
class Place:
    """Where runs go: a SQLite store, or a journal whose server is away."""

    path: Path
    env: dict[str, str]
    database: Store
    """The SQLite store, or the empty database that a journal is forwarded to."""

    @property
    def journals(self) -> bool:
        return self.database.kind == "postgres"

    def check(self, ended: Ended, path: Path | None = None) -> None:
        """Everything acknowledged is there, once; the file is in order."""
        path = path or self.path
        check_file(path)
        store = self.database
        if self.journals:
            forward(store.options | {"sqlite_path": str(path)})
            check_file(path)
        else:
            store = Store("sqlite", {"sqlite_path": str(path)}, {})
        runs = store.query("SELECT run_id FROM workflow_runs WHERE wpk_id = 'w'")
        assert sorted(run_id for (run_id,) in runs) == sorted(ended.acknowledged)

    def check_errors(self, errors: list[Any], cause: re.Pattern[str]) -> None:
        """Each names the file and what is wrong with it, and the server if any."""
        assert errors
        for text, sqlstate, _ in errors:
            assert f"SQLite file {self.path}" in text
            assert cause.search(text), text
            assert sqlstate is None
            if self.journals:
                assert re.search("PostgreSQL: .*refused", text), text


@pytest.fixture(params=["sqlite", "journal"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty folder that other users may read, and the store in it."""
    folder = Path(tempfile.mkdtemp(prefix="runlog-disk-"))
    folder.chmod(0o755)
    path = folder / "runs.db"
    env = {"RUNLOG_SQLITE_PATH": str(path)}
    if server_user():
        env["OTHER_USER"] = str(server_user()["user"])
    if request.param == "sqlite":
        yield Place(path, env, Store("sqlite", {"sqlite_path": str(path)}, {}))
    else:
        env["POSTGRES_DSN"] = refused_dsn()
        server: PostgresServer = request.getfixturevalue("postgres_server")
        with server.borrow_database() as name:
            options = {"postgres_dsn": server.dsn(name)}
            yield Place(path, env, Store("postgres", options, {}))
    folder.chmod(0o755)
    shutil.rmtree(folder)


def fill(place: Place, name: str, kind: str, tmp_path: Path) -> tuple[Ended, Path]:
    """Run a program on a disk that is full; return also where its file is then."""
    if kind == "limit":
        args, wrap, saved = [name, kind, str(place.path)], [], place.path
    else:
        saved = tmp_path / "saved.db"
        args = [name, kind, str(saved)]
        wrap = [*namespace(), "sh", "-c", MOUNT, str(place.path.parent)]
    program = Program("filling", *args, folder=tmp_path, env=place.env, wrap=wrap)
    return program.wait(), saved


@pytest.mark.parametrize("kind", KINDS)
def test_runs_are_logged_again_once_a_full_disk_has_room(
    kind: str, place: Place, tmp_path: Path
) -> None:
    ended, saved = fill(place, "full", kind, tmp_path)
    place.check_errors(ended.printed["errors"], DISK_FULL)
    assert ended.printed["failed"] == len(ended.printed["errors"]) >= 5
    assert ended.printed["logged"] >= 10  # before and between
    assert len(ended.acknowledged) == ended.printed["logged"] + 20
    place.check(ended, saved)


def test_a_disk_that_stays_full_fails_runs_with_errors(
    place: Place, tmp_path: Path
) -> None:
    ended, saved = fill(place, "full_to_the_end", "limit", tmp_path)
    place.check_errors(ended.printed["errors"], DISK_FULL)
    assert len(ended.acknowledged) >= 10
    place.check(ended, saved)


@pytest.mark.parametrize(
    "kind",
    [KINDS[0], *[pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[1:]]],
)
def test_graphs_keep_running_on_a_full_disk(
    kind: str, place: Place, tmp_path: Path
) -> None:
    """Each failure is counted, and only the first is logged."""
    ended, saved = fill(place, "graphs", kind, tmp_path)
    assert ended.printed["well"] == [True] * 8
    assert ended.printed["errors"] == ended.printed["errors_at_last"] == 5
    (text,) = [text for text in ended.printed["texts"] if "a graph's run" in text]
    assert text.startswith("ERROR: ")
    place.check_errors([[text, None, True]], DISK_FULL)
    place.check(ended, saved)
    if not place.journals:
        place = Place(saved, place.env, Store("sqlite", {"sqlite_path": str(saved)}, {}))
    graphs = "SELECT count(*) FROM workflow_runs WHERE wpk_id = 'graph'"
    assert place.database.query(graphs) == [(3,)]


@pytest.mark.long_with("read_only")
@pytest.mark.parametrize("kind", ["limit", "read_only"])
def test_runs_need_no_disk_while_the_server_is_up(
    kind: str, postgres_server: PostgresServer
) -> None:
    """Graphs as well, though they go by the journal when there can be one."""
    folder = Path(tempfile.mkdtemp(prefix="runlog-disk-"))
    folder.chmod(0o755)
    env = {"RUNLOG_SQLITE_PATH": str(folder / "runs.db")}
    env["OTHER_USER"] = str(server_user().get("user", os.getuid()))
    try:
        with postgres_server.borrow_database() as name:
            env["POSTGRES_DSN"] = postgres_server.dsn(name)
            args = ["server_is_up", kind, ""]
            ended = Program("filling", *args, folder=folder, env=env).wait()
            assert ended.printed == 0
            rows = postgres_server.query("SELECT wpk_id FROM workflow_runs", dbname=name)
            graphs = [f"graph{number}" for number in range(5)]
            assert sorted(wpk for (wpk,) in rows) == [*graphs, *["w"] * 5]
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_read_only_disk_fails_runs_with_errors(
    what: str, place: Place, tmp_path: Path
) -> None:
    args = ["read_only", what]
    ended = Program("filling", *args, folder=tmp_path, env=place.env).wait()
    cause = re.compile("Permission denied|readonly database|unable to open")
    place.check_errors(ended.printed, cause)
    assert len(ended.printed) == 3
    place.check(ended)


@pytest.fixture
def switched(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Any]:
    """A database, and the way to it, which is not there yet."""
    with postgres_server.borrow_database() as name:
        switch = Switch(postgres_server, name)
        store = Store("postgres", {"postgres_dsn": postgres_server.dsn(name)}, {})
        yield switch, store
        switch.remove()


GONE = [("", "-wal", "-shm"), ("",), ("-wal",), ("-shm",), ("-wal", "-shm")]
NAMES = ["all", "alone", "wal", "shm", "wal_and_shm"]
LOOKS_AGAIN = 0.1
"""Seconds after which a process that writes has found out that its file is gone."""


def delete(path: Path, suffixes: tuple[str, ...]) -> None:
    """Delete these files, but none that runlog has created meanwhile."""
    files = [Path(f"{path}{suffix}") for suffix in suffixes]
    inodes = [file.stat().st_ino if file.exists() else 0 for file in files]
    for file, inode in zip(files, inodes, strict=True):
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_ino == inode:
                file.unlink()


def check_reported(texts: list[str], path: Path, times: int, each: int = 1) -> None:
    """Each deletion is an ERROR, with the path in it, and is reported up to so often.

    A deletion takes away several files, one after the other, and a program may have
    created one of them anew already. Of several processes, one may have opened the file
    that another replaces at once.
    """
    found = [text for text in texts if "was deleted" in text]
    assert times <= len(found) <= times * each, texts
    for text in found:
        assert text.startswith("ERROR: ")
        assert str(path) in text


DELETED = [
    pytest.param(suffixes, processes, id=f"{name}-{processes}")
    for suffixes, name in zip(GONE, NAMES, strict=True)
    for processes in ((1, 2) if "" in suffixes else (1,))
]
"""Where only the -wal is deleted, a process that is held up may lose runs to another."""


@pytest.mark.long_with("all-1", "alone-2", "shm-1", "wal-1")
@pytest.mark.parametrize(("suffixes", "processes"), DELETED)
def test_a_journal_deleted_under_load_is_recreated(
    suffixes: tuple[str, ...], processes: int, switched: Any, tmp_path: Path
) -> None:
    """What is logged after that is forwarded; with the file itself, all of it before."""
    switch, database = switched
    path = tmp_path / "journal.db"
    env = {"RUNLOG_SQLITE_PATH": str(path), "POSTGRES_DSN": switch.dsn}
    programs = [
        Program("filling", "until_logged", f"p{n}", folder=tmp_path, env=env)
        for n in range(processes)
    ]
    before = dict.fromkeys(programs, 0)

    def log_more() -> None:
        for program in programs:
            count = len(program.lines()) + 60
            until(lambda p=program, n=count: len(p.lines()) >= n)  # type: ignore[misc]

    for _ in range(3):
        log_more()
        delete(path, suffixes)
        time.sleep(LOOKS_AGAIN)
        if "" in suffixes:
            # of each of three threads, one may still have been under way
            before = {program: len(program.lines()) + 3 for program in programs}
    log_more()
    switch.on()
    for program in programs:
        program.tell("stop")
    ended = {program: program.wait() for program in programs}
    # a process that has its runs beside the file does not see that the file is deleted
    texts = [text for one in ended.values() for text in one.printed["texts"]]
    check_reported(texts, path, 3, processes * processes * len(suffixes))
    for program, one in ended.items():
        assert one.printed["flushed"], one.printed
        found = set(logged_ids(database.query))
        assert set(one.acknowledged[before[program] :]) <= found
    check_file(path)


def test_a_journal_deleted_while_idle_is_reported(switched: Any, tmp_path: Path) -> None:
    """Its runs are lost, which is reported, and nothing waits for them."""
    switch, _ = switched
    path = tmp_path / "journal.db"
    env = {"RUNLOG_SQLITE_PATH": str(path), "POSTGRES_DSN": switch.dsn}
    program = Program("filling", "quiet", "q", folder=tmp_path, env=env)
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == "logged\n"
    delete(path, GONE[0])
    switch.on()
    ended = program.wait()
    assert ended.printed["flushed"]
    check_reported(ended.printed["texts"], path, 1)
    assert ended.printed["stats"]["waiting"] == 0


@pytest.fixture
def journal_and_database(
    postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[tuple[dict[str, str], Store]]:
    """A journal whose server is away, and a database for what is in it."""
    env = {
        "RUNLOG_SQLITE_PATH": str(tmp_path / "journal.db"),
        "POSTGRES_DSN": refused_dsn(),
    }
    with postgres_server.borrow_database() as name:
        yield env, Store("postgres", {"postgres_dsn": postgres_server.dsn(name)}, {})


@pytest.mark.parametrize("suffixes", GONE, ids=NAMES)
def test_a_deleted_store_is_recreated(
    suffixes: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is logged after that is in the file at the path."""
    path = tmp_path / "runs.db"
    store = Store("sqlite", {"sqlite_path": str(path)}, {})
    acknowledged: dict[int, int] = {}
    deleted = dict.fromkeys(range(4), -1)  # up to which number runs may be lost
    stop = threading.Event()
    with runlog.Recorder(sqlite_path=str(path)) as recorder:

        def work(thread: int) -> None:
            number = 0
            while not stop.is_set():
                recorder.log_run(minimal(f"{thread}-{number}"))
                acknowledged[thread] = number
                number += 1

        def each_past(numbers: dict[int, int], more: int) -> bool:
            return all(
                acknowledged.get(t, 0) >= numbers.get(t, 0) + more for t in range(4)
            )

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            until(lambda before=dict(acknowledged): each_past(before, 10))  # type: ignore[misc]
            told = len(caplog.records)
            delete(path, suffixes)
            until(lambda before=told: len(caplog.records) > before)  # type: ignore[misc]
            time.sleep(LOOKS_AGAIN)
            if "" in suffixes:
                deleted = {thread: number + 1 for thread, number in acknowledged.items()}
        until(lambda before=dict(acknowledged): each_past(before, 20))  # type: ignore[misc]
        stop.set()
        for thread in threads:
            thread.join()
        expected = {
            f"{thread}-{number}"
            for thread in range(4)
            for number in range(deleted[thread] + 1, acknowledged[thread] + 1)
        }
        assert recorder.flush()
        kept = logged_ids(store.query)
        assert expected <= set(kept)
        assert set(kept.values()) == {1}
        assert recorder.get_run(f"0-{acknowledged[0]}") is not None
    texts = [f"{r.levelname}: {r.getMessage()}" for r in caplog.records]
    check_reported(texts, path, 5, len(suffixes))
    check_file(path)


NEWER = (
    "INSERT INTO runlog_migrations (number, name, checksum, applied_at) "
    "SELECT 999, '999_future.sql', checksum, applied_at "
    "FROM runlog_migrations WHERE number = 1"
)
OTHER_PROCESS = """
import runlog
try:
    print(runlog.log_run({"wpk_id": "w", "run_id": "other", "status": "completed"}))
except runlog.StoreError as error:
    print(error, error.retryable)
"""


def check_newer(text: str) -> None:
    assert re.search("newer .*upgrade runlog", text), text


def test_newer_tables_stop_only_new_processes(
    store: Store, run_python: RunPython
) -> None:
    """Who has them open goes on, as migrations only add; who comes is refused."""
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal("before"))
        store.query(NEWER)
        recorder.log_run(minimal("after"))
        done = run_python(OTHER_PROCESS, env=store.env)
        check_newer(done.stdout)
        assert done.stdout.endswith("False\n"), done.stdout
        recorder.log_run(minimal("last"))
        assert len(recorder.list_runs().runs) == 3
    assert set(logged_ids(store.query)) == {"before", "after", "last"}


def test_newer_tables_are_rejected_after_a_fork(tmp_path: Path) -> None:
    """The file is opened again on both sides, and what is refused is said."""
    store = Store("sqlite", {"sqlite_path": str(tmp_path / "runs.db")}, {})
    env = {"RUNLOG_SQLITE_PATH": store.options["sqlite_path"]}
    program = Program("filling", "newer_after_fork", folder=tmp_path, env=env)
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == "logged\n"
    store.query(NEWER)
    ended = program.wait()
    lines = ended.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        check_newer(line)
    check_stored(store.query, ended.acknowledged)


def test_a_journal_of_a_newer_version_is_rejected(
    journal_and_database: tuple[dict[str, str], Store], run_python: RunPython
) -> None:
    """Found at first use, with the server away or up; who has it open goes on."""
    env, database = journal_and_database
    path = env["RUNLOG_SQLITE_PATH"]
    journal = Store("sqlite", {"sqlite_path": path}, {})
    with runlog.Recorder(postgres_dsn=env["POSTGRES_DSN"], sqlite_path=path) as recorder:
        recorder.log_run(minimal("before"))
        journal.query(NEWER)
        recorder.log_run(minimal("after"))
        check_newer(run_python(OTHER_PROCESS, env=env).stdout)
    up = {"POSTGRES_DSN": database.options["postgres_dsn"], "RUNLOG_SQLITE_PATH": path}
    check_newer(run_python(OTHER_PROCESS, env=up).stdout)
    waiting = journal.query("SELECT run_id FROM journal ORDER BY seq")
    assert waiting == [("before",), ("after",)]


WRONG_VALUES: dict[str, list[Any]] = {
    "postgres_timeout": [
        *(-1, 0, 0.0, float("nan"), float("inf"), 1e300),
        *("abc", "nan", "-5", True, []),
    ],
    "postgres_pool": [0, 65, -1, "x", 2.5, "1.5", True, []],
    "durability": ["network", "STORE", 1, True, b"disk"],
}
WRONG = [(name, value) for name, values in WRONG_VALUES.items() for value in values]
VARIABLES = {
    "postgres_timeout": "RUNLOG_POSTGRES_TIMEOUT",
    "postgres_pool": "RUNLOG_POSTGRES_POOL",
    "durability": "RUNLOG_DURABILITY",
}


@pytest.mark.parametrize(("option", "value"), WRONG)
def test_an_invalid_option_raises(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{option} \({VARIABLES[option]}\)"):
        runlog.Recorder(postgres_dsn=refused_dsn(), **{option: value})


@pytest.mark.parametrize(
    ("option", "value"), [(o, v) for o, v in WRONG if isinstance(v, str)]
)
def test_an_invalid_variable_raises(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[option], value)
    monkeypatch.setenv("POSTGRES_DSN", refused_dsn())
    with pytest.raises(ConfigError, match=rf"^{option} \({VARIABLES[option]}\)"):
        runlog.log_run(minimal())
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"postgres_timeout": None, "postgres_pool": None, "durability": None},
        {"postgres_timeout": 1, "postgres_pool": 1, "durability": "store"},
        {"postgres_timeout": "0.5", "postgres_pool": "64", "durability": "journal"},
    ],
)
def test_valid_options_are_accepted(options: dict[str, Any], store: Store) -> None:
    if store.kind == "sqlite" and options["durability"] == "store":
        options = options | {"durability": "disk"}
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(minimal())
        assert recorder.get_run("r1") is not None
