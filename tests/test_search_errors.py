"""Searches, embeddings and upserts that fail: the error says why, and nothing hangs."""

from __future__ import annotations

import math
import threading
import time
from collections import UserDict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import DAY, make_certificate
from fixtures_milvus import MilvusServer
from fixtures_postgres import free_port
from fixtures_search import COLLECTION, Place, empty, eventually, names
from fixtures_services import EmbeddingServer
from helpers import minimal, stored
from stopwatch import Stopwatch

import runlog
from runlog import ClosedError, ConfigError, ServiceError, ValidationError

TEXT = "a cup of tea"
DIM = 384


@pytest.fixture
def to_milvus(here: Place, milvus_lite: MilvusServer) -> Place:
    """An empty place on SQLite, with Milvus."""
    here.options["milvus_endpoint"] = empty(milvus_lite).endpoint
    return here


@pytest.mark.parametrize(
    "text", [None, 1, b"tea", ["tea"], "", " \n\t", "a\0b", "\ud800"]
)
def test_texts_that_can_not_be_searched_are_rejected(here: Place, text: Any) -> None:
    with here.open() as recorder:
        for call in (recorder.search_runs, recorder.generate_embedding):
            with pytest.raises(ValidationError, match=r"^text must"):
                call(text)


@pytest.mark.parametrize("limit", [0, -1, 1001, 1.5, "3", True, 10**30])
def test_limits_out_of_range_are_rejected(here: Place, limit: Any) -> None:
    with here.open() as recorder:
        for call in (recorder.search_runs, recorder.find_similar):
            with pytest.raises(ValidationError, match=r"^limit must be a whole number"):
                call(TEXT, limit=limit)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wpk_id", 1), ("wpk_id", b"w"), ("wpk_id", "\ud800"), ("status", 1),
        ("status", "a\0"), ("since", 0), ("since", "soon"), ("since", b""),
    ],
)  # fmt: skip
def test_filters_of_wrong_types_are_rejected(here: Place, name: str, value: Any) -> None:
    with here.open() as recorder:
        with pytest.raises(ValidationError, match=f"^{name} must be"):
            recorder.search_runs(TEXT, **{name: value})
        other = "within" if name == "wpk_id" else name
        with pytest.raises(ValidationError, match=f"^{other} must be"):
            recorder.find_similar("r1", **{other: value})


@pytest.mark.parametrize("run_id", [None, 1, "", " ", "\ud800"])
def test_invalid_names_of_runs_are_rejected(here: Place, run_id: Any) -> None:
    with here.open() as recorder:
        with pytest.raises(ValidationError, match=r"^run_id must"):
            recorder.find_similar(run_id)
        with pytest.raises(ValidationError, match=r"^run_id must"):
            recorder.upsert_to_milvus(run_id, [1.0], {})


def test_unknown_arguments_are_rejected(here: Place) -> None:
    with here.open() as recorder:
        for call in (recorder.search_runs, recorder.find_similar):
            wrong: Callable[..., Any] = call
            with pytest.raises(TypeError):
                wrong(TEXT, nothing=1)
            with pytest.raises(TypeError):
                wrong()


def test_a_missing_key_is_an_error(tmp_path: Path) -> None:
    with runlog.Recorder(sqlite_path=str(tmp_path / "runs.db")) as recorder:
        recorder.log_run(minimal(outputs={"text": TEXT}))
        assert recorder.flush(60)
        assert recorder.generate_embedding(TEXT) is None
        with pytest.raises(ConfigError, match="OPENAI_KEY"):
            recorder.search_runs(TEXT, by="meaning")
        with pytest.raises(ValidationError, match="without an embedding"):
            recorder.find_similar("r1")
        assert recorder.upsert_to_milvus("r1", [1.0], {}) is False


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "http://", "nonsense://", "http://a b/v1", "http://h:99999/"]
)
def test_an_invalid_base_url_is_an_error(here: Place, url: str) -> None:
    with here.open(openai_base_url=url) as recorder:
        recorder.log_run(minimal(outputs={"text": TEXT}))
        for call in (recorder.search_runs, recorder.generate_embedding):
            with pytest.raises(ConfigError, match="OPENAI_BASE_URL"):
                call(TEXT)
        assert stored(recorder)["outputs"] == {"text": TEXT}


