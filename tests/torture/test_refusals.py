"""A server that answers, and does not take the run: for now, or for ever."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_postgres import PostgresServer, server_user
from fixtures_proxy import Proxied
from handler_graphs import record_two_nodes, two_nodes, with_id
from helpers import minimal, until
from stopwatch import Stopwatch
from torture.load import (
    ACCEPTING,
    JOURNALING,
    Acknowledged,
    count_logged,
    journal_rows,
    until_logged,
    until_server,
)

import runlog
from runlog import StoreError
from runlog.hooks import RunLogHandler

NO_EVIL = "ALTER TABLE workflow_runs ADD CONSTRAINT no_evil CHECK (status <> 'evil')"
LOCK = "LOCK TABLE workflow_runs IN ACCESS EXCLUSIVE MODE"
DISCONNECT = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = %s AND pid <> pg_backend_pid()"
)


class Limited:
    """A database that belongs to a role that is no superuser."""

    def __init__(self, server: PostgresServer, tmp_path: Path) -> None:
        self.server = server
        self.dbname = server.create_database()
        self.role = f"role_{self.dbname}"
        server.query(f"CREATE ROLE {self.role} LOGIN")
        server.query(f"ALTER DATABASE {self.dbname} OWNER TO {self.role}")
        self.options: dict[str, Any] = {
            "postgres_dsn": server.dsn(self.dbname, user=self.role),
            "sqlite_path": str(tmp_path / "journal.db"),
        }

    def query(self, sql: str, *params: object) -> list[Any]:
        """As the superuser, in that database."""
        return self.server.query(sql, *params, dbname=self.dbname)

    def run(self, sql: str) -> None:
        """The same, for what has no rows."""
        self.query(sql)

    def disconnect(self) -> None:
        """Cut its connections, so that it must make new ones."""
        self.server.query(DISCONNECT, self.dbname)

    def remove(self) -> None:
        self.server.drop_database(self.dbname)
        self.server.query(f"DROP ROLE {self.role}")


@pytest.fixture
def limited(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Limited]:
    made = Limited(postgres_server, tmp_path)
    yield made
    made.remove()


def goes_to_the_journal(recorder: runlog.Recorder, log: Acknowledged, why: str) -> None:
    """A run that the server does not take now is kept, and the reason can be seen."""
    before = recorder.stats()["journaled"]
    log.log(recorder, f"kept {why}", outputs=why)
    stats = recorder.stats()
    assert (stats["journaled"], stats["waiting"]) == (before + 1, 1)
    assert (stats["server"], stats["failed"], stats["rejected"]) == ("away", 0, 0)
    assert why in stats["server_error"]


def is_forwarded(recorder: runlog.Recorder, log: Acknowledged, query: Any) -> None:
    """It is forwarded, and the next one goes to the server itself; or a later one, where
    a busy machine is slower than the test's time-out.
    """

    def is_taken() -> bool:
        assert recorder.flush(60) is True
        until_server(recorder, "up")
        before = recorder.stats()["journaled"]
        log.log(recorder, "last")
        return bool(recorder.stats()["journaled"] == before)

    until(is_taken)
    log.check(query)


def test_runs_are_journaled_while_the_database_is_read_only(limited: Limited) -> None:
    """As after a failover: the connection is fine, and nothing can be written."""
    with runlog.Recorder(**limited.options) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "before")
        name = f"ALTER DATABASE {limited.dbname}"
        limited.server.query(f"{name} SET default_transaction_read_only = on")
        limited.disconnect()
        goes_to_the_journal(recorder, log, "read-only")
        assert recorder.get_run("before") is not None  # reading still works
        limited.server.query(f"{name} RESET default_transaction_read_only")
        is_forwarded(recorder, log, limited.query)


def test_runs_are_journaled_while_there_are_too_many_connections(
    limited: Limited,
) -> None:
    with runlog.Recorder(**limited.options) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "before")
        limited.server.query(f"ALTER ROLE {limited.role} CONNECTION LIMIT 0")
        limited.disconnect()
        goes_to_the_journal(recorder, log, "too many connections")
        limited.server.query(f"ALTER ROLE {limited.role} CONNECTION LIMIT -1")
        is_forwarded(recorder, log, limited.query)


def test_one_connection_is_enough_to_write(limited: Limited) -> None:
    """What the role may not have is no reason to lose a run, or to hold one back."""
    limited.server.query(f"ALTER ROLE {limited.role} CONNECTION LIMIT 1")
    with runlog.Recorder(**limited.options) as recorder:
        log = Acknowledged("w")
        for number in range(10):
            log.log(recorder, f"r{number}")
        assert recorder.flush(30) is True
        log.check(limited.query)


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
def test_runs_are_journaled_after_a_timeout_of_the_role(
    limited: Limited, setting: str
) -> None:
    limited.server.query(f"ALTER ROLE {limited.role} SET {setting} = '200ms'")
    with runlog.Recorder(**limited.options) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "before")
        assert recorder.flush(60)  # the tables may have taken longer than that
        until_server(recorder, "up")
        with psycopg.connect(limited.server.dsn(limited.dbname)) as other:
            other.execute(LOCK)
            goes_to_the_journal(recorder, log, "timeout")
            other.rollback()
        is_forwarded(recorder, log, limited.query)


def test_runs_are_journaled_after_our_timeout_behind_a_lock(limited: Limited) -> None:
    """What waits there for the lock may still be committed: then it is the same run."""
    with runlog.Recorder(**limited.options, postgres_timeout=0.3) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "before")
        assert recorder.flush(60)
        before = recorder.stats()["journaled"]
        with psycopg.connect(limited.server.dsn(limited.dbname)) as other:
            other.execute(LOCK)
            log.log(recorder, "behind it", status="running", inputs=1)
            log.log(recorder, "behind it", outputs=2)
            assert recorder.stats()["journaled"] == before + 2
            other.rollback()
        is_forwarded(recorder, log, limited.query)
        assert log.states["behind it"] == ("completed", 2)


def test_runs_are_journaled_while_the_server_shuts_down(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    dbname = own_server.create_database()
    dsn, path = own_server.dsn(dbname), str(tmp_path / "journal.db")
    with runlog.Recorder(postgres_dsn=dsn, sqlite_path=path) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "before")
        own_server.halt()
        for number in range(10):
            log.log(recorder, f"r{number}")
        assert recorder.stats()["waiting"] == 10
        own_server.resume()
        is_forwarded(recorder, log, lambda *q: own_server.query(*q, dbname=dbname))


def complaints(server: PostgresServer, dbname: str) -> int:
    """How often the server's log says that this database has refused a run."""
    return sum(
        f" {dbname} ERROR" in line and "no_evil" in line
        for line in server.log.read_text().splitlines()
    )


