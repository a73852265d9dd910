"""Search by meaning: its hits, on each path that a search can take."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from fixtures_search import Place, ended_owner, eventually, names
from fixtures_services import EmbeddingServer
from helpers import minimal

import runlog
from runlog import ValidationError

if TYPE_CHECKING:
    from conftest import RunPython

TEXTS = {
    "nan": "The training loss became NaN after 300 steps, the gradients exploded.",
    "lr": "Lowering the learning rate let the neural network converge again.",
    "pie": "Bake the apple pie for forty minutes and serve it with cream.",
    "soup": "A soup of carrots and ginger, for four people.",
    "paris": "Take the night train to Paris and stay near the river.",
    "lisbon": "Lisbon in spring: trams, hills, and hotels by the sea.",
}
QUESTION = "a neural network diverged during training"
COLUMNS = {
    "id", "wpk_id", "run_id", "status", "duration_ms", "thread_id", "error_type",
    "error_text", "started_at", "created_at", "updated_at", "totals",
}  # fmt: skip
HOSTILE = [
    "it's", '"quoted"', "back\\slash", "a' or '1' == '1", 'a" or wpk_id != "',
    "%_*", "näme-日本-😀", "line\nbreak\ttab", "{}[]()", "\\", "'", '"',
]  # fmt: skip


def log_all(recorder: runlog.Recorder, **fields: Any) -> None:
    for name, text in TEXTS.items():
        recorder.log_run(minimal(name, outputs={"text": text}, **fields))
    assert recorder.flush(60)


def find(recorder: runlog.Recorder, count: int, text: str = QUESTION, **how: Any) -> Any:
    """The hits, once there are so many."""
    return eventually(
        lambda: recorder.search_runs(text, **how), lambda hits: len(hits) == count
    )


def scores(hits: list[Any]) -> list[float]:
    return [hit["score"] for hit in hits]


def test_the_nearest_come_first_with_their_columns(place: Place) -> None:
    with place.open() as recorder:
        log_all(recorder, duration_ms=12, thread_id="t", metadata={"a": 1})
        hits = find(recorder, len(TEXTS))
        assert {*names(hits)[:2]} == {"nan", "lr"}
        assert scores(hits) == sorted(scores(hits), reverse=True)
        assert 0.4 < hits[0]["score"] < 0.9
        assert abs(hits[-1]["score"]) < 0.3
        for hit in hits:
            assert next(iter(hit)) == "score"
            assert hit.keys() == COLUMNS | {"score"}
        rows = {run["run_id"]: run for run in recorder.list_runs().runs}
        for hit in hits:
            score = hit.pop("score")
            assert type(score) is float
            assert hit == rows[hit["run_id"]]
        (same,) = find(recorder, 1, TEXTS["pie"], limit=1)
        assert (same["run_id"], same["score"]) == ("pie", pytest.approx(1, abs=1e-5))


def test_no_more_hits_than_the_limit(place: Place) -> None:
    with place.open() as recorder:
        log_all(recorder)
        whole = names(find(recorder, len(TEXTS)))
        for limit in (1, 2, 5, 1000):
            assert names(recorder.search_runs(QUESTION, limit=limit)) == whole[:limit]


def test_nothing_is_found_where_nothing_is(place: Place) -> None:
    with place.open() as recorder:
        assert recorder.search_runs(QUESTION) == []
        recorder.log_run(minimal(outputs={"number": 1}))
        assert recorder.flush(60)
        assert recorder.search_runs(QUESTION) == []


def test_hits_match_the_filters(place: Place) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    with place.open() as recorder:
        for number, (name, text) in enumerate(TEXTS.items()):
            fields: dict[str, Any] = {
                "status": "failed" if number % 2 else "completed",
                "created_at": begin + timedelta(days=number),
                "outputs": {"text": text},
            }
            recorder.log_run(minimal(name, f"w{number // 3}", **fields))
        assert recorder.flush(60)
        whole = names(find(recorder, 6))
        kept = dict.fromkeys(TEXTS)

        def check(wanted: list[str], **filters: Any) -> None:
            assert {*wanted} <= kept.keys()
            expected = [name for name in whole if name in wanted]
            assert names(recorder.search_runs(QUESTION, **filters)) == expected

        check(["nan", "lr", "pie"], wpk_id="w0")
        check(["lr", "soup", "lisbon"], status="failed")
        check(["lr"], status="failed", wpk_id="w0")
        check(["paris", "lisbon"], since=begin + timedelta(days=4))
        check(["lisbon"], since=begin + timedelta(days=4, microseconds=1))
        check(["lisbon"], since=begin + timedelta(days=4), status="failed")
        check([], wpk_id="w")
        check([], wpk_id="")
        check([], status="no such status")
        check([], since=begin + timedelta(days=400))


def test_hostile_names_are_values(place: Place) -> None:
    """Names are values, whatever they contain."""
    with place.open() as recorder:
        for name in HOSTILE:
            recorder.log_run(minimal(name, name, status=name, outputs={"text": "tea"}))
        recorder.log_run(minimal("other", outputs={"text": "tea"}))
        assert recorder.flush(60)
        find(recorder, len(HOSTILE) + 1, "tea", limit=100)
        for name in HOSTILE:
            both: list[dict[str, Any]] = [{"wpk_id": name}, {"status": name}]
            for filters in both:
                assert names(recorder.search_runs("tea", **filters)) == [name]
            assert len(recorder.find_similar(name, limit=100)) == len(HOSTILE)
            assert names(recorder.find_similar("other", within=name)) == [name]


def test_deleted_runs_are_no_hits(place: Place) -> None:
    with place.open() as recorder:
        log_all(recorder)
        find(recorder, len(TEXTS))
        assert recorder.delete_runs(run_id="nan") == 1
        found = names(recorder.search_runs(QUESTION))
        assert len(found) == len(TEXTS) - 1
        assert "nan" not in found
        assert names(recorder.search_runs(QUESTION, limit=1)) == ["lr"]
        assert recorder.delete_runs(wpk_id="w") == len(TEXTS) - 1
        assert recorder.search_runs(QUESTION) == []
        assert recorder.flush(60)
        log_all(recorder)
        find(recorder, len(TEXTS))


def test_a_changed_status_is_filtered_by(place: Place) -> None:
    with place.open() as recorder:
        log_all(recorder)
        find(recorder, len(TEXTS))
        recorder.log_run(minimal("nan", status="failed"))
        assert "nan" not in names(recorder.search_runs(QUESTION, status="completed"))
        assert recorder.flush(60)
        assert names(find(recorder, 1, status="failed")) == ["nan"]
        assert names(find(recorder, len(TEXTS)))[0] in {"nan", "lr"}


def test_running_and_lost_runs_are_found(place: Place) -> None:
    with place.open() as recorder:
        for name, text in TEXTS.items():
            recorder.log_run(
                minimal(name, status="running", outputs={"text": text})
                if name != "soup"
                else minimal(name, outputs={"text": text})
            )
        assert recorder.flush(60)
        find(recorder, len(TEXTS))
        change = "UPDATE workflow_runs SET owner = ? WHERE run_id IN ('nan', 'pie')"
        place.store.query(change, ended_owner())
        assert names(recorder.search_runs(QUESTION, status="lost")) == ["nan", "pie"]
        running = recorder.search_runs(QUESTION, status="running")
        assert {*names(running)} == {"lr", "paris", "lisbon"}
        whole = {hit["run_id"]: hit["status"] for hit in recorder.search_runs(QUESTION)}
        assert (whole["nan"], whole["lr"], whole["soup"]) == (
            "lost",
            "running",
            "completed",
        )


def test_a_changed_text_is_found(place: Place) -> None:
    with place.open() as recorder:
        log_all(recorder)
        find(recorder, len(TEXTS))
        recorder.log_run(minimal("pie", outputs={"text": QUESTION}))
        assert recorder.flush(60)
        (hit,) = eventually(
            lambda: recorder.search_runs(QUESTION, limit=1),
            lambda hits: names(hits) == ["pie"],
        )
        assert hit["score"] == pytest.approx(1, abs=1e-5)
        assert len(find(recorder, len(TEXTS))) == len(TEXTS)


def test_a_run_without_a_text_any_more_is_no_hit(place: Place) -> None:
    with place.open() as recorder:
        log_all(recorder)
        find(recorder, len(TEXTS))
        recorder.log_run(minimal("nan", outputs={"number": 1}))
        assert recorder.flush(60)
        assert "nan" not in names(find(recorder, len(TEXTS) - 1))


def test_similar_runs_are_found_by_the_stored_vector(
    place: Place, embedding_server: EmbeddingServer
) -> None:
    """The search uses the stored vector, and sends nothing to the embedding server."""
    with place.open() as recorder:
        log_all(recorder)
        recorder.log_run(minimal("other", "elsewhere", outputs={"text": TEXTS["lr"]}))
        assert recorder.flush(60)
        find(recorder, len(TEXTS) + 1)
        before = embedding_server.counters()["requests"]
        hits = recorder.find_similar("lr")
        assert len(hits) == len(TEXTS)
        assert names(hits)[:2] == ["other", "nan"]
        assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
        assert hits[0].keys() == COLUMNS | {"score"}
        assert names(recorder.find_similar("lr", within="elsewhere")) == ["other"]
        assert names(recorder.find_similar("lr", "w", limit=2)) == ["other", "nan"]
        assert (
            names(recorder.find_similar("other", "elsewhere", within="elsewhere")) == []
        )
        assert recorder.find_similar("lr", status="failed") == []
        assert recorder.find_similar("lr", since=datetime.now(UTC)) == []
        assert embedding_server.counters()["requests"] == before


def test_an_unknown_run_has_no_similar_ones(place: Place) -> None:
    with place.open() as recorder:
        recorder.log_run(minimal("mute", outputs={"number": 1}))
        assert recorder.flush(60)
        for names_of_it in (("no such run",), ("mute", "other")):
            with pytest.raises(ValidationError, match=r"^run_id names no run"):
                recorder.find_similar(*names_of_it)
        with pytest.raises(ValidationError, match="without an embedding by the model"):
            recorder.find_similar("mute")


def test_a_run_without_an_embedding_yet_is_an_error(
    here: Place, embedding_server: EmbeddingServer
) -> None:
    embedding_server.stop()
    with here.open() as recorder:
        recorder.log_run(minimal(outputs={"text": "tea"}))
        with pytest.raises(ValidationError, match="not embedded yet"):
            recorder.find_similar("r1")
        embedding_server.start()
        assert recorder.flush(60)
        assert recorder.find_similar("r1") == []


def test_new_vectors_are_found(place: Place) -> None:
    with place.open() as recorder:
        for number, (name, text) in enumerate(TEXTS.items(), 1):
            recorder.log_run(minimal(name, outputs={"text": text}))
            assert recorder.flush(60)
            find(recorder, number)


def test_vectors_of_another_process_are_found(
    place: Place, run_python: RunPython
) -> None:
    code = """
