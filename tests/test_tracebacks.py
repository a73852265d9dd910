"""The tracebacks of nodes and runs: kept where the exception arose, and nowhere else."""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import time
import traceback
import uuid
import weakref
from typing import Any

import pytest
from fixtures_store import Store
from graphs import (
    INNER,
    build,
    chain,
    count,
    either,
    on_thread,
    with_checkpointer,
)
from helpers import minimal, stored
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.errors import GraphRecursionError, InvalidUpdateError
from langgraph.func import entrypoint, task
from langgraph.graph import START
from langgraph.types import RetryPolicy, interrupt

import runlog

pytestmark = pytest.mark.either_store

SECRET = "s3cr3tPassw0rd"
MARK = " [library]"


def kept(recorder: Any, config: Any) -> Any:
    assert recorder.flush()
    return stored(recorder, str(config["run_id"]))


def tracebacks(run: Any) -> list[tuple[str | None, str | None]]:
    """Each node and the last line of its traceback; the run's, whose node is None."""
    where = [(log["node"], log) for log in run["node_logs"]] + [(None, run)]
    return [
        (node, text and text.split("\n")[-1])
        for node, text in ((node, one["error_traceback"]) for node, one in where)
    ]


def folded(text: str) -> str:
    """The text without the frames of libraries."""
    lines = text.split("\n")
    marked = [n for n, line in enumerate(lines) if line.endswith(MARK)]
    left_out = {n + 1 for n in marked} | set(marked)
    return "\n".join(line for n, line in enumerate(lines) if n not in left_out)


def parallel(a: Any, b: Any) -> Any:
    """A graph of two nodes in one step."""
    return build((START, "a"), (START, "b"), a=a, b=b).compile(name="g")


def line_of(function: Any, after: int) -> int:
    return int(function.__code__.co_firstlineno) + after


def check(value: object = None) -> None:
    """What several nodes call."""
    raise ValueError(f"checked {value}")


def fail(state: Any) -> Any:
    check(state["n"])


def as_python_does(error: BaseException, frames: int) -> str:
    """Python's text of the innermost frames, without carets and LangGraph's notes."""
    stack = error.__traceback__
    for _ in range(len(list(traceback.walk_tb(stack))) - frames):
        assert stack is not None
        stack = stack.tb_next
    text = "".join(traceback.format_exception(type(error), error, stack))
    lines = text.rstrip("\n").split("\n")
    notes = getattr(error, "__notes__", [])
    return "\n".join(
        line for line in lines if line not in notes and (not line or line.strip(" ^~"))
    )


@either
def test_a_failed_node_has_the_traceback(recorder: Any, config: Any, call: Any) -> None:
    with pytest.raises(ValueError, match="checked") as error:
        call(chain(a=count, b=fail), {"n": 1}, config)
    got = kept(recorder, config)
    assert tracebacks(got) == [("a", None), ("b", "ValueError: checked 2"), (None, None)]
    text = got["node_logs"][1]["error_traceback"]
    assert folded(text) == (
        "Traceback (most recent call last):\n"
        f'  File "{__file__}", line {line_of(fail, 1)}, in fail\n'
        '    check(state["n"])\n'
        f'  File "{__file__}", line {line_of(check, 2)}, in check\n'
        '    raise ValueError(f"checked {value}")\n'
        "ValueError: checked 2"
    )
    frames = text.count('\n  File "')
    assert text.replace(MARK, "") == as_python_does(error.value, frames)
    marked = [line for line in text.split("\n") if line.endswith(MARK)]
    assert len(marked) == frames - 2
    assert marked and all(line.startswith('  File "') for line in marked)


async def test_a_coroutine_has_the_traceback(recorder: Any, config: Any) -> None:
    async def waits(state: Any) -> Any:
        fail(state)

    with pytest.raises(ValueError, match="checked"):
        await chain(a=waits).ainvoke({"n": 1}, config)
    got = kept(recorder, config)
    assert tracebacks(got) == [("a", "ValueError: checked 1"), (None, None)]
    names = folded(got["node_logs"][0]["error_traceback"]).split("\n")[1::2]
    assert [line.rsplit(" ", 1)[-1] for line in names[:3]] == ["waits", "fail", "check"]


