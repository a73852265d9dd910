"""`runlog mcp`: a client of the official SDK against the process, on stdio."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_help import HOSTILE, Recorded, history, on_sqlite
from fixtures_search import search
from fixtures_store import Store
from helpers import minimal

import runlog

if TYPE_CHECKING:
    from mcp import Client

__all__ = ["history"]
COMMAND = [sys.executable, "-m", "runlog", "mcp"]


class Asking:
    """A client that has begun."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def __call__(self, tool: str, **given: Any) -> str:
        """The answer of a tool that has no error."""
        text, is_error = await self.ask(tool, **given)
        assert not is_error, text
        return text

    async def fault(self, tool: str, **given: Any) -> str:
        """The error of a tool."""
        text, is_error = await self.ask(tool, **given)
        assert is_error, text
        return text

    async def ask(self, tool: str, **given: Any) -> tuple[str, bool]:
        done = await self.client.call_tool(tool, given)
        (content,) = done.content
        assert content.type == "text"
        return content.text, bool(done.is_error)


@pytest.mark.long_with("postgres")
@asynccontextmanager
async def served(
    folder: Path, env: Mapping[str, str], *argv: str
) -> AsyncIterator[Asking]:
    """A client and its server, which says nothing on stderr."""
    from mcp import Client, StdioServerParameters  # slow, so not in every worker
    from mcp.client.stdio import stdio_client

    said = folder / "stderr"
    given = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], *argv], env={**os.environ, **env}
    )
    with said.open("w") as errors:
        async with Client(stdio_client(given, errors)) as client:
            yield Asking(client)
    assert said.read_text() == ""


async def test_every_tool(
    store: Store, recorder: runlog.Recorder, history: Recorded, tmp_path: Path
) -> None:
    search(recorder, "keyerror")
    async with served(tmp_path, store.env) as ask:
        assert "data" in (ask.client.instructions or "")
        tools = {tool.name: tool for tool in (await ask.client.list_tools()).tools}
        for tool in tools.values():
            assert tool.description
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint
            assert tool.input_schema["additionalProperties"] is False
        listed = await ask("list", workflow="shop", limit=2)
        assert "| failed |" in listed
        assert "more: after " in listed
        cursor = listed.rpartition("more: after ")[2].split()[0]
        assert history.failed in await ask("list", workflow="shop", after=cursor)
        shown = await ask("show", run=history.failed)
        assert "KeyError" in shown
        assert "## draft: failed" in shown
        assert shown == await ask("show", run=history.failed[:13])
        node = await ask("show", run="@failed~1", node="draft")
        assert "KeyError: 'price'" in node
        assert "log 1, step 2" in node
        state = await ask("show", run=history.done, node="first", state=True)
        assert "Before:" in state
        assert "After:" in state
        assert "first difference: first" in await ask(
            "diff", one=history.done, other=history.failed
        )
        assert "the runs are the same" in await ask(
            "diff", one=history.done, other=history.done
        )
        errors = await ask("errors")
        assert "| 2 | KeyError | draft |" in errors
        thread = await ask("thread", thread="order A1")
        assert "answer: Ada" in thread
        several = await asyncio.gather(*(ask("show", run=history.done) for _ in range(8)))
        assert len(set(several)) == 1
        assert "3 failed" in await ask("stats")
        found = await ask("search", text="pri* keyerror", limit=5)
        assert history.failed in found
        assert history.done not in found
        assert tools.keys() == {
            "list", "show", "diff", "search", "errors", "thread", "stats",
        }  # fmt: skip


@on_sqlite
async def test_bad_input(store: Store, history: Recorded, tmp_path: Path) -> None:
    """An error names the argument, and the nearest name that exists."""
    async with served(tmp_path, store.env) as ask:
        for tool, given, said in (
            ("show", {"run": "nonsense"}, "there is no run 'nonsense'"),
            ("show", {"run": "@faild"}, "did you mean 'failed'?"),
            ("show", {"run": history.done, "node": "frist"}, "did you mean 'first'?"),
            ("show", {"run": history.done, "node": "first", "log": 99}, "log 99"),
            ("show", {"run": history.done, "state": True}, "node is missing"),
            ("show", {"budget": 1}, "budget"),
            ("list", {"workflow": "shpo"}, "did you mean 'shop'?"),
            ("list", {"since": "yesterday"}, "'yesterday'"),
            ("list", {"limit": 0}, "limit"),
            ("list", {"limit": "many"}, "limit"),
            ("list", {"after": "--"}, "after must be"),
            ("list", {"workflow": "a\0"}, "workflow"),
            ("list", {"workfow": "shop"}, "workfow"),
            ("diff", {"one": "-"}, "other"),
            ("diff", {"one": "-", "other": "--"}, "no run '--'"),
            ("thread", {"thread": "order A2"}, "did you mean 'order A1'?"),
            ("search", {"text": "x", "by": "colour"}, "by"),
            ("search", {"text": "x", "by": "meaning"}, "OPENAI_KEY"),
        ):
            text = await ask.fault(tool, **given)
            assert said in text, (tool, given, text)
            assert "Traceback" not in text
        assert "nonsense" in await ask.fault("nonsense")
        assert history.done in await ask("list")


