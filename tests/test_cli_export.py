"""runlog export: lines of JSON, Parquet, and Chrome's traces."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cli_help import on_sqlite
from conftest import SANITIZED
from export_help import (
    WHEN,
    all_runs,
    cli,
    fill,
    lines_of,
    record_graphs,
    runs_at,
    stable,
    start,
)
from fixtures_store import Store
from helpers import minimal, until
from pyarrow.parquet import ParquetFile
from test_long_logs import INPUTS, STORED, WANT

from runlog import Recorder
from runlog.cli import jsonl, parquet
from runlog.cli.history import History
from runlog.reading import places
from runlog.views.words import count


@pytest.fixture(autouse=True)
def environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def recorded(recorder: Any, handler: Any) -> Any:
    """The recorder, with runs of graphs."""
    record_graphs(handler)
    assert recorder.flush()
    return recorder


def exported(path: Path, *argv: object) -> list[Any]:
    """What export writes to a file."""
    assert cli("export", "--to", path, *argv) == 0
    return lines_of(path)


def test_runs_of_graphs_come_back(recorded: Any, tmp_path: Path) -> None:
    file, copy = tmp_path / "runs.jsonl", tmp_path / "copy.db"
    exported(file)
    assert cli("import", file, "--db", copy) == 0
    found = runs_at(sqlite_path=copy)
    assert [run["status"] for run in found] == [
        "failed",
        "completed",
        "completed",
        "interrupted",
    ]
    assert found == all_runs(recorded)
    assert cli("import", file, "--db", copy) == 0
    assert runs_at(sqlite_path=copy) == found


def test_a_line_has_every_member(recorded: Any, tmp_path: Path) -> None:
    """Also on the way back, and in the same order of time."""
    first, copy = tmp_path / "one.jsonl", tmp_path / "copy.db"
    lines = exported(first)
    newest = recorded.list_runs(limit=1).runs[0]
    whole = recorded.get_run(newest["run_id"], newest["wpk_id"])
    assert list(lines[0]) == ["runlog", *whole]
    assert lines[0]["runlog"] == 1
    assert lines[0]["created_at"] == jsonl.stamp(whole["created_at"])
    cli("import", first, "--db", copy)
    again = exported(tmp_path / "two.jsonl", "--db", copy)
    assert list(map(stable, again)) == list(map(stable, lines))


def test_filters_and_cursor(recorder: Any, tmp_path: Path, capsys: Any) -> None:
    fill(recorder, 5)
    recorder.log_run(minimal("f", "other", status="failed", created_at=WHEN))
    assert [one["run_id"] for one in exported(tmp_path / "f", "-w", "other")] == ["f"]
    assert [one["run_id"] for one in exported(tmp_path / "f", "-s", "failed")] == ["f"]
    assert [one["run_id"] for one in exported(tmp_path / "f", "r2")] == ["r2"]
    capsys.readouterr()
    first = exported(tmp_path / "all", "-n", "2")
    said = capsys.readouterr().err
    assert said.startswith("2 runs; go on with --after 2026-01-02T03:04:08.678901Z~")
    whole = exported(tmp_path / "all", "--after", said.split()[-1])
    assert whole[:2] == first
    names = [one["run_id"] for one in whole]
    assert names[:4] == ["r4", "r3", "r2", "r1"]
    assert sorted(names[4:]) == ["f", "r0"]


def test_ctrl_c_ends_with_a_whole_line_and_a_cursor(recorder: Any) -> None:
    fill(recorder, 300, inputs={"text": "x" * 5000})
    reader, writer = os.pipe()
    process = start("export", stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        lines = [pipe.readline()]  # it can't go on: the pipe is full
        process.send_signal(signal.SIGINT)
        until(lambda: pid_has_handled(process.pid))
        lines += pipe.readlines()
    assert process.wait() == 130
    said = process.stderr.read()
    process.stderr.close()
    assert 0 < len(lines) < 300
    last = json.loads(lines[-1])
    cursor = f"{last['created_at']}~{last['id']}"
    written = count(len(lines), "run")
    assert said.splitlines() == [f"{written}; go on with --after {cursor}"]


def pid_has_handled(pid: int) -> bool:
    """Whether no SIGINT is pending in a process any more."""
    status = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    pending = [
        line.split()[1] for line in status if line.startswith(("SigPnd", "ShdPnd"))
    ]
    return not any(int(mask, 16) >> (signal.SIGINT - 1) & 1 for mask in pending)


@pytest.mark.long_with("postgres")
def test_long_logs(
    recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written and read as if they were short, and take no more room there."""
    file, copy = tmp_path / "long.jsonl", tmp_path / "copy.db"
    monkeypatch.setenv("RUNLOG_WORDS", "0")  # its index would be in the file by then
    recorder.log_run(minimal("r1", inputs=INPUTS, node_logs=STORED))
    (line,) = exported(file)
    assert line["node_logs"] == WANT
    assert cli("import", file, "--db", copy) == 0
    (found,) = runs_at(sqlite_path=copy)
    assert found["node_logs"] == WANT
    path = str(tmp_path / "empty.db")
    with Recorder(sqlite_path=path, postgres_dsn="") as empty:
        empty.list_runs()
    tables = (tmp_path / "empty.db").stat().st_size
    assert copy.stat().st_size - tables < file.stat().st_size / 10