@either
def test_through_subgraphs_it_is_kept_where_it_arose(
    recorder: Any, config: Any, call: Any
) -> None:
    middle = chain("middle", deep=count, bad=fail)
    with pytest.raises(ValueError, match="checked"):
        call(chain(top=chain("outer", sub=middle)), {"n": 1}, config)
    expected: Any = [("top", None), ("sub", None), ("deep", None)]
    expected += [("bad", "ValueError: checked 2"), (None, None)]
    assert tracebacks(kept(recorder, config)) == expected


@either
def test_through_a_node_that_calls_a_graph_it_is_kept_once(
    recorder: Any, config: Any, call: Any
) -> None:
    def calls(state: Any) -> Any:
        return chain("inner", bad=fail).invoke(state)

    with pytest.raises(ValueError, match="checked"):
        call(chain(a=calls), {"n": 1}, config)
    expected = [("a", None), ("bad", "ValueError: checked 1"), (None, None)]
    assert tracebacks(kept(recorder, config)) == expected


@either
def test_through_a_deep_stack_it_is_kept_once(
    recorder: Any, config: Any, call: Any
) -> None:
    """More frames than those by which an exception is known."""

    def nested(state: Any, depth: int = 200) -> Any:
        return nested(state, depth - 1) if depth else fail(state)

    def around(state: Any, depth: int = 200) -> Any:
        return around(state, depth - 1) if depth else graph.invoke(state)

    graph = chain("inner", bad=nested)
    with pytest.raises(ValueError, match="checked"):
        call(chain(a=around), {"n": 1}, config)
    expected = [("a", None), ("bad", "ValueError: checked 1"), (None, None)]
    assert tracebacks(kept(recorder, config)) == expected


def test_through_a_task_it_is_kept_once(recorder: Any, config: Any) -> None:
    @task
    def work(n: int) -> Any:
        check(n)

    @entrypoint()
    def flow(n: int) -> Any:
        return work(n).result()

    with pytest.raises(ValueError, match="checked"):
        flow.invoke(1, config)
    expected = [("flow", None), ("work", "ValueError: checked 1"), (None, None)]
    assert tracebacks(kept(recorder, config)) == expected


@either
def test_what_is_raised_from_it_has_its_own(
    recorder: Any, config: Any, call: Any
) -> None:
    inner = chain("inner", bad=fail)

    def calls(state: Any) -> Any:
        try:
            return inner.invoke(state)
        except ValueError as error:
            raise RuntimeError("the order is bad") from error

    with pytest.raises(RuntimeError):
        call(chain(a=calls), {"n": 1}, config)
    got = kept(recorder, config)
    expected: Any = [("a", "RuntimeError: the order is bad")]
    expected += [("bad", "ValueError: checked 1"), (None, None)]
    assert tracebacks(got) == expected
    text = got["node_logs"][0]["error_traceback"]
    assert "\n\nThe above exception was the direct cause of the following" in text
    assert text.count("ValueError: checked 1\n") == 1
    assert text.count('    raise ValueError(f"checked {value}")\n') == 1


@either
def test_a_later_exception_at_the_same_address_has_its_own(
    recorder: Any, config: Any, call: Any
) -> None:
    """Freed memory is used again: an address alone says nothing."""
    inner = chain("inner", bad=fail)
    addresses: set[int] = set()

    def calls(state: Any) -> Any:
        for _ in range(3):
            try:
                inner.invoke(state)
            except ValueError as error:
                addresses.add(id(error))
                error.__traceback__ = None
            gc.collect()
        while True:  # until one lies where another lay
            try:
                check("after all")
            except ValueError as error:
                if id(error) in addresses or len(addresses) > 100_000:
                    raise
                addresses.add(id(error))

    with pytest.raises(ValueError, match="after all"):
        call(chain(a=calls), {"n": 1}, config)
    expected: Any = [("a", "ValueError: checked after all")]
    expected += [("bad", "ValueError: checked 1")] * 3 + [(None, None)]
    assert tracebacks(kept(recorder, config)) == expected


