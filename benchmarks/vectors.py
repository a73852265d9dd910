"""A search by meaning without Milvus and pgvector: its time, its CPU time and its memory.

Files and tables of 10,000, 100,000 and 300,000 runs with random vectors of 384 and of 1,536
numbers, on SQLite and on PostgreSQL. Each is searched by a process of its own: the ten runs
nearest to another one, in all runs and in one workflow that has a tenth of them. On SQLite a
bare program searches the same file in turns with runlog: Python's sqlite3 reads the vectors
and NumPy multiplies them.
"""

import json
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psycopg
from common import Claim, compare, report, scratch, set_up, significant
from pgserver import Server, postgres

SIZES = (10_000, 100_000, 300_000)
DIMS = (384, 1536)
BLOCK = 10_000
WORKFLOWS = 10
SEED = 1
MODEL = "text-embedding-3-small"
SEARCHES = 5
JUDGED = "SQLite, 100,000 x 384"
LIMIT = 1.0
MEMORY_LIMIT = 16.0
"""Megabytes that a process may grow by when it searches, however many runs there are."""

RUNS = (
    "INSERT INTO workflow_runs (id, wpk_id, run_id, status, created_at, updated_at) "
    "VALUES ({0}, {0}, {0}, 'completed', {0}, {0})"
)
EMBEDDINGS = (
    "INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at, model, dim, vector, "
    "stamp) VALUES ({0}, {0}, 'done', 0, {0}, {0}, {0}, {0})"
)


def name_of(number: int) -> str:
    """The id of a run, and its name."""
    return f"00000000-0000-7000-8000-{number:012x}"


def make_rows(start: int, dim: int) -> tuple[list[Any], list[Any]]:
    """A block of runs, and of their vectors."""
    rng = np.random.default_rng([SEED, start])
    stamp = "2026-01-01T00:00:00.000000Z"
    vectors = rng.standard_normal((BLOCK, dim), dtype=np.float32)
    runs, embeddings = [], []
    for i, vector in enumerate(vectors, start):
        wpk_id = f"w{i % WORKFLOWS}"
        runs.append((name_of(i), wpk_id, name_of(i), stamp, stamp))
        embeddings.append((name_of(i), wpk_id, MODEL, dim, vector.tobytes(), i + 1))
    return runs, embeddings


