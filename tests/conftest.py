"""What every test gets: a clean environment, a folder of its own, and the fixtures."""

from __future__ import annotations

import ast
import gc
import importlib.util
import logging
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from child_env import child_env
from fixtures_browser import chromium, tab
from fixtures_graphs import config, handler
from fixtures_live import live_server, start
from fixtures_milvus import milvus, milvus_lite, milvus_secure, milvus_standalone
from fixtures_pgvector import pgvector_server
from fixtures_postgres import find_binaries, plain_environment, postgres_server
from fixtures_providers import model_server, provider
from fixtures_proxy import proxied
from fixtures_search import here, place, scanned, with_pgvector
from fixtures_services import embedding_process, embedding_server
from fixtures_store import close_runlog, recorder, store
from fixtures_web import page
from hypothesis import configuration, settings
from side_by_side import Scheduling, begin_elsewhere, place_in_line
from versions import not_delivered

__all__ = [
    "chromium",
    "config",
    "embedding_process",
    "embedding_server",
    "handler",
    "here",
    "live_server",
    "milvus",
    "milvus_lite",
    "milvus_secure",
    "milvus_standalone",
    "model_server",
    "page",
    "pgvector_server",
    "place",
    "postgres_server",
    "provider",
    "proxied",
    "recorder",
    "scanned",
    "start",
    "store",
    "tab",
    "with_pgvector",
]

ROOT = Path(__file__).resolve().parent.parent
SANITIZED = bool(os.environ.get("RUNLOG_SANITIZE"))
LONG = os.environ.get("TEST_LONG") == "1"
CHROMIUM = os.environ.get("TEST_CHROMIUM") == "1"
PROMETHEUS = os.environ.get("TEST_PROMETHEUS") == "1"
OURS = ("RUNLOG_", "MILVUS_", "OPENAI_", "POSTGRES_")
OTHERS = ("PG", "LANGSMITH_", "LANGCHAIN_")

# A pool of threads in the tests' own process would be in the way of the tests that fork.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A shell has its jobs in the background ignore it, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

configuration.set_hypothesis_home_dir(ROOT / "build" / "hypothesis")
# The same examples each time, so that a run that fails has failed by what was changed.
# `make test-long` looks for new ones, and for more.
settings.register_profile(
    "plain",
    deadline=None,
    print_blob=True,
    derandomize=not LONG,
    max_examples=100 if LONG else 40,
)
settings.register_profile("sanitized", settings.get_profile("plain"), max_examples=30)
settings.load_profile("sanitized" if SANITIZED else "plain")


class RunPython(Protocol):
    """The type of the fixture run_python."""

    def __call__(
        self,
        code: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]: ...


def mark_long_cases(items: list[pytest.Item]) -> None:
    """Of a test marked `either_store` only the first case on PostgreSQL is not `long`. Of
    one marked `long_with`, those are whose parameters' ids are among its arguments.
    """
    seen = set()
    for item in items:
        case = getattr(item, "callspec", None)
        if case is None:  # a test without parameters
            continue
        named = item.get_closest_marker("long_with")
        if named is not None and any(f"-{x}-" in f"-{case.id}-" for x in named.args):
            item.add_marker("long")
        either = item.get_closest_marker("either_store") is not None
        if either and case.params.get("store") == "postgres":
            name = item.nodeid.partition("[")[0]
            if name in seen:
                item.add_marker("long")
            seen.add(name)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Each worker reads the modules from another one on."""
    report = yield
    if isinstance(collector, pytest.Dir):
        report.result = begin_elsewhere(report.result)
    return report


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """The slow ones come first; side_by_side.py hands them out in this order. Those that
    are marked `long` are for TEST_LONG=1, those marked `chromium` for TEST_CHROMIUM=1,
    those marked `prometheus` for TEST_PROMETHEUS=1.
    """
    mark_long_cases(items)
    wanted_marks = (("long", LONG), ("chromium", CHROMIUM), ("prometheus", PROMETHEUS))
    for mark, wanted in wanted_marks:
        if not wanted:
            left_out = [item for item in items if item.get_closest_marker(mark)]
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker(mark)]
    items.sort(key=lambda item: (place_in_line(item.nodeid), item.path))


def pytest_collection_finish() -> None:
    """What is loaded by now stays; no collection of garbage need walk over it again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the installed LangGraph does not have: nothing on the newest."""
    if reason := not_delivered(item.name):
        pytest.skip(reason)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """How the workers of pytest -n share the tests."""
    return Scheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """A worker that died before it had collected the tests ends the run: pytest-xdist
    would wait for what it collected, for ever.
    """
    scheduler = node.config.pluginmanager.getplugin("dsession").sched
    if error is not None and not scheduler.collection_is_completed:
        code = node.gateway._io.wait()  # of the process; negative: a signal
        pytest.exit(f"{node.gateway.id} died before its first test: exit code {code}", 3)


def pytest_report_header() -> list[str]:
    """Which runlog is tested, and against what."""
    done = subprocess.run(
        [find_binaries() / "postgres", "--version"],
        env=plain_environment(),
        capture_output=True,
        text=True,
    )
    sqlite = f"sqlite {sqlite3.sqlite_version}"
    return [
        f"runlog: {describe_runlog()}{', sanitized' if SANITIZED else ''}",
        f"python {platform.python_version()}, {sqlite}, {done.stdout.strip()}",
    ]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was measured of findings: how often faults were found, and false alarms."""
    passed = terminalreporter.stats.get("passed", [])
    lines = [
        line
        for report in passed
        for name, those in getattr(report, "user_properties", ())
        if name == "insights"
        for line in those
    ]
    if lines:
        terminalreporter.section("findings: found, and 95 % interval (Wilson)")
        for line in lines:
            terminalreporter.write_line(line)


def describe_runlog() -> str:
    """The version and the folder of the package under test, which must not be ours."""
    spec = importlib.util.find_spec("runlog")
    if spec is None or spec.origin is None:
        return "not installed: run make test"
    folder = Path(spec.origin).parent
    if folder == ROOT / "runlog":
        pytest.exit("the sources are on sys.path: run .venv/bin/pytest", returncode=4)
    try:
        import runlog
    except ImportError as error:
        return f"cannot be imported from {folder}: {error}"
    return f"{runlog.__version__} from {folder}"


@pytest.fixture(autouse=True, scope="session")
def parsed_by_one_thread_at_a_time() -> Iterator[None]:
    """A graph is built with ast.parse, whose count of its depth all threads share in some
    releases of CPython: two that build a graph at once get a SystemError now and then
    (https://github.com/python/cpython/issues/106905).
    """
    if sys.version_info >= (3, 12, 2):
        yield
        return
    parse, lock = ast.parse, threading.RLock()

    def locked(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return parse(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ast, "parse", locked)
        yield


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings from outside, an own folder, and no default recorder left behind."""
    for name in list(os.environ):
        if name.startswith(OURS + OTHERS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    close_runlog()


class _Complaints(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(autouse=True)
def no_complaints() -> Iterator[None]:
    """LangChain only logs what a handler raises, such as a warning that is an error."""
    logger, complaints = logging.getLogger("langchain_core.callbacks"), _Complaints()
    logger.addHandler(complaints)
    yield
    logger.removeHandler(complaints)
    assert complaints.lines == []


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """Run code in a child interpreter of the same environment; nothing is checked."""

    def run(
        code: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *args],
            env=child_env(env or {}),
            cwd=cwd or tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
