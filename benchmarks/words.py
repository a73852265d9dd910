"""The index of words: what it costs a caller, the thread that fills it, and the disk, and
how long a search takes.

Runs of about 1 KB of text, of 20,000 words by Zipf's law, are first stored without an
index. Then a recorder indexes them: its CPU time, and the bytes that the index takes.
Searches ask for the first 50 runs with a word that is in nearly every run, in one of a
hundred, and in one run alone, and for a phrase; with snippets, which read those runs, and
without; and within one workflow, and within one that has no runs.

For the caller, log_run alternates between a recorder with an index and one without: the
CPU time of its thread, and the median and 99th percentile of its wall time.

Arguments: how many runs on SQLite and on PostgreSQL (100000 20000).
"""

import gc
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import accumulate
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psycopg
from common import (
    Claim,
    compare,
    cpu_seconds,
    report,
    scratch,
    set_up,
    significant,
)
from pgserver import postgres

from runlog import Recorder

SEED = 1
WORDS = 20_000
CUMULATED = list(accumulate(1 / rank for rank in range(1, WORDS + 1)))
TEXT = 1000
"""Bytes of text of a run."""
SEARCHES = 5
CALLS = 2000
ROUNDS = 5
BATCH = 100
"""Rows of a transaction of the peer."""
LOAD = 8
"""Processes that store the runs."""


def word(rank: int) -> str:
    """The word of a rank: short for the frequent ones."""
    letters = "etaoinshrdlu"
    name = ""
    while True:
        name += letters[rank % len(letters)]
        rank //= len(letters)
        if rank == 0:
            return name + ("a" if len(name) < 2 else "")


NAMES = [word(rank) for rank in range(WORDS)]


