"""Exceptions that belong to the program reach it, though a conversion raised them.

KeyboardInterrupt and others that are no Exception, and what a signal handler raises. The
run is kept, and names the value whose conversion was broken off. An Exception of the
value's own never reaches the program.
"""

import asyncio
import collections
import dataclasses
import datetime
import functools
import itertools
import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
from fixtures_store import Store
from handler_graphs import chain, node, with_id
from helpers import minimal, stored

import runlog
from runlog._runlog import encode_json
from runlog.hooks import RunLogHandler

Raise = Callable[[], Any]


class Timeout(BaseException):
    """As gevent's: no Exception, and unknown to Python."""


class AlarmError(Exception):
    """What signal handlers raise here."""


def from_handler(signum: int, frame: Any) -> None:
    raise AlarmError


def from_any(*args: Any) -> None:
    raise AlarmError


class Handlers:
    """Methods, and an instance, that are signal handlers."""

    def method(self, signum: int, frame: Any) -> None:
        raise AlarmError

    def __call__(self, signum: int, frame: Any) -> None:
        raise AlarmError


HANDLERS = {
    "function": from_handler,
    "any arguments": from_any,
    "method": Handlers().method,
    "instance": Handlers(),
    "partial": functools.partial(functools.partial(from_any, 1), 2),
}


