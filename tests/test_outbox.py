"""The outbox: each text is embedded once, and Milvus has the state of the runs."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fixtures_milvus import MilvusServer
from fixtures_services import EmbeddingServer
from fixtures_store import Store
from graphs import build
from helpers import minimal
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState
from outbox_help import (
    LogLines,
    ask,
    connected,
    embedding,
    empty,
    indexed,
    indexing,
    outbox_rows,
    states,
    vector,
    wait_for,
)

import runlog

if TYPE_CHECKING:
    from conftest import RunPython

LIMIT = 24_000  # bytes of a text, above which it is cut


def run(run_id: str, text: Any = None, **fields: Any) -> dict[str, Any]:
    """A run with a text to embed."""
    return minimal(run_id, outputs={"text": text or f"the text of {run_id}"}, **fields)


@pytest.fixture
def milvus_empty(milvus_lite: MilvusServer) -> MilvusServer:
    return empty(milvus_lite)


@pytest.fixture
def log() -> Iterator[LogLines]:
    handler = LogLines()
    logging.getLogger("runlog").addHandler(handler)
    yield handler
    logging.getLogger("runlog").removeHandler(handler)


# ---- texts and vectors -----------------------------------------------------------------


def test_each_text_is_embedded_once(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    texts = {f"r{n}": f"run {n} has found {n * n} fish" for n in range(150)}
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        for name, text in texts.items():
            recorder.log_run(run(name, text))
        assert recorder.flush(60)
        stats = recorder.stats()
    embedded = embedding_server.counters()["embedded"]
    assert embedded == dict.fromkeys(texts.values(), 1)
    assert stats["embedded"] == 150
    assert (stats["embeddings_waiting"], stats["embedding_error"]) == (0, None)
    rows = outbox_rows(store)
    assert rows.keys() == texts.keys()
    given = ask(embedding_server, list(texts.values()))
    for (name, text), expected in zip(texts.items(), given, strict=True):
        row = rows[name]
        assert row["state"] == "embedded"
        assert (row["model"], row["dim"]) == ("text-embedding-3-small", 384)
        assert row["text_bytes"] == row["used_bytes"] == len(text)
        assert vector(row).shape == (384,)
        # the last bits depend on the other texts of a request
        np.testing.assert_allclose(vector(row), expected, rtol=0, atol=1e-5)


def test_a_vector_is_stored_to_the_last_bit(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.log_run(run("r1", "the loss was NaN"))
        assert recorder.flush(60)
    (given,) = ask(embedding_server, ["the loss was NaN"])
    assert vector(outbox_rows(store)["r1"]).tobytes() == given.tobytes()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, None),
        ({"outputs": {"text": ""}}, None),
        ({"outputs": {"text": " \n"}}, None),
        ({"outputs": {"text": 5}}, None),
        ({"outputs": {"other": "no text"}}, None),
        ({"outputs": {"messages": []}}, None),
        ({"inputs": {"text": "an input"}}, None),
        ({"outputs": {"text": "a text"}}, "a text"),
        (
            {"outputs": {"messages": [AIMessage("first"), AIMessage("last")]}},
            "last",
        ),
        (
            {"outputs": {"messages": [{"role": "ai", "content": "as a dict"}]}},
            "as a dict",
        ),
        (
            {"outputs": {"messages": [AIMessage([{"type": "text", "text": "a block"}])]}},
            "a block",
        ),
    ],
)
def test_the_default_text_of_a_run_is_embedded(
    store: Store,
    embedding_server: EmbeddingServer,
    fields: dict[str, Any],
    text: str | None,
) -> None:
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.log_run(minimal(**fields))
        assert recorder.flush(60)
    wanted = {} if text is None else {text: 1}
    assert embedding_server.counters()["embedded"] == wanted
    assert states(store) == ({} if text is None else {"embedded": 1})


def test_the_text_at_the_path_is_embedded(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    options = embedding(embedding_server, embedding_path="answer.summary")
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(minimal("r1", outputs={"answer": {"summary": "it is short"}}))
        recorder.log_run(minimal("r2", outputs={"text": "not this"}))
        assert recorder.flush(60)
    assert embedding_server.counters()["embedded"] == {"it is short": 1}


def test_the_path_can_come_from_the_environment(
    store: Store, embedding_server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLOG_EMBEDDING_PATH", "report")
    monkeypatch.setenv("OPENAI_KEY", embedding_server.key)
    monkeypatch.setenv("OPENAI_BASE_URL", embedding_server.url)
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal("r1", outputs={"report": "of the day"}))
        assert recorder.flush(60)
    assert embedding_server.counters()["embedded"] == {"of the day": 1}


def test_a_graph_is_embedded(store: Store, embedding_server: EmbeddingServer) -> None:
    from runlog.hooks import RunLogHandler

    def answer(_state: Any) -> Any:
        return {"messages": [AIMessage("the weather is fine")]}

    graph = build((START, "answer"), state=MessagesState, answer=answer).compile()
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        handler = RunLogHandler(recorder=recorder)
        graph.invoke({"messages": []}, {"callbacks": [handler]})
        assert recorder.flush(60)
    assert embedding_server.counters()["embedded"] == {"the weather is fine": 1}
    assert states(store) == {"embedded": 1}


def test_a_long_text_is_cut_between_characters(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    text = "x" + "ä" * (LIMIT // 2 + 10)  # a boundary is not at an even number of bytes
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.log_run(run("r1", text))
        assert recorder.flush(60)
    row = outbox_rows(store)["r1"]
    assert row["text_bytes"] == len(text.encode())
    assert 0 < row["used_bytes"] < row["text_bytes"]
    used = text.encode()[: row["used_bytes"]].decode()  # raises inside of a character
    assert embedding_server.counters()["embedded"] == {used: 1}


@pytest.mark.long_with("postgres")
def test_large_outputs_are_claimed_a_few_at_a_time(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    """Fifty runs have 45 MB of outputs, and a claim takes 8 MB."""
    filling = "y" * 900_000
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        for n in range(50):
            outputs = {"text": f"short {n}", "filling": filling}
            recorder.log_run(minimal(f"r{n}", outputs=outputs))
        assert recorder.flush(120)
    counters = embedding_server.counters()
    assert counters["embedded"] == {f"short {n}": 1 for n in range(50)}
    assert counters["requests"] >= 5


# ---- nothing leaves without the key ----------------------------------------------------


def test_nothing_leaves_without_the_key(
    store: Store, embedding_server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", embedding_server.key)
    monkeypatch.setenv("OPENAI_BASE_URL", embedding_server.url)
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(run("r1"))
        assert recorder.flush(60)
        assert recorder.generate_embedding("a text") is None
    counters = embedding_server.counters()
    assert (counters["requests"], counters["connections"]) == (0, 0)
    assert states(store) == {}


# ---- logged again, and deleted ---------------------------------------------------------


def test_the_same_text_is_not_embedded_again(
    store: Store, embedding_server: EmbeddingServer, milvus_empty: MilvusServer
) -> None:
    options = indexing(embedding_server, milvus_empty)
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(run("r1", "a text", status="running"))
        assert recorder.flush(60)
        assert [row["status"] for row in indexed(milvus_empty)] == ["running"]
        recorder.log_run(run("r1", "a text", status="failed"))
        recorder.log_run(minimal("r1", status="failed", duration_ms=5))
        assert recorder.flush(60)
    assert embedding_server.counters()["embedded"] == {"a text": 1}
    assert states(store) == {"done": 1}
    (row,) = indexed(milvus_empty)
    assert (row["run_id"], row["wpk_id"], row["status"]) == ("r1", "w", "failed")
    assert row["id"] == outbox_rows(store)["r1"]["id"] or store.kind == "postgres"
    stored = vector(outbox_rows(store)["r1"])
    assert np.array_equal(np.asarray(row["embedding"], "<f4"), stored)


def test_another_text_is_embedded_again(
    store: Store, embedding_server: EmbeddingServer, milvus_empty: MilvusServer
) -> None:
    options = indexing(embedding_server, milvus_empty)
    with runlog.Recorder(**store.options, **options) as recorder:
        for text in ("one text", "another text"):
            recorder.log_run(run("r1", text))
            assert recorder.flush(60)
    assert embedding_server.counters()["embedded"] == {"one text": 1, "another text": 1}
    (given,) = ask(embedding_server, ["another text"])
    (row,) = indexed(milvus_empty)
    assert np.array_equal(np.asarray(row["embedding"], "<f4"), given)


def test_a_run_logged_again_during_its_embedding_gets_the_later_text(
    store: Store, embedding_server: EmbeddingServer, milvus_empty: MilvusServer
) -> None:
    options = indexing(embedding_server, milvus_empty)
    embedding_server.control("stall", seconds=None)
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(run("r1", "the old text"))
        wait_for(lambda: embedding_server.counters()["at_work"] == 1, "no request")
        recorder.log_run(run("r1", "the new text"))
        embedding_server.release()
        assert recorder.flush(60)
    (given,) = ask(embedding_server, ["the new text"])
    assert vector(outbox_rows(store)["r1"]).tobytes() == given.tobytes()
    (row,) = indexed(milvus_empty)
    assert np.array_equal(np.asarray(row["embedding"], "<f4"), given)


def test_a_text_that_returns_is_indexed(
    store: Store, embedding_server: EmbeddingServer, milvus_empty: MilvusServer
) -> None:
    """The text returns while Milvus is unavailable, so nothing is deleted there."""
    options = indexing(embedding_server, milvus_empty)
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(run("r1", "a text"))
        assert recorder.flush(60)
    away = options | {"milvus_endpoint": "http://127.0.0.1:1"}
    with runlog.Recorder(**store.options, **away) as recorder:
        recorder.log_run(minimal("r1", outputs={"text": ""}))
        wait_for(lambda: states(store) == {"deleted": 1}, "it is still there")
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.log_run(run("r1", "a text"))
        assert recorder.flush(60)
    assert states(store) == {"embedded": 1}
    with runlog.Recorder(**store.options, **options) as recorder:
        assert recorder.list_runs().runs
        assert recorder.flush(60)
    (given,) = ask(embedding_server, ["a text"])
    assert vector(outbox_rows(store)["r1"]).tobytes() == given.tobytes()
    (row,) = indexed(milvus_empty)
    assert np.array_equal(np.asarray(row["embedding"], "<f4"), given)


@pytest.mark.parametrize("plain", [False, True], ids=["delete_runs", "SQL"])
def test_a_deleted_run_is_deleted_in_milvus(
    store: Store,
    embedding_server: EmbeddingServer,
    milvus_empty: MilvusServer,
    plain: bool,
) -> None:
    options = indexing(embedding_server, milvus_empty)
    with runlog.Recorder(**store.options, **options) as recorder:
        for n in range(3):
            recorder.log_run(run(f"r{n}"))
        assert recorder.flush(60)
        assert len(indexed(milvus_empty)) == 3
        if plain:
            store.query("DELETE FROM workflow_runs WHERE run_id <> 'r0'")
        else:
            recorder.delete_runs(run_id="r1")
            recorder.delete_runs(run_id="r2")
        assert recorder.flush(60)
    assert states(store) == {"done": 1}
    assert [row["run_id"] for row in indexed(milvus_empty)] == ["r0"]


def test_a_run_deleted_before_the_upsert_leaves_no_row(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.log_run(run("r1"))
        assert recorder.flush(60)
        recorder.delete_runs(run_id="r1")
    assert states(store) == {}


def test_a_run_deleted_during_its_embedding_leaves_no_row(
    store: Store, embedding_server: EmbeddingServer, milvus_empty: MilvusServer
) -> None:
    options = indexing(embedding_server, milvus_empty)
    embedding_server.control("stall", seconds=None)
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(run("r1"))
        wait_for(lambda: embedding_server.counters()["at_work"] == 1, "no request")
        recorder.delete_runs(run_id="r1")
        embedding_server.release()
        assert recorder.flush(60)
        wait_for(lambda: states(store) == {}, "there is a row")
    assert indexed(milvus_empty) == []


def test_truncated_runs_are_deleted_in_milvus(
    postgres_server: Any, embedding_server: EmbeddingServer, milvus_empty: MilvusServer
) -> None:
    with postgres_server.borrow_database() as name:
        options: dict[str, Any] = {"postgres_dsn": postgres_server.dsn(name)}
        store = Store("postgres", options, {})
        options = options | indexing(embedding_server, milvus_empty)
        with runlog.Recorder(**options) as recorder:
            recorder.log_run(run("r1"))
            assert recorder.flush(60)
            store.query("TRUNCATE workflow_runs")
            assert recorder.flush(60)
        assert states(store) == {}
        assert indexed(milvus_empty) == []


def test_a_graph_joins_the_row_of_log_run(
    store: Store, embedding_server: EmbeddingServer, milvus_empty: MilvusServer
) -> None:
    """The row gets the id of the graph's run; the old id disappears from both places."""
    from runlog.hooks import RunLogHandler

    name = str(uuid.uuid4())
    graph = build((START, "count"), count=lambda _state: {"n": 1}).compile()
    options = indexing(embedding_server, milvus_empty)
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(run(name, "by hand", wpk_id="g"))
        assert recorder.flush(60)
        (before,) = indexed(milvus_empty)
        handler = RunLogHandler(recorder=recorder, wpk_id="g")
        graph.invoke({"n": 0}, {"callbacks": [handler], "run_id": uuid.UUID(name)})
        assert recorder.flush(60)
        ((record,),) = store.query("SELECT id FROM workflow_runs")
        assert str(record) != before["id"]
        assert set(outbox_rows(store)) <= {name}
        assert {row["id"] for row in indexed(milvus_empty)} <= {str(record)}
        recorder.log_run(run(name, "by hand once more", wpk_id="g"))
        assert recorder.flush(60)
    (row,) = indexed(milvus_empty)
    assert (row["id"], row["run_id"]) == (str(record), name)
    assert states(store) == {"done": 1}