@pytest.mark.parametrize("url", ["ftp://host", "http://", "host:notaport", "http://a b"])
def test_an_invalid_milvus_endpoint_is_an_error(here: Place, url: str) -> None:
    with here.open(milvus_endpoint=url) as recorder:
        recorder.log_run(minimal(outputs={"text": TEXT}))
        calls: list[Callable[[], Any]] = [
            lambda: recorder.search_runs(TEXT),
            lambda: recorder.upsert_to_milvus("r1", [1.0], {"wpk_id": "w"}),
        ]
        for call in calls:
            with pytest.raises(ConfigError, match="MILVUS_ENDPOINT"):
                call()
        assert stored(recorder)["outputs"] == {"text": TEXT}


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_unavailable_servers_are_an_error(here: Place, host: str) -> None:
    address = f"{host}:{free_port()}"
    with here.open(openai_base_url=f"http://{address}/v1") as recorder:
        recorder.log_run(minimal(outputs={"text": TEXT}))
        for call in (recorder.search_runs, recorder.generate_embedding):
            with pytest.raises(ServiceError, match=host) as caught:
                call(TEXT)
            assert caught.value.retryable is True
        assert stored(recorder)["outputs"] == {"text": TEXT}
    with here.open(milvus_endpoint=f"http://{address}") as recorder:
        with pytest.raises(ServiceError, match=host):
            recorder.search_runs(TEXT)
        with pytest.raises(ServiceError, match=host):
            recorder.upsert_to_milvus("r1", [1.0], {"wpk_id": "w"})


