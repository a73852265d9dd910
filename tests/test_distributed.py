"""Tables laid out for a Citus cluster: the command, and all that goes on upon them."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from cli_help import Cli
from fixtures_postgres import PostgresServer
from fixtures_services import EmbeddingServer
from fixtures_store import Store
from helpers import minimal, until
from outbox_help import embedding
from spread import CITUS

import runlog
from runlog.cli import main

TABLES = (
    "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'run%' "
    "AND relnamespace = 'public'::regnamespace"
)
INSERT = (
    "INSERT INTO workflow_runs (wpk_id, run_id, status, outputs) VALUES (%s, %s, %s, %s)"
)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture(scope="module")
def spread_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """A database that was laid out when it had a run already."""
    with postgres_server.borrow_database() as name:
        dsn = postgres_server.dsn(name)
        postgres_server.query(CITUS, dbname=name)
        with runlog.Recorder(postgres_dsn=dsn, sqlite_path="first.db") as recorder:
            recorder.log_run(minimal("r1", "first", outputs={"text": "an early bird"}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("POSTGRES_DSN", dsn)
            assert main(["migrate", "--distributed"]) == 0
        yield dsn


@pytest.fixture
def spread(spread_dsn: str, tmp_path: Any) -> Store:
    return Store(
        "postgres",
        {"postgres_dsn": spread_dsn, "sqlite_path": str(tmp_path / "runs.db")},
        {"POSTGRES_DSN": spread_dsn},
    )


@pytest.fixture
def recorder(spread: Store) -> Iterator[runlog.Recorder]:
    with runlog.Recorder(**spread.options) as made:
        yield made


def found(recorder: runlog.Recorder, words: str, wpk_id: str) -> list[str]:
    return [
        hit["run_id"] for hit in recorder.search_runs(words, by="words", wpk_id=wpk_id)
    ]


def counted(recorder: runlog.Recorder, wpk_id: str) -> int:
    return sum(
        block.run.statuses.total() for block in recorder.rollup(wpk_id=wpk_id).blocks
    )


@contextmanager
def refusing(
    store: Store, state: str, wpk_id: str, how: str | None = None
) -> Iterator[None]:
    """Have the server refuse the runs of a workflow with an SQLSTATE, or do `how`."""
    how = how or f"RAISE SQLSTATE '{state}' USING MESSAGE = 'the shard is away'"
    store.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.wpk_id = '{wpk_id}' THEN {how}; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON workflow_runs FOR EACH ROW "
        "EXECUTE FUNCTION refuse()"
    )
    yield
    store.query("DROP FUNCTION IF EXISTS refuse() CASCADE")


def test_the_layout_is_made_once(
    cli: Cli, spread: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_DSN", spread.options["postgres_dsn"])
    done = cli("migrate", "--distributed")
    assert (done.code, "already distributed over" in done.err) == (0, True), done
    lies = dict(spread.query("SELECT logicalrelid::text, partkey FROM pg_dist_partition"))
    assert {name for name, key in lies.items() if key is None} == {
        "run_rollup_state",
        "run_words_position",
        "runlog_database",
        "runlog_distributed_migrations",
        "runlog_migrations",
        "runlog_owners",
    }
    tables = spread.query(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^(run|work)' "
        "AND relnamespace = 'public'::regnamespace"
    )
    assert set(lies) == {name for (name,) in tables}


def test_runs_from_before_are_found(recorder: runlog.Recorder) -> None:
    until(lambda: found(recorder, "early", "first") == ["r1"])
    until(lambda: counted(recorder, "first") == 1)


def test_a_run_is_merged_renamed_and_deleted(spread: Store) -> None:
    with runlog.Recorder(**spread.options, words=False) as writer:
        for status in ("running", "completed"):
            writer.log_run(minimal("r", "merged", status=status, outputs={"n": 1}))
    assert spread.query("SELECT count(*) FROM run_words_queue") == [(2,)]
    with runlog.Recorder(**spread.options) as recorder:
        check_merged(recorder, spread)


def check_merged(recorder: runlog.Recorder, spread: Store) -> None:
    assert [run["status"] for run in recorder.list_runs(wpk_id="merged").runs] == [
        "completed"
    ]
    new = "00000000-0000-4000-8000-000000000001"
    spread.query("UPDATE workflow_runs SET id = ? WHERE wpk_id = 'merged'", new)
    until(lambda: spread.query("SELECT count(*) FROM run_words_queue") == [(0,)])
    of = "FROM run_words WHERE wpk_id = 'merged'"
    until(lambda: [str(one) for (one,) in spread.query(f"SELECT id {of}")] == [new])
    assert recorder.delete_runs(wpk_id="merged") == 1
    assert spread.query(f"SELECT count(*) {of}") == [(0,)]


def test_a_transaction_that_commits_late_is_not_missed(
    recorder: runlog.Recorder, spread: Store
) -> None:
    with psycopg.connect(spread.options["postgres_dsn"]) as late:
        late.execute(
            INSERT, ("late", "r1", "completed", json.dumps({"text": "a walrus"}))
        )
        recorder.log_run(minimal("r2", "late", outputs={"text": "another walrus"}))
        until(lambda: found(recorder, "walrus", "late") == ["r2"])
        until(lambda: counted(recorder, "late") == 1)
    until(lambda: found(recorder, "walrus", "late") == ["r2", "r1"])
    until(lambda: counted(recorder, "late") == 2)


def test_what_is_counted_anew_stays_the_same(
    recorder: runlog.Recorder, spread: Store
) -> None:
    for i in range(20):
        status = "failed" if i % 4 == 0 else "completed"
        recorder.log_run(minimal(f"r{i}", "anew", status=status, duration_ms=i))
    until(lambda: counted(recorder, "anew") == 20)
    before = recorder.rollup(wpk_id="anew").blocks
    recorder._reset_rollup()
    assert spread.query("SELECT count(*) > 0 FROM run_rollup_marks") == [(True,)]
    until(lambda: recorder.rollup(wpk_id="anew").waiting == 0)
    assert recorder.rollup(wpk_id="anew").blocks == before


def test_claims_of_two_never_meet(
    spread: Store, embedding_server: EmbeddingServer, tmp_path: Any
) -> None:
    texts = [f"Run number {i} of many." for i in range(150)]
    options = spread.options | embedding(embedding_server)
    with (
        runlog.Recorder(**options) as one,
        runlog.Recorder(**options | {"sqlite_path": str(tmp_path / "two.db")}) as two,
    ):
        writers = [
            threading.Thread(
                target=lambda own=own, part=part: [
                    own.log_run(minimal(text, "claims", outputs={"text": text}))
                    for text in part
                ]
            )
            for own, part in ((one, texts[::2]), (two, texts[1::2]))
        ]
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join()
        assert one.flush(60)
        assert two.flush(60)
    assert embedding_server.counters()["asked"] == dict.fromkeys(texts, 1)


def test_only_the_runs_of_an_absent_shard_wait(
    spread: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "runlog"),
        runlog.Recorder(**spread.options, durability="journal") as recorder,
    ):
        with refusing(spread, "08006", "away"):
            for i in range(30):
                recorder.log_run(minimal(f"r{i}", "away" if i % 3 == 0 else "here"))
            of = "FROM workflow_runs WHERE wpk_id = 'here'"
            until(lambda: spread.query(f"SELECT count(*) {of}") == [(20,)])
            recorder.log_run(minimal("new", "here"))
            until(lambda: spread.query(f"SELECT count(*) {of}") == [(21,)])
            until(lambda: recorder.stats()["waiting"] == 10)
            assert recorder.stats()["server"] == "away"
            assert "the shard is away" in recorder.stats()["server_error"]
        assert recorder.flush(60)
        of = "FROM workflow_runs WHERE wpk_id = 'away'"
        assert spread.query(f"SELECT count(*) {of}") == [(10,)]
    assert len([one for one in caplog.messages if "the shard is away" in one]) == 1


def test_truncating_the_runs_empties_what_belongs_to_them(
    recorder: runlog.Recorder, spread: Store
) -> None:
    recorder.log_run(minimal("r", "truncated", outputs={"text": "a zebra"}))
    until(lambda: found(recorder, "zebra", "truncated") == ["r"])
    spread.query("TRUNCATE workflow_runs")
    for table in ("run_words", "run_words_queue", "run_parts"):
        assert spread.query(f"SELECT count(*) FROM {table}") == [(0,)], table
    recorder.log_run(minimal("r2", "truncated", outputs={"text": "a zebra"}))
    until(lambda: found(recorder, "zebra", "truncated") == ["r2"])


@pytest.fixture
def plain(postgres_server: PostgresServer, monkeypatch: Any) -> Iterator[Store]:
    """An empty database."""
    with postgres_server.borrow_database() as name:
        dsn = postgres_server.dsn(name)
        monkeypatch.setenv("POSTGRES_DSN", dsn)
        yield Store("postgres", {"postgres_dsn": dsn, "sqlite_path": "runs.db"}, {})


def test_a_server_without_citus_is_refused(cli: Cli, plain: Store) -> None:
    done = cli("migrate", "--distributed")
    assert (done.code, "has no Citus" in done.err) == (3, True), done
    assert plain.query(TABLES) == [(0,)]


def test_a_worker_is_refused(cli: Cli, plain: Store) -> None:
    plain.query(CITUS)
    plain.query("UPDATE pg_dist_local_group SET groupid = 3")
    done = cli("migrate", "--distributed")
    assert (done.code, "is a worker" in done.err) == (3, True), done
    assert plain.query(TABLES) == [(0,)]


def test_a_half_distributed_schema_is_refused(cli: Cli, plain: Store) -> None:
    assert cli("migrate", "apply").code == 0
    plain.query(CITUS)
    plain.query("SELECT create_distributed_table('run_parts', 'id')")
    before = plain.query("SELECT conname FROM pg_constraint ORDER BY 1")
    done = cli("migrate", "--distributed")
    assert done.code == 3
    assert "by id: run_parts; on the coordinator alone: run_embeddings" in done.err
    assert plain.query("SELECT conname FROM pg_constraint ORDER BY 1") == before


def test_a_layout_that_was_changed_is_refused(cli: Cli, plain: Store) -> None:
    plain.query(CITUS)
    assert cli("migrate", "--distributed").code == 0
    plain.query(
        "DELETE FROM pg_dist_partition WHERE logicalrelid = 'run_words'::regclass"
    )
    done = cli("migrate", "--distributed")
    assert (done.code, "alone: run_words" in done.err) == (3, True), done


def test_a_role_that_owns_no_tables_is_refused(
    cli: Cli, plain: Store, monkeypatch: Any
) -> None:
    assert cli("migrate", "apply").code == 0
    plain.query(CITUS)
    plain.query("DROP ROLE IF EXISTS lodger")
    plain.query("CREATE ROLE lodger LOGIN")
    plain.query("GRANT USAGE ON SCHEMA public TO lodger")
    plain.query("GRANT SELECT ON ALL TABLES IN SCHEMA public TO lodger")
    dsn = f"{plain.options['postgres_dsn']} user=lodger"
    monkeypatch.setenv("POSTGRES_DSN", dsn)
    done = cli("migrate", "--distributed")
    assert (done.code, "does not own these tables" in done.err) == (3, True), done
    plain.query("DROP OWNED BY lodger")
    plain.query("DROP ROLE lodger")


def test_a_file_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTGRES_DSN", raising=False)
    done = cli("migrate", "--distributed")
    assert (done.code, "SQLite" in done.err) == (2, True), done


def test_an_interrupted_layout_changes_nothing(cli: Cli, plain: Store) -> None:
    plain.query(CITUS)
    plain.query(
        "CREATE OR REPLACE FUNCTION create_reference_table(tab regclass) RETURNS void "
        "LANGUAGE plpgsql AS $$ BEGIN RAISE 'worker lost'; END $$"
    )
    done = cli("migrate", "--distributed")
    assert (done.code, "worker lost" in done.err) == (3, True), done
    assert plain.query("SELECT count(*) FROM pg_dist_partition") == [(0,)]
    plain.query("DROP FUNCTION create_reference_table; ")
    plain.query(
        CITUS[CITUS.index("CREATE FUNCTION create_reference_table") :].split("$$;")[0]
        + "$$"
    )
    assert cli("migrate", "--distributed").code == 0


def test_a_run_that_the_server_can_not_do_is_set_aside(
    plain: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with runlog.Recorder(**plain.options, durability="journal") as recorder:
        recorder.list_runs()
        with refusing(plain, "0A000", "odd"):
            for i in range(9):
                recorder.log_run(minimal(f"r{i}", "odd" if i == 4 else "even"))
            assert recorder.flush(60)
        assert plain.query("SELECT count(*) FROM workflow_runs") == [(8,)]
        stats = recorder.stats()
        assert (stats["server"], stats["rejected"], stats["waiting"]) == ("up", 1, 0)
    assert "rejected a run" in caplog.text


def test_a_claim_that_fails_is_said_once(
    plain: Store, embedding_server: EmbeddingServer, caplog: pytest.LogCaptureFixture
) -> None:
    options = plain.options | embedding(embedding_server)
    with caplog.at_level(logging.INFO, "runlog"), runlog.Recorder(**options) as recorder:
        recorder.list_runs()
        plain.query("ALTER TABLE run_embeddings RENAME attempts TO tries")
        plain.query(
            "INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at) "
            "VALUES (uuid_generate_v4(), 'w', 'pending', 0)"
        )
        for _ in range(3):
            assert not recorder.flush(0.2)
        until(lambda: "attempts" in (recorder.stats()["embedding_error"] or ""))
        plain.query("ALTER TABLE run_embeddings RENAME tries TO attempts")
        assert recorder.flush(60)
        assert recorder.stats()["embedding_error"] is None
    said = [one for one in caplog.messages if one.startswith("embedding ")]
    assert (len(said), said[-1]) == (2, "embedding continues")


def test_a_shard_that_does_not_answer_holds_up_its_own_runs(spread: Store) -> None:
    options = spread.options | {"postgres_timeout": 0.5, "durability": "journal"}
    with runlog.Recorder(**options) as recorder:
        recorder.list_runs()
        with refusing(spread, "", "slow", "PERFORM pg_sleep(3)"):
            for i in range(20):
                recorder.log_run(minimal(f"r{i}", "slow" if i % 2 else "quick"))
            of = "FROM workflow_runs WHERE wpk_id = 'quick'"
            until(lambda: spread.query(f"SELECT count(*) {of}") == [(10,)])
            until(lambda: recorder.stats()["waiting"] == 10)
