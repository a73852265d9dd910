"""What several test files need: a small run, a locked database, waiting for a thread."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from fixtures_store import Store


def minimal(run_id: str = "r1", wpk_id: str = "w", **fields: Any) -> dict[str, Any]:
    """A run with what log_run asks for, and the fields given."""
    return {"wpk_id": wpk_id, "run_id": run_id, "status": "completed", **fields}


def stored(source: Any, run_id: str = "r1") -> Any:
    """A run that has to be there; source is a recorder or the module.

    A query waits a second for runs on their way from the journal to the server, which may
    take longer on a busy machine.
    """
    until(lambda: source.get_run(run_id) is not None)
    return source.get_run(run_id)


@contextlib.contextmanager
def locked(store: Store) -> Iterator[None]:
    """Hold the database's write lock, so that no run can be committed meanwhile."""
    if store.kind == "sqlite":
        with contextlib.closing(sqlite3.connect(store.options["sqlite_path"])) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.rollback()
    else:
        with psycopg.connect(store.options["postgres_dsn"]) as other:
            other.execute("LOCK TABLE workflow_runs IN ACCESS EXCLUSIVE MODE")
            yield
            other.rollback()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread is about to do."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)