@on_sqlite
async def test_hostile_texts_and_large_values(
    store: Store, recorder: Any, tmp_path: Path
) -> None:
    """Whatever was recorded, an answer is bounded and has no control characters."""
    large = {"text": "y" * 1_000_000, "many": [{"n": n} for n in range(20_000)]}
    texts = {"error_type": HOSTILE, "error_text": HOSTILE + "x" * 30_000}
    name = HOSTILE.replace("\0", "\ufffd")  # as it is stored
    log = {"node": HOSTILE, "status": "failed", "inputs": large, "outputs": large}
    log |= {"error_traceback": f"```\n{HOSTILE}\n```", **texts}
    for number in range(40):
        recorder.log_run(
            minimal(f"r{number}", status="failed", thread_id=HOSTILE, **texts)
        )
    logs = [log | {"step": step} for step in range(7)]
    recorder.log_run(
        minimal("big", status="failed", inputs=large, node_logs=logs, **texts)
    )
    assert recorder.flush(60)
    async with served(tmp_path, store.env) as ask:
        answers = [
            await ask("list", limit=200),
            await ask("show", run="big"),
            await ask("show", run="big", node=name),
            await ask("show", run="big", node=name, state=True, log=6),
            await ask("diff", one="big", other="r1"),
            await ask("errors"),
            await ask("thread", thread=name),
            await ask("stats"),
            await ask.fault("show", run=HOSTILE),
            await ask.fault("show", run="big", node="a" + name),
            await ask.fault("show", run="x" * 100_000),
            await ask.fault("list", workflow="\x1b" * 100_000),
        ]
        for answer in answers:
            assert answer.replace("\n", "").isprintable()
            assert len(answer) < 26_000
        assert "more lines left out: ask for fewer runs" in answers[0]
        assert "2 more logs left out: 0, 1" in answers[2]
        assert "more characters" in answers[2]
        assert len(await ask("show", run="big", node=name, budget=200)) < 900


@on_sqlite
async def test_a_history_that_is_not_there_yet(store: Store, tmp_path: Path) -> None:
    """Looking creates nothing. Each call looks anew."""
    folder = tmp_path / "later"
    folder.mkdir()
    path = folder / "runs.db"
    async with served(tmp_path, store.env, "--db", str(path)) as ask:
        for tool in ("list", "show", "search"):
            given = {"text": "x"} if tool == "search" else {}
            assert f"no history at {path}" in await ask.fault(tool, **given)
        assert list(folder.iterdir()) == []
        with runlog.Recorder(sqlite_path=str(path)) as recorder:
            recorder.log_run(minimal("r1"))
            assert "| r1 |" in await ask("list")
            recorder.delete_runs(run_id="r1")
        assert await ask("stats") == "no runs"
        assert (await ask("list")).endswith("\n\nno runs")
        assert (await ask("errors")).endswith("\n\nno failures")
        assert "there is no such run" in await ask.fault("show")


async def test_a_server_away(tmp_path: Path) -> None:
    dsn = "postgresql://ada:hunter2@127.0.0.1:1/shop"
    async with served(tmp_path, {"POSTGRES_DSN": dsn}) as ask:
        for tool in ("list", "show", "stats"):
            text = await ask.fault(tool)
            assert "127.0.0.1" in text
            assert "hunter2" not in text
            assert "\n" not in text


def test_it_ends_quietly() -> None:
    begin = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    def start() -> Any:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(begin) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        return process

    process = start()
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    process = start()
    process.stdout.close()
    process.stdin.write(json.dumps(begin) + "\n")
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    process = start()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == -signal.SIGINT
    assert process.communicate() == ("", "")


def test_without_the_sdk(run_python: Any) -> None:
    code = (
        "import sys; sys.modules['mcp'] = None; "
        "from runlog.cli import main; sys.exit(main(['mcp']))"
    )
    done = run_python(code)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert 'pip install "langgraph-runlog[mcp]"' in done.stderr