import json, sys, runlog
options, name, text = json.loads(sys.argv[1])
with runlog.Recorder(**options) as recorder:
    recorder.log_run({"wpk_id": "w", "run_id": name, "status": "completed",
                      "outputs": {"text": text}})
    assert recorder.flush(60)
"""
    import json

    with place.open() as recorder:
        log_all(recorder)
        find(recorder, len(TEXTS))
        done = run_python(code, json.dumps([place.options, "new", QUESTION]))
        assert done.returncode == 0, done.stderr
        assert names(find(recorder, len(TEXTS) + 1))[0] == "new"


def store_vectors(place: Place, vectors: Any) -> None:
    """Store runs r0, r1, ... of the workflows w0 to w2 with these vectors, by SQL.

    Runs with an odd number have failed; each was created a minute after the one before.
    """
    runs, rows = [], []
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for i, vector in enumerate(vectors):
        name, wpk_id = f"00000000-0000-7000-8000-{i * 7919 % 65536:012x}", f"w{i % 3}"
        status = "failed" if i % 2 else "completed"
        created = f"{begin + timedelta(minutes=i):%Y-%m-%dT%H:%M:%S.%fZ}"
        runs.append((name, wpk_id, f"r{i}", status, created, created))
        model = "text-embedding-3-small"
        rows.append((name, wpk_id, model, len(vector), vector.tobytes(), i + 1))
    run = (
        "INSERT INTO workflow_runs (id, wpk_id, run_id, status, created_at, updated_at) "
        "VALUES (?, ?, ?, ?, ?, ?)"
    )
    row = (
        "INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at, model, dim, "
        "vector, stamp) VALUES (?, ?, 'embedded', 0, ?, ?, ?, ?)"
    )
    if place.store.kind == "sqlite":
        with closing(sqlite3.connect(place.options["sqlite_path"])) as database:
            database.executemany(run, runs)
            database.executemany(row, rows)
            database.commit()
        return
    with psycopg.connect(place.options["postgres_dsn"]) as connection:
        cursor = connection.cursor()
        cursor.executemany(run.replace("?", "%s"), runs)
        cursor.executemany(row.replace("?", "%s"), rows)


def test_a_scan_of_several_blocks_is_exact(scanned: Place) -> None:
    """2,500 rows are three blocks."""
    vectors = np.random.default_rng(1).standard_normal((2500, 8), dtype=np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    with scanned.open() as recorder:
        recorder.get_run("none")  # creates the tables
        store_vectors(scanned, vectors)

        def check(wanted: Callable[[int], bool], **how: Any) -> None:
            for chosen in (0, 1234, 2499):
                cosines = units @ units[chosen]
                ranked = [
                    int(i) for i in np.argsort(-cosines) if wanted(i) and i != chosen
                ]
                hits = recorder.find_similar(f"r{chosen}", limit=50, **how)
                assert names(hits) == [f"r{i}" for i in ranked[:50]]
                assert scores(hits) == pytest.approx(cosines[ranked[:50]], abs=1e-6)

        check(lambda _: True)
        check(lambda i: i % 3 == 1, within="w1")
        check(lambda i: i % 2 == 1, status="failed")
        check(lambda i: i >= 2000, since=begin + timedelta(minutes=2000))
        check(
            lambda i: i % 3 == 2 and i % 2 == 0 and i >= 1000,
            within="w2",
            status="completed",
            since=begin + timedelta(minutes=1000),
        )


def test_vectors_of_another_model_are_not_mixed_in(place: Place) -> None:
    """Nor are vectors of another dimension."""
    if "milvus_endpoint" in place.options:
        place.options.pop("milvus_endpoint")  # a collection has a single dimension
    with place.open() as recorder:
        log_all(recorder)
        find(recorder, len(TEXTS))
    more: dict[str, Any] = {"embedding_model": "all-MiniLM-L6-v2"}
    with place.open(embedding_dimensions=16, **more) as recorder:
        assert recorder.search_runs(QUESTION) == []
        recorder.log_run(minimal("new", outputs={"text": TEXTS["nan"]}))
        assert recorder.flush(60)
        assert names(recorder.search_runs(QUESTION)) == ["new"]
        with pytest.raises(ValidationError, match="all-MiniLM-L6-v2"):
            recorder.find_similar("nan")
    with place.open() as recorder:
        assert len(recorder.search_runs(QUESTION)) == len(TEXTS)


def test_a_changed_dimension_excludes_the_old_vectors(scanned: Place) -> None:
    with scanned.open() as recorder:
        log_all(recorder)
        find(recorder, len(TEXTS))
    with scanned.open(embedding_dimensions=16) as recorder:
        assert recorder.search_runs(QUESTION) == []
        recorder.log_run(minimal("new", outputs={"text": TEXTS["nan"]}))
        assert recorder.flush(60)
        assert names(recorder.search_runs(QUESTION)) == ["new"]
        assert len(recorder.find_similar("nan")) == len(TEXTS) - 1
        assert names(recorder.search_runs(QUESTION)) == ["new"]


def test_a_filter_that_few_runs_match(scanned: Place) -> None:
    """The search finds the runs that match a filter, however many others are nearer."""
    with scanned.open() as recorder:
        for number in range(300):
            recorder.log_run(minimal(f"r{number}", outputs={"text": "tea"}))
        recorder.log_run(minimal("far", status="failed", outputs={"text": "asphalt"}))
        assert recorder.flush(120)
        assert names(recorder.search_runs("tea", limit=1, status="failed")) == ["far"]
        assert recorder.delete_runs(status="completed") == 300
        assert names(recorder.search_runs("tea", limit=1)) == ["far"]


async def test_the_loop_is_not_blocked(
    here: Place, embedding_server: EmbeddingServer
) -> None:
    with here.open() as recorder:
        await asyncio.to_thread(log_all, recorder)
        embedding_server.control("stall", seconds=None)
        search = asyncio.create_task(recorder.asearch_runs(QUESTION, limit=2))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not search.done()
        similar = await recorder.afind_similar("nan", "w", limit=1)
        assert names(similar) == ["lr"]
        assert not search.done()
        await asyncio.to_thread(embedding_server.release)
        assert {*names(await search)} == {"nan", "lr"}


def test_many_threads_search_while_others_write(place: Place) -> None:
    count, rounds = 4, 6
    with place.open() as recorder:
        log_all(recorder)
        find(recorder, len(TEXTS))
        ends = threading.Event()
        failures: list[BaseException] = []

        def write(number: int) -> None:
            for step in range(1000):
                if ends.is_set():
                    return
                fields = {"outputs": {"text": f"tea number {number} {step}"}}
                recorder.log_run(minimal(f"t{number}-{step}", "tea", **fields))
                time.sleep(0.02)

        def search(number: int) -> None:
            for _ in range(rounds):
                hits = recorder.search_runs(TEXTS["nan"], wpk_id="w", limit=6)
                assert names(hits)[0] == "nan"
                assert len(hits) == len(TEXTS)
                assert names(recorder.find_similar("lr", within="w"))[0] == "nan"

        writers = [threading.Thread(target=write, args=(n,)) for n in range(2)]
        for writer in writers:
            writer.start()
        try:
            with ThreadPoolExecutor(count) as pool:
                for call in [pool.submit(search, n) for n in range(count)]:
                    call.result(120)
        finally:
            ends.set()
            for writer in writers:
                writer.join()
        assert failures == []
        assert recorder.flush(120)
        kept = len(recorder.list_runs(wpk_id="tea", limit=1000).runs)
        find(recorder, kept, "tea", wpk_id="tea", limit=1000)


def test_children_search_while_threads_search(
    scanned: Place, run_python: RunPython
) -> None:
    import json

    code = """
import json, os, sys, threading, warnings, runlog
warnings.simplefilter("ignore", DeprecationWarning)
recorder = runlog.Recorder(**json.loads(sys.argv[1]))
wanted = [h["run_id"] for h in recorder.find_similar("nan")]
ends = threading.Event()
def search():
    while not ends.is_set():
        assert [h["run_id"] for h in recorder.find_similar("nan")] == wanted
threads = [threading.Thread(target=search) for _ in range(3)]
for thread in threads: thread.start()
for number in range(10):
    child = os.fork()
    if child == 0:
        found = [h["run_id"] for h in recorder.find_similar("nan")]
        os._exit(0 if found == wanted else 1)
    assert os.waitpid(child, 0)[1] == 0, number
ends.set()
for thread in threads: thread.join()
print(len(wanted))
"""
    with scanned.open() as recorder:
        log_all(recorder)
    done = run_python(code, json.dumps(scanned.options))
    assert done.stdout.strip() == str(len(TEXTS) - 1), done.stderr