def fill_sqlite(path: Path, start: int, end: int, dim: int) -> None:
    with closing(sqlite3.connect(path)) as database:
        for first in range(start, end, BLOCK):
            runs, embeddings = make_rows(first, dim)
            database.executemany(RUNS.format("?"), runs)
            database.executemany(EMBEDDINGS.format("?"), embeddings)
            database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_postgres(dsn: str, start: int, end: int, dim: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as database:
        for first in range(start, end, BLOCK):
            runs, embeddings = make_rows(first, dim)
            with database.transaction(), database.cursor() as cursor:
                cursor.executemany(RUNS.format("%s"), runs)
                cursor.executemany(EMBEDDINGS.format("%s"), embeddings)
        database.execute("VACUUM ANALYZE")
        database.execute("CHECKPOINT")


def search_bare(path: str, query: "np.ndarray[Any, Any]", dim: int) -> list[str]:
    """The nearest ten, as a program without runlog would find them."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(
            "SELECT id, vector FROM run_embeddings WHERE model = ? AND dim = ?",
            (MODEL, dim),
        )
        names, vectors = zip(*rows, strict=True)
    block = np.frombuffer(b"".join(vectors), np.float32).reshape(-1, dim)
    scores = block @ query / np.linalg.norm(block, axis=1)
    best = np.argpartition(scores, -10)[-10:]
    return [names[i] for i in best[np.argsort(-scores[best])]]


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of a call: of wall time, and of this process's CPU."""
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    if not call():
        raise SystemExit("a search found nothing")
    cpu = time.process_time_ns() - cpu
    wall = time.perf_counter_ns() - wall
    return significant(wall / 1e6), significant(cpu / 1e6)


def resident_peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(options: dict[str, Any], dim: int, bare: bool) -> dict[str, Any]:
    """In a process of its own: the searches, and what they took."""
    from runlog._runlog import Recorder

    found: dict[str, Any] = {"all": [], "one workflow": [], "bare": []}
    query = np.random.default_rng([SEED, 0]).standard_normal(
        (BLOCK, dim), dtype=np.float32
    )[0]
    with Recorder(openai_key="none", **options) as recorder:
        recorder.get_run(name_of(0))
        before = resident_peak()
        for _ in range(SEARCHES + 1):
            found["all"].append(timed(lambda: recorder.find_similar(name_of(0))))
            found["one workflow"].append(
                timed(lambda: recorder.find_similar(name_of(0), within="w1"))
            )
        found["peak_mb"] = significant((resident_peak() - before) / 1e6)
        for _ in range(SEARCHES if bare else 0):
            path = options["sqlite_path"]
            found["all"].append(timed(lambda: recorder.find_similar(name_of(0))))
            found["bare"].append(timed(lambda: search_bare(path, query, dim)))
    return found


def run_measure(options: dict[str, Any], dim: int, server: Server | None) -> Any:
    """What `measure` says, with the CPU time that the server took for all of it."""
    before = server.cpu_seconds() if server else 0.0
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(options), str(dim)],
        check=True,
        stdout=subprocess.PIPE,
    )
    found = json.loads(done.stdout)
    if server:
        spent = (server.cpu_seconds() - before) * 1000
        found["server_ms_a_pair"] = significant(spent / (SEARCHES + 1))
    return found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The medians of what was measured, the first search left out."""
    kinds = {
        kind: {
            "ms": significant(median(wall for wall, _ in found[kind][1:])),
            "cpu_ms": significant(median(cpu for _, cpu in found[kind][1:])),
        }
        for kind in ("all", "one workflow", "bare")
        if found[kind]
    }
    rest = {key: found[key] for key in ("peak_mb", "server_ms_a_pair") if key in found}
    return {"first_ms": found["all"][0][0], **kinds, **rest}


def main() -> None:
    from workload import create_empty

    set_up()
    raw: dict[str, Any] = {}
    for dim in DIMS:
        with scratch("vectors") as folder:
            path = folder / "runs.db"
            create_empty(path)
            for start, end in zip((0, *SIZES), SIZES, strict=False):
                fill_sqlite(path, start, end, dim)
                options = {"sqlite_path": str(path)}
                raw[f"SQLite, {end:,} x {dim:,}"] = run_measure(options, dim, None)
        with scratch("vectors") as folder, postgres() as server:
            options = {
                "sqlite_path": str(folder / "journal.db"),
                "postgres_dsn": server.dsn,
            }
            run_in(options)
            for start, end in zip((0, *SIZES), SIZES, strict=False):
                fill_postgres(server.dsn, start, end, dim)
                raw[f"PostgreSQL, {end:,} x {dim:,}"] = run_measure(options, dim, server)
    report(
        "vectors",
        claims_of(raw),
        raw,
        seed=SEED,
        notes={name: summary(found) for name, found in raw.items()},
    )


def run_in(options: dict[str, Any]) -> None:
    """Make the tables."""
    from runlog._runlog import Recorder

    with Recorder(**options) as recorder:
        recorder.get_run("none")


def claims_of(raw: dict[str, Any]) -> list[Claim]:
    judged = raw[JUDGED]
    ours = [cpu for _, cpu in judged["all"][-SEARCHES:]]
    peer = [cpu for _, cpu in judged["bare"]]
    claims = [compare(f"search, {JUDGED}: CPU / sqlite3 and NumPy", ours, peer, LIMIT, "ms")]
    claims += [
        compare(
            f"memory of searches, {name}",
            [found["peak_mb"]],
            [0.0],
            MEMORY_LIMIT,
            "MB",
            relation="difference",
        )
        for name, found in raw.items()
        if "300,000" in name
    ]
    return claims


if __name__ == "__main__":
    if len(sys.argv) == 3:
        set_up()
        options = json.loads(sys.argv[1])
        dim = int(sys.argv[2])
        bare = "postgres_dsn" not in options
        print(json.dumps(measure(options, dim, bare)))
    else:
        main()
