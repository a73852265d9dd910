"""Finding runs by meaning: the cost of recording and of embedding.

1. log_run with embeddings and Milvus over log_run without, median of single calls: SQLite
   with durability "journal" and "disk", and PostgreSQL with "store". The calls of both
   sides alternate, with a pause after each, so that the servers' work does not take the
   core from the call. The CPU time of the calling thread as well.
2. The outbox: rows embedded and upserted per second, over those that a bare HTTP client
   embeds with the embedding server alone, with the same texts in requests of equal size.

The embedding server (all-MiniLM-L6-v2) and Milvus Lite run on the same machine.
"""

import http.client
import json
import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import corpus
from common import Claim, alternate, compare, report, scratch, set_up, significant
from pgserver import postgres
from services import HOST, KEY, Services, services
from workload import Record, create_empty, fresh_copy, run_records

from runlog._runlog import Recorder

Sides = dict[str, list[float]]

PAIRS = 50
WARM_UP = 10
PAUSE = 0.02
"""Seconds of pause after a call; the server takes about as long to embed a text."""
ROUNDS = 7
LIMIT = 1.15

ROWS = 192
BATCH = 64
"""Texts in a request: as many as in one of the indexer (RL_INDEX_TEXTS)."""
OUTBOX_ROUNDS = 3
OUTBOX_SECONDS = 90.0
OUTBOX_LIMIT = 0.8
FLUSH_SECONDS = 120.0

MODEL = "text-embedding-3-small"


def call_once(recorder: Recorder, record: Record) -> tuple[float, float]:
    """Microseconds of a call: of wall time, and of its thread's CPU."""
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    recorder.log_run(record)
    cpu = time.thread_time_ns() - cpu
    return (time.perf_counter_ns() - wall) / 1000, cpu / 1000


def measure_calls(
    sides: dict[str, dict[str, Any]], pause: float = PAUSE, rounds: int = ROUNDS
) -> dict[str, dict[str, Sides]]:
    """Medians and 90th percentiles of each round's calls, by kind of time and by side."""
    found: dict[str, dict[str, Sides]] = {
        kind: {"p50": {s: [] for s in sides}, "p90": {s: [] for s in sides}}
        for kind in ("wall_us", "cpu_us")
    }
    with ExitStack() as stack:
        recorders = {
            side: stack.enter_context(Recorder(**options))
            for side, options in sides.items()
        }
        for number in range(rounds):
            times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
            prefixes = [(side, f"{side}-{number}") for side in sides]
            records = {s: run_records(WARM_UP + PAIRS, name) for s, name in prefixes}
            for i in range(WARM_UP + PAIRS):
                for side in sides if i % 2 == 0 else reversed(sides):
                    time.sleep(pause)
                    times[side].append(call_once(recorders[side], records[side][i]))
            for side, calls in times.items():
                for at, kind in enumerate(found):
                    cuts = quantiles([call[at] for call in calls[WARM_UP:]], n=10)
                    found[kind]["p50"][side].append(significant(cuts[4]))
                    found[kind]["p90"][side].append(significant(cuts[8]))
    return found


def measure_stores(servers: Services, folder: Path) -> dict[str, Any]:
    """The calls on each store."""
    measured: dict[str, Any] = {}
    for durability in ("journal", "disk"):
        sides = {
            name: {"sqlite_path": str(folder / f"{durability}-{name}.db"), **options}
            for name, options in (("off", {}), ("on", servers.both))
        }
        for options in sides.values():
            options["durability"] = durability
        measured[f"SQLite, {durability}"] = measure_calls(sides)
    with postgres() as first, postgres() as second:
        sides = {
            name: {"postgres_dsn": server.dsn, "durability": "store", **options}
            for name, server, options in (
                ("off", first, {}),
                ("on", second, servers.both),
            )
        }
        for name, options in sides.items():
            options["sqlite_path"] = str(folder / f"store-{name}.db")
        measured["PostgreSQL, store"] = measure_calls(sides)
    return measured


