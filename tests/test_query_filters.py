"""Filters on ids that are no text, on tags, and on members of the metadata."""

from __future__ import annotations

import enum
import sqlite3
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import minimal

from runlog import Recorder, ValidationError

RUN = uuid.UUID(int=7)
T0 = datetime(2024, 5, 1, tzinfo=UTC)

METADATA: list[Any] = [
    {"user": "u1", "n": 1, "tags": ["nightly", "eu"]},
    {"user": "u1", "n": "1", "flag": True, "tags": ["nightly2"]},
    {"user": "u2", "n": 1.5, "flag": False, "tags": []},
    {"user": None, "n": True, "tags": "nightly"},
    {"user": ["u1"], "n": 10**17, 'a"b.c': "x", "tags": [["nightly"], 7]},
    {"nested": {"user": "u1", "tags": ["nightly"]}, "é": "ü\n", "flag": 1},
    None,
    {"user": "U1", "n": 1.0, "tags": {"nightly": "nightly"}},
]


class Colour(enum.Enum):
    RED = "u2"


@pytest.fixture
def runs(recorder: Any) -> Any:
    """A run for each of METADATA, with its place as its id."""
    for n, metadata in enumerate(METADATA):
        time = T0 + timedelta(seconds=n)
        recorder.log_run(minimal(str(n), metadata=metadata, created_at=time))
    return recorder


def found(recorder: Any, **filters: Any) -> list[int]:
    return [int(run["run_id"]) for run in recorder.list_runs(**filters).runs][::-1]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"user": "u1"}, [0, 1]),
        ({"user": "u1", "n": "1"}, [1]),
        ({"user": "u1", "missing": "u1"}, []),
        ({"user": None}, [3]),
        ({"user": Colour.RED}, [2]),
        ({"n": 1}, [0, 7]),
        ({"n": 1.0}, [0, 7]),
        ({"n": "1"}, [1]),
        ({"n": True}, [3]),
        ({"n": 1.5}, [2]),
        ({"n": 10**17}, [4]),
        ({"flag": True}, [1]),
        ({"flag": False}, [2]),
        ({"flag": 1}, [5]),
        ({'a"b.c': "x"}, [4]),
        ({"é": "ü\n"}, [5]),
        ({"tags": "nightly"}, [3]),
        ({"user": "' OR 1=1 --"}, []),
        ({"' OR 1=1 --": "u1"}, []),
        ({}, list(range(8))),
        (None, list(range(8))),
    ],
    ids=repr,
)
def test_metadata_are_equal_in_value_and_type(
    runs: Any, metadata: Any, expected: list[int]
) -> None:
    assert found(runs, metadata=metadata) == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("nightly", [0]), ("nightly2", [1]), ("eu", [0]), ("7", []), ("night%", [])],
)
def test_a_tag_is_one_of_the_tags(runs: Any, tag: str, expected: list[int]) -> None:
    assert found(runs, tag=tag) == expected


def test_filters_are_combined_and_paged(runs: Any) -> None:
    assert found(runs, tag="nightly", metadata={"n": 1}, wpk_id="w") == [0]
    assert found(runs, tag="nightly", wpk_id="other") == []
    assert found(runs, metadata={"user": "u1"}, since=T0 + timedelta(seconds=1)) == [1]
    page = runs.list_runs(metadata={"user": "u1"}, limit=1)
    assert [run["run_id"] for run in page.runs] == ["1"]
    page = runs.list_runs(metadata={"user": "u1"}, limit=1, after=page.next)
    assert ([run["run_id"] for run in page.runs], page.next) == (["0"], None)


def test_an_id_is_a_filter_of_lists(recorder: Any) -> None:
    """Each workflow may have a run of it."""
    own = uuid.uuid4()
    for workflow in ("w1", "w2", "w3"):
        recorder.log_run(minimal(str(own), workflow))
        recorder.log_run(minimal("r1", workflow))

    def found(**filters: Any) -> list[tuple[str, str]]:
        rows = recorder.list_runs(**filters).runs
        return [(row["run_id"], row["wpk_id"]) for row in rows]

    want = [(str(own), name) for name in ("w3", "w2", "w1")]
    assert found(run_id=own) == found(run_id=str(own)) == want
    assert found(run_id=own, wpk_id="w2") == [want[1]]
    assert found(run_id=own, status="failed") == found(run_id="r") == []
    first = recorder.list_runs(run_id=own, limit=1)
    assert found(run_id=own, after=first.next) == want[1:]
    with pytest.raises(ValidationError, match="run_id"):
        recorder.list_runs(run_id=5)