@pytest.fixture(autouse=True)
def no_complaints() -> None:
    """LangChain logs what a handler lets through: here it may."""


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """SIGALRM raises AlarmError."""
    before = signal.signal(signal.SIGALRM, from_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def ring() -> None:
    """A signal arrives, and Python handles it at once."""
    signal.raise_signal(signal.SIGALRM)


def raising(error: BaseException) -> Raise:
    def act() -> None:
        raise error

    act.__name__ = type(error).__name__
    return act


PROGRAMS = [
    raising(KeyboardInterrupt()),
    raising(SystemExit(3)),
    raising(GeneratorExit()),
    raising(asyncio.CancelledError()),
    raising(Timeout()),
    ring,
]
EXPECTED = (
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    asyncio.CancelledError,
    Timeout,
    AlarmError,
)


# Values that call `act` when they are converted


def with_text(act: Raise) -> Any:
    class SpokenError(Exception):
        def __str__(self) -> str:
            act()
            return "spoken"

    return SpokenError()


def with_dump(act: Raise) -> Any:
    class Model(pydantic.BaseModel):
        def model_dump(self, **_: Any) -> Any:
            act()
            return {}

    return Model()


def with_serializer(act: Raise) -> Any:
    """Pydantic wraps what it raises."""

    class Model(pydantic.BaseModel):
        x: int = 1

        @pydantic.field_serializer("x")
        def serialize(self, value: int) -> int:
            act()
            return value

    return Model()


def that_wraps(act: Raise) -> Any:
    class SpokenError(Exception):
        def __str__(self) -> str:
            try:
                act()
            except BaseException as error:
                raise ValueError("wrapped") from error
            return "spoken"

    return SpokenError()


def with_item(act: Raise) -> Any:
    class Lazy(collections.UserDict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            if key == "bad":
                act()
            return super().__getitem__(key)

    return Lazy(good=1, bad=2, after=3)


def with_keys(act: Raise) -> Any:
    class Lazy(collections.UserDict[str, Any]):
        def __iter__(self) -> Any:
            yield "good"
            act()

    return Lazy(good=1)


def with_items(act: Raise) -> Any:
    class Own(dict[str, Any]):
        def items(self) -> Any:
            act()
            return super().items()

    return Own(a=1)


def with_property(act: Raise) -> Any:
    @dataclasses.dataclass
    class Point:
        x: int = 1

        def __getattribute__(self, name: str) -> Any:
            if name == "x":
                act()
            return super().__getattribute__(name)

    return Point()


def with_metaclass(act: Raise) -> Any:
    class Meta(type):
        armed = False

        def __getattribute__(cls, name: str) -> Any:
            if name == "__qualname__" and Meta.armed:
                act()
            return super().__getattribute__(name)

    class Thing(metaclass=Meta):
        pass

    Meta.armed = True
    return Thing()


def with_key(act: Raise) -> Any:
    return {with_text(act): 1}


def with_shape(act: Raise) -> Any:
    """A tensor, which is described."""

    class Tensor:
        dtype = "float32"

        @property
        def shape(self) -> Any:
            act()
            return ()

    return Tensor()


MAKERS = [
    with_text,
    with_dump,
    with_serializer,
    that_wraps,
    with_item,
    with_keys,
    with_items,
    with_property,
    with_metaclass,
    with_key,
    with_shape,
]
each_maker = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
each_act = pytest.mark.parametrize("act", PROGRAMS, ids=lambda act: act.__name__)


@pytest.fixture
def local(tmp_path: Path) -> Any:
    """A recorder, where it does not matter which database."""
    with runlog.Recorder(sqlite_path=str(tmp_path / "local.db")) as made:
        yield made


# log_run


@each_maker
@each_act
def test_it_leaves_log_run_once_the_run_is_kept(
    local: Any, make: Any, act: Raise
) -> None:
    around = {"before": 1, "bad": make(act), "after": {"x": [2]}}
    with pytest.raises(EXPECTED) as raised:
        local.log_run(minimal(inputs=around, outputs={"y": 3}))
    assert raised.type.__name__ in (act.__name__, "AlarmError")
    run = local.get_run("r1")
    assert run["inputs"]["before"] == 1
    assert run["inputs"]["after"] == {"x": [2]}
    assert run["outputs"] == {"y": 3}
    text = str(run["inputs"]["bad"])
    assert "<unserializable" in text or "more members" in text


@each_maker
def test_the_second_walk_of_a_long_payload_lets_it_through(make: Any) -> None:
    value = [make(ring), *["x" * 1000] * 8, {"end": 1}]
    with pytest.raises(AlarmError):
        encode_json(value, max_payload=1024)


@pytest.mark.parametrize("field", ["metadata", "node_logs", "thread_id", "error_text"])
def test_every_field_of_a_run_lets_it_through(local: Any, field: str) -> None:
    given = [{"node": "a", "outputs": with_text(ring)}]
    run = minimal()
    run[field] = given if field == "node_logs" else with_text(ring)
    with pytest.raises(AlarmError):
        local.log_run(run)
    assert "<unserializable SpokenError>" in str(local.get_run("r1")[field])


class Zone(datetime.tzinfo):
    """A time zone that asks somebody."""

    def utcoffset(self, _: Any) -> Any:
        ring()

    dst = tzname = utcoffset


class Whole:
    """A number that asks somebody."""

    def __index__(self) -> int:
        ring()
        return 1


NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=Zone())


def test_a_field_that_was_not_read_is_missing(local: Any) -> None:
    with pytest.raises(AlarmError):
        local.log_run(minimal(duration_ms=Whole(), started_at=NOON, outputs=1))
    run = local.get_run("r1")
    assert (run["duration_ms"], run["started_at"], run["outputs"]) == (None, None, 1)


def test_the_arguments_of_queries_let_it_through(local: Any) -> None:
    make: Any = runlog.Recorder
    calls: Any = (
        lambda: local.list_runs(limit=Whole()),
        lambda: local.list_runs(since=NOON),
        lambda: local.get_runs_by_wpk_id("w", offset=Whole()),
        lambda: make(max_payload=Whole()),
        lambda: make(redact=with_items(ring).items()),
    )
    for call in calls:
        with pytest.raises(AlarmError):
            call()


async def test_alog_run_keeps_the_run(local: Any) -> None:
    with pytest.raises(AlarmError):
        await local.alog_run(minimal(inputs=with_text(ring)))
    assert local.get_run("r1")["inputs"] == "<unserializable SpokenError>"


def test_a_signal_ends_a_loop_of_calls_in_c(tmp_path: Path) -> None:
    """Between two calls of log_run no Python code runs that would handle it."""
    path = str(tmp_path / "c.db")
    with runlog.Recorder(sqlite_path=path, durability="journal") as recorder:
        runs = [minimal(str(i)) for i in range(3000)]
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(AlarmError):
            collections.deque(map(recorder.log_run, runs), maxlen=0)
        assert len(recorder.get_runs_by_wpk_id("w", 10000)) < len(runs)


# What stays with runlog


def of_its_own() -> None:
    raise TimeoutError


def of_a_timeout() -> None:
    """As asyncio.wait_for ends."""
    try:
        raise asyncio.CancelledError  # noqa: TRY301
    except asyncio.CancelledError as error:
        raise TimeoutError from error


def of_its_own_alarm() -> None:
    """A conversion with a time limit of its own."""

    def expire(signum: int, frame: Any) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGALRM, expire)
    try:
        ring()
    finally:
        signal.signal(signal.SIGALRM, before)


