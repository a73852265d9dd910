"""The path of the SQLite file: how it is read, whose file it is, what is said of it."""

import errno
import os
import re
import resource
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from child_env import child_env
from fixtures_postgres import own_folder, plain_environment
from handler_graphs import two_nodes
from helpers import minimal, stored
from stopwatch import Stopwatch

import runlog
from runlog import ConfigError, StoreError
from runlog.hooks import RunLogHandler

if TYPE_CHECKING:
    from conftest import RunPython

NOBODY = 65534

# As a user who may not do everything, if the tests run as root: SQLite's files have to be
# there before, as made by that user.
CODE = f"""
import logging, os, resource, sys
import runlog
runlog.Recorder(sqlite_path="unused.db").close()  # that user may not read the modules
if os.geteuid() == 0:
    os.setegid({NOBODY})
    os.seteuid({NOBODY})
recorder = runlog.Recorder(sqlite_path=sys.argv[1])
exec(sys.argv[2])
try:
    recorder.log_run({{"wpk_id": "w", "run_id": "r", "status": "completed"}})
except runlog.StoreError as error:
    print(error)
else:
    print("recorded")
recorder.close()
"""

MOUNTED = """
import runlog, sys
with runlog.Recorder(sqlite_path=sys.argv[1]) as recorder:
    try:
        recorder.log_run({"wpk_id": "w", "run_id": "r", "status": "completed"})
    except runlog.ConfigError as error:
        print(error)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may look into, and that belongs to the user of CODE."""
    made = own_folder("runlog-path-")
    if os.getuid() == 0:
        os.chown(made, NOBODY, NOBODY)
    yield made
    for path in [made, *made.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(made)


def give(path: Path, mode: int) -> Path:
    """Give a path to the user of CODE, with that mode."""
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    path.chmod(mode)
    return path


def said_of(path: Path, run_python: "RunPython", prepare: str = "") -> str:
    done = run_python(CODE, str(path), prepare, cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def text_of(number: int) -> str:
    return os.strerror(number)


# How it is read


@pytest.mark.parametrize("form", [str, Path], ids=["str", "Path"])
def test_a_tilde_is_the_home_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    with runlog.Recorder(sqlite_path=form("~/a.db")) as recorder:
        recorder.log_run(minimal())
    assert (tmp_path / "a.db").exists() and not Path("/~").exists()


def test_a_tilde_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", "~/b.db")
    with runlog.Recorder() as recorder:
        recorder.log_run(minimal())
    assert (tmp_path / "b.db").exists()


def test_a_tilde_elsewhere_is_a_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a~").mkdir()
    for path in ("a~/~.db", "./~c.db"):
        with runlog.Recorder(sqlite_path=path) as recorder:
            recorder.log_run(minimal())
        assert (tmp_path / path).exists()


@pytest.mark.parametrize(
    "url", ["file:runs.db", "file:///tmp/runs.db?mode=ro", "sqlite:///runs.db"]
)
def test_a_url_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"sqlite_path .* not a URL"):
        runlog.Recorder(sqlite_path=url)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with runlog.Recorder(sqlite_path="runs.db") as recorder:
        monkeypatch.chdir(tmp_path / "elsewhere")
        recorder.log_run(minimal())
    assert (tmp_path / "runs.db").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


# Whose file it is


def modes(folder: Path) -> dict[str, int]:
    return {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in folder.iterdir()
        if not path.is_symlink()
    }


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
@pytest.mark.parametrize("link", ["", "relative", "absolute", "chain"])
def test_only_the_owner_can_read_the_files(tmp_path: Path, umask: int, link: str) -> None:
    """Also through a link to a file that does not exist yet."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "runs.db"
    given = path
    if link:
        given = tmp_path / "link.db"
        given.symlink_to(path if link == "absolute" else "data/runs.db")
    if link == "chain":
        (tmp_path / "data" / "again.db").symlink_to("../link.db")
        given = tmp_path / "data" / "again.db"
    before = os.umask(umask)
    try:
        with runlog.Recorder(sqlite_path=given) as recorder:
            for number in range(2):
                recorder.log_run(minimal(f"r{number}"))
                assert stored(recorder, f"r{number}")
            found = modes(path.parent)
    finally:
        os.umask(before)
    names = ["runs.db", "runs.db-shm", "runs.db-wal"]
    assert found == dict.fromkeys(names, 0o600)
    left = {"data", given.name} if link else {"data"}
    assert {p.name for p in tmp_path.iterdir()} <= left | {"link.db"}


def test_the_file_beside_a_locked_one_is_private_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    link = tmp_path / "link.db"
    link.symlink_to("data/runs.db")
    before = os.umask(0)
    try:
        with runlog.Recorder(sqlite_path=link) as recorder:
            recorder.log_run(minimal("first"))
            with closing(sqlite3.connect(link)) as other:
                other.execute("BEGIN IMMEDIATE")
                recorder.log_run(minimal("second"))
                found = modes(tmp_path / "data")
                other.rollback()
            assert stored(recorder, "second")
    finally:
        os.umask(before)
    assert "runs.db-beside" in found
    assert set(found.values()) == {0o600}


def test_links_lead_to_one_database(tmp_path: Path) -> None:
    """Two recorders, one of which has the link's name, share the -wal."""
    (tmp_path / "data").mkdir()
    path, link = tmp_path / "data" / "runs.db", tmp_path / "link.db"
    link.symlink_to(path)
    with (
        runlog.Recorder(sqlite_path=path) as first,
        runlog.Recorder(sqlite_path=link) as second,
    ):
        first.log_run(minimal("r1"))
        second.log_run(minimal("r2"))
        for recorder in (first, second):
            assert len(recorder.list_runs().runs) == 2


# What is said


def test_a_missing_folder(folder: Path, run_python: "RunPython") -> None:
    text = said_of(folder / "a" / "b" / "runs.db", run_python)
    assert f"there is no folder {folder}/a: create it" in text


def test_a_file_where_a_folder_should_be(folder: Path, run_python: "RunPython") -> None:
    (folder / "file").write_text("")
    text = said_of(folder / "file" / "runs.db", run_python)
    assert f"{folder}/file is a file, not a folder" in text


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o600])
def test_a_folder_that_may_not_be_entered(
    folder: Path, run_python: "RunPython", mode: int
) -> None:
    closed = folder / "closed"
    (closed / "inside").mkdir(parents=True)
    give(closed, mode)
    text = said_of(closed / "inside" / "runs.db", run_python)
    assert text_of(errno.EACCES) in text and str(closed) in text
    assert "No such file" not in text
    text = said_of(closed / "runs.db", run_python)
    assert text_of(errno.EACCES) in text and str(closed) in text


