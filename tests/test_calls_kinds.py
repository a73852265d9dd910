"""The record of each kind of call, of models, tools and retrievers, and of events."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from call_help import (
    ANSWER,
    DOCUMENTS,
    QUESTION,
    Chat,
    Completion,
    Finder,
    ask,
    ask_model,
    asks,
    calls_of,
    completion,
    does,
    failed,
    graph_of,
    llm,
    logs_of,
    only_calls,
    plus,
    refuse,
    retrieval,
    said,
    tool_call,
)
from graphs import either, invoke
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel
from strategies import to_json_model

from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store

USAGE: Any = {
    "input_tokens": 50,
    "output_tokens": 7,
    "total_tokens": 57,
    "input_token_details": {"cache_read": 40, "cache_creation": 3},
    "output_token_details": {"reasoning": 5},
}


@either
def test_a_chat_model(recorder: Any, config: Any, call: Any) -> None:
    ask(call, asks(Chat()), config)
    assert only_calls(recorder, config) == [llm()]


@either
def test_what_a_model_says_of_its_answer(recorder: Any, config: Any, call: Any) -> None:
    facts = {"model_name": "scripted-1", "finish_reason": "length"}
    answer = AIMessage("cut", id="a", usage_metadata=USAGE, response_metadata=facts)
    ask(call, asks(said(answer)), config)
    assert only_calls(recorder, config) == [
        llm(
            outputs=[to_json_model(answer)],
            finish_reason="length",
            tokens={
                "input": 50,
                "output": 7,
                "total": 57,
                "input_details": {"cache_read": 40, "cache_creation": 3},
                "output_details": {"reasoning": 5},
            },
        )
    ]


DETAILS: list[Any] = [
    ({"cache_read": 40, "cache_creation": 3}, {"cache_read": 80, "cache_creation": 6}),
    ({"cache_read": 0, "a": -1, "b": 1.5, "c": 2**64, "d": "5", "e": None}, None),
    ([("cache_read", 40)], None),
    (
        {"flex": 1, "\ud800": 2, "n" * 47: 3, "": 4, "a b": 5, 6: 7},
        {"flex": 2, "other": 28},
    ),
    ({"big": 2**63 - 1}, {"big": 2**63 - 1}),
    ({f"k{n}": 1 for n in range(40)}, {f"k{n}": 2 for n in range(32)} | {"other": 16}),
]


@pytest.mark.parametrize(("given", "sums"), DETAILS)
@pytest.mark.parametrize("calls", ["delta", "full", "summary", "none"])
def test_sums_have_the_details_of_calls(
    recorder: Any, given: Any, sums: Any, calls: Any
) -> None:
    """Of a node and of the run, whatever is kept of calls; a sum ends at 2**63 - 1."""
    answers = [AIMessage("one", id="a"), AIMessage("two", id="b")]
    for answer in answers:  # as a model of anybody's may make them
        usage = {**USAGE, "input_token_details": given, "total_tokens": 2**62}
        answer.__dict__["usage_metadata"] = usage
    handler = RunLogHandler("w", recorder=recorder, calls=calls)
    config: Any = {"callbacks": [handler], "run_id": uuid.uuid4()}
    ask(invoke, asks(said(*answers)), config, others=(asks(said(answers[1])),))
    assert recorder.flush()
    run = recorder.get_run(str(config["run_id"]))
    found = run["metadata"]["tokens"]
    assert (found["input"], found["total"]) == (100, 2**63 - 1)
    assert found["output_details"] == {"reasoning": 10}
    assert found.get("input_details") == sums
    assert [log["tokens"]["output_details"] for log in run["node_logs"]] == [
        {"reasoning": 5},
        {"reasoning": 5},
    ]


def test_sums_have_the_details_of_an_older_usage(recorder: Any, config: Any) -> None:
    """A model that has OpenAI's own token_usage, and no usage_metadata."""

    class Older(Chat):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            made = super()._generate(*args, **kwargs)
            made.llm_output = {
                "token_usage": {
                    "prompt_tokens": 50,
                    "completion_tokens": 7,
                    "total_tokens": 57,
                    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 5, "other": 1},
                }
            }
            return made

    ask(invoke, asks(Older()), config)
    (log,) = logs_of(recorder, config)
    sums = {"input": 50, "output": 7, "total": 57}
    details = {"output_details": {"reasoning": 5}}
    assert log["tokens"] == sums | {"input_details": {"cache_read": 40}} | details
    (call,) = log["calls"]
    details |= {"input_details": {"cache_read": 40, "audio": 0}}
    assert call["tokens"] == sums | details


