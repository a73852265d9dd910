"""The command line: lists, their filters, pages and formats, and the names of runs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from cli_help import Cli, Recorded, cli, empty, history, on_sqlite
from helpers import minimal

__all__ = ["cli", "empty", "history"]
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HEAD = ["status", "run", "workflow", "at", "nodes", "retries", "time", "tokens", "when"]


def test_list(cli: Cli, history: Recorded) -> None:
    done = cli()
    assert done.code == 0
    assert done == cli("list")
    head, *lines = done.lines
    assert head.split() == HEAD
    assert [line.split()[1] for line in lines[-3:]] == [
        history.also_failed,
        history.failed,
        history.done,
    ]
    assert all(RFC3339.search(line) for line in lines)
    assert "\x1b" not in done.out
    rows = {row["run"]: row for row in json.loads(cli("--json", "-n", "0").out)}
    assert rows[history.failed]["at"] == "draft"
    assert rows[history.paused]["at"] == "ask"
    assert rows[history.retried]["retries"] == 1
    assert rows[history.nested]["nodes"] == 3
    assert rows[history.asked]["tokens"] == 25
    assert rows[history.done]["at"] is None


def test_filters_of_list(cli: Cli, history: Recorded) -> None:
    def found(*argv: str) -> set[str]:
        done = cli("list", *argv, "-o", "jsonl", "--fields", "run")
        assert done.code == 0, done
        return {json.loads(line)["run"] for line in done.lines}

    assert found("--workflow", "approval") == {history.paused, history.resumed}
    assert found("--status", "interrupted") == {history.paused}
    assert found("--thread", "order A1") == {history.paused, history.resumed}
    assert found("--node", "pay") == {history.retried}
    assert found("--node", "last") == {history.nested}
    assert found("--error", "PRICE") == {history.failed, history.also_failed}
    assert found("--error", "keyerror", "-n", "1") < found("--error", "keyerror")
    assert len(found("--since", "1h")) == 10
    assert found("--until", "1h") == set()
    assert found("--since", "2999-01-01") == set()
    assert history.done not in found("--since", history.also_failed)
    assert found("--until", history.failed) == {history.done}


@on_sqlite
def test_pages_of_list(cli: Cli, history: Recorded) -> None:
    whole = [row["run"] for row in json.loads(cli("--json").out)]
    paged: list[str] = []
    more: list[str] = []
    while True:
        done = cli("list", "-n", "3", "-o", "tsv", "--fields", "run", *more)
        assert done.lines[0] == "run"
        paged += done.lines[1:]
        if not done.err:
            break
        assert done.err.startswith("more: --after ")
        more = ["--after", done.err.split()[-1]]
    assert paged == whole
    assert len(whole) == 10
    assert cli("list", "-n", "3", "--after", "rubbish").code == 2


@pytest.mark.parametrize("how", ["table", "json", "jsonl", "tsv", "md"])
@on_sqlite
def test_formats(cli: Cli, history: Recorded, how: str) -> None:
    for argv in (["list"], ["errors"], ["stats"], ["path"], ["migrate"], ["doctor"]):
        done = cli(*argv, "-o", how)
        assert done.code == 0, done
        assert done.out
        if how == "json":
            assert json.loads(done.out)
        if how == "jsonl":
            assert all(json.loads(line) for line in done.lines)
        if how == "tsv":
            assert len({line.count("\t") for line in done.lines}) == 1
        if how == "md":
            assert {line[0] + line[-1] for line in done.lines} == {"||"}
    assert cli("diff", history.done, history.failed, "-o", how).code == 1
    assert cli("thread", "order A1", "-o", how).code == 0


def test_names_of_runs(cli: Cli, recorder: Any) -> None:
    for name in ("aab-1", "aac-2", "b-3"):
        failed = name != "aab-1"
        recorder.log_run(minimal(name, status="failed" if failed else "completed"))

    def named(name: str) -> str:
        done = cli("show", name, "--json")
        assert done.code == 0, done
        return str(json.loads(done.out)["run_id"])

    assert named("b") == named("-") == named("@failed") == named("b-3") == "b-3"
    assert named("@failed~1") == "aac-2"
    assert named("@completed") == named("aab") == "aab-1"
    ambiguous = cli("show", "aa")
    assert ambiguous.code == 2
    assert "aab-1" in ambiguous.err
    assert "aac-2" in ambiguous.err
    assert cli("show", "@failed~2").code == 2
    assert "'failed'" in cli("show", "@faild").err
    assert "'aab-1'" in cli("show", "aab-7").err
    assert cli("show", "aa", "-w", "other").code == 2


def test_a_beginning_of_an_id_of_a_time(cli: Cli, recorder: Any) -> None:
    """Such a run is found by its time, however many are newer."""
    old = "0188b5f6-1e00-7abc-8def-000000000001"
    moment = datetime.fromtimestamp(0x0188B5F61E00 / 1000, UTC)
    recorder.log_run(minimal(old, created_at=moment))
    recorder.log_run(minimal("0188b5f6-1e00-7abc-8def-000000000002"))  # logged later
    assert json.loads(cli("show", "0188b5f6", "--json").out)["run_id"] == old


@pytest.mark.usefixtures("empty")
@on_sqlite
def test_wrong_times_names_and_fields(cli: Cli, recorder: Any) -> None:
    recorder.log_run(minimal("r1", "orders"))
    for argv, near in (
        (["list", "--since", "tomorrow"], "'tomorrow'"),
        (["list", "--workflow", "order"], "'orders'"),
        (["list", "--status", "faild"], "'failed'"),
    ):
        done = cli(*argv)
        assert (done.code, near in done.err, done.err.count("\n")) == (2, True, 1), done
    assert cli("list", "--since", "99999999999w").code == 0
    assert cli("list", "--fields", "?").lines[0] == "status"
