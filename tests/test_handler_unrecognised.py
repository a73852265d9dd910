"""A handler that sees runs without a graph counts them and says so once."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handler_graphs import two_nodes
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

import runlog
from runlog import Recorder, hooks
from runlog.hooks import RunLogHandler


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(sqlite_path=str(tmp_path / "runs.db")) as made:
        yield made


def model() -> Any:
    return FakeListChatModel(responses=["a"])


@tool
def weather(city: str) -> str:
    """The weather."""
    return city


def fail(_: Any) -> Any:
    raise ValueError("no")


def chain() -> Any:
    return ChatPromptTemplate.from_messages([("user", "{q}")]) | model()


PLAIN: dict[str, Any] = {
    "RunnableSequence": lambda config: chain().invoke({"q": "x"}, config),
    "a stream": lambda config: list(chain().stream({"q": "x"}, config)),
    "a coroutine": lambda config: asyncio.run(chain().ainvoke({"q": "x"}, config)),
    "a model, tool or chain": lambda config: model().invoke("x", config),
    "tool": lambda config: weather.invoke({"city": "Oslo"}, config),
    "fail": lambda config: RunnableLambda(fail).invoke(1, config),
}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "runlog" and record.levelno == logging.WARNING
        if "has recorded nothing" in record.getMessage()
    ]


@pytest.mark.parametrize("name", PLAIN)
def test_a_run_without_a_graph_is_counted_and_said_once(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for _ in range(3):
        try:
            PLAIN[name]({"callbacks": [RunLogHandler(recorder=recorder, roots="graphs")]})
        except ValueError:
            assert name == "fail"
    assert recorder.stats()["handler_unrecognised"] == 3
    assert recorder.list_runs().runs == []
    (text,) = said(caplog)
    assert "graph" in text
    assert "log_run" in text
    assert name in ("a stream", "a coroutine") or name in text


def test_with_the_default_recorder(caplog: pytest.LogCaptureFixture) -> None:
    with hooks.recording():
        chain().invoke({"q": "x"})
    chain().batch([{"q": "x"}] * 2, {"callbacks": [RunLogHandler(roots="graphs")]})
    assert runlog.stats()["handler_unrecognised"] == 3
    assert len(said(caplog)) == 1


def test_a_graph_within_a_chain_is_recognised(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The chain is not recorded; its graph is."""
    config: Any = {"callbacks": [RunLogHandler("w", recorder=recorder, roots="graphs")]}
    inner = RunnableLambda((RunnableLambda(dict) | two_nodes()).invoke)
    (RunnableLambda(lambda given: given) | inner).invoke({"n": 0}, config)
    assert [run["wpk_id"] for run in recorder.list_runs().runs] == ["w"]
    assert recorder.stats()["handler_unrecognised"] == 0
    assert said(caplog) == []


def test_beside_another_handler_that_records_the_graph(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    handlers: list[Any] = [
        RunLogHandler(name, recorder=recorder, roots="graphs") for name in "ab"
    ]
    (RunnableLambda(dict) | two_nodes()).invoke({"n": 0}, {"callbacks": handlers})
    assert len(recorder.list_runs().runs) == 1
    assert recorder.stats()["handler_unrecognised"] == 0
    assert said(caplog) == []


def test_a_handler_that_has_recorded_a_graph_only_counts(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """As one of install(), in a program that also calls models outside of graphs."""
    config: Any = {"callbacks": [RunLogHandler(recorder=recorder, roots="graphs")]}
    two_nodes().invoke({"n": 0}, config)
    model().invoke("x", config)
    assert recorder.stats()["handler_unrecognised"] == 1
    assert said(caplog) == []


def test_very_many_at_once(recorder: Recorder) -> None:
    """More than a handler remembers; a long name, too."""
    handler = RunLogHandler(recorder=recorder, roots="graphs")
    long = RunnableLambda(lambda given: given).with_config(run_name="é" * 300)

    async def main() -> None:
        inside = asyncio.Barrier(100)

        async def wait(given: Any) -> Any:
            await inside.wait()
            return given

        deep: Any = long | RunnableLambda(wait)
        await deep.abatch([1] * 100, {"callbacks": [handler]})

    asyncio.run(main())
    stats = recorder.stats()
    assert stats["handler_unrecognised"] == 100
    assert stats["handler_errors"] == 0
    two_nodes().invoke({"n": 0}, {"callbacks": [handler]})
    assert len(recorder.list_runs().runs) == 1


def test_events_without_an_end_or_a_start(recorder: Recorder) -> None:
    handler: Any = RunLogHandler(recorder=recorder, roots="graphs")
    stream = chain().stream({"q": "x"}, {"callbacks": [handler]})
    next(stream)
    stream.close()
    handler.on_chain_end({}, run_id=None)
    assert recorder.stats()["handler_unrecognised"] == 1
