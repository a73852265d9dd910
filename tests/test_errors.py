"""Databases that can't be used: a StoreError that says which and why, and no secrets."""

import itertools
import logging
import os
import pickle
import socket
import sqlite3
import stat
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer
from fixtures_store import Store
from handler_graphs import chain, two_nodes, with_id
from helpers import minimal, until

import runlog
from runlog import ConfigError, StoreError
from runlog.hooks import RunLogHandler

if TYPE_CHECKING:
    from conftest import RunPython

PASSWORD = "hunter2-correct-horse"


def error_of_every_call(recorder: Any) -> StoreError:
    """The error of a recorder whose database can't be used, the same for every call."""
    with pytest.raises(StoreError) as caught:
        recorder.log_run(minimal())
    for call in (recorder.list_runs, lambda: recorder.get_run("r1")):
        with pytest.raises(StoreError):
            call()
    assert isinstance(caught.value, runlog.RunlogError)
    assert recorder.stats()["runs"] == 0
    assert recorder.stats()["failed"] == 1
    return caught.value


def error_while_journaling(recorder: Any) -> str:
    """What is said of a server that can't be used, while runs go to the journal."""
    assert recorder.log_run(minimal()) == "r1"
    with pytest.raises(StoreError):
        recorder.get_run("r1")
    stats = recorder.stats()
    assert (stats["server"], stats["failed"]) == ("away", 0)
    assert (stats["journaled"], stats["waiting"], stats["forwarded"]) == (1, 1, 0)
    return str(stats["server_error"])


