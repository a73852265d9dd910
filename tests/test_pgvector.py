"""Search by pgvector: copies of the vectors, and the same hits as a scan."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fixtures_pgvector import PgvectorServer
from fixtures_postgres import PostgresServer
from fixtures_search import Place, empty, make_place, names
from fixtures_services import EmbeddingServer
from helpers import minimal, until

import runlog
from runlog import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures_milvus import MilvusServer

ROOT = Path(__file__).resolve().parent.parent
COUNT = 40
QUESTION = "drinks"
HAS_COLUMN = (
    "SELECT count(*) FROM information_schema.columns "
    "WHERE table_name = 'run_embeddings' AND column_name = 'embedding'"
)
COPIED = "SELECT count(*) FROM run_embeddings WHERE embedding_stamp = stamp"
CREATE = "CREATE EXTENSION vector"
DROP = "DROP EXTENSION vector CASCADE"


def log_some(recorder: runlog.Recorder, count: int = COUNT, first: int = 0) -> None:
    for number in range(first, first + count):
        text = f"{number} {'cups of tea' if number % 2 else 'old trains'} today"
        recorder.log_run(minimal(f"r{number}", f"w{number % 3}", outputs={"text": text}))
    assert recorder.flush(60)


def ranking(recorder: runlog.Recorder, **how: Any) -> list[tuple[str, float]]:
    """The hits, with scores to the last bit."""
    hits = recorder.search_runs(QUESTION, **how)
    return [(hit["run_id"], hit["score"]) for hit in hits]


@contextmanager
def statements(place: Place) -> Iterator[list[str]]:
    """The statements that the server gets meanwhile; filled at the end."""
    dsn = psycopg.conninfo.conninfo_to_dict(place.options["postgres_dsn"])
    name, log = dsn["dbname"], Path(str(dsn["host"])) / "server.log"
    place.store.query(f"ALTER DATABASE {name} SET log_statement = 'all'")
    before = log.stat().st_size
    said: list[str] = []
    yield said
    place.store.query(f"ALTER DATABASE {name} RESET log_statement")
    said += log.read_bytes()[before:].decode(errors="replace").splitlines()


def searched_there(said: list[str]) -> bool:
    return any("OPERATOR(" in line for line in said)


@pytest.fixture
def place(with_pgvector: Place) -> Place:
    return with_pgvector


def test_the_database_searches(place: Place) -> None:
    with statements(place) as said, place.open() as recorder:
        log_some(recorder)
        assert len(ranking(recorder)) == 10
    assert searched_there(said)
    assert place.store.query(HAS_COLUMN) == [(1,)]


def test_the_migration_is_recorded_by_itself(place: Place) -> None:
    with place.open() as recorder:
        log_some(recorder, 1)
        recorder.search_runs(QUESTION)
    file = ROOT / "migrations" / "pgvector" / "001_embedding.sql"
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    columns = "SELECT number, name, checksum FROM runlog_pgvector_migrations"
    rows = place.store.query(columns)
    assert rows == [(1, file.name, checksum)]
    count = "SELECT count(*) FROM runlog_migrations WHERE name LIKE '%embedding.sql'"
    assert place.store.query(count) == [(0,)]


def test_the_extension_is_never_created(
    postgres_server: PostgresServer,
    pgvector_server: PgvectorServer,
    tmp_path: Path,
    embedding_server: EmbeddingServer,
    request: pytest.FixtureRequest,
) -> None:
    with make_place("pgvector", tmp_path, request) as place:
        place.store.query(DROP)
        with place.open() as recorder:
            log_some(recorder, 3)
            assert len(ranking(recorder)) == 3
        tables = "SELECT count(*) FROM pg_tables WHERE tablename LIKE '%pgvector%'"
        assert place.store.query(tables) == [(0,)]
        assert place.store.query(HAS_COLUMN) == [(0,)]
        extensions = "SELECT count(*) FROM pg_extension WHERE extname = 'vector'"
        assert place.store.query(extensions) == [(0,)]


def test_scores_are_those_of_the_scan_to_the_last_bit(place: Place) -> None:
    place.store.query(DROP)
    filters: list[dict[str, Any]] = [
        {"limit": 1}, {"limit": 7}, {"limit": 1000}, {"wpk_id": "w1"},
        {"status": "failed"}, {"status": "completed", "limit": 30},
        {"wpk_id": "w2", "status": "completed"},
    ]  # fmt: skip
    with place.open() as recorder:
        log_some(recorder)
        scanned = [ranking(recorder, **how) for how in filters]
        similar = recorder.find_similar("r3", limit=1000)
    place.store.query(CREATE)
    with statements(place) as said, place.open(openai_key=None) as recorder:
        assert recorder.find_similar("r3", limit=1000) == similar
        assert place.store.query(COPIED) == [
            (0,)
        ]  # without embedding there are no copies
    assert searched_there(said)
    with statements(place) as said, place.open() as recorder:
        assert [ranking(recorder, **how) for how in filters] == scanned
        recorder.log_run(minimal("late", status="late", outputs={"text": "asphalt"}))
        assert recorder.flush(60)
        recorder.delete_runs(run_id="late")
        until(lambda: copied_after_a_round(place, recorder) >= COUNT)
        assert [ranking(recorder, **how) for how in filters] == scanned
        assert recorder.find_similar("r3", limit=1000) == similar
    assert searched_there(said)


def copied_after_a_round(place: Place, recorder: runlog.Recorder) -> int:
    """The number of copies after another round of the indexer."""
    recorder.log_run(minimal("again", outputs={"text": "gravel"}))
    assert recorder.flush(60)
    recorder.delete_runs(run_id="again")
    ((count,),) = place.store.query(COPIED)
    return int(count)


def test_copies_are_what_they_copy(place: Place) -> None:
    with place.open() as recorder:
        recorder.search_runs(QUESTION)
        log_some(recorder)
        until(lambda: copied_after_a_round(place, recorder) >= COUNT)
        rows = place.store.query(
            "SELECT vector, embedding::real[], dim FROM run_embeddings "
            "WHERE embedding_stamp = stamp"
        )
    import numpy as np

    for vector, copy, dim in rows:
        assert len(copy) == dim == 384
        assert np.frombuffer(vector, "<f4").tolist() == np.array(copy, "<f4").tolist()


def test_a_changed_text_is_copied_again(place: Place) -> None:
    with place.open() as recorder:
        log_some(recorder)
        until(lambda: copied_after_a_round(place, recorder) >= COUNT)
        assert names(recorder.search_runs("asphalt", limit=1)) != ["r0"]
        recorder.log_run(minimal("r0", "w0", outputs={"text": "asphalt"}))
        assert recorder.flush(60)
        (hit,) = recorder.search_runs("asphalt", limit=1)
        assert hit["run_id"] == "r0"
        assert hit["score"] == pytest.approx(1, abs=1e-5)
        until(lambda: copied_after_a_round(place, recorder) >= COUNT)
        assert recorder.search_runs("asphalt", limit=1) == [hit]


def test_an_extension_may_be_dropped(place: Place) -> None:
    """Searches and embeddings continue."""
    with place.open() as recorder:
        log_some(recorder)
        before = ranking(recorder, limit=1000)
        place.store.query(DROP)
        assert ranking(recorder, limit=1000) == before
        log_some(recorder, 3, COUNT)
        assert len(ranking(recorder, limit=1000)) == COUNT + 3
        assert place.store.query(HAS_COLUMN) == [(0,)]
        before = ranking(recorder, limit=1000)
    place.store.query(CREATE)
    with statements(place) as said, place.open() as recorder:
        assert ranking(recorder, limit=1000) == before
    assert searched_there(said)
    assert place.store.query(HAS_COLUMN) == [(1,)]


def test_an_extension_may_be_created_later(place: Place) -> None:
    """A running process finds the extension after a while."""
    place.store.query(DROP)
    with place.open() as recorder:
        log_some(recorder, 5)
        before = ranking(recorder)
        place.store.query(CREATE)

        def uses_it() -> bool:
            assert ranking(recorder) == before
            return place.store.query(HAS_COLUMN) == [(1,)]

        until(uses_it)


@pytest.mark.parametrize("schema", ["extensions", 'Odd "schema"'])
def test_an_extension_may_be_in_another_schema(place: Place, schema: str) -> None:
    quoted = '"' + schema.replace('"', '""') + '"'
    place.store.query(DROP)
    with place.open() as recorder:
        log_some(recorder)
        before = ranking(recorder)
    place.store.query(f"CREATE SCHEMA {quoted}")
    place.store.query(f"{CREATE} SCHEMA {quoted}")
    with statements(place) as said, place.open() as recorder:
        assert ranking(recorder) == before
        until(lambda: copied_after_a_round(place, recorder) >= COUNT)
        assert ranking(recorder) == before
    assert searched_there(said)


def test_a_role_that_may_not_change_the_table_searches(
    place: Place, pgvector_server: PgvectorServer
) -> None:
    """It searches without the extension."""
    place.store.query(DROP)
    with place.open() as recorder:
        log_some(recorder)
        before = ranking(recorder)
    place.store.query(CREATE)
    database = place.store.query("SELECT current_database()")[0][0]
    role = f"reader_{database}"
    place.store.query(f"CREATE ROLE {role} LOGIN")
    tables = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
    place.store.query(f"GRANT {tables} TO {role}")
    try:
        dsn = pgvector_server.dsn(database, role)
        with place.open(postgres_dsn=dsn) as recorder:
            assert ranking(recorder) == before
            log_some(recorder, 1, COUNT)
            assert len(ranking(recorder, limit=1000)) == COUNT + 1
        assert place.store.query(HAS_COLUMN) == [(0,)]
    finally:
        place.store.query(f"DROP OWNED BY {role}")
        place.store.query(f"DROP ROLE {role}")


def test_a_table_that_is_locked_is_not_waited_for_long(place: Place) -> None:
    place.store.query(DROP)
    with place.open() as recorder:
        log_some(recorder, 5)
        before = ranking(recorder)
    place.store.query(CREATE)
    with psycopg.connect(place.options["postgres_dsn"]) as other:
        other.execute("SELECT count(*) FROM run_embeddings")  # holds a lock
        with place.open() as recorder:
            assert ranking(recorder) == before
            log_some(recorder, 1, 5)
        other.rollback()
    assert place.store.query(HAS_COLUMN) == [(0,)]


def test_a_changed_migration_is_refused(place: Place) -> None:
    with place.open() as recorder:
        log_some(recorder, 1)
        recorder.search_runs(QUESTION)
    place.store.query("UPDATE runlog_pgvector_migrations SET checksum = '0'")
    with place.open() as recorder:
        with pytest.raises(StoreError, match=r"checksum of migration 001_embedding\.sql"):
            recorder.search_runs(QUESTION)
        log_some(recorder, 1, 1)  # recording continues


def test_threads_make_the_first_search_at_once(place: Place) -> None:
    with place.open() as recorder:
        log_some(recorder)
    recorders = [place.open() for _ in range(3)]
    with ThreadPoolExecutor(9) as pool:
        found = list(pool.map(ranking, recorders * 3))
    assert all(one == found[0] for one in found)
    for one in recorders:
        one.close()
    rows = place.store.query("SELECT number FROM runlog_pgvector_migrations")
    assert rows == [(1,)]


def test_with_milvus_the_extension_is_left_alone(
    place: Place, milvus_lite: MilvusServer
) -> None:
    endpoint = empty(milvus_lite).endpoint
    with place.open(milvus_endpoint=endpoint) as recorder:
        log_some(recorder, 5)
        until(lambda: len(ranking(recorder)) == 5)
    assert place.store.query(HAS_COLUMN) == [(0,)]


def test_an_index_of_the_operator_is_used(place: Place) -> None:
    """The statement can use an index for one dimension."""
    with place.open() as recorder:
        log_some(recorder)
        until(lambda: copied_after_a_round(place, recorder) >= COUNT)
        before = ranking(recorder)
        place.store.query(
            "CREATE INDEX own_idx ON run_embeddings "
            "USING hnsw ((embedding::vector(384)) vector_cosine_ops) WHERE dim = 384"
        )
        database = place.store.query("SELECT current_database()")[0][0]
        for setting in ("enable_seqscan = off", "enable_sort = off"):
            place.store.query(f"ALTER DATABASE {database} SET {setting}")
        place.store.query("ALTER TABLE run_embeddings SET (autovacuum_enabled = off)")
        place.store.query("ANALYZE run_embeddings")
    with place.open() as recorder:
        assert ranking(recorder) == before
    scans = "SELECT idx_scan > 0 FROM pg_stat_user_indexes WHERE indexrelname = 'own_idx'"
    until(lambda: place.store.query(scans) == [(True,)])