@pytest.fixture
def constrained(proxied: Proxied) -> Proxied:
    """A database whose owner does not want runs with the status evil."""
    with runlog.Recorder(**proxied.options) as recorder:
        recorder.log_run(minimal("first", "other"))
    proxied.query(NO_EVIL)
    return proxied


def rejected_as(row: Any) -> tuple[Any, ...]:
    return row["wpk_id"], row["run_id"], row["status"], row["sqlstate"]


def test_a_rejected_run_is_stored_and_not_retried(constrained: Proxied) -> None:
    with runlog.Recorder(**constrained.options) as recorder:
        log = Acknowledged("w")
        with pytest.raises(StoreError, match="no_evil") as caught:
            recorder.log_run(minimal("bad", outputs="kept") | {"status": "evil"})
        assert (caught.value.sqlstate, caught.value.retryable) == ("23514", False)
        tries = complaints(constrained.server, constrained.dbname)
        assert tries >= 1
        stats = recorder.stats()
        assert (stats["rejected"], stats["waiting"], stats["server"]) == (1, 0, "up")
        (row,) = journal_rows(constrained.journal, "journal_rejected")
        assert rejected_as(row) == ("w", "bad", "evil", "23514")
        assert "no_evil" in row["reason"]
        assert (row["outputs"], bool(row["rejected_at"])) == ('"kept"', True)

        constrained.proxy.outage()  # the run is not retried after an outage
        log.log(recorder, "good")
        constrained.proxy.forward()
        assert recorder.flush(60) is True
        assert recorder.stats()["rejected"] == 1
    with runlog.Recorder(**constrained.options) as recorder:
        log.log(recorder, "better")
        assert recorder.flush(60) is True
        assert recorder.stats()["rejected"] == 1
    assert complaints(constrained.server, constrained.dbname) == tries
    log.check(constrained.query)


