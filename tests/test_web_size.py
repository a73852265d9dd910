"""The page on what is large: a run of 64 MB, many runs, many tabs, by their CPU time."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from cli_help import empty, on_sqlite
from fixtures_store import Store
from fixtures_web import Page
from helpers import minimal, until
from web_help import fill, log, moment

import runlog

__all__ = ["empty"]
pytestmark = on_sqlite
TABS = 10


def cpu(work: Callable[[], object]) -> float:
    """Seconds of CPU that some work takes in this process, with the page's threads."""
    before = time.process_time()
    work()
    return time.process_time() - before


@pytest.mark.long
def test_a_run_of_64_megabytes(page: Page, recorder: runlog.Recorder) -> None:
    """A page of it takes about as long as reading it, and has what a small one has."""
    items = list(range(100_000, 231_000))
    logs = [log(f"n{at}", at, outputs={"items": items}) for at in range(62)]
    logs.append(log("text", 62, outputs={"text": "x y " * 250_000}))
    recorder.log_run(minimal("big", "b", started_at=moment(0), node_logs=logs))
    asked = {"workflow": "b", "id": "big"}
    read = cpu(lambda: recorder.get_run("big", "b"))
    assert 'data-run="big"' in page.text()  # which has read it for its line
    assert cpu(page.text) < read / 4
    for more, most in (
        ({}, 100_000),
        ({"node": 30}, 200_000),
        ({"node": 62}, 200_000),
        ({"show": "picture"}, 100_000),
        ({"zoom": "10-20"}, 100_000),
        ({"find": "nowhere"}, 100_000),
    ):
        texts: list[str] = []
        spent = cpu(lambda: texts.append(page.text("/run", **asked, **more)))  # noqa: B023
        assert len(texts[0]) < most, more
        assert spent < 3 * read + 0.2, (more, spent, read)
    assert len(page.text("/file", **asked)) < 6_000_000
    whole = page.get("/download", **asked)
    assert len(whole.content) > 62_000_000
    assert whole.json()["node_logs"][30]["outputs"] == {"items": items}


@pytest.mark.long
def test_any_page_of_many_runs_takes_what_the_first_takes(
    page: Page, store: Store, empty: None
) -> None:
    fill(store, 100_000)

    def spent(**asked: Any) -> float:
        def work() -> None:
            assert "data-run" in page.text("/", **asked)

        return min(cpu(work) for _ in range(5))

    first = spent()
    text = page.text("/", until="2026-09-22")  # a moment after the oldest ones
    after = re.search(r"after=([^\"&]+)", text)
    assert after is not None
    for asked in (
        {"until": "2026-09-22"},
        {"workflow": "w7"},
        {"workflow": "w10", "status": "failed"},
        {"after": unquote(after[1])},
    ):
        assert spent(**asked) < 3 * first + 0.01, asked


RECORDS = """
import sys, time
import runlog

path, number = sys.argv[1], int(sys.argv[2])
with runlog.Recorder(sqlite_path=path) as recorder:
    count = 0
    for line in sys.stdin:
        before = time.process_time()
        for _ in range(number):
            count += 1
            recorder.log_run({
                "wpk_id": "w", "run_id": f"r{count}", "status": "completed",
                "inputs": {"n": 1}, "outputs": {"n": 2},
            })
        print(time.process_time() - before, flush=True)
"""


def test_tabs_that_listen_cost_the_recorder_nothing(
    page: Page, store: Store, recorder: runlog.Recorder
) -> None:
    """The CPU of a process that records is the same with ten tabs and without any."""
    recorder.log_run(minimal("first"))
    command = [sys.executable, "-c", RECORDS, store.options["sqlite_path"], "1000"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def record() -> float:
            stdin.write("\n")
            stdin.flush()
            return float(stdout.readline())

        record()
        alone, beside = [], []
        for _ in range(3):
            alone.append(record())
            lines = []  # one that is dropped closes its stream
            with ExitStack() as tabs:
                for _ in range(TABS):
                    client = tabs.enter_context(
                        httpx.Client(base_url=page.url, trust_env=False, timeout=60)
                    )
                    answer = tabs.enter_context(client.stream("GET", "/events"))
                    lines.append(answer.iter_lines())
                    next(lines[-1])
                assert page.application.state.listeners() == TABS
                beside.append(record())
            until(lambda: page.application.state.listeners() == 0)
        stdin.close()
    assert min(beside) < 1.6 * min(alone) + 0.02, (alone, beside)