def embed_bare(port: int, texts: Sequence[str]) -> float:
    """Seconds that a bare client needs to embed the texts."""
    bodies = [
        json.dumps(
            {
                "model": MODEL,
                "input": texts[at : at + BATCH],
                "encoding_format": "base64",
            }
        )
        for at in range(0, len(texts), BATCH)
    ]
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(HOST, port)) as connection:
        start = time.monotonic()
        for body in bodies:
            connection.request("POST", "/v1/embeddings", body, headers)
            answer = connection.getresponse()
            if answer.status != 200 or not answer.read():
                raise SystemExit(f"the embedding server answered {answer.status}")
        return time.monotonic() - start


def work_off(path: Path, servers: Services) -> float:
    """Seconds until all rows of the outbox in the file are embedded and upserted."""
    options = {"sqlite_path": str(path), "durability": "journal", **servers.both}
    with Recorder(**options) as recorder:
        start = time.monotonic()
        recorder.get_run("none")  # opens the file
        if not recorder.flush(FLUSH_SECONDS):
            raise SystemExit(f"not embedded in {FLUSH_SECONDS} s: {recorder.stats()}")
        spent = time.monotonic() - start
        stats = recorder.stats()
    if stats["embedded"] != ROWS or stats["upserted"] != ROWS:
        raise SystemExit(f"not all of {ROWS} runs were embedded: {stats}")
    return spent


def measure_outbox(servers: Services, folder: Path) -> Sides:
    """Rows a second of the outbox and of the bare client, alternated."""
    empty, full = folder / "empty.db", folder / "full.db"
    records = run_records(ROWS, "outbox")
    create_empty(empty)
    with fresh_copy(empty) as path:
        # Nothing listens on these ports, so the rows stay in the outbox.
        away = Services(9, 9).embedding
        with Recorder(sqlite_path=str(path), durability="journal", **away) as recorder:
            for record in records:
                recorder.log_run(record)
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE run_embeddings SET next_attempt_at = 0")
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.replace(full)

    def measure(side: str, _: int) -> float:
        if side == "bare client":
            texts = [str(record["outputs"]["text"]) for record in records]
            return ROWS / embed_bare(servers.embedding_port, texts)
        with fresh_copy(full) as path:
            return ROWS / work_off(path, servers)

    return alternate(["runlog", "bare client"], measure, OUTBOX_ROUNDS, OUTBOX_SECONDS)


def call_claims(calls: dict[str, Any]) -> list[Claim]:
    return [
        compare(
            f"log_run, p50, {store}: embeddings on / off",
            times["wall_us"]["p50"]["on"],
            times["wall_us"]["p50"]["off"],
            LIMIT,
            "us",
        )
        for store, times in calls.items()
    ]


def call_notes(calls: dict[str, Any]) -> dict[str, Any]:
    """The medians of the rounds and their ratios, including those without a limit."""
    notes: dict[str, Any] = {}
    for store, times in calls.items():
        for kind, levels in times.items():
            for level, sides in levels.items():
                pairs = zip(sides["on"], sides["off"], strict=True)
                notes[f"{store}, {level} {kind}"] = {
                    "on": median(sides["on"]),
                    "off": median(sides["off"]),
                    "ratio": significant(median(a / b for a, b in pairs)),
                }
    return notes


def main() -> None:
    set_up()
    logging.getLogger("runlog").setLevel(logging.ERROR)  # the server is away at first
    with scratch("meaning") as folder, services(folder) as servers:
        calls = measure_stores(servers, folder)
        outbox = measure_outbox(servers, folder)
    claims = [
        *call_claims(calls),
        compare(
            "outbox, rows a second: runlog / bare client, no Milvus",
            outbox["runlog"],
            outbox["bare client"],
            OUTBOX_LIMIT,
            "/s",
            higher_is_better=True,
        ),
    ]
    report(
        "meaning",
        claims,
        {"calls": calls, "outbox": outbox},
        seed=corpus.SEED,
        notes={"calls": call_notes(calls)},
    )


if __name__ == "__main__":
    main()
