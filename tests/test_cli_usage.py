"""The command line: help, wrong usage, completion, and its document."""

from __future__ import annotations

import ast
import io
import os
import shlex
import subprocess
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_help import Cli, Recorded, cli, empty, history, on_sqlite
from fixtures_store import Store
from helpers import minimal

import runlog
from runlog.cli import COMMANDS, main, make_parser
from runlog.cli.commands.insights import _show as show_finding
from runlog.cli.output import Out
from runlog.insights.finding import Finding
from runlog.views.commands import command

__all__ = ["cli", "empty", "history"]
ROOT = Path(__file__).resolve().parent.parent


def test_help_and_wrong_usage(capsys: Any) -> None:
    cli = Cli(capsys)
    assert all(name in cli("--help").out for name in COMMANDS)
    assert cli("--version").out == f"runlog {runlog.__version__}\n"
    for name in COMMANDS:
        assert f"usage: runlog {name}" in cli(name, "--help").out
    for argv, near in (
        (["shw"], "'show'"),
        (["list", "--fields", "statu"], "'status'"),
        (["list", "-n", "x"], "whole number"),
        (["list", "--nonsense"], "--nonsense"),
        (["list", "--statsu", "failed"], "'--status'"),
        (["list", "--stauts=failed"], "'--status'"),
        (["list", "failed"], "'failed'"),
        (["list", "-o", "xml"], "'xml'"),
        (["completion", "csh"], "'csh'"),
        (["list", "--fields=--"], "'--'"),
        (["prune", "--older-than=--"], "'--'"),
        (["tail", "-n--"], "'--'"),
        (["tail", "--interval", "inf"], "inf"),
        (["tail", "--interval", "nan"], "nan"),
        (["tail", "--interval=-1"], "-1"),
        (["tail", "--interval", "soon"], "'soon'"),
        (["list", "--since", ""], "'' is no time"),
        (["errors", "--until="], "'' is no time"),
        (["show", "--node", "a", "--state", "b"], "--state"),
    ):
        done = cli(*argv)
        assert (done.code, done.out) == (2, "")
        assert near in done.err
        assert len(done.err.splitlines()) == 1


@on_sqlite
def test_completion(cli: Cli, history: Recorded) -> None:
    def after(*words: str) -> list[str]:
        return cli("complete", "--", shlex.join(["runlog", *words])).lines

    assert after("sh") == ["show"]
    assert history.done in after("show", "")
    assert after("show", "@fa") == ["@failed"]
    assert after("list", "--no") == ["--node"]
    assert after("list", "-w", "app") == ["approval"]
    assert after("list", "--status", "f") == ["failed"]
    assert after("migrate", "p") == ["plan"]
    assert after("nonsense", "") == []
    assert after("list", "--status=f") == ["--status=failed"]
    assert after("list", "-s", "failed,lo") == ["failed,lost"]
    assert after("list", "--thread", "ord") == ["order A1"]
    assert after("export", "@lo") == ["@lost"]
    assert after("insights", "app") == ["approval"]
    assert after("export", "-o", "") == ["chrome", "jsonl", "parquet"]
    assert after("export", "--format=pa") == ["--format=parquet"]
    assert after("tail", "-o", "") == ["jsonl", "table"]
    assert after("watch", "--shape", "s") == ["slack"]
    assert after("--output", "m") == ["md"]
    assert after("show", "--full", history.done[:9]) == [history.done]


