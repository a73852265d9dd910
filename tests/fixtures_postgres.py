"""A private PostgreSQL server for the tests, made from the system's binaries.

It lives in a temporary folder, listens on a unix socket there and on a free port of
127.0.0.1, and has nothing to do with a server the machine may be running.
"""

from __future__ import annotations

import itertools
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psycopg
import psycopg.conninfo
import pytest
from psycopg.types.string import TextLoader

SUPERUSER = "postgres"

# Without fsync: tests kill servers, but no test takes the power away. A busy disk would
# make commits wait for seconds.
CONFIG = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
unix_socket_permissions = 0777
max_connections = 200
shared_buffers = 32MB
fsync = off
log_line_prefix = '%m [%p] %d '
lc_messages = 'C'
timezone = 'UTC'
"""

# The server gets the signal when its keeper's standard input ends, so when pytest has
# gone, however.
KEEPER = (
    'signal=$1; shift; "$@" & server=$!; read -r _; '
    'kill -"$signal" "$server" 2>/dev/null; wait "$server"'
)

# A client that connects too early gets one of these errors, and tries again.
FATAL = re.compile("FATAL:  (?!the database system is )")

DISCONNECT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid()
"""
EMPTY = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"

# What the schema public holds, and which migrations were applied: one text, and the bytes
# of its largest table.
SHAPE = """
SELECT md5(concat(
    (SELECT string_agg(concat(c.relname, c.relkind, c.reloptions, c.relacl, a.attname,
                              a.atttypid, a.attnotnull), ' ' ORDER BY c.relname, a.attnum)
     FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
     WHERE c.relnamespace = 'public'::regnamespace),
    (SELECT string_agg(concat(tgname, tgenabled), ' ' ORDER BY tgname) FROM pg_trigger),
    (SELECT string_agg(proname || prosrc, ' ' ORDER BY proname) FROM pg_proc
     WHERE pronamespace = 'public'::regnamespace),
    (SELECT string_agg(concat(conname, pg_get_constraintdef(oid)), ' ' ORDER BY conname)
     FROM pg_constraint WHERE connamespace = 'public'::regnamespace),
    (SELECT string_agg(number || checksum, ' ' ORDER BY number) FROM runlog_migrations))),
    (SELECT max(pg_relation_size(oid)) FROM pg_class
     WHERE relnamespace = 'public'::regnamespace)
"""
ROWS = """
SELECT relname FROM pg_class WHERE relkind = 'r'
AND relname NOT IN ('runlog_migrations', 'runlog_database')
AND relnamespace = 'public'::regnamespace
"""
MADE = "INSERT INTO run_words_position DEFAULT VALUES"
"""What the migrations put into the tables, but for the two that keep their rows."""
SMALL = 1 << 20
"""Bytes; a table that has grown larger is dropped rather than emptied."""


def find_binaries() -> Path:
    """The folder of initdb and postgres, the newest version first."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    folders = sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    if initdb := shutil.which("initdb"):
        folders.append(Path(initdb).resolve().parent)
    if pg_config := shutil.which("pg_config"):
        command = [pg_config, "--bindir"]
        env = plain_environment()
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        folders.append(Path(done.stdout.strip()))
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise RuntimeError("there is no PostgreSQL server (initdb, postgres) here")


def server_user() -> dict[str, Any]:
    """Arguments of subprocess for a user who may run a server: root may not."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("there is neither a user postgres nor nobody to run the server as")


def plain_environment() -> dict[str, str]:
    """The environment without what is for Python alone; a server hangs under ASan."""
    dropped = ("LD_PRELOAD", "ASAN_", "UBSAN_", "PG", "LC_", "LANG", "PYTHON")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return kept | {"LC_ALL": "C.UTF-8"}


