"""Reads at a replica: what they see, and who answers while a server is away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures_postgres import PostgresServer, running
from helpers import minimal, until
from torture.clusters import Replica
from torture.load import check_awaited

import runlog
from runlog.metrics.reading import Reader
from runlog.metrics.values import values_of
from runlog.reading import places
from runlog.reading.checks import Check, checks_of

POLICY = """CREATE POLICY slow ON workflow_runs
USING (CASE WHEN pg_is_in_recovery() THEN pg_sleep(60) IS NOT NULL ELSE true END)"""
SETTING = """CREATE FUNCTION setting() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION 'read only: %', current_setting('transaction_read_only'); END $$"""
PAUSED = "SELECT pg_get_wal_replay_pause_state() = 'paused'"


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    yield from running(PostgresServer())


@pytest.fixture(scope="module")
def replica(primary: PostgresServer) -> Iterator[Replica]:
    yield from running(Replica(primary))


class Pair:
    """A database with runlog's tables on a primary and its replica."""

    def __init__(
        self, primary: PostgresServer, replica: Replica, name: str, folder: Path
    ) -> None:
        self.primary, self.replica, self.name = primary, replica, name
        self.folder = folder
        self._journals = 0

    def options(self, **more: Any) -> dict[str, Any]:
        """Those of a recorder that reads at the replica."""
        return self.writes(read_dsn=self.replica.dsn(self.name), **more)

    def writes(self, **more: Any) -> dict[str, Any]:
        """Those of a recorder without a replica."""
        self._journals += 1
        journal = str(self.folder / f"journal{self._journals}.db")
        return {
            "postgres_dsn": self.primary.dsn(self.name),
            "sqlite_path": journal,
        } | more

    def until_replayed(self) -> None:
        """Wait until the replica has all that the primary has."""
        ((end,),) = self.primary.query("SELECT pg_current_wal_insert_lsn()::text")
        behind = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        self.primary.query("SELECT txid_current()")  # its WAL is flushed behind `end`
        until(lambda: self.replica.query(behind, end) == [(True,)])

    def pause(self) -> None:
        """Have the replica replay nothing more."""
        self.until_replayed()
        self.replica.query("SELECT pg_wal_replay_pause()")
        until(lambda: self.replica.query(PAUSED) == [(True,)])

    def go_on(self) -> None:
        """End a pause."""
        self.replica.query("SELECT pg_wal_replay_resume()")

    def counts(self, recorder: runlog.Recorder) -> tuple[int, int]:
        """Reads that the replica answered, and that the primary did instead."""
        stats = recorder.stats()
        return stats["replica_reads"], stats["replica_fallbacks"]


@pytest.fixture
def pair(primary: PostgresServer, replica: Replica, tmp_path: Path) -> Iterator[Pair]:
    with primary.borrow_tables() as name:
        made = Pair(primary, replica, name, tmp_path)
        made.until_replayed()
        yield made
        made.go_on()


def log(pair: Pair, *names: str, **fields: Any) -> None:
    """Log some runs as another program does."""
    with runlog.Recorder(**pair.writes()) as recorder:
        for name in names:
            recorder.log_run(minimal(name, **fields))


def test_the_replica_answers_all_reads(pair: Pair) -> None:
    log(pair, "r1", "r2", thread_id="t", outputs={"text": "a heron"})
    with runlog.Recorder(**pair.writes()) as other:
        until(lambda: len(other.search_runs("heron", by="words")) == 2)
        assert other.rollup(wait=60).waiting == 0
    pair.until_replayed()
    with runlog.Recorder(**pair.options(words=False)) as recorder:
        assert [run["run_id"] for run in recorder.list_runs().runs] == ["r2", "r1"]
        assert len(recorder.get_runs_by_wpk_id("w")) == 2
        found = recorder.get_run("r1", "w")
        assert found is not None
        assert found["outputs"] == {"text": "a heron"}
        assert [run["run_id"] for run in recorder.get_thread("t")] == ["r1", "r2"]
        assert recorder.count_runs(wpk_id="w").runs == 2
        assert len(recorder.search_runs("heron", by="words")) == 2
        assert recorder._gauges('["w"]')[:2] == (0, 0)
        reads, fallbacks = pair.counts(recorder)
        assert reads >= 7
        assert fallbacks == 0
        # counting writes, so it is done at the primary, and then its blocks are read
        assert (
            sum(block.run.statuses["completed"] for block in recorder.rollup().blocks)
            == 2
        )


