"""kill -9 at random points: every acknowledged run is there, exactly once.

Four writers share one database, and the journal. One of them is killed, whatever it is
about, another takes its place, and so on. TORTURE_KILLS is how many are killed for each
kind of database (12 unless given).
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SANITIZED
from fixtures_proxy import Proxied
from fixtures_store import Store
from torture.load import journal_rows
from torture.programs import fold_in
from torture.writers import Writers, check_file

import runlog

KILLS = int(os.environ.get("TORTURE_KILLS", "12")) // (2 if SANITIZED else 1)
PAUSE = 0.4 if SANITIZED else 0.1
DURABILITIES = {"sqlite": ("disk", "journal"), "postgres": ("store", "disk", "journal")}


@pytest.fixture
def start_writers(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Writers]]:
    """Makes writers that are gone after the test."""
    made: list[Writers] = []

    def start(env: dict[str, str]) -> Writers:
        made.append(Writers(tmp_path, env))
        return made[-1]

    yield start
    for writers in made:
        writers.end()


def kill_at_random(
    writers: Writers, kind: str, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Keep four running; each pause, one of them is killed."""
    durability = itertools.cycle(DURABILITIES[kind])
    while writers.killed + len(writers.running) < KILLS + 4:
        while len(writers.running) < 4:
            writers.start(RUNLOG_DURABILITY=next(durability))
        time.sleep(random.uniform(0, 2 * PAUSE))  # the random point
        meanwhile()
        writers.kill()
    writers.until_acknowledged(writers.killed + 1)
    writers.kill_all()


def check_drained(options: dict[str, Any]) -> None:
    """What waits in the journal is forwarded at the next start."""
    with runlog.Recorder(**options) as recorder:
        assert recorder.flush(120) is True
        stats = recorder.stats()
        assert (stats["waiting"], stats["rejected"], stats["server"]) == (0, 0, "up")
    path = options["sqlite_path"]
    assert journal_rows(path) == journal_rows(path, "journal_rejected") == []


def test_kill(store: Store, start_writers: Callable[[dict[str, str]], Writers]) -> None:
    writers = start_writers(store.env)
    kill_at_random(writers, store.kind)
    if store.kind == "postgres":
        check_drained(store.options)
    else:
        fold_in(store.options["sqlite_path"])
    check_file(store.options["sqlite_path"])
    writers.check(store.query)


def test_kill_while_the_server_comes_and_goes(
    proxied: Proxied, start_writers: Callable[[dict[str, str]], Writers]
) -> None:
    """Every other time it is there, for the moments of going and coming are the point."""
    proxy = proxied.proxy
    moods = [proxy.outage, proxy.drop, proxy.stall, proxy.blackhole]
    moods += [proxy.forward] * len(moods)

    def change_mood() -> None:
        random.choice(moods)()

    writers = start_writers(proxied.env | {"RUNLOG_POSTGRES_TIMEOUT": "0.3"})
    kill_at_random(writers, "postgres", change_mood)
    proxy.forward()
    proxy.drop()  # the server's keep-alives end what a dead client left in a black hole
    check_drained(proxied.options)
    check_file(proxied.journal)
    writers.check(proxied.query)
    assert proxy.connections > 4
