"""The completion scripts in real shells, of which each is typed at in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sysconfig
import threading
from pathlib import Path
from typing import Any

import pytest
from cli_help import on_sqlite
from fixtures_store import Store
from helpers import minimal

NAME = '$(touch made) it\'s "one"'
"""A workflow whose name must stay one word, and be no command."""
SHELLS = {
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
OPTIONS = {"zsh": ["-f", "-i"], "fish": ["-N", "-i"]}


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
        os.write(self._terminal, text.encode())
        start = len(self.seen)
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


@on_sqlite
@pytest.mark.parametrize("shell", SHELLS)
def test_a_recorded_name_is_completed_as_one_word(
    store: Store, recorder: Any, tmp_path: Path, shell: str
) -> None:
    recorder.log_run(minimal("r1", NAME))
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm"}
    typed = Typed(
        [shell, *OPTIONS[shell]],
        cwd=tmp_path,
        env={**os.environ, **store.env, **home, "PATH": path, "COLUMNS": "200"},
    )
    try:
        typed.type(SHELLS[shell], "ready> ")
        typed.type("runlog sh\t- --json > shown\n", "ready> ")
        typed.type("runlog list -w \t", "touch")
        typed.type(" --json > listed; exit\n")
    finally:
        typed.close()
    assert json.loads((tmp_path / "shown").read_text())["run_id"] == "r1", typed.seen
    (row,) = json.loads((tmp_path / "listed").read_text())
    assert row["workflow"] == NAME, typed.seen
    assert not (tmp_path / "made").exists()
