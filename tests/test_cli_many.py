"""The command line on 100,000 runs: what it finds and counts, and what it leaves out."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from cli_help import Cli, cli, on_sqlite
from many_runs import STATUSES, make_runs

__all__ = ["cli"]
RUNS = 100_000


@pytest.fixture
def many(store: Any) -> None:
    """The runs r0 to r99999."""
    make_runs(store, RUNS)


def listed(cli: Cli, *argv: str) -> tuple[list[str], str]:
    """The runs of a list, and what it notes."""
    done = cli("list", *argv, "-o", "tsv", "--fields", "run")
    assert done.code == 0, done
    return done.lines[1:], done.err


@pytest.mark.long
@pytest.mark.usefixtures("many")
@on_sqlite
def test_many_runs(cli: Cli) -> None:
    """One test, as the runs take seconds to make."""
    check_lists(cli)
    check_searches(cli)
    check_stats(cli)
    check_errors(cli)
    assert json.loads(cli("prune", "--keep", "90000", "--json").out)["runs"] == 10_000


def check_lists(cli: Cli) -> None:
    newest, note = listed(cli)
    assert newest == [f"r{n}" for n in range(RUNS - 1, RUNS - 21, -1)]
    deep, _ = listed(cli, "--until", "2026-01-01T12:00:00Z", "-n", "3")
    assert deep == ["r43199", "r43198", "r43197"]
    assert note.startswith("more: --after 2026-01-02T03:46:20.000000Z~")
    following, _ = listed(cli, "--after", note.split()[-1], "-n", "1")
    assert following == [f"r{RUNS - 21}"]
    several, _ = listed(cli, "-s", "failed,cancelled", "-n", "4")
    assert [STATUSES[int(run[1:]) % 20] for run in several] == [
        "cancelled",
        "failed",
        "failed",
        "cancelled",
    ]
    wrong = cli("list", "--status", "failed,cancled", "-w", "none")
    assert (wrong.code, "'w" in wrong.err) == (2, False)
    (row,) = json.loads(cli("list", "-n", "1", "--json").out)
    assert (row["nodes"], row["retries"], row["at"], row["tokens"]) == (2, 0, "a", 7)


def check_searches(cli: Cli) -> None:
    found, note = listed(cli, "--node", "rare99", "-n", "5")
    assert found == [f"r{n}" for n in range(RUNS - 1, RUNS - 6, -1)]
    assert note.startswith("more: ")
    found, note = listed(cli, "--node", "rare0")
    assert found == []
    assert "no runs so far\n" in note
    assert re.search(r"incomplete: nothing older than 2026-01-\d\dT[\d:]{8}Z was", note)
    cursor = note.split()[-1]
    further, note = listed(cli, "--node", "rare0", "--after", cursor)
    assert note.split()[-1] < cursor
    assert further == []
    found, note = listed(cli, "--node", "rare0", "--until", "2026-01-01T00:10:00Z")
    assert found[0] == "r599"
    assert len(found) == 20
    (found, note) = listed(cli, "--error", "price 16")
    assert len(found) == 20
    assert listed(cli, "--error", "price 1617", "-n", "0") == (
        ["r16177", "r16176", "r1617"],
        "",
    )
    (found, note) = listed(cli, "--error", "no such error", "-n", "0")
    assert (found, note) == ([], "no runs\n")


def check_stats(cli: Cli) -> None:
    found = json.loads(cli("stats", "--json").out)
    assert found["runs"] == sum(found["spark"]) == RUNS
    assert found["by_status"] == {
        "completed": 80_000,
        "failed": 10_000,
        "cancelled": 5_000,
        "interrupted": 5_000,
    }
    assert found["timed"] == 5_000
    assert found["p50"] <= found["p95"] <= found["p99"]
    assert min(found["spark"]) > 4_900
    assert "(the newest 5,000)" in cli("stats").out
    assert json.loads(cli("stats", "w3", "--json").out)["runs"] == 10_000
    since = ["--since", "2026-01-02T00:00:00Z", "--until", "2026-01-02T01:00:00Z"]
    assert json.loads(cli("stats", *since, "--json").out)["runs"] == 3_600
    assert cli("stats", "w33").code == 2


def check_errors(cli: Cli) -> None:
    done = cli("errors", "--json")
    (group,) = json.loads(done.out)
    assert (group["count"], group["error"], group["node"]) == (1_000, "KeyError", "a")
    assert group["message"] == "price <n>"
    assert "incomplete: only the newest 1,000 failed runs" in done.err