def of_a_helper(first: int = 1, second: int = 2) -> None:
    raise AlarmError(first, second)


OWN = [of_its_own, of_a_timeout, of_its_own_alarm, of_a_helper]


@each_maker
@pytest.mark.parametrize("act", OWN, ids=lambda act: act.__name__)
def test_an_error_of_the_value_itself_does_not_leave(make: Any, act: Raise) -> None:
    assert b"before" in encode_json({"before": 1, "bad": make(act), "after": 2})


@each_maker
def test_what_the_program_is_handling_is_not_raised_anew(make: Any) -> None:
    for error in (KeyboardInterrupt(), asyncio.CancelledError(), Timeout()):
        try:
            raise error  # noqa: TRY301
        except BaseException:  # noqa: BLE001
            assert b"after" in encode_json([make(of_its_own), "after"])


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)
def test_every_kind_of_signal_handler_is_known(handler: Any) -> None:
    signal.signal(signal.SIGALRM, handler)
    with pytest.raises(AlarmError):
        encode_json([with_serializer(ring)])


def test_no_more_code_of_values_runs_after_it() -> None:
    """Ctrl-C need not be pressed once for each value."""
    seen = []

    def act() -> None:
        seen.append(1)
        ring()

    values = [make(act) for make in (with_dump, with_serializer, with_item, with_items)]
    with pytest.raises(AlarmError):
        encode_json([*values, {"plain": 1}])
    assert seen == [1]


# Graphs


async def consume(stream: Any) -> None:
    async for _ in stream:
        pass


CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "invoke": lambda graph, given, config: graph.invoke(given, config),
    "ainvoke": lambda graph, given, config: asyncio.run(graph.ainvoke(given, config)),
    "stream": lambda graph, given, config: list(graph.stream(given, config)),
    "astream": lambda graph, given, config: asyncio.run(
        consume(graph.astream(given, config))
    ),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


class Once:
    """Acts at the n-th conversion of its value only."""

    def __init__(self, act: Raise, nth: int) -> None:
        self.act = act
        self.left = nth
        self.__name__ = act.__name__

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.act()


GRAPH_ACTS = [
    raising(KeyboardInterrupt("stop")),
    raising(SystemExit(3)),
    raising(Timeout("late")),
    ring,
]


