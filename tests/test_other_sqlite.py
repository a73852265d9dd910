"""What else a process does with runlog's SQLite file drops no lock and loses no run.

A POSIX lock of a process ends when the process closes any descriptor of the file, and two
copies of SQLite in one process know nothing of each other's locks. Here are both: what
opens and closes the file, and modules that bring a SQLite of their own. The programs are
in other_sqlite.py; each ends by kill -9.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers import minimal
from torture.programs import check_file
from torture.test_locked import WRITE, Holder

import runlog

PROGRAMS = Path(__file__).with_name("other_sqlite.py")
MODULES = ["pysqlite3", "apsw"]
PLAIN = ["plain", "read", "append", "copy"]
AWAY = "postgresql://127.0.0.1:1/nowhere"


def begin(path: Path, *args: str, dsn: str = "") -> subprocess.Popen[str]:
    env = {**os.environ, "RUNLOG_SQLITE_PATH": str(path)}
    if dsn:
        env["POSTGRES_DSN"] = dsn
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS), *args],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(program: subprocess.Popen[str]) -> list[str]:
    """Wait until a program has killed itself; return the lines it has printed."""
    out, err = program.communicate(timeout=120)
    assert program.returncode == -signal.SIGKILL, err
    assert "was deleted" not in err
    return out.splitlines()


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute(sql)]


def check_runs(path: Path, printed: list[str], table: str = "workflow_runs") -> None:
    """Every acknowledged run is stored, once, in a file that is in order."""
    acknowledged = [line for line in printed if not line.startswith("theirs ")]
    assert acknowledged
    assert sorted(rows(path, f"SELECT run_id FROM {table}")) == sorted(acknowledged)
    check_file(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with runlog's tables, and one of somebody else's."""
    made = tmp_path / "runs.db"
    with runlog.Recorder(sqlite_path=str(made)) as recorder:
        recorder.list_runs()
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("CREATE TABLE theirs (name TEXT)")
    return made


@pytest.mark.parametrize("how", MODULES + PLAIN)
def test_the_store_is_used_otherwise(path: Path, how: str) -> None:
    check_runs(path, end(begin(path, "once", how, str(path))))


@pytest.mark.parametrize("how", MODULES + PLAIN)
def test_the_journal_is_used_otherwise(tmp_path: Path, how: str) -> None:
    journal = tmp_path / "journal.db"
    printed = end(begin(journal, "once", how, str(journal), dsn=AWAY))
    check_runs(journal, printed, "journal")


@pytest.mark.parametrize("how", MODULES + PLAIN)
def test_the_file_beside_a_locked_one_is_used_otherwise(path: Path, how: str) -> None:
    beside = Path(f"{path}-beside")
    with Holder(path, *WRITE):
        printed = end(begin(path, "once", how, str(beside)))
        check_runs(beside, printed, "journal")
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal("next"))
        assert recorder.flush(60)
    check_runs(path, [*printed, "next"])


@pytest.mark.parametrize(
    ("one", "another"), [("pysqlite3", "apsw"), ("plain", "pysqlite3"), ("apsw", "copy")]
)
def test_two_processes_use_the_file_otherwise(path: Path, one: str, another: str) -> None:
    programs = [
        begin(path, "often", how, str(path), f"p{number}")
        for number, how in enumerate([one, another])
    ]
    printed = [line for program in programs for line in end(program)]
    # what still waits beside the file is folded in
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal("next"))
        assert recorder.flush(60)
    check_runs(path, [*printed, "next"])
    theirs = sum(int(line.split()[1]) for line in printed if line.startswith("theirs "))
    assert theirs > 0
    assert rows(path, "SELECT count(DISTINCT name) FROM theirs") == [theirs]


@pytest.mark.parametrize("module", MODULES)
def test_a_transaction_of_another_sqlite_keeps_its_locks(path: Path, module: str) -> None:
    printed = end(begin(path, "write_lock", module, str(path)))
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal("next"))
        assert recorder.flush(60)
    check_runs(path, [*printed, "next"])
    assert rows(path, "SELECT name FROM theirs") == ["held"]


@pytest.mark.parametrize("how", ["pysqlite3", "plain"])
def test_parent_and_children_use_the_file_otherwise(path: Path, how: str) -> None:
    printed = end(begin(path, "forks", how, str(path)))
    with runlog.Recorder(sqlite_path=path) as recorder:
        assert recorder.flush()  # runs that the last process left beside the file
    check_runs(path, printed)
    assert len(rows(path, "SELECT name FROM theirs")) == 10


@pytest.mark.parametrize("module", MODULES)
def test_another_sqlite_reads_while_runlog_writes(path: Path, module: str) -> None:
    check_runs(path, end(begin(path, "snapshot", module, str(path))))


@pytest.mark.parametrize("module", MODULES)
def test_closing_leaves_no_descriptor(path: Path, module: str) -> None:
    end(begin(path, "descriptors", module, str(path)))


def test_the_last_connection_removes_the_wal(path: Path) -> None:
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal())
        assert Path(f"{path}-wal").stat().st_size > 0
    assert [left.name for left in path.parent.iterdir()] == [path.name]
