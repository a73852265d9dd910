"""Starts the programs of the torture tests, and checks what they have stored."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg.conninfo
from fixtures_postgres import PostgresServer, free_port
from stopwatch import waited_for_cpu

import runlog

HERE = Path(__file__).resolve().parent
EXIT_BOUND = 5.0
"""Seconds that a program may take to end, as the README promises."""
CRASHES = ("Fatal", "Segmentation", "Exception ignored", "Sanitizer", "runtime error:")


_started: list[Program] = []


def end_programs() -> None:
    """End those that a test has left behind, as one that fails does."""
    while _started:
        _started.pop().end()


@dataclass(frozen=True)
class Ended:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str
    acknowledged: list[str]
    exit_seconds: float
    """From its note_exit to its end; 0.0 where there was none. Without the time for which
    it was ready to run while others had the processors."""

    @property
    def printed(self) -> Any:
        """The JSON that it has printed."""
        return json.loads(self.stdout)


class Program:
    """A program under tests/torture, running."""

    def __init__(
        self,
        name: str,
        *args: str,
        folder: Path,
        env: Mapping[str, str],
        wrap: Sequence[str] = (),
    ) -> None:
        self.acks = folder / f"{name}.{time.monotonic_ns()}.acks"
        path = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [*wrap, sys.executable, str(HERE / f"{name}.py"), *args],
            cwd=folder,
            env={
                **os.environ,
                **env,
                "ACKS": str(self.acks),
                "PYTHONPATH": os.pathsep.join(filter(None, path)),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        _started.append(self)

    def end(self) -> None:
        """Kill it, if it still runs, and close what leads to it. Prints what it said."""
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None and not self.process.stderr.closed:
            print(self.process.stderr.read())
        for end in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert end is not None
            with contextlib.suppress(BrokenPipeError):
                end.close()

    def tell(self, line: str) -> None:
        """Give it a line on its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def lines(self) -> list[str]:
        """The acknowledgements so far."""
        return self.acks.read_text().splitlines() if self.acks.exists() else []

    def _has_ended(self, timeout: float) -> bool:
        """Wait for its end; it stays a zombie, whose times can be read."""
        pidfd = os.pidfd_open(self.process.pid)
        try:
            return select.select([pidfd], [], [], timeout) != ([], [], [])
        finally:
            os.close(pidfd)

    def wait(self, timeout: float = 150, *, code: int | None = 0) -> Ended:
        """Wait for its end, which must be with that exit code, and no crash."""
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.close()
        with ThreadPoolExecutor(2) as pool:
            printed = [pool.submit(end.read) for end in (process.stdout, process.stderr)]
            own = waited_for_cpu("thread-self")
            if not (ended := self._has_ended(timeout)):
                process.send_signal(signal.SIGABRT)  # faulthandler prints its threads
                self._has_ended(30)
            own = waited_for_cpu("thread-self") - own  # before this test could look
            now = time.monotonic() - waited_for_cpu(str(process.pid)) - own
            process.kill()  # where SIGABRT was not enough
            stdout, stderr = (text.result() for text in printed)
        self.end()
        assert ended, f"the program hangs\n{stdout}{stderr}"
        lines = self.lines()
        exits = [float(line.split()[1]) for line in lines if line.startswith("exit ")]
        done = Ended(
            process.returncode,
            stdout,
            stderr,
            [line for line in lines if not line.startswith("exit ")],
            now - exits[-1] if exits else 0.0,
        )
        assert code is None or done.returncode == code, (done.returncode, stdout, stderr)
        assert not any(crash in stderr for crash in CRASHES), stderr
        return done


def logged_ids(query: Any) -> Counter[str]:
    """The run_ids in workflow_runs, each with how often it is there."""
    return Counter(row[0] for row in query("SELECT run_id FROM workflow_runs"))


def check_stored(query: Any, acknowledged: Sequence[str]) -> None:
    """Everything acknowledged is there exactly once, and nothing else."""
    stored, logged = logged_ids(query), Counter(acknowledged)
    lost, more = logged - stored, stored - logged
    summary = f"{len(logged)} acknowledged, {len(lost)} lost, {len(more)} too many"
    assert stored == logged, f"{summary}: {sorted(lost)[:5]}, {sorted(more)[:5]}"
    assert set(logged.values()) <= {1}, logged.most_common(5)


def fold_in(path: str | Path) -> None:
    """Have the next recorder fold in what killed processes may have left beside."""
    if Path(f"{path}-beside").exists():
        with runlog.Recorder(sqlite_path=str(path)) as recorder:
            recorder.list_runs(limit=1)
            assert recorder.flush(60)


def check_file(path: str | Path) -> None:
    """A SQLite file is in order."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def give_away(path: str | Path) -> None:
    """Give what waits in a journal to whichever database forwards it.

    docs/operations.md has the statement. The tests need it where they take one database
    for another that was never reached.
    """
    for file in (Path(path), Path(f"{path}-beside")):
        if file.exists():
            with closing(sqlite3.connect(file)) as connection, connection:
                if connection.execute(
                    "SELECT 1 FROM sqlite_master WHERE name = 'journal'"
                ).fetchall():
                    connection.execute("UPDATE journal SET target = 0")


def forward(options: Mapping[str, Any]) -> dict[str, Any]:
    """Have what waits in a journal forwarded; return the counters after that."""
    give_away(options["sqlite_path"])
    with runlog.Recorder(**options) as recorder:
        recorder.list_runs(limit=1)
        assert recorder.flush(60)
        stats = recorder.stats()
    assert stats["waiting"] == 0
    return stats


class Switch:
    """The way to the shared server: a folder that holds its socket, or is not there."""

    def __init__(self, server: PostgresServer, dbname: str) -> None:
        self._server = server
        self._parent = Path(tempfile.mkdtemp(prefix="rl-"))  # a socket's path is short
        self._parent.chmod(0o755)
        self.folder = self._parent / "s"
        self.dsn = psycopg.conninfo.make_conninfo(
            host=str(self.folder), port=server.port, dbname=dbname, user="postgres"
        )

    def on(self) -> None:
        """The server can be reached from now on."""
        self.folder.symlink_to(self._server.folder)

    def off(self) -> None:
        """New connections fail from now on."""
        self.folder.unlink()

    def remove(self) -> None:
        shutil.rmtree(self._parent)


@contextmanager
def silent_listener() -> Iterator[str]:
    """The DSN of a server that takes connections and never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        port = listener.getsockname()[1]
        yield f"host=127.0.0.1 port={port} dbname=silent user=postgres"


def refused_dsn() -> str:
    """The DSN of a server that is not there."""
    return f"host=127.0.0.1 port={free_port()} dbname=away user=postgres"
