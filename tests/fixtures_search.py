"""Empty places for searches by meaning: one for each path that a search can take."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures_milvus import MilvusServer
from fixtures_pgvector import PgvectorServer
from fixtures_postgres import PostgresServer
from fixtures_services import EmbeddingServer
from fixtures_store import Store, close_runlog

if TYPE_CHECKING:
    import runlog

PATHS = ["sqlite", "postgres", "pgvector", "lite", "standalone"]
COLLECTION = "workflow_runs"
TIE = 1e-5
"""Scores that differ by less are a tie: each path adds in another order."""


@dataclass(frozen=True)
class Place:
    """A store with an embedding server, with or without Milvus."""

    path: str
    store: Store

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of runlog.Recorder."""
        return self.store.options

    def open(self, **more: Any) -> runlog.Recorder:
        """Make a recorder on the place."""
        import runlog

        return runlog.Recorder(**self.options | more)


def empty(server: MilvusServer) -> MilvusServer:
    """The server, without the collection."""
    with server.client() as client:
        client.drop_collection(COLLECTION)
    return server


@contextmanager
def make_place(
    path: str, folder: Path, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """An empty place."""
    embedding: EmbeddingServer = request.getfixturevalue("embedding_process")
    file = str(folder / "runs.db")
    options = {
        "sqlite_path": file,
        "openai_key": embedding.key,
        "openai_base_url": embedding.url,
    }
    if path in {"postgres", "pgvector"}:
        name = "pgvector_server" if path == "pgvector" else "postgres_server"
        server: PostgresServer = request.getfixturevalue(name)
        database = server.create_database()
        if path == "pgvector":
            assert isinstance(server, PgvectorServer)
            server.query("CREATE EXTENSION vector", dbname=database)
        options["postgres_dsn"] = server.dsn(database)
        yield Place(path, Store("postgres", options, {}))
        close_runlog()
        server.drop_database(database)
        return
    if path != "sqlite":
        milvus: MilvusServer = request.getfixturevalue(f"milvus_{path}")
        options["milvus_endpoint"] = empty(milvus).endpoint
    yield Place(path, Store("sqlite", options, {}))


@pytest.fixture(params=PATHS[:-1])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, embedding_server: EmbeddingServer
) -> Iterator[Place]:
    """An empty place of each kind, except Milvus standalone, which is slow to empty."""
    with make_place(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def scanned(
    request: pytest.FixtureRequest, tmp_path: Path, embedding_server: EmbeddingServer
) -> Iterator[Place]:
    """An empty place where a search scans the vectors."""
    with make_place(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture
def here(
    request: pytest.FixtureRequest, tmp_path: Path, embedding_server: EmbeddingServer
) -> Iterator[Place]:
    """An empty place on SQLite, without Milvus."""
    with make_place("sqlite", tmp_path, request) as made:
        yield made


@pytest.fixture
def with_pgvector(
    request: pytest.FixtureRequest, tmp_path: Path, embedding_server: EmbeddingServer
) -> Iterator[Place]:
    """An empty place on a PostgreSQL with pgvector."""
    with make_place("pgvector", tmp_path, request) as made:
        yield made


def eventually(find: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """The result of `find` once it is as wanted: Milvus shows new rows after a while."""
    deadline = time.monotonic() + 60
    while not wanted(found := find()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def search(recorder: runlog.Recorder, text: str, **how: Any) -> Any:
    """The hits of a search by words, once all runs that were logged are in the index.

    A search waits for that a second. It may take longer on a busy machine, and on
    PostgreSQL if a transaction is open in any database of the server.
    """
    assert recorder.flush(60)
    return eventually(
        lambda: recorder.search_runs(text, by="words", **how), lambda hits: hits.complete
    )


def names(hits: list[Any]) -> list[str]:
    """The run_ids of hits."""
    return [hit["run_id"] for hit in hits]


def same_ranking(one: list[Any], other: list[Any]) -> bool:
    """Whether two rankings are equal, but for the order and the choice among ties."""
    if len(one) != len(other):
        return False
    if any(abs(a["score"] - b["score"]) > TIE for a, b in zip(one, other, strict=True)):
        return False
    scores = {hit["run_id"]: hit["score"] for hit in one}
    last = min(scores.values(), default=0.0)
    return all(
        abs(scores.get(hit["run_id"], last) - hit["score"]) <= TIE for hit in other
    )


def ended_owner() -> str:
    """The owner that runlog stores for a run, here of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(60)
    host = socket.gethostname().replace(" ", "_")[:40]
    space = Path("/proc/self/ns/pid")
    ids = str(space.readlink())[:20] if space.is_symlink() else ""
    return f"{host}{ids} {child.pid} 1"
