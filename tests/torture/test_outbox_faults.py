"""The outbox under kill -9, forks, other processes and servers that are away.

TORTURE_KILLS is how many processes are killed at random points for each kind of database
(2 unless given), TORTURE_AWAY_SECONDS how long both services are away under load (3).
"""

from __future__ import annotations

import math
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SANITIZED
from fixtures_milvus import MilvusServer
from fixtures_services import EmbeddingServer
from fixtures_store import Store
from helpers import minimal
from outbox_help import (
    embedding,
    empty,
    environment,
    indexed,
    indexing,
    outbox_rows,
    states,
    vector,
    wait_for,
)
from torture.programs import EXIT_BOUND, Program
from torture.proxy import Proxy

import runlog

KILLS = int(os.environ.get("TORTURE_KILLS", "2"))
AWAY = float(os.environ.get("TORTURE_AWAY_SECONDS", "3"))
PAUSE = 0.025  # between two runs: the model takes about as long for a text
BATCH = 64  # texts that a process works on at most
MIB = 1 << 20

# Whoever held a lease is dead, and its two minutes are over.
LEASES_END = "UPDATE run_embeddings SET next_attempt_at = 0 WHERE state <> 'done'"


@pytest.fixture
def index(milvus_lite: MilvusServer) -> MilvusServer:
    return empty(milvus_lite)


@pytest.fixture
def gate(index: MilvusServer) -> Iterator[Proxy]:
    """A proxy before Milvus."""
    with Proxy(("127.0.0.1", index.port)) as proxy:
        yield proxy


def start(store: Store, options: dict[str, Any], *args: str) -> Program:
    """One of the programs of embedding.py."""
    folder = Path(store.options["sqlite_path"]).parent
    env = store.env | environment(options)
    return Program("embedding", *args, folder=folder, env=env)


def kill(program: Program) -> list[str]:
    """As kill -9 does; what it had acknowledged."""
    program.end()
    assert program.process.returncode == -9
    return program.lines()


def text_of(run_id: str) -> str:
    return f"what {run_id} has found"


def finish(store: Store, options: dict[str, Any]) -> dict[str, Any]:
    """Have everything done that is left, by a new start; return the counters."""
    store.query(LEASES_END)
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.list_runs(limit=1)
        waiting = math.inf  # after many kills thousands of texts, which take minutes
        while not recorder.flush(120):
            before, waiting = waiting, recorder.stats()["embeddings_waiting"]
            assert waiting < before, recorder.stats()
        stats = recorder.stats()
    assert (stats["embeddings_waiting"], stats["embeddings_failed"]) == (0, 0)
    return stats


def check_all(
    store: Store,
    server: EmbeddingServer,
    index: MilvusServer,
    told: list[str],
    deleted: Sequence[str] = (),
) -> Counter[str]:
    """Every run has its vector, and is in Milvus once. How often each was embedded."""
    rows = outbox_rows(store)
    assert set(told) <= rows.keys()
    assert {row["state"] for row in rows.values()} == {"done"}
    there = indexed(index)
    assert Counter(row["run_id"] for row in there) == Counter(rows.keys())
    assert {str(row["id"]) for row in rows.values()} == {row["id"] for row in there}
    for row in there:
        kept = vector(rows[row["run_id"]])
        assert np.array_equal(np.asarray(row["embedding"], "<f4"), kept)
    embedded = Counter[str](server.counters()["embedded"])
    assert embedded.keys() == {text_of(name) for name in [*rows, *deleted]}
    return embedded


# ---- kill -9 ---------------------------------------------------------------------------


@pytest.mark.long_with("sqlite")
def test_kill_at_random(
    store: Store, embedding_server: EmbeddingServer, index: MilvusServer
) -> None:
    options = indexing(embedding_server, index)
    running: list[Program] = []
    told: list[str] = []
    for number in range(KILLS + 2):
        running.append(start(store, options, "forever", f"k{number}"))
        wait_for(lambda: bool(running[-1].lines()), "it does not start")
        time.sleep(random.uniform(0, 0.5))  # the random point
        if len(running) > 2:
            told += kill(running.pop(random.randrange(len(running))))
        if number % 3 == 2:
            store.query(LEASES_END)  # also of one that lives: both work on a row then
    for program in running:
        told += kill(program)
    finish(store, options)
    embedded = check_all(store, embedding_server, index, told)
    more = embedded.total() - len(embedded)
    assert more <= BATCH * (2 * KILLS + 2), more


