"""A PostgreSQL server for one benchmark: its own folder, user and unix socket.

The durability settings are PostgreSQL's defaults (fsync and synchronous_commit on). The
server opens no TCP port, so it cannot collide with another server.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

START_SECONDS = 30
STOP_SECONDS = 20
PORT = "5432"  # names the socket file in the private folder, nothing else
USERS = ("postgres", "nobody")
SETTINGS = ("listen_addresses=", "max_connections=100", "shared_buffers=128MB")

# Standard input ends with the benchmark, however that ends; then the server is stopped.
KEEPER = '"$@" & pid=$!; read -r _; kill -INT $pid; wait $pid'


def dsn(folder: Path) -> str:
    """The DSN of a server whose socket is in the folder."""
    return f"host={folder} port={PORT} user=bench dbname=postgres"


class Server:
    """A server that can be stopped and started again; `dsn` is its superuser's."""

    def __init__(self, folder: Path) -> None:
        self.dsn = dsn(folder)
        self.folder = folder
        self._binaries = _binaries()
        self._options = _child_options(folder)
        self._keeper: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        """Make the cluster."""
        initdb: list[str | Path] = [self._binaries / "initdb", "-D", self.folder / "data"]
        initdb += ["-A", "trust", "-U", "bench", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            initdb, check=False, capture_output=True, text=True, **self._options
        )
        if done.returncode != 0:
            raise SystemExit(f"initdb failed:\n{done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command: list[str | Path] = ["/bin/sh", "-c", KEEPER, "keeper"]
        command += [self._binaries / "postgres", "-D", self.folder / "data"]
        command += ["-k", self.folder, "-p", PORT]
        for setting in SETTINGS:
            command += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._options,
            )
        _wait_until_ready(self._binaries, self.folder, self._keeper)

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        text = (self.folder / "data" / "postmaster.pid").read_text(encoding="utf-8")
        return int(text.split()[0])

    def kill(self) -> None:
        """Stop the server at once, without a checkpoint, and disconnect its clients."""
        os.kill(self.pid, signal.SIGQUIT)
        self.stop()

    def stop(self) -> None:
        """Stop the server, if it runs."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if keeper.stdin is not None:
            keeper.stdin.close()
        try:
            keeper.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.kill(self.pid, signal.SIGQUIT)
            keeper.wait(STOP_SECONDS)

    def cpu_seconds(self) -> float:
        """CPU time of the postmaster and its children so far; 0.0 where unknown."""
        postmaster = str(self.pid)
        ticks = 0
        for _ in range(50):
            # Fields 11 and 12: a process's own time; 13 and 14: its ended children's.
            ended = _stat(postmaster)[13:15]
            ticks = sum(int(field) for field in ended)
            for pid in _process_ids():
                fields = _stat(pid)
                if fields and postmaster in (pid, fields[1]):
                    ticks += int(fields[11]) + int(fields[12])
            if _stat(postmaster)[13:15] == ended:  # no child ended in between
                break
        return ticks / os.sysconf("SC_CLK_TCK")


def _process_ids() -> list[str]:
    proc = Path("/proc")
    return [p.name for p in proc.glob("[0-9]*")] if proc.is_dir() else []


def _stat(pid: str) -> list[str]:
    """The fields of /proc/<pid>/stat after the command; none when there is no such."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


def _binaries() -> Path:
    """The folder of initdb and postgres: PG_BINDIR, Debian's newest, PATH, pg_config."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(debian, key=lambda p: float(p.parent.name), reverse=True)
    candidates = [Path(os.environ.get("PG_BINDIR", "/none")), *newest_first]
    if found := shutil.which("initdb"):
        candidates.append(Path(found).resolve().parent)
    if found := shutil.which("pg_config"):
        query = [found, "--bindir"]
        done = subprocess.run(query, check=False, capture_output=True, text=True)
        candidates.append(Path(done.stdout.strip()))
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise SystemExit(
        "skipped: no PostgreSQL server: install one, or set PG_BINDIR to its folder"
    )


def _child_options(folder: Path) -> dict[str, Any]:
    """Popen's arguments for the server: not root, and an environment of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
    options: dict[str, Any] = {"cwd": folder, "env": kept | {"LC_ALL": "C"}}
    if os.geteuid() != 0:
        return options
    for name in USERS:
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            os.chown(folder, user.pw_uid, user.pw_gid)
            return options | {
                "user": user.pw_uid,
                "group": user.pw_gid,
                "extra_groups": [],
            }
    raise SystemExit(
        f"skipped: PostgreSQL can't run as root, and there is no user {USERS}"
    )


def _wait_until_ready(
    binaries: Path, folder: Path, keeper: "subprocess.Popen[bytes]"
) -> None:
    probe: list[str | Path] = [binaries / "pg_isready", "-q", "-h", folder, "-p", PORT]
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and keeper.poll() is None:
        if subprocess.run(probe, check=False).returncode == 0:
            return
        time.sleep(0.05)
    text = (folder / "log").read_text(encoding="utf-8", errors="replace")
    raise SystemExit(f"PostgreSQL did not start:\n{text}")


@contextmanager
def postgres() -> Iterator[Server]:
    """Start a server; stop it and remove its folder at the end."""
    folder = Path(tempfile.mkdtemp(prefix="runlog-bench-"))
    server: Server | None = None
    try:
        server = Server(folder)
        server.initialise()
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
