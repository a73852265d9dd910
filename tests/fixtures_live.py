"""Processes that record graphs, made by one that has langgraph loaded already."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fixtures_store import Store
from helpers import until

TESTS = Path(__file__).resolve().parent
CRASHES = ("Fatal", "Segmentation", "Exception ignored", "Sanitizer", "runtime error:")


class LiveProcess:
    """A process that was forked by the server; see tests/torture/live_server.py."""

    def __init__(self, pid: int, order: Mapping[str, Any]) -> None:
        self.pid = pid
        self._order = order
        self._stdin = os.open(order["stdin"], os.O_WRONLY)

    def _read(self, name: str) -> str:
        path = Path(self._order[name])
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def stdout(self) -> str:
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        return self._read("stderr")

    def lines(self) -> list[str]:
        """The acknowledgements so far."""
        lines = self._read("acks").splitlines()
        return [line for line in lines if not line.startswith("ended ")]

    @property
    def returncode(self) -> int | None:
        """Its exit code; None while it runs, or when it was killed."""
        lines = [x for x in self._read("acks").splitlines() if x.startswith("ended ")]
        return int(lines[-1].split()[1]) if lines else None

    def is_gone(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def until_told(self, line: str, count: int = 1) -> None:
        """Wait until it has said that so often; it must not end before."""
        until(lambda: self.lines().count(line) >= count or self.is_gone())
        assert self.lines().count(line) >= count, self.stderr

    def tell(self, line: str = "") -> None:
        """Give it a line on its standard input."""
        os.write(self._stdin, f"{line}\n".encode())

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        until(self.is_gone)

    def wait(self) -> LiveProcess:
        """Wait for its end, which must be a good one."""
        until(self.is_gone)
        assert self.returncode == 0, self.stderr
        assert not any(crash in self.stderr for crash in CRASHES), self.stderr
        return self

    def end(self) -> None:
        self.kill()
        os.close(self._stdin)


class LiveServer:
    """The process that forks them."""

    def __init__(self) -> None:
        path = [str(TESTS), os.environ.get("PYTHONPATH", "")]
        self._count = itertools.count()
        self._started: list[LiveProcess] = []
        self._process = subprocess.Popen(
            [sys.executable, str(TESTS / "torture" / "live_server.py")],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self, folder: Path, env: Mapping[str, str], *args: object, **what: str
    ) -> LiveProcess:
        """Start a process: `kind` or `code` says what it does."""
        base = folder / f"live-{next(self._count)}"
        order: dict[str, Any] = {
            **what,
            "args": [str(arg) for arg in args],
            "env": dict(env),
            "folder": str(folder),
            **{name: f"{base}.{name}" for name in ("stdin", "stdout", "stderr", "acks")},
        }
        os.mkfifo(order["stdin"])
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        self._started.append(LiveProcess(pid, order))
        return self._started[-1]

    def end_all(self) -> None:
        """End those that a test has left."""
        while self._started:
            self._started.pop().end()

    def stop(self) -> None:
        self.end_all()
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="session")
def live_server() -> Iterator[LiveServer]:
    server = LiveServer()
    yield server
    server.stop()


class Start:
    """Starts processes of tests/torture/live.py that record to a store."""

    def __init__(self, server: LiveServer, folder: Path, env: Mapping[str, str]) -> None:
        self._server, self._folder, self._env = server, folder, env

    def __call__(self, kind: str, *args: object) -> LiveProcess:
        return self._server.start(self._folder, self._env, *args, kind=kind)

    def code(self, code: str, *args: object, **env: str) -> LiveProcess:
        """Runs some code; runlog.hooks is not loaded by then."""
        return self._server.start(self._folder, {**self._env, **env}, *args, code=code)


@pytest.fixture
def start(live_server: LiveServer, store: Store, tmp_path: Path) -> Iterator[Start]:
    """Starts processes that record to the store; they end with the test."""
    yield Start(live_server, tmp_path, store.env)
    live_server.end_all()
