"""What runlog imports at a first use: a fork in another thread meanwhile does no harm."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import RunPython
from fixtures_store import Store

ROOT = Path(__file__).parent.parent
APART = {"_advice.py", "cli", "views", "web", "__main__.py"}
"""What never runs on a thread that records: a failing import, and the command line."""


def bare_imports(node: ast.AST, inside: bool = False) -> Iterator[int]:
    """Lines of imports within functions that do not hold the lock of runlog._imports."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            if inside:
                yield child.lineno
        elif isinstance(child, ast.With) and "importing" in ast.unparse(child.items[0]):
            continue
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from bare_imports(child, inside or function)


def test_no_function_imports_without_the_lock() -> None:
    files = [p for p in (ROOT / "runlog").glob("*.py") if p.name not in APART]
    found = {p.name: list(bare_imports(ast.parse(p.read_text()))) for p in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_bare_imports_are_found() -> None:
    text = "import a\ndef f():\n    import b\n    with importing:\n        import c\n"
    assert list(bare_imports(ast.parse(text))) == [3]


def test_the_extension_imports_with_the_lock() -> None:
    """_collections_abc is loaded before any program runs."""
    found = {
        (path.name, name)
        for path in (ROOT / "src").rglob("*.[ch]")
        for name in re.findall(r"PyImport_\w+\((.*)\)", path.read_text())
    }
    assert found == {
        ("imports.c", '"runlog._imports"'),
        ("module.c", '"_collections_abc"'),
    }


WATCH = """
import sys
class Finder:
    '''Notes the modules that are looked for without the lock.'''
    def find_spec(self, name, path=None, target=None):
        if not importing._is_owned():
            bare.append(name)
bare = []
from runlog._imports import importing
"""

USES = """
import asyncio, datetime, decimal, enum, os, uuid
import runlog
class Array:
    dtype, shape, size, ndim = "int64", (10_000,), 10_000, 1
    def tolist(self):
        return [1] * 10_000
    def __getitem__(self, key):
        return self
def run(number, **more):
    return {"wpk_id": "w", "run_id": f"r{number}", "status": "completed"} | more
%s
sys.meta_path.insert(0, Finder())
runlog.log_run(run(0, inputs={"a": Array(), "d": decimal.Decimal(1)}))
runlog.log_run(run(1, started_at=datetime.datetime.now(datetime.UTC), thread_id="t"))
logs = [{"node": "n", "inputs": {"a": [n] * 9}} for n in range(99)]
runlog.log_run(run(2, node_logs=logs))
runlog.get_run("r2")["node_logs"][5]
runlog.list_runs(thread_id=uuid.UUID(int=1))
runlog.get_thread("t")
runlog.search_runs("word")
runlog.Recorder(sqlite_path="~/other.db").close()
async def main():
    await runlog.alog_run(run(3))
asyncio.run(main())
runlog.close()
print(sorted(set(bare)))
"""


def test_every_first_use_imports_with_the_lock(run_python: RunPython) -> None:
    done = run_python(WATCH + USES % "")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


GRAPH = """
import operator
from typing import Annotated, TypedDict
from langchain_core.messages import AIMessage
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langgraph.graph import END, START, StateGraph
class State(TypedDict):
    n: Annotated[list, operator.add]
def model(state):
    answer = GenericFakeChatModel(messages=iter([AIMessage("hi")])).invoke("hello")
    return {"n": [answer.content]}
def fails(state):
    if "fail" in state["n"]:
        raise ValueError("no")
    return {"n": [1]}
builder = StateGraph(State)
builder.add_node("model", model)
builder.add_node("fails", fails)
builder.add_edge(START, "model")
builder.add_edge("model", "fails")
graph = builder.compile()
def use(config):
    graph.invoke({"n": [1]}, config)
    try:
        graph.invoke({"n": ["fail"]}, config)
    except ValueError:
        pass
    for chunk in graph.stream({"n": [1]}, config):
        if "fails" in chunk:
            break
from runlog.hooks import RunLogHandler
use({})
sys.meta_path.insert(0, Finder())
use({"callbacks": [RunLogHandler()]})
import runlog
assert len(runlog.list_runs().runs) == 3
print(sorted(set(bare)))
"""


def test_a_handler_imports_with_the_lock(run_python: RunPython) -> None:
    done = run_python(WATCH + GRAPH)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


FORK = """
import importlib.util, os, signal, sys, threading
loading, forking, waited, forked = (threading.Event() for _ in range(4))
os.register_at_fork(before=waited.set)  # the last of these hooks
import runlog
os.register_at_fork(before=forking.set, after_in_parent=forked.set)  # the first
class Finder:
    '''One module takes until this process has forked, or waits before that.'''
    def find_spec(self, name, path=None, target=None):
        if name != sys.argv[1]:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        def load(module, load=spec.loader.exec_module):
            loading.set()
            forking.wait()
            if waited.wait(1):
                forked.wait()
            load(module)
        spec.loader.exec_module = load
        return spec
def use():
    %s
sys.meta_path.insert(0, Finder())
thread = threading.Thread(target=use)
thread.start()
loading.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    use()
    os._exit(0)
status = os.waitpid(child, 0)[1]
thread.join()
print(os.waitstatus_to_exitcode(status))
"""

LOG_RUN = 'runlog.log_run({"wpk_id": "w", "run_id": "r", "status": "completed"})'
FIRST_USES = {
    "logging": f"{LOG_RUN}; runlog.close(); {LOG_RUN}",  # once a recorder
    "runlog.migrations": LOG_RUN,
    "datetime": 'runlog.get_runs_by_wpk_id("w"); runlog.list_runs(since="2026-01-01")',
    "json": f'{LOG_RUN}; runlog.get_run("r")',
    "runlog._threads": 'runlog.get_thread("t")',
}


@pytest.mark.parametrize("module", FIRST_USES)
def test_a_fork_waits_for_an_import(
    module: str, store: Store, run_python: RunPython
) -> None:
    env = store.env if module != "logging" else {}  # a store that is chosen says nothing
    done = run_python(FORK % FIRST_USES[module], module, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n"


WITHIN = """
import os, sys
from runlog._imports import load
with open("forks.py", "w") as file:
    file.write("import os; child = os.fork(); child or os._exit(0); os.waitpid(child, 0)")
sys.path.insert(0, ".")
print(load("forks").child > 0)
"""


def test_a_fork_within_an_import_goes_on(run_python: RunPython) -> None:
    """The lock is the thread's own."""
    done = run_python(WITHIN)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
