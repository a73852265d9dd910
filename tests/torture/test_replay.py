"""A batch that is forwarded again, whole or in part, changes nothing.

A process that dies after the server has committed and before the journal knows of it
leaves its batch to be forwarded once more. Here that is done on purpose: the journal is
put back to what it was, and forwarded again.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import SANITIZED
from fixtures_postgres import PostgresServer
from helpers import minimal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torture.load import Acknowledged, journal_rows
from torture.programs import give_away

import runlog

AWAY = "host=127.0.0.1 port=1 dbname=none user=nobody"
COLUMNS = (
    "run_id, status, duration_ms, thread_id, error_type, error_text, error_traceback, "
    "inputs, outputs, node_logs, metadata, owner"
)
EVERYTHING = "SELECT * FROM workflow_runs WHERE wpk_id = %s ORDER BY run_id"
DECIDED = "SELECT run_id, status, error_type, error_text, error_traceback, revision"

Query = Callable[..., list[Any]]
Log = dict[str, Any]


class Journal:
    """A journal file that can be filled, forwarded and put back."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.path = folder / "journal.db"
        self.dsn = dsn

    def fill(self, logs: Sequence[Log]) -> Path:
        """Log these while the server is away; return a copy of the file."""
        with runlog.Recorder(
            postgres_dsn=AWAY, sqlite_path=str(self.path), durability="journal"
        ) as recorder:
            for log in logs:
                recorder.log_run(log)
        return self.copy()

    def copy(self) -> Path:
        target = self.path.with_suffix(".copy")
        target.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(self.path)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        return target

    def put_back(self, copy: Path, *, order: Sequence[int] | None = None) -> None:
        """The file as it was; with only these rows (counted from 0), in that order."""
        for name in ("-wal", "-shm", ""):
            Path(f"{self.path}{name}").unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(copy)) as source,
            closing(sqlite3.connect(self.path)) as target,
        ):
            source.backup(target)
        if order is not None:
            self._reorder(order)

    def _reorder(self, order: Sequence[int]) -> None:
        with closing(sqlite3.connect(self.path)) as file:
            rows = [
                row for (row,) in file.execute("SELECT seq FROM journal ORDER BY seq")
            ]
            start = max(rows, default=0) + 1
            for place, number in enumerate(order):
                move = "UPDATE journal SET seq = ? WHERE seq = ?"
                file.execute(move, (start + place, rows[number]))
            file.execute("DELETE FROM journal WHERE seq < ?", (start,))
            file.commit()

    def forward(self) -> None:
        """Forward what is in it."""
        give_away(self.path)
        with runlog.Recorder(
            postgres_dsn=self.dsn, sqlite_path=str(self.path)
        ) as recorder:
            assert recorder.flush(60) is True
        assert journal_rows(str(self.path)) == []


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.borrow_database() as name:
        dsn = postgres_server.dsn(name)
        with runlog.Recorder(postgres_dsn=dsn) as recorder:
            recorder.log_run(minimal("first", "other"))
        yield dsn


@pytest.fixture
def query(postgres_server: PostgresServer, dsn: str) -> Query:
    import psycopg
    from fixtures_postgres import fetch

    def ask(sql: str, *params: object) -> list[Any]:
        with psycopg.connect(dsn, autocommit=True) as other:
            return fetch(other, sql, params)

    return ask


@pytest.fixture
def journal(tmp_path: Path, dsn: str) -> Journal:
    return Journal(tmp_path, dsn)


def story(count: int) -> list[Log]:
    """Runs that begin, are told of again, and end; interleaved."""
    logs = []
    for number in range(count):
        logs.append(minimal(f"r{number}", inputs=number) | {"status": "running"})
        if number % 3 == 0:
            logs.append(minimal(f"r{number}", outputs="early", duration_ms=number))
        if number >= 5:
            logs.append(minimal(f"r{number - 5}", outputs=[number - 5, "last"]))
    return logs


def latest(logs: Sequence[Log]) -> Acknowledged:
    """What the story ends with."""
    end = Acknowledged("w")
    for log in logs:
        if log["status"] == "running":
            end.states.setdefault(log["run_id"], ("running", None))
        else:
            end.states[log["run_id"]] = (log["status"], log["outputs"])
    return end


def test_forwarding_a_journal_again_changes_nothing(
    journal: Journal, query: Query
) -> None:
    logs = story(150)
    copy = journal.fill(logs)
    assert len(journal_rows(str(journal.path))) == len(logs)
    journal.forward()
    latest(logs).check(query)
    rows = query(EVERYTHING, "w")
    for _ in range(3):
        journal.put_back(copy)
        journal.forward()
        assert query(EVERYTHING, "w") == rows  # updated_at as well


def test_forwarding_a_part_of_a_journal_changes_nothing(
    journal: Journal, query: Query
) -> None:
    """Before the whole of it, and after it."""
    logs = story(60)
    copy = journal.fill(logs)
    for length in (1, 7, 50, 99, 100, 101):
        journal.put_back(copy, order=range(length))
        journal.forward()
        latest(logs[:length]).check(query)
    journal.put_back(copy)
    journal.forward()
    latest(logs).check(query)
    rows = query(EVERYTHING, "w")
    for length in (1, 7, 50, 99, 100, 101):
        journal.put_back(copy, order=range(length))
        journal.forward()
        assert query(EVERYTHING, "w") == rows