OPENAI = {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57}
USAGES: dict[str, Any] = {
    "output": {"llm_output": {"usage": {"input_tokens": 50, "output_tokens": 7}}},
    "response": {"response_metadata": {"token_usage": OPENAI}},
    "response, usage": {"response_metadata": {"usage": OPENAI}},
    "generation": {"generation_info": {"usage_metadata": OPENAI}},
    "floats": {"llm_output": {"token_usage": {k: float(n) for k, n in OPENAI.items()}}},
    "bedrock": {"response_metadata": {"usage": {"inputTokens": 50, "outputTokens": 7}}},
    "google": {
        "generation_info": {
            "usage_metadata": {"prompt_token_count": 50, "candidates_token_count": 7}
        }
    },
    "watsonx": {
        "llm_output": {
            "token_usage": {"input_token_count": 50, "generated_token_count": 7}
        }
    },
    "ollama": {"generation_info": {"prompt_eval_count": 50, "eval_count": 7}},
}
EXPECTED = {"input": 50, "output": 7, "total": 57}
"""What 50 tokens of input and 7 of output look like, where usage_metadata is missing."""


class Reports(Chat):
    """A chat model whose answer has what a provider says of it."""

    facts: dict[str, Any]

    def _generate(self, *_: Any, **__: Any) -> Any:
        about = self.facts.get("response_metadata", {})
        generation = ChatGeneration(
            message=AIMessage("x", response_metadata=about),
            generation_info=self.facts.get("generation_info"),
        )
        output = self.facts.get("llm_output")
        return ChatResult(generations=[generation], llm_output=output)


class ReportsText(Completion):
    """A text model of that kind."""

    facts: dict[str, Any]

    def _generate(self, *_: Any, **__: Any) -> Any:
        about = self.facts.get("generation_info")
        generation = Generation(text="x", generation_info=about)
        output = self.facts.get("llm_output")
        return LLMResult(generations=[[generation]], llm_output=output)


@pytest.mark.parametrize("kind", [Reports, ReportsText])
def test_usage_in_the_forms_of_providers(recorder: Any, config: Any, kind: Any) -> None:
    models = [
        kind(facts=facts)
        for facts in USAGES.values()
        if kind is Reports or "response_metadata" not in facts
    ]

    def act(_: Any) -> Any:
        for model in models:
            model.invoke("?")
        return {}

    ask(invoke, act, config)
    (log,) = logs_of(recorder, config)
    assert log["tokens"] == {name: n * len(models) for name, n in EXPECTED.items()}
    for call in log["calls"]:
        assert {**EXPECTED, **call["tokens"]} == EXPECTED
        assert call["tokens"].keys() >= {"input", "output"}
        assert all(type(n) is int for n in call["tokens"].values())


@either
def test_all_generations_are_kept(recorder: Any, config: Any, call: Any) -> None:
    answers = [AIMessage(text, id=text) for text in ("one", "two", "three")]
    ask(call, asks(Chat(says=iter(answers), candidates=3)), config)
    assert only_calls(recorder, config) == [llm(outputs=to_json_model(answers))]


@either
def test_parameters_come_from_a_list_of_known_ones(
    recorder: Any, config: Any, store: Any, call: Any
) -> None:
    given = {
        "temperature": 0.5,
        "max_tokens": 9,
        "top_p": 1,
        "seed": 7,
        "tool_choice": {"type": "any"},
        "stop": ["END", "STOP"],
    }
    hidden = {"api_key": "hide-me-1", "extra_headers": {"X": "hide-me-2"}, "user": "u"}
    ask(call, asks(Chat().bind(**given, **hidden, top_k=None)), config)
    assert only_calls(recorder, config) == [llm(params=given)]
    assert "hide-me" not in str(store.query("SELECT * FROM workflow_runs"))


