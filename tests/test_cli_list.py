"""The command line: lists, their filters, pages and formats, and the names of runs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from cli_help import Cli, Recorded, cli, empty, history, on_sqlite
from helpers import minimal

from runlog.cli import make_parser
from runlog.cli.errors import WrongUsageError
from runlog.cli.names import check_names

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


def test_an_id_that_several_workflows_have(cli: Cli, recorder: Any) -> None:
    """No run is chosen silently, also if the id is a beginning of others."""
    for workflow in ("w1", "w2"):
        recorder.log_run(minimal("same", workflow))
    recorder.log_run(minimal("same-not", "w3"))
    for argv in (
        ["show", "same"],
        ["diff", "same", "same"],
        ["diff", "same-not", "same"],
        ["export", "same"],
        ["list", "--since", "same"],
    ):
        done = cli(*argv)
        assert (done.code, done.out) == (2, "")
        head, *lines = done.err.splitlines()
        assert "'same' is the id of several runs, choose by -w" in head
        assert sorted(line.split() for line in lines) == [
            ["same", "w1", "completed"],
            ["same", "w2", "completed"],
        ]
    for workflow in ("w1", "w2"):
        shown = cli("show", "same", "-w", workflow, "--json").out
        assert json.loads(shown)["wpk_id"] == workflow
    assert cli("diff", "same", "same", "-w", "w1").code == 0
    assert json.loads(cli("show", "same-not", "--json").out)["wpk_id"] == "w3"


def test_a_beginning_of_an_id_of_a_time(cli: Cli, recorder: Any) -> None:
    """Such a run is found by its time, however many are newer."""
    old = "0188b5f6-1e00-7abc-8def-000000000001"
    moment = datetime.fromtimestamp(0x0188B5F61E00 / 1000, UTC)
    recorder.log_run(minimal(old, created_at=moment))
    recorder.log_run(minimal("0188b5f6-1e00-7abc-8def-000000000002"))  # logged later
    assert json.loads(cli("show", "0188b5f6", "--json").out)["run_id"] == old


WORKFLOW = "there is no workflow 'aproval': did you mean 'approval'?"
THREAD = "there is no thread 'order A9': did you mean 'order A1'?"
STATUS = "there is no run with status 'faild': did you mean 'failed'?"
FILTERS = {
    ("-w", "aproval"): WORKFLOW,
    ("--workflow", "aproval"): WORKFLOW,
    ("--thread", "order A9"): THREAD,
    ("-s", "faild"): STATUS,
    ("--status", "lost,faild"): STATUS,
    ("--since", "zz"): "'zz' is no time",
    ("--until", "zz"): "'zz' is no time",
    ("--since", "01a"): "'01a' is the beginning of 2 runs",
    ("--until", "@faild"): "unknown status in '@faild': did you mean 'failed'?",
    ("--limit", "3000000000"): "must be at most ",
    ("--limit", "-1"): "must be at least ",
}
BEFORE = {
    "list": [],
    "show": ["01a1"],
    "tail": [],
    "thread": ["order A1"],
    "diff": ["01a1", "01a2"],
    "errors": [],
    "stats": [],
    "search": ["nothing"],
    "export": [],
    "prune": ["--keep", "0"],
}
"""What each command that has filters needs besides."""


class Late:
    """A history whose first run comes when it has been looked for."""

    def page(self, _: int, **__: Any) -> Any:
        return SimpleNamespace(runs=[])

    def rows(self, _: int) -> Any:
        return [{"wpk_id": "new", "thread_id": "new"}]


@pytest.mark.parametrize("key", ["wpk_id", "thread_id"])
def test_the_first_run_of_a_name_comes_between_two_looks(key: str) -> None:
    history: Any = Late()
    check_names(history, {key: "new"})
    with pytest.raises(WrongUsageError, match="did you mean 'new'"):
        check_names(history, {key: "nwe"})


@pytest.mark.parametrize("command", BEFORE)
def test_a_filter_that_names_nothing(cli: Cli, recorder: Any, command: str) -> None:
    for name in ("01a1", "01a2"):
        recorder.log_run(minimal(name, "approval", thread_id="order A1"))
    options = {
        option
        for action in make_parser(command)._actions
        for option in action.option_strings
    }
    filters = {given: said for given, said in FILTERS.items() if given[0] in options}
    assert filters
    for given, said in filters.items():
        if command in ("search", "prune") and "," in given[1]:
            continue  # one status only
        done = cli(command, *BEFORE[command], *given)
        assert (done.code, done.out) == (2, ""), (given, done)
        assert said in done.err, (given, done)


@on_sqlite
def test_the_name_that_is_wrong_is_blamed(cli: Cli, recorder: Any) -> None:
    recorder.log_run(minimal("many", "approval", thread_id="order A1"))
    recorder.log_run(minimal("r2", "other", thread_id="order B2"))
    for argv, said in (
        (["thread", "order A1", "-w", "aproval"], WORKFLOW),
        (["thread", "order A9", "-w", "approval"], THREAD),
        (["show", "many", "-w", "aproval"], WORKFLOW),
        (["show", "-", "-w", "aproval"], WORKFLOW),
        (["diff", "many", "many", "-w", "aproval"], WORKFLOW),
        (["export", "many", "-w", "aproval"], WORKFLOW),
        (["stats", "aproval"], WORKFLOW),
        (["insights", "aproval"], WORKFLOW),
        (["watch", "--once", "aproval"], WORKFLOW),
    ):
        done = cli(*argv)
        assert (done.code, said in done.err) == (2, True), (argv, done)
    done = cli("thread", "order A1", "-w", "other")
    assert (done.code, done.out, done.err) == (0, "", "no runs\n")


@on_sqlite
def test_what_is_empty_is_said_in_its_format(cli: Cli, recorder: Any) -> None:
    recorder.log_run(minimal("r1"))
    for command in (["list"], ["errors"], ["stats"], ["search", "x"]):
        argv = [*command, "--since", "2099-01-01"]
        found = cli(*argv, "--json")
        assert (found.code, found.err[:3]) == (0, "no ")
        assert json.loads(found.out) == [] or json.loads(found.out)["runs"] == 0
        assert len(cli(*argv, "-o", "tsv").lines) == 1
        assert all(map(json.loads, cli(*argv, "-o", "jsonl").lines))
        assert cli(*argv).out == ""


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
