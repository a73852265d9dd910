"""The examples do what they say, started as a user would start them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def processes_with_folder(folder: Path) -> list[str]:
    """The processes in whose environment there is this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # another user's, or it has just ended
            if os.fsencode(folder) in path.read_bytes():
                found.append(path.with_name("cmdline").read_text())
    return found


def test_runs_are_found_by_meaning(tmp_path: Path) -> None:
    """It takes its ten seconds: two servers are started, and twelve graphs are run."""
    elsewhere = {
        "PATH": f"{os.environ['PATH']}:{tmp_path}",  # which its servers get as well
        "OPENAI_KEY": "sk-of-the-user",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "RUNLOG_OPENAI_HEADERS": "api-key: of-the-user",
        "MILVUS_ENDPOINT": "127.0.0.1:1",
        "RUNLOG_SQLITE_PATH": str(tmp_path / "of_the_user.db"),
        "http_proxy": "http://127.0.0.1:1",
    }
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, EXAMPLES / "search.py"],
        env=os.environ | elsewhere | {"TMPDIR": str(temporary)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    assert "12 runs" in done.stdout
    assert "11 embedded, 11 upserted to Milvus" in done.stdout
    rows = re.findall(r"^ *(-?\d\.\d\d)  \S{36} completed ", done.stdout, re.MULTILINE)
    assert len(rows) == 15  # four questions and one run, three hits each
    scores = [float(score) for score in rows]
    for first in range(0, 15, 3):
        assert scores[first : first + 3] == sorted(scores[first : first + 3])[::-1]
    # what it has started has ended, and what it has written is gone
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert list(temporary.iterdir()) == []
    assert processes_with_folder(tmp_path) == []
