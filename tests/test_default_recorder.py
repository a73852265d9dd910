"""The module's functions, which share one recorder made from the environment."""

import asyncio
import contextlib
import json
import logging
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures_postgres import PostgresServer
from fixtures_store import Store
from helpers import locked, minimal, stored, until

import runlog
from runlog import _default
from runlog.recorder import close_all

if TYPE_CHECKING:
    from conftest import RunPython

ONE_LINE = (
    "from runlog import log_run; "
    "print(log_run({'wpk_id':'test','run_id':'r1','inputs':{},'outputs':{'text':'ok'},'status':'completed','node_logs':[],'duration_ms':123}))"
)
COUNT = (
    "import sqlite3; conn=sqlite3.connect('test_runs.db'); "
    "print(conn.execute('SELECT COUNT(*) FROM workflow_runs').fetchone())"
)


@pytest.fixture
def environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store's settings in the environment, as a user has them."""
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    return store


def test_the_one_liner_on_sqlite(run_python: "RunPython", tmp_path: Path) -> None:
    done = run_python(ONE_LINE)
    assert (done.stdout, done.returncode) == ("r1\n", 0), done.stderr
    done = run_python(COUNT)
    assert (done.stdout, done.returncode) == ("(1,)\n", 0), done.stderr
    assert (tmp_path / "test_runs.db").stat().st_mode & 0o777 == 0o600


def test_the_one_liner_on_postgres(
    run_python: "RunPython", postgres_server: PostgresServer, tmp_path: Path
) -> None:
    name = postgres_server.create_database()
    done = run_python(ONE_LINE, env={"POSTGRES_DSN": postgres_server.dsn(name)})
    assert (done.stdout, done.stderr, done.returncode) == ("r1\n", "", 0)
    assert "workflow_runs" in postgres_server.psql(r"\dt workflow_runs", name)
    assert postgres_server.psql("SELECT run_id FROM workflow_runs", name) == "r1\n"
    assert not (tmp_path / "test_runs.db").exists()


def test_import_opens_nothing(run_python: "RunPython", tmp_path: Path) -> None:
    done = run_python("import runlog; runlog.Recorder(); runlog.close(); print('ok')")
    assert done.stdout == "ok\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_functions_of_the_module_use_the_default_recorder(environment: Store) -> None:
    assert runlog.log_run(minimal("r1", thread_id="t")) == "r1"
    assert runlog.log_run(minimal("r2")) == "r2"
    assert [row[0] for row in runlog.get_runs_by_wpk_id("w")] == ["r2", "r1"]
    assert stored(runlog)["thread_id"] == "t"
    assert [run["run_id"] for run in runlog.list_runs(thread_id="t").runs] == ["r1"]
    assert runlog.flush() is True
    assert runlog.stats()["runs"] == 2
    assert runlog.delete_runs(run_id="r1") == 1
    assert environment.query("SELECT run_id FROM workflow_runs") == [("r2",)]


def test_the_environment_is_read_at_first_use_and_again_after_close(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.db" for number in range(3)]
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(paths[0]))
    runlog.log_run(minimal("r0"))
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(paths[1]))
    runlog.log_run(minimal("r1"))
    assert not paths[1].exists()
    runlog.close()
    runlog.close()
    runlog.log_run(minimal("r2"))
    assert [run["run_id"] for run in runlog.list_runs().runs] == ["r2"]
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(paths[0]))
    runlog.close()
    assert [run["run_id"] for run in runlog.list_runs().runs] == ["r1", "r0"]


INSIDE = """
import faulthandler, signal, sys
import runlog
faulthandler.dump_traceback_later(60, exit=True)

def at_call_of(name, work):
    \"\"\"Do something where a signal's handler or a finalizer might, once.\"\"\"
    def look(frame, event, arg):
        if event == "call" and frame.f_code.co_name == name:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, lambda *_: work())
    sys.setprofile(look)

def run(name):
    return {"wpk_id": "w", "run_id": name, "status": "completed"}

"""


@pytest.mark.parametrize(
    "code",
    [
        "at_call_of('__init__', lambda: runlog.log_run(run('inner')))",
        "at_call_of('_create', lambda: runlog.log_run(run('inner')))",
        "at_call_of('_log_fallback', lambda: runlog.log_run(run('inner')))",
        "at_call_of('__init__', lambda: runlog.configure(durability='disk'))",
    ],
)
def test_code_that_runs_while_the_recorder_is_made_may_use_it(
    run_python: "RunPython", code: str
) -> None:
    """A signal's handler runs between any two steps of its thread."""
    done = run_python(
        f"{INSIDE}{code}\nrunlog.log_run(run('outer'))\n"
        "print(sorted(r['run_id'] for r in runlog.list_runs().runs), sys.getprofile())"
    )
    names = ["inner", "outer"] if "inner" in code else ["outer"]
    assert (done.stdout, done.returncode) == (f"{names} None\n", 0), done.stderr


