"""What a call has of its own, and whose call it is, whatever config it is given."""

from __future__ import annotations

from typing import Any

import pytest
from call_help import Chat, only_calls
from graphs import build
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START

pytestmark = pytest.mark.either_store


def graph_of(node: Any) -> Any:
    return build((START, "a"), ("a", END), a=node).compile(name="g")


@pytest.mark.parametrize("inner", ["chain", "tool", "model"])
def test_a_call_has_the_tags_that_are_not_its_nodes(
    recorder: Any, config: Any, inner: str
) -> None:
    """Also where they come from a chain or a tool around it."""
    model: Any = Chat()

    @tool
    def ask(text: str) -> str:
        """Ask the model."""
        return str(model.invoke(text).content)

    runs = {"chain": RunnableLambda(lambda x: x) | model, "tool": ask, "model": model}
    given = {"text": "hi"} if inner == "tool" else "hi"
    own = {"tags": [inner], "metadata": {inner: 1}}

    def node(state: Any) -> Any:
        runs[inner].invoke(given, own)
        return {"n": 2}

    config |= {"tags": ["run"], "metadata": {"run": 1}}
    graph_of(node).invoke({"n": 1}, config)
    calls = only_calls(recorder, config)
    assert calls[-1]["kind"] == "llm"
    assert [(c["tags"], c["metadata"]) for c in calls] == [
        ([inner], {inner: 1}) for _ in calls
    ]


@pytest.mark.parametrize("what", ["chain", "model"])
def test_a_call_that_gets_the_handler_again_is_its_nodes(
    recorder: Any, config: Any, what: str
) -> None:
    model: Any = Chat()
    asked = RunnableLambda(lambda x: x) | model if what == "chain" else model

    def node(state: Any) -> Any:
        asked.invoke("hi", {"callbacks": config["callbacks"]})
        return {"n": 2}

    graph_of(node).invoke({"n": 1}, config)
    assert [call["kind"] for call in only_calls(recorder, config)] == ["llm"]
    assert len(recorder.list_runs().runs) == 1
