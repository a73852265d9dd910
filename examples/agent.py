"""An agent with a scripted model, two tools and a retriever, and the record of its run.

    python examples/agent.py

It needs no key and no network, only the package langchain (`pip install langchain`). The
run goes to the SQLite file RUNLOG_SQLITE_PATH, by default build/agent.db of this
repository, or to PostgreSQL if POSTGRES_DSN is set. docs/langgraph.md shows this program
and its record.
"""

from __future__ import annotations

import json
import os
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool

import runlog
from runlog.hooks import RunLogHandler

REPOSITORY = Path(__file__).resolve().parent.parent
WIDTH = 90

# The agent


class Shelf(BaseRetriever):
    """A retriever that finds the same rule of the shop for every query."""

    def _get_relevant_documents(self, *_: Any, **__: Any) -> list[Document]:
        return [Document("Tea may be returned within 30 days.", metadata={"score": 0.9})]


@tool
def rules(question: str) -> str:
    """Look up the rules of the shop."""
    return Shelf().invoke(question)[0].page_content


@tool
def stock(item: str) -> int:
    """How many of an item are in stock."""
    dispatch_custom_event("counted", {"item": item})
    return 7


class Clerk(BaseChatModel):
    """A model by a script: it calls both tools, then it answers."""

    model_name: str = "clerk-1"

    @property
    def _llm_type(self) -> str:
        return "clerk"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """Offer tools to the model."""
        return self.bind(tools=[convert_to_openai_tool(one) for one in tools], **options)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        asked: Any = [
            {"name": "rules", "args": {"question": "returns"}, "id": "call-1"},
            {"name": "stock", "args": {"item": "tea"}, "id": "call-2"},
        ]
        first = messages[-1].type == "human"
        answer = AIMessage(
            "" if first else "There are 7 left. You have 30 days to return them.",
            tool_calls=asked if first else [],
            usage_metadata={"input_tokens": 90, "output_tokens": 20, "total_tokens": 110},
            response_metadata={"finish_reason": "tool_calls" if first else "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])


def run() -> str:
    """Ask the agent; return the id of its run."""
    agent = create_agent(
        Clerk(), [rules, stock], system_prompt="Be brief.", name="shop assistant"
    )
    run_id = uuid.uuid4()
    question: Any = {"messages": [("user", "Is there tea? May I return it?")]}
    agent.invoke(
        question,
        {"callbacks": [RunLogHandler()], "run_id": run_id, "max_concurrency": 1},
    )
    return str(run_id)


# How its record is printed


def with_values(value: Any) -> Any:
    """The value without the members of dicts that are None or empty."""
    if isinstance(value, dict):
        shown = {key: with_values(one) for key, one in value.items()}
        return {k: one for k, one in shown.items() if one not in (None, "", [], {})}
    if isinstance(value, list):
        return [with_values(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def as_text(value: Any, indent: str = "", before: int = 0) -> str:
    """JSON in which a message, or what else fits, stands on one line."""
    line = json.dumps(value, ensure_ascii=False)
    short = len(indent) + before + len(line) < WIDTH
    if short or not isinstance(value, dict | list) or "type" in value:
        return line
    deeper = indent + "  "
    if isinstance(value, list):
        items = [as_text(one, deeper) for one in value]
        brackets = "[]"
    else:
        items = [
            f"{json.dumps(key)}: {as_text(one, deeper, len(key) + 4)}"
            for key, one in value.items()
        ]
        brackets = "{}"
    inside = ",\n".join(deeper + item for item in items)
    return f"{brackets[0]}\n{inside}\n{indent}{brackets[1]}"


def record() -> str:
    """Run the agent and return its whole record, as it is printed."""
    return as_text(with_values(dict(runlog.get_run(run()) or {})))


def main() -> None:
    """Print the record."""
    if not os.environ.get("POSTGRES_DSN") and not os.environ.get("RUNLOG_SQLITE_PATH"):
        path = REPOSITORY / "build" / "agent.db"
        path.parent.mkdir(exist_ok=True)
        os.environ["RUNLOG_SQLITE_PATH"] = str(path)
    print(record())
    runlog.close()


if __name__ == "__main__":
    main()
