"""runlog prune beside writers, and killed: what is kept is whole, what goes goes whole.

TORTURE_KILLS is how many prunes are killed at random points for each kind of database
(2 unless given).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
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
OLD = 8_000
PRUNE = ("prune", "--older-than", "30d", "--workflow", "old", "--yes", "--json")
LEFT = "SELECT count(*) FROM workflow_runs WHERE wpk_id = 'old'"

NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL "
    f"SELECT n + 1 FROM numbers WHERE n < {OLD}), ids AS (SELECT n, "
    "printf('00000000-0000-7000-8000-%012d', n) AS id FROM numbers) ",
    "postgres": "WITH ids AS (SELECT n, lpad(n::text, 32, '0')::uuid AS id FROM "
    f"generate_series(1, {OLD}) AS n) ",
}
TEXT = {
    "sqlite": "printf('%.*c', 1000 + n % 3000, 'x')",
    "postgres": "repeat('x', 1000 + n % 3000)",
}
"""Of some kilobytes, so that runs have pages of their own."""
PART = "INSERT INTO run_parts (wpk_id, id, name, data, revision) "
FILL = [
    """INSERT INTO workflow_runs (id, wpk_id, run_id, status, inputs, created_at,
    updated_at, revision) {numbers} SELECT id, 'old', 'r' || n, 'completed', {json},
    '2020-01-01T00:00:00Z', '2020-01-01T00:00:00Z', 1 FROM ids""",
    PART + "{numbers} SELECT 'old', id, 'a', {text}, 1 FROM ids",
    PART + "{numbers} SELECT 'old', id, 'b', {text}, 1 FROM ids",
    """INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at)
    {numbers} SELECT id, 'old', 'done', 0 FROM ids""",
]
JSON = {
    "sqlite": '\'{"text": "an oldword"}\'',
    "postgres": '\'{"text": "an oldword"}\'::jsonb',
}
BROKEN = {
    "runs without their parts": "SELECT count(*) FROM workflow_runs AS run WHERE "
    "wpk_id = 'old' AND (SELECT count(*) FROM run_parts AS part WHERE "
    "part.wpk_id = 'old' AND part.id = run.id) <> 2",
    "runs without their embeddings": "SELECT count(*) FROM workflow_runs WHERE wpk_id = "
    "'old' AND id NOT IN (SELECT id FROM run_embeddings)",
    "parts without a run": "SELECT count(*) FROM run_parts WHERE id NOT IN "
    "(SELECT id FROM workflow_runs)",
    "embeddings without a run": "SELECT count(*) FROM run_embeddings WHERE id NOT IN "
    "(SELECT id FROM workflow_runs)",
}
WORDS = {
    "sqlite": "SELECT count(*) FROM run_words_text AS words LEFT JOIN workflow_runs AS "
    "run ON run.rowid = words.rowid WHERE run_words_text MATCH 'oldword' AND "
    "run.rowid IS NULL AND words.rowid NOT IN (SELECT run FROM run_words_changed)",
    "postgres": "SELECT count(*) FROM run_words WHERE id NOT IN "
    "(SELECT id FROM workflow_runs)",
}


def fill(store: Store) -> None:
    """Store OLD runs with parts and embeddings, as if they were of 2020."""
    for statement in FILL:
        made = statement.format(
            numbers=NUMBERS[store.kind],
            text=TEXT[store.kind],
            json=JSON[store.kind],
        )
        store.query(made)


def left_in(store: Store) -> int:
    ((count,),) = store.query(LEFT)
    return int(count)


def has_less(store: Store, than: int) -> bool:
    return left_in(store) < than


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a command that has to succeed; what it printed."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def check_whole(store: Store) -> None:
    """No run has lost a part, and no part its run."""
    if store.kind == "sqlite":
        check_file(store.options["sqlite_path"])
    for fault, sql in (BROKEN | {"words without a run": WORDS[store.kind]}).items():
        assert store.query(sql) == [(0,)], fault


@pytest.fixture
def older_file(store: Store) -> None:
    """A file that no runlog has made: it can't give space back in steps."""
    store.query("PRAGMA user_version = 1")


@pytest.fixture
def filled(store: Store) -> Store:
    """A store of old runs, which are indexed, and of one that stays."""
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal("1", "stays", outputs={"text": "x" * 50_000}))
        assert recorder.flush(60)
        fill(store)
        until(lambda: recorder.search_runs("oldword", by="words").complete)
    return store