@pytest.mark.long_with("postgres")
def test_memory_does_not_grow_with_the_runs(
    recorder: Any, tmp_path: Path, run_python: Any
) -> None:
    for place in range(60):
        recorder.log_run(minimal(f"r{place}", inputs=["x" * 1_000_000]))
    code = (
        "from runlog.cli import main; main(['export', '--to', 'runs.jsonl']); "
        "print([line.split()[1] for line in open('/proc/self/status') "
        "if line.startswith('VmHWM')][0])"
    )
    done = run_python(code)
    assert (tmp_path / "runs.jsonl").stat().st_size > 60_000_000
    assert int(done.stdout) < (600_000 if SANITIZED else 60_000)  # KB


def test_duckdb_reads_the_lines(recorded: Any, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    exported(file)
    found = duckdb.sql(
        "SELECT count(*), max(runlog), "
        "max(node_logs[3].error_type) FILTER (status = 'failed'), "
        "max(len(node_logs)) FILTER (wpk_id = 'calls') "
        f"FROM read_json('{file}')"
    )
    assert found is not None
    assert found.fetchall() == [(4, 1, "KeyError", 4)]


@on_sqlite
@pytest.mark.parametrize("package", ["duckdb", "pyarrow"])
def test_parquet(
    recorded: Any, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "it's.parquet"
    monkeypatch.setattr(
        parquet, "find_spec", lambda name: (name == package or None) and object()
    )
    assert cli("export", "--format", "parquet", "--to", file) == 0
    rows = duckdb.read_parquet(str(file)).order("wpk_id")
    assert rows.columns == list(parquet.COLUMNS)
    found = [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()]
    for row, run in zip(found, all_runs(recorded), strict=True):
        payloads = ("inputs", "outputs", "node_logs", "metadata")
        for name in payloads:
            row[name] = None if row[name] is None else json.loads(row[name])
        assert stable(row) == run
    assert [one.name for one in tmp_path.glob(".runlog*")] == []


@on_sqlite
def test_parquet_is_written_before_large_runs_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "large.parquet"
    runs = [minimal(str(n), inputs={"text": "x" * (1 << 20)}) for n in range(40)]
    parquet._by_pyarrow(iter(runs), str(file))
    about = ParquetFile(file).metadata
    groups = [about.row_group(at).num_rows for at in range(about.num_row_groups)]
    assert groups == [16, 16, 8]
    found = duckdb.read_parquet(str(file)).project("run_id").fetchall()
    assert found == [(str(n),) for n in range(40)]


@on_sqlite
def test_parquet_without_a_package(
    recorder: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    fill(recorder, 1)
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    assert cli("export", "--format", "parquet", "--to", "x") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "duckdb -c \"COPY (FROM 'runs.jsonl') TO 'runs.parquet'\"" in said


WRONG = [
    ["-w", "typo"],
    ["-s", "faild"],
    ["--thread", "typo"],
    ["--after", "rubbish"],
    ["--since", "tomorrow"],
    ["typo"],
    ["--db", "missing.db"],
]


@pytest.mark.parametrize("how", ["jsonl", "parquet", "chrome"])
@pytest.mark.parametrize("argv", WRONG, ids=" ".join)
def test_a_file_outlives_an_export_that_is_wrong(
    recorder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    how: str,
) -> None:
    recorder.log_run(minimal("r1", "worms", thread_id="t"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "kept"
    file.write_text("kept")
    name = ["r1"] if how == "chrome" and argv != ["typo"] else []
    assert cli("export", "--format", how, "--to", file, *argv, *name) in (2, 3)
    assert file.read_text() == "kept"
    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize("how", ["jsonl", "parquet", "chrome"])
def test_no_file_of_the_history_is_overwritten(
    recorder: Any, store: Store, tmp_path: Path, capsys: Any, how: str
) -> None:
    """Neither by its name nor by a link."""
    fill(recorder, 3)
    path = Path(store.options["sqlite_path"])
    for end in ("", "-wal", "-shm", "-beside", "-beside-wal", "-journal", "-pushed"):
        part, linked, hard = Path(f"{path}{end}"), tmp_path / "soft", tmp_path / "hard"
        linked.symlink_to(part)
        names = [part, tmp_path / "." / part.name, linked]
        if part.exists():
            os.link(part, hard)
            names.append(hard)
        existed = part.exists()
        for name in names:
            assert cli("export", "-", "--format", how, "--to", name) == 2
            assert "is a file of the history" in capsys.readouterr().err
        assert part.exists() == existed
        linked.unlink()
        hard.unlink(missing_ok=True)
    assert len(recorder.list_runs().runs) == 3
    assert not path.exists() or path.read_bytes()[:16] == b"SQLite format 3\0"


@on_sqlite
def test_runs_that_are_too_large_together_are_read_in_quarters(recorder: Any) -> None:
    """As many are read at once as fit by the size of those before, which may be small."""
    fill(recorder, 300)
    asked: list[int] = []

    class Limited:
        """A history in which the older runs are large."""

        def _whole_runs(self, ids: list[str]) -> Any:
            asked.append(len(ids))
            runs, taken = recorder._whole_runs(ids)
            if any(int(run["run_id"][1:]) < 100 for run in runs) and len(ids) > 20:
                raise MemoryError
            return runs, taken

        def __getattr__(self, name: str) -> Any:
            return getattr(recorder, name)

    history = History(places.find())
    history._recorder = Limited()
    found = [run["run_id"] for run in history.whole()]
    assert found == [f"r{n}" for n in reversed(range(300))]
    assert max(asked) > 64
    assert len(asked) < 40


@on_sqlite
def test_parquet_replaces_a_file_whole_or_not(
    recorder: Any, tmp_path: Path, capsys: Any
) -> None:
    """It appends to none, replaces what a link leads to, and no device."""
    fill(recorder, 5)
    file, link, rest = (tmp_path / name for name in ("file", "link", "rest"))
    link.symlink_to(file)

    def names_in(path: Path) -> list[str]:
        found = duckdb.read_parquet(str(path)).project("run_id").fetchall()
        return [name for (name,) in found]

    def export(*argv: object) -> int:
        return cli("export", "--format", "parquet", "--to", *argv)

    assert export(link, "-n", "2") == 0
    cursor = capsys.readouterr().err.split()[-1]
    assert export(file, "--after", cursor) == 2
    assert "name a new file" in capsys.readouterr().err
    assert (names_in(file), link.is_symlink()) == (["r4", "r3"], True)
    assert export(rest, "--after", cursor) == 0
    assert names_in(rest) == ["r2", "r1", "r0"]
    (tmp_path / "pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe")
    assert export(tmp_path / "pipe") == 2
    assert (tmp_path / "pipe").is_fifo()


def test_a_trace(recorded: Any, capsys: Any) -> None:
    for name in ("good", "bad", "calls", "waits"):
        (row,) = recorded.list_runs(wpk_id=name).runs
        assert cli("export", row["run_id"], "--format", "chrome") == 0
        trace = json.loads(capsys.readouterr().out)
        events = trace["traceEvents"]
        spans = [one for one in events if one["ph"] == "X"]
        run = recorded.get_run(row["run_id"])
        calls = sum(len(log["calls"]) for log in run["node_logs"])
        assert len(spans) == 1 + len(run["node_logs"]) + calls
        assert spans[0]["name"] == name
        assert_nested(spans)
        instants = {one["name"] for one in events if one["ph"] == "i"}
        want = {"bad": {"exception"}, "waits": {"interrupt"}}
        assert instants == want.get(name, set())


def assert_nested(spans: list[Any]) -> None:
    """Two spans of a track are apart, or one is within the other."""
    for one in spans:
        for other in spans:
            first, second = one["ts"], other["ts"]
            if one["tid"] == other["tid"] and first <= second < first + one["dur"]:
                assert second + other["dur"] <= first + one["dur"]


@on_sqlite
def test_nodes_side_by_side_have_tracks(recorder: Any, capsys: Any) -> None:
    def log(node: str, second: int, ms: int) -> dict[str, Any]:
        moment = f"2026-01-02T03:04:{second:02d}Z"
        return {"node": node, "status": "completed", "started_at": moment,
                "duration_ms": ms}  # fmt: skip

    logs = [log("a", 1, 2000), log("b", 2, 2000), log("c", 5, 1000)]
    moment = "2026-01-02T03:04:00Z"
    run = minimal("r1", node_logs=logs, started_at=moment, duration_ms=7000)
    recorder.log_run(run)
    assert cli("export", "-", "--format", "chrome") == 0
    events = json.loads(capsys.readouterr().out)["traceEvents"]
    tracks = {one["name"]: one["tid"] for one in events if one["ph"] == "X"}
    assert tracks == {"w": 0, "a": 0, "b": 1, "c": 0}


@on_sqlite
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--format", "chrome"], "name it"),
        (["--format", "parquet"], "needs --to FILE"),
        (["--after", "x"], "after must be the next of an earlier page"),
        (["-w", "worm"], "did you mean 'worms'?"),
        (["nothing"], "there is no run 'nothing'"),
        (["--to", "/nowhere/x"], "/nowhere/x can't be written: No such file"),
        (["--header", "A: b"], "--header needs --otlp"),
        (["--format", "parquet", "--to", "/nowhere/x"], "can't be written"),
    ],
)
def test_wrong_arguments(recorder: Any, capsys: Any, argv: list[str], said: str) -> None:
    recorder.log_run(minimal("r1", "worms"))
    assert cli("export", *argv) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