def test_kill_while_texts_are_embedded(
    store: Store, embedding_server: EmbeddingServer, index: MilvusServer
) -> None:
    options = indexing(embedding_server, index)
    embedding_server.control("stall", count=None, seconds=None)
    program = start(store, options, "wait", "r", "20")
    wait_for(lambda: len(program.lines()) == 20, "not logged")
    wait_for(lambda: embedding_server.counters()["at_work"] == 1, "no request")
    told = kill(program)
    embedding_server.clear()
    wait_for(lambda: embedding_server.counters()["at_work"] == 0, "still at work")
    finish(store, options)
    embedded = check_all(store, embedding_server, index, told)
    assert set(embedded.values()) == {1}


@pytest.mark.parametrize("stalled", [False, True], ids=["away", "in an upsert"])
def test_kill_between_embedding_and_upsert(
    store: Store,
    embedding_server: EmbeddingServer,
    index: MilvusServer,
    gate: Proxy,
    stalled: bool,
) -> None:
    """Or while Milvus has the vectors, and has not answered."""
    options = indexing(embedding_server, index)
    behind = options | {"milvus_endpoint": f"http://127.0.0.1:{gate.port}"}
    gate.stall() if stalled else gate.outage()
    program = start(store, behind, "wait", "r", "20")
    wait_for(lambda: len(program.lines()) == 20, "not logged")
    wait_for(lambda: states(store) == {"embedded": 20}, "not embedded")
    if stalled:
        wait_for(lambda: gate.open_links > 0, "no call")
    told = kill(program)
    gate.forward()
    finish(store, options)
    embedded = check_all(store, embedding_server, index, told)
    assert set(embedded.values()) == {1}


# ---- forks and other processes ---------------------------------------------------------


def test_fork_in_a_request(
    store: Store, embedding_server: EmbeddingServer, index: MilvusServer
) -> None:
    options = indexing(embedding_server, index)
    embedding_server.control("stall", seconds=None)
    program = start(store, options, "fork", "f", "20")
    wait_for(lambda: embedding_server.counters()["at_work"] == 1, "no request")
    wait_for(lambda: len(program.lines()) == 20, "not logged")
    program.tell("fork")
    wait_for(lambda: "forked parent" in program.lines(), "it does not fork")
    wait_for(lambda: "forked child" in program.lines(), "it does not fork")
    embedding_server.release()
    ended = program.wait()
    lines = ended.acknowledged
    embedded = check_all(
        store, embedding_server, index, [line for line in lines if " " not in line]
    )
    assert len(embedded) == 60
    assert set(embedded.values()) == {1}
    done = {line.split()[1]: line.split()[2:] for line in lines if "stats" in line}
    assert sum(int(numbers[0]) for numbers in done.values()) == 60
    assert sum(int(numbers[1]) for numbers in done.values()) == 60


@pytest.mark.long_with("sqlite")
def test_processes_share_the_work(
    store: Store, embedding_server: EmbeddingServer, index: MilvusServer
) -> None:
    options = indexing(embedding_server, index)
    programs = [
        start(store, options, "share", f"p{number}", "120") for number in range(2)
    ]
    ended = [program.wait() for program in programs]
    told = [line for one in ended for line in one.acknowledged]
    embedded = check_all(store, embedding_server, index, told)
    assert len(embedded) == 240
    assert set(embedded.values()) == {1}
    assert sum(one.printed["embedded"] for one in ended) == 240
    assert sum(one.printed["upserted"] for one in ended) == 240


# ---- servers that are away -------------------------------------------------------------


