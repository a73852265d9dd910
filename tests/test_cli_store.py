"""The command line and the store: none, empty, older, newer, away; what it changes."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_help import Cli, cli, empty, on_sqlite
from conftest import RunPython
from fixtures_search import search
from fixtures_store import Store
from helpers import minimal, until

import runlog
from runlog import migrations, web
from runlog.cli import main
from runlog.reading import places

__all__ = ["cli", "empty"]
READING = [
    ["list"],
    ["tail"],
    ["errors"],
    ["stats"],
    ["path"],
    ["doctor"],
    ["migrate"],
    ["migrate", "plan"],
    ["prune", "--keep", "1"],
]


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("argv", READING, ids=" ".join)
def test_on_an_empty_history(cli: Cli, argv: list[str]) -> None:
    done = cli(*argv)
    assert done.code == 0, done
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("name", ["-", "@failed", "@lost~3", "abc", ""])
def test_no_run_in_an_empty_history(cli: Cli, name: str) -> None:
    for argv in (["show", name], ["diff", name, name]):
        done = cli(*argv)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("runlog: ")
        assert done.err.count("\n") == 1


def test_prune(cli: Cli, recorder: Any) -> None:
    now = datetime.now(UTC)
    for days in range(10):
        status = "failed" if days % 2 else "completed"
        created = now - timedelta(days=days, minutes=1)
        recorder.log_run(minimal(f"r{days}", status=status, created_at=created))

    def left() -> list[str]:
        return [run["run_id"] for run in recorder.list_runs(limit=100).runs]

    plan = cli("prune", "--older-than", "5d")
    assert plan.out.startswith("would delete 5 runs")
    assert "nothing was deleted" in plan.err
    assert len(left()) == 10
    assert cli("prune").code == 2
    assert cli("prune", "--older-than", "soon", "--yes").code == 2
    assert len(left()) == 10
    done = cli("prune", "--older-than", "5d", "--status", "failed", "--yes")
    assert done.out.startswith("deleted 3 runs")
    assert left() == ["r0", "r1", "r2", "r3", "r4", "r6", "r8"]
    counted = json.loads(cli("prune", "--keep", "2", "--json").out)
    assert (counted["runs"], counted["deleted"]) == (5, False)
    assert cli("prune", "--keep", "2", "--yes").code == 0
    assert left() == ["r0", "r1"]
    assert cli("prune", "--keep", "9", "--yes").out.startswith("deleted 0 runs")
    assert cli("prune", "--keep", "0", "--older-than", "12h", "--yes").code == 0
    assert left() == ["r0"]


def test_search_by_words(cli: Cli, recorder: Any) -> None:
    recorder.log_run(minimal("tea", outputs={"text": "a green Tea, perhaps"}))
    recorder.log_run(minimal("coffee", outputs={"text": "coffee"}))
    search(recorder, "coffee")
    done = cli("search", "green", "tea", "--json")
    (hit,) = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert (hit["run"], hit["where"]) == ("tea", "outputs")
    assert "green Tea" in hit["text"]
    assert "no runs" in cli("search", "green coffee").err
    assert cli("search", "...").code == 2
    assert cli("search", "tea", "--meaning", "tea").code == 2


@pytest.mark.usefixtures("empty")
def test_search_needs_a_server(cli: Cli) -> None:
    done = cli("search", "--meaning", "tea")
    assert (done.code, "OPENAI_KEY" in done.err) == (2, True)
    assert cli("search").code == 2


def test_migrate(cli: Cli, store: Store) -> None:
    newest, name, _, _ = migrations.load(store.kind)[-1]
    if store.kind == "sqlite":
        assert cli("migrate").code == 3
        applied = cli("migrate", "apply")
        assert f"applied {newest} migrations" in applied.err
    states = json.loads(cli("migrate", "--json").out)
    assert {row["state"] for row in states} == {"applied"}
    assert "nothing to apply" in cli("migrate", "plan").err
    store.query("DELETE FROM runlog_migrations WHERE number = ?", newest)
    older = cli("list")
    assert (older.code, "runlog migrate apply" in older.err) == (3, True)
    assert json.loads(cli("migrate", "plan", "--json").out) == [
        {"number": newest, "name": name, "state": "pending"}
    ]
    assert store.query("SELECT max(number) FROM runlog_migrations") == [(newest - 1,)]


def test_a_newer_history(cli: Cli, recorder: Any, store: Store) -> None:
    recorder.log_run(minimal())
    store.query(
        "INSERT INTO runlog_migrations (number, name, checksum, applied_at) "
        "VALUES (99, 'x', 'y', '2026-01-01T00:00:00Z')"
    )
    for argv in (["list"], ["show"], ["prune", "--keep", "0", "--yes"]):
        done = cli(*argv)
        assert (done.code, "newer" in done.err) == (3, True), done
    assert cli("migrate").code == 1
    assert cli("doctor").code == 3


@pytest.mark.no_tables
def test_reading_makes_no_tables(cli: Cli, store: Store, tmp_path: Path) -> None:
    argvs = [
        *READING,
        ["show"],
        ["thread", "t"],
        ["diff", "-", "-"],
        ["complete", "--", "runlog show "],
    ]
    for argv in argvs:
        if argv[0] == "path" and store.kind == "postgres":
            continue
        done = cli(*argv)
        assert done.code == 3 or argv[0] == "migrate", done
        assert done.err.count("\n") <= 1
    assert list(tmp_path.iterdir()) == []
    if store.kind == "postgres":
        assert store.query(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ) == [(0,)]


def test_path_and_doctor(cli: Cli, store: Store, recorder: Any) -> None:
    recorder.log_run(minimal())
    path = cli("path")
    assert path.code == 0
    assert store.kind in path.out
    doctor = cli("doctor")
    assert doctor.code == 0, doctor
    checks = {row["check"]: row for row in json.loads(cli("doctor", "--json").out)}
    assert {row["state"] for row in checks.values()} == {"ok"}
    expected = {"versions", "store", "settings", "disk", "history"}
    assert checks.keys() >= expected | (
        {"clock", "rights"} if store.kind == "postgres" else {"file"}
    )


def test_no_history(capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cli = Cli(capsys)
    missing, other, text = (str(tmp_path / name) for name in ("a.db", "b.db", "c.db"))
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE places (name)")
    connection.close()
    Path(text).write_text("not a database at all\n")
    Path(tmp_path / "d.db").touch()
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    for path in (missing, other, text, str(tmp_path / "d.db"), str(tmp_path)):
        for argv in (["list"], ["show"], ["stats"], ["prune", "--keep", "0", "--yes"]):
            done = cli(*argv, "--db", path)
            assert (done.code, done.out) == (3, ""), done
            assert path in done.err
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_a_database_away(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli = Cli(capsys)
    dsn = "postgresql://ada:hunter2@127.0.0.1:1/shop"
    for value in (
        dsn,
        "host=127.0.0.1 port=1 user=ada password=hunter2 dbname=shop",
        "x hunter2",
    ):
        monkeypatch.setenv("POSTGRES_DSN", value)
        for argv in (
            ["list"],
            ["show"],
            ["doctor"],
            ["path"],
            ["migrate"],
            ["migrate", "apply"],
        ):
            done = cli(*argv)
            assert done.code == 3, done
            assert "hunter2" not in done.out + done.err
            assert done.err.count("\n") <= 1
        monkeypatch.delenv("POSTGRES_DSN")
    assert "ada@127.0.0.1:1/shop" in cli("doctor", "--db", dsn).out
    assert list(tmp_path.iterdir()) == []


SECRET = "s3cretpw"
ADDRESSES = [
    f"postgresql://ada:{SECRET}@127.0.0.1:1/shop",
    f"POSTGRESQL://ada:{SECRET}@127.0.0.1:1/shop",
    f" Postgres://ada:{SECRET}@127.0.0.1:1/shop",
    f"postgresql+psycopg2://ada:{SECRET}@127.0.0.1/shop",
    f"jdbc:postgresql://127.0.0.1/shop?password={SECRET}",
    f"postgresql:/ada:{SECRET}@127.0.0.1/shop",
    f"mysql://ada:{SECRET}@127.0.0.1/shop",
    f"ada:{SECRET}@127.0.0.1/shop",
    f"host=127.0.0.1 port=1 password={SECRET} dbname=x",
    f"password={SECRET} host=127.0.0.1 port=1",
    f"host = 127.0.0.1 port = 1 password = '{SECRET}'",
    f"HOST=127.0.0.1 PASSWORD={SECRET}",
    f"pasword={SECRET} host=127.0.0.1",
    f"dbname={SECRET}",
    f"service=no_such passfile={SECRET}",
    f"runs.db password={SECRET}",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_a_password_is_no_file(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    """It is that of a server, which is away, or refused. Nothing shows the password."""
    cli = Cli(capsys)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    readings = [argv for argv in READING if argv != ["doctor"]]
    for argv in (
        *([*argv, "--db", address] for argv in [*readings, ["migrate", "apply"]]),
        ["doctor", "--db", address],
        ["push", address, "--db", "postgresql://127.0.0.1:1/shop"],
        ["import", address],
        ["export", "--to", address],
        ["--db", address],
    ):
        done = cli(*argv)
        assert done.code in (2, 3), (argv, done)
        said = done.out + done.err
        assert SECRET not in said or address == f"dbname={SECRET}", (argv, done)
    if "://" in address or " password" in address:  # it was no option's
        for argv in (["list", address], [address], ["show", address]):
            done = cli(*argv)
            assert SECRET not in done.out + done.err, argv
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", address)
    for argv in (*READING, ["show"], ["migrate", "apply"], ["import", "-"], ["push"]):
        done = cli(*argv)
        assert (done.code, done.out) == (2, ""), (argv, done)
        assert SECRET not in done.err
        assert "RUNLOG_SQLITE_PATH looks like an address" in done.err
    with pytest.raises(ValueError, match="RUNLOG_SQLITE_PATH looks"):
        web.app()
    assert list(tmp_path.iterdir()) == []


def test_a_path_of_any_look_is_a_file(capsys: Any, tmp_path: Path) -> None:
    """A whole path always is one, and ./ makes one of a name."""
    cli = Cli(capsys)
    for name in ("host=3.db", "a:b@c.db", "x y=z.db"):
        assert cli("migrate", "apply", "--db", str(tmp_path / name)).code == 0
        assert (tmp_path / name).exists()
    with contextlib.chdir(tmp_path):
        assert cli("list", "--db", "./host=3.db").code == 0
        assert cli("list", "--db", "host=3.db").code == 3


@contextlib.contextmanager
def only_readable(*parts: Path) -> Iterator[None]:
    """Take the right to write from a folder, or files in it."""
    modes = {one: one.stat().st_mode for one in parts}
    for one, mode in modes.items():
        one.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for one, mode in modes.items():
            one.chmod(mode)


WITHOUT_PRIVILEGE = """
import ctypes, sys
for capability in (1, 2):  # rights count for root, too: CAP_DAC_OVERRIDE, _READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
import os
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""


