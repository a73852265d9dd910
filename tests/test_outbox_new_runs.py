"""The outbox of a SQLite file: how a new run gets its row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fixtures_services import EmbeddingServer
from helpers import until

from runlog import Recorder

NEW = "SELECT id FROM run_embeddings_new ORDER BY seq"
ROWS = "SELECT state, version FROM run_embeddings"


def run_of(run_id: str, **outputs: Any) -> dict[str, Any]:
    return {"wpk_id": "w", "run_id": run_id, "status": "completed", "outputs": outputs}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def embedding(database: Path, embedding_server: EmbeddingServer) -> Iterator[Recorder]:
    with Recorder(
        sqlite_path=str(database),
        openai_key=embedding_server.key,
        openai_base_url=embedding_server.url,
    ) as recorder:
        yield recorder


def ask(database: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(sql, values).fetchall()
        connection.commit()
        return rows


def test_an_embedded_run_is_no_longer_new(embedding: Recorder, database: Path) -> None:
    embedding.log_run(run_of("r", text="The loss became NaN."))
    assert embedding.flush(60)
    assert ask(database, NEW) == []
    assert ask(database, ROWS) == [("embedded", 1)]
    assert [hit["run_id"] for hit in embedding.search_runs("a NaN loss")] == ["r"]


def test_a_new_run_without_a_text_gets_no_row(
    embedding: Recorder, database: Path
) -> None:
    embedding.log_run(run_of("r", answer=1))
    assert embedding.stats()["embeddings_waiting"] == 0
    assert ask(database, NEW) == []
    assert ask(database, ROWS) == []
    embedding.log_run(run_of("r", text="Now it has one."))
    assert embedding.flush(60)
    assert ask(database, ROWS) == [("embedded", 1)]


def test_new_runs_are_counted_as_waiting(
    database: Path, embedding: Recorder, embedding_server: EmbeddingServer
) -> None:
    embedding_server.control("stall", None)
    for i in range(130):  # more than one round embeds
        embedding.log_run(run_of(f"r{i}", text=f"Run number {i}."))
    assert embedding.stats()["embeddings_waiting"] == 130
    until(lambda: len(ask(database, NEW)) < 130)  # the first round stalls
    assert len(ask(database, NEW)) > 0
    embedding_server.clear()
    embedding_server.release()
    assert embedding.flush(120)
    assert ask(database, NEW) == []
    assert len(ask(database, ROWS)) == 130
    assert embedding.stats()["embedded"] == 130


def test_a_new_run_that_is_logged_again_has_one_row_and_the_later_text(
    database: Path, embedding: Recorder, embedding_server: EmbeddingServer
) -> None:
    embedding_server.control("stall", None)
    for i in range(130):
        embedding.log_run(run_of(f"r{i}", text=f"Run number {i}."))
    embedding.log_run(run_of("r129", text="The supplier has not answered."))
    embedding_server.clear()
    embedding_server.release()
    assert embedding.flush(120)
    assert len(ask(database, ROWS)) == 130
    (hit,) = embedding.search_runs("a supplier who does not answer", limit=1)
    assert hit["run_id"] == "r129"


def test_deleted_new_runs_do_not_delay_others(
    embedding: Recorder, database: Path
) -> None:
    embedding.log_run(run_of("first", text="It opens the file."))
    assert embedding.flush(60)
    for _ in range(300):  # several claims
        sql = "INSERT INTO run_embeddings_new (id) VALUES (?)"
        ask(database, sql, str(uuid4()))
    embedding.log_run(run_of("second", text="The one behind them."))
    assert embedding.flush(60)
    assert ask(database, NEW) == []
    assert ask(database, ROWS) == [("embedded", 1)] * 2


def test_a_deleted_new_run_is_not_embedded(
    database: Path, embedding: Recorder, embedding_server: EmbeddingServer
) -> None:
    embedding_server.control("stall", None)
    for i in range(130):
        embedding.log_run(run_of(f"r{i}", text=f"Run number {i}."))
    ask(database, "DELETE FROM workflow_runs WHERE run_id = 'r129'")
    embedding_server.clear()
    embedding_server.release()
    assert embedding.flush(120)
    assert len(ask(database, ROWS)) == 129
    assert ask(database, NEW) == []
