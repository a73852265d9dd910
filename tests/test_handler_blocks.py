"""Blocks of recording() that are entered in one context and left in another."""

import asyncio
import contextlib
import contextvars
import gc
import importlib
import importlib.util
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from child_env import child_env
from conftest import RunPython
from handler_graphs import two_nodes

import runlog
from runlog import hooks
from runlog._blocks import registry

TESTS = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def no_block_stays_open() -> Iterator[None]:
    yield
    hooks.uninstall()
    assert registry.blocks == 0


def graph() -> Any:
    return two_nodes()


def names() -> list[str]:
    """The workflows of the recorded runs, oldest first."""
    assert runlog.flush(60)
    return [run["wpk_id"] for run in runlog.list_runs().runs][::-1]


def over() -> None:
    """Nothing more is recorded here."""
    before = names()
    graph().invoke({"n": 0})
    assert names() == before


async def body(name: str = "sse") -> AsyncIterator[Any]:
    with hooks.recording(name):
        async for chunk in graph().astream({"n": 0}):
            yield chunk


async def take_all(items: Any) -> None:
    async for _ in items:
        pass


async def test_an_async_generator_is_finished_by_another_task() -> None:
    items = body()
    await asyncio.create_task(anext(items))  # type: ignore[arg-type]
    await asyncio.create_task(take_all(items))
    assert names() == ["sse"]
    over()


async def test_an_async_generator_is_closed_by_another_task() -> None:
    items = body()
    await anext(items)  # in this context, in which it must be over afterwards
    await asyncio.create_task(items.aclose())  # type: ignore[attr-defined]
    assert names() == ["sse"]
    over()


async def test_an_async_generator_is_collected() -> None:
    async def first() -> None:
        async for _ in body():
            return

    await first()
    gc.collect()
    while registry.blocks or not names():  # the graph's own generator ends after body's
        await asyncio.sleep(0)
    assert names() == ["sse"]
    over()


def test_a_generator_is_run_by_threads() -> None:
    """As a server iterates over a generator: each step in some thread, in a copy."""

    def steps() -> Iterator[Any]:
        with hooks.recording("steps"):
            yield from graph().stream({"n": 0})

    items = steps()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        for pool in (first, second, first):
            context = contextvars.copy_context()
            pool.submit(context.run, lambda: next(items, None)).result()
    assert names() == ["steps"]
    over()


def test_a_dependency_is_entered_and_left_in_copies_of_a_context() -> None:
    """As FastAPI runs a generator that is no coroutine."""

    @contextlib.contextmanager
    def dependency() -> Iterator[Any]:
        with hooks.recording("dependency") as handler:
            yield handler

    block = dependency()
    with ThreadPoolExecutor(1) as pool:
        entered, left = contextvars.copy_context(), contextvars.copy_context()
        handler = pool.submit(entered.run, block.__enter__).result()
        graph().invoke({"n": 0})  # in no block: the copy is gone
        graph().invoke({"n": 0}, {"callbacks": [handler]})
    left.run(block.__exit__, None, None, None)
    assert names() == ["dependency"]
    for context in (entered, left):
        context.run(over)
    over()


async def test_an_async_dependency_holds_for_what_is_called_meanwhile() -> None:
    @contextlib.asynccontextmanager
    async def dependency() -> AsyncIterator[None]:
        with hooks.recording("request"):
            yield

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(dependency())
        await graph().ainvoke({"n": 0})
        await asyncio.to_thread(graph().invoke, {"n": 0})
    assert names() == ["request"] * 2
    over()


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_blocks_end_in_any_order(order: str) -> None:
    blocks = {name: hooks.recording(name) for name in "ab"}
    for block in blocks.values():
        block.__enter__()
    graph().invoke({"n": 0})
    blocks[order[0]].__exit__(None, None, None)
    graph().invoke({"n": 0})
    blocks[order[1]].__exit__(None, None, None)
    assert names() == ["b", order[1]]
    over()


def test_blocks_of_a_stack_that_another_context_closes() -> None:
    stack = contextlib.ExitStack()
    for name in "abc":
        stack.enter_context(hooks.recording(name))
    graph().invoke({"n": 0})
    contextvars.copy_context().run(stack.close)
    assert names() == ["c"]
    over()


def test_one_block_object_is_used_again_and_within_itself() -> None:
    block = hooks.recording("again")
    with block, block:
        graph().invoke({"n": 0})
    with block:
        graph().invoke({"n": 0})
    block.__exit__(None, None, None)  # once too often
    assert names() == ["again"] * 2
    over()


async def test_two_tasks_are_in_one_block_object() -> None:
    block = hooks.recording("shared")
    entered, left = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        with block:
            await entered.wait()
        over()
        left.set()

    async def second() -> None:
        with block:
            entered.set()
            await left.wait()
            await graph().ainvoke({"n": 0})

    await asyncio.gather(first(), second())
    assert names() == ["shared"]
    over()