def test_a_file_that_may_only_be_read(tmp_path: Path) -> None:
    """Each command says what to do; doctor says it among all else."""
    folder = tmp_path / "there"
    folder.mkdir()
    path = folder / "runs.db"
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal("r1"))

    def run(*argv: str) -> Any:
        code = "import sys; from runlog.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", WITHOUT_PRIVILEGE, code, *argv, "--db", str(path)],
            check=False,
            capture_output=True,
            text=True,
        )

    for parts in ([path], [folder], [path, folder]):
        with only_readable(*parts):
            for argv in (["list"], ["show"], ["export"], ["prune", "--keep", "0"]):
                done = run(*argv)
                assert (done.returncode, done.stdout) == (3, ""), done
                assert "copy it, or give the right to write" in done.stderr
            done = run("doctor", "--json")
            assert (done.returncode, done.stderr) == (3, "")
            last = json.loads(done.stdout)[-1]
            assert (last["check"], last["state"]) == ("history", "fault")
            assert last["fix"].startswith("copy it, or give the right to write the file")
            assert "copy it" in run("doctor").stdout
    assert run("list").returncode == 0
    assert [one.name for one in folder.iterdir()] == ["runs.db"]


def test_doctor_goes_on_where_the_history_breaks(tmp_path: Path, capsys: Any) -> None:
    """What the recorder says is one of the checks."""
    path = tmp_path / "runs.db"
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal("r1"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE workflow_runs RENAME TO elsewhere")
    done = Cli(capsys)("doctor", "--json", "--db", str(path))
    checks = json.loads(done.out)
    assert (done.code, done.err) == (3, "")
    assert (checks[-1]["check"], checks[-1]["state"]) == ("history", "fault")


@pytest.mark.parametrize("argv", [["list"], ["path"], ["migrate"], ["doctor"], ["tail"]])
def test_regression_a_damaged_history(
    argv: list[str], tmp_path: Path, capsys: Any
) -> None:
    """Nobody is told that it is no history, which one could make anew."""
    path = tmp_path / "runs.db"
    with runlog.Recorder(sqlite_path=str(path)) as recorder:
        recorder.log_run(minimal())
    os.truncate(path, 20_000)
    before = path.read_bytes()
    assert main([*argv, "--db", str(path)]) == 3
    shown = "".join(capsys.readouterr())
    assert f"{path} is damaged" in shown
    assert "backup" in shown
    assert "no history" not in shown
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"a text\n"])
def test_regression_path_of_no_history(
    content: bytes, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    assert main(["path", "--db", str(path)]) == 3
    assert f"{path} is no history" in capsys.readouterr().err


def test_regression_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert main(["list", "--db", "runs.db"]) == 3
    assert "this folder was deleted, so runs.db can't be found" in capsys.readouterr().err


def test_a_database_of_another_program_stays_as_it_is(
    capsys: Any, tmp_path: Path
) -> None:
    cli = Cli(capsys)
    theirs, empty = tmp_path / "theirs.db", tmp_path / "empty.db"
    for path, sql in ((theirs, "CREATE TABLE places (name)"), (empty, "VACUUM")):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(sql)
    (tmp_path / "lines").touch()
    before = theirs.read_bytes()
    for argv in (
        ["migrate", "apply"],
        ["migrate", "plan"],
        ["migrate"],
        ["import", str(tmp_path / "lines")],
    ):
        done = cli(*argv, "--db", str(theirs))
        assert (done.code, done.out, "is no history" in done.err) == (3, "", True)
    assert theirs.read_bytes() == before
    for path in (empty, tmp_path / "new.db"):
        assert cli("migrate", "apply", "--db", str(path)).code == 0
        assert cli("list", "--db", str(path)).code == 0


def test_migrations_that_are_in_the_wal_alone(cli: Cli, recorder: Any) -> None:
    """A history is read while another process has just made it."""
    recorder.log_run(minimal("r1"))
    done = cli("list", "-o", "tsv", "--fields", "run")
    assert (done.code, done.out) == (0, "run\nr1\n")


def test_the_option_for_the_place_may_come_first(
    capsys: Any, recorder: Any, store: Store
) -> None:
    recorder.log_run(minimal("r1"))
    place = store.options.get("postgres_dsn", store.options["sqlite_path"])
    if store.kind == "postgres":
        place = store.query(
            "SELECT format('postgresql://%s@/%s?host=%s&port=%s', current_user, "
            "current_database(), split_part(current_setting('unix_socket_directories'), "
            "',', 1), current_setting('port'))"
        )[0][0]
    cli = Cli(capsys)
    for argv in (
        ["--db", place, "show", "r1"],
        [f"--db={place}"],
        ["show", "--db", place],
    ):
        done = cli(*argv)
        assert (done.code, "r1" in done.out) == (0, True), done


def test_a_reader_leaves_the_environment_alone(
    tmp_path: Path, run_python: RunPython
) -> None:
    """Other threads read it meanwhile. What it names is not used for a named file."""
    path = str(tmp_path / "runs.db")
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.log_run(minimal("r1"))
    done = run_python(
        """
import os, sys
os.environ |= {"POSTGRES_DSN": "host=nowhere.invalid", "OPENAI_KEY": "k",
               "MILVUS_ENDPOINT": "http://127.0.0.1:1"}
changes = []
kinds = ("os.putenv", "os.unsetenv")
sys.addaudithook(lambda name, _: name in kinds and changes.append(name))
from runlog.reading import places
for search in (False, True):
    recorder = places.open_recorder(places.find(sys.argv[1]), search)
    print(recorder.get_run("r1")["run_id"], recorder._has_meaning())
    recorder.close(0)
print(len(changes))
""",
        path,
    )
    assert done.stdout.split() == ["r1", "False", "r1", "True", "0"], done


def refuses(read: Any, **asked: Any) -> bool:
    """Whether a read says that there is no history. A file is known for 5 ms."""
    try:
        read(**asked)
    except runlog.StoreError:
        return True
    return False


@on_sqlite
def test_a_reader_creates_no_file(store: Store, recorder: Any) -> None:
    """Not even one that was there, and was deleted while it was open."""
    recorder.log_run(minimal("r1"))
    place = places.find(store.options["sqlite_path"])
    recorder.close()
    folder = Path(place.path).parent
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with places.open_recorder(place, words=None) as reader:
        reads: dict[str, dict[str, Any]] = {
            "list_runs": {},
            "get_run": {"run_id": "r1"},
            "count_runs": {},
            "rollup": {"wait": 0},
            "search_runs": {"text": "x", "by": "words"},
            "delete_runs": {"wpk_id": "w"},
        }
        for name, asked in reads.items():
            for path in folder.iterdir():
                path.unlink()
            until(partial(refuses, getattr(reader, name), **asked))
            assert not list(folder.iterdir()), name
            for path, body in before.items():
                path.write_bytes(body)
            until(lambda: len(reader.list_runs().runs) == 1)
    for path in folder.iterdir():
        path.unlink()
    with places.open_recorder(place, create=True) as writer:
        assert not writer.list_runs().runs


@on_sqlite
def test_another_process_closes_the_file_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beside it vanishes between two looks: no sign of a lack of rights."""
    path = store.options["sqlite_path"]
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(minimal())
    beside = [Path(path + suffix) for suffix in ("-wal", "-shm")]
    access = os.access

    def look(one: str, mode: int) -> bool:
        for part in beside:
            part.unlink(missing_ok=True)
        return access(one, mode)

    for part in beside:
        part.touch()
    monkeypatch.setattr(os, "access", look)
    places.check(places.Place(path, None, "default"))
