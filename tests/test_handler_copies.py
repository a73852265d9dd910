"""Copies and pickles of handlers, recorders and records."""

import asyncio
import copy
import dataclasses
import json
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handler_graphs import (
    chain,
    check_two_nodes,
    each_call,
    node,
    record_two_nodes,
    two_nodes,
)
from langchain_core.runnables.config import RunnableConfig, merge_configs

import runlog
from runlog import Recorder
from runlog.hooks import RunLogHandler

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of a config": lambda handler: copy.deepcopy({"callbacks": [handler]})[
        "callbacks"
    ][0],
}
PICKLES = {
    f"protocol {protocol}": lambda value, protocol=protocol: pickle.loads(
        pickle.dumps(value, protocol)
    )
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
}
each_copy = pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
each_way = pytest.mark.parametrize(
    "make", [*COPIES.values(), *PICKLES.values()], ids=[*COPIES, *PICKLES]
)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """Copies do not depend on the store."""
    with Recorder(sqlite_path=str(tmp_path / "runs.db")) as made:
        yield made


class Own(RunLogHandler):
    """A user's subclass, with arguments and state of its own."""

    def __init__(self, label: str, recorder: Any = None) -> None:
        super().__init__("own", recorder=recorder, node_inputs="none")
        self.label = label
        self.seen: list[str] = []


@dataclasses.dataclass(frozen=True)
class Settings:
    """A program's, with a handler in it."""

    handler: RunLogHandler
    depth: int = 1


def names(source: Any) -> list[str]:
    assert source.flush(60)
    return [run["wpk_id"] for run in source.list_runs().runs]


@each_way
def test_a_copy_has_the_settings(make: Any) -> None:
    handler = RunLogHandler(
        "w", node_inputs="none", checkpoint_interval=None, calls="full", roots="graphs"
    )
    given = ("w", None, "none", None, "full", "graphs")
    assert make(handler)._arguments() == given
    defaults = (None, None, "delta", 1.0, "delta", "all")
    assert make(RunLogHandler())._arguments() == defaults
    two_nodes().invoke({"n": 0}, {"callbacks": [make(handler)]})
    assert names(runlog) == ["w"]


@each_copy
def test_a_copy_has_the_same_recorder(recorder: Any, make: Any) -> None:
    twin = make(RunLogHandler("w", recorder=recorder))
    assert twin._arguments()[1] is recorder
    two_nodes().invoke({"n": 0}, {"callbacks": [twin]})
    assert names(recorder) == ["w"]


@each_way
def test_a_copy_of_a_subclass_keeps_its_state(make: Any) -> None:
    handler = Own("label")
    handler.seen.append("x")
    handler.itself = handler  # type: ignore[attr-defined]
    twin = make(handler)
    assert (type(twin), twin.label, twin.seen) == (Own, "label", ["x"])
    assert twin._arguments() == ("own", None, "none", 1.0, "delta", "all")
    if make is not copy.copy:
        assert twin.itself is twin
        assert twin.seen is not handler.seen


class Slotted(RunLogHandler):
    """One with a slot."""

    __slots__ = ("label",)


class Locked(RunLogHandler):
    """One that says itself what a copy has: a lock can't be copied."""

    def __init__(self, label: str) -> None:
        super().__init__("own")
        self.label = label
        self.lock = threading.Lock()

    def __getstate__(self) -> Any:
        return self.label

    def __setstate__(self, label: str) -> None:
        self.label = label
        self.lock = threading.Lock()


class LockedRecorder(Recorder):
    """The same of a recorder, which is its own copy."""

    lock: Any = None

    def __getstate__(self) -> Any:
        return {name: value for name, value in vars(self).items() if name != "lock"}


@each_way
def test_a_subclass_says_what_a_copy_has(make: Any) -> None:
    slotted: Any = Slotted("own")
    locked = Locked("label")
    slotted.label = "slot"
    slotted.more = ["x"]
    twin = make(slotted)
    assert (twin.label, twin.more, twin._arguments()[0]) == ("slot", ["x"], "own")
    twin = make(locked)
    assert (twin.label, twin._arguments()[0]) == ("label", "own")
    assert twin.lock is not locked.lock