@either
def test_tools_that_are_offered(recorder: Any, config: Any, call: Any) -> None:
    offered = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
        {"name": "g", "input_schema": {}},
        {"type": "web_search"},
        {},
    ]
    ask(call, asks(Chat().bind(tools=offered)), config)
    assert only_calls(recorder, config) == [
        llm(tools=dict(zip(("f", "g", "web_search", "tool 3"), offered, strict=True)))
    ]


F: Any = {"name": "f", "parameters": {"type": "object"}}
G: Any = {"name": "g", "description": "G."}
OFFERED: dict[str, tuple[Any, Any]] = {
    "Bedrock": (
        {"tools": [{"toolSpec": F}, {"toolSpec": G}]},
        {"f": {"toolSpec": F}, "g": {"toolSpec": G}},
    ),
    "Google": (
        {"tools": [{"function_declarations": [F, G]}, {"google_search": {}}]},
        {"f": F, "g": G, "tool 2": {"google_search": {}}},
    ),
    "functions": ({"functions": [F, G]}, {"f": F, "g": G}),
    "odd": (
        {"tools": [5, {"function_declarations": 5}]},
        {"tool 0": 5, "tool 1": {"function_declarations": 5}},
    ),
    "none": ({"tools": [], "functions": [F]}, None),
}


@either
@pytest.mark.parametrize("form", OFFERED)
def test_tools_in_the_forms_of_providers(
    recorder: Any, config: Any, call: Any, form: str
) -> None:
    given, wanted = OFFERED[form]
    ask(call, asks(Chat().bind(**given)), config)
    assert only_calls(recorder, config) == [llm(tools=wanted)]


class City(BaseModel):
    """A city."""

    name: str


@either
def test_structured_output(recorder: Any, config: Any, call: Any) -> None:
    answer = AIMessage(
        "", id="a", tool_calls=[{"name": "City", "args": {"name": "Oslo"}, "id": "c0"}]
    )
    chain = said(answer).with_structured_output(City)
    found = []

    def act(state: Any) -> Any:
        found.append(chain.invoke(state["messages"]))

    async def act_async(state: Any) -> Any:
        found.append(await chain.ainvoke(state["messages"]))

    ask(call, does(act, act_async), config)
    (one,) = only_calls(recorder, config)
    assert found == [City(name="Oslo")]
    assert one.pop("tools")["City"]["function"]["description"] == "A city."
    assert one == {
        key: value
        for key, value in llm(
            outputs=[to_json_model(answer)], params={"tool_choice": "any"}
        ).items()
        if key != "tools"
    }


@either
def test_a_text_model(recorder: Any, config: Any, call: Any) -> None:
    model = Completion()

    def act(_: Any) -> Any:
        model.invoke("Who?")
        model.bind(stop=["END"]).invoke([SystemMessage("Be brief."), QUESTION])

    async def act_async(_: Any) -> Any:
        await model.ainvoke("Who?")
        await model.bind(stop=["END"]).ainvoke([SystemMessage("Be brief."), QUESTION])

    ask(call, does(act, act_async), config)
    assert only_calls(recorder, config) == [
        completion("Who?"),
        completion("System: Be brief.\nHuman: Who is there?", params={"stop": ["END"]}),
    ]


@either
def test_a_text_model_gives_each_text(recorder: Any, config: Any, call: Any) -> None:
    model = Completion(texts=("one", "two"))

    def act(_: Any) -> Any:
        model.batch(["first", "second"])

    async def act_async(_: Any) -> Any:
        await model.abatch(["first", "second"])

    ask(call, does(act, act_async), config)
    assert only_calls(recorder, config) == [
        completion(prompt, outputs=["one", "two"]) for prompt in ("first", "second")
    ]


