"""Python's memory: nothing is used that the user's code may have dropped, and nothing is
kept alive that nobody uses.

The values here change, while they are read, whatever holds them. AddressSanitizer (make
test-asan) shows what would still be used.
"""

import collections
import contextlib
import dataclasses
import enum
import gc
import subprocess
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest
from handler_graphs import begin_root, chain, node, uuid7
from helpers import minimal
from langgraph.errors import GraphInterrupt

import runlog
from runlog import _default, hooks
from runlog._runlog import encode_json
from runlog.hooks import RunLogHandler

Act = Callable[[], Any]


@pytest.fixture
def local(tmp_path: Path) -> Any:
    """A recorder, where it does not matter which database."""
    with runlog.Recorder(sqlite_path=str(tmp_path / "local.db")) as made:
        yield made


def fresh(text: str = "text") -> str:
    """A str that nobody else has."""
    return "".join([text, "-", str(uuid.uuid4())])


# Objects that act while they are looked at


class SpokenError(Exception):
    """Acts when its text is asked for."""

    def __init__(self, act: Act) -> None:
        super().__init__()
        self.act = act

    def __str__(self) -> str:
        self.act()
        return fresh()


class Hashed:
    """A key that acts when it is hashed or compared, once it is `armed`."""

    armed = False

    def __init__(self, act: Act, as_hash: Any = 7) -> None:
        self.act = act
        self.as_hash = hash(as_hash)

    def __hash__(self) -> int:
        if self.armed:
            self.act()
        return self.as_hash

    def __eq__(self, other: object) -> bool:
        if self.armed:
            self.act()
        return self is other


