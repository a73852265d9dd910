"""Two processes at once on a new file: nobody waits for ever, and no run is lost.

All that runlog waits for comes by itself or has a time limit. This does all of it at the
same time. TORTURE_KILLS is how many files there are (3 unless given).
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from conftest import SANITIZED
from torture.programs import Program, check_file, fold_in

ROUNDS = int(os.environ.get("TORTURE_KILLS", "3")) // (2 if SANITIZED else 1)
RUNS_A_ROUND = 2 * (6 + 2 * 3 + 8 + 2 * 2)
"""See at_once.py."""


def stored(path: Path) -> Counter[str]:
    """The runs of a file, with their statuses."""
    fold_in(path)
    check_file(path)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT wpk_id, status FROM workflow_runs").fetchall()
    return Counter(f"{name} {status}" for name, status in rows)


@pytest.mark.long_with("journal")
@pytest.mark.parametrize("durability", ["journal", "disk"])
def test_two_processes_do_everything_at_once_on_a_new_file(
    tmp_path: Path, durability: str
) -> None:
    env = {"RUNLOG_DURABILITY": durability}
    program = Program("at_once", str(ROUNDS), folder=tmp_path, env=env)
    expected: dict[str, Counter[str]] = {}
    ended = program.wait(120 + 60 * ROUNDS)
    assert "not recorded" not in ended.stderr
    assert "no thread" not in ended.stderr
    for line in ended.acknowledged:
        number, run = line.split(" ", 1)
        expected.setdefault(number, Counter())[run] += 1
    assert len(expected) == ROUNDS
    for number, runs in expected.items():
        assert sum(runs.values()) == len(runs) == RUNS_A_ROUND
        assert stored(tmp_path / f"runs{number}.db") == runs, ended.stderr