@on_sqlite
def test_completion_of_another_history(
    cli: Cli, store: Store, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--db stands before the command, or among its arguments."""
    recorder.log_run(minimal("many", "w"))
    path = store.options["sqlite_path"]
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", "nowhere.db")
    for words in (
        ["--db", path, "show", "m"],
        [f"--db={path}", "show", "m"],
        ["show", "--db", path, "m"],
    ):
        line = shlex.join(["runlog", *words])
        assert cli("complete", "--", line).lines == ["many"]
    assert cli("complete", "--", f"runlog --db {path} sh").lines == ["show"]
    assert cli("complete", "--", "runlog --db ").lines == []
    assert cli("complete").lines == cli("complete", "--", "runlog ").lines


@on_sqlite
def test_a_command_to_copy_names_the_runs_that_were_recorded(
    cli: Cli, store: Store, recorder: Any, tmp_path: Path
) -> None:
    """In a shell, whatever they are called; or there is no such command."""
    names = ["a b", "$(touch made)", "-r", "--json", "it's", "`touch made`", "a;b|c&d>e"]
    for run_id in [*names, "-", "@failed", "@x", "a\x1b[201~", "a\nb", "a\u202eb"]:
        show = command("show", "$(touch made) w", run_id)
        diff = command("diff", "$(touch made) w", run_id, run_id)
        if run_id not in names:
            assert (show, diff) == (None, None)
            continue
        assert show is not None
        assert diff is not None
        for workflow in ("$(touch made) w", "other"):
            recorder.log_run(minimal(run_id, workflow))
        done = in_bash(show, tmp_path, store.env)
        assert f"$(touch made) w  run {run_id}" in done, done
        assert "the runs are the same" in in_bash(diff, tmp_path, store.env)
        stream = io.StringIO()
        found = Finding(
            "slow", "w", None, datetime.now(UTC), "", 1, 2, "", [run_id], run_id
        )
        show_finding(Out(stream), found)
        assert str(command("diff", "w", run_id, run_id)) in stream.getvalue()
    assert not (tmp_path / "made").exists()
    assert command("show", "a\u202eb", "r") is None
    assert command("show", "w", "r1") == "runlog show --workflow=w r1"


def in_bash(line: str, folder: Path, env: dict[str, str]) -> str:
    """What a command line prints in bash."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=os.environ | env | {"PATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@on_sqlite
def test_no_traceback_reaches_a_user(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, recorder: Any
) -> None:
    """A fault that nobody foresaw is one line, too."""
    recorder.log_run(minimal("r1"))
    monkeypatch.setenv("RUNLOG_PRICES", "/nowhere/prices.json")
    done = cli("stats")
    assert (done.code, done.err.count("\n")) == (2, 1)
    monkeypatch.delenv("RUNLOG_PRICES")
    monkeypatch.setenv("RUNLOG_MAX_PAYLOAD", "many")
    assert cli("list").code == 2
    assert main(["list", "--limit", "-1"]) == 2


def test_the_document_names_every_command_and_field() -> None:
    document = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"runlog {name}" in document or name == "list"
        for action in make_parser(name)._actions:
            for option in action.option_strings:
                common = option in ("-h", "--help") or len(option) == 2
                assert common or option in document, (name, option)


def imported(path: Path) -> set[str]:
    """The modules that a file imports when it is imported itself."""
    found = set()
    for line in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.ImportFrom):
            found.add(str(line.module))
        if isinstance(line, ast.Import):
            found |= {one.name for one in line.names}
    return {name for name in found if name.partition(".")[0] == "runlog"}


def test_imports_point_one_way() -> None:
    """Command line and page stand on insights, reading and views, and don't know each
    other. Insights and metrics stand on the figures of the library.
    """
    below: dict[str, tuple[str, ...]] = {"views": (), "reading": ("views",)}
    below["insights"] = ("reading", "views", "rollup", "_runlog", "_sum_prices")
    below["metrics"] = ("rollup", "_runlog", "_sum_prices", "_imports")
    below["cli"] = ("insights", "reading", "views", "_runlog")
    below["web"] = (*below["cli"], "rollup")
    for folder, others in below.items():
        ours = tuple(f"runlog.{name}" for name in (folder, *others))
        paths = list((ROOT / "runlog" / folder).rglob("*.py"))
        assert paths
        for path in paths:
            assert all(name.startswith(ours) for name in imported(path)), path


SLOW = {"asyncio", "copy", "ctypes", "dataclasses", "difflib", "inspect", "langgraph"}
SLOW |= {"decimal", "logging", "pathlib", "shutil", "tempfile", "unicodedata", "urllib"}


@on_sqlite
@pytest.mark.usefixtures("empty")
def test_a_list_imports_nothing_that_is_slow(run_python: Any, store: Store) -> None:
    """The imports are most of what a list costs: 60 ms of CPU at most."""
    code = (
        "import sys; from runlog.cli import main; code = main(['list']); "
        "print(*sys.modules); sys.exit(code)"
    )
    done = run_python(code, env=store.env)
    assert done.returncode == 0, done.stderr
    assert SLOW & set(done.stdout.split()) == set()
    again = subprocess.run(
        [sys.executable, "-m", "runlog", "--version"], capture_output=True, text=True
    )
    assert again.stdout == f"runlog {runlog.__version__}\n"
