"""The roll-up: who counts, and what a death, a fork or damage leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_help import Cli, cli
from fixtures_store import Store
from helpers import locked, minimal, until

import runlog
from runlog import Recorder, ValidationError
from runlog.rollup import EDGES

__all__ = ["cli"]

WRITER = """
import sys, runlog
who, count, asks = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "asks"
with runlog.Recorder() as recorder:
    for number in range(count):
        log = {"node": "pay", "status": "completed", "duration_ms": 5}
        recorder.log_run({"wpk_id": "w", "run_id": f"{who}-{number}", "duration_ms": 7,
                          "status": "completed", "node_logs": [log] * 3})
        if asks and number % 50 == 0:
            recorder.rollup(wait=0)
    print("logged", flush=True)
    recorder.rollup(wait=60 if asks else 0)
    print("counted", flush=True)
    sys.stdin.read()
"""
DELETER = """
import sys, runlog
with runlog.Recorder() as recorder:
    print("ready", flush=True)
    recorder.delete_runs(wpk_id="w")
    print("deleted", flush=True)
"""
WAIT = 60.0


def start(store: Store, program: str, *args: object) -> subprocess.Popen[str]:
    """A process with that database."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)],
        env=os.environ | store.env | {"RUNLOG_WORDS": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def says(process: subprocess.Popen[str], line: str) -> None:
    """Wait for a line."""
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def fill(recorder: Recorder, count: int) -> None:
    """Record runs."""
    for number in range(count):
        log = {"node": "pay", "status": "completed", "duration_ms": 5}
        recorder.log_run(minimal(f"r{number}", duration_ms=7, node_logs=[log] * 3))


def counted(recorder: Recorder) -> tuple[int, int, int]:
    """The runs, their logs, and the milliseconds of the runs, in all blocks."""
    found = recorder.rollup_totals(wait=WAIT)
    assert found.waiting == 0, recorder.stats()["rollup_error"]
    (block,) = found.blocks
    pay = block.nodes["pay"]
    assert pay.durations.total == 5000 * pay.number
    return (
        block.run.number,
        pay.statuses["completed"],
        block.run.durations.total // 1000,
    )


def test_several_processes_count_beside_writers(store: Store) -> None:
    with Recorder(**store.options) as recorder:
        recorder.list_runs()
    processes = [start(store, WRITER, who, 400, "asks") for who in "abc"]
    for process in processes:
        says(process, "logged")
        says(process, "counted")
        process.communicate("")
        assert process.returncode == 0
    with Recorder(**store.options) as recorder:
        assert counted(recorder) == (1200, 3600, 8400)


def test_a_process_that_is_killed_while_it_counts(store: Store) -> None:
    """The next one goes on, and counts every run once."""
    with Recorder(**store.options) as recorder:
        recorder.list_runs()
    for who in range(4):
        process = start(store, WRITER, who, 300, "no")
        says(process, "logged")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with Recorder(**store.options) as recorder:
        assert counted(recorder) == (1200, 3600, 8400)


def test_a_process_that_is_killed_while_it_deletes(store: Store) -> None:
    """What is deleted is counted, and what is not is there: the totals stay."""
    with Recorder(**store.options) as recorder:
        fill(recorder, 1500)
        assert counted(recorder)[0] == 1500
        process = start(store, DELETER)
        says(process, "ready")
        count = "SELECT count(*) FROM workflow_runs"
        until(lambda: store.query(count) < [(1500,)])
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert counted(recorder) == (1500, 4500, 10500)
        recorder.delete_runs(wpk_id="w")
        assert counted(recorder) == (1500, 4500, 10500)


def test_a_forked_child_counts(store: Store) -> None:
    with Recorder(**store.options) as recorder:
        fill(recorder, 20)
        assert counted(recorder)[0] == 20
        child = os.fork()
        if child == 0:
            status = 1
            try:
                recorder.log_run(minimal("child", duration_ms=7))
                status = 0 if counted(recorder)[0] == 21 else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert counted(recorder) == (21, 60, 147)


def test_what_is_damaged_is_counted_anew(
    recorder: Recorder, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever level it is of, and whatever it has become; that is said once."""
    fill(recorder, 300)
    assert counted(recorder)[0] == 300
    blob = "X'{}'" if store.kind == "sqlite" else "'\\x{}'"
    for level, hexadecimal in ((1, "01"), (1, "02" * 90), (2, "0100"), (1, "ff")):
        data = blob.format(hexadecimal)
        store.query(f"UPDATE run_rollup SET data = {data} WHERE level = {level}")
        until(lambda: _is_whole(recorder))
        assert counted(recorder) == (300, 900, 2100)
    store.query(f"UPDATE run_rollup SET data = {blob.format('01')} WHERE level = 0")
    recorder.log_run(minimal("late", duration_ms=7))
    assert counted(recorder) == (301, 900, 2107)
    recorder.stats()
    assert sum("roll-up is damaged" in text for text in caplog.messages) == 1


def _is_whole(recorder: Recorder) -> bool:
    found = [recorder.rollup(wait=WAIT), recorder.rollup_totals(wait=WAIT)]
    return all(sum(one.run.number for one in part.blocks) == 300 for part in found)


def test_nobody_pays_before_somebody_asks(recorder: Recorder, store: Store) -> None:
    fill(recorder, 5)
    recorder.log_run(minimal("r1", duration_ms=8))
    recorder.delete_runs(run_id="r0")
    for table in ("run_rollup", "run_rollup_state", "run_rollup_marks"):
        assert store.query(f"SELECT count(*) FROM {table}") == [(0,)]
    assert counted(recorder)[0] == 4


def test_what_is_asked_for(recorder: Recorder) -> None:
    """Blocks that have the time, of one workflow; and what is refused."""
    fill(recorder, 3)
    (block,) = recorder.rollup(wait=WAIT).blocks
    assert recorder.rollup(wpk_id="w", since=block.since).blocks == [block]
    assert recorder.rollup(until=block.since).blocks == []
    assert recorder.rollup(wpk_id="none").blocks == []
    (run,) = recorder.list_runs(limit=1).runs
    assert recorder.rollup(since=run["created_at"]).blocks == [block]
    assert EDGES[next(iter(block.run.durations.counts))] >= 7000
    wrong: dict[str, Any]
    for wrong in ({"wait": -1}, {"wait": "x"}, {"since": "no time"}, {"wpk_id": 7}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            recorder.rollup(**wrong)
    recorder.close()
    with pytest.raises(runlog.ClosedError):
        recorder.rollup()


def test_times_that_other_programs_write(recorder: Recorder, store: Store) -> None:
    """Such runs are left out, and nobody waits for them."""
    fill(recorder, 4)
    assert counted(recorder)[0] == 4
    odd = "'2026-11-02 10:00'" if store.kind == "sqlite" else "'infinity'"
    store.query(f"UPDATE workflow_runs SET created_at = {odd} WHERE run_id = 'r1'")
    assert counted(recorder)[0] == 3
    store.query("UPDATE workflow_runs SET duration_ms = 9 WHERE run_id = 'r1'")
    store.query("DELETE FROM workflow_runs WHERE run_id = 'r1'")
    assert counted(recorder)[0] == 3


def test_the_command(cli: Cli, recorder: Recorder) -> None:
    fill(recorder, 12)
    assert cli("rollup").out.startswith("1 block of 12 runs, ")
    recorder.delete_runs(run_id="r3")
    assert cli("rollup", "--rebuild").code == 0
    assert counted(recorder)[0] == 12
    assert '"blocks": 1' in cli("rollup", "--json").out


def test_a_file_whose_lock_another_program_holds(tmp_path: Path) -> None:
    """What is counted is there, and how many runs are not."""
    path = str(tmp_path / "runs.db")
    with Recorder(sqlite_path=path) as recorder:
        fill(recorder, 10)
        assert counted(recorder)[0] == 10
        recorder.log_run(minimal("more"))
        with locked(Store("sqlite", {"sqlite_path": path}, {})):
            found = recorder.rollup(wait=0.2)
        numbers = [block.run.number for block in found.blocks]
        assert (sum(numbers), found.waiting) == (10, 1)
        assert counted(recorder)[0] == 11