@either
def test_each_attempt_has_its_own(recorder: Any, config: Any, call: Any) -> None:
    same = ValueError("the same object")
    left: list[Any] = [same, same, KeyError("another")]

    def flaky(state: Any) -> Any:
        if left:
            raise left.pop(0)
        return count(state)

    policy = RetryPolicy(
        initial_interval=0.001, jitter=False, max_attempts=4, retry_on=Exception
    )
    builder = build((START, "a"))
    builder.add_node("a", flaky, retry_policy=policy)
    call(builder.compile(name="g"), {"n": 1}, config)
    got = kept(recorder, config)
    assert [log["attempt"] for log in got["node_logs"]] == [1, 2, 3, 4]
    said = [text for _, text in tracebacks(got)]
    assert said[2:] == ["KeyError: 'another'", None, None]
    for log in got["node_logs"][:2]:
        assert "\nValueError: the same object" in log["error_traceback"]
        assert "    raise left.pop(0)\n" in log["error_traceback"]


@either
def test_each_attempt_of_a_subgraph_has_its_own(
    recorder: Any, config: Any, call: Any
) -> None:
    inner = chain("inner", bad=fail)

    def calls(state: Any) -> Any:
        return inner.invoke(state)

    policy = RetryPolicy(
        initial_interval=0.001, jitter=False, max_attempts=3, retry_on=Exception
    )
    builder = build((START, "a"))
    builder.add_node("a", calls, retry_policy=policy)
    with pytest.raises(ValueError, match="checked"):
        call(builder.compile(name="g"), {"n": 1}, config)
    expected = [("a", None), ("bad", "ValueError: checked 1")] * 3
    assert tracebacks(kept(recorder, config)) == [*expected, (None, None)]


def test_parallel_nodes_have_their_own(recorder: Any, config: Any) -> None:
    together = threading.Barrier(2)

    def first(state: Any) -> Any:
        together.wait(60)
        raise ValueError("first")

    def second(state: Any) -> Any:
        together.wait(60)
        raise KeyError("second")

    with pytest.raises((ValueError, KeyError)):
        parallel(first, second).invoke({"n": 1}, config)
    assert sorted(tracebacks(kept(recorder, config)), key=str) == [
        ("a", "ValueError: first"),
        ("b", "KeyError: 'second'"),
        (None, None),
    ]


@either
def test_an_exception_that_two_branches_share_is_kept_in_both(
    recorder: Any, config: Any, call: Any
) -> None:
    """One object, raised twice: each branch says where."""
    boom = ValueError("shared")

    def raises(state: Any) -> Any:
        raise boom

    def calls(state: Any) -> Any:
        for _ in range(2):
            with contextlib.suppress(ValueError):
                chain("inner", bad=raises).invoke(state)
        return count(state)

    call(chain(a=calls), {"n": 1}, config)
    got = kept(recorder, config)
    assert [node for node, text in tracebacks(got) if text] == ["bad", "bad"]


@either
def test_errors_of_the_graph_itself_are_the_runs(
    recorder: Any, config: Any, call: Any
) -> None:
    endless = build((START, "a"), ("a", "a"), a=count).compile(name="g")
    with pytest.raises(GraphRecursionError):
        call(endless, {"n": 0}, config | {"recursion_limit": 3})
    got = kept(recorder, config)
    assert [text for _, text in tracebacks(got)[:-1]] == [None] * 3
    text = got["error_traceback"]
    assert text.startswith("Traceback (most recent call last):\n  File ")
    assert "\nlanggraph.errors.GraphRecursionError: Recursion limit of 3 " in text
    assert 'langgraph/pregel/main.py"' in text


@either
def test_a_conflict_of_updates_is_the_runs(recorder: Any, config: Any, call: Any) -> None:
    with pytest.raises(InvalidUpdateError):
        call(parallel(count, count), {"n": 1}, config)
    got = kept(recorder, config)
    assert [node for node, text in tracebacks(got) if text] == [None]
    assert "langgraph.errors.InvalidUpdateError: At key 'n'" in got["error_traceback"]


@either
def test_a_failed_edge_has_it_in_its_node(recorder: Any, config: Any, call: Any) -> None:
    builder = build((START, "a"), a=count)
    builder.add_conditional_edges("a", fail, ["a"])
    with pytest.raises(ValueError, match="checked"):
        call(builder.compile(name="g"), {"n": 1}, config)
    got = kept(recorder, config)
    assert tracebacks(got) == [("a", "ValueError: checked 2"), (None, None)]