def test_a_run_rejected_while_forwarded_does_not_block_others(
    constrained: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has long gone: the rest of its batch arrives, and the journal drains."""
    with runlog.Recorder(**constrained.options, durability="journal") as recorder:
        log = Acknowledged("w")
        constrained.proxy.outage()
        for number in range(250):
            if number % 50 == 7:
                recorder.log_run(minimal(f"bad{number}") | {"status": "evil"})
            else:
                log.log(recorder, f"r{number}", outputs=number)
        constrained.proxy.forward()
        assert recorder.flush(60) is True
        stats = recorder.stats()
        assert (stats["rejected"], stats["waiting"], stats["journaled"]) == (5, 0, 250)
        assert stats["forwarded"] == 245
    assert journal_rows(constrained.journal) == []
    rejected = journal_rows(constrained.journal, "journal_rejected")
    assert [row["run_id"] for row in rejected] == [f"bad{n}" for n in range(7, 250, 50)]
    assert all("no_evil" in row["reason"] for row in rejected)
    log.check(constrained.query)
    assert constrained.query("SELECT 1 FROM workflow_runs WHERE status = 'evil'") == []


REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'evil' THEN
        RAISE EXCEPTION 'not this one' USING ERRCODE = '{code}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON workflow_runs
    FOR EACH ROW EXECUTE FUNCTION refuse();
"""
DROP_REFUSE = "DROP FUNCTION refuse CASCADE"


@pytest.mark.parametrize(
    "code",
    ["25006", "40001", "40P01", "53100", "53200", "55P03", "57014", "58030", "XX000"],
)
def test_a_transient_error_is_retried(proxied: Proxied, code: str) -> None:
    """The run waits, and arrives once the reason has gone."""
    with runlog.Recorder(**proxied.options) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        proxied.query(REFUSE.format(code=code))
        log.log(recorder, "later", status="evil", outputs=code)
        assert recorder.stats()["waiting"] == 1
        assert recorder.flush(0.3) is False
        stats = recorder.stats()
        assert (stats["journaled"], stats["rejected"], stats["failed"]) == (1, 0, 0)
        proxied.query(DROP_REFUSE)
        is_forwarded(recorder, log, proxied.query)


def test_a_lasting_transient_error_blocks_no_caller(proxied: Proxied) -> None:
    """What is logged behind it waits with it, as in an outage: nobody is held up."""
    with runlog.Recorder(**proxied.options, durability="journal") as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        assert recorder.flush(60) is True
        proxied.query(REFUSE.format(code="40001"))
        log.log(recorder, "never", status="evil")
        for number in range(150):
            log.log(recorder, f"r{number}")
        assert recorder.flush(0.3) is False
        until_server(recorder, "away")
        log.log(recorder, "behind", outputs=1)
        stats = recorder.stats()
        assert "not this one" in stats["server_error"]
        assert stats["waiting"] == stats["journaled"] - stats["forwarded"] >= 2
        assert (stats["rejected"], stats["failed"]) == (0, 0)
        waits = {row["run_id"] for row in journal_rows(proxied.journal)}
        assert {"never", "behind"} <= waits
        proxied.query(DROP_REFUSE)
        assert recorder.flush(60) is True
        until_server(recorder, "up")
        assert recorder.stats()["waiting"] == 0
        log.check(proxied.query)


@pytest.mark.parametrize("code", ["22003", "23505", "42P10", "44000", "54000", "P0001"])
def test_a_permanent_error_rejects_the_run(proxied: Proxied, code: str) -> None:
    with runlog.Recorder(**proxied.options) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        proxied.query(REFUSE.format(code=code))
        with pytest.raises(StoreError, match="not this one") as caught:
            recorder.log_run(minimal("never") | {"status": "evil"})
        assert (caught.value.sqlstate, caught.value.retryable) == (code, False)
        proxied.query(DROP_REFUSE)  # too late for that one
        log.log(recorder, "last")
        assert recorder.flush(60) is True
        stats = recorder.stats()
        assert (stats["rejected"], stats["waiting"], stats["server"]) == (1, 0, "up")
    (row,) = journal_rows(proxied.journal, "journal_rejected")
    assert (row["run_id"], row["sqlstate"]) == ("never", code)
    log.check(proxied.query)


SKIP = """
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'evil' OR NEW.wpk_id = 'private' THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER skip BEFORE INSERT ON workflow_runs FOR EACH ROW EXECUTE FUNCTION skip();
"""
SKIPPED = "a trigger of the table workflow_runs skipped the row"


def test_a_run_that_a_trigger_skips_is_rejected(proxied: Proxied) -> None:
    """It is no success, whether the server is asked at once or later."""
    with runlog.Recorder(**proxied.options) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        proxied.query(SKIP)
        with pytest.raises(StoreError, match=SKIPPED) as caught:
            log_evil(recorder, "direct")
        assert caught.value.retryable is False
        with pytest.raises(StoreError, match=SKIPPED):
            recorder.log_run(minimal("open") | {"wpk_id": "private", "status": "running"})
        proxied.proxy.outage()
        for number in range(120):
            if number % 50 == 7:
                log_evil(recorder, f"bad{number}")
            log.log(recorder, f"r{number}", outputs=number)
        proxied.proxy.forward()
        is_forwarded(recorder, log, proxied.query)
        assert recorder.stats()["rejected"] == 5
    rejected = journal_rows(proxied.journal, "journal_rejected")
    assert [row["run_id"] for row in rejected] == [
        "direct",
        "open",
        *(f"bad{number}" for number in (7, 57, 107)),
    ]
    assert all(row["reason"].startswith(SKIPPED) for row in rejected)


def test_a_graphs_run_that_a_trigger_skips_holds_no_other(proxied: Proxied) -> None:
    with runlog.Recorder(**proxied.options) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        proxied.query(SKIP)
        for name in ("private", "g", "private", "g"):
            record_two_nodes(RunLogHandler(name, recorder=recorder))
        is_forwarded(recorder, log, proxied.query)
    found = proxied.query(
        "SELECT wpk_id, count(*) FROM workflow_runs GROUP BY 1 ORDER BY 1"
    )
    assert found == [("g", 2), ("w", 2)]
    rejected = journal_rows(proxied.journal, "journal_rejected")
    assert {row["wpk_id"] for row in rejected} == {"private"}
    assert len({row["run_id"] for row in rejected}) == 2
    assert all(row["reason"].startswith(SKIPPED) for row in rejected)


@contextlib.contextmanager
def full_disk(limited: Limited) -> Iterator[Callable[[], None]]:
    """A disk of its own for workflow_runs, which is full; yields what makes room on it.

    Where mounts are not allowed, the table only says that it is.
    """
    with tempfile.TemporaryDirectory(prefix="runlog-disk-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            always = REFUSE.format(code="53100").replace("NEW.status = 'evil'", "true")
            limited.query(always)
            yield lambda: limited.run(DROP_REFUSE)
            return
        home, filler = Path(folder) / "space", Path(folder) / "filler"
        space = f"space_{limited.dbname}"
        home.mkdir()
        if user := server_user():
            os.chown(home, user["user"], user["group"])
        limited.server.query(f"CREATE TABLESPACE {space} LOCATION '{home}'")
        try:
            limited.query(f"ALTER TABLE workflow_runs SET TABLESPACE {space}")
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            yield filler.unlink
        finally:
            limited.query("ALTER TABLE workflow_runs SET TABLESPACE pg_default")
            limited.server.query("CHECKPOINT")
            limited.server.query(f"DROP TABLESPACE {space}")
            # lazily: a server process may still hold a file that is gone
            subprocess.run(["umount", "-l", folder], check=True)


def test_runs_are_journaled_while_the_servers_disk_is_full(limited: Limited) -> None:
    """Nothing is lost, from the first run that has no room until there is room again."""
    with runlog.Recorder(**limited.options) as recorder:
        log = Acknowledged("w")
        log.log(recorder, "before")
        with full_disk(limited) as make_room:
            for number in range(20):
                log.log(recorder, f"r{number}", outputs=os.urandom(1500).hex())
            stats = recorder.stats()
            assert (stats["failed"], stats["rejected"]) == (0, 0)
            assert stats["waiting"] >= 10
            make_room()
            is_forwarded(recorder, log, limited.query)


def test_a_revoked_permission_is_reported(limited: Limited) -> None:
    """SQLSTATE 42 needs an administrator: it is logged at once, and the run is stored."""
    with runlog.Recorder(**limited.options) as recorder:
        recorder.log_run(minimal("before"))
        limited.query("ALTER TABLE workflow_runs OWNER TO postgres")
        with pytest.raises(StoreError, match="permission denied") as caught:
            recorder.log_run(minimal())
        assert (caught.value.sqlstate, caught.value.retryable) == ("42501", False)
        assert recorder.stats()["rejected"] == 1


POLICY = """
ALTER TABLE workflow_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflow_runs FORCE ROW LEVEL SECURITY;
CREATE POLICY ours ON workflow_runs USING (true) WITH CHECK (status <> 'evil')
"""
NO_POLICY = "ALTER TABLE workflow_runs DISABLE ROW LEVEL SECURITY"


def log_evil(recorder: runlog.Recorder, *names: str) -> None:
    for name in names:
        recorder.log_run(minimal(name) | {"status": "evil"})


@contextlib.contextmanager
def away(limited: Limited, recorder: runlog.Recorder) -> Iterator[None]:
    """While the server lets nobody in, so that runs wait in one journal."""
    limited.server.query(f"ALTER ROLE {limited.role} CONNECTION LIMIT 0")
    limited.disconnect()
    yield
    limited.server.query(f"ALTER ROLE {limited.role} CONNECTION LIMIT -1")


def rejected_names(limited: Limited) -> list[str]:
    rows = journal_rows(limited.options["sqlite_path"], "journal_rejected")
    return [row["run_id"] for row in rows]


@pytest.mark.parametrize("refused", [range(30, 31), range(90, 95), range(250)])
def test_runs_that_a_policy_refuses_do_not_hold_the_others(
    limited: Limited, refused: range
) -> None:
    """The SQLSTATE is that of a role without any right, but the server takes others."""
    with runlog.Recorder(**limited.options, durability="journal") as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        assert recorder.flush(60) is True
        limited.query(POLICY)
        with away(limited, recorder):
            for number in range(260):
                if number in refused:
                    log_evil(recorder, f"bad{number}")
                else:
                    log.log(recorder, f"r{number}", outputs=number)
        assert recorder.flush(60) is True
        until_server(recorder, "up")
        stats = recorder.stats()
        assert (stats["rejected"], stats["waiting"]) == (len(refused), 0)
    assert rejected_names(limited) == [f"bad{number}" for number in refused]
    log.check(limited.query)


def test_a_refused_run_alone_waits_until_another_is_taken(limited: Limited) -> None:
    """By itself it may as well be that the table takes none."""
    with runlog.Recorder(**limited.options, durability="journal") as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        assert recorder.flush(60) is True
        limited.query(POLICY)
        log_evil(recorder, "bad")
        assert recorder.flush(0.5) is False
        assert recorder.stats()["rejected"] == 0
        log.log(recorder, "good")
        assert recorder.flush(60) is True
        until_server(recorder, "up")
    assert rejected_names(limited) == ["bad"]
    log.check(limited.query)


@pytest.mark.parametrize("code", ["42501", "42P01", "42703", "3F000", "0LP01", "MY001"])
def test_any_code_of_a_trigger_is_of_its_run(limited: Limited, code: str) -> None:
    """Also one that stands for a missing table, or that only the trigger knows."""
    with runlog.Recorder(**limited.options, durability="journal") as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        assert recorder.flush(60) is True
        limited.query(REFUSE.format(code=code))
        log.log(recorder, "before")
        log_evil(recorder, "bad")
        log.log(recorder, "after")
        assert recorder.flush(60) is True
        assert recorder.stats()["rejected"] == 1
    assert rejected_names(limited) == ["bad"]
    log.check(limited.query)


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        (
            "ALTER TABLE workflow_runs RENAME TO elsewhere",
            "ALTER TABLE elsewhere RENAME TO workflow_runs",
        ),
        (
            "ALTER TABLE workflow_runs OWNER TO postgres",
            "ALTER TABLE workflow_runs OWNER TO {role}",
        ),
        (POLICY.replace("status <> 'evil'", "false"), NO_POLICY),
    ],
    ids=["missing table", "no right", "policy for all"],
)
def test_what_concerns_all_runs_holds_them(
    limited: Limited, breaks: str, mends: str
) -> None:
    """None is rejected, however many there are, and all arrive once it is mended."""
    with runlog.Recorder(**limited.options, durability="journal") as recorder:
        log = Acknowledged("w")
        log.log(recorder, "first")
        assert recorder.flush(60) is True
        with away(limited, recorder):
            limited.query(breaks)
            for number in range(250):
                log.log(recorder, f"r{number}", outputs=number)
        assert recorder.flush(1) is False
        until_server(recorder, "away")
        stats = recorder.stats()
        assert (stats["rejected"], stats["waiting"]) == (0, 250)
        limited.query(mends.format(role=limited.role))
        assert recorder.flush(60) is True
        assert recorder.stats()["rejected"] == 0
    assert rejected_names(limited) == []
    log.check(limited.query)


