"""A long outage at full speed: memory stays flat, callers are as quick as before.

TORTURE_OUTAGE_SECONDS is how long the program runs without its server (5 unless given).
A second program, whose server is well, takes short turns with it, so that both are
measured at the same time on the same machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SANITIZED
from fixtures_postgres import PostgresServer
from torture.load import journal_rows
from torture.writers import check_file

SECONDS = int(os.environ.get("TORTURE_OUTAGE_SECONDS", "5")) // (4 if SANITIZED else 1)
PROGRAM = Path(__file__).with_name("outage_load.py")
MIB = 1 << 20

# Windows of a quarter of a second: how long the outage goes on between two turns of the
# other program, and how long such a turn is. Its first is not counted, as the worker of
# the program that pauses may still be busy.
AWAY, UP = 8, 3

Window = dict[str, Any]


class Program:
    """A program that measures itself."""

    def __init__(self, folder: Path, dsn: str) -> None:
        folder.mkdir()
        self.journal = str(folder / "journal.db")
        env = {"POSTGRES_DSN": dsn, "RUNLOG_SQLITE_PATH": self.journal}
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, str(60 + 4 * SECONDS)],
            env={**os.environ, **env},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def windows(self, count: int) -> list[Window]:
        """What it tells of so many windows, beginning now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n" * count)
        self._process.stdin.flush()
        lines = [self._process.stdout.readline() for _ in range(count)]
        return [json.loads(line) for line in lines]

    def until_server(self, state: str) -> None:
        """Have it go on until it takes its server for up, or for away."""
        while self.windows(1)[0]["server"] != state:
            pass

    def finish(self) -> dict[str, Any]:
        """Have it stop; return what it has done in all."""
        out, _ = self._process.communicate()
        assert self._process.returncode == 0
        total: dict[str, Any] = json.loads(out)
        return total

    def end(self) -> None:
        """Whatever came before."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, str], Program]]:
    """Starts a program in a folder of that name, with that connection string."""
    programs: list[Program] = []

    def start_one(name: str, dsn: str) -> Program:
        programs.append(Program(tmp_path / name, dsn))
        return programs[-1]

    yield start_one
    for program in programs:
        program.end()


def typical(windows: list[Window], what: str) -> float:
    return statistics.median(float(window[what]) for window in windows)


def print_windows(name: str, windows: list[Window]) -> None:
    runs = 4 * typical(windows, "runs")
    figures = ", ".join(f"{f} {typical(windows, f):.2f} ms" for f in ("p50", "p99"))
    worst = max(window["max"] for window in windows)
    memory = [windows[0]["rss"] / MIB, max(window["rss"] for window in windows) / MIB]
    print(
        f"{name}: {len(windows) / 4:.0f} s, {runs:.0f} runs/s, {figures}, "
        f"max {worst:.0f} ms, RSS {memory[0]:.1f} MiB at first, {memory[1]:.1f} at most"
    )


def check_stored(server: PostgresServer, dbname: str, total: dict[str, Any]) -> None:
    """Everything that was logged is there, once."""
    assert total["flushed"] is True
    assert total["forwarded"] == total["journaled"]
    kept = server.query(
        "SELECT count(*), count(DISTINCT run_id), max(run_id::int) FROM workflow_runs",
        dbname=dbname,
    )
    assert kept == [(total["logged"], total["logged"], total["logged"] - 1)]


@pytest.mark.long
def test_memory_and_latency_stay_flat_during_an_outage(
    start: Callable[[str, str], Program],
    own_server: PostgresServer,
    postgres_server: PostgresServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost = own_server.create_database()
    with postgres_server.borrow_database() as dbname:
        program = start("away", own_server.dsn(lost))
        other = start("up", postgres_server.dsn(dbname))
        before = program.windows(AWAY)
        other.windows(UP)
        own_server.halt(immediate=True)
        program.until_server("away")
        away: list[Window] = []
        up: list[Window] = []
        while len(away) < 4 * SECONDS:
            away += program.windows(AWAY)
            up += other.windows(UP)[1:]
        own_server.resume()
        total = program.finish()
        check_stored(postgres_server, dbname, other.finish())
    check_stored(own_server, lost, total)
    assert journal_rows(program.journal) == []
    check_file(program.journal)
    assert {window["server"] for window in away} == {"away"}
    assert {window["server"] for window in up} == {"up"}
    with capsys.disabled():
        print()
        print_windows("up", up)
        print_windows("away", away)
        print(f"{total['journaled']} runs, forwarded in {total['seconds']:.1f} s")
    if SANITIZED:  # its own memory and time are not what a program would see
        return
    growth = max(window["rss"] for window in away) - before[-1]["rss"]
    assert growth < 16 * MIB, f"{growth / MIB:.1f} MiB"
    assert typical(away, "p99") <= 2 * typical(up, "p99")