def test_a_step_over_its_time_limit_is_the_runs(recorder: Any, config: Any) -> None:
    def slow(state: Any) -> Any:
        time.sleep(3)  # langgraph waits for it, so it ends by itself
        return count(state)

    graph = chain(a=slow)
    graph.step_timeout = 1
    with pytest.raises(TimeoutError):
        for _ in graph.stream({"n": 1}, config, stream_mode="messages"):
            pass
    got = kept(recorder, config)
    assert got["error_traceback"].split("\n")[-1] == "TimeoutError: Timed out"


@either
def test_pauses_and_ends_without_error_have_none(
    recorder: Any, config: Any, call: Any
) -> None:
    def ask(state: Any) -> Any:
        return {"n": interrupt("how many?")}

    graph = with_checkpointer(build((START, "a"), a=ask))
    call(graph, {"n": 1}, on_thread(config))
    assert tracebacks(kept(recorder, config)) == [("a", None), (None, None)]


@either
def test_a_group_is_kept_whole(recorder: Any, config: Any, call: Any) -> None:
    def several(state: Any) -> Any:
        errors: list[Exception] = []
        for n in range(3):
            try:
                check(n)
            except ValueError as error:
                errors.append(error)
        raise ExceptionGroup("several", errors)

    with pytest.raises(ExceptionGroup):
        call(chain(a=several), {"n": 1}, config)
    text = kept(recorder, config)["node_logs"][0]["error_traceback"]
    assert text.startswith("  + Exception Group Traceback (most recent call last):\n")
    for n in range(3):
        assert f"\n    | ValueError: checked {n}\n" in text
    assert text.endswith("\n    +------------------------------------")


@either
def test_secrets_are_hidden(store: Store, call: Any) -> None:
    def cause(state: Any) -> Any:
        password = "s3cr3tPassw0rd"  # noqa: F841
        raise ValueError(f"postgresql://u:{SECRET}@h/db")

    def node(state: Any) -> Any:
        try:
            cause(state)
        except ValueError as error:
            later = KeyError({"api_key": SECRET})
            later.add_note(f"Authorization: Bearer {SECRET}abcdef")
            assert "s3cr3tPassw0rd" in SECRET, {"password": "s3cr3tPassw0rd"}
            raise later from error

    from runlog.hooks import RunLogHandler

    with runlog.Recorder(**store.options) as recorder:
        handler = RunLogHandler("w", recorder=recorder)
        with pytest.raises(KeyError):
            call(chain(a=node), {"n": 1}, {"callbacks": [handler]})
        assert recorder.flush()
        (listed,) = recorder.list_runs().runs
        got: Any = recorder.get_run(listed["run_id"])
        text = got["node_logs"][0]["error_traceback"]
        assert "ValueError: postgresql://u:<redacted>@h/db" in text
        assert "Authorization: Bearer <redacted>" in text
        assert "error_traceback" not in listed
    rows = store.query("SELECT * FROM workflow_runs")
    assert SECRET not in repr([*rows, *store.query("SELECT * FROM run_parts")])


@either
def test_a_long_one_is_cut_in_its_middle(recorder: Any, config: Any, call: Any) -> None:
    def long(state: Any, depth: int = 6) -> Any:
        try:
            if depth:
                long(state, depth - 1)
        finally:
            raise ValueError(f"begins {depth} " + "\u6f22" * 2000 + " ends")

    with pytest.raises(ValueError, match="begins"):
        call(chain(a=long), {"n": 1}, config)
    text = kept(recorder, config)["node_logs"][0]["error_traceback"]
    assert 16_000 < len(text.encode()) <= 16_384
    assert text.startswith("Traceback (most recent call last):\n")
    assert "ValueError: begins 0 \u6f22" in text
    assert text.endswith(" ends")
    assert "<cut: " in text


