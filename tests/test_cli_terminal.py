"""The command line on terminals of any kind, and in pipes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_help import HOSTILE, STYLE, Cli, Recorded, cli, history, on_sqlite
from fixtures_store import Store
from helpers import minimal

from runlog.cli.text import width

__all__ = ["cli", "history"]


@on_sqlite
def test_hostile_text_reaches_no_terminal(cli: Cli, recorder: Any) -> None:
    error = {"error_type": HOSTILE, "error_text": HOSTILE, "error_traceback": HOSTILE}
    call = {
        "kind": "llm",
        "name": HOSTILE,
        "messages": [{"content": HOSTILE}],
        "outputs": [HOSTILE],
    }
    log = {
        "node": HOSTILE,
        "status": "failed",
        "calls": [call],
        "events": [{"name": HOSTILE}],
    }
    run = minimal("r\x1b[2J", f"w{HOSTILE}".replace("\x00", ""), status="failed")
    values = {"inputs": {HOSTILE: HOSTILE}, "outputs": HOSTILE, "thread_id": "t\x1b[2J"}
    recorder.log_run(
        {**run, **error, **values, "node_logs": [{**log, **error, **values}]}
    )
    name = "r\x1b[2J"
    for argv in (
        ["list"],
        ["list", "--fields", "error,error_text,thread"],
        ["show", name, "--calls", "--traceback"],
        ["show", name, "--full"],
        ["show", name, "--md"],
        ["show", name, "--json"],
        ["show", "x\x1b[2J"],
        ["thread", "t\x1b[2J"],
        ["errors"],
        ["stats"],
        ["tail"],
        ["diff", name, name],
        ["list", "--json"],
        ["list", "-o", "tsv"],
        ["list", "-o", "md"],
        ["complete", "--", "runlog show "],
    ):
        for done in (cli(*argv), cli.on_terminal(*argv)):
            text = STYLE.sub("", done.out) + done.err
            assert [
                char for char in text if not char.isprintable() and char not in "\n\t"
            ] == []


@pytest.mark.parametrize(
    ("columns", "encoding"),
    [(40, "utf-8"), (80, "utf-8"), (200, "utf-8"), (60, "ascii"), (80, "gbk")],
)
@on_sqlite
def test_a_terminal_of_any_width(
    cli: Cli, history: Recorded, recorder: Any, columns: int, encoding: str
) -> None:
    recorder.log_run(
        minimal(
            "wide",
            "工作流程" * 20,
            error_text="שלום עולם " * 30,
            inputs={"名": "値" * 90},
        )
    )
    assert history
    for argv in (
        ["list"],
        ["list", "--fields", "run,workflow,error_text,when"],
        ["show", history.failed],
        ["show", history.nested],
        ["show", "wide"],
        ["errors"],
        ["thread", "order A1"],
        ["diff", history.done, history.failed],
        ["tail"],
        ["stats"],
    ):
        done = cli.on_terminal(*argv, columns=columns, encoding=encoding)
        lines = STYLE.sub("", done.out).split("\n")
        assert max(map(width, lines)) <= columns, argv
        assert done.out.count("\n") > 1
    assert "ago" in cli.on_terminal("list").out or "now" in cli.on_terminal("list").out
    assert "\x1b[31m" in cli.on_terminal("list").out


@pytest.mark.parametrize("columns", [40, 80])
@on_sqlite
def test_regression_ids_of_one_minute(cli: Cli, recorder: Any, columns: int) -> None:
    """Ids of time begin alike: a table leaves so much of each that it names the run."""
    ids = [f"019ab2f1-7f58-7c{place}0-9d3a-5be1a0f4c1de" for place in range(3)]
    for one in ids:
        text = "before " * 30 + "zebra " + "after " * 30
        recorder.log_run(minimal(one, "a workflow", status="failed", outputs={"x": text}))
    recorder.log_run(minimal("i" * 200, "a workflow", status="failed"))
    for argv in (["list"], ["search", "zebra"]):
        done = cli.on_terminal(*argv, columns=columns)
        shown = re.findall("019ab2f1\\S*", STYLE.sub("", done.out))
        assert len(shown) == 3
        assert all(cli("show", one, "--fields", "node").code == 0 for one in shown)
    assert done.out.count("zebra") == 3  # the hit is in view


@on_sqlite
def test_colours(cli: Cli, history: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    assert history
    assert "\x1b" in cli.on_terminal("list").out
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert "\x1b" in cli("list").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in cli("list").out
    assert "\x1b" not in cli.on_terminal("list").out


def run_program(*argv: str, store: Store, **env: str) -> subprocess.Popen[str]:
    program = Path(sys.executable).with_name("runlog")
    command: list[str] = (
        [str(program)] if program.exists() else [sys.executable, "-m", "runlog"]
    )
    return subprocess.Popen(
        [*command, *argv],
        env={**os.environ, **store.env, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@on_sqlite
def test_an_encoding_without_signs(store: Store, recorder: Any) -> None:
    began, half = "2026-11-30T12:00:00Z", "2026-11-30T12:00:01Z"
    inner = {"node": "b", "parent": "a", "step": 1, "started_at": half}
    logs = [{"node": "a", "step": 1, "started_at": began, "duration_ms": 2000}, inner]
    recorder.log_run(minimal(outputs="naïve", node_logs=logs, started_at=began))
    with run_program("show", "r1", store=store, PYTHONIOENCODING="ascii") as program:
        assert program.stdout is not None
        shown = program.stdout.read()
    assert program.returncode == 0
    assert shown.isascii()
    assert "`- b" in shown
    assert "..#" in shown
    assert "na\\xefve" in shown


@on_sqlite
def test_a_stream_that_is_closed(store: Store, recorder: Any, tmp_path: Path) -> None:
    """Nobody reads it; the rest is as always, and nothing is written to the history."""
    recorder.log_run(minimal("r1"))
    assert recorder.flush()
    path = Path(store.options["sqlite_path"])
    lines = tmp_path / "lines"
    program = f"{sys.executable} -c 'from runlog.cli import main; exit(main())'"
    cases = (
        ("list", 0, "r1"),
        ("export", 0, '"r1"'),
        (f"export --to {lines}", 0, ""),
        ("show nosuch", 2, ""),
        ("import -", 0, ""),
        ("list --help", 0, "usage"),
        ("doctor", 0, "history"),
        ("migrate apply", 0, ""),
    )
    for argv, code, said in cases:
        for closed in ("0<&-", "1>&-", "2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"):
            done = subprocess.run(
                ["sh", "-c", f"exec {program} {argv} {closed}"],
                env=os.environ | store.env,
                check=False,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
            )
            assert done.returncode == code, (argv, closed, done)
            assert "Traceback" not in done.stderr
            assert said in done.stdout or "1>" in closed, (argv, closed, done)
    assert path.read_bytes()[:16] == b"SQLite format 3\0"
    assert store.query("PRAGMA integrity_check") == [("ok",)]


@on_sqlite
def test_a_reader_that_leaves(store: Store, recorder: Any) -> None:
    for number in range(200):
        recorder.log_run(minimal(f"r{number}", error_text="x" * 1000))
    program = run_program("list", "-n", "0", "--fields", "run,error_text", store=store)
    assert program.stdout is not None
    assert program.stdout.readline()
    program.stdout.close()
    assert program.wait(60) == 0
    assert program.stderr is not None
    assert program.stderr.read() == ""
    program.stderr.close()


def test_tail_follows_until_ctrl_c(store: Store, recorder: Any) -> None:
    recorder.log_run(minimal("before"))
    with run_program("tail", "-f", "--interval", "0.05", store=store) as program:
        assert program.stdout is not None
        assert "before" in program.stdout.readline()
        recorder.log_run(minimal("after", status="failed", error_type="KeyError"))
        while "after" not in (line := program.stdout.readline()):
            assert line
        assert "failed" in line + program.stdout.readline()
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 130