def test_a_journaled_run_is_embedded_when_it_is_forwarded(
    postgres_server: Any, embedding_server: EmbeddingServer, tmp_path: Any
) -> None:
    with postgres_server.borrow_database() as name:
        options: dict[str, Any] = {
            "postgres_dsn": postgres_server.dsn(name),
            "sqlite_path": str(tmp_path / "journal.db"),
            "durability": "journal",
        }
        store = Store("postgres", options, {})
        with runlog.Recorder(**options, **embedding(embedding_server)) as recorder:
            for n in range(20):
                recorder.log_run(run(f"r{n}"))
            assert recorder.flush(60)
        counted = embedding_server.counters()["embedded"]
        assert counted == {f"the text of r{n}": 1 for n in range(20)}
        assert states(store) == {"embedded": 20}


# ---- failing servers -------------------------------------------------------------------


def test_a_refused_key_is_logged_once(
    store: Store, embedding_server: EmbeddingServer, log: LogLines
) -> None:
    options = embedding(embedding_server) | {"openai_key": "sk-wrong-0123456789"}
    with runlog.Recorder(**store.options, **options) as recorder:
        for n in range(5):
            recorder.log_run(run(f"r{n}"))
        assert recorder.flush(60)
        stats = recorder.stats()
        for n in range(5, 10):  # these are committed all the same
            recorder.log_run(run(f"r{n}"))
        assert recorder.flush(60)
    assert "401" in stats["embedding_error"]
    assert "sk-wrong" not in str(
        stats
    )  # the message of the server quotes a part of the key
    assert stats["embeddings_waiting"] == 5
    assert states(store) == {"pending": 10}
    assert len(log.about("401")) == 1
    assert "sk-wrong" not in str(log.lines)
    assert embedding_server.counters()["requests"] <= 2
    store.query("UPDATE run_embeddings SET next_attempt_at = 0")  # five minutes later
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        assert recorder.list_runs().runs
        assert recorder.flush(60)
        assert recorder.stats()["embedding_error"] is None
    assert states(store) == {"embedded": 10}