async def read_with_asyncio(recorder: runlog.Recorder) -> None:
    page, run = await asyncio.gather(recorder.alist_runs(), recorder.aget_run("r1"))
    assert [one["run_id"] for one in page.runs] == ["r1"]
    assert run is not None
    await recorder.alog_run(minimal("r2"))
    assert await recorder.aget_run("r2") is not None


def test_the_twins_for_asyncio_read_there_too(pair: Pair) -> None:
    log(pair, "r1")
    pair.until_replayed()
    with runlog.Recorder(**pair.options()) as recorder:
        asyncio.run(read_with_asyncio(recorder))
        assert pair.counts(recorder)[0] >= 2


@pytest.mark.parametrize("durability", ["store", "journal"])
def test_a_process_reads_what_it_has_written(pair: Pair, durability: str) -> None:
    with runlog.Recorder(**pair.options(durability=durability)) as recorder:
        for number in range(30):
            recorder.log_run(minimal(f"r{number}"))
            check_awaited(recorder, f"r{number}")
            assert len(recorder.get_runs_by_wpk_id("w", 100)) == number + 1
        assert recorder.delete_runs(run_id="r7") == 1
        assert recorder.get_run("r7", "w") is None
        assert pair.counts(recorder)[0] > 0


def test_a_replica_that_lacks_a_write_is_not_asked(pair: Pair) -> None:
    with runlog.Recorder(**pair.options()) as recorder:
        assert recorder.list_runs().runs == []
        pair.pause()
        recorder.log_run(minimal("r1"))
        before = pair.counts(recorder)
        assert [run["run_id"] for run in recorder.list_runs().runs] == ["r1"]
        assert recorder.get_run("r1") is not None
        assert recorder.delete_runs(run_id="r1") == 1
        assert recorder.list_runs().runs == []
        assert pair.counts(recorder) == (before[0], before[1] + 3)
        assert recorder.stats()["replica"] == "up"
        pair.go_on()
        until(lambda: reads_more(pair, recorder))


def reads_more(pair: Pair, recorder: runlog.Recorder) -> bool:
    """Whether the replica answers a read."""
    before = pair.counts(recorder)
    recorder.list_runs()
    return pair.counts(recorder) == (before[0] + 1, before[1])


def test_how_far_it_is_behind_is_said(pair: Pair) -> None:
    with runlog.Recorder(**pair.options()) as recorder:
        assert recorder.stats()["replica_lag"] is None  # nothing was read yet
        # the server's own work may still be on its way
        until(lambda: len(recorder.list_runs().runs) == 0 and lag_of(recorder) == 0)
        pair.pause()
        log(pair, "r1")
        until(lambda: recorder.list_runs().runs == [] and lag_of(recorder) > 0)
        first = lag_of(recorder)
        until(lambda: recorder.list_runs().runs == [] and lag_of(recorder) > first)
        pair.go_on()
        until(lambda: len(recorder.list_runs().runs) == 1 and lag_of(recorder) == 0)


def lag_of(recorder: runlog.Recorder) -> float:
    lag = recorder.stats()["replica_lag"]
    assert lag is not None
    return float(lag)


def test_the_replica_of_an_idle_primary_is_not_behind(pair: Pair) -> None:
    """Though its newest commit is of long ago."""
    log(pair, "r1")
    pair.until_replayed()
    age = "SELECT clock_timestamp() - pg_last_xact_replay_timestamp() > interval '1 s'"
    until(lambda: pair.replica.query(age) == [(True,)])
    with runlog.Recorder(**pair.options()) as recorder:
        until(lambda: len(recorder.list_runs().runs) == 1 and lag_of(recorder) == 0)