def test_a_handler_of_logging_may_close_the_recorder_it_is_told_of(
    run_python: "RunPython",
) -> None:
    """Each graph's end takes the next recorder, as often as one is closed."""
    done = run_python(
        f"{INSIDE}"
        "import logging\n"
        "from handler_graphs import chain, node\n"
        "from runlog.hooks import RunLogHandler\n"
        "class Closes(logging.Handler):\n"
        "    left = 3\n"
        "    def emit(self, record):\n"
        "        if self.left and 'POSTGRES_DSN' in record.getMessage():\n"
        "            self.left -= 1\n"
        "            runlog.close()\n"
        "closes = Closes()\n"
        "def close(state):\n"
        "    logging.getLogger('runlog').addHandler(closes)\n"
        "    runlog.close()\n"
        "    return state\n"
        "graph = chain('g', first=close, second=node('second'))\n"
        "graph.invoke({'n': 0}, {'callbacks': [RunLogHandler()]})\n"
        "print([run['status'] for run in runlog.list_runs().runs], closes.left)\n",
        env={"PYTHONPATH": str(Path(__file__).parent)},
    )
    assert (done.stdout, done.returncode) == ("['completed'] 0\n", 0), done.stderr


def test_configure_overrides_the_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(tmp_path / "unused.db"))
    runlog.configure(**store.options, redact=["pin"])
    runlog.log_run(minimal(inputs={"pin": 1, "password": 2}))
    assert stored(runlog)["inputs"] == {"pin": "<redacted>", "password": 2}
    assert store.query("SELECT run_id FROM workflow_runs") == [("r1",)]
    assert runlog.stats()["store"] == store.kind
    assert not (tmp_path / "unused.db").exists()


def test_configure_replaces_the_recorder_in_use(store: Store, tmp_path: Path) -> None:
    runlog.configure(sqlite_path=str(tmp_path / "first.db"))
    runlog.log_run(minimal("r1"))
    runlog.configure(**store.options)
    runlog.log_run(minimal("r2"))
    assert [run["run_id"] for run in runlog.list_runs().runs] == ["r2"]


CALLS: dict[str, Any] = {
    "log_run": lambda: runlog.log_run(minimal()),
    "alog_run": lambda: asyncio.run(runlog.alog_run(minimal())),
    "list_runs": lambda: runlog.list_runs(wpk_id="w").runs,
    "acount_runs": lambda: asyncio.run(runlog.acount_runs()).runs,
    "insights": lambda: runlog.insights().findings,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("replaced", [True, False])
def test_another_thread_closes_the_recorder_before_the_call_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any, replaced: bool
) -> None:
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(tmp_path / "runs.db"))
    get, left = _default.default_recorder, [3]

    def get_late() -> runlog.Recorder:
        recorder = get()
        if left[0]:
            left[0] -= 1
            other = threading.Thread(
                target=runlog.configure if replaced else runlog.close
            )
            other.start()
            other.join()
        return recorder

    want = call()
    monkeypatch.setattr(_default, "default_recorder", get_late)
    assert call() == want
    assert left == [0]


def test_a_default_recorder_that_is_closed_for_good_raises() -> None:
    _default.default_recorder().close()
    with pytest.raises(runlog.ClosedError):
        runlog.log_run(minimal())


def test_configure_raises_the_same_errors_as_recorder(store: Store) -> None:
    runlog.configure(**store.options)
    with pytest.raises(runlog.ConfigError, match="max_payload"):
        runlog.configure(max_payload=-1)
    with pytest.raises(TypeError, match="sqlite_file"):
        runlog.configure(sqlite_file="x.db")
    runlog.log_run(minimal())
    assert store.query("SELECT count(*) FROM workflow_runs") == [(1,)]


def test_an_invalid_variable_raises_at_first_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNLOG_MAX_PAYLOAD", "abc")
    with pytest.raises(runlog.ConfigError, match="RUNLOG_MAX_PAYLOAD"):
        runlog.log_run(minimal())
    monkeypatch.delenv("RUNLOG_MAX_PAYLOAD")
    assert runlog.log_run(minimal()) == "r1"