def test_two_threads_are_in_one_block_object() -> None:
    block = hooks.recording("shared")
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        first.submit(block.__enter__).result()
        second.submit(block.__enter__).result()
        first.submit(block.__exit__).result()
        first.submit(over).result()
        second.submit(graph().invoke, {"n": 0}).result()
        assert names() == ["shared"]
        second.submit(block.__exit__).result()
        second.submit(over).result()


def test_a_decorated_function_is_recorded() -> None:
    @hooks.recording("decorated")
    def work(depth: int) -> None:
        graph().invoke({"n": 0})
        if depth:
            work(depth - 1)

    threads = [threading.Thread(target=work, args=(1,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names() == ["decorated"] * 6
    over()


async def test_decorated_functions_of_every_kind_are_recorded() -> None:
    """What they do comes after the call, and goes through as without the block."""

    @hooks.recording("coroutine")
    async def answer() -> Any:
        return (await graph().ainvoke({"n": 0}))["n"]

    @hooks.recording("generator")
    def items() -> Any:
        graph().invoke({"n": 0})
        try:
            got = yield 1
        except KeyError:
            got = yield 2
        return got

    @hooks.recording("async generator")
    async def async_items() -> Any:
        await graph().ainvoke({"n": 0})
        try:
            got = yield 1
            yield got
        except KeyError:
            yield 2
        finally:
            closed.append(True)

    closed: list[bool] = []
    assert await answer() == 2
    over()
    made = items()
    assert next(made) == 1
    assert made.throw(KeyError()) == 2
    with pytest.raises(StopIteration, match="sent"):
        made.send("sent")
    over()
    for step in ("send", "throw", "close", "end"):
        made = async_items()
        assert await anext(made) == 1
        if step == "send":
            assert await made.asend("sent") == "sent"
        elif step == "throw":
            assert await made.athrow(KeyError()) == 2
        elif step == "close":
            await made.aclose()
        await take_all(made)
        assert closed.pop() is True
    over()
    assert names() == ["coroutine", "generator", *["async generator"] * 4]
    functions = (answer, items, async_items)
    assert [one.__name__ for one in functions] == ["answer", "items", "async_items"]
    assert inspect.iscoroutinefunction(answer)
    assert inspect.isgeneratorfunction(items)
    assert inspect.isasyncgenfunction(async_items)


async def test_blocks_that_others_end_are_forgotten() -> None:
    """A task may begin any number of blocks that end in other contexts."""

    async def begin() -> Any:
        items = body()
        await anext(items)
        return items

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):  # one after the other
            items = await begin()
            await asyncio.create_task(items.aclose())
            assert len(registry.variable.get()) == 1
        for _ in range(3):  # each begins before the one before it ends
            before, items = items, await begin()
            await asyncio.create_task(before.aclose())
            assert len(registry.variable.get()) <= 2
        stack.push_async_callback(items.aclose)
    assert registry.variable.get() == ()


async def test_a_task_that_copied_the_context_stays_in_the_block() -> None:
    go_on = asyncio.Event()

    async def later() -> None:
        await go_on.wait()
        with hooks.recording("own"):
            await graph().ainvoke({"n": 0})
        await graph().ainvoke({"n": 0})

    with hooks.recording("outer"):
        task = asyncio.create_task(later())
    go_on.set()
    await task
    assert names() == ["own", "outer"]
    over()


def test_an_exception_in_the_block_stays_as_it_is() -> None:
    block = hooks.recording("fails")
    context = contextvars.copy_context()
    context.run(block.__enter__)
    with pytest.raises(KeyError), contextlib.ExitStack() as stack:
        stack.push(block)
        raise KeyError
    context.run(over)


# The module's own life


def install_twice(module: Any) -> Any:
    module.install()
    module.install()
    return module


def reloaded() -> Any:
    return importlib.reload(hooks)


def under_another_name() -> Any:
    spec = importlib.util.spec_from_file_location("hooks_again", hooks.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def imported_anew() -> Any:
    before = sys.modules.pop("runlog.hooks")
    try:
        return importlib.import_module("runlog.hooks")
    finally:
        sys.modules["runlog.hooks"] = before


ANEW = [reloaded, under_another_name, imported_anew]


@pytest.mark.parametrize("again", ANEW)
def test_a_second_module_hooks_once_and_uninstalls(again: Callable[[], Any]) -> None:
    install_twice(hooks)
    graph().invoke({"n": 0})
    module = install_twice(again())
    graph().invoke({"n": 0})
    assert names() == ["g"] * 2
    module.uninstall()
    over()
    module.install()
    hooks.uninstall()
    over()


@pytest.mark.parametrize("again", ANEW)
def test_a_block_of_the_module_before_ends(again: Callable[[], Any]) -> None:
    block = hooks.recording("before")
    block.__enter__()
    module = again()
    with module.recording("after"):
        graph().invoke({"n": 0})
    graph().invoke({"n": 0})
    block.__exit__(None, None, None)
    assert names() == ["after", "before"]
    over()


@pytest.mark.long
def test_every_module_of_runlog_is_imported_anew(run_python: RunPython) -> None:
    done = run_python(
        "import sys\n"
        "from handler_graphs import two_nodes\n"
        "from runlog import hooks\n"
        "hooks.install()\n"
        "for name in [n for n in sys.modules if n.partition('.')[0] == 'runlog']:\n"
        "    del sys.modules[name]\n"
        "import runlog\n"
        "from runlog import hooks\n"
        "hooks.install()\n"
        "two_nodes().invoke({'n': 0})\n"
        "hooks.uninstall()\n"
        "two_nodes().invoke({'n': 0})\n"
        "print(len(runlog.list_runs().runs))\n",
        env={"PYTHONPATH": TESTS},
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_a_forked_child_installs_and_uninstalls(run_python: RunPython) -> None:
    """Also when another thread of the parent is installing at the fork."""
    done = run_python(
        "import os, sys\n"
        "from handler_graphs import two_nodes\n"
        "import runlog\n"
        "from runlog import _blocks, hooks\n"
        "hooks.install()\n"
        "_blocks.registry.lock.acquire()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    hooks.uninstall()\n"
        "    with hooks.recording('child'):\n"
        "        two_nodes().invoke({'n': 0})\n"
        "    two_nodes().invoke({'n': 0})\n"
        "    runlog.close()\n"
        "    os._exit(0)\n"
        "_blocks.registry.lock.release()\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "two_nodes().invoke({'n': 0})\n"
        "print(sorted(run['wpk_id'] for run in runlog.list_runs().runs))\n",
        env={"PYTHONPATH": TESTS},
    )
    assert (done.stdout, done.returncode) == ("['child', 'g']\n", 0), done.stderr


@pytest.mark.long_with("_hook")
@pytest.mark.parametrize("step", ["_hook", "_unhook"])
def test_a_finalizer_may_end_a_block_at_any_moment(
    run_python: RunPython, step: str
) -> None:
    """Also while its thread is registering: the collector runs between any two steps."""
    done = run_python(
        "import faulthandler, signal, sys\n"
        "from handler_graphs import two_nodes\n"
        "import runlog\n"
        "from runlog import hooks\n"
        "faulthandler.dump_traceback_later(60, exit=True)\n"
        "def generate():\n"
        "    with hooks.recording('abandoned'):\n"
        "        yield\n"
        "kept = [generate()]\n"
        "next(kept[0])\n"
        "def look(frame, event, arg):\n"
        "    if event == 'call' and frame.f_code.co_name == sys.argv[1]:\n"
        "        sys.setprofile(None)\n"
        "        signal.raise_signal(signal.SIGUSR1)\n"
        "signal.signal(signal.SIGUSR1, lambda *_: kept.clear())\n"
        "sys.setprofile(look)\n"
        "with hooks.recording('kept'):\n"
        "    two_nodes().invoke({'n': 0})\n"
        "two_nodes().invoke({'n': 0})\n"
        "names = [run['wpk_id'] for run in runlog.list_runs().runs]\n"
        "print(names, kept, hooks.registry.blocks)\n",
        step,
        env={"PYTHONPATH": TESTS},
    )
    assert (done.stdout, done.returncode) == ("['kept'] [] 0\n", 0), done.stderr


@pytest.mark.long
def test_pytest_loads_the_module_as_a_plugin(tmp_path: Any) -> None:
    (tmp_path / "test_recorded.py").write_text(
        "import importlib\n"
        "import pytest, runlog\n"
        "from handler_graphs import two_nodes\n"
        "from runlog import hooks\n"
        "@pytest.fixture\n"
        "def block():\n"
        "    with hooks.recording('fixture'):\n"
        "        yield\n"
        "def test_in_a_block(block):\n"
        "    two_nodes().invoke({'n': 0})\n"
        "def test_in_the_process():\n"
        "    importlib.reload(hooks)\n"
        "    two_nodes().invoke({'n': 0})\n"
        "    found = [run['wpk_id'] for run in runlog.list_runs().runs]\n"
        "    assert sorted(found) == ['fixture', 'g']\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "runlog.hooks",
            "-p",
            "no:cacheprovider",
        ],
        cwd=tmp_path,
        env=child_env({"RUNLOG_TRACING": "1", "PYTHONPATH": TESTS}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
