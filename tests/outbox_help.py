"""Helpers of the tests of the outbox: settings, and reads of the outbox and Milvus."""

from __future__ import annotations

import base64
import json
import logging
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from fixtures_milvus import MilvusServer
from fixtures_services import EmbeddingServer
from fixtures_store import Store
from pymilvus import MilvusException

COLLECTION = "workflow_runs"
FIELDS = ["id", "wpk_id", "run_id", "status", "created_at", "embedding"]
NAMES = ["id", "wpk_id", "state", "version", "attempts", "last_error", "upserted"]
NAMES += ["model", "dim", "vector", "text_bytes", "used_bytes", "next_attempt_at"]
LEASE_ENDS = "UPDATE run_embeddings SET next_attempt_at = 0"


def embedding(server: EmbeddingServer, **more: Any) -> dict[str, Any]:
    """Arguments of a recorder that embeds."""
    return {"openai_key": server.key, "openai_base_url": server.url, **more}


def indexing(
    server: EmbeddingServer, milvus: MilvusServer, **more: Any
) -> dict[str, Any]:
    """Arguments of a recorder that embeds, and indexes in Milvus."""
    return embedding(server, milvus_endpoint=milvus.endpoint, **more)


def environment(options: dict[str, Any]) -> dict[str, str]:
    """The same arguments as environment variables."""
    names = {
        "openai_key": "OPENAI_KEY",
        "openai_base_url": "OPENAI_BASE_URL",
        "milvus_endpoint": "MILVUS_ENDPOINT",
        "service_timeout": "RUNLOG_SERVICE_TIMEOUT",
    }
    return {names[key]: str(value) for key, value in options.items()}


def outbox_rows(store: Store) -> dict[str, dict[str, Any]]:
    """The rows of run_embeddings, by run_id; by their id if the run was deleted."""
    columns = ", ".join(f"e.{name}" for name in NAMES)
    rows = store.query(
        f"SELECT r.run_id, {columns} FROM run_embeddings e "
        "LEFT JOIN workflow_runs r ON r.id = e.id AND r.wpk_id = e.wpk_id"
    )
    found = {
        str(row[0] or row[1]): dict(zip(NAMES, row[1:], strict=True)) for row in rows
    }
    assert len(found) == len(rows)
    return found


def states(store: Store) -> Counter[str]:
    """The number of rows of each state; SQLite's new runs count as pending."""
    sql = "SELECT state, count(*) FROM run_embeddings GROUP BY state"
    counts = Counter(dict(store.query(sql)))
    if store.kind == "sqlite":
        counts["pending"] += store.query("SELECT count(*) FROM run_embeddings_new")[0][0]
    return +counts


def vector(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The vector of a row: little-endian float32."""
    return np.frombuffer(bytes(row["vector"]), "<f4")


def ask(server: EmbeddingServer, texts: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """The vectors that the server returns to another client."""
    body = {"input": list(texts), "model": server.model, "encoding_format": "base64"}
    request = urllib.request.Request(
        f"{server.url}/embeddings",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        data = json.load(answer)["data"]
    return [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in data]


@contextmanager
def connected(milvus: MilvusServer) -> Iterator[Any]:
    """The official client. Retries, as the server sometimes rejects it for its pings."""
    with ExitStack() as stack:
        for left in reversed(range(5)):
            try:
                client = stack.enter_context(milvus.client())
                break
            except MilvusException:
                if not left:
                    raise
                time.sleep(1)
        yield client


def indexed(milvus: MilvusServer) -> list[dict[str, Any]]:
    """The rows in Milvus, read with the official client."""
    with connected(milvus) as client:
        if not client.has_collection(COLLECTION):
            return []
        client.load_collection(COLLECTION)
        rows: list[dict[str, Any]] = client.query(
            COLLECTION,
            filter='id != ""',
            output_fields=FIELDS,
            consistency_level="Strong",
        )
        return rows


def empty(milvus: MilvusServer) -> MilvusServer:
    """The server, without the collection."""
    with connected(milvus) as client:
        if client.has_collection(COLLECTION):
            client.drop_collection(COLLECTION)
    return milvus


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class LogLines(logging.Handler):
    """A handler of the logger "runlog", with the lines that it has got."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")

    def about(self, word: str) -> list[str]:
        return [line for line in self.lines if word in line]
