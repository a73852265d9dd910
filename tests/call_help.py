"""What the tests of calls share: scripted models, tools, and the records of calls.

`calls_of` reads the calls of a run. It checks their clocks, and leaves them out. `llm`,
`tool_call` and `retrieval` build the expected record, with defaults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    GenerationChunk,
    LLMResult,
)
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import START, MessagesState, StateGraph
from strategies import to_json_model

QUESTION = HumanMessage("Who is there?", id="q")
ANSWER = AIMessage("two words", id="a")


class Chat(BaseChatModel):
    """A chat model that gives the answers of an iterator, and raises its exceptions."""

    model_name: str = "scripted-1"
    says: Any = None
    """None: always ANSWER."""
    candidates: int = 1

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(one) for one in tools], **options)

    def _said(self) -> Any:
        said = ANSWER if self.says is None else next(self.says)
        if isinstance(said, BaseException):
            raise said
        return said.model_copy()  # agents put their name into it

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        generations = [
            ChatGeneration(message=self._said()) for _ in range(self.candidates)
        ]
        return ChatResult(generations=generations)


class Streaming(Chat):
    """One whose answers come word by word; `fails` after so many words."""

    words: tuple[str, ...] = ("two", " words")
    fails: int | None = None

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for at, word in enumerate(self.words):
            if at == self.fails:
                raise ValueError("cut")
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=word, id="a"))
            if run_manager is not None:
                run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk


class Completion(BaseLLM):
    """A text model."""

    texts: tuple[str, ...] = ("two words",)

    @property
    def _llm_type(self) -> str:
        return "completion"

    def _generate(
        self, prompts: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        return LLMResult(
            generations=[[Generation(text=text) for text in self.texts] for _ in prompts]
        )

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        for text in self.texts:
            chunk = GenerationChunk(text=text)
            if run_manager is not None:
                run_manager.on_llm_new_token(text, chunk=chunk)
            yield chunk


DOCUMENTS = [
    Document("found", id="d1", metadata={"source": "a.txt", "score": 0.75}),
    Document("also", metadata={}),
]


class Finder(BaseRetriever):
    """A retriever that finds DOCUMENTS; `error` is raised."""

    error: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
        if self.error is not None:
            raise self.error
        return [document.model_copy(deep=True) for document in DOCUMENTS]


@tool
def plus(a: int) -> int:
    """Add one."""
    return a + 1


@tool
def refuse(a: int) -> int:
    """Fail."""
    raise ValueError(f"not {a}")


@tool
def ask_model(question: str) -> str:
    """Ask a model."""
    return str(Chat().invoke(question).content)


def wants(*asked: tuple[str, Any], **others: Any) -> AIMessage:
    """An answer that asks for tools: (name, args) each; ids are c0, c1..."""
    calls: Any = [
        {"name": name, "args": args, "id": f"c{at}", "type": "tool_call"}
        for at, (name, args) in enumerate(asked)
    ]
    return AIMessage("", id="asks", tool_calls=calls, **others)


def said(*answers: Any) -> Any:
    """A chat model that gives these answers, one after the other."""
    return Chat(says=iter(answers))


def asks(model: Any) -> Any:
    """A node that returns the answer of a model, asked in the way the graph is called."""

    def act(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def act_async(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return RunnableLambda(act, act_async)


def does(sync: Any, asynchronous: Any = None) -> Any:
    """A node of one function for each way to call a graph, or of one for both."""
    return RunnableLambda(sync, asynchronous)


def graph_of(*nodes: Any, name: str = "g", **options: Any) -> Any:
    """A graph of nodes one after the other, which are named a, b, c..."""
    builder = StateGraph(MessagesState)
    last = START
    for letter, node in zip("abcdefgh", nodes, strict=False):
        builder.add_node(letter, node)
        builder.add_edge(last, letter)
        last = letter
    return builder.compile(name=name, **options)


def ask(
    call: Any, node: Any, config: Any, *messages: Any, others: tuple[Any, ...] = ()
) -> Any:
    """Call a graph of the node (and others behind it) with the question."""
    given = {"messages": list(messages) or [QUESTION]}
    return call(graph_of(node, *others), given, config)


def logs_of(recorder: Any, config: Any) -> Any:
    """The node logs of a run, as they are."""
    assert recorder.flush()
    run = recorder.get_run(str(config["run_id"]))
    assert run is not None
    return run["node_logs"]


def calls_of(recorder: Any, config: Any) -> list[tuple[str, list[Any]]]:
    """Each node of a run with its calls, without their clocks."""
    from provider_help import without_clocks  # which live.py could not import

    return [
        (log["node"], [without_clocks(call, log) for call in log["calls"]])
        for log in logs_of(recorder, config)
    ]


def only_calls(recorder: Any, config: Any) -> list[Any]:
    """The calls of the only node."""
    ((_, calls),) = calls_of(recorder, config)
    return calls


def _call(kind: str, name: str, others: dict[str, Any], **own: Any) -> dict[str, Any]:
    expected = {
        "kind": kind,
        "name": name,
        "parent": None,
        "status": "completed",
        "error_type": None,
        "error_text": None,
        "tags": [],
        "metadata": {},
        **own,
    }
    assert others.keys() <= expected.keys()
    return expected | others


def llm(name: str = "Chat", **others: Any) -> dict[str, Any]:
    """The expected record of a chat model's call: of QUESTION, answered by ANSWER."""
    own = {
        "model": "scripted-1",
        "provider": "" if name == "Chat" else name.lower(),
        "params": None,
        "tools": None,
        "response_format": None,
        "messages": [to_json_model(QUESTION)],
        "prompt": None,
        "outputs": [to_json_model(ANSWER)],
        "finish_reason": None,
        "tokens": None,
        "streamed": False,
        "cached": False,
    }
    return _call("llm", name, others, **own)


def completion(prompt: Any, **others: Any) -> dict[str, Any]:
    """The expected record of a text model's call."""
    own = {"model": None, "provider": "completion", "messages": None, "prompt": prompt}
    return llm("Completion", **{**own, "outputs": ["two words"], **others})


def tool_call(name: str, args: Any, output: Any, **others: Any) -> dict[str, Any]:
    """The expected record of a tool's call; of a ToolMessage as `output`, its id too."""
    given = output.tool_call_id if isinstance(output, ToolMessage) else None
    own = {"tool_call_id": given, "args": args, "output": to_json_model(output)}
    return _call("tool", name, others, **own)


def retrieval(query: str, **others: Any) -> dict[str, Any]:
    """The expected record of a retriever's call."""
    own = {"query": query, "documents": to_json_model(DOCUMENTS)}
    return _call("retriever", "Finder", others, **own)


def failed(error: BaseException, status: str = "failed", **others: Any) -> dict[str, Any]:
    """The fields of a call that an error ended."""
    text = str(error)
    return {
        "status": status,
        "error_type": type(error).__name__,
        "error_text": text,
        **others,
    }


def joined(chunks: Any) -> Any:
    """A message of the chunks that came."""
    first, *rest = chunks
    return sum(rest, first)


async def collect(parts: Any) -> list[Any]:
    return [part async for part in parts]


def messages_mode(graph: Any, given: Any, config: Any) -> Any:
    return list(graph.stream(given, config, stream_mode="messages"))


def amessages_mode(graph: Any, given: Any, config: Any) -> Any:
    return asyncio.run(collect(graph.astream(given, config, stream_mode="messages")))


def events_mode(graph: Any, given: Any, config: Any) -> Any:
    return asyncio.run(collect(graph.astream_events(given, config, version="v2")))