class Dying:
    """Acts when it is collected: it is in a cycle."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.cycle = self

    def __del__(self) -> None:
        self.act()


class Posing(GraphInterrupt):
    """Has no arguments any more once its class was asked for so many times."""

    left = 0

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        self.left -= 1
        if self.left == 0:
            self.args = ()
        return Posing


class Attributes(SimpleNamespace):
    """Acts before an attribute is given."""

    def __getattribute__(self, name: str) -> Any:
        acts = super().__getattribute__("__dict__").get("acts", {})
        if name in acts:
            acts[name]()
        return super().__getattribute__(name)


def start(handler: RunLogHandler, inputs: Any, **more: Any) -> uuid.UUID:
    """A graph begins, by an event made by hand."""
    run_id = uuid7()
    metadata = more.pop("metadata", {})
    metadata["ls_integration"] = "langgraph"
    given = {"parent_run_id": None, "tags": [], "name": "g"} | more
    handler.on_chain_start(
        None,  # type: ignore[arg-type]
        inputs,
        run_id=run_id,
        metadata=metadata,
        **given,
    )
    return run_id


# What an event borrows


def drop_thread_id(handler: Any) -> None:
    metadata: dict[str, Any] = {"thread_id": fresh()}
    start(handler, SpokenError(metadata.clear), metadata=metadata)


def drop_names(handler: Any) -> None:
    metadata: dict[str, Any] = {
        "thread_id": fresh(),
        "wpk_id": SpokenError(lambda: metadata.pop("wpk_id", None)),
    }
    start(handler, {}, metadata=metadata, name=fresh())


def drop_tags(handler: Any) -> None:
    tags: list[Any] = [fresh() for _ in range(50)]
    metadata: dict[Any, Any] = {}
    key = Hashed(lambda: [one.clear() for one in (tags, metadata)])
    metadata |= {key: fresh(), "a": fresh()}
    key.armed = True
    start(handler, {}, metadata=metadata, tags=tags)


def drop_metadata_by_comparing(handler: Any) -> None:
    for name in ("thread_id", "wpk_id", "langgraph_checkpoint_ns", "ls_integration"):
        metadata: dict[Any, Any] = {"langgraph_step": int("9" * 30)}
        key = Hashed(metadata.clear, as_hash=name)
        metadata |= {key: fresh(), name: fresh()}
        key.armed = True
        start(handler, {}, metadata=metadata)


def drop_node_inputs(handler: Any) -> None:
    inputs: dict[Any, Any] = {}
    inputs |= {"a": SpokenError(inputs.clear), "b": [fresh()], "c": {"d": fresh()}}
    root = begin_root(handler)
    metadata = {"langgraph_checkpoint_ns": fresh("n:1"), "langgraph_step": 1}
    inputs["e"] = SpokenError(metadata.clear)
    start(handler, inputs, parent_run_id=root, metadata=metadata, name=fresh())


def drop_arguments_of_an_error(handler: Any) -> None:
    for left in range(1, 8):
        error = Posing([])
        error.args = (Attributes(id=fresh(), value=fresh()),)
        error.left = left
        handler.on_chain_error(error, run_id=begin_root(handler))


def drop_interrupts(handler: Any) -> None:
    root = begin_root(handler)
    interrupts = [Attributes(id=fresh(), value=fresh(), acts={}) for _ in range(9)]
    for one in interrupts:
        one.acts = {"id": interrupts.clear, "value": one.__dict__.clear}
    handler.on_interrupt(SimpleNamespace(run_id=root, interrupts=interrupts))


def end_within_an_event(handler: Any) -> None:
    """The graph ends, its recorder goes, and another begins, in the middle of each."""

    roots = []

    def begin() -> Any:
        roots.append(begin_root(handler))
        return roots[-1]

    def act() -> None:
        while roots:
            handler.on_chain_end({}, run_id=roots.pop())
        runlog.configure(sqlite_path=f"{fresh()}.db")
        begin()
        gc.collect()

    event = Attributes(run_id=begin(), interrupts=[fresh()], acts={"interrupts": act})
    handler.on_interrupt(event)
    handler.on_chain_end({"a": SpokenError(act)}, run_id=begin())
    roots.append(start(handler, {"a": SpokenError(act)}))
    metadata = {"langgraph_checkpoint_ns": "n:1", "langgraph_step": 1}
    start(handler, SpokenError(act), parent_run_id=roots[-1], metadata=metadata)


def drop_generations(handler: Any) -> None:
    root = begin_root(handler)
    call = uuid7()
    metadata = {"ls_integration": "langgraph"}
    handler.on_chat_model_start(
        {}, [[]], run_id=call, parent_run_id=root, metadata=metadata
    )
    generations: list[Any] = []
    message = Attributes(usage_metadata={"input_tokens": 3}, response_metadata={})
    message.acts = {"usage_metadata": generations.clear}
    one = Attributes(message=message)
    one.acts = {"message": lambda: generations[0].clear() if generations else None}
    generations += [[one], [one]]
    output = {"model_name": fresh()}
    result = Attributes(generations=generations, llm_output=output)
    message.acts["response_metadata"] = output.clear
    handler.on_llm_end(result, run_id=call)


def initialise_again(handler: Any) -> None:
    def act() -> None:
        runlog.configure(sqlite_path=f"{fresh()}.db")
        handler.__init__(fresh(), node_inputs="full")
        gc.collect()

    handler.__init__(fresh())
    root = start(handler, {"a": SpokenError(act)}, metadata={"m": SpokenError(act)})
    handler.on_chain_end({"a": SpokenError(act)}, run_id=root)


EVENTS = [
    drop_thread_id,
    drop_names,
    drop_tags,
    drop_metadata_by_comparing,
    drop_node_inputs,
    drop_arguments_of_an_error,
    drop_interrupts,
    end_within_an_event,
    drop_generations,
    initialise_again,
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("interval", [0, None])
def test_an_event_outlives_what_it_came_with(
    tmp_path: Path, event: Any, interval: Any
) -> None:
    runlog.configure(sqlite_path=str(tmp_path / "default.db"))
    handler = RunLogHandler(checkpoint_interval=interval)
    event(handler)
    root = begin_root(handler)
    handler.on_chain_end({"n": 1}, run_id=root)
    found = runlog.get_run(str(root))
    assert found is not None
    assert found["outputs"] == {"n": 1}


def test_the_thread_id_is_the_one_of_the_start(local: Any) -> None:
    metadata = {"thread_id": "first"}

    def act() -> None:
        metadata["thread_id"] = "other"

    handler = RunLogHandler("w", recorder=local)
    root = start(handler, SpokenError(act), metadata=metadata)
    handler.on_chain_end({}, run_id=root)
    assert local.list_runs().runs[0]["thread_id"] == "first"


# What the encoder borrows


def of_list() -> Any:
    value: list[Any] = []
    value += [SpokenError(value.clear), fresh(), [fresh()]]
    return value


def of_dict() -> Any:
    value: dict[Any, Any] = {}
    value |= {"a": SpokenError(value.clear), "b": fresh()}
    value[SpokenError(value.clear)] = [fresh()]
    return value


def of_deque() -> Any:
    value: collections.deque[Any] = collections.deque()
    value += [SpokenError(value.clear), fresh()]
    return value


def of_bases() -> Any:
    """The metaclass changes the bases, and so the mro that is walked."""

    class Meta(type):
        armed = False

        def __getattribute__(cls, name: str) -> Any:
            if name == "__qualname__" and Meta.armed:
                Meta.armed = False
                Thing.__bases__ = (Other,)
                gc.collect()
            return super().__getattribute__(name)

    class Base(metaclass=Meta):
        pass

    class Other(metaclass=Meta):
        pass

    class Thing(Base):
        pass

    Meta.armed = True
    return Thing()


def of_class() -> Any:
    """The value gets another class, and its own one is gone."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            if values and cls is Plain:  # after Thing, which nobody uses then
                values.pop().__class__ = Plain
                gc.collect()
            return super().__getattribute__(name)

    class Plain(metaclass=Meta):
        pass

    def make() -> Any:
        return Meta("Thing", (Plain,), {})()

    values: list[Any] = []
    value = make()
    values.append(value)
    return value