def test_database_fallback_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="runlog"):
        runlog.log_run(minimal("r1"))
        runlog.log_run(minimal("r2"))
        runlog.list_runs()
    (record,) = [r for r in caplog.records if r.name == "runlog"]
    assert record.levelno == logging.WARNING
    assert "SQLite" in record.getMessage()
    assert "test_runs.db" in record.getMessage()
    with contextlib.closing(sqlite3.connect("test_runs.db")) as connection:
        assert connection.execute("SELECT count(*) FROM workflow_runs").fetchone() == (2,)


def test_a_configured_sqlite_file_logs_no_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(tmp_path / "chosen.db"))
    with caplog.at_level(logging.DEBUG, logger="runlog"):
        runlog.log_run(minimal("r1"))
        runlog.log_run(minimal("r2"))
    (record,) = [r for r in caplog.records if r.name == "runlog"]
    assert record.levelno == logging.INFO
    assert "SQLite" in record.getMessage()


def test_postgres_logs_no_fallback_warning(
    environment: Store, caplog: pytest.LogCaptureFixture
) -> None:
    if environment.kind == "postgres":
        with caplog.at_level(logging.DEBUG, logger="runlog"):
            runlog.log_run(minimal("r1"))
        assert [r for r in caplog.records if r.levelno >= logging.INFO] == []
    assert runlog.stats()["store"] == environment.kind


def test_generate_embedding_no_key() -> None:
    assert runlog.generate_embedding("some text") is None


def test_upsert_to_milvus_no_endpoint() -> None:
    assert runlog.upsert_to_milvus("r1", [0.1, 0.2], {"wpk_id": "w"}) is False


def test_a_closed_recorder_raises_a_clear_error(store: Store) -> None:
    recorder = runlog.Recorder(**store.options)
    recorder.log_run(minimal())
    prepared = recorder.prepare(minimal("r2"))
    recorder.close()
    recorder.close()
    calls: list[Any] = [
        lambda: recorder.log_run(minimal()),
        lambda: recorder.commit(prepared),
        lambda: recorder.get_run("r1"),
        recorder.list_runs,
        lambda: recorder.get_runs_by_wpk_id("w"),
        lambda: recorder.delete_runs(wpk_id="w"),
    ]
    for call in calls:
        with pytest.raises(runlog.ClosedError):
            call()
    assert store.query("SELECT run_id FROM workflow_runs") == [("r1",)]


def test_a_recorder_is_a_context_manager(store: Store) -> None:
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal())
    with pytest.raises(runlog.ClosedError):
        recorder.log_run(minimal())
    with pytest.raises(KeyError), runlog.Recorder(**store.options) as recorder:
        raise KeyError
    with runlog.Recorder(**store.options) as recorder:
        assert recorder.get_run("r1") is not None


def test_runs_of_a_recorder_that_was_never_closed_are_stored(
    store: Store, run_python: "RunPython"
) -> None:
    code = """
import runlog
run = {"wpk_id": "w", "run_id": "r1", "status": "completed"}
runlog.Recorder().log_run(run)
kept = runlog.Recorder()
kept.log_run(run | {"run_id": "r2"})
runlog.log_run(run | {"run_id": "r3"})
"""
    done = run_python(code, env=store.env)
    assert done.returncode == 0, done.stderr
    rows = store.query("SELECT run_id FROM workflow_runs ORDER BY run_id")
    assert rows == [("r1",), ("r2",), ("r3",)]


