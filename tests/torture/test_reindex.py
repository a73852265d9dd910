"""runlog reindex beside writers, and killed: afterwards every run is found.

TORTURE_KILLS is how many are killed at random points for each kind of database (2 unless
given).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_help import on_sqlite
from export_help import start
from fixtures_store import Store
from helpers import minimal, until
from torture.writers import Writers, check_file

import runlog

KILLS = int(os.environ.get("TORTURE_KILLS", "2"))
RUNS = 1_000
OLD_TABLE = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'run_words_old%'"


@pytest.fixture
def indexed(store: Store) -> Store:
    """A store of RUNS runs with a common word and a word of their own, all indexed."""
    with runlog.Recorder(**store.options) as recorder:
        for number in range(RUNS):
            text = f"common own{number} " + "of many other words " * 20
            recorder.log_run(minimal(f"r{number}", outputs={"text": text}))
        assert recorder.flush(60)
        until(lambda: recorder.search_runs("common", by="words").complete)
    return store


def reindex(store: Store, *args: str) -> Any:
    """Run it to its end; what it says that it did."""
    process = start(
        "reindex", "words", "--json", *args, env=store.env, stdout=subprocess.PIPE
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


def check_found(store: Store) -> None:
    """Every run is found by its words, and nothing of an older index is left."""
    with runlog.Recorder(**store.options, words=False) as recorder:
        found: Any = recorder.search_runs("common", by="words", limit=1000)
        assert len(found) == RUNS
        for number in random.sample(range(RUNS), 20):
            hits: Any = recorder.search_runs(f'"own{number} of"', by="words")
            assert [hit["run_id"] for hit in hits] == [f"r{number}"]
    if store.kind == "sqlite":
        check_file(store.options["sqlite_path"])
        assert store.query(OLD_TABLE) == [(0,)]


SPOIL = {
    "sqlite": "DELETE FROM run_words_text",
    "postgres": "DELETE FROM run_words",
}


def test_reindex(indexed: Store) -> None:
    """An index that has lost its runs has them again; --missing alone does not look."""
    indexed.query(SPOIL[indexed.kind])
    assert reindex(indexed, "--missing") == {"words": 0, "held": 0}
    assert reindex(indexed) == {"words": RUNS, "held": 0}
    check_found(indexed)


def test_reindex_of_what_has_changed(indexed: Store) -> None:
    """Runs that were deleted or logged again while nobody has indexed."""
    with runlog.Recorder(**indexed.options, words=False) as recorder:
        recorder.delete_runs(run_id="r1")
        recorder.log_run(minimal("r2", outputs={"text": "another"}))
    reindex(indexed)
    with runlog.Recorder(**indexed.options, words=False) as recorder:
        for word, runs in {"own1": [], "own2": [], "another": ["r2"]}.items():
            hits: Any = recorder.search_runs(word, by="words")
            assert ([hit["run_id"] for hit in hits], hits.complete) == (runs, True)


@on_sqlite
def test_reindex_by_trigrams_and_back(
    indexed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without RUNLOG_WORDS, an index stays what it is."""
    for mode, kept in ("trigram", "trigram"), (None, "trigram"), ("1", "words"):
        monkeypatch.delenv("RUNLOG_WORDS", raising=False)
        if mode is not None:
            monkeypatch.setenv("RUNLOG_WORDS", mode)
        reindex(indexed)
        assert indexed.query("SELECT tokenizer FROM run_words") == [(kept,)]
        check_found(indexed)


@pytest.mark.long_with("postgres")
def test_reindex_beside_writers(indexed: Store, tmp_path: Path) -> None:
    writers = Writers(tmp_path, indexed.env)
    try:
        writers.start(WRITER_PAUSE="0.01")
        writers.start(WRITER_PAUSE="0.01", RUNLOG_WORDS="0")
        for number in range(3):
            writers.until_acknowledged(50 * (number + 1))
            assert reindex(indexed)["words"] >= RUNS
        writers.kill_all()
    finally:
        writers.end()
    with runlog.Recorder(**indexed.options) as recorder:
        assert recorder.flush(60)
        until(lambda: recorder.search_runs("common", by="words").complete)
    check_found(indexed)


PLACE = {
    "sqlite": "SELECT position FROM run_words",
    "postgres": "SELECT count(*) FROM run_words",
}


def has_begun(process: Any, store: Store) -> bool:
    """Whether the index lacks runs, or the process has ended."""
    ((count,),) = store.query(PLACE[store.kind])
    return int(count) < RUNS or process.poll() is not None


@pytest.mark.long_with("postgres")
def test_kill_reindex(indexed: Store) -> None:
    """Whoever comes next goes on."""
    killed = 0
    while killed < KILLS:
        process = start("reindex", env=indexed.env, stdout=subprocess.DEVNULL)
        until(partial(has_begun, process, indexed))
        time.sleep(random.uniform(0, 0.1))  # the random point
        process.kill()
        killed += process.wait() == -signal.SIGKILL  # else it was done before
        process.stderr.close()
        if indexed.kind == "sqlite":
            check_file(indexed.options["sqlite_path"])
    reindex(indexed, "--missing")
    check_found(indexed)
