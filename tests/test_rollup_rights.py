"""The roll-up of a database that may only be read: an error, or figures and their age."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures_postgres import PostgresServer, own_folder
from helpers import minimal, until

import runlog
from runlog import Recorder, StoreError
from runlog.cli import main

if TYPE_CHECKING:
    from conftest import RunPython

NOBODY = 65534
WAIT = 60.0

READ = f"""
import os, sys
import runlog
from runlog.cli import main
with runlog.Recorder(sqlite_path="other.db") as recorder:
    recorder.rollup(wait={WAIT})
commands = ("rollup", "insights", "metrics")
for name in commands:  # that user may not read the modules
    main([name, "--db", "other.db"])
print("now", flush=True)
if os.geteuid() == 0:
    os.setegid({NOBODY})
    os.seteuid({NOBODY})
with runlog.Recorder(sqlite_path=sys.argv[1]) as recorder:
    try:
        recorder.rollup()
    except runlog.StoreError as error:
        print(error)
for name in commands:
    print(name, main([name, "--db", sys.argv[1]]), flush=True)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder into which any user may look, but only this one write."""
    made = own_folder("runlog-rights-")
    os.chown(made, os.geteuid(), os.getegid())
    yield made
    made.chmod(0o700)
    shutil.rmtree(made)


def test_a_file_that_may_only_be_read(folder: Path, run_python: RunPython) -> None:
    """Each reader names the file, the user and what to do; nothing is read in silence."""
    path = folder / "runs.db"
    with Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal())
        assert recorder.rollup(wait=WAIT).waiting == 0
    path.chmod(0o444)
    folder.chmod(0o555)
    done = run_python(READ, str(path))
    assert done.returncode == 0, done.stderr
    said = done.stdout.partition("now\n")[2].splitlines()
    assert "may not write" in said[0] and str(path) in said[0]
    assert [f"{name} 3" in said for name in ("rollup", "insights", "metrics")] == [
        True
    ] * 3
    assert "runlog_store_up 0.0" in said
    assert done.stderr.count("may not write") == 3


def test_a_role_that_may_only_select(
    postgres_server: PostgresServer,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It gets the figures as they were counted last, with how many runs they lack."""
    with postgres_server.borrow_tables() as name:
        role = f"reads_{name}"
        options: dict[str, Any] = {
            "sqlite_path": str(tmp_path / "journal.db"),
            "words": False,
        }
        with Recorder(postgres_dsn=postgres_server.dsn(name), **options) as recorder:
            recorder.log_run(minimal("r1"))
            assert recorder.rollup(wait=WAIT).waiting == 0
            recorder.log_run(minimal("r2"))
        postgres_server.query(f"CREATE ROLE {role} LOGIN")
        grant = (
            f"GRANT USAGE ON SCHEMA public TO {role}; "
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        )
        postgres_server.query(grant, dbname=name)
        dsn = postgres_server.dsn(name, role)
        try:
            with Recorder(postgres_dsn=dsn, **options) as recorder:
                found = recorder.rollup(wait=WAIT)
                assert [block.run.number for block in found.blocks] == [1]
                assert found.waiting == 1
                assert "permission denied" in recorder.stats()["rollup_error"]
                with pytest.raises(StoreError, match="permission denied"):
                    recorder._reset_rollup()
                until(lambda: recorder.list_runs() and "stay as they are" in caplog.text)
                monkeypatch.setenv("POSTGRES_DSN", dsn)
                assert main(["rollup"]) == 3
                assert "permission denied for table" in capsys.readouterr().err
                assert main(["insights"]) == 0
                assert "1 run not counted yet" in capsys.readouterr().err
                assert main(["metrics"]) == 0
                assert "runlog_rollup_waiting_runs 1.0\n" in capsys.readouterr().out
                postgres_server.query(grant.replace("SELECT", "ALL"), dbname=name)
                until(lambda: recorder.rollup(wait=1).waiting == 0)
                until(
                    lambda: (
                        recorder.list_runs()
                        and "counted in the roll-up again" in caplog.text
                    )
                )
        finally:
            runlog.close()
            postgres_server.query(f"DROP OWNED BY {role}; DROP ROLE {role}", dbname=name)
