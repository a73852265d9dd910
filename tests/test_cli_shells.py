"""The completion scripts in real shells, of which each is typed at in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_help import on_sqlite
from fixtures_store import Store
from helpers import minimal

import runlog

NAME = '$(touch made) it\'s "one"'
"""A workflow whose name must stay one word, and be no command."""
SHELLS = {
    "bash": """eval "$(runlog completion bash)"; PS1=re"ady> "
""",
    "zsh": """autoload -U compinit; compinit -u -D
eval "$(runlog completion zsh)"; PS1=re"ady> "
""",
    "fish": """runlog completion fish | source
function fish_prompt; echo -n re"ady> "; end
""",
}
"""What is typed first; the prompt that it sets does not stand in it."""
_SECONDS = 120.0
"""After which a shell that waits for ever is ended, and the test fails."""
OPTIONS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["-N", "-i"],
}


class Typed:
    """A shell in a terminal.

    Args:
        command: the shell.
        options: of the process.
    """

    def __init__(self, command: list[str], **options: Any) -> None:
        self._terminal, end = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=end,
            stdout=end,
            stderr=end,
            **options,
        )
        os.close(end)
        self.seen = ""
        self._limit = threading.Timer(_SECONDS, self.process.kill)
        self._limit.start()

    def type(self, text: str, until: str | None = None) -> None:
        """Type a text, and read until the shell shows another one, or its end."""
        start = len(self.seen)
        os.write(self._terminal, text.encode())
        with contextlib.suppress(OSError):  # of Linux, when the shell has ended
            while until is None or until not in self.seen[start:]:
                piece = os.read(self._terminal, 65536)
                if not piece:
                    break
                self.seen += piece.decode(errors="replace")

    def close(self) -> None:
        """End the shell."""
        self._limit.cancel()
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@contextlib.contextmanager
def typing(shell: str, store: Store, folder: Path) -> Iterator[Typed]:
    """A shell in a folder that completes runlog, at its prompt."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "TERM": "xterm"}
    typed = Typed(
        [shell, *OPTIONS[shell]],
        cwd=folder,
        env={**os.environ, **store.env, **home, "PATH": path, "COLUMNS": "200"},
    )
    try:
        typed.type(SHELLS[shell], "ready> ")
        yield typed
    finally:
        typed.close()


@on_sqlite
@pytest.mark.parametrize("shell", SHELLS)
def test_a_recorded_name_is_completed_as_one_word(
    store: Store, recorder: Any, tmp_path: Path, shell: str
) -> None:
    recorder.log_run(minimal("r1", NAME))
    with typing(shell, store, tmp_path) as typed:
        typed.type("runlog sh\t- --json > shown\n", "ready> ")
        typed.type("runlog list -w \t", "touch")
        typed.type(" --json > listed; exit\n")
    assert json.loads((tmp_path / "shown").read_text())["run_id"] == "r1", typed.seen
    (row,) = json.loads((tmp_path / "listed").read_text())
    assert row["workflow"] == NAME, typed.seen
    assert not (tmp_path / "made").exists()


LINES = {
    "show @fail\t": ["show", "@failed"],
    "show ab:\t": ["show", "ab:cd=ef@gh"],
    "show ab:cd=e\t": ["show", "ab:cd=ef@gh"],
    "show ab:cd=ef@g\t": ["show", "ab:cd=ef@gh"],
    "thread user:\t": ["thread", "user:1"],
    "thread order\\ A\t": ["thread", 'order A: $x it\'s "1"'],
    "thread 'order A\t": ["thread", 'order A: $x it\'s "1"'],
    'thread "order A\t': ["thread", 'order A: $x it\'s "1"'],
    "list --status=fai\t": ["list", "--status=failed"],
    "list --status failed,los\t": ["list", "--status", "failed,lost"],
    "list --thread=use\t": ["list", "--thread=user:1"],
    "--db {} show man\t": ["--db", "{}", "show", "many"],
    "show --db={} man\t": ["show", "--db={}", "many"],
    "show -- -da\t": ["show", "--", "-dash"],
    "show \\$\t": ["show", "$(touch made)"],
    "insights my\t": ["insights", "my flow"],
}
"""What is typed behind runlog, and the arguments that it becomes."""


@on_sqlite
@pytest.mark.parametrize("shell", SHELLS)
def test_any_word_is_completed_where_it_is_typed(
    store: Store, recorder: Any, tmp_path: Path, shell: str
) -> None:
    for name in ("ab:cd=ef@gh", "-dash", "$(touch made)"):
        recorder.log_run(minimal(name, "my flow", thread_id='order A: $x it\'s "1"'))
    recorder.log_run(minimal("r9", "w", thread_id="user:1", status="failed"))
    other = tmp_path / "other.db"
    with runlog.Recorder(sqlite_path=str(other)) as there:
        there.log_run(minimal("many"))
    reader = tmp_path / "args"
    program = "import json, sys\nprint(json.dumps(sys.argv))"
    reader.write_text(f"#!{sys.executable}\n{program}")
    reader.chmod(0o755)
    with typing(shell, store, tmp_path) as typed:
        for place, (line, words) in enumerate(LINES.items()):
            shown = tmp_path / f"shown{place}"
            # What stands there then is given to another program, and not to runlog.
            after = f" > {shown}; echo do''ne{place}\x01./args \n"
            typed.type("runlog " + line.format(other) + after, f"done{place}")
            ours = [word.format(other) for word in words]
            assert json.loads(shown.read_text())[2:] == ours, (line, typed.seen[-400:])
    assert not (tmp_path / "made").exists()
