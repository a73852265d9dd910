"""A search by meaning without Milvus and pgvector: its time, its CPU time and its memory.

Databases of 10,000 and 100,000 runs with random vectors of 384 numbers, SQLite and
PostgreSQL. A new process searches each: for the ten runs that are nearest to another run,
among all runs, and within one workflow that has a tenth of them. For one database a peer
does the same in turns with runlog: Python's sqlite3 reads the vectors, and NumPy
multiplies them.

With --all it measures 300,000 runs and 1,536 numbers too, which takes minutes and 5 GB of
disk; `notes.table` is then the table of docs/search.md.
"""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psycopg
from common import Claim, compare, report, scratch, set_up, significant
from pgserver import Server, postgres
from workload import create_empty

from runlog._runlog import Recorder

SIZES = (10_000, 100_000)
DIMS = (384,)
ALL_SIZES = (10_000, 100_000, 300_000)
ALL_DIMS = (384, 1536)
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


def resident(field: str) -> int:
    """Bytes of memory that this process has (VmRSS), or had at most (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Let VmHWM begin again at what the process has now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(options: dict[str, Any], dim: int, bare: str) -> dict[str, Any]:
    """In a process of its own: the searches, and what they took."""
    found: dict[str, Any] = {"all": [], "one workflow": [], "bare": []}
    query = np.random.default_rng([SEED, 0]).standard_normal(
        (BLOCK, dim), dtype=np.float32
    )[0]
    with Recorder(openai_key="none", **options) as recorder:
        recorder.get_run(name_of(0))
        forget_peak()
        before = resident("VmRSS:")
        for _ in range(SEARCHES + 1):
            found["all"].append(timed(lambda: recorder.find_similar(name_of(0))))
            found["one workflow"].append(
                timed(lambda: recorder.find_similar(name_of(0), within="w1"))
            )
        found["peak_mb"] = significant((resident("VmHWM:") - before) / 1e6)
        path = options["sqlite_path"]
        for _ in range(SEARCHES if bare else 0):
            found["all"].append(timed(lambda: recorder.find_similar(name_of(0))))
            found["bare"].append(timed(lambda: search_bare(path, query, dim)))
    return found


def run_measure(
    options: dict[str, Any], dim: int, server: Server | None = None, *, bare: bool = False
) -> Any:
    """What `measure` says, with the CPU time that the server took for all of it."""
    before = server.cpu_seconds() if server else 0.0
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(options), str(dim), "bare" if bare else ""],
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
    rest: dict[str, Any] = {
        key: found[key] for key in ("peak_mb", "server_ms_a_pair") if key in found
    }
    return {"first_ms": found["all"][0][0], **kinds, **rest}


def main(sizes: Sequence[int], dims: Sequence[int]) -> None:
    set_up()
    raw: dict[str, Any] = {}
    for dim in dims:
        with scratch("vectors") as folder:
            path = folder / "runs.db"
            create_empty(path)
            for start, end in zip((0, *sizes), sizes, strict=False):
                fill_sqlite(path, start, end, dim)
                options = {"sqlite_path": str(path)}
                name = f"SQLite, {end:,} x {dim:,}"
                raw[name] = run_measure(options, dim, bare=name == JUDGED)
        with scratch("vectors") as folder, postgres() as server:
            options = {
                "sqlite_path": str(folder / "journal.db"),
                "postgres_dsn": server.dsn,
            }
            make_tables(options)
            for start, end in zip((0, *sizes), sizes, strict=False):
                fill_postgres(server.dsn, start, end, dim)
                raw[f"PostgreSQL, {end:,} x {dim:,}"] = run_measure(options, dim, server)
    summaries = {name: summary(found) for name, found in raw.items()}
    notes = {"table": table_of(summaries), **summaries}
    report("vectors", claims_of(raw), raw, seed=SEED, notes=notes)


def make_tables(options: dict[str, Any]) -> None:
    """Make the tables."""
    with Recorder(**options) as recorder:
        recorder.get_run("none")


def table_of(summaries: dict[str, Any]) -> list[str]:
    """The lines of a table in Markdown. CPU times, as neighbours change them least."""
    lines = [
        "| vectors | all runs | a tenth of them | the server, for both | memory |",
        "|---|---|---|---|---|",
    ]
    for name, found in summaries.items():
        every, tenth = (found[kind]["cpu_ms"] for kind in ("all", "one workflow"))
        server = found.get("server_ms_a_pair")
        cells = [
            f"{every:.0f} ms",
            f"{tenth:.0f} ms",
            f"{server:.0f} ms" if server else "",
            f"{found['peak_mb']:.0f} MB",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def claims_of(raw: dict[str, Any]) -> list[Claim]:
    judged = raw[JUDGED]
    ours = [cpu for _, cpu in judged["all"][-SEARCHES:]]
    peer = [cpu for _, cpu in judged["bare"]]
    name = f"search, {JUDGED}: CPU / sqlite3 and NumPy"
    claims = [compare(name, ours, peer, LIMIT, "ms")]
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
    ]
    return claims


if __name__ == "__main__":
    if sys.argv[1:] == ["--all"]:
        main(ALL_SIZES, ALL_DIMS)
    elif len(sys.argv) > 1:
        set_up()
        print(json.dumps(measure(json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
    else:
        main(SIZES, DIMS)
