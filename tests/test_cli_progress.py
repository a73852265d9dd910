"""What a terminal shows of long work."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from runlog import migrations
from runlog.cli.progress import Progress


def _all_of(terminal: io.FileIO) -> bytes:
    """What was written to a terminal whose other end is closed by now."""
    text = b""
    with contextlib.suppress(OSError):  # Linux ends with an error, others with nothing
        while piece := terminal.read(200):
            text += piece
    return text


def test_progress_is_for_terminals(tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    with os.fdopen(terminal, "rb", 0) as shown:
        with os.fdopen(end, "w") as stream, Progress("runs exported", stream) as progress:
            progress.add()
            time.sleep(0.11)
            progress.add(1999)
        text = _all_of(shown).decode()
    assert text.startswith("\r2,000 runs exported, ")
    assert text.endswith("a second\r" + " " * len(text.split("\r")[1]) + "\r")
    with (tmp_path / "pipe").open("w") as stream, Progress("runs", stream) as progress:
        time.sleep(0.11)
        progress.add()
    assert (tmp_path / "pipe").read_text() == ""


def test_a_migration_that_takes_long_shows_for_how_long(tmp_path: Path) -> None:
    """Another program holds the lock of the file until the terminal shows it."""
    path = tmp_path / "runs.db"
    path.touch()
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    terminal, end = pty.openpty()
    program = [sys.executable, "-m", "runlog", "--db", str(path), "migrate", "apply"]
    with os.fdopen(terminal, "rb", 0) as shown:
        child = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=end)
        os.close(end)
        text = b""
        while b" s" not in text:
            text += shown.read(200)
        lock.close()
        text += _all_of(shown)
        rows = child.communicate()[0].decode()
    newest = migrations.load("sqlite")[-1][0]
    assert child.returncode == 0, text
    first, *_, last = [one for one in text.decode().split("\r") if one.strip()]
    assert first.startswith(f"applying {newest} migrations, ")
    assert last.startswith(f"applied {newest} migrations to "), "the line is gone"
    assert len(rows.splitlines()) == newest + 1