def test_a_recorder_says_what_a_pickle_has(tmp_path: Path) -> None:
    with LockedRecorder(sqlite_path=tmp_path / "runs.db") as recorder:
        recorder.lock, recorder.label = threading.Lock(), "x"  # type: ignore[attr-defined]
        with pickle.loads(pickle.dumps(recorder)) as twin:
            assert (type(twin), twin.label) == (LockedRecorder, "x")
            assert twin.lock is None


@each_call
@each_copy
def test_a_run_that_gets_a_copy_midway_is_one(
    recorder: Any, call: Any, make: Any
) -> None:
    """A node hands a copy of its config to a graph that it calls."""
    handler = RunLogHandler("outer", recorder=recorder)
    inner = chain("inner", deep=node("deep"))

    def calls(state: Any, config: RunnableConfig) -> Any:
        own: Any = {**config, "callbacks": copy.deepcopy(config["callbacks"])}
        return {"n": inner.invoke({"n": state["n"]}, own)["n"]}

    graph = chain("g", first=calls, second=node("second"))
    call(graph, {"n": 0}, {"callbacks": [handler, make(handler)]})
    (row,) = recorder.list_runs().runs
    logs = recorder.get_run(row["run_id"])["node_logs"]
    assert [(log["node"], log["parent"], log["status"]) for log in logs] == [
        ("first", None, "completed"),
        ("deep", "first", "completed"),
        ("second", None, "completed"),
    ]
    stats = recorder.stats()
    assert [
        stats[name] for name in ("open_runs", "handler_errors", "handler_ignored")
    ] == [*(0, 0, 0)]


def test_configs_are_merged_and_replaced(recorder: Any) -> None:
    handler = RunLogHandler("w", recorder=recorder)
    settings = dataclasses.replace(Settings(handler), depth=2)
    assert settings.handler is handler
    assert copy.deepcopy(settings).handler._arguments()[1] is recorder  # type: ignore[attr-defined]
    config: Any = {"callbacks": [handler], "tags": ["a"]}
    merged = merge_configs(copy.deepcopy(config), {"callbacks": [copy.copy(handler)]})
    ensure_config = runlog.hooks.pregel.ensure_config
    for given in (merged, ensure_config(copy.deepcopy(config), merged)):
        two_nodes("w").with_config(copy.deepcopy(config)).invoke({"n": 0}, given)
    runs = recorder.list_runs().runs
    assert [run["wpk_id"] for run in runs] == ["w", "w"]
    check_two_nodes(recorder.get_run(runs[0]["run_id"]))


# Recorders


@each_copy
def test_a_copy_of_a_recorder_is_itself(recorder: Any, make: Any) -> None:
    assert make(recorder) is recorder


@pytest.mark.parametrize("make", PICKLES.values(), ids=PICKLES)
def test_a_recorder_is_pickled_by_its_options(tmp_path: Path, make: Any) -> None:
    with Recorder(sqlite_path="here.db", redact=("iban",), max_payload=2048) as recorder:
        handler = make(RunLogHandler("w", recorder=recorder))
        two_nodes().invoke({"n": 0}, {"callbacks": [handler]})
        assert names(recorder) == ["w"]
    with make(Recorder(sqlite_path=str(tmp_path / "here.db"))) as again:
        assert names(again) == ["w"]


SECRETS = {
    "postgres_dsn": "host=h user=u password=pw-4711",
    "postgres_dsn uri": "postgresql://u:pw-4711@h/d",
    "postgres_dsn key": "postgresql://h/d?sslpassword=pw-4711",
    "openai_key": "pw-4711",
    "openai_headers": {"api-key": "pw-4711"},
    "openai_base_url": "https://u:pw-4711@h/v1",
    "openai_base_url key": "https://h/v1?key=pw-4711",
    "milvus_token": "u:pw-4711",
    "milvus_endpoint": "https://u:pw-4711@h",
}