def messages(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [one.getMessage() for one in caplog.records if text in one.getMessage()]


def test_while_the_replica_is_away_the_primary_answers(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "runlog")
    with runlog.Recorder(**pair.options()) as recorder:
        recorder.log_run(minimal("r1"))
        until(lambda: reads_more(pair, recorder))
        pair.replica.halt(immediate=True)
        try:
            for _ in range(5):
                assert len(recorder.list_runs().runs) == 1
            stats = recorder.stats()
            assert stats["replica"] == "away"
            assert stats["replica_error"]
            assert stats["replica_lag"] is None
            assert stats["server"] == "up"
        finally:
            pair.replica.resume()
        until(lambda: reads_more(pair, recorder))
        assert recorder.stats()["replica"] == "up"
        assert recorder.stats()["replica_error"] is None
    assert len(messages(caplog, "reads go to the primary")) == 1
    assert len(messages(caplog, "the replica is back: reads")) == 1


def test_while_the_primary_is_away_the_replica_answers(pair: Pair) -> None:
    log(pair, "r1", outputs={"text": "a heron"})
    with runlog.Recorder(**pair.options()) as recorder:
        until(lambda: len(recorder.search_runs("heron", by="words")) == 1)
        assert recorder.rollup(wait=60).waiting == 0
        pair.until_replayed()
        pair.primary.halt(immediate=True)
        try:
            assert len(recorder.list_runs().runs) == 1
            assert recorder.log_run(minimal("r2")) == "r2"
            assert recorder.stats()["server"] == "away"
            assert recorder.get_run("r1") is not None
            assert recorder.get_run("r2") is None  # it waits in the journal
            assert len(recorder.search_runs("heron", by="words")) == 1
            assert recorder._gauges('["w"]')[:2] == (0, 0)
            assert recorder.rollup().blocks
            with pytest.raises(runlog.StoreError):
                recorder.delete_runs(run_id="r1")
            late = runlog.Recorder(**pair.options())
            assert late.get_run("r1") is not None
            wrong = runlog.Recorder(**pair.writes(read_dsn=pair.replica.dsn("postgres")))
            with pytest.raises(runlog.StoreError):
                wrong.get_run("r1")
            assert "lacks tables" in wrong.stats()["replica_error"]
        finally:
            pair.primary.resume()
        with late, wrong:
            until(lambda: reads_more(pair, late))
            with pytest.raises(runlog.ConfigError, match="another database"):
                until(lambda: wrong.get_run("r1") is None)
        assert recorder.flush(60) is True
        until(lambda: recorder.get_run("r2") is not None)


def test_a_write_that_the_lost_primary_has_not_sent(pair: Pair) -> None:
    """The replica answers all the same: nobody else does."""
    with runlog.Recorder(**pair.options()) as recorder:
        recorder.list_runs()
        pair.pause()
        recorder.log_run(minimal("r1"))
        assert recorder.get_run("r1") is not None
        pair.primary.halt(immediate=True)
        try:
            assert recorder.list_runs().runs == []
        finally:
            pair.primary.resume()
        pair.go_on()
        until(lambda: recorder.get_run("r1") is not None)


def slow_for(pair: Pair, name: str) -> None:
    """Have a role's reads take a minute at the replica, and no time elsewhere."""
    pair.primary.query(f"DROP ROLE IF EXISTS {name}")
    for statement in (
        f"CREATE ROLE {name} LOGIN",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
        "ALTER TABLE workflow_runs ENABLE ROW LEVEL SECURITY",
        POLICY,
    ):
        pair.primary.query(statement, dbname=pair.name)


@pytest.fixture
def slow_pair(
    primary: PostgresServer, replica: Replica, tmp_path: Path
) -> Iterator[tuple[Pair, str]]:
    """A database in which a read at the replica takes a minute, and the DSN for that."""
    name = primary.create_database()
    made = Pair(primary, replica, name, tmp_path)
    log(made, "r1")
    slow_for(made, "slow")
    made.until_replayed()
    yield made, replica.dsn(name, "slow")
    primary.query("DROP OWNED BY slow", dbname=name)
    primary.drop_database(name)
    primary.query("DROP ROLE slow")


def test_a_read_that_recovery_cancels_is_made_at_the_primary(
    slow_pair: tuple[Pair, str],
) -> None:
    pair, dsn = slow_pair
    pair.replica.query("ALTER SYSTEM SET max_standby_streaming_delay = '50ms'")
    pair.replica.query("SELECT pg_reload_conf()")
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"

    async def read() -> Any:
        with runlog.Recorder(**pair.writes(), read_dsn=dsn) as recorder:
            page = asyncio.create_task(recorder.alist_runs())
            while not pair.replica.query(sleeping):
                await asyncio.sleep(0.001)
            pair.primary.query("TRUNCATE run_parts", dbname=pair.name)
            pair.primary.query(
                "ALTER TABLE workflow_runs ADD COLUMN more int", dbname=pair.name
            )
            return (await page).runs, pair.counts(recorder), recorder.stats()

    runs, counts, stats = asyncio.run(read())
    assert [run["run_id"] for run in runs] == ["r1"]
    assert counts == (0, 1)
    assert stats["replica"] == "up"


def test_a_read_that_takes_too_long_is_not_repeated(slow_pair: tuple[Pair, str]) -> None:
    """It would take the primary's time as well."""
    pair, dsn = slow_pair
    options = pair.writes(read_dsn=dsn, postgres_timeout=2)
    with runlog.Recorder(**options) as recorder:
        with pytest.raises(runlog.StoreError, match="told to cancel"):
            recorder.list_runs()
        assert pair.counts(recorder) == (0, 0)


def test_a_replica_that_lacks_the_tables(
    primary: PostgresServer,
    replica: Replica,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = primary.create_database()
    pair = Pair(primary, replica, name, tmp_path)
    pair.pause()
    try:
        with runlog.Recorder(**pair.options()) as recorder:
            assert recorder.log_run(minimal("r1")) == "r1"
            assert len(recorder.list_runs().runs) == 1
            stats = recorder.stats()
            assert stats["replica"] == "away"
            assert "read_dsn (POSTGRES_READ_DSN) lacks tables" in stats["replica_error"]
            pair.go_on()
            until(lambda: reads_more(pair, recorder))
    finally:
        pair.go_on()
    assert len(messages(caplog, "lacks tables of runlog's")) == 1
    primary.drop_database(name)


def refuse(pair: Pair, dsn: str) -> str:
    """The error that reading at another server gives. Recording goes on."""
    with runlog.Recorder(**pair.writes(read_dsn=dsn)) as recorder:
        assert recorder.log_run(minimal("r1")) == "r1"
        with pytest.raises(runlog.ConfigError) as caught:
            recorder.list_runs()
        with pytest.raises(runlog.ConfigError):
            recorder.get_run("r1")
    return str(caught.value)


def test_another_database_is_refused(pair: Pair) -> None:
    said = refuse(pair, pair.replica.dsn("postgres"))
    assert said.startswith("read_dsn (POSTGRES_READ_DSN) leads to another database")
    assert pair.replica.query("SELECT to_regclass('workflow_runs')") == [(None,)]


def test_another_server_is_refused(pair: Pair, postgres_server: PostgresServer) -> None:
    with postgres_server.borrow_database() as name:
        said = refuse(pair, postgres_server.dsn(name, password="secret-word"))
        assert said.startswith("read_dsn (POSTGRES_READ_DSN) leads to another database")
        assert "secret-word" not in said
        tables = postgres_server.query("SELECT to_regclass('workflow_runs')", dbname=name)
        assert tables == [(None,)]


def test_the_same_server_twice_is_allowed(pair: Pair) -> None:
    dsn = pair.primary.dsn(pair.name, tcp=True)
    settings = "SELECT setting FROM pg_settings WHERE name = 'port'"
    assert pair.primary.query(settings) != pair.replica.query(settings)
    with runlog.Recorder(**pair.writes(read_dsn=dsn)) as recorder:
        recorder.log_run(minimal("r1"))
        assert len(recorder.list_runs().runs) == 1
        assert pair.counts(recorder) == (1, 0)
        assert recorder.stats()["replica_lag"] == 0


def test_nothing_can_be_written_over_it(pair: Pair) -> None:
    """A function that writes, as a view of the user's might call one, is refused also
    where the server would allow it."""
    dsn = pair.primary.dsn(pair.name)
    with runlog.Recorder(**pair.writes(read_dsn=dsn)) as recorder:
        recorder.list_runs()
        for statement in (
            "CREATE TABLE seen (read_only text)",
            SETTING,
            "ALTER TABLE workflow_runs RENAME TO kept_runs",
            "CREATE VIEW workflow_runs AS SELECT * FROM kept_runs WHERE setting()",
            "INSERT INTO kept_runs (wpk_id, run_id, status) VALUES ('w', 'r1', 'failed')",
        ):
            pair.primary.query(statement, dbname=pair.name)
        with pytest.raises(runlog.StoreError, match="read only: off"):
            recorder.list_runs()  # by the primary, after the replica has failed
        assert "read only: on" in pair.primary.log.read_text()
        pair.primary.query("DROP VIEW workflow_runs", dbname=pair.name)
        pair.primary.query(
            "ALTER TABLE kept_runs RENAME TO workflow_runs", dbname=pair.name
        )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"read_dsn": "", "postgres_dsn": "host=h"}, "is empty"),
        ({"read_dsn": " ", "postgres_dsn": "host=h"}, "is empty"),
        ({"read_dsn": 7, "postgres_dsn": "host=h"}, "must be text"),
        ({"read_dsn": "host=h"}, "needs postgres_dsn (POSTGRES_DSN)"),
        ({"read_dsn": "host=h", "postgres_dsn": ""}, "needs postgres_dsn (POSTGRES_DSN)"),
        (
            {"read_dsn": "postgresql://u:secret-word@h:1/d@x", "postgres_dsn": "host=h"},
            "has an @",
        ),
        ({"read_dsn": "secret-word", "postgres_dsn": "host=h"}, "can't be parsed"),
        (
            {"read_dsn": "host=h sslmode=secret-word", "postgres_dsn": "host=h"},
            "must be one of",
        ),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(runlog.ConfigError) as caught:
        runlog.Recorder(**options)
    assert "read_dsn (POSTGRES_READ_DSN)" in str(caught.value)
    assert reason in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_the_variable_belongs_to_that_of_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(tmp_path / "runs.db"))
    monkeypatch.setenv("POSTGRES_READ_DSN", "host=replica")
    with pytest.raises(runlog.ConfigError, match="needs postgres_dsn"):
        runlog.Recorder()
    for dsn in ("host=other", ""):
        with runlog.Recorder(postgres_dsn=dsn) as recorder:
            assert recorder.stats()["replica"] is None
    monkeypatch.setenv("POSTGRES_DSN", "host=primary")
    with runlog.Recorder() as recorder:
        assert recorder.stats()["replica"] == "up"


