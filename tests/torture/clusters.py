"""Real servers that the torture tests kill: clusters, a replica, PgBouncer, TLS.

Each lives in a temporary folder, listens on a free port of 127.0.0.1, and ends with
pytest, however that ends.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Self

import psycopg
import psycopg.conninfo
from fixtures_postgres import (
    SUPERUSER,
    Keeper,
    PostgresServer,
    free_port,
    own_folder,
    run_as_server_user,
)
from helpers import until

REPLICA_NAME = "replica"

BOUNCER_CONFIG = """
[databases]
* = host={server} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
admin_users = {superuser}
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
server_login_retry = 0.2
logfile = {folder}/bouncer.log
pidfile = {folder}/bouncer.pid
"""

# Passwords don't matter here: who speaks TLS is let in, and nobody else over TCP.
TLS_ACCESS = """
local all all trust
hostssl all all 127.0.0.1/32 trust
"""
TLS_CONFIG = """
ssl = on
ssl_cert_file = '{folder}/server.crt'
ssl_key_file = '{folder}/server.key'
"""


class Replica(PostgresServer):
    """A streaming replica of another server: a hot standby, until it is promoted."""

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__()
        self._primary = primary

    def make_cluster(self) -> None:
        """Copy the primary as it is."""
        source = psycopg.conninfo.make_conninfo(
            self._primary.dsn(), application_name=REPLICA_NAME
        )
        command = [str(self.bindir / "pg_basebackup"), "-D", str(self.data)]
        command += ["-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        run_as_server_user(command, self.folder)

    def promote(self) -> None:
        """Make it a primary; returns when it is one."""
        assert self.query("SELECT pg_promote(true, 60)") == [(True,)]


def replicate_synchronously(primary: PostgresServer) -> None:
    """Have commits on the primary wait for its replica, which must be connected."""
    state = "SELECT state, sync_state FROM pg_stat_replication"
    until(lambda: primary.query(state) == [("streaming", "async")])
    primary.query(f"ALTER SYSTEM SET synchronous_standby_names = '{REPLICA_NAME}'")
    primary.query("SELECT pg_reload_conf()")
    until(lambda: primary.query(state) == [("streaming", "sync")])


class Bouncer:
    """A PgBouncer in transaction mode before a server; a context manager."""

    def __init__(self, server: PostgresServer, size: int = 2, config: str = "") -> None:
        found = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        if not Path(found).exists():
            raise RuntimeError("there is no pgbouncer here")
        self.folder = own_folder("runlog-bouncer-")
        self.port = free_port()
        self._command = [found, str(self.folder / "bouncer.ini")]
        self._keeper: Keeper | None = None
        users = self.folder / "users.txt"
        users.write_text(f'"{SUPERUSER}" ""\n')
        (self.folder / "bouncer.ini").write_text(
            BOUNCER_CONFIG.format(
                server=server.folder,
                server_port=server.port,
                port=self.port,
                users=users,
                superuser=SUPERUSER,
                size=size,
                folder=self.folder,
            )
            + config
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, dbname: str) -> str:
        """A connection string through it."""
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.port, dbname=dbname, user=SUPERUSER
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._keeper = Keeper(self._command, self.folder, self.folder / "said", "KILL")
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.dsn("pgbouncer"), autocommit=True).close()
            except psycopg.OperationalError:
                said = (self.folder / "said").read_text()
                assert time.monotonic() < deadline, f"no PgBouncer:\n{said}"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it as kill -9 does, whoever is connected."""
        if self._keeper is not None:
            self._keeper.end()
            self._keeper = None
            (self.folder / "bouncer.pid").unlink(missing_ok=True)


class Certificates:
    """Two authorities, and a certificate for localhost that the first one has signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = self._make_authority("ca")
        self.other_ca = self._make_authority("other")
        self._make_server()

    def _openssl(self, *args: str) -> None:
        run_as_server_user(["openssl", *args], self.folder)

    def _make_authority(self, name: str) -> Path:
        key = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key")
        subject = ("-subj", f"/CN=runlog test {name}", "-days", "2")
        self._openssl("req", "-x509", *key, *subject, "-out", f"{name}.crt")
        return self.folder / f"{name}.crt"

    def _make_server(self) -> None:
        key = ("-newkey", "rsa:2048", "-nodes", "-keyout", "server.key")
        self._openssl("req", *key, "-subj", "/CN=localhost", "-out", "server.csr")
        (self.folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        files = ("-in", "server.csr", "-out", "server.crt", "-extfile", "names")
        self._openssl("x509", "-req", *files, *signer)
        (self.folder / "server.key").chmod(0o600)


class TlsServer(PostgresServer):
    """A server that lets nobody in over TCP who does not speak TLS."""

    def __init__(self) -> None:
        super().__init__()
        self.certificates = Certificates(self.folder)
        self._config = TLS_CONFIG.format(folder=self.folder)

    def make_cluster(self) -> None:
        """As any other, with an access list of its own."""
        super().make_cluster()
        (self.data / "pg_hba.conf").write_text(TLS_ACCESS)

    def tls_dsn(self, dbname: str, ca: Path) -> str:
        """Over TCP, with the server's certificate and its name checked."""
        return psycopg.conninfo.make_conninfo(
            host="localhost",
            hostaddr="127.0.0.1",
            port=self.port,
            dbname=dbname,
            user=SUPERUSER,
            sslmode="verify-full",
            sslrootcert=str(ca),
        )