def of_dataclass() -> Any:
    table: dict[str, Any] = {}
    for _ in range(9):
        kind = Attributes(name="_FIELD", acts={"name": table.clear})
        field = Attributes(_field_type=kind, acts={"_field_type": table.clear})
        table[fresh()] = field
    return type("Thing", (), {"__dataclass_fields__": table})()


def of_namedtuple() -> Any:
    class Name(str):
        __slots__ = ("owner",)

    return type("Thing", (tuple,), {"_fields": [Name("a")], "a": fresh()})((1,))


def of_model() -> Any:
    """Its fields and their metadata go while they are looked at."""

    class Model(pydantic.BaseModel):
        a: int = 1
        b: int = 2

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            metadata.clear()
            Model.__pydantic_fields__.clear()
            return super().__getattribute__(name)

    class Item(metaclass=Meta):
        pass

    metadata = Model.__pydantic_fields__["a"].metadata
    value = Model()
    metadata += [Item(), Item(), Item()]
    return value


def of_names() -> Any:
    """Other types fill the cache while the fields of this one are read."""

    def crowd() -> None:
        for _ in range(40):
            encode_json(
                dataclasses.make_dataclass("Other", [fresh().replace("-", "_")])(1)
            )

    @dataclasses.dataclass
    class Point:
        x: Any
        y: int = 2

        def __getattribute__(self, name: str) -> Any:
            if name == "x":
                crowd()
            return super().__getattribute__(name)

    return Point(1)


VALUES = [
    of_list,
    of_dict,
    of_deque,
    of_bases,
    of_class,
    of_dataclass,
    of_namedtuple,
    of_model,
    of_names,
]