def all_messages(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    lines = traceback.format_exception(error)
    attributes = [
        repr(getattr(error, name)) for name in dir(error) if not name.startswith("__")
    ]
    return "\n".join(
        [*lines, str(error), repr(error), repr(error.args), caplog.text, *attributes]
    )


def test_an_unreachable_server_is_named_without_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening: connections are refused
        port = taken.getsockname()[1]
        dsn = f"host=127.0.0.1 port={port} dbname=d user=u password={PASSWORD}"
        with runlog.Recorder(postgres_dsn=dsn) as recorder:
            said = error_while_journaling(recorder)
            with pytest.raises(StoreError) as caught:
                recorder.list_runs()
    assert str(port) in said
    assert caught.value.sqlstate is None
    assert caught.value.retryable is True
    assert PASSWORD not in said + all_messages(caught.value, caplog)
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert "runs are stored in the journal" in line.getMessage()
    assert str(port) in line.getMessage()


UNPARSABLE = [
    f"host=localhost password={PASSWORD} nonsense",
    f"host=localhost password=x {PASSWORD}",
    f"host=localhost password='{PASSWORD}",
    f"postgres://u:{PASSWORD}%zz@localhost/db",
    f"postgresql://u:{PASSWORD}@[::1/db",
    f"postgres://u:{PASSWORD}@localhost/db?nonsense=1",
    f"postgres://u@localhost/db?password={PASSWORD}&password",
    PASSWORD,
]
REFUSED_LATER = [  # they parse; what is wrong in them libpq sees when it connects
    f"postgres://u:{PASSWORD}@localhost:notaport/db",
    f"host=localhost sslmode=nonsense password={PASSWORD}",
]


@pytest.mark.parametrize("dsn", [*UNPARSABLE, *REFUSED_LATER], ids=itertools.count())
def test_a_dsn_that_cannot_be_parsed(dsn: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        error = error_of_every_call(recorder)
        assert PASSWORD not in repr(recorder) + repr(recorder.stats())
    assert error.retryable is False
    assert PASSWORD not in all_messages(error, caplog)


def test_a_working_recorder_never_logs_the_password(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    dsn = postgres_server.dsn(postgres_server.create_database(), password=PASSWORD)
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        recorder.log_run(minimal())
        assert PASSWORD not in repr(recorder) + repr(recorder.stats()) + caplog.text


@pytest.fixture
def role_with_password(postgres_server: PostgresServer) -> Iterator[Any]:
    """A role that the server asks for its password."""
    name = "asked"
    postgres_server.query(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    ((path,),) = postgres_server.query("SHOW hba_file")
    with Path(path).open("r+", encoding="utf-8") as file:
        before = file.read()
        file.seek(0)
        file.write(
            f"local all {name} scram-sha-256\nhost all {name} all scram-sha-256\n{before}"
        )
    postgres_server.query("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 60
    while True:  # the server rereads the file when it gets round to it
        try:
            psycopg.connect(postgres_server.dsn(user=name, password="wrong")).close()
        except psycopg.OperationalError:
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield name
    with Path(path).open("w", encoding="utf-8") as file:
        file.write(before)
    postgres_server.query("SELECT pg_reload_conf()")


def test_a_wrong_password(
    postgres_server: PostgresServer,
    role_with_password: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = PASSWORD[::-1]
    dsn = postgres_server.dsn(user=role_with_password, password=wrong)
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        said = error_while_journaling(recorder)
        with pytest.raises(StoreError, match="password authentication failed") as caught:
            recorder.list_runs()
    assert "password authentication failed" in said
    assert wrong not in said + all_messages(caught.value, caplog)


def test_a_database_that_does_not_exist(postgres_server: PostgresServer) -> None:
    with runlog.Recorder(postgres_dsn=postgres_server.dsn("nowhere")) as recorder:
        assert "nowhere" in error_while_journaling(recorder)


def test_an_error_of_the_server_has_its_sqlstate(
    postgres_server: PostgresServer,
) -> None:
    name = postgres_server.create_database()
    with runlog.Recorder(postgres_dsn=postgres_server.dsn(name)) as recorder:
        recorder.log_run(minimal())
        postgres_server.query("ALTER TABLE workflow_runs RENAME TO gone", dbname=name)
        with pytest.raises(StoreError) as caught:
            recorder.log_run(minimal("r2"))
        assert caught.value.sqlstate == "42P01"
        assert caught.value.retryable is False
        with pytest.raises(StoreError):
            recorder.list_runs()
        postgres_server.query("ALTER TABLE gone RENAME TO workflow_runs", dbname=name)
        recorder.log_run(minimal("r3"))
        assert {run["run_id"] for run in recorder.list_runs().runs} == {"r1", "r3"}


def test_a_dropped_connection_is_reopened(postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database()
    with runlog.Recorder(postgres_dsn=postgres_server.dsn(name)) as recorder:
        recorder.log_run(minimal("r1"))
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        postgres_server.query(cut, name)
        try:
            recorder.log_run(minimal("r2"))
        except StoreError as error:
            assert error.retryable is True
            recorder.log_run(minimal("r2"))
        postgres_server.query(cut, name)
        try:
            page = recorder.list_runs()
        except StoreError as error:
            assert error.retryable is True
            page = recorder.list_runs()
        assert [run["run_id"] for run in page.runs] == ["r2", "r1"]


def paths(tmp_path: Path) -> Any:
    """SQLite paths that can't be used, whoever one is; root may write anywhere else."""
    file = tmp_path / "file"
    file.write_text("just a file")
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "text.db").write_text("this is no database, " * 1000)
    (tmp_path / "short.db").write_bytes(b"SQLite format 3")
    return {
        "missing folder": tmp_path / "missing" / "runs.db",
        "below a file": file / "runs.db",
        "in /proc": "/proc/runs.db",
        "folder": folder,
        "text": tmp_path / "text.db",
        "cut short": tmp_path / "short.db",
    }


@pytest.mark.parametrize(
    "which", ["missing folder", "below a file", "in /proc", "folder", "text", "cut short"]
)
def test_an_unusable_path_is_named_in_the_error(tmp_path: Path, which: Any) -> None:
    path = paths(tmp_path)[which]
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        error = error_of_every_call(recorder)
    assert str(path) in str(error)
    assert error.sqlstate is None
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert {p: after[p] for p in before} == before


def test_a_database_damaged_behind_its_header(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        for number in range(50):
            recorder.log_run(minimal(f"r{number}", inputs="x" * 1000))
    data = path.read_bytes()
    for left in tmp_path.glob("runs.db-*"):
        left.unlink()
    path.write_bytes(data[:100] + b"\xff" * (len(data) - 100))
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        error = error_of_every_call(recorder)
    assert str(path) in str(error)


FULL_DISK = """
import random, resource, runlog, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
recorder = runlog.Recorder(sqlite_path=sys.argv[1])
run = {"wpk_id": "w", "status": "completed"}
recorder.log_run(run | {"run_id": "first"})
unlimited = resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, unlimited))
kept = 1
try:
    for number in range(10_000):
        recorder.log_run(run | {"run_id": str(number), "inputs": random.randbytes(8000)})
        kept += 1
except runlog.StoreError as error:
    print(type(error).__name__, kept, sys.argv[1] in str(error))
    print(error)
assert recorder.get_run("first") is not None
resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
recorder.log_run(run | {"run_id": "after"})
"""


def test_a_full_disk_loses_no_stored_run(tmp_path: Path, run_python: "RunPython") -> None:
    path = tmp_path / "runs.db"
    done = run_python(FULL_DISK, str(path))
    assert done.returncode == 0, done.stderr
    first, text = done.stdout.splitlines()
    name, kept, says_path = first.split()
    assert "File too large: a limit of the process" in text
    assert (name, says_path) == ("StoreError", "True")
    assert int(kept) > 5
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        count = connection.execute("SELECT count(*) FROM workflow_runs").fetchone()
        assert count == (int(kept) + 1,)


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with runlog.Recorder(sqlite_path=str(tmp_path / "runs.db")) as recorder:
            recorder.log_run(minimal())
            files = sorted(tmp_path.glob("runs.db*"))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["runs.db", "runs.db-shm", "runs.db-wal"], 0o600)


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "sometimes"},
        {"durability": ""},
        {"durability": 5},
        {"durability": "store"},
        {"max_payload": "lots"},
        {"max_payload": 0},
        {"max_payload": -1},
        {"max_payload": 1023},
        {"max_payload": 256 * 2**20 + 1},
        {"max_payload": 2**70},
        {"max_payload": 4096.0},
        {"max_payload": True},
        {"max_value": 1023},
        {"max_value": 256 * 2**20 + 1},
        {"max_value": "lots"},
        {"max_memory": 2**20 - 1},
        {"max_memory": 2**40 + 1},
        {"max_memory": "256 MB"},
        {"redact": 5},
        {"redact": [5]},
        {"redact": [None]},
        {"sqlite_path": 5},
        {"sqlite_path": ""},
        {"sqlite_path": "a\0b"},
        {"postgres_dsn": 5},
        {"postgres_dsn": "a\0b"},
    ],
    ids=repr,
)
def test_an_invalid_option_is_named(options: Any) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=name) as caught:
        runlog.Recorder(**options)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RUNLOG_MAX_PAYLOAD", "abc"),
        ("RUNLOG_MAX_PAYLOAD", "0"),
        ("RUNLOG_MAX_PAYLOAD", "-5"),
        ("RUNLOG_MAX_PAYLOAD", "4096.5"),
        ("RUNLOG_MAX_PAYLOAD", "99999999999999999999"),
        ("RUNLOG_MAX_VALUE", "1000"),
        ("RUNLOG_MAX_VALUE", "16MB"),
        ("RUNLOG_MAX_MEMORY", "1 GB"),
        ("RUNLOG_MAX_MEMORY", "1048575"),
        ("RUNLOG_DURABILITY", "sometimes"),
        ("RUNLOG_DURABILITY", "store"),
    ],
)
def test_an_invalid_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: Any, value: Any
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable):
        runlog.Recorder()