def text(rng: random.Random, number: int) -> str:
    """The text of a run: words by Zipf's law, and one of its own."""
    words = rng.choices(NAMES, cum_weights=CUMULATED, k=TEXT // 5)
    rare = "everyhundredth" if number % 100 == 0 else ""
    return " ".join(words)[: TEXT - 30] + f" the unique{number} end {rare}"


def run(rng: random.Random, number: int) -> dict[str, Any]:
    """A run of a graph with one node, of 1 KB of text."""
    whole = text(rng, number)
    return {
        "wpk_id": f"w{number % 10}",
        "run_id": f"r{number}",
        "status": "completed",
        "inputs": {"question": whole[:100]},
        "outputs": {"answer": whole[100:300]},
        "node_logs": [{"node": "draft", "outputs": {"text": whole[300:]}}],
    }


def fill(options: dict[str, Any], count: int) -> None:
    """Store the runs, by several threads, which share commits."""

    def work(first: int) -> None:
        rng = random.Random(SEED + first)
        for number in range(first, count, LOAD):
            recorder.log_run(run(rng, number))

    with (
        Recorder(words=False, durability="journal", **options) as recorder,
        ThreadPoolExecutor(LOAD) as pool,
    ):
        list(pool.map(work, range(LOAD)))
        recorder.flush(600)


def sqlite_bytes(path: Path) -> int:
    return sum(
        part.stat().st_size for part in path.parent.iterdir() if part.name == path.name
    )


def index(options: dict[str, Any], count: int) -> float:
    """Microseconds of CPU that this process takes for each run that it indexes."""
    before = cpu_seconds()
    with Recorder(**options) as recorder:
        recorder.list_runs(limit=1)
        while not recorder.search_runs("nothinghasit", by="words").complete:
            time.sleep(1)
        return significant((cpu_seconds() - before) / count * 1e6)


def index_bare(folder: Path, count: int) -> float:
    """The same by Python's sqlite3: the texts are there, and become rows of FTS5."""
    path, rng = folder / "bare.db", random.Random(SEED)
    rows = [(number, text(rng, number)) for number in range(count)]
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("CREATE VIRTUAL TABLE words USING fts5(body, columnsize=0)")
        before = cpu_seconds()
        for first in range(0, count, BATCH):
            database.execute("BEGIN")
            database.executemany(
                "INSERT INTO words (rowid, body) VALUES (?, ?)",
                rows[first : first + BATCH],
            )
            database.execute("COMMIT")
        return significant((cpu_seconds() - before) / count * 1e6)


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of a call: the median of its wall time, and of the process's CPU."""
    walls, cpus = [], []
    for _ in range(SEARCHES):
        wall, cpu = time.perf_counter(), cpu_seconds()
        if not call():
            raise SystemExit("a search found nothing")
        walls.append((time.perf_counter() - wall) * 1e3)
        cpus.append((cpu_seconds() - cpu) * 1e3)
    return significant(median(walls)), significant(median(cpus))


def search(options: dict[str, Any]) -> dict[str, Any]:
    """What the searches take."""
    questions = {
        "in nearly every run": NAMES[0],
        "in one of a hundred": "everyhundredth",
        "in one run": "unique7",
        "phrase": '"unique7 end"',
        "beginning": "unique77*",
    }
    found: dict[str, Any] = {}
    with Recorder(words=False, **options) as recorder:
        find = recorder._search_words  # noqa: SLF001 - without snippets

        def whole(question: str) -> Any:
            return recorder.search_runs(question, by="words", limit=50)

        for name, question in questions.items():
            found[name] = {
                "ms": timed(lambda q=question: find(q, limit=50)[0]),  # type: ignore[misc]
                "with_snippets_ms": timed(lambda q=question: whole(q)),  # type: ignore[misc]
            }
        found["in nearly every run, one workflow"] = {
            "ms": timed(lambda: find(NAMES[0], limit=50, wpk_id="w3")[0])
        }
        found["in nearly every run, a workflow without runs"] = {
            "ms": timed(lambda: not find(NAMES[0], limit=50, wpk_id="none")[0])
        }
    return found


def call_log_run(recorder: Recorder, first: int) -> tuple[float, float, float]:
    """Microseconds of log_run: CPU of the caller's thread, median and p99 of its time."""
    rng = random.Random(first)
    runs = [run(rng, number) for number in range(first, first + CALLS)]
    walls = []
    gc.collect()
    cpu = time.thread_time()
    for one in runs:
        begin = time.perf_counter()
        recorder.log_run(one)
        walls.append((time.perf_counter() - begin) * 1e6)
    cpu = (time.thread_time() - cpu) / CALLS * 1e6
    return significant(cpu), significant(median(walls)), quantiles(walls, n=100)[98]


def caller(make: Callable[[bool], dict[str, Any]]) -> dict[str, list[Any]]:
    """log_run beside the indexing of what it logs, and without an index."""
    found: dict[str, list[Any]] = {"with": [], "without": []}
    with (
        Recorder(words=True, durability="journal", **make(True)) as ours,
        Recorder(words=False, durability="journal", **make(False)) as peer,
    ):
        for number in range(ROUNDS + 1):
            sides = [("with", ours), ("without", peer)]
            for name, recorder in sides if number % 2 else reversed(sides):
                found[name].append(call_log_run(recorder, number * CALLS))
    return {name: rounds[1:] for name, rounds in found.items()}


@contextmanager
def sqlite_place(count: int, raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with scratch("words") as folder:
        options = {"sqlite_path": str(folder / "runs.db")}
        path = folder / "runs.db"
        fill(options, count)
        before = sqlite_bytes(path)
        raw["cpu_us"] = index(options, count)
        raw["bare_cpu_us"] = index_bare(folder, min(count, 50_000))
        raw["bytes"] = significant((sqlite_bytes(path) - before) / count)
        raw["bytes_of_the_run"] = significant(before / count)
        yield options


def measure_sqlite(count: int) -> dict[str, Any]:
    raw: dict[str, Any] = {"runs": count}
    with sqlite_place(count, raw) as options:
        raw["search"] = search(options)
    with scratch("words") as folder:
        raw["caller"] = caller(lambda words: {"sqlite_path": str(folder / f"{words}.db")})
    return raw


SIZES = (
    "SELECT pg_total_relation_size('run_words'), pg_total_relation_size('workflow_runs')"
)


def measure_postgres(count: int) -> dict[str, Any]:
    raw: dict[str, Any] = {"runs": count}
    with scratch("words") as folder, postgres() as server:
        options = {"sqlite_path": str(folder / "j.db"), "postgres_dsn": server.dsn}
        fill(options, count)
        before = server.cpu_seconds()
        raw["cpu_us"] = index(options, count)
        raw["server_cpu_us"] = significant((server.cpu_seconds() - before) / count * 1e6)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            sizes = connection.execute(SIZES).fetchall()[0]
            connection.execute("VACUUM ANALYZE")
        raw["bytes"], raw["bytes_of_the_run"] = (
            significant(size / count) for size in sizes
        )
        raw["search"] = search(options)
    return raw


def claims_of(raw: dict[str, Any]) -> list[Claim]:
    calls = raw["SQLite"]["caller"]
    ours, peer = ([cpu for cpu, _, _ in calls[side]] for side in ("with", "without"))
    walls, peer_walls = (
        [wall for _, wall, _ in calls[side]] for side in ("with", "without")
    )
    claims = [
        compare("log_run with an index: CPU of the caller", ours, peer, 1.05, "us"),
        compare("the same: median of its calls", walls, peer_walls, 1.1, "us"),
    ]
    sqlite = raw["SQLite"]
    claims.append(
        compare(
            "SQLite: CPU of the indexer a run of 1 KB over a bare FTS5",
            [sqlite["cpu_us"]],
            [sqlite["bare_cpu_us"]],
            1.5,
            "us",
        )
    )
    for store in ("SQLite", "PostgreSQL"):
        slowest = max(found["ms"][0] for found in raw[store]["search"].values())
        claims.append(
            compare(
                f"{store}: the slowest search for 50 runs",
                [slowest],
                [0.0],
                300.0,
                "ms",
                relation="difference",
            )
        )
    return claims


def main(sqlite_runs: int, postgres_runs: int) -> None:
    set_up()
    os.environ.pop("RUNLOG_WORDS", None)
    raw = {
        "SQLite": measure_sqlite(sqlite_runs),
        "PostgreSQL": measure_postgres(postgres_runs),
    }
    report("words", claims_of(raw), raw, seed=SEED)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ("100000", "20000")))