@contextlib.contextmanager
def collecting() -> Iterator[None]:
    """Garbage is looked for at every allocation."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize("make", VALUES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("cap", [1024, 1 << 20])
def test_a_value_may_drop_its_own_parts(make: Any, cap: int) -> None:
    with collecting():
        assert encode_json([make()], max_payload=cap).startswith(b"[")
        text = encode_json([make(), "x" * 2000], max_payload=cap)
    assert len(text) < 1 << 20


def test_an_exception_for_long_digits_may_collect_garbage() -> None:
    digits = 20_000
    value = [1 << digits, 1 << digits]
    given = [value]

    def act(phase: str, info: Any) -> None:
        value.clear()

    gc.callbacks.append(act)
    try:
        with collecting():
            text = encode_json(given)
    finally:
        gc.callbacks.remove(act)
    assert text.count(b"0x1" + b"0" * 5000) in (0, 1, 2)


def test_a_run_may_drop_its_own_fields(local: Any) -> None:
    run: dict[Any, Any] = minimal(inputs=[fresh()])
    key = Hashed(run.clear)
    run |= {key: fresh(), "more": fresh(), "metadata": {"a": fresh()}}
    key.armed = True
    assert local.log_run(run) == "r1"
    run |= minimal(inputs=SpokenError(run.clear), outputs=fresh(), thread_id=fresh())
    assert local.log_run(run) == "r1"


# What is collected


class Text(str):
    """A name that can lead anywhere."""

    __slots__ = ("__dict__", "__weakref__")


def make_recorder() -> Any:
    return runlog.Recorder(sqlite_path=f"{fresh()}.db")


def recorder_with_its_handler() -> Any:
    recorder = make_recorder()
    recorder.handler = RunLogHandler(recorder=recorder)
    return recorder


def handler_with_itself() -> Any:
    handler: Any = RunLogHandler()
    handler.itself = [handler]
    return handler


def handler_with_its_name() -> Any:
    name: Any = Text("w")
    name.handler = handler = RunLogHandler(name)
    return handler


def handler_that_was_used() -> Any:
    recorder = recorder_with_its_handler()
    given = {"callbacks": [recorder.handler], "metadata": {"a": {"b": 1}}, "tags": ["t"]}
    chain("g", only=node("only")).invoke({"n": 0, "extra": ["x" * 9000]}, given)
    return recorder.handler


def default_recorder_with_a_handler() -> Any:
    """Which knows the recorder as the one that it used last."""
    runlog.configure(sqlite_path=f"{fresh()}.db")
    handler = RunLogHandler()
    chain("g", only=node("only")).invoke({"n": 0}, {"callbacks": [handler]})
    recorder: Any = _default.default_recorder()
    recorder.handler = handler
    runlog.close()
    return recorder


def recorder_with_callbacks() -> Any:
    recorder: Any = make_recorder()
    recorder.calls = [recorder.log_run, recorder.alog_run, hooks.on_workflow_complete]
    return recorder


def handler_of_a_subclass() -> Any:
    class Mine(RunLogHandler):
        pass

    recorder: Any = make_recorder()
    recorder.handler = handler = Mine(recorder=recorder)
    return handler


def prepared_run() -> Any:
    run_id: Any = Text("r1")
    recorder: Any = make_recorder()
    run_id.recorder = recorder
    recorder.prepared = run_id.prepared = recorder.prepare(minimal(run_id))
    return run_id


def error_of_a_conversion() -> Any:
    class Stop(BaseException):
        pass

    def act() -> None:
        raise error

    error: Any = Stop()
    recorder = make_recorder()
    with pytest.raises(Stop):
        recorder.log_run(minimal(inputs=SpokenError(act)))
    error.recorder = recorder
    return error


CYCLES = [
    recorder_with_its_handler,
    handler_with_itself,
    handler_with_its_name,
    handler_that_was_used,
    default_recorder_with_a_handler,
    recorder_with_callbacks,
    handler_of_a_subclass,
    prepared_run,
    error_of_a_conversion,
]


@pytest.mark.parametrize("make", CYCLES, ids=lambda make: make.__name__)
def test_a_cycle_is_collected(make: Any) -> None:
    found = [weakref.ref(make()) for _ in range(3)]
    gc.collect()
    assert [reference() for reference in found] == [None] * 3


def test_a_handler_that_was_saved_from_collection_works(local: Any) -> None:
    """By a finalizer of another object of its cycle."""
    saved: list[Any] = []
    handler: Any = RunLogHandler("w", recorder=local)
    handler.saver = Dying(lambda: saved.append(holder[0]()))
    holder = [weakref.ref(handler)]
    handler.saver.handler = handler
    handler.saver.act = lambda self=handler.saver: saved.append(self.handler)
    del handler
    gc.collect()
    (handler,) = saved
    chain("g", only=node("only")).invoke({"n": 0}, {"callbacks": [handler]})
    assert [run["wpk_id"] for run in local.list_runs().runs] == ["w"]
    handler.saver = None


def test_nobody_can_replace_the_objects_of_a_handler(local: Any) -> None:
    handler = RunLogHandler("w", recorder=local)
    assert not [name for name in dir(handler) if "runlog" in name]


# Classes made at run time


def plain_class() -> Any:
    return type("Made", (), {})()


def mapping_class() -> Any:
    return type("Made", (collections.UserDict,), {})(a=1)


def model_class() -> Any:
    return pydantic.create_model("Made", a=(int, 1))()


def dataclass_class() -> Any:
    return dataclasses.make_dataclass("Made", ["a"])(1)


def tuple_class() -> Any:
    make: Any = collections.namedtuple  # noqa: PYI024
    return make("Made", ["a"])(1)


def enum_class() -> Any:
    make: Any = enum.Enum
    return make("Made", ["A"]).A


def error_class() -> Any:
    return type("Made", (Exception,), {})("text")


def named_by_itself() -> Any:
    """Its fields' names lead back to it."""
    name: Any = Text("a")
    name.cls = made = type("Made", (tuple,), {"_fields": [name], "a": 1})
    return made((1,))


