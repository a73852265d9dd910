"""docs/search.md, and the parts of other documents about embeddings.

Their SQL works, and runlog sends to the servers what they say, and nothing else.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fixtures_milvus import MilvusServer
from fixtures_postgres import PostgresServer
from fixtures_services import EmbeddingServer
from fixtures_store import Store

import runlog

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "search.md"
LOOK, AGAIN, MISSING, EVERYTHING, MILVUS = (
    statement.rstrip().rstrip(";")
    for statement in re.findall(
        r"```sql\n(.*?)```",
        DOCUMENT.read_text("utf-8").partition("## By meaning")[2],
        re.DOTALL,
    )
)


def embedding(server: EmbeddingServer) -> dict[str, Any]:
    """The options of a recorder that embeds."""
    options = {"openai_key": server.key, "openai_base_url": server.url}
    return {**options, "embedding_model": server.model}


def log(recorder: runlog.Recorder, run_id: str, **outputs: str) -> None:
    run = {"wpk_id": "w", "run_id": run_id, "status": "completed", "outputs": outputs}
    recorder.log_run(run)


def states(store: Store) -> dict[str, int]:
    """The result of the first statement."""
    return {state: int(count) for state, count, _ in store.query(LOOK)}


def found(recorder: runlog.Recorder, text: str) -> list[str]:
    return [hit["run_id"] for hit in recorder.search_runs(text)]


def test_failed_rows_are_queued_again(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        log(recorder, "good", text="the harbour in the morning")
        assert recorder.flush(60)
        embedding_server.control("status", None, status=400, containing="unlucky")
        log(recorder, "bad", text="an unlucky text")
        assert recorder.flush(60)
        assert states(store) == {"embedded": 1, "failed": 1}
        assert found(recorder, "bad luck") == ["good"]
        embedding_server.clear()
        store.query(AGAIN)
        assert recorder.flush(60)
        assert states(store) == {"embedded": 2}
        assert found(recorder, "bad luck") == ["bad", "good"]


def test_runs_without_a_row_are_queued(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    with runlog.Recorder(**store.options) as recorder:
        log(recorder, "old", text="logged without a key")
        log(recorder, "mute", other="no text")
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        log(recorder, "new", text="logged with one")
        assert recorder.flush(60)
    assert states(store) == {"embedded": 1}
    store.query(MISSING)
    assert states(store) == {"embedded": 1, "pending": 2}
    with runlog.Recorder(**store.options, **embedding(embedding_server)) as recorder:
        assert recorder.flush(60)
        assert states(store) == {"embedded": 2}
        assert sorted(found(recorder, "a key")) == ["new", "old"]
    assert embedding_server.counters()["texts"] == 3  # two runs, and the search


def test_everything_is_embedded_again(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    options = store.options | embedding(embedding_server)
    with runlog.Recorder(**options) as recorder:
        log(recorder, "one", text="the harbour in the morning")
        log(recorder, "two", text="an unlucky text")
        assert recorder.flush(60)
    with runlog.Recorder(**options, embedding_dimensions=128) as recorder:
        assert found(recorder, "bad luck") == []
        store.query(EVERYTHING)
        assert recorder.flush(60)
        assert found(recorder, "bad luck") == ["two", "one"]
    sql = "SELECT DISTINCT dim, length(vector) FROM run_embeddings"
    assert store.query(sql) == [(128, 512)]


def test_milvus_is_filled_again(
    store: Store, embedding_server: EmbeddingServer, milvus_lite: MilvusServer
) -> None:
    options = store.options | embedding(embedding_server)
    options["milvus_endpoint"] = milvus_lite.endpoint
    with milvus_lite.client() as client, closing(runlog.Recorder(**options)) as recorder:
        client.drop_collection("workflow_runs")
        log(recorder, "one", text="the harbour in the morning")
        log(recorder, "two", text="an unlucky text")
        assert recorder.flush(60)
        assert states(store) == {"done": 2}
        texts = embedding_server.counters()["texts"]
        client.drop_collection("workflow_runs")
        store.query(MILVUS)
        assert recorder.flush(60)
        assert states(store) == {"done": 2}
        assert embedding_server.counters()["texts"] == texts
        assert found(recorder, "bad luck") == ["two", "one"]
        client.drop_collection("workflow_runs")


class Relay:
    """A relay in front of a server, which records everything that clients send."""

    def __init__(self, port: int) -> None:
        self.sent = b""
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):  # close() ends it
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._connect, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            self._sockets += [client, server]
            back = threading.Thread(target=self._hand_on, args=(server, client))
            back.start()
            self._hand_on(client, server)
            back.join()

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # either end has closed the connection
            while piece := source.recv(65536):
                if target.getpeername() == self._server:
                    self.sent += piece
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the relay and its open connections."""
        for end in (self._listener, *self._sockets):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        self._listener.close()


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    made = Relay(port)
    try:
        yield made
    finally:
        made.close()


def requests_in(sent: bytes) -> list[tuple[str, dict[str, str], Any]]:
    """The first line, headers and body of each request of HTTP/1.1."""
    found = []
    while sent:
        head, _, sent = sent.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {
            name: value for name, _, value in (line.partition(": ") for line in lines)
        }
        length = int(headers.pop("Content-Length"))
        found.append((first, headers, json.loads(sent[:length])))
        sent = sent[length:]
    return found


RUN = {
    "wpk_id": "workflow-7",
    "run_id": "run-7",
    "status": "completed",
    "inputs": {"question": "of-the-inputs"},
    "outputs": {"text": "of-the-outputs", "rest": "of-the-rest", "password": "hunter2"},
    "node_logs": [{"node": "of-the-nodes"}],
    "metadata": {"user": "of-the-metadata"},
}