@each_call
@pytest.mark.parametrize("act", GRAPH_ACTS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("nth", [1, 2, 3, 4], ids=["start", "node", "node end", "end"])
def test_it_leaves_the_graph_and_the_run_has_its_end(
    local: Any, call: Any, act: Raise, nth: int
) -> None:
    """At each of the four events of a graph of one node."""
    value = with_serializer(Once(act, nth))
    graph = chain("g", only=lambda state: {"n": 1, "extra": value})
    config = with_id(RunLogHandler(recorder=local))
    with pytest.raises(EXPECTED) as raised:
        call(graph, {"n": 0, "extra": value}, config)
    assert raised.type.__name__ in (act.__name__, "AlarmError")
    run = stored(local, str(config["run_id"]))
    assert run["status"] in ("cancelled", "failed", "completed")
    if not (nth == 3 and call in (CALLS["ainvoke"], CALLS["astream"])):
        # asyncio.run cancels the graph, which has nothing left to do by then
        assert (run["status"] == "completed") == (nth == 4)
    logs = [(log["node"], log["status"]) for log in run["node_logs"]]
    assert logs == ([] if nth == 1 else [("only", logs[0][1])])
    assert [status for _, status in logs] != ["running"]
    assert "<unserializable Model>" in str(
        [run["inputs"], run["outputs"], run["node_logs"]]
    )
    assert local.stats()["open_runs"] == 0


@each_call
@pytest.mark.parametrize("where", ["metadata", "wpk_id"])
def test_metadata_lets_it_through(recorder: Any, call: Any, where: str) -> None:
    metadata = {where: with_text(ring)}
    config = with_id(RunLogHandler(recorder=recorder), metadata=metadata)
    with pytest.raises(AlarmError):
        call(chain("g", only=node("only")), {"n": 0}, config)
    run = stored(recorder, str(config["run_id"]))
    assert (run["wpk_id"], run["status"], run["error_type"]) == (
        "g",
        "failed",
        "AlarmError",
    )


def test_a_signal_after_the_event_leaves_langchain(local: Any) -> None:
    """LangChain swallows what is raised beside a handler, unless raise_error is true."""
    handler = RunLogHandler(recorder=local)
    assert handler.raise_error is False
    try:
        ring()
    except AlarmError:
        assert handler.raise_error is True
    try:
        of_its_own()
    except TimeoutError:
        assert handler.raise_error is False
    handler.raise_error = True
    assert handler.raise_error is True


@each_call
def test_an_error_of_a_subclass_is_left_to_langchain(local: Any, call: Any) -> None:
    class Mine(RunLogHandler):
        def on_chain_end(self, *args: Any, **kwargs: Any) -> Any:
            super().on_chain_end(*args, **kwargs)
            raise ValueError("mine")

    config = with_id(Mine(recorder=local))
    call(chain("g", only=node("only")), {"n": 0}, config)
    assert stored(local, str(config["run_id"]))["status"] == "completed"


def test_it_leaves_logging(local: Any) -> None:
    """The program's logging may raise it, too."""

    class Rings(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ring()

    logger, rings = logging.getLogger("runlog"), Rings()
    local.close()
    logger.addHandler(rings)
    try:
        with pytest.raises(AlarmError):
            chain("g", only=node("only")).invoke(
                {"n": 0}, {"callbacks": [RunLogHandler(recorder=local)]}
            )
    finally:
        logger.removeHandler(rings)


def test_nested_graphs_let_it_through(recorder: Any) -> None:
    """A conversion that runs a graph of its own, whose conversion is broken off."""
    handler = RunLogHandler(recorder=recorder)
    runs = itertools.count()

    def run_inner() -> None:
        if next(runs) == 0:
            given = {"n": 0, "extra": with_dump(raising(KeyboardInterrupt()))}
            chain("inner", only=node("only")).invoke(given, {"callbacks": [handler]})

    config = with_id(handler)
    with pytest.raises(KeyboardInterrupt):
        chain("outer", only=node("only")).invoke(
            {"n": 0, "extra": with_dump(run_inner)}, config
        )
    found = {run["wpk_id"]: run["status"] for run in recorder.list_runs().runs}
    assert found == {"outer": "cancelled", "inner": "cancelled"}


@pytest.mark.long_with("postgres")
def test_ctrl_c_interrupts_a_slow_conversion(store: Store, run_python: Any) -> None:
    code = """
import os, signal, threading
from pydantic import BaseModel, field_serializer
from handler_graphs import chain, node
from runlog.hooks import RunLogHandler

class Slow(BaseModel):
    x: int
    @field_serializer("x")
    def serialize(self, value):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(60)

try:
    chain("g", only=node("only")).invoke(
        {"n": 0, "extra": Slow(x=1)}, {"callbacks": [RunLogHandler()]})
except KeyboardInterrupt:
    print("interrupted")
"""
    env = {**store.env, "PYTHONPATH": str(Path(__file__).parent)}
    done = run_python(code, env=env)
    assert done.stdout == "interrupted\n", done.stderr