CLASSES = [
    plain_class,
    mapping_class,
    model_class,
    dataclass_class,
    tuple_class,
    enum_class,
    error_class,
    named_by_itself,
]


@pytest.mark.parametrize("make", CLASSES, ids=lambda make: make.__name__)
def test_classes_that_nobody_uses_are_freed(local: Any, make: Any) -> None:
    handler = RunLogHandler(recorder=local)
    classes = []
    for _ in range(20):
        value = make()
        classes.append(weakref.ref(type(value)))
        root = begin_root(handler, extra=[value])
        handler.on_chain_end({"extra": value}, run_id=root)
    del value
    gc.collect()
    assert [reference() for reference in classes] == [None] * 20


def test_a_class_at_the_address_of_another_is_told_from_it() -> None:
    for _ in range(30):
        assert encode_json(dataclasses.make_dataclass("A", ["a"])(1)) == b'{"a":1}'
        assert encode_json(dataclasses.make_dataclass("B", ["b"])(2)) == b'{"b":2}'
        assert encode_json(type("C", (), {"__module__": "m"})()) == b'"<m.C>"'


# The whole of it under the strictest allocator

STRICT = """
import gc
from handler_graphs import chain, node
import runlog
from runlog.hooks import RunLogHandler
gc.freeze()
gc.set_threshold(1)
handler = RunLogHandler(checkpoint_interval=0)
graph = chain("g", first=node("first"), second=node("second"))
for n in range(2):
    graph.invoke({"n": n, "extra": [{"x": "y" * 9000}]}, {"callbacks": [handler]})
print(len(runlog.list_runs().runs), runlog.stats()["handler_errors"])
"""


def test_graphs_under_a_strict_allocator(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    env = {
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTHONMALLOC": "debug",
        "PYTHONDEVMODE": "1",
    }
    done = run_python(STRICT, env=env)
    assert (done.stdout, done.returncode) == ("2 0\n", 0), done.stderr