def test_a_replay_does_not_overwrite_later_direct_writes(
    journal: Journal, dsn: str, query: Query
) -> None:
    copy = journal.fill(
        [
            minimal("both", inputs="in", outputs="old"),
            minimal("begun", inputs="in") | {"status": "running"},
            minimal("failed") | {"status": "failed", "error_text": "gone by then"},
        ]
    )
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        for run_id in ("both", "begun", "failed"):
            recorder.log_run(minimal(run_id, outputs="new"))
        for _ in range(2):
            journal.forward()
            for run_id, inputs in (("both", "in"), ("begun", "in"), ("failed", None)):
                run = recorder.get_run(run_id, "w")
                assert run is not None
                assert (run["status"], run["outputs"]) == ("completed", "new")
                assert (run["inputs"], run["error_text"]) == (inputs, None)
            journal.put_back(copy)


def test_forwarding_two_copies_at_once_stores_each_run_once(
    tmp_path: Path, dsn: str, query: Query
) -> None:
    """Two copies, one of them backwards: they meet at the same rows, and deadlock."""
    logs = story(150)
    journals = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        journals.append(Journal(tmp_path / name, dsn))
    copy = journals[0].fill(logs)
    journals[1].put_back(copy, order=range(len(logs) - 1, -1, -1))
    threads = [threading.Thread(target=each.forward) for each in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latest(logs).check(query)
    assert [journal_rows(str(each.path)) for each in journals] == [[], []]


PAYLOADS = st.none() | st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2)
LOGS = st.lists(
    st.fixed_dictionaries(
        {
            "run_id": st.sampled_from(["r1", "r2", "r3"]),
            "status": st.sampled_from(["running", "completed", "failed"]),
        },
        optional={
            "inputs": PAYLOADS,
            "outputs": PAYLOADS,
            "node_logs": st.just([{"node": "a"}]),
            "duration_ms": st.integers(0, 99),
            "thread_id": st.sampled_from(["t1", "t2"]),
            "error_type": st.just("ValueError"),
            "error_text": st.sampled_from(["one", "two"]),
            "error_traceback": st.sampled_from(["here", "there"]),
            "metadata": st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
        },
    ),
    min_size=1,
    max_size=10,
)
EXAMPLES = settings(
    max_examples=8 if SANITIZED else 30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
names = (f"example{number}" for number in itertools.count(1))


def outcome(query: Query, wpk_id: str) -> list[Any]:
    return query(
        f"SELECT {COLUMNS} FROM workflow_runs WHERE wpk_id = %s ORDER BY 1", wpk_id
    )


@pytest.mark.long
@EXAMPLES
@given(logs=LOGS, data=st.data())
def test_the_journal_and_direct_writes_store_the_same(
    dsn: str, query: Query, logs: list[Log], data: st.DataObject
) -> None:
    """Whatever is logged in whatever order, with a prefix that is forwarded twice."""
    name = next(names)
    with runlog.Recorder(postgres_dsn=dsn) as recorder:
        for log in logs:
            recorder.log_run(log | {"wpk_id": f"{name} direct"})
    expected = outcome(query, f"{name} direct")
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder), dsn)
        copy = journal.fill([log | {"wpk_id": name} for log in logs])
        prefix = range(data.draw(st.integers(0, len(logs)), "prefix"))
        journal.put_back(copy, order=prefix)
        journal.forward()
        journal.put_back(copy)
        journal.forward()
        assert outcome(query, name) == expected
        rows = query(EVERYTHING, name)
        journal.put_back(copy, order=prefix)
        journal.forward()
        assert query(EVERYTHING, name) == rows


@EXAMPLES
@given(logs=LOGS, shuffle=st.randoms(use_true_random=False))
def test_the_stored_run_does_not_depend_on_the_order_of_arrival(
    dsn: str, query: Query, logs: list[Log], shuffle: random.Random
) -> None:
    """The newest log decides the status, a finished one before one that is running."""
    name = next(names)
    order = list(range(len(logs)))
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder), dsn)
        copy = journal.fill([log | {"wpk_id": name} for log in logs])
        revisions = [row["revision"] for row in journal_rows(str(journal.path))]
        assert revisions == sorted(set(revisions))
        shuffle.shuffle(order)
        journal.put_back(copy, order=order)
        journal.forward()
    winners: dict[str, tuple[Any, ...]] = {}
    for finished in (False, True):
        for log, revision in zip(logs, revisions, strict=True):
            if (log["status"] != "running") == finished:
                fields = ("error_type", "error_text", "error_traceback")
                errors = [log.get(field) for field in fields]
                winners[log["run_id"]] = (log["status"], *errors, revision)
    decided = query(f"{DECIDED} FROM workflow_runs WHERE wpk_id = %s", name)
    assert {row[0]: row[1:] for row in decided} == winners
