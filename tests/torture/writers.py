"""Starting and killing writers, and what they have left behind."""

from __future__ import annotations

import itertools
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from helpers import until

WRITER = Path(__file__).with_name("writer.py")

COUNTS = (
    "SELECT wpk_id, count(*), count(DISTINCT run_id), max(CAST(run_id AS integer)) "
    "FROM workflow_runs GROUP BY wpk_id"
)


class Writers:
    """Independent writer processes on one database, and their acknowledgements."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = {**os.environ, **env}
        self.running: list[subprocess.Popen[bytes]] = []
        self.killed = 0
        self._numbers = itertools.count(1)

    def start(self, *args: str, **env: str) -> subprocess.Popen[bytes]:
        """Start another one."""
        name = f"w{next(self._numbers)}"
        with (self.folder / f"{name}.err").open("wb") as err:
            writer = subprocess.Popen(
                [sys.executable, WRITER, name, self.folder / f"{name}.acks", *args],
                cwd=self.folder,
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
            )
        self.running.append(writer)
        return writer

    def kill(self, writer: subprocess.Popen[bytes] | None = None) -> None:
        """Kill one of them (any) as kill -9 does. It must not have ended by itself."""
        victim = writer or random.choice(self.running)
        self.running.remove(victim)
        victim.kill()
        victim.communicate()
        assert victim.returncode == -9, self.said()
        self.killed += 1

    def kill_all(self) -> None:
        """Kill those that run."""
        while self.running:
            self.kill()

    def end(self) -> None:
        """Kill what runs, whatever came before."""
        for writer in self.running:
            writer.kill()
            writer.communicate()

    def wait(self, writer: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Wait for one that stops by itself; return its counters."""
        out, _ = writer.communicate(timeout=120)
        self.running.remove(writer)
        assert writer.returncode == 0, self.said()
        stats: dict[str, Any] = json.loads(out)
        return stats

    def said(self) -> str:
        """What they have written to stderr."""
        return "".join(sorted(p.read_text() for p in self.folder.glob("w*.err")))

    def acknowledged(self) -> Counter[str]:
        """How many runs of each workflow were acknowledged."""
        counts: Counter[str] = Counter()
        for path in self.folder.glob("w*.acks"):
            lines = path.read_bytes().split(b"\n")[:-1]
            for line in lines:
                wpk_id, number = line.decode().split()
                counts[wpk_id] += 1
                assert int(number) == counts[wpk_id]
        return counts

    def until_acknowledged(self, count: int) -> None:
        """Wait until so many runs, of all of them, were."""
        until(
            lambda: (
                self.acknowledged().total() >= count
                or any(writer.poll() is not None for writer in self.running)
            )
        )

    def check(self, query: Callable[..., list[Any]]) -> None:
        """Every acknowledged run is there exactly once; of the others, at most the one
        that a thread was about when it was killed."""
        kept = {row[0]: tuple(row[1:]) for row in query(COUNTS)}
        acknowledged = self.acknowledged()
        assert acknowledged.total() > self.killed, self.said()
        wrong = {
            wpk_id: (count, kept.get(wpk_id))
            for wpk_id, count in acknowledged.items()
            if kept.get(wpk_id) not in ((count,) * 3, (count + 1,) * 3)
        }
        assert not wrong, f"acknowledged, (rows, different ones, greatest): {wrong}"
        others = {w: k for w, k in kept.items() if w not in acknowledged}
        assert all(rows == (1, 1, 1) for rows in others.values()), others


def check_file(path: str) -> None:
    """A SQLite file is sound."""
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