def test_runs_that_may_not_be_renamed_are_stored(
    proxied: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    """They keep the names which they have, and that is said once."""
    same = uuid.uuid4()
    with runlog.Recorder(**proxied.options) as recorder:
        handler = RunLogHandler("g", recorder=recorder)
        two_nodes().invoke({"n": 0}, with_id(handler, same))
        assert recorder.flush(60) is True
        proxied.query(
            "CREATE TABLE note (w text, r text, "
            "FOREIGN KEY (w, r) REFERENCES workflow_runs (wpk_id, run_id))"
        )
        proxied.query("INSERT INTO note VALUES ('g', %s)", str(same))
        for _ in range(3):
            two_nodes().invoke({"n": 0}, with_id(handler, same))
        assert recorder.flush(60) is True
        stats = recorder.stats()
        assert (stats["rejected"], stats["waiting"], stats["server"]) == (0, 0, "up")
        names = {run["run_id"] for run in recorder.list_runs(wpk_id="g").runs}
    assert names == {str(same), *(f"{same}~{number}" for number in (2, 3, 4))}
    assert count_logged(caplog, "don't trade names") == 1


def drop_schema(limited: Limited) -> None:
    """Its locks may be in the way of what runlog does meanwhile."""
    dropped = False
    while not dropped:
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            limited.query("DROP SCHEMA public CASCADE")
            dropped = True


def make_schema_anew(limited: Limited) -> None:
    drop_schema(limited)
    limited.query("CREATE SCHEMA public")
    limited.query(f"ALTER SCHEMA public OWNER TO {limited.role}")


def make_database_anew(limited: Limited) -> None:
    limited.server.query(f"DROP DATABASE {limited.dbname} WITH (FORCE)")
    limited.server.query(f"CREATE DATABASE {limited.dbname} OWNER {limited.role}")


@pytest.mark.parametrize("durability", ["store", "journal"])
@pytest.mark.parametrize("make_anew", [make_schema_anew, make_database_anew])
def test_tables_that_vanish_are_made_anew(
    limited: Limited, make_anew: Callable[[Limited], None], durability: Any
) -> None:
    """Under a process that has used them, for every way to use them."""
    with runlog.Recorder(**limited.options, durability=durability) as recorder:
        recorder.log_run(minimal("gone"))
        assert recorder.flush(60) is True
        for again in range(2):
            make_anew(limited)
            log = Acknowledged("w")
            for number in range(20):
                log.log(recorder, f"r{again}-{number}", outputs=number)
            record_two_nodes(RunLogHandler("g", recorder=recorder))
            is_forwarded(recorder, log, limited.query) if durability == "store" else None
            assert recorder.flush(60) is True
            log.check(limited.query)
            assert recorder.list_runs(wpk_id="g").runs != []
            stats = recorder.stats()
            assert (stats["rejected"], stats["failed"]) == (0, 0)
            assert (stats["waiting"], stats["waiting_elsewhere"]) == (0, 0)
        make_anew(limited)
        assert recorder.list_runs().runs == []
        assert recorder.get_run("gone") is None


def test_runs_wait_while_there_is_no_schema(limited: Limited) -> None:
    with runlog.Recorder(**limited.options) as recorder:
        log = Acknowledged("w")
        recorder.log_run(minimal("gone"))
        drop_schema(limited)
        for number in range(5):
            log.log(recorder, f"r{number}")
        assert recorder.stats()["waiting"] == 5
        limited.query("CREATE SCHEMA public")
        limited.query(f"ALTER SCHEMA public OWNER TO {limited.role}")
        is_forwarded(recorder, log, limited.query)
        assert recorder.stats()["rejected"] == 0


def test_flush_does_not_wait_for_rejected_runs(constrained: Proxied) -> None:
    with runlog.Recorder(**constrained.options) as recorder:
        with pytest.raises(StoreError):
            recorder.log_run(minimal("bad") | {"status": "evil"})
        watch = Stopwatch()
        assert recorder.flush(30) is True
        assert watch.seconds < 10


def test_an_outage_is_logged_once(
    proxied: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    """Not once a run, and not again for another reason."""
    with runlog.Recorder(**proxied.options, postgres_timeout=2) as recorder:
        recorder.log_run(minimal("first"))
        assert recorder.flush(60)
        until_server(recorder, "up")
        before = count_logged(caplog, JOURNALING)
        proxied.proxy.outage()
        recorder.log_run(minimal("second"))
        proxied.proxy.forward()
        proxied.proxy.stall()
        for number in range(50):
            recorder.log_run(minimal(f"r{number}"))
        proxied.proxy.forward()
        assert recorder.flush(60) is True
        until_logged(caplog, ACCEPTING, count_logged(caplog, JOURNALING))
    assert 1 <= count_logged(caplog, JOURNALING) - before <= 2
    assert count_logged(caplog, ACCEPTING) == count_logged(caplog, JOURNALING)
