"""What the tests of export, import and push share: the command line, and runs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from call_help import ANSWER, Finder, asks, does, graph_of, plus, said, wants
from graphs import build
from helpers import minimal, until
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy, interrupt

import runlog
from runlog.cli import main

MADE_ANEW = ("id", "updated_at", "owner")
"""What each history makes itself."""
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def cli(*argv: object) -> int:
    """Run a command line in this process."""
    return main([str(one) for one in argv])


def start(*argv: object, env: Mapping[str, str] | None = None, **options: Any) -> Any:
    """Run a command line in a process of its own."""
    code = "import sys; from runlog.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, argv)],
        env={**os.environ, **(env or {})},
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def kill_after(process: Any, condition: Callable[[], bool]) -> None:
    """Kill -9 once something has happened; the process must not have ended before."""
    until(condition)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()


def stable(run: Any) -> dict[str, Any]:
    """A run without what each history makes itself."""
    return {name: value for name, value in run.items() if name not in MADE_ANEW}


def all_runs(recorder: Any) -> list[dict[str, Any]]:
    """The stable part of every run."""
    rows = recorder.list_runs(limit=10_000).runs
    found = [recorder.get_run(row["run_id"], row["wpk_id"]) for row in rows]
    return sorted(map(stable, found), key=lambda run: (run["wpk_id"], run["run_id"]))


def runs_at(**options: Any) -> list[dict[str, Any]]:
    """The same of another history."""
    with runlog.Recorder(**options) as recorder:
        return all_runs(recorder)


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def fill(recorder: Any, number: int, **fields: Any) -> None:
    """Record so many runs, a second apart."""
    for place in range(number):
        moment = WHEN + timedelta(seconds=place)
        recorder.log_run(minimal(f"r{place}", created_at=moment, **fields))


def write_lines(path: Path, number: int, **fields: Any) -> Path:
    """Write an export of so many runs."""
    with path.open("w", encoding="ascii") as file:
        for place in range(number):
            file.write(json.dumps({"runlog": 1, **minimal(f"r{place}", **fields)}) + "\n")
    return path


def ask(state: Any) -> Any:
    return {"n": interrupt({"question": "how many?"})}


def fail(state: Any) -> Any:
    raise KeyError("price")


def record_graphs(handler: Any) -> None:
    """Record runs that completed, failed after a second attempt, wait, and call."""
    twice = RetryPolicy(max_attempts=2, initial_interval=0.001, retry_on=KeyError)
    good = build((START, "a"), ("a", "b"), a=lambda s: {"n": 2}, b=lambda s: {"n": 3})
    outer = build((START, "inner"), inner=good.compile(name="inner"))
    bad = build((START, "a"), a=lambda s: {"n": 2})
    bad.add_node("draft", fail, retry_policy=twice)
    bad.add_edge("a", "draft")
    waits = build((START, "ask"), ask=ask)
    used: Any = {"input_tokens": 90, "output_tokens": 20, "total_tokens": 110}
    model = said(wants(("plus", {"a": 1}), usage_metadata=used), ANSWER)
    finds = does(lambda state: {"messages": [Finder().invoke("what?")[0].page_content]})
    calls = graph_of(asks(model), ToolNode([plus]), asks(model), finds, name="calls")
    config: Any = {"callbacks": [handler], "configurable": {"thread_id": "t1"}}
    outer.compile(name="good").invoke({"n": 1}, {**config, "tags": ["nightly"]})
    with pytest.raises(KeyError):
        bad.compile(name="bad").invoke({"n": 1}, config)
    waits.compile(name="waits", checkpointer=InMemorySaver()).invoke({"n": 1}, config)
    calls.invoke({"messages": [("user", "hi")]}, config)
