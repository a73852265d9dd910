"""A long outage at full speed: memory stays flat, callers are as quick as before.

TORTURE_OUTAGE_SECONDS is how long the server is away (20 unless given).
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

SECONDS = int(os.environ.get("TORTURE_OUTAGE_SECONDS", "20")) // (4 if SANITIZED else 1)
BEFORE = min(max(SECONDS // 3, 3), 60)
PROGRAM = Path(__file__).with_name("outage_load.py")
MIB = 1 << 20


class Program:
    """The program that measures itself."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, str(60 + 4 * SECONDS)],
            env={**os.environ, **env},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def window(self) -> dict[str, Any]:
        """What it tells of the next quarter of a second."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the program has ended"
        window: dict[str, Any] = json.loads(line)
        return window

    def windows(self, server: str, seconds: int) -> list[dict[str, Any]]:
        """What it tells in so many seconds, from the second time on that it is so."""
        while self.window()["server"] != server:
            pass
        windows = [self.window() for _ in range(4 * seconds)]
        assert {window["server"] for window in windows} == {server}
        return windows

    def finish(self) -> dict[str, Any]:
        """Have it stop; return what it has done in all."""
        out, _ = self._process.communicate()
        assert self._process.returncode == 0
        total: dict[str, Any] = json.loads(out.splitlines()[-1])
        return total

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def start(own_server: PostgresServer, tmp_path: Path) -> Iterator[Callable[[], Program]]:
    """Starts a program on an empty database."""
    programs: list[Program] = []

    def start_one() -> Program:
        own_server.query("DROP DATABASE IF EXISTS outage")
        own_server.query("CREATE DATABASE outage")
        env = {
            "POSTGRES_DSN": own_server.dsn("outage"),
            "RUNLOG_SQLITE_PATH": str(tmp_path / "journal.db"),
        }
        programs.append(Program(env, tmp_path))
        return programs[-1]

    yield start_one
    for program in programs:
        program.end()


def typical(windows: list[dict[str, Any]], what: str) -> float:
    return statistics.median(float(window[what]) for window in windows)


def undisturbed(windows: list[dict[str, Any]]) -> float:
    """The p99 of a good window: what else the machine does only ever adds to it."""
    return statistics.quantiles((float(window["p99"]) for window in windows), n=4)[0]


def tell(name: str, windows: list[dict[str, Any]]) -> None:
    figures = ", ".join(f"{f} {typical(windows, f):.2f} ms" for f in ("p50", "p99"))
    worst = max(window["max"] for window in windows)
    runs = typical(windows, "runs")
    memory = [windows[0]["rss"] / MIB, max(window["rss"] for window in windows) / MIB]
    print(
        f"{name}: {len(windows) // 4} s, {4 * runs:.0f} runs/s, {figures} "
        f"(undisturbed {undisturbed(windows):.2f}), max {worst:.0f} ms, "
        f"RSS {memory[0]:.1f} MiB at first, {memory[1]:.1f} at most"
    )


def test_memory_and_latency(
    start: Callable[[], Program],
    own_server: PostgresServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The latency with the server up is that of before and after the outage."""
    program = start()
    before = program.windows("up", BEFORE)
    own_server.halt(immediate=True)
    away = program.windows("away", SECONDS)
    own_server.resume()
    total = program.finish()
    assert total["flushed"] is True
    assert total["forwarded"] == total["journaled"] > SECONDS
    kept = own_server.query(
        "SELECT count(*), count(DISTINCT run_id), max(run_id::int) FROM workflow_runs",
        dbname="outage",
    )
    logged = total["logged"]
    assert kept == [(logged, logged, logged - 1)]
    journal = str(tmp_path / "journal.db")
    assert journal_rows(journal) == []
    check_file(journal)

    again = start()
    up = before + again.windows("up", BEFORE)
    again.finish()
    with capsys.disabled():
        print()
        tell("up", up)
        tell("away", away)
        print(f"{total['journaled']} runs forwarded in {total['seconds']:.1f} s")
    if SANITIZED:  # its own memory and time are not what a program would see
        return
    growth = max(window["rss"] for window in away) - before[-1]["rss"]
    assert growth < 16 * MIB, f"{growth / MIB:.1f} MiB"
    assert undisturbed(away) <= 2 * undisturbed(up)