@pytest.mark.parametrize(
    ("filters", "gone"),
    [({"tag": "nightly"}, [0]), ({"metadata": {"user": "u1"}}, [0, 1])],
    ids=repr,
)
def test_delete_runs_takes_the_same_filters(runs: Any, filters: Any, gone: Any) -> None:
    assert runs.delete_runs(**filters) == len(gone)
    assert found(runs) == [n for n in range(8) if n not in gone]


def test_no_metadata_are_no_filter_of_a_deletion(runs: Any) -> None:
    with pytest.raises(ValidationError, match="metadata"):
        runs.delete_runs(metadata={})
    assert len(found(runs)) == 8


@pytest.mark.parametrize(
    "filters",
    [
        {"metadata": "user"},
        {"metadata": [("user", "u1")]},
        {"metadata": {1: "u1"}},
        {"metadata": {"user": ["u1"]}},
        {"metadata": {"user": {"a": 1}}},
        {"tag": 5},
        {"tag": ["nightly"]},
        {"thread_id": True},
        {"thread_id": 1.5},
        {"thread_id": 10**5000},
    ],
    ids=lambda filters: next(iter(filters)),
)
def test_an_invalid_filter_is_named(recorder: Any, filters: Any) -> None:
    with pytest.raises(ValidationError, match=next(iter(filters))):
        recorder.list_runs(**filters)


def test_redacted_metadata_are_not_found(recorder: Any) -> None:
    recorder.log_run(minimal(metadata={"password": "p"}))
    assert recorder.list_runs(metadata={"password": "p"}).runs == []
    assert len(recorder.list_runs(metadata={"password": "<redacted>"}).runs) == 1


def test_ids_that_are_stored_as_text(recorder: Any) -> None:
    recorder.log_run(minimal(str(RUN), thread_id=42))
    recorder.log_run(minimal("b", thread_id=RUN))
    assert found_ids(recorder, thread_id=42) == [str(RUN)]
    assert found_ids(recorder, thread_id="42") == [str(RUN)]
    assert found_ids(recorder, thread_id=RUN) == ["b"]
    assert found_ids(recorder, thread_id=4) == []
    assert recorder.get_run(RUN)["thread_id"] == "42"
    assert recorder.get_run(RUN, "other") is None
    assert recorder.delete_runs(run_id=uuid.UUID(int=8)) == 0
    assert recorder.delete_runs(run_id=RUN, thread_id=42) == 1
    assert recorder.delete_runs(thread_id=RUN) == 1


def found_ids(recorder: Any, **filters: Any) -> list[str]:
    return [run["run_id"] for run in recorder.list_runs(**filters).runs]


def test_metadata_that_another_program_damaged_match_nothing(tmp_path: Path) -> None:
    """As SQLite takes any text, unlike jsonb."""
    path = tmp_path / "runs.db"
    with Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal("0", metadata={"tags": ["a"]}))
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE workflow_runs SET metadata = '{no json'")
        assert found(recorder, tag="a") == []
        assert found(recorder, metadata={"a": 1}) == []


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Niue"])
def test_regression_the_ends_of_the_calendar_are_times(
    recorder: Recorder, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without a zone, where one of them has no local time."""
    try:
        with monkeypatch.context() as patched:
            patched.setenv("TZ", zone)
            time.tzset()
            recorder.log_run({**minimal("first"), "created_at": datetime.min})
            recorder.log_run({**minimal("last"), "created_at": datetime.max})
            runs = recorder.list_runs(since=datetime.min, until=datetime.max).runs
    finally:
        time.tzset()
    assert [run["run_id"] for run in runs] == ["first"]
