"""runlog reindex: what it does by default, and which runs it has embedded."""

from __future__ import annotations

import json
import threading
from typing import Any

import psycopg
import pytest
from cli_help import Cli, cli, on_sqlite
from fixtures_search import search
from fixtures_services import EmbeddingServer
from fixtures_store import Store
from helpers import minimal
from outbox_help import embedding, environment, outbox_rows, states

import runlog

__all__ = ["cli"]

on_postgres = pytest.mark.parametrize("store", ["postgres"], indirect=True)


@pytest.fixture
def embeds(
    logged: Store, embedding_server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when the runs are logged: an environment with an embedding server."""
    for name, value in environment(embedding(embedding_server)).items():
        monkeypatch.setenv(name, value)


TEXTS = 40
SILENT = 1_160
"""Runs with a text to embed, and without one: those are more than a step looks at."""


def log(recorder: Any) -> None:
    """Log the runs, and one that is open."""
    for place in range(SILENT):
        recorder.log_run(minimal(f"silent{place}", inputs={"text": f"in{place}"}))
    for place in range(TEXTS):
        recorder.log_run(minimal(f"r{place}", outputs={"text": f"the text of {place}"}))
    recorder.log_run(minimal("open", status="running", outputs={"text": "half"}))


@pytest.fixture
def logged(store: Store) -> Store:
    """A store of 1,201 runs that no process with a key has logged."""
    with runlog.Recorder(**store.options, words=False) as recorder:
        log(recorder)
        assert recorder.flush(60)
    assert outbox_rows(store) == {}
    return store


@pytest.mark.usefixtures("logged")
def test_without_a_key_there_are_words_only(cli: Cli) -> None:
    done = cli("reindex")
    assert (done.code, done.out) == (0, "indexed the words of 1,201 runs\n")
    assert cli("reindex", "meaning").code == 2
    assert "OPENAI_KEY" in cli("reindex", "meaning").err
    hits = json.loads(cli("search", "in1159", "--json").out)
    assert [hit["run"] for hit in hits] == ["silent1159"]


@on_postgres
def test_runs_that_were_logged_beside_an_open_transaction(
    cli: Cli, store: Store, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are waited for; if the transaction does not end, the command says so."""
    recorder.log_run(minimal("before", inputs={"text": "early"}))
    search(recorder, "early")  # no transaction of others is in its way any more
    with psycopg.connect(store.options["postgres_dsn"]) as connection:
        connection.execute("SELECT txid_current()")
        for number in range(3):
            recorder.log_run(minimal(f"r{number}", inputs={"text": "late"}))
        monkeypatch.setattr("runlog.cli.commands.reindex._PATIENCE", 0.5)
        done = cli("reindex", "words", "--json")
        assert (done.code, json.loads(done.out)) == (1, {"words": 1, "held": 3})
        assert "3 runs can't be indexed before the open transactions" in done.err
        monkeypatch.setattr("runlog.cli.commands.reindex._PATIENCE", 60.0)
        ending = threading.Timer(1.0, connection.rollback)
        ending.start()
        done = cli("reindex", "words", "--missing", "--json")
        ending.join()
    assert (done.code, json.loads(done.out)["held"]) == (0, 0)
    assert len(search(recorder, "late")) == 3


@pytest.mark.usefixtures("logged")
def test_words_that_are_turned_off(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNLOG_WORDS", "0")
    assert cli("reindex", "words").code == 2
    done = cli("reindex")
    assert (done.code, done.out) == (0, "")
    assert "nothing to do" in done.err


@pytest.mark.long_with("postgres")
@pytest.mark.usefixtures("embeds")
def test_runs_without_a_vector_are_embedded(cli: Cli, logged: Store) -> None:
    """A second time there is nothing to queue but runs without a text."""
    done = json.loads(cli("reindex", "--json").out)
    assert done == {"words": 1_201, "held": 0, "queued": 1_200, "waiting": 0}
    assert states(logged) == {"embedded": TEXTS}
    again = json.loads(cli("reindex", "meaning", "--json").out)
    assert again == {"queued": SILENT, "waiting": 0}


@pytest.mark.usefixtures("embeds")
def test_what_was_refused_or_is_of_another_model(cli: Cli, logged: Store) -> None:
    assert cli("reindex", "meaning").out == "queued 1,200 runs to be embedded\n"
    for run_id, change in {
        "r3": "state = 'failed', last_error = 'no'",
        "r5": "model = 'another'",
        "r7": "state = 'done', model = 'another'",
    }.items():
        logged.query(
            f"UPDATE run_embeddings SET {change} WHERE id = "
            f"(SELECT id FROM workflow_runs WHERE run_id = '{run_id}')"
        )
    done = json.loads(cli("reindex", "meaning", "--json").out)
    assert done == {"queued": SILENT + 3, "waiting": 0}
    rows = outbox_rows(logged)
    assert {rows[name]["state"] for name in ("r3", "r5", "r7")} == {"embedded"}
    assert len({row["model"] for row in rows.values()}) == 1


@on_sqlite
@pytest.mark.usefixtures("embeds")
def test_prune_leaves_the_embedding_server_alone(cli: Cli, logged: Store) -> None:
    """What waits to be embedded waits for a process with the key."""
    logged.query(
        "INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at) "
        "SELECT id, wpk_id, 'pending', 0 FROM workflow_runs"
    )
    assert cli("prune", "--keep", "10", "--yes").code == 0
    assert states(logged) == {"pending": 10}
    assert {row["attempts"] for row in outbox_rows(logged).values()} == {0}


@on_sqlite
@pytest.mark.usefixtures("embeds")
def test_a_server_that_refuses(
    cli: Cli, logged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs stay queued, and the command says why."""
    monkeypatch.setenv("OPENAI_KEY", "wrong")
    done = cli("reindex", "meaning")
    assert done.code == 1
    assert " runs wait for the embedding server: " in done.err
    assert "wrong" not in done.err
    left = states(logged)
    assert TEXTS <= left["pending"] <= TEXTS + SILENT
    assert set(left) == {"pending"}