def test_an_open_run_shows_the_traceback(recorder: Any, config: Any) -> None:
    """The node failed, and the one around it goes on."""
    inner = chain("inner", bad=fail)
    seen: list[Any] = []

    def calls(state: Any) -> Any:
        try:
            return inner.invoke(state)
        except ValueError:
            seen.append(kept(recorder, config))
            return count(state)

    chain(a=calls).invoke({"n": 1}, config)
    expected = [("a", None), ("bad", "ValueError: checked 1"), (None, None)]
    assert tracebacks(seen[0]) == expected
    assert seen[0]["status"] == "running"
    assert tracebacks(kept(recorder, config)) == expected


@either
def test_neither_the_exception_nor_a_frame_is_kept_alive(
    recorder: Any, config: Any, call: Any
) -> None:
    class Mine(Exception):  # noqa: N818
        pass

    class Local:
        pass

    alive: list[Any] = []

    def raises(state: Any) -> Any:
        local = Local()
        error = Mine("x")
        alive.extend([weakref.ref(error), weakref.ref(local)])
        try:
            raise error
        finally:
            del error

    gc.collect()
    with pytest.raises(Mine):
        call(chain(a=raises), {"n": 1}, config)
    gc.collect()  # LangGraph's own cycles
    assert [ref() for ref in alive] == [None, None]
    assert "Mine: x" in kept(recorder, config)["node_logs"][0]["error_traceback"]


def test_the_text_leaves_no_cycle(recorder: Any, handler: Any) -> None:
    """Reference counts alone free the exception once its event is over."""
    from handler_graphs import begin_root

    class Mine(Exception):  # noqa: N818
        pass

    gc.collect()
    gc.disable()
    try:
        root = begin_root(handler)
        try:
            raise Mine("x")  # noqa: TRY301
        except Mine as error:
            ref = weakref.ref(error)
            handler.on_chain_error(error, run_id=root)
        assert ref() is None
    finally:
        gc.enable()
    text = stored(recorder, str(root))["error_traceback"]
    assert '    raise Mine("x")  # noqa: TRY301\n' in text


class Counted(Exception):  # noqa: N818
    """It counts how often its text is asked for."""

    times = 0

    def __init__(self, text: str = "x") -> None:
        super().__init__(text, [0] * 1_000_000)

    def __str__(self) -> str:
        type(self).times += 1
        return str(self.args[0])


@either
def test_the_text_of_an_exception_is_made_once(
    recorder: Any, config: Any, call: Any
) -> None:
    """By its tool, its node, its graph, and those around them."""

    @tool
    def fails(text: str) -> str:
        """Fails."""
        raise Counted(text)

    def calls(state: Any) -> Any:
        fails.invoke({"text": "from a tool"})

    graph = chain("inner", a=calls)
    for _ in range(3):
        graph = chain("outer", sub=graph)
    Counted.times = 0
    with pytest.raises(Counted):
        call(graph, {"n": 1}, config)
    got = kept(recorder, config)
    logs = got["node_logs"]
    assert [log["error_text"] for log in [*logs, got]] == ["from a tool"] * 5
    (of_tool,) = [one for log in logs for one in log["calls"]]
    assert of_tool["error_text"] == "from a tool"
    assert Counted.times == 1


class Unreferenced(Exception):  # noqa: N818
    """No weak reference leads to it."""

    __slots__ = ("said",)
    said: object

    def __str__(self) -> str:
        return str(self.said)


@pytest.mark.parametrize("kind", [Counted, Unreferenced, ValueError])
def test_each_exception_has_its_own_text(recorder: Any, config: Any, kind: Any) -> None:
    """Also one that lies where another one lay before."""
    number = itertools.count()
    inner = chain("inner", bad=lambda state: fails())

    def fails() -> Any:
        error = kind(f"failure {next(number)}")
        with contextlib.suppress(AttributeError):
            error.said = error.args[0]
        raise error

    def calls(state: Any) -> Any:
        for _ in range(30):
            with contextlib.suppress(kind):
                inner.invoke(state)

    chain(a=calls).invoke({"n": 1}, config)
    logs = kept(recorder, config)["node_logs"]
    said = [log["error_text"] for log in logs if log["node"] == "bad"]
    assert said == [f"failure {n}" for n in range(30)]