def test_all_recorders_are_closed_while_another_thread_opens_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told of by a reference that opens one when it is looked at."""
    others: dict[int, Any] = {1: lambda: others.update({2: None})}
    monkeypatch.setattr("runlog.recorder._closed", False)
    monkeypatch.setattr("runlog.recorder._open", others)
    close_all()
    assert len(others) == 2


def test_stats(recorder: Any, store: Store) -> None:
    before = recorder.stats()
    assert (before["store"], before["runs"], before["commits"]) == (store.kind, 0, 0)
    for number in range(3):
        recorder.log_run(minimal(f"r{number}"))
    with pytest.raises(runlog.ValidationError):
        recorder.log_run({})
    stats = recorder.stats()
    names = "runs commits failed largest_commit queued"
    names += " handler_errors handler_ignored handler_unrecognised handler_spilled"
    names += " handler_dropped open_runs"
    assert [stats[name] for name in names.split()] == [
        *(3, 3, 0, 1, 0),
        *(0, 0, 0, 0, 0, 0),
    ]
    json.dumps(stats)


def test_flush_waits_for_other_threads(recorder: Any, store: Store) -> None:
    assert recorder.flush() is True
    recorder.log_run(minimal("r0"))
    with locked(store):
        thread = threading.Thread(target=recorder.log_run, args=(minimal("r1"),))
        thread.start()
        until(lambda: recorder.flush(0.01) is False)
        assert recorder.flush(0) is False
    assert recorder.flush(60) is True
    assert recorder.get_run("r1") is not None
    thread.join()


@pytest.mark.parametrize(
    "timeout", [-1, -0.001, float("nan"), "5", [], float("-inf")], ids=repr
)
def test_flush_rejects_an_invalid_timeout(recorder: Any, timeout: Any) -> None:
    with pytest.raises(runlog.ValidationError, match="timeout"):
        recorder.flush(timeout)


@pytest.mark.parametrize("timeout", [None, 0, 0.5, 1e9, float("inf")], ids=repr)
def test_flush_with_nothing_to_write_returns_true(recorder: Any, timeout: Any) -> None:
    assert recorder.flush(timeout) is True


async def test_the_asyncio_functions_do_the_same(environment: Store) -> None:
    assert await runlog.alog_run(minimal("r1", outputs={"a": 1})) == "r1"
    assert await runlog.aget_run("r1", "w") == stored(runlog)
    assert await runlog.aget_run("r2") is None
    assert (await runlog.aget_runs_by_wpk_id("w", limit=1, offset=0))[0][0] == "r1"
    assert [run["run_id"] for run in (await runlog.alist_runs(wpk_id="w")).runs] == ["r1"]
    assert await runlog.aflush(60) is True
    with pytest.raises(runlog.ValidationError, match="status"):
        await runlog.alog_run({"wpk_id": "w", "run_id": "r1"})
    with pytest.raises(runlog.ValidationError, match="limit"):
        await runlog.alist_runs(limit=0)


async def test_many_runs_are_logged_at_once_on_one_loop(environment: Store) -> None:
    runs = [minimal(f"r{number}", inputs={"n": number}) for number in range(200)]
    ids = await asyncio.gather(*(runlog.alog_run(run) for run in runs))
    assert ids == [run["run_id"] for run in runs]
    rows = await runlog.aget_runs_by_wpk_id("w", limit=1000)
    assert {row[0] for row in rows} == set(ids)
    assert environment.query("SELECT count(*) FROM workflow_runs") == [(200,)]


async def test_the_event_loop_is_not_blocked_by_a_busy_database(
    environment: Store,
) -> None:
    await runlog.alog_run(minimal("r0"))
    with locked(environment):
        tasks = [
            asyncio.create_task(runlog.alog_run(minimal(f"r{n}"))) for n in range(1, 20)
        ]
        turns = 0
        while turns < 100 and not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            turns += 1
        assert turns > 1  # else the loop stood still until they were beside the file
    await asyncio.gather(*tasks)
    assert len(await runlog.aget_runs_by_wpk_id("w")) == 20


async def test_a_run_is_encoded_when_its_coroutine_starts(environment: Store) -> None:
    await runlog.alog_run(minimal("r0"))
    inputs = {"items": [1]}
    with locked(environment):
        task = asyncio.create_task(runlog.alog_run(minimal(inputs=inputs)))
        await asyncio.sleep(0)
        inputs["items"].append(2)
    await task
    assert stored(runlog)["inputs"] == {"items": [1]}


def test_asyncio_is_imported_only_when_it_is_needed(run_python: "RunPython") -> None:
    code = (
        "import sys, runlog; print('asyncio' in sys.modules, 'langgraph' in sys.modules)"
    )
    assert run_python(code).stdout.split() == ["False", "False"]


def test_langgraph_is_not_needed(run_python: "RunPython") -> None:
    code = "import sys; sys.modules['langgraph'] = sys.modules['langchain_core'] = None\n"
    done = run_python(code + ONE_LINE)
    assert done.stdout == "r1\n", done.stderr


def test_the_source_tree_uses_the_installed_extension(
    tmp_path: Path, run_python: Any
) -> None:
    """`python -c` in a clone finds the folder runlog/ first, which has no extension."""
    root = Path(__file__).resolve().parent.parent
    code = "import runlog; print(runlog.__file__, runlog.log_run({RUN}))".replace(
        "{RUN}", "{'wpk_id': 'w', 'run_id': 'r1', 'status': 'completed'}"
    )
    env = {"RUNLOG_SQLITE_PATH": str(tmp_path / "runs.db")}
    done = run_python(code, cwd=root, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{root / 'runlog' / '__init__.py'} r1\n"


def test_a_source_tree_without_a_build_says_so() -> None:
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import runlog"],
        env={"PYTHONPATH": ""},
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "pip install ." in last
    assert "No module named 'runlog._runlog'" in last
    assert "is absent" in last