def resident() -> int:
    """Bytes of memory that this process has now."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def log_for(recorder: runlog.Recorder, name: str, seconds: float) -> list[float]:
    """Log a run now and then; how long each took."""
    took: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run_id = f"{name}-{len(took)}"
        begin = time.perf_counter()
        recorder.log_run(minimal(run_id, outputs={"text": text_of(run_id)}))
        took.append(time.perf_counter() - begin)
        time.sleep(PAUSE)
    return took


@pytest.mark.long_with("sqlite")
def test_both_are_away_under_load(
    store: Store, embedding_server: EmbeddingServer, index: MilvusServer, gate: Proxy
) -> None:
    options = indexing(embedding_server, index)
    options["milvus_endpoint"] = f"http://127.0.0.1:{gate.port}"
    with runlog.Recorder(**store.options, **options) as recorder:
        log_for(recorder, "first", 0.5)
        before = log_for(recorder, "before", AWAY / 3)
        memory = resident()
        embedding_server.stop()
        gate.outage()
        away = log_for(recorder, "away", AWAY)
        assert recorder.stats()["embeddings_waiting"] >= len(away)
        assert recorder.stats()["embedding_error"]
        grown = resident() - memory
        embedding_server.start()
        gate.forward()
        after = log_for(recorder, "after", AWAY / 3)
        assert recorder.flush(180), recorder.stats()
        assert recorder.stats()["embedding_error"] is None
    quick = statistics.median(before + after)
    assert statistics.median(away) <= 2 * quick + 0.001
    assert grown < 32 * MIB
    embedded = check_all(store, embedding_server, index, [])
    assert len(embedded) >= len(before) + len(away) + len(after)
    assert set(embedded.values()) == {1}


def test_logged_again_and_deleted_in_an_upsert(
    store: Store, embedding_server: EmbeddingServer, index: MilvusServer, gate: Proxy
) -> None:
    """What Milvus gets late does not come after what it gets for that. Another process,
    whose way to Milvus is free, does not overtake the first."""
    options = indexing(embedding_server, index)
    behind = options | {"milvus_endpoint": f"http://127.0.0.1:{gate.port}"}
    gate.stall()
    with (
        runlog.Recorder(**store.options, **behind) as slow,
        runlog.Recorder(**store.options, **options) as quick,
    ):
        for name in ("again", "deleted"):
            slow.log_run(minimal(name, outputs={"text": text_of(name)}, status="running"))
        wait_for(lambda: gate.open_links > 0, "no call")
        wait_for(lambda: states(store) == {"embedded": 2}, "not embedded")
        quick.log_run(minimal("again", outputs={"text": text_of("again")}))
        assert quick.delete_runs(run_id="deleted") == 1
        assert quick.flush(1) is False
        gate.forward()
        assert quick.flush(60), quick.stats()
        assert slow.flush(60), slow.stats()
    assert set(check_all(store, embedding_server, index, ["again"], ["deleted"])) == {
        text_of("again"),
        text_of("deleted"),
    }
    assert [row["status"] for row in indexed(index)] == ["completed"]


@pytest.mark.parametrize("milvus", [False, True], ids=["embedding", "upsert"])
def test_exit_while_a_server_stalls(
    store: Store,
    embedding_server: EmbeddingServer,
    index: MilvusServer,
    gate: Proxy,
    milvus: bool,
) -> None:
    """It ends in time, and its rows are free at once for the next start."""
    options = indexing(embedding_server, index)
    behind = options | {"milvus_endpoint": f"http://127.0.0.1:{gate.port}"}
    if milvus:
        gate.stall()
    else:
        embedding_server.control("stall", count=None, seconds=None)
    program = start(store, behind, "end", "e", "20")
    wait_for(lambda: len(program.lines()) == 20, "not logged")
    if milvus:
        wait_for(lambda: states(store) == {"embedded": 20}, "not embedded")
        wait_for(lambda: gate.open_links > 0, "no call")
    else:
        wait_for(lambda: embedding_server.counters()["at_work"] == 1, "no request")
    program.tell("end")
    ended = program.wait()
    assert ended.exit_seconds < EXIT_BOUND + (2 if SANITIZED else 0)
    assert states(store) == {"embedded" if milvus else "pending": 20}
    embedding_server.clear()
    gate.forward()
    wait_for(lambda: embedding_server.counters()["at_work"] == 0, "still at work")
    with runlog.Recorder(**store.options, **options) as recorder:
        recorder.list_runs(limit=1)
        assert recorder.flush(60), recorder.stats()
    embedded = check_all(store, embedding_server, index, ended.acknowledged)
    assert set(embedded.values()) == {1}


def test_what_is_left_is_done_by_a_reader(
    store: Store, embedding_server: EmbeddingServer
) -> None:
    """A program that only reads does what others have left."""
    options = embedding(embedding_server)
    away = options | {"openai_base_url": "http://127.0.0.1:1/v1"}
    with runlog.Recorder(**store.options, **away) as recorder:
        recorder.log_run(minimal(outputs={"text": "a text"}))
    store.query(LEASES_END)
    with runlog.Recorder(**store.options, **options) as recorder:
        assert recorder.list_runs(limit=1).runs
        wait_for(lambda: states(store) == {"embedded": 1}, "nobody did it")