def test_doctor_and_metrics_say_how_far_it_is_behind(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = pair.options()
    monkeypatch.setenv("POSTGRES_DSN", options["postgres_dsn"])
    monkeypatch.setenv("POSTGRES_READ_DSN", options["read_dsn"])
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", options["sqlite_path"])
    place = places.find()
    with places.open_recorder(place) as recorder:
        checks = {one.what: one for one in checks_of(place, lambda: recorder)}
        assert checks["replica"] == Check("replica", "ok", "up to date")
        assert series_of(recorder) == {"up": 1, "lag_seconds": 0}
        pair.pause()
        log(pair, "r1")
        until(lambda: recorder.list_runs().runs == [] and lag_of(recorder) > 0)
        assert series_of(recorder)["lag_seconds"] > 0
        pair.go_on()
        monkeypatch.setenv("POSTGRES_READ_DSN", pair.replica.dsn("postgres"))
        place = places.find()
    with places.open_recorder(place) as recorder:
        found = checks_of(place, lambda: recorder)
        wrong = [one for one in found if one.state == "fault"]
        assert [one.what for one in wrong] == ["replica"]
        assert "another database" in wrong[0].said


def series_of(recorder: runlog.Recorder) -> dict[str, float]:
    """The metrics of the replica."""
    found = values_of(Reader(lambda: recorder).read(), process=False)
    start = "runlog_replica_"
    return {
        family.name.removeprefix(start): values[0][1]
        for family, values in found
        if family.name.startswith(start)
    }


def test_a_child_of_a_fork_reads_on_its_own_connection(pair: Pair) -> None:
    log(pair, "r1")
    pair.until_replayed()
    with runlog.Recorder(**pair.options(words=False)) as recorder:
        assert len(recorder.list_runs().runs) == 1
        child = os.fork()
        if child == 0:
            try:
                found = len(recorder.list_runs().runs) + 10 * pair_reads(recorder)
                os._exit(found)
            except BaseException:  # noqa: BLE001 - pytest's own must not run on here
                os._exit(99)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 21
        assert len(recorder.list_runs().runs) == 1
        assert pair.counts(recorder) == (2, 0)


def pair_reads(recorder: runlog.Recorder) -> int:
    return int(recorder.stats()["replica_reads"])


@pytest.fixture
def own_replica(primary: PostgresServer) -> Iterator[Replica]:
    """A replica that a test may promote."""
    yield from running(Replica(primary))


def test_a_promoted_replica_is_left_alone(
    primary: PostgresServer,
    own_replica: Replica,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It would never learn of later runs."""
    name = primary.create_database()
    pair = Pair(primary, own_replica, name, tmp_path)
    with runlog.Recorder(**pair.options()) as recorder:
        recorder.log_run(minimal("r1"))
        until(lambda: reads_more(pair, recorder))
        own_replica.promote()
        log(pair, "r2")
        until(lambda: len(recorder.list_runs().runs) == 2)
        stats = recorder.stats()
        assert stats["replica"] == "away"
        assert "it takes writes, and is not" in stats["replica_error"]
    assert len(messages(caplog, "it takes writes, and is not")) == 1
    primary.drop_database(name)