def test_an_expired_certificate_is_an_error(here: Place, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    cert, key = make_certificate(folder, start=-2 * DAY, end=-timedelta(hours=1))
    server = EmbeddingServer(cert=cert, cert_key=key)
    try:
        more = {"openai_base_url": server.url, "openai_key": server.key}
        with here.open(**more) as recorder:
            recorder.log_run(minimal(outputs={"text": TEXT}))
            with pytest.raises(ServiceError, match="certificate") as caught:
                recorder.search_runs(TEXT)
            assert f"127.0.0.1:{server.port}" in str(caught.value)
            assert server.key not in str(caught.value)
            assert stored(recorder)["outputs"] == {"text": TEXT}
    finally:
        server.close()


def test_the_same_text_gives_the_same_embedding(here: Place) -> None:
    with here.open() as recorder:
        one, other = (recorder.generate_embedding(TEXT) for _ in range(2))
        assert one is not None
        assert one == other
        assert all(type(number) is float for number in one)


def test_generate_embedding_with_key(
    embedding_server: EmbeddingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OPENAI_KEY in the environment is enough."""
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(tmp_path / "runs.db"))
    monkeypatch.setenv("OPENAI_BASE_URL", embedding_server.url)
    assert runlog.generate_embedding(TEXT) is None
    assert embedding_server.counters()["requests"] == 0
    runlog.close()
    monkeypatch.setenv("OPENAI_KEY", embedding_server.key)
    vector = runlog.generate_embedding(TEXT)
    assert vector is not None
    assert len(vector) == DIM
    assert math.isclose(sum(number * number for number in vector), 1, abs_tol=1e-5)
    near = runlog.generate_embedding("hot tea, one cup")
    far = runlog.generate_embedding("the gradient is not a number")
    assert near is not None
    assert far is not None

    def cosine(other: list[float]) -> float:
        return sum(a * b for a, b in zip(vector, other, strict=True))

    assert cosine(near) > 0.6 > cosine(far)


def test_upsert_to_milvus_success(
    milvus_lite: MilvusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is enough; the official client reads the row."""
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(tmp_path / "runs.db"))
    vector = [0.5] * 4
    metadata = {"wpk_id": "w", "status": "completed"}
    assert runlog.upsert_to_milvus("r1", vector, metadata) is False
    runlog.close()
    monkeypatch.setenv("MILVUS_ENDPOINT", empty(milvus_lite).endpoint)
    runlog.log_run(minimal())
    assert runlog.upsert_to_milvus("r1", vector, metadata) is True
    with milvus_lite.client() as client:
        fields = ["id", "wpk_id", "status", "run_id", "embedding"]
        (row,) = client.query(COLLECTION, filter="run_id == 'r1'", output_fields=fields)
    assert (row["wpk_id"], row["status"], row["run_id"]) == ("w", "completed", "r1")
    assert list(row["embedding"]) == pytest.approx(vector)
    run = runlog.get_run("r1")
    assert run is not None
    assert row["id"] == run["id"]


def test_log_run_with_embedding_integration(
    milvus_lite: MilvusServer,
    embedding_server: EmbeddingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """log_run is enough to embed outputs.text and to index it in Milvus."""
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(tmp_path / "runs.db"))
    monkeypatch.setenv("OPENAI_KEY", embedding_server.key)
    monkeypatch.setenv("OPENAI_BASE_URL", embedding_server.url)
    monkeypatch.setenv("MILVUS_ENDPOINT", empty(milvus_lite).endpoint)
    runlog.log_run(minimal("r1", outputs={"text": TEXT}))
    runlog.log_run(minimal("r2", outputs={"other": "text"}))
    assert runlog.flush(60)
    with milvus_lite.client() as client:
        fields = ["id", "wpk_id", "status", "run_id", "embedding"]
        (row,) = client.query(COLLECTION, filter="wpk_id == 'w'", output_fields=fields)
    assert (row["status"], row["run_id"]) == ("completed", "r1")
    vector = runlog.generate_embedding(TEXT)
    assert list(row["embedding"]) == pytest.approx(vector, abs=1e-5)
    (hit,) = runlog.search_runs("tea")
    assert hit["run_id"] == "r1"
    assert (
        embedding_server.counters()["embedded"][TEXT] == 2
    )  # for the run, and for this call


def test_the_upsert_of_a_stored_run_is_found(to_milvus: Place) -> None:
    with to_milvus.open() as recorder:
        recorder.log_run(minimal("stored"))
        vector = recorder.generate_embedding(TEXT)
        assert vector is not None
        for name in ("stored", "not stored"):
            metadata = {"wpk_id": "w", "status": "completed", "more": 1}
            assert recorder.upsert_to_milvus(name, vector, metadata) is True
        (hit,) = eventually(lambda: recorder.search_runs(TEXT), lambda hits: hits)
        assert hit["run_id"] == "stored"
        assert hit["score"] == pytest.approx(1, abs=1e-5)
        assert names(recorder.search_runs(TEXT, wpk_id="w", status="completed")) == [
            "stored"
        ]
        assert recorder.search_runs(TEXT, wpk_id="other") == []


def test_upsert_again_replaces(to_milvus: Place, milvus_lite: MilvusServer) -> None:
    with to_milvus.open() as recorder:
        for status in ("running", "completed"):
            metadata = {"wpk_id": 'it\'s "w"\\', "status": status}
            assert recorder.upsert_to_milvus("r\\'1", [1.0, 0.0], metadata) is True
    with milvus_lite.client() as client:
        rows = client.query(COLLECTION, filter="id != ''", output_fields=["status"])
    assert [row["status"] for row in rows] == ["completed"]


@pytest.mark.parametrize("metadata", [{}, {"wpk_id": None}, {"status": "completed"}])
def test_a_stored_run_supplies_missing_metadata(
    to_milvus: Place, metadata: dict[str, Any]
) -> None:
    """A stored run supplies the missing fields."""
    with to_milvus.open() as recorder:
        recorder.log_run(minimal("stored", status="failed"))
        vector = recorder.generate_embedding(TEXT)
        assert vector is not None
        assert recorder.upsert_to_milvus("stored", vector, metadata) is True
        assert recorder.upsert_to_milvus("not stored", vector, metadata) is True
        eventually(lambda: names(recorder.search_runs(TEXT)), lambda n: n == ["stored"])
        assert names(recorder.search_runs(TEXT, wpk_id="w")) == ["stored"]


@pytest.mark.parametrize("metadata", [None, "w", ["wpk_id"], ("w",), b"w", {"w"}, 1])
def test_metadata_must_be_a_mapping(here: Place, metadata: Any) -> None:
    with here.open() as recorder, pytest.raises(ValidationError, match=r"^metadata must"):
        recorder.upsert_to_milvus("r1", [1.0], metadata)


def test_metadata_may_be_any_mapping(to_milvus: Place) -> None:
    with to_milvus.open() as recorder:
        metadata = UserDict({"wpk_id": "w", "status": "completed"})
        assert recorder.upsert_to_milvus("r1", [1.0], metadata) is True


@pytest.mark.parametrize("key", ["wpk_id", "status"])
@pytest.mark.parametrize("value", [1, b"w", "\ud800", "a\0"])
def test_metadata_of_wrong_types_is_rejected(here: Place, key: str, value: Any) -> None:
    with here.open() as recorder, pytest.raises(ValidationError, match=key):
        recorder.upsert_to_milvus("r1", [1.0], {key: value})


class Odd:
    """A number that removes itself from the list."""

    def __init__(self, numbers: list[Any]) -> None:
        self.numbers = numbers

    def __float__(self) -> float:
        self.numbers.clear()
        return 1.0


def test_a_sequence_may_change_while_it_is_read(here: Place) -> None:
    numbers: list[Any] = []
    numbers += [Odd(numbers), *range(1000)]
    with here.open() as recorder:
        assert recorder.upsert_to_milvus("r1", numbers, {}) is False


@pytest.mark.parametrize(
    "embedding",
    [
        None, 1, "0.5", b"12", [], (), {0.5: 1}, {0.5}, iter([0.5]), [None], ["0.5"],
        [0.5, math.nan], [math.inf], [1e300], [10**400], [0.5] * 32769, [[0.5]],
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_invalid_embeddings_are_rejected(here: Place, embedding: Any) -> None:
    with (
        here.open() as recorder,
        pytest.raises(ValidationError, match=r"^embedding must"),
    ):
        recorder.upsert_to_milvus("r1", embedding, {"wpk_id": "w"})


def test_numpy_arrays_are_embeddings(to_milvus: Place, milvus_lite: MilvusServer) -> None:
    import numpy as np

    with to_milvus.open() as recorder:
        for kind in (np.float32, np.float64, np.int8):
            vector: Any = np.array([1, 0, 1], kind)
            assert recorder.upsert_to_milvus(kind.__name__, vector, {"wpk_id": "w"})
    with milvus_lite.client() as client:
        rows = client.query(COLLECTION, filter="id != ''", output_fields=["embedding"])
    assert [list(row["embedding"]) for row in rows] == [[1, 0, 1]] * 3


def test_a_dimension_that_does_not_fit_the_collection_is_an_error(
    to_milvus: Place,
) -> None:
    with to_milvus.open() as recorder:
        assert recorder.upsert_to_milvus("r1", [0.5] * 8, {"wpk_id": "w"}) is True
        for call in (
            lambda: recorder.search_runs(TEXT),
            lambda: recorder.upsert_to_milvus("r1", [0.5] * 9, {"wpk_id": "w"}),
        ):
            with pytest.raises(ServiceError, match="8") as caught:
                call()
            assert caught.value.retryable is False
            assert "dim" in str(caught.value)


def test_a_text_of_10_mb(here: Place, embedding_server: EmbeddingServer) -> None:
    text = "tea and cake, " * 750_000
    with here.open() as recorder:
        recorder.log_run(minimal(outputs={"text": TEXT}))
        assert recorder.flush(60)
        assert names(recorder.search_runs(text)) == ["r1"]
        vector = recorder.generate_embedding(text)
        assert vector is not None
        assert len(vector) == DIM
    assert max(map(len, embedding_server.counters()["asked"])) <= 24_000


@pytest.mark.parametrize(
    ("fault", "said", "retryable"),
    [
        ({"kind": "status", "status": 401}, "401", False),
        ({"kind": "status", "status": 400}, "400", False),
        ({"kind": "status", "status": 500}, "500", True),
        ({"kind": "quota"}, "insufficient_quota", False),
        ({"kind": "garbage"}, "JSON", False),
        ({"kind": "nan"}, "NaN", False),
        ({"kind": "count", "by": 1}, "2 vectors", False),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_faults_of_the_embedding_server_are_errors(
    here: Place,
    embedding_server: EmbeddingServer,
    fault: dict[str, Any],
    said: str,
    retryable: bool,
) -> None:
    with here.open() as recorder:
        for call in (recorder.search_runs, recorder.generate_embedding):
            embedding_server.control(**fault, count=None)
            with pytest.raises(ServiceError, match=said) as caught:
                call(TEXT)
            embedding_server.clear()
            assert caught.value.retryable is retryable
            assert f"127.0.0.1:{embedding_server.port}" in str(caught.value)
            assert embedding_server.key not in str(caught.value)
        assert recorder.generate_embedding(TEXT) is not None


def test_a_close_ends_a_search_that_waits(
    here: Place, embedding_server: EmbeddingServer
) -> None:
    """The server never answers: the search fails, and the close ends in time."""
    recorder = here.open()
    recorder.log_run(minimal())
    embedding_server.control("stall", count=None, seconds=None)
    caught: list[BaseException] = []

    def search() -> None:
        try:
            recorder.search_runs(TEXT)
        except (ServiceError, ClosedError) as error:
            caught.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    while embedding_server.counters()["at_work"] == 0:
        time.sleep(0.01)
    watch = Stopwatch()
    recorder.close(1)
    assert watch.seconds < 15
    thread.join(60)
    assert not thread.is_alive()
    assert len(caught) == 1
    with pytest.raises(ClosedError):
        recorder.search_runs(TEXT)


def test_calls_after_the_close_are_errors(here: Place) -> None:
    recorder = here.open()
    recorder.close()
    calls: list[Callable[[], Any]] = [
        lambda: recorder.search_runs(TEXT),
        lambda: recorder.find_similar("r1"),
        lambda: recorder.generate_embedding(TEXT),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