def test_a_folder_that_may_not_be_written(folder: Path, run_python: "RunPython") -> None:
    give(folder, 0o500)
    text = said_of(folder / "runs.db", run_python)
    assert f"may not make files in the folder {folder} " in text
    assert text_of(errno.EACCES) in text and "No such file" not in text


def test_a_folder_in_which_no_wal_can_be_made(
    folder: Path, run_python: "RunPython"
) -> None:
    give_database(folder / "runs.db", 0o600)
    give(folder, 0o500)
    text = said_of(folder / "runs.db", run_python)
    assert f"may not make files in the folder {folder} " in text


def give_database(path: Path, mode: int) -> None:
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.log_run(minimal())
    give(path, mode)


@pytest.mark.parametrize(
    ("mode", "what"), [(0o000, "read"), (0o200, "read"), (0o400, "write")]
)
def test_a_file_that_may_not_be_used(
    folder: Path, run_python: "RunPython", mode: int, what: str
) -> None:
    give_database(folder / "runs.db", mode)
    text = said_of(folder / "runs.db", run_python)
    assert f"may not {what} {folder}/runs.db" in text
    assert text_of(errno.EACCES) in text


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_file_beside_it_that_may_not_be_used(
    folder: Path, run_python: "RunPython", suffix: str
) -> None:
    """For example as root has opened the database before."""
    path = folder / "runs.db"
    give_database(path, 0o600)
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.log_run(minimal("again"))
        for one in ("-wal", "-shm"):
            give(Path(f"{path}{one}"), 0o000 if one == suffix else 0o600)
        text = said_of(path, run_python)
    assert f"{path}{suffix}" in text and text_of(errno.EACCES) in text


