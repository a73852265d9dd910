"""The examples do what they say, started as a user would start them."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from runlog.cli.commands.serve import PORT

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def processes_with_folder(folder: Path) -> list[str]:
    """The processes in whose environment there is this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # another user's, or it has just ended
            if os.fsencode(folder) in path.read_bytes():
                found.append(path.with_name("cmdline").read_text())
    return found


@pytest.mark.long
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


def test_the_agent_prints_its_whole_record(tmp_path: Path) -> None:
    """Without a key or a network."""
    nowhere = {
        "RUNLOG_SQLITE_PATH": str(tmp_path / "agent.db"),
        "https_proxy": "http://127.0.0.1:1",
        "OPENAI_API_KEY": "",
    }
    done = subprocess.run(
        [sys.executable, EXAMPLES / "agent.py"],
        env=os.environ | nowhere,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    run = json.loads(done.stdout)
    assert (run["wpk_id"], run["status"]) == ("shop assistant", "completed")
    logs = run["node_logs"]
    assert [log["node"] for log in logs] == ["model", "tools", "tools", "model"]
    calls = [[(c["kind"], c["name"]) for c in log["calls"]] for log in logs]
    assert calls == [
        [("llm", "Clerk")],
        [("tool", "rules"), ("retriever", "Shelf")],
        [("tool", "stock")],
        [("llm", "Clerk")],
    ]
    last = logs[-1]["calls"][0]
    said = [message.get("content") for message in last["messages"]]
    assert said[:2] == ["Be brief.", "Is there tea? May I return it?"]
    assert said[3:] == ["Tea may be returned within 30 days.", "7"]
    assert last["outputs"][0]["content"] == run["outputs"]["messages"][-1]["content"]
    assert logs[1]["calls"][1]["parent"] == 0
    assert logs[2]["events"][0]["data"] == {"item": "tea"}


def test_what_the_demo_says_to_type_works(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    env = os.environ | {"RUNLOG_SQLITE_PATH": str(path)}
    small = tmp_path / "folder"
    small.mkdir()
    (small / "a.md").write_text("A text. " * 40)
    done = subprocess.run(
        [sys.executable, EXAMPLES / "demo.py", small],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.partition("To look at the runs:\n")[2].strip().split("\n")
    assert len(lines) == 5
    for line in lines[:3]:
        typed = subprocess.run(
            shlex.split(line), cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert (typed.returncode, typed.stderr) == (0, ""), line
        assert typed.stdout
    program, file, sql = shlex.split(lines[3])
    assert program == "sqlite3"
    with closing(sqlite3.connect(tmp_path / file)) as connection:
        assert len(connection.execute(sql).fetchall()) == 4
    command, _, said = lines[4].partition("  # ")
    assert said == f"and open http://127.0.0.1:{PORT}/ in a browser"
    with subprocess.Popen(
        [*shlex.split(command), "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE
    ) as serving:
        assert serving.stdout is not None
        address = serving.stdout.readline().decode().split()[-1]
        page = httpx.get(address, trust_env=False, timeout=60).text
        serving.kill()
    assert page.count("data-run=") == 4
    assert "UnreadableFileError" in page