def own_ports() -> Iterator[int]:
    """Ports in a random order, other ones in each worker of pytest -n.

    They lie below those that the system gives to clients, so that none of them gets one
    while a server that listens there is being restarted.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = 20_000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = 12_000 + worker * count
    return itertools.cycle(random.sample(range(first, first + count), count))


_ports = own_ports()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that nobody else was given."""
    while True:
        port = next(_ports)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def own_folder(prefix: str) -> Path:
    """A temporary folder that belongs to the user whom servers run as."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    if options := server_user():
        os.chown(folder, options["user"], options["group"])
    return folder


def run_as_server_user(command: list[str], folder: Path) -> None:
    """Run a tool of the server's and wait for it."""
    options = server_user() | {"env": plain_environment(), "cwd": folder}
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


class Keeper:
    """A server process that ends when we do."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        log: Path,
        sign: str,
        user: Mapping[str, Any] | None = None,
    ) -> None:
        with log.open("ab") as file:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER, "keeper", sign, *command],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                cwd=folder,
                env=plain_environment(),
                start_new_session=True,  # Ctrl-C is for pytest, which then stops it
                **(server_user() if user is None else user),
            )

    def lives(self) -> bool:
        """Whether the server has not ended by itself."""
        return self._shell.poll() is None

    def end(self, timeout: float = 20) -> bool:
        """Have the server sent its signal; False when it does not end in time."""
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        try:
            self._shell.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True


class PostgresServer:
    """A running server, and ways to query it."""

    def __init__(self, config: str = "") -> None:
        self.folder = own_folder("runlog-pg-")
        self.bindir = self.find_programs()
        self.data = self.folder / "data"
        self.port = free_port()
        self.log = self.folder / "server.log"
        self._config = config
        self._names = (f"test_{n}" for n in itertools.count(1))
        self._idle: list[str] = []
        self._with_tables: list[str] = []
        self._inside: dict[str, psycopg.Connection[Any]] = {}
        self._shape = ""
        self._keeper: Keeper | None = None
        self._admin: psycopg.Connection[Any] | None = None

    def find_programs(self) -> Path:
        """The folder of the server's programs."""
        return find_binaries()

    def start(self) -> None:
        """Make the cluster, start it and wait until it answers."""
        self.make_cluster()
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(CONFIG.format(port=self.port, folder=self.folder) + self._config)
        self.resume()

    def make_cluster(self) -> None:
        """Fill the data folder."""
        command = [str(self.bindir / "initdb"), "-D", str(self.data), "-U", SUPERUSER]
        command += ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        run_as_server_user(command, self.folder)

    def resume(self) -> None:
        """Start the server on its data, and wait until it answers."""
        command = [str(self.bindir / "postgres"), "-D", str(self.data)]
        said = self.log.stat().st_size if self.log.exists() else 0
        self._keeper = Keeper(command, self.folder, self.log, "INT")
        self._wait_until_ready(said)

    def _wait_until_ready(self, said: int) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self._admin = psycopg.connect(self.dsn(), autocommit=True)
            except psycopg.OperationalError as error:
                log = self.log.read_bytes()[said:].decode(errors="replace")
                if time.monotonic() > deadline or FATAL.search(log):
                    raise RuntimeError(f"no server: {error}\n{log}") from None
                time.sleep(0.02)
            else:
                return

    def halt(self, *, immediate: bool = False) -> None:
        """Stop the server, gently and then not; immediately: as if it had crashed."""
        while self._inside:
            self._inside.popitem()[1].close()
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._keeper is not None:
            if immediate:
                os.kill(self.pid, signal.SIGQUIT)
            if not self._keeper.end():
                os.kill(self.pid, signal.SIGQUIT)
                self._keeper.end()
            self._keeper = None

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def version(self) -> str:
        """As in "15.4"."""
        rows = self.query("SHOW server_version")
        return str(rows[0][0]).split()[0]

    def dsn(
        self,
        dbname: str = "postgres",
        user: str = SUPERUSER,
        password: str | None = None,
        *,
        tcp: bool = False,
    ) -> str:
        """A connection string: over the unix socket, or over TCP."""
        where = "127.0.0.1" if tcp else str(self.folder)
        return psycopg.conninfo.make_conninfo(
            host=where, port=self.port, dbname=dbname, user=user, password=password
        )

    def query(self, sql: str, *params: object, dbname: str | None = None) -> list[Any]:
        """Run a statement as the superuser, with %s for params; return its rows."""
        if dbname is None:
            assert self._admin is not None, "the server has not been started"
            return fetch(self._admin, sql, params)
        with psycopg.connect(self.dsn(dbname), autocommit=True) as connection:
            return fetch(connection, sql, params)

    def psql(self, sql: str, dbname: str = "postgres") -> str:
        """Run a command in psql, as a user would; return what it prints."""
        command = [str(self.bindir / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-At"]
        done = subprocess.run(
            [*command, "-d", self.dsn(dbname), "-c", sql],
            env=plain_environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create_database(self) -> str:
        """Make an empty database; return its name."""
        name = next(self._names)
        self.query(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, and whoever is still connected to it."""
        self.query(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextmanager
    def borrow_database(self) -> Iterator[str]:
        """An empty database for a while: one used before and emptied, which is quicker.

        A test that changes more than the schema public makes a database of its own.
        """
        name = self._idle.pop() if self._idle else self.create_database()
        yield name
        with self._alone_in(name) as connection:
            connection.execute(EMPTY)
        self._idle.append(name)

    @contextmanager
    def borrow_tables(self) -> Iterator[str]:
        """A database that has runlog's tables, without rows: quicker still.

        It is emptied over a connection that stays, which knows its tables by then.
        """
        name = self._with_tables.pop() if self._with_tables else self._make_tables()
        yield name
        connection = self._inside.pop(name, None)
        if connection is None or connection.closed:
            connection = psycopg.connect(self.dsn(name), autocommit=True)
        try:
            self._be_alone_in(name, connection)
            if self._empty_tables(connection):
                self._with_tables.append(name)
                self._inside[name] = connection
                return
            connection.execute(EMPTY)
        except psycopg.OperationalError:  # the test has cut it off
            connection.close()
            self.drop_database(name)
        else:
            connection.close()
            self._idle.append(name)

    def _make_tables(self) -> str:
        import runlog

        name = self._idle.pop() if self._idle else self.create_database()
        with runlog.Recorder(postgres_dsn=self.dsn(name)) as recorder:
            recorder.list_runs()
        if not self._shape:
            ((self._shape, _),) = self.query(SHAPE, dbname=name)
        return name

    def _empty_tables(self, connection: psycopg.Connection[Any]) -> bool:
        """Delete the rows; False if this is not worth it, or there are other tables."""
        try:
            ((shape, size),) = connection.execute(SHAPE).fetchall()
        except psycopg.Error:
            return False
        if shape != self._shape or size > SMALL:
            return False
        for (table,) in connection.execute(ROWS).fetchall():
            connection.execute(f'DELETE FROM "{table}"'.encode())
        connection.execute(MADE)
        return True

    @contextmanager
    def _alone_in(self, name: str) -> Iterator[psycopg.Connection[Any]]:
        """A connection to a database to which there is no other one any more."""
        with psycopg.connect(self.dsn(name), autocommit=True) as connection:
            self._be_alone_in(name, connection)
            yield connection

    @staticmethod
    def _be_alone_in(name: str, connection: psycopg.Connection[Any]) -> None:
        deadline = time.monotonic() + 60
        while connection.execute(DISCONNECT, (name,)).fetchall():
            assert time.monotonic() < deadline, "a session does not end"
            time.sleep(0.002)


def fetch(connection: psycopg.Connection[Any], sql: str, params: Any) -> list[Any]:
    """The rows of a statement, if it has any; JSON comes as its text."""
    with connection.cursor() as cursor:
        cursor.adapters.register_loader("json", TextLoader)
        cursor.adapters.register_loader("jsonb", TextLoader)
        cursor.execute(sql.encode(), params or None)
        return cursor.fetchall() if cursor.description is not None else []


class Server(Protocol):
    """A server that the tests start and stop."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


AnyServer = TypeVar("AnyServer", bound=Server)


def running(server: AnyServer) -> Iterator[AnyServer]:
    """The body of a fixture: start the server, and stop it after its last use."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The private server, started at its first use."""
    yield from running(PostgresServer())