def test_a_folder_instead_of_a_file(folder: Path, run_python: "RunPython") -> None:
    text = said_of(folder, run_python)
    assert f"{folder} is a folder: give the path of a file" in text


ODD_PATHS = {
    "a folder and a slash": ("folder/", "folder/ is a folder: give the path of a file"),
    "a file and a slash": ("file.db/", "file.db is a file, not a folder"),
    "a new file and a slash": ("new.db/", "there is no folder"),
    "up from no folder": ("missing/../a.db", "there is no folder"),
    "up from a file": ("file.db/../a.db", "file.db is a file, not a folder"),
    "the null device": ("/dev/null", "/dev/null is not a regular file"),
    "the zero device": ("/dev/zero", "/dev/zero is not a regular file"),
    "a link to a device": ("null.db", "/dev/null is not a regular file"),
    "a socket": ("socket.db", "socket.db is not a regular file"),
    "a pipe": ("pipe.db", "pipe.db is not a regular file"),
    "a link to itself": ("loop.db", os.strerror(errno.ELOOP)),
}


@pytest.fixture
def odd_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with runlog.Recorder(sqlite_path="file.db") as recorder:
        recorder.log_run(minimal())
    Path("folder").mkdir()
    Path("null.db").symlink_to("/dev/null")
    Path("loop.db").symlink_to("loop.db")
    os.mkfifo("pipe.db")
    with socket.socket(socket.AF_UNIX) as open_socket:
        open_socket.bind("socket.db")
        yield tmp_path


@pytest.mark.parametrize(("path", "text"), ODD_PATHS.values(), ids=ODD_PATHS)
def test_what_can_not_be_a_database_is_refused_at_once(
    odd_folder: Path, path: str, text: str
) -> None:
    """SQLite would open some of them, or another file than the path names."""
    before = sorted(odd_folder.iterdir())
    devices = set(Path("/dev").glob("*-beside*"))
    watch = Stopwatch()
    with runlog.Recorder(sqlite_path=path) as recorder:
        with pytest.raises(StoreError, match=re.escape(text)) as caught:
            recorder.log_run(minimal())
        assert "lock" not in str(caught.value)
        handler = RunLogHandler(recorder=recorder)
        assert two_nodes().invoke({"n": 0}, {"callbacks": [handler]})
        assert recorder.stats()["handler_errors"] == 1
    assert watch.seconds < 5
    assert sorted(odd_folder.iterdir()) == before
    assert set(Path("/dev").glob("*-beside*")) == devices


@pytest.mark.parametrize(
    "path",
    [
        "folder/../a.db",
        "./folder/./../a.db",
        "folder//../a.db",
        "link/../a.db",
        "//{}/a.db",
    ],
)
def test_one_file_has_many_paths(odd_folder: Path, path: str) -> None:
    """With a link as the system reads it: `..` is of the folder that it leads to."""
    (odd_folder / "link").symlink_to("folder")
    with (
        runlog.Recorder(sqlite_path=path.format(odd_folder)) as first,
        runlog.Recorder(sqlite_path=odd_folder / "a.db") as second,
    ):
        first.log_run(minimal("r1"))
        second.log_run(minimal("r2"))
        assert first.flush() and second.flush()
        for recorder in (first, second):
            assert len(recorder.list_runs().runs) == 2
    assert (odd_folder / "a.db").is_file()


# Two names of one file: each would have a -wal of its own


def test_a_file_with_hard_links_is_refused(tmp_path: Path) -> None:
    """Under any of its names, until the others are deleted."""
    path, link = tmp_path / "a.db", tmp_path / "b.db"
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.log_run(minimal("r1"))
    link.hardlink_to(path)
    for name in (path, link):
        with runlog.Recorder(sqlite_path=name) as recorder:
            with pytest.raises(ConfigError, match="hard links") as caught:
                recorder.log_run(minimal("refused"))
            assert str(name) in str(caught.value)
    link.unlink()
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.log_run(minimal("r2"))
        assert {run["run_id"] for run in recorder.list_runs().runs} == {"r1", "r2"}