@either
def test_a_cached_answer_is_marked(recorder: Any, config: Any, call: Any) -> None:
    answer = AIMessage("two words", id="a", usage_metadata=USAGE)
    model = Chat(says=iter([answer]), cache=InMemoryCache())

    def act(_: Any) -> Any:
        model.invoke([QUESTION])
        model.invoke([QUESTION])

    async def act_async(_: Any) -> Any:
        await model.ainvoke([QUESTION])
        await model.ainvoke([QUESTION])

    ask(call, does(act, act_async), config)
    calls = only_calls(recorder, config)
    assert [call["cached"] for call in calls] == [False, True]
    assert [call["outputs"][0]["content"] for call in calls] == ["two words"] * 2
    assert [call["status"] for call in calls] == ["completed"] * 2


@either
def test_a_retriever(recorder: Any, config: Any, call: Any) -> None:
    finder = Finder()

    def act(_: Any) -> Any:
        finder.invoke("what?")

    async def act_async(_: Any) -> Any:
        await finder.ainvoke("what?")

    ask(call, does(act, act_async), config)
    assert only_calls(recorder, config) == [retrieval("what?")]
    (found, _) = only_calls(recorder, config)[0]["documents"]
    assert found["page_content"] == "found"
    assert found["metadata"] == {"source": "a.txt", "score": 0.75}


@either
def test_a_retriever_fails(recorder: Any, config: Any, call: Any) -> None:
    finder = Finder(error=ValueError("no index"))

    def act(_: Any) -> Any:
        with pytest.raises(ValueError):
            finder.invoke("what?")

    async def act_async(_: Any) -> Any:
        with pytest.raises(ValueError):
            await finder.ainvoke("what?")

    ask(call, does(act, act_async), config)
    assert only_calls(recorder, config) == [
        retrieval("what?", documents=None, **failed(finder.error))
    ]


@either
def test_a_tool(recorder: Any, config: Any, call: Any) -> None:
    """Called with its arguments it returns any value, with a tool call a ToolMessage."""
    asked = {"name": "plus", "args": {"a": 2}, "id": "c9", "type": "tool_call"}

    def act(_: Any) -> Any:
        plus.invoke({"a": 1})
        plus.invoke(asked)

    async def act_async(_: Any) -> Any:
        await plus.ainvoke({"a": 1})
        await plus.ainvoke(asked)

    ask(call, does(act, act_async), config)
    message = ToolMessage("3", name="plus", tool_call_id="c9")
    assert only_calls(recorder, config) == [
        tool_call("plus", {"a": 1}, 2),
        tool_call("plus", {"a": 2}, message),
    ]


@either
def test_a_tool_raises(recorder: Any, config: Any, call: Any) -> None:
    def act(_: Any) -> Any:
        with pytest.raises(ValueError):
            refuse.invoke({"a": 1})

    async def act_async(_: Any) -> Any:
        with pytest.raises(ValueError):
            await refuse.ainvoke({"a": 1})

    ask(call, does(act, act_async), config)
    assert only_calls(recorder, config) == [
        tool_call("refuse", {"a": 1}, None, **failed(ValueError("not 1")))
    ]


@either
def test_a_tool_asks_a_model(recorder: Any, config: Any, call: Any) -> None:
    """Calls name the one that they were made within; two levels here."""
    asked = {"question": "why?"}
    question = to_json_model(HumanMessage("why?"))

    def act(_: Any) -> Any:
        Chat().invoke([QUESTION])
        ask_model.invoke(asked)
        Chat().invoke([QUESTION])

    ask(call, does(act), config)
    assert only_calls(recorder, config) == [
        llm(),
        tool_call("ask_model", asked, "two words"),
        llm(parent=1, messages=[question]),
        llm(),
    ]