def test_what_leaves_the_machine(
    store: Store, embedding_server: EmbeddingServer, milvus_lite: MilvusServer
) -> None:
    with relay(embedding_server.port) as texts, relay(milvus_lite.port) as vectors:
        with milvus_lite.client() as client:
            client.drop_collection("workflow_runs")
        options = store.options | embedding(embedding_server)
        options["openai_base_url"] = f"http://127.0.0.1:{texts.port}/v1"
        options["milvus_endpoint"] = f"127.0.0.1:{vectors.port}"
        options["openai_headers"] = {"OpenAI-Project": "p"}
        with runlog.Recorder(**options) as recorder:
            recorder.log_run(RUN)
            assert recorder.flush(60)
            assert [hit["run_id"] for hit in recorder.search_runs("a-question")] == [
                "run-7"
            ]
            assert recorder.find_similar("run-7") == []
            assert recorder.delete_runs(run_id="run-7") == 1
            assert recorder.flush(60)
        (line, headers, body), asked = requests_in(texts.sent)
        assert line == "POST /v1/embeddings HTTP/1.1"
        assert headers.pop("Host") == f"127.0.0.1:{texts.port}"
        assert headers == {
            "Authorization": f"Bearer {embedding_server.key}",
            "Content-Type": "application/json",
            "User-Agent": "runlog",
            "Accept": "*/*",
            "OpenAI-Project": "p",
        }
        rest = {"model": embedding_server.model, "encoding_format": "base64"}
        assert body == {"input": ["of-the-outputs"], **rest}
        assert asked[2] == {"input": ["a-question"], **rest}
        for column in ("workflow-7", "run-7", "completed"):
            assert column.encode() in vectors.sent
        for text in ("of-the", "hunter2", "a-question"):
            assert text.encode() not in vectors.sent
        with milvus_lite.client() as client:
            assert client.query("workflow_runs", filter='id != ""') == []
            client.drop_collection("workflow_runs")


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "OPENAI"])
def test_a_key_of_another_name_switches_nothing_on(
    name: str,
    store: Store,
    embedding_server: EmbeddingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, embedding_server.key)
    monkeypatch.setenv("OPENAI_BASE_URL", embedding_server.url)
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(RUN)
        assert recorder.flush(60)
        assert recorder.generate_embedding("a text") is None
        assert (
            recorder.upsert_to_milvus("run-7", [1.0], {"wpk_id": "workflow-7"}) is False
        )
        with pytest.raises(runlog.ConfigError, match="OPENAI_KEY"):
            recorder.search_runs("a text", by="meaning")
    assert states(store) == {}
    assert embedding_server.counters()["requests"] == 0


def test_the_settings_for_azure_work(
    embedding_server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings of the document, with the address of the server."""
    text = DOCUMENT.read_text("utf-8")
    block = next(
        block
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        if "azure" in block
    )
    for name, value in re.findall(r"^export (\w+)='?([^'\n]*)'?$", block, re.MULTILINE):
        place = value.replace("https://NAME.openai.azure.com", embedding_server.origin)
        place = place.replace("DEPLOYMENT", embedding_server.model)
        monkeypatch.setenv(
            name, place.replace("api-key: ...", f"api-key: {embedding_server.key}")
        )
    with runlog.Recorder() as recorder:
        vector = recorder.generate_embedding("a word")
    assert vector is not None
    assert len(vector) == embedding_server.dim


def test_the_rights_of_a_role_that_only_records(
    postgres_server: PostgresServer, embedding_server: EmbeddingServer, tmp_path: Path
) -> None:
    """The rights are those of docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    grants = re.findall(r"^GRANT [^;]* TO the_role;$", text, re.MULTILINE)
    assert len(grants) == 3
    with postgres_server.borrow_database() as name:
        role = f"recorder_{name}"
        options: dict[str, Any] = {"sqlite_path": str(tmp_path / "runs.db")}
        with runlog.Recorder(postgres_dsn=postgres_server.dsn(name), **options) as owner:
            log(owner, "old", text="the harbour in the morning")
        postgres_server.query(f"CREATE ROLE {role} LOGIN")
        for grant in grants:
            postgres_server.query(grant.replace("the_role", role), dbname=name)
        options |= {"postgres_dsn": postgres_server.dsn(name, user=role)}
        try:
            with runlog.Recorder(**options, **embedding(embedding_server)) as recorder:
                log(recorder, "new", text="an unlucky text")
                assert recorder.flush(60)
                assert found(recorder, "bad luck") == ["new"]
                assert recorder.stats()["journaled"] == 0
                assert recorder.delete_runs(run_id="new") == 1
        finally:
            postgres_server.query(f"DROP OWNED BY {role}", dbname=name)
            postgres_server.query(f"DROP ROLE {role}")


def test_every_setting_is_in_configuration_md() -> None:
    stub = (ROOT / "runlog" / "_runlog.pyi").read_text("utf-8")
    init = stub.partition("def __init__(")[2].partition(") -> None")[0]
    arguments = re.findall(r"^ +(\w+): ", init, re.MULTILINE)
    assert len(arguments) > 15
    tables = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| (\w+) \|", tables, re.MULTILINE)
    assert {argument for _, argument in rows} >= set(arguments)
    for variable, argument in rows:
        if argument in arguments:
            assert f"({variable}" in stub, f"{argument} has another variable"