def test_a_hard_link_that_appears_later(tmp_path: Path) -> None:
    """The recorder that has the file open goes on; whoever comes later is refused."""
    path, link = tmp_path / "a.db", tmp_path / "b.db"
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.log_run(minimal("r1"))
        link.hardlink_to(path)
        recorder.log_run(minimal("r2"))
        for name in (path, link):
            second = runlog.Recorder(sqlite_path=name)
            with second, pytest.raises(ConfigError, match="hard links"):
                second.log_run(minimal("refused"))
        recorder.log_run(minimal("r3"))
        assert recorder.count_runs().runs == 3
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_file_that_is_mounted_by_itself_is_refused(tmp_path: Path) -> None:
    """As a container does that has the file, and not its folder, as a volume."""
    path, mounted = tmp_path / "a.db", tmp_path / "mounted.db"
    mounted.touch()
    with runlog.Recorder(sqlite_path=path) as recorder:
        recorder.log_run(minimal())
    unshare = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"]).returncode:
        pytest.skip("this user may mount nothing")
    command = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$2"'
    done = subprocess.run(
        [*unshare, "sh", "-c", command, "sh", path, mounted, sys.executable, MOUNTED],
        env=child_env({}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert f"SQLite file {mounted}: the file is mounted by itself" in done.stdout
    assert "mount its folder" in done.stdout and done.stderr == ""


def test_a_pipe_instead_of_a_file(folder: Path, run_python: "RunPython") -> None:
    os.mkfifo(folder / "runs.db")
    give(folder / "runs.db", 0o600)
    assert "is not a regular file" in said_of(folder / "runs.db", run_python)


def test_links_without_an_end(folder: Path, run_python: "RunPython") -> None:
    (folder / "a.db").symlink_to("b.db")
    (folder / "b.db").symlink_to("a.db")
    assert text_of(errno.ELOOP) in said_of(folder / "a.db", run_python)


def test_a_link_into_a_missing_folder(folder: Path, run_python: "RunPython") -> None:
    (folder / "a.db").symlink_to("missing/runs.db")
    text = said_of(folder / "a.db", run_python)
    assert f"there is no folder {folder}/missing" in text


def test_a_name_that_is_too_long(folder: Path, run_python: "RunPython") -> None:
    text = said_of(folder / ("x" * 300), run_python)
    assert text_of(errno.ENAMETOOLONG) in text
    deep = folder
    for _ in range(4):
        deep /= "y" * 200
        deep.mkdir()
        give(deep, 0o700)
    text = said_of(deep / "runs.db", run_python)
    assert "SQLite takes a path of less than" in text


def test_too_many_open_files(folder: Path, run_python: "RunPython") -> None:
    limit = "kept = [open('/dev/null') for _ in range(20)];"
    limit += (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd'))"
    )
    limit += " - 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))"
    text = said_of(folder / "runs.db", run_python, limit)
    assert text_of(errno.EMFILE) in text and "ulimit -n" in text
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 20


@pytest.mark.parametrize("kind", ["read-only", "full"])
def test_a_file_system_that_takes_nothing(folder: Path, kind: str) -> None:
    """A file system of the test's own, which no other process sees."""
    code = f"""
mount -t tmpfs -o size={"4k" if kind == "full" else "1m"} tmpfs {folder} || exit 9
chmod 777 {folder}
{"head -c 4096 /dev/zero > " + str(folder) + "/x" if kind == "full" else "true"}
{"mount -o remount,ro " + str(folder) if kind == "read-only" else "true"}
exec "$@"
"""
    namespace = "-m" if os.getuid() == 0 else "-rm"
    record = CODE.replace("os.geteuid() == 0", "False")  # nobody may write there
    command = ["unshare", namespace, "sh", "-c", code, "sh", sys.executable, "-c", record]
    done = subprocess.run(
        [*command, str(folder / "runs.db"), ""],
        env=plain_environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout
    expected = errno.EROFS if kind == "read-only" else errno.ENOSPC
    assert text_of(expected) in text or (kind == "full" and "disk is full" in text), text


def test_the_journal_says_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        runlog.Recorder(
            postgres_dsn="host=127.0.0.1 port=1",
            sqlite_path=tmp_path / "missing" / "runs.db",
        ) as recorder,
        pytest.raises(StoreError) as caught,
    ):
        recorder.log_run(minimal())
    assert f"there is no folder {tmp_path}/missing" in str(caught.value)