@either
def test_custom_events(recorder: Any, config: Any, call: Any) -> None:
    data = {"done": 3, "of": [4, None]}

    def act(_: Any) -> Any:
        dispatch_custom_event("progress", data)
        Chat().invoke([QUESTION])
        dispatch_custom_event("ready", "yes")
        data["done"] = "changed later"

    async def act_async(_: Any) -> Any:
        await adispatch_custom_event("progress", data)
        await Chat().ainvoke([QUESTION])
        await adispatch_custom_event("ready", "yes")
        data["done"] = "changed later"

    ask(call, does(act, act_async), config)
    (log,) = logs_of(recorder, config)
    first, second = log["events"]
    assert log["started_at"] <= first.pop("at") <= second.pop("at")
    assert first == {"name": "progress", "data": {"done": 3, "of": [4, None]}}
    assert second == {"name": "ready", "data": "yes"}
    assert only_calls(recorder, config) == [llm()]


@either
def test_tags_and_metadata_are_those_that_the_node_has_not(
    recorder: Any, config: Any, call: Any
) -> None:
    its = {**config, "tags": ["nightly"], "metadata": {"user": "u", "same": 1}}
    bound = Chat().with_config(tags=["draft"], metadata={"prompt": 3, "same": 2})
    own = Chat(tags=["mine"], metadata={"size": "small"})
    ask(call, asks(bound), its, others=(asks(own),))
    (_, (first,)), (_, (second,)) = calls_of(recorder, its)
    assert (first["tags"], first["metadata"]) == (["draft"], {"prompt": 3, "same": 2})
    assert (second["tags"], second["metadata"]) == (["mine"], {"size": "small"})


@either
def test_lcel_in_a_node(recorder: Any, config: Any, call: Any) -> None:
    """LangChain's tags of the steps of a chain are not the user's."""
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be {how}."), ("human", "Who?")]
    )
    model = Chat().with_config(tags=["mine"], metadata={"size": "small"})
    chain = prompt | model | StrOutputParser()

    def act(_: Any) -> Any:
        assert chain.invoke({"how": "brief"}) == "two words"

    async def act_async(_: Any) -> Any:
        assert await chain.ainvoke({"how": "brief"}) == "two words"

    ask(call, does(act, act_async), config)
    messages = [SystemMessage("Be brief."), HumanMessage("Who?")]
    assert only_calls(recorder, config) == [
        llm(messages=to_json_model(messages), tags=["mine"], metadata={"size": "small"})
    ]


@either
def test_a_call_is_recorded_as_it_was(recorder: Any, config: Any, call: Any) -> None:
    """Whatever becomes of messages, arguments, outputs and documents afterwards."""
    message = HumanMessage(["first"], id="h")
    args = {"a": 1}
    answer = AIMessage(["second"], id="a")
    given: list[Any] = [message]
    found: list[Any] = []

    def change() -> None:
        for one in (message, answer):
            one.content.append("later")  # type: ignore[union-attr]
        args["b"] = 2
        given.append(answer)
        for document in found:
            document.metadata["later"] = 1

    def act(_: Any) -> Any:
        said(answer).invoke(given)
        plus.invoke(args)
        found.extend(Finder().invoke("what?"))
        change()

    ask(call, does(act), config)
    assert only_calls(recorder, config) == [
        llm(
            messages=[to_json_model(HumanMessage(["first"], id="h"))],
            outputs=[to_json_model(AIMessage(["second"], id="a"))],
        ),
        tool_call("plus", {"a": 1}, 2),
        retrieval("what?"),
    ]
    assert found[0] != DOCUMENTS[0]


def test_calls_at_once_in_a_node(recorder: Any, config: Any) -> None:
    """They stand in the order of their starts."""

    async def act(_: Any) -> Any:
        answers = await asyncio.gather(
            *(Chat().ainvoke([HumanMessage(str(n), id=str(n))]) for n in range(20))
        )
        return {"messages": answers[:1]}

    asyncio.run(graph_of(act).ainvoke({"messages": [QUESTION]}, config))
    asked = [call["messages"][0]["id"] for call in only_calls(recorder, config)]
    assert sorted(asked, key=int) == [str(n) for n in range(20)]
    starts = [call["started_at"] for call in logs_of(recorder, config)[0]["calls"]]
    assert starts == sorted(starts)
    assert ANSWER.id == "a"