def test_regression_rows_do_not_wait_for_a_clock_that_was_set_back(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    """Another process has claimed one, or put it off, by a clock of next year."""
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.log_run(run("r1"))
        assert recorder.flush(60)
    next_year = time.time_ns() // 1000 + 365 * 24 * 3600 * 1_000_000
    store.query(
        "UPDATE run_embeddings SET state = 'pending', next_attempt_at = ?, dim = NULL",
        next_year,
    )
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.list_runs()
        assert recorder.flush(60)
    assert states(store) == {"embedded": 1}


def test_regression_a_run_without_a_time_holds_no_others(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    """As other programs write it."""
    odd = "infinity" if store.kind == "postgres" else "long ago"
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(run("theirs"))
    store.query("UPDATE workflow_runs SET created_at = ?", odd)
    store.query(
        "INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at) "
        "SELECT id, wpk_id, 'pending', 0 FROM workflow_runs"
    )
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.log_run(run("r1"))
        assert recorder.flush(60)
        assert recorder.stats()["embedding_error"] is None
    assert states(store) == {"embedded": 2}


@pytest.mark.parametrize(
    ("kind", "count", "fields"),
    [
        ("status", 1, {"status": 429, "retry_after": 1}),
        ("status", 3, {"status": 500}),
        ("status", 3, {"status": 503}),
        ("close", 3, {}),
        ("truncate", 3, {}),
        ("garbage", 3, {}),
        ("count", 3, {"by": -1}),
        ("count", 3, {"by": 1}),
        ("nan", 3, {"only": 0}),
        ("index", 1, {}),
    ],
)
def test_transient_errors_are_retried(
    store: Store,
    embedding_server: EmbeddingServer,
    kind: str,
    count: int,
    fields: dict[str, Any],
) -> None:
    """Some requests fail; then each text is embedded."""
    embedding_server.control(kind, count=count, **fields)
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        for n in range(20):
            recorder.log_run(run(f"r{n}"))
        assert recorder.flush(60)
        stats = recorder.stats()
    assert (stats["embeddings_waiting"], stats["embeddings_failed"]) == (0, 0)
    assert states(store) == {"embedded": 20}
    assert embedding_server.counters()["faults"] == {kind: count}
    rows = outbox_rows(store)
    texts = [f"the text of {name}" for name in rows]
    for row, given in zip(rows.values(), ask(embedding_server, texts), strict=True):
        np.testing.assert_allclose(vector(row), given, rtol=0, atol=1e-5)


def test_a_stall_ends_with_the_time_out(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    embedding_server.control("stall", count=1, seconds=None)
    options = embedding(embedding_server, service_timeout=0.5)
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(run("r1"))
        assert recorder.flush(60)
    embedding_server.release()
    assert states(store) == {"embedded": 1}


def test_a_rejected_text_fails_alone(
    store: Store, embedding_server: EmbeddingServer, log: LogLines
) -> None:
    embedding_server.control("status", count=None, status=400, containing="of r7")
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        for n in range(10):
            recorder.log_run(run(f"r{n}"))
        assert recorder.flush(60)
        stats = recorder.stats()
        assert stats["embeddings_failed"] == 1
        assert stats["embedding_error"]
        recorder.log_run(minimal("last"))
    assert states(store) == {"embedded": 9, "failed": 1}
    row = outbox_rows(store)["r7"]
    assert row["state"] == "failed"
    assert row["last_error"]
    assert row["vector"] is None
    assert len(log.about("reject")) == 1


def test_a_text_with_invalid_answers_fails_alone(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    """The other texts do not wait for it."""
    embedding_server.control("nan", count=None, containing="of r7 ")
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        for n in range(20):
            recorder.log_run(run(f"r{n}", f"the text of r{n} "))
        assert recorder.flush(60)
        assert recorder.stats()["embeddings_failed"] == 1
    assert states(store) == {"embedded": 19, "failed": 1}
    assert "NaN" in outbox_rows(store)["r7"]["last_error"]


def test_retry_after_is_honoured_between_calls(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    """The server asks for a longer wait than a call makes: no request is sent before."""
    embedding_server.control("status", count=None, status=429, retry_after=200)
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.log_run(run("r1"))
        wait_for(lambda: recorder.stats()["embedding_error"], "no error")
        assert recorder.flush(3) is False
        assert "429" in recorder.stats()["embedding_error"]
    assert embedding_server.counters()["requests"] == 1
    assert states(store) == {"pending": 1}
    assert outbox_rows(store)["r1"]["last_error"]


# ---- Milvus ----------------------------------------------------------------------------


@pytest.mark.long_with("postgres")
def test_rows_wait_until_milvus_is_available_again(
    store: Store, embedding_server: EmbeddingServer, log: LogLines
) -> None:
    from fixtures_milvus import MilvusLite

    server = MilvusLite()
    try:
        options = indexing(embedding_server, server)
        with runlog.Recorder(**store.options, **options) as recorder:
            for n in range(30):
                recorder.log_run(run(f"r{n}"))
            wait_for(lambda: states(store) == {"embedded": 30}, "not embedded")
            wait_for(lambda: recorder.stats()["embedding_error"], "no error")
            assert recorder.stats()["embeddings_waiting"] == 30
            server.start()
            assert recorder.flush(90)
            assert recorder.stats()["embedding_error"] is None
            recorder.list_runs()
        rows = indexed(server)
    finally:
        server.stop()
    assert states(store) == {"done": 30}
    assert sorted(row["run_id"] for row in rows) == sorted(f"r{n}" for n in range(30))
    assert len(log.about("indexing in Milvus waits")) == 1
    assert len(log.about("indexing in Milvus continues")) == 1


def test_a_collection_of_another_dimension_is_logged_once(
    store: Store,
    embedding_server: EmbeddingServer,
    milvus_empty: MilvusServer,
    log: LogLines,
) -> None:
    with connected(milvus_empty) as client:
        client.create_collection("workflow_runs", dimension=8, id_type="string")
    options = indexing(embedding_server, milvus_empty)
    with runlog.Recorder(**store.options, **options) as recorder:
        for n in range(5):
            recorder.log_run(run(f"r{n}"))
        assert recorder.flush(60)  # flush does not wait for a server that refuses
        stats = recorder.stats()
        assert recorder.flush(60)
    assert "workflow_runs" in stats["embedding_error"]
    assert (stats["embeddings_waiting"], stats["embeddings_failed"]) == (5, 0)
    assert embedding_server.counters()["texts"] == 5
    assert len(log.about("workflow_runs")) == 1
    empty(milvus_empty)
    store.query("UPDATE run_embeddings SET next_attempt_at = 0")  # five minutes later
    with runlog.Recorder(**store.options, **options) as recorder:
        assert recorder.list_runs().runs
        assert recorder.flush(60)
    assert len(indexed(milvus_empty)) == 5
    assert embedding_server.counters()["texts"] == 5


def test_a_refused_token_is_logged_once(
    store: Store,
    embedding_server: EmbeddingServer,
    milvus_secure: MilvusServer,
    log: LogLines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty(milvus_secure)
    for name, value in milvus_secure.trust.items():
        monkeypatch.setenv(name, value)
    options = indexing(embedding_server, milvus_secure, milvus_token="root:not-this-one")
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.log_run(run("r1"))
        assert recorder.flush(60)  # flush does not wait for a server that refuses
        stats = recorder.stats()
    assert "MILVUS_TOKEN" in stats["embedding_error"]
    assert "not-this-one" not in str(stats) + str(log.lines)
    assert stats["embeddings_waiting"] == 1
    assert len(log.about("MILVUS_TOKEN")) == 1
    assert states(store) == {"embedded": 1}
    store.query("UPDATE run_embeddings SET next_attempt_at = 0")  # five minutes later
    options["milvus_token"] = milvus_secure.token
    with runlog.Recorder(**store.options, **options) as recorder:
        assert recorder.list_runs().runs
        assert recorder.flush(60)
        assert recorder.stats()["embedding_error"] is None
    assert states(store) == {"done": 1}
    assert [row["run_id"] for row in indexed(milvus_secure)] == ["r1"]


def test_vectors_of_two_lengths_are_upserted_apart(
    store: Store, embedding_server: EmbeddingServer, milvus_empty: MilvusServer
) -> None:
    """The rows that fit the collection do not wait for the others."""
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        recorder.log_run(run("r0"))
        assert recorder.flush(60)
        embedding_server.control("dimension", dimensions=8)
        recorder.log_run(run("r1"))
        assert recorder.flush(60)
        recorder.log_run(run("r2"))
        assert recorder.flush(60)
    assert {row["dim"] for row in outbox_rows(store).values()} == {384, 8}
    options = indexing(embedding_server, milvus_empty)
    with runlog.Recorder(**store.options, **options) as recorder:
        assert recorder.list_runs().runs
        wait_for(lambda: states(store)["done"] == 2, "not indexed")
        wait_for(lambda: recorder.stats()["embedding_error"], "no error")
        error = recorder.stats()["embedding_error"]
        assert ("384" in error, "8" in error) == (True, True)
    assert sorted(row["run_id"] for row in indexed(milvus_empty)) == ["r0", "r2"]
    assert outbox_rows(store)["r1"]["last_error"] == error


CLOSE = """
import sys
from pathlib import Path
import runlog

def sockets():
    links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum("socket:" in str(path.readlink()) for path in links)

before = sockets()
recorder = runlog.Recorder(openai_key=sys.argv[1], openai_base_url=sys.argv[2])
assert recorder.generate_embedding("text")
during = sockets()
recorder.close()
print(during - before, sockets() - before)
"""


def test_close_ends_the_connections(
    run_python: RunPython, embedding_server: EmbeddingServer
) -> None:
    done = run_python(CLOSE, embedding_server.key, embedding_server.url)
    during, afterwards = done.stdout.split()
    assert int(during) > 0, done.stderr
    assert afterwards == "0"