def test_an_empty_variable_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (
        "POSTGRES_DSN",
        "RUNLOG_MAX_PAYLOAD",
        "RUNLOG_MAX_VALUE",
        "RUNLOG_DURABILITY",
        "RUNLOG_SQLITE_PATH",
    ):
        monkeypatch.setenv(name, "")
    runlog.log_run(minimal())
    assert (tmp_path / "test_runs.db").exists()


def test_an_argument_overrides_its_variable(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setenv("RUNLOG_MAX_PAYLOAD", "abc")
    monkeypatch.setenv("RUNLOG_DURABILITY", "sometimes")
    options: dict[str, Any] = {"max_payload": 4096, "durability": "journal"}
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(minimal())


@pytest.mark.parametrize("durability", ["journal", "disk"])
def test_every_durability_stores_runs(store: Store, durability: Any) -> None:
    with runlog.Recorder(**store.options, durability=durability) as recorder:
        recorder.log_run(minimal())
        if store.kind == "postgres":  # the journal has it at once, the server soon
            assert recorder.stats()["journaled"] == 1
            assert recorder.flush(60)
        assert store.query("SELECT run_id FROM workflow_runs") == [("r1",)]


def test_durability_store_writes_to_postgres(postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database()
    with runlog.Recorder(
        postgres_dsn=postgres_server.dsn(name), durability="store"
    ) as recorder:
        recorder.log_run(minimal())
    assert postgres_server.psql("SELECT run_id FROM workflow_runs", name) == "r1\n"


def test_unknown_or_positional_arguments_are_type_errors() -> None:
    with pytest.raises(TypeError, match="sqlite_file"):
        runlog.Recorder(sqlite_file="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        runlog.Recorder("x.db")  # type: ignore[call-arg]


def test_errors_can_be_constructed_and_pickled() -> None:
    error = StoreError("bad")
    assert (error.sqlstate, error.retryable) == (None, False)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.sqlstate, copy.retryable) == ("bad", None, False)


# What a SQLite file refuses for good: a constraint or trigger of the user's

REFUSALS = {
    "abort": ("BEFORE", "RAISE(ABORT, 'no failed ones')", "no failed ones"),
    "rollback": ("AFTER", "RAISE(ROLLBACK, 'no failed ones')", "no failed ones"),
    "ignore": ("BEFORE", "RAISE(IGNORE)", "a trigger of the table workflow_runs ignores"),
}


@pytest.fixture(params=REFUSALS)
def refusing(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[runlog.Recorder, Path, str]]:
    """A recorder on a file that takes no failed run, and what it says of them."""
    when, action, text = REFUSALS[request.param]
    path = tmp_path / "runs.db"
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.log_run(minimal("first"))
        with closing(sqlite3.connect(path)) as other:
            other.execute(
                f"CREATE TRIGGER mine {when} INSERT ON workflow_runs "
                f"WHEN new.status = 'failed' BEGIN SELECT {action}; END"
            )
        yield recorder, path, text


def rows_of(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as other:
        return other.execute(sql).fetchall()


def test_a_refused_run_is_stored_as_rejected(
    refusing: tuple[runlog.Recorder, Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is in the table itself, and those beside it are well."""
    recorder, path, text = refusing
    large = {"doc": "y" * 20_000}
    for number in range(3):
        with pytest.raises(StoreError, match=text) as caught:
            recorder.log_run(minimal(f"f{number}", inputs=large) | {"status": "failed"})
        assert f"journal_rejected of {path}-beside" in str(caught.value)
        recorder.log_run(minimal(f"c{number}", inputs=large))
    assert recorder.stats()["rejected"] == 3
    assert rows_of(path, "SELECT run_id FROM workflow_runs ORDER BY rowid") == [
        ("first",),
        ("c0",),
        ("c1",),
        ("c2",),
    ]
    orphans = (
        "SELECT count(*) FROM run_parts WHERE id NOT IN (SELECT id FROM workflow_runs)"
    )
    assert rows_of(path, orphans) == [(0,)]
    kept = rows_of(Path(f"{path}-beside"), "SELECT run_id, reason FROM journal_rejected")
    assert [run_id for run_id, _ in kept] == ["f0", "f1", "f2"]
    assert all(text in reason for _, reason in kept)
    assert caplog.text.count("rejects a run") == 1


def test_a_refused_graph_is_stored_as_rejected(
    refusing: tuple[runlog.Recorder, Path, str],
) -> None:
    """And can be put back, once its table takes it."""
    recorder, path, text = refusing
    beside = Path(f"{path}-beside")
    graph = chain("refused", only=fails)
    handler = RunLogHandler(recorder=recorder, checkpoint_interval=None)
    with pytest.raises(ValueError, match="of the node"):
        graph.invoke({"n": 0}, {"callbacks": [handler]})
    assert recorder.stats()["rejected"] == 1
    assert status_of(path, "refused") is None
    ((reason, inputs),) = rows_of(beside, "SELECT reason, inputs FROM journal_rejected")
    assert text in reason and inputs == '{"n":0}'
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TRIGGER mine")
    with closing(sqlite3.connect(beside)) as other, other:
        documented = Path(__file__).parents[1] / "docs" / "operations.md"
        statement = documented.read_text().split("BEGIN IMMEDIATE;\n")[1]
        other.executescript(
            "BEGIN IMMEDIATE;\n" + statement.split("COMMIT;")[0] + "COMMIT;"
        )
    recorder.flush()
    until(lambda: status_of(path, "refused") == "failed")
    assert recorder.stats()["rejected"] == 0


def status_of(path: Path, wpk_id: str) -> str | None:
    rows = rows_of(path, f"SELECT status FROM workflow_runs WHERE wpk_id = '{wpk_id}'")
    return rows[0][0] if rows else None


def fails(state: Any) -> Any:
    raise ValueError("of the node")


def test_a_newer_log_that_changes_nothing_is_not_refused(tmp_path: Path) -> None:
    """As a log that is written again does: its row is there."""
    with runlog.Recorder(sqlite_path=tmp_path / "runs.db") as recorder:
        for _ in range(2):
            recorder.log_run(minimal())
        assert recorder.stats()["rejected"] == 0
    assert not (tmp_path / "runs.db-beside").exists()


RENAMES = {
    "abort": ("BEFORE", "RAISE(ABORT, 'no new names')"),
    "fail": ("AFTER", "RAISE(FAIL, 'no new names')"),
    "ignore": ("BEFORE", "RAISE(IGNORE)"),
}


@pytest.mark.parametrize("how", RENAMES)
def test_regression_runs_that_a_file_refuses_to_rename_are_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """As on PostgreSQL: they keep the names that they have, and that is said once."""
    path, same = tmp_path / "runs.db", uuid.uuid4()
    with runlog.Recorder(sqlite_path=path) as recorder:
        handler = RunLogHandler("g", recorder=recorder)
        two_nodes().invoke({"n": 0}, with_id(handler, same))
        with closing(sqlite3.connect(path)) as other:
            when, action = RENAMES[how]
            other.execute(
                f"CREATE TRIGGER mine {when} UPDATE OF run_id ON workflow_runs "
                f"WHEN old.run_id = '{same}' BEGIN SELECT {action}; END"
            )
        for _ in range(3):
            two_nodes().invoke({"n": 0}, with_id(handler, same))
        assert recorder.stats()["rejected"] == 0
        names = [run["run_id"] for run in recorder.list_runs(wpk_id="g").runs]
    assert names[::-1] == [str(same), *(f"{same}~{number}" for number in (2, 3, 4))]
    assert caplog.text.count("don't trade names") == 1


def test_regression_a_run_whose_name_ends_in_a_tilde_is_in_nobodys_way(
    recorder: runlog.Recorder,
) -> None:
    """Two others trade names all the same."""
    same = uuid.uuid4()
    recorder.log_run(minimal(f"{same}~") | {"wpk_id": "g"})
    handler = RunLogHandler("g", recorder=recorder)
    for _ in range(2):
        two_nodes().invoke({"n": 0}, with_id(handler, same))
    runs = recorder.list_runs(wpk_id="g").runs
    assert [run["run_id"] for run in runs] == [str(same), f"{same}~2", f"{same}~"]