@pytest.mark.parametrize("option", SECRETS)
def test_a_pickle_holds_no_credentials(option: str) -> None:
    name = option.split(maxsplit=1)[0]
    try:
        recorder = Recorder(**{name: SECRETS[option]})  # type: ignore[arg-type]
    except runlog.ConfigError:
        pytest.fail("a case without a recorder tests nothing")
    for value in (recorder, RunLogHandler(recorder=recorder), {"callbacks": [recorder]}):
        with pytest.raises(TypeError, match=f"{name}.* environment variable") as refused:
            pickle.dumps(value)
        assert "4711" not in str(refused.value)
    assert "4711" not in str(vars(recorder))
    assert copy.deepcopy(recorder) is recorder


def test_a_dsn_without_a_password_can_be_pickled() -> None:
    dsn = "host=db.example user=u dbname=d"
    again = pickle.loads(pickle.dumps(Recorder(postgres_dsn=dsn)))
    assert again._given == {"postgres_dsn": dsn}


def test_credentials_of_the_environment_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_DSN", SECRETS["postgres_dsn"])  # type: ignore[arg-type]
    assert b"4711" not in pickle.dumps(RunLogHandler("w", recorder=Recorder()))


@pytest.mark.long_with("recorder")
@pytest.mark.parametrize("given", [True, False], ids=["recorder", "default"])
def test_a_spawned_process_gets_a_handler(tmp_path: Path, given: bool) -> None:
    path = str(tmp_path / ("given.db" if given else "test_runs.db"))
    with Recorder(sqlite_path=path) as recorder:
        handler = RunLogHandler("spawned", recorder=recorder if given else None)
        spawned = multiprocessing.get_context("spawn").Process(
            target=record_two_nodes, args=(handler,)
        )
        spawned.start()
        spawned.join()
        assert spawned.exitcode == 0
        assert names(recorder) == ["spawned"]


# Records


@pytest.mark.parametrize("count", [3, 1100])
def test_what_get_run_returns_can_be_copied(recorder: Any, count: int) -> None:
    """Also a long run, whose node logs are decoded when they are asked for."""
    log = {
        "node": "n",
        "status": "completed",
        "inputs": {"n": 1},
        "outputs": {"text": "x"},
    }
    delta = {"node": "n", "inputs_delta": {"since": 0, "append": {"items": ["y"]}}}
    first = {**log, "inputs": {"items": ["x"]}}
    logs = [first, *([log, delta] * count)]
    given = {"wpk_id": "w", "run_id": "r", "status": "completed", "node_logs": logs}
    recorder.log_run({**given, "inputs": {"items": []}})
    run = recorder.get_run("r")
    page = recorder.list_runs()
    for value in (run, run["node_logs"], run["node_logs"][2], page, page.runs[0]):
        for make in (copy.copy, copy.deepcopy, PICKLES["protocol 5"]):
            assert make(value) == value
    again = json.loads(json.dumps(recorder.get_run("r"), default=str))
    assert again["node_logs"] == run["node_logs"]


def test_copies_of_a_run_are_independent(recorder: Any) -> None:
    delta = {"node": "n", "inputs_delta": {"since": 0}}
    logs = [{"node": "n", "inputs": {"items": ["x"]}}, *([delta] * 1100)]
    recorder.log_run(
        {"wpk_id": "w", "run_id": "r", "status": "completed", "node_logs": logs}
    )
    run = recorder.get_run("r")
    twin = copy.deepcopy(run)
    assert type(run["node_logs"][1]) is not dict
    twin["node_logs"][1]["inputs"]["items"].append("y")
    assert run["node_logs"][1]["inputs"] == {"items": ["x"]}


def test_a_task_of_another_loop_gets_a_copy(recorder: Any) -> None:
    handler = copy.deepcopy(RunLogHandler("w", recorder=recorder))
    asyncio.run(two_nodes().ainvoke({"n": 0}, {"callbacks": [handler]}))
    assert names(recorder) == ["w"]
    assert sys.getrefcount(handler) < 10