@pytest.fixture
def writers(filled: Store, tmp_path: Path) -> Iterator[Writers]:
    """Two of them at work."""
    made = Writers(tmp_path, filled.env)
    for _ in range(2):  # at full speed they would fill what is freed
        made.start(WRITER_PAUSE="0.005")
    yield made
    made.end()


@pytest.mark.long_with("postgres")
def test_prune_beside_writers(filled: Store, writers: Writers) -> None:
    """The old runs are gone, what the writers log is kept, and the file shrinks."""
    writers.until_acknowledged(100)
    before = writers.acknowledged().total()
    out = finish(start(*PRUNE, env=filled.env, stdout=subprocess.PIPE))
    logged = writers.acknowledged().total() - before
    assert logged >= 100
    writers.kill_all()
    done = json.loads(out)
    assert (done["runs"], done["deleted"]) == (OLD, True)
    assert left_in(filled) == 0
    check_whole(filled)
    with runlog.Recorder(**filled.options) as recorder:
        assert recorder.flush(60)
        kept: Any = recorder.get_run("1", "stays")
        assert kept["outputs"] == {"text": "x" * 50_000}
        until(lambda: recorder.search_runs("oldword", by="words").complete)
        assert recorder.search_runs("oldword", by="words") == []
    writers.check(filled.query)
    if filled.kind == "sqlite":
        taken = logged * 3_000  # by runs of up to 2 KB, which are stored where those were
        assert done["returned"] > OLD * 5_000 - taken, done
        assert done["free"] == 0
        check_small(Path(filled.options["sqlite_path"]))


def check_small(path: Path) -> None:
    """The file is not much larger than one without free pages."""
    packed = path.with_name("packed.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM INTO ?", (str(packed),))
    assert path.stat().st_size < 1.3 * packed.stat().st_size + 4_000_000


@pytest.mark.long_with("sqlite")
def test_kill_prune(filled: Store) -> None:
    """Each run is whole or gone with all that it had, and another prune ends the work."""
    killed = 0
    while killed < KILLS:
        if (left := left_in(filled)) < OLD // 2:
            filled.query("DELETE FROM workflow_runs WHERE wpk_id = 'old'")
            fill(filled)
            left = OLD
        pruning = start(*PRUNE, env=filled.env, stdout=subprocess.DEVNULL)
        until(partial(has_less, filled, left))
        time.sleep(random.uniform(0, 0.2))  # the random point
        pruning.kill()
        killed += pruning.wait() == -signal.SIGKILL  # else it was done before
        pruning.stderr.close()
        check_whole(filled)
    if left_in(filled) == 0:  # the last one was killed when its work was done
        fill(filled)
    out = finish(start(*PRUNE, env=filled.env, stdout=subprocess.PIPE))
    assert json.loads(out)["deleted"] is True
    assert left_in(filled) == 0
    check_whole(filled)
    if filled.kind == "sqlite":
        check_small(Path(filled.options["sqlite_path"]))


@pytest.mark.long
@on_sqlite
@pytest.mark.usefixtures("older_file")
def test_vacuum_beside_writers(filled: Store, writers: Writers) -> None:
    """While the file is written anew, they commit beside it."""
    path = Path(filled.options["sqlite_path"])
    writers.until_acknowledged(100)
    pruned = json.loads(finish(start(*PRUNE, env=filled.env, stdout=subprocess.PIPE)))
    assert (pruned["returned"], pruned["free"] > OLD * 5_000) == (0, True)
    for _ in range(KILLS):
        vacuuming = start("prune", "--vacuum", env=filled.env)
        time.sleep(random.uniform(0.2, 0.6))
        vacuuming.kill()
        vacuuming.communicate()
        check_file(str(path))
    before = writers.acknowledged().total()
    finish(start("prune", "--vacuum", "--json", env=filled.env, stdout=subprocess.PIPE))
    writers.until_acknowledged(before + 100)
    writers.kill_all()
    with runlog.Recorder(**filled.options) as recorder:
        assert recorder.flush(60)
    writers.check(filled.query)
    check_whole(filled)
    check_small(path)
    assert filled.query("PRAGMA auto_vacuum") == [(2,)]