def test_a_state_in_an_exception_costs_what_its_text_may_have(
    recorder: Any, config: Any
) -> None:
    big = [list(range(1000))] * 20_000

    def raises(state: Any) -> Any:
        raise ValueError("bad state", {"x": big})

    start = time.process_time()
    with contextlib.suppress(ValueError):
        chain(a=raises).invoke({"n": 1}, config)
    assert time.process_time() - start < 0.3  # str() takes a second each time
    got = kept(recorder, config)
    for said in (got["error_text"], got["node_logs"][0]["error_traceback"]):
        assert "bad state" in said and "<cut: " in said


class Interrupting(ValueError):  # noqa: N818
    """Its text is interrupted by Ctrl-C."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_ctrl_c_within_the_text_reaches_the_program(recorder: Any, config: Any) -> None:
    def raises(state: Any) -> Any:
        raise ValueError("x") from Interrupting()

    with pytest.raises(KeyboardInterrupt):
        chain(a=raises).invoke({"n": 1}, config)
    got = kept(recorder, config)
    (a,) = got["node_logs"]
    assert (a["status"], a["error_text"]) == ("failed", "x")
    assert a["error_traceback"] is None
    assert got["status"] == "cancelled"


class Mute(ValueError):  # noqa: N818
    """It has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@either
def test_an_exception_without_text_is_named(
    recorder: Any, config: Any, call: Any
) -> None:
    def raises(state: Any) -> Any:
        raise ValueError("x") from Mute()

    with pytest.raises(ValueError, match="x"):
        call(chain(a=raises), {"n": 1}, config)
    text = kept(recorder, config)["node_logs"][0]["error_traceback"]
    assert "Mute: <unserializable Mute>\n\nThe above exception" in text
    assert text.endswith("\nValueError: x")


@either
def test_a_run_after_a_failed_one_has_none(recorder: Any, config: Any, call: Any) -> None:
    with pytest.raises(ValueError, match="checked"):
        call(chain(a=fail), {"n": 1}, config)
    expected = [("a", "ValueError: checked 1"), (None, None)]
    assert tracebacks(kept(recorder, config)) == expected
    second = config | {"run_id": uuid.uuid4()}
    call(chain(a=INNER), {"n": 1}, second)
    assert [text for _, text in tracebacks(kept(recorder, second))] == [None] * 3


@either
def test_a_chain_of_no_graph_has_it_in_its_node(recorder: Any, call: Any) -> None:
    from runlog.hooks import RunLogHandler

    config: Any = {
        "callbacks": [RunLogHandler(recorder=recorder, roots="all")],
        "run_id": uuid.uuid4(),
    }
    chain_of_two = RunnableLambda(count) | RunnableLambda(fail)
    with pytest.raises(ValueError, match="checked"):
        call(chain_of_two, {"n": 1}, config)
    ((_, said), whole) = tracebacks(kept(recorder, config))
    assert (said, whole) == ("ValueError: checked 2", (None, None))


# log_run


def test_log_run_takes_a_traceback(recorder: Any, store: Store) -> None:
    text = 'Traceback (most recent call last):\n  File "a", line 1, in f\nE: x \u6f22\0'
    given = minimal(status="failed", error_traceback=text, error_text="x")
    recorder.log_run(given)
    got = stored(recorder)
    assert got["error_traceback"] == text.replace("\0", "\ufffd")
    assert not got["metadata"]
    (listed,) = recorder.list_runs().runs
    assert "error_traceback" not in listed
    recorder.log_run(minimal())
    assert stored(recorder)["error_traceback"] is None, "it belongs to the status"
    recorder.log_run(minimal("r2", error_traceback=None))
    assert stored(recorder, "r2")["error_traceback"] is None
    recorder.log_run(minimal("r3", error_traceback=ValueError(f"password={SECRET}")))
    assert stored(recorder, "r3")["error_traceback"] == "password=<redacted>"


def test_a_traceback_of_log_run_is_capped(recorder: Any) -> None:
    recorder.log_run(minimal("r1", error_traceback="\u6f22" * 100_000))
    recorder.log_run(minimal("r2", error_traceback="x" * 16_384))
    got = stored(recorder, "r1")["error_traceback"]
    assert 16_200 < len(got.encode()) <= 16_384
    assert "<cut: " in got and got.startswith("\u6f22") and got.endswith("\u6f22")
    assert stored(recorder, "r2")["error_traceback"] == "x" * 16_384
