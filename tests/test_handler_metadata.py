"""What a graph was called with besides its inputs: metadata, tags, config and context."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import threading
import uuid
from pathlib import Path
from typing import Any, TypedDict

import pytest
from graphs import own_metadata
from helpers import stored
from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from pydantic import BaseModel, Field, SecretStr

import runlog.hooks
from runlog.hooks import RunLogHandler

pytestmark = pytest.mark.either_store


class State(TypedDict):
    n: int


@dataclasses.dataclass
class Limits:
    tokens: int = 5


@dataclasses.dataclass
class Context:
    user: str
    password: str = "sesame"
    limits: Limits = dataclasses.field(default_factory=Limits)
    client: Any = None


class Model(BaseModel):
    user: str
    secret: SecretStr = SecretStr("sesame")
    hidden: str = Field(default="sesame", exclude=True)
    llm: Any = None


class Mode(enum.Enum):
    FAST = "fast"


class Client:
    def __init__(self) -> None:
        self.key = "sesame"
        self.lock = threading.Lock()

    def __repr__(self) -> str:
        raise AssertionError("never called")


def graph(schema: Any = None, **options: Any) -> Any:
    builder = StateGraph(State, schema)
    builder.add_node("node", lambda state: {"n": state["n"] + 1})
    return builder.add_edge(START, "node").compile(**options)


def metadata_of(
    recorder: Any, config: Any, made: Any = None, name: str | None = "w", **more: Any
) -> Any:
    """The metadata that are stored for a run with that config."""
    run_id = uuid.uuid4()
    handler = RunLogHandler(name, recorder=recorder)
    (made or graph()).invoke(
        {"n": 1}, {**config, "callbacks": [handler], "run_id": run_id}, **more
    )
    run = stored(recorder, str(run_id))
    assert run["status"] == "completed"
    return own_metadata(run)


USERS = {
    "customer": "c7",
    "versions": {"prompt": "v3"},
    "run_id": "job-17",
    "revision_id": "abc",
    "LANGSMITH_PROJECT": "mine",
    "lc_team": "blue",
    "ls_score": 0.5,
    "ls_provider": "mine",
    "langgraph_team": "red",
    "__private": 1,
    "thread": "t",
    "graph_id": 7,
    "": "empty",
    "none": None,
}


@pytest.mark.parametrize("key", USERS)
def test_a_key_that_resembles_a_librarys_is_the_users(recorder: Any, key: str) -> None:
    assert metadata_of(recorder, {"metadata": {key: USERS[key]}}) == {key: USERS[key]}


def test_metadata_and_tags_of_all_configs_are_kept(recorder: Any) -> None:
    made = graph().with_config(metadata={"a": 1, "b": 1}, tags=["bound"])
    config = {"metadata": {"b": 2, "ls_c": 3}, "tags": ["given"]}
    kept = metadata_of(recorder, config, made)
    assert kept == {"a": 1, "b": 2, "ls_c": 3, "tags": ["bound", "given"]}


def test_names_that_runlog_uses_are_renamed(recorder: Any) -> None:
    names = ["tags", "interrupts", "tokens", "models", "context", "configurable"]
    names += ["totals"]
    kept = metadata_of(recorder, {"metadata": dict.fromkeys(names, "mine")})
    assert kept == {f"user_{name}": "mine" for name in names}


def test_what_has_a_column_of_its_own_is_left_out(recorder: Any) -> None:
    config = {"metadata": {"wpk_id": "named", "thread_id": "t"}}
    assert metadata_of(recorder, config, name=None) is None
    run = recorder.list_runs(wpk_id="named").runs[0]
    assert run["thread_id"] == "t"
    # the handler's own name takes precedence: then this one is kept beside it
    assert metadata_of(recorder, config) == {"wpk_id": "named"}


def test_langgraphs_own_keys_are_left_out(recorder: Any) -> None:
    made = graph(checkpointer=InMemorySaver())
    assert metadata_of(recorder, {"configurable": {"thread_id": "t"}}, made) is None


VALUES: list[tuple[Any, Any]] = [
    ("acme", "acme"),
    (7, 7),
    (True, True),
    (None, None),
    (0.5, 0.5),
    (Mode.FAST, "fast"),
    (uuid.UUID(int=7), str(uuid.UUID(int=7))),
    (Path("/a/b"), "/a/b"),
    ({"a": {"b": [1, ("x", None)]}}, {"a": {"b": [1, ["x", None]]}}),
    (Limits(9), {"tokens": 9}),
    ({"password": "sesame", "a": 1}, {"password": "<redacted>", "a": 1}),
    (Client(), "<tests.test_handler_metadata.Client>"),
    ([Client(), 1], ["<tests.test_handler_metadata.Client>", 1]),
    (len, "<builtins.len>"),
    (FakeListChatModel(responses=["sesame"]), None),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda v: type(v).__name__)
def test_values_of_the_config_are_kept_where_they_are_plain(
    recorder: Any, value: Any, expected: Any
) -> None:
    kept = metadata_of(recorder, {"configurable": {"value": value, "__own": 1}})
    if isinstance(value, FakeListChatModel):
        expected = kept["configurable"]["value"]
        assert expected.endswith("FakeListChatModel>")
    assert kept == {"configurable": {"value": expected}}
    assert "sesame" not in str(kept)


def test_a_password_of_the_config_is_redacted(recorder: Any) -> None:
    kept = metadata_of(recorder, {"configurable": {"password": "sesame"}})
    assert kept == {"configurable": {"password": "<redacted>"}}


def test_bound_values_of_the_config_are_kept(recorder: Any) -> None:
    made = graph().with_config(configurable={"a": 1, "b": 1})
    kept = metadata_of(recorder, {"configurable": {"b": 2}}, made)
    assert kept == {"configurable": {"a": 1, "b": 2}}


def test_the_config_costs_little_however_large_it_is(recorder: Any) -> None:
    cycle: dict[str, Any] = {"a": 1}
    cycle["self"] = cycle
    large = {"list": list(range(100_000)), "text": "é" * 100_000, "cycle": cycle}
    kept = metadata_of(recorder, {"configurable": large})["configurable"]
    assert kept["list"] == [*range(100), "<cut: 99900 elements>"]
    assert 3000 < len(kept["text"].encode()) <= 4096
    assert kept["cycle"]["self"]["self"]["a"] == 1
    assert len(str(kept)) < 10_000
    wide = {str(n): list(range(90)) for n in range(200)}
    kept = metadata_of(recorder, {"configurable": wide})["configurable"]
    assert kept["0"] == list(range(90))
    assert len(str(kept)) < 20_000
    assert kept["<cut>"].endswith(" members")


CONTEXTS: list[tuple[Any, Any, Any]] = [
    (
        Context,
        Context("u", client=Client()),
        {
            "user": "u",
            "password": "<redacted>",
            "limits": {"tokens": 5},
            "client": "<tests.test_handler_metadata.Client>",
        },
    ),
    (
        Context,
        {"user": "u", "limits": Limits(6)},
        {"user": "u", "limits": {"tokens": 6}},
    ),
    (
        Model,
        Model(user="u", llm=Client()),
        {
            "user": "u",
            "secret": "<redacted>",
            "llm": "<tests.test_handler_metadata.Client>",
        },
    ),
    (None, None, None),
]


@pytest.mark.parametrize(
    ("schema", "context", "expected"), CONTEXTS, ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "batch"])
def test_the_runtime_context_is_kept(
    recorder: Any, schema: Any, context: Any, expected: Any, way: str
) -> None:
    made, run_id = graph(schema), uuid.uuid4()
    handler = RunLogHandler("w", recorder=recorder)
    config: Any = {"callbacks": [handler], "run_id": run_id}

    async def drain() -> None:
        async for _ in made.astream({"n": 1}, config, context=context):
            pass

    if way == "invoke":
        made.invoke({"n": 1}, config, context=context)
    elif way == "ainvoke":
        asyncio.run(made.ainvoke({"n": 1}, config, context=context))
    elif way == "stream":
        list(made.stream({"n": 1}, config, context=context, stream_mode="messages"))
    elif way == "astream":
        asyncio.run(drain())
    else:
        made.batch([{"n": 1}], config, context=context)
    metadata = stored(recorder, str(run_id))["metadata"] or {}
    kept: Any = metadata.get("context")
    if schema is Model:  # a secret of pydantic's has no text of its own
        kept = {**kept, "secret": "<redacted>"}
    assert kept == expected
    assert "sesame" not in str(metadata)


def test_every_way_to_register_the_handler_sees_the_context(recorder: Any) -> None:
    context = Context("u")
    with runlog.hooks.recording("block", recorder=recorder):
        graph(Context).invoke({"n": 1}, {"configurable": {"a": 1}}, context=context)
    bound = graph(Context).with_config(
        callbacks=[RunLogHandler("bound", recorder=recorder)]
    )
    bound.invoke({"n": 1}, {"configurable": {"a": 1}}, context=context)

    @entrypoint(context_schema=Context)
    def flow(n: int) -> int:
        return n

    handler = RunLogHandler("flow", recorder=recorder)
    config: Any = {"callbacks": [handler], "configurable": {"a": 1}}
    made: Any = flow
    made.invoke(1, config, context=context)
    assert recorder.flush(60)
    for wpk_id in ("block", "bound", "flow"):
        (run,) = recorder.list_runs(wpk_id=wpk_id).runs
        metadata = recorder.get_run(run["run_id"], wpk_id)["metadata"]
        assert metadata["configurable"] == {"a": 1}
        assert metadata["context"]["user"] == "u"


def test_a_context_whose_fields_raise_breaks_nothing(recorder: Any) -> None:
    @dataclasses.dataclass
    class Odd:
        user: str = "u"

        def __getattribute__(self, name: str) -> Any:
            if name == "user":
                raise ValueError(name)
            return object.__getattribute__(self, name)

    assert metadata_of(recorder, {}, graph(Odd), context=Odd()) == {"context": {}}
