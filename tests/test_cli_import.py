"""runlog import: nothing is lost, nothing doubled, nothing altered."""

import contextlib
import io
import itertools
import json
import operator
import os
import sqlite3
import sys
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from cli_help import on_sqlite
from export_help import (
    all_runs,
    cli,
    kill_after,
    runs_at,
    stable,
    start,
    write_lines,
)
from fixtures_store import Store
from graphs import chain
from helpers import minimal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import any_text, same, values

import runlog
from runlog.cli import jsonl
from runlog.cli.compact import compact
from runlog.cli.intake import OPTIONS
from runlog.hooks import RunLogHandler

drawn = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store, which the environment names."""
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    return store


texts = st.none() | any_text
whole = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
names = st.text(whole, min_size=1, max_size=20)
first, last = datetime(1971, 1, 1), datetime(2200, 1, 1)
moments = st.datetimes(first, last, timezones=st.just(UTC))
members = st.sampled_from(["node", "inputs", "outputs", "calls", "parent"])
runs = st.fixed_dictionaries(
    {"wpk_id": names, "status": names, "created_at": moments},
    optional={
        "inputs": values,
        "outputs": values,
        "node_logs": st.lists(st.dictionaries(members, values, max_size=3), max_size=5)
        | values,
        "metadata": st.dictionaries(any_text, values, max_size=3),
        "duration_ms": st.integers(0, 2**31 - 1),
        "thread_id": texts,
        "error_type": texts,
        "error_text": texts,
        "error_traceback": texts,
        "started_at": moments,
    },
)


@pytest.fixture
def round_trip(store: Store, tmp_path: Path) -> Any:
    """Log a run, and send it through a line to a SQLite file; return both."""
    numbers = itertools.count()
    path = str(tmp_path / "other.db")
    with (
        runlog.Recorder(**store.options, redact=[]) as here,
        runlog.Recorder(sqlite_path=path, **OPTIONS) as there,
    ):

        def send(run: dict[str, Any]) -> tuple[Any, Any]:
            run_id = f"r{next(numbers)}"
            here.log_run({**run, "run_id": run_id})
            found = here.get_run(run_id)
            line = jsonl.decode("".join(jsonl.encode(found)).encode())
            if "node_logs" in line:
                line["node_logs"] = compact(line["node_logs"])
            there.log_run(line)
            return stable(found), stable(there.get_run(run_id))

        yield send


@drawn
@given(run=runs)
def test_any_run_comes_back(round_trip: Any, run: dict[str, Any]) -> None:
    here, there = round_trip(run)
    assert same(there, here)


plain = st.recursive(
    st.sampled_from([0, 1, True, False, 1.0, None, "", "a", -0.0]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=4,
)
states = st.dictionaries(
    st.sampled_from(["a", "b", "messages"]), plain | st.lists(plain, max_size=4)
)
calls = st.fixed_dictionaries(
    {"kind": st.sampled_from(["llm", "tool"])},
    optional={"messages": st.lists(plain, max_size=4), "tags": st.just([])},
)
logs = st.fixed_dictionaries(
    {
        "llm_calls": st.just(1),
        "events": st.just([]),
        "calls": st.lists(calls, max_size=3),
    },
    optional={"inputs": states | plain, "parent": st.sampled_from([None, "a", "b"])},
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("compact") / "runs.db"
    with runlog.Recorder(sqlite_path=path, durability="journal", **OPTIONS) as recorder:
        yield recorder


@settings(drawn, max_examples=60)
@given(given_logs=st.lists(logs, min_size=4, max_size=8))
def test_compact_logs_are_the_same(file: Any, given_logs: list[Any]) -> None:
    file.log_run(minimal("whole", node_logs=given_logs))
    want = file.get_run("whole")["node_logs"]
    before = json.dumps(want)
    file.log_run(minimal("compact", node_logs=compact(want)))
    assert json.dumps(want) == before
    assert same(file.get_run("compact")["node_logs"], want)


def test_compact_logs_are_small() -> None:
    messages = [{"type": "human", "content": f"{at} " + "x" * 200} for at in range(50)]
    given_logs = [
        {
            "node": "a",
            "inputs": {"messages": messages[:at], "other": "y" * 300},
            "llm_calls": 1,
            "calls": [{"kind": "llm", "messages": messages[:at]}],
            "events": [],
        }
        for at in range(1, 51)
    ]
    assert len(json.dumps(compact(given_logs))) < len(json.dumps(given_logs)) / 15


GOOD = json.dumps({"runlog": 1, **minimal("good")})


@on_sqlite
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is no JSON: "),
        ("[]", "is no JSON object"),
        ('{"wpk_id": "w"}', 'is no line of runlog export: it has no member "runlog"'),
        ('{"runlog": 2}', "has the format 2, and this runlog reads 1: update runlog"),
        ('{"runlog": true}', "has the format True"),
        ('{"runlog": 1}', "wpk_id is missing"),
        (GOOD.replace('"completed"', "5"), "status must be non-empty text"),
        (GOOD[:-1] + ', "duration_ms": -1}', "duration_ms must be a whole number"),
        (GOOD[:-1] + ', "created_at": "soon"}', "created_at must be"),
        (GOOD[:-1] + ', "wpk_id": "' + "x" * 2000 + '"}', "wpk_id must be at most"),
        ("[" * 100_000, "is nested too deeply"),
        ("\xff", "is no"),
    ],
)
def test_a_bad_line(
    here: Store, tmp_path: Path, capsys: Any, line: str, said: str
) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_bytes(f"{GOOD}\n\n{line}\n{GOOD}\n".encode("latin-1"))
    assert cli("import", path) == 2
    shown = capsys.readouterr().err
    assert f"{path}: line 3 {said}" in shown
    assert "the 1 run before it is kept" in shown
    assert shown.count("\n") == 1
    assert [run["run_id"] for run in runs_at(**here.options)] == ["good"]


@on_sqlite
@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_file_that_cannot_be_read(
    here: Store, name: str, capsys: Any, tmp_path: Path
) -> None:
    assert cli("import", name) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"runlog: {name}")
    assert shown.count("\n") == 1


@on_sqlite
def test_stdin(here: Store, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(f"\ufeff{GOOD}\r\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert cli("import", "-") == 0
    assert capsys.readouterr().err == "1 run\n"
    assert [run["run_id"] for run in runs_at(**here.options)] == ["good"]


@on_sqlite
@pytest.mark.parametrize("content", ["text", "other", "newer"])
def test_a_file_that_is_no_history_stays_as_it_is(
    store: Store, tmp_path: Path, capsys: Any, content: str
) -> None:
    path = tmp_path / "other.db"
    if content == "text":
        path.write_text("a diary\n")
    else:
        table = "runlog_migrations" if content == "newer" else "mine"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"CREATE TABLE {table} (number INT, checksum TEXT)")
            connection.execute(f"INSERT INTO {table} VALUES (999, 'x')")
            connection.commit()
    before = path.read_bytes()
    lines = write_lines(tmp_path / "lines", 1)
    assert cli("import", lines, "--db", path) == 3
    said = capsys.readouterr().err
    newer = "was made by a newer runlog"
    assert (newer if content == "newer" else "is no history") in said
    assert path.read_bytes() == before


def test_the_last_line_of_a_run_counts(here: Store, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    with path.open("w", encoding="ascii") as file:
        for number in range(2000):
            run = minimal(f"r{number % 3}", status=f"s{number}")
            file.write(json.dumps({"runlog": 1, **run}) + "\n")
    assert cli("import", path) == 0
    found = [(run["run_id"], run["status"]) for run in runs_at(**here.options)]
    assert found == [("r0", "s1998"), ("r1", "s1999"), ("r2", "s1997")]


def test_secrets_and_sizes_stay_as_they_were(here: Store, tmp_path: Path) -> None:
    """What the other place kept is kept, whatever the settings here."""
    inputs = {"password": "shown", "text": "x" * 3_000_000}
    path = tmp_path / "runs.jsonl"
    line = {"runlog": 1, **minimal("r1", inputs=inputs, metadata={"api_key": "k"})}
    path.write_text(json.dumps(line))
    assert cli("import", path) == 0
    (found,) = runs_at(**here.options)
    assert found["inputs"] == inputs
    assert found["metadata"] == {"api_key": "k"}


@pytest.mark.long_with("postgres")
def test_import_survives_kill_9(here: Store, tmp_path: Path) -> None:
    number = 1500
    path = write_lines(tmp_path / "runs.jsonl", number, inputs={"text": "x" * 500})
    with runlog.Recorder(**here.options) as recorder:
        recorder.list_runs()  # makes the tables
        reader, writer = os.pipe()  # so that the import can't end before it is killed
        process = start("import", "-", stdin=reader)
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(path.read_bytes()[:-1])
            pipe.flush()
            kill_after(process, lambda: len(recorder.list_runs(limit=9).runs) == 9)
        assert 0 < len(recorder.list_runs(limit=9999).runs) < number
        assert cli("import", path) == 0
        assert recorder.flush()  # the runs that are beside the file for a moment
        found = all_runs(recorder)
    want = {f"r{place}" for place in range(number)}
    assert len(found) == number
    assert {run["run_id"] for run in found} == want
    assert all(run["inputs"] == {"text": "x" * 500} for run in found)


class State(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]
    last: Any


def node_of(place: int, value: Any) -> Any:
    """A node that returns a value, or raises what is an exception."""

    def act(state: State) -> Any:
        if isinstance(value, BaseException):
            raise value
        return {"seen": [f"{place} " + "x" * 50], "last": value}

    return act


@settings(drawn, max_examples=15)
@given(
    results=st.lists(
        st.one_of(values, st.sampled_from([ValueError("no"), KeyError("price")])),
        min_size=1,
        max_size=6,
    )
)
def test_any_run_of_a_graph_comes_back(file: Any, results: list[Any]) -> None:
    nodes = {f"n{place}": node_of(place, one) for place, one in enumerate(results)}
    run_id = uuid.uuid4()
    config: Any = {"callbacks": [RunLogHandler(recorder=file)], "run_id": run_id}
    with contextlib.suppress(ValueError, KeyError):
        chain("drawn", State, **nodes).invoke({"seen": []}, config)
    assert file.flush()
    want = file.get_run(run_id)
    line = jsonl.decode("".join(jsonl.encode(want)).encode())
    line["node_logs"] = compact(line["node_logs"])
    file.log_run({**line, "wpk_id": "copy"})
    found = file.get_run(run_id, "copy")
    assert same({**stable(found), "wpk_id": "drawn"}, stable(want))
