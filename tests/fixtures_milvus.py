"""Private Milvus servers: Milvus Lite, and Milvus 2.3.5 without and with TLS and users.

Each lives in a temporary folder, takes free ports, and ends with the tests, however they
end. The binaries of Milvus 2.3.5 are unpacked once, into build/.
"""

from __future__ import annotations

import lzma
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fixtures_postgres import Keeper, free_port, plain_environment, running
from side_by_side import alone

ROOT = Path(__file__).resolve().parent.parent
SERVERS = os.environ.get("TEST_MILVUS_SERVERS", "lite secure").split()
"""What `milvus` goes through; "standalone" is the third of them."""

BINARIES = ROOT / "build" / "milvus-2.3.5"

# What is not said here is as Milvus has it by itself.
CONFIG = """
etcd:
  endpoints: 127.0.0.1:{etcd}
  rootPath: tests
  use: {{embed: true}}
  data: {{dir: {folder}/etcd}}
  config: {{path: {folder}/configs/etcd.yaml}}
mq: {{type: rocksmq}}
rocksmq: {{path: {folder}/rocksmq}}
localStorage: {{path: {folder}/storage}}
rootCoord: {{ip: 127.0.0.1, port: {root}}}
dataCoord: {{ip: 127.0.0.1, port: {data}}}
queryCoord: {{ip: 127.0.0.1, port: {query}}}
indexCoord: {{address: 127.0.0.1, port: {index}}}
proxy: {{ip: 127.0.0.1, port: {proxy}, internalPort: {internal}}}
dataNode: {{ip: 127.0.0.1, port: {data_node}}}
queryNode: {{ip: 127.0.0.1, port: {query_node}}}
indexNode: {{ip: 127.0.0.1, port: {index_node}}}
log: {{level: warn, stdout: true}}
tls: {{serverPemPath: {folder}/server.pem, serverKeyPath: {folder}/server.key}}
common:
  storageType: local
  gracefulStopTimeout: 3
  security: {{authorizationEnabled: {secure}, tlsMode: {tls}}}
  session: {{ttl: 3, retryTimes: 30}}
"""
PORTS = [
    "etcd",
    "etcd_peer",
    "root",
    "data",
    "query",
    "index",
    "proxy",
    "internal",
    "data_node",
    "query_node",
    "index_node",
    "metrics",
]
ETCD = """
name: tests
data-dir: {folder}/etcd
listen-client-urls: http://127.0.0.1:{etcd}
advertise-client-urls: http://127.0.0.1:{etcd}
listen-peer-urls: http://127.0.0.1:{etcd_peer}
initial-advertise-peer-urls: http://127.0.0.1:{etcd_peer}
initial-cluster: tests=http://127.0.0.1:{etcd_peer}
initial-cluster-state: new
log-level: error
"""


def unpack_binaries() -> Path:
    """The folder of the unpacked server and its libraries, made at the first use."""
    with alone("milvus-2.3.5"):
        if not BINARIES.exists():
            unpack_into(BINARIES)
    return BINARIES


def unpack_into(target: Path) -> None:
    """Unpack the server and its libraries."""
    spec = find_spec("milvus")
    assert spec is not None, "the package milvus is not installed"
    assert spec.origin is not None
    packed = Path(spec.origin).parent / "data" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="milvus-", dir=target.parent))
    folder.chmod(0o755)

    def unpack(path: Path) -> None:
        with lzma.open(path) as source, (folder / path.stem).open("wb") as plain:
            shutil.copyfileobj(source, plain, 1 << 20)
        (folder / path.stem).chmod(0o755)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(unpack, sorted(packed.glob("*.lzma"))))
    folder.rename(target)


def make_certificate(folder: Path) -> None:
    """A certificate of localhost and 127.0.0.1 that vouches for itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", f"{folder}/server.key", "-out", f"{folder}/server.pem"]
    command += ["-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    env = plain_environment()
    subprocess.run(command, env=env, capture_output=True, check=True, timeout=60)


class MilvusServer:
    """A running server. What the kinds of it have in common."""

    name = ""
    token: str | None = None
    ca_file: Path | None = None

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="runlog-milvus-"))
        self.port = free_port()
        self.log = self.folder / "server.log"
        self._keeper: Keeper | None = None

    @property
    def endpoint(self) -> str:
        """The URL, as in MILVUS_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """What starts the server."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the server can be used."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the server on its data, and wait until it can be used."""
        self._keeper = Keeper(self.command(), self.folder, self.log, "KILL", {})
        deadline = time.monotonic() + 180
        while not self.answers():
            if time.monotonic() > deadline or not self._keeper.lives():
                log = self.log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"no Milvus ({self.name}):\n{log}")
            time.sleep(0.05)

    def halt(self) -> None:
        """Kill the server; its data stay."""
        if self._keeper is not None:
            assert self._keeper.end(), "a process that was killed lives on"
            self._keeper = None

    def restart(self) -> None:
        """Kill the server and start it anew, on the same port and data."""
        self.halt()
        self.start()

    def stop(self) -> None:
        """Kill the server and remove its folder."""
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def trust(self) -> dict[str, str]:
        """The variables of the environment with which its certificate is trusted."""
        return {} if self.ca_file is None else {"CURL_CA_BUNDLE": str(self.ca_file)}

    @contextmanager
    def client(self) -> Iterator[Any]:
        """The official client, connected to this server."""
        from pymilvus import MilvusClient, MilvusException

        options: dict[str, Any] = {"token": self.token} if self.token else {}
        if self.ca_file is not None:
            options |= {"secure": True, "server_pem_path": str(self.ca_file)}
            options |= {"server_name": "localhost"}
        try:
            client = MilvusClient(self.endpoint, **options)
        except MilvusException:  # "Too many pings" on a busy machine: its own keepalive
            time.sleep(1)
            client = MilvusClient(self.endpoint, **options)
        try:
            yield client
        finally:
            client.close()


class MilvusLite(MilvusServer):
    """Milvus Lite, which is a Python program and has neither users nor TLS."""

    name = "lite"

    def command(self) -> list[str]:
        program = Path(sys.executable).parent / "milvus-lite"
        command = [str(program), "server", "--data-dir", str(self.folder / "data")]
        return [*command, "--host", "127.0.0.1", "--port", str(self.port)]

    def answers(self) -> bool:
        with socket.socket() as sock:
            sock.settimeout(5)
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


class MilvusStandalone(MilvusServer):
    """The real server, of one process; with TLS and users when it is to be secure."""

    def __init__(self, *, secure: bool) -> None:
        super().__init__()
        self.name = "2.3.5 with TLS" if secure else "2.3.5"
        ports = {name: free_port() for name in PORTS} | {"proxy": self.port}
        assert len({*ports.values()}) == len(ports)
        self.metrics = ports["metrics"]
        values: dict[str, Any] = {**ports, "folder": self.folder}
        values |= {"secure": str(secure).lower(), "tls": 1 if secure else 0}
        configs = self.folder / "configs"
        configs.mkdir()
        (self.folder / "tmp").mkdir()
        (configs / "milvus.yaml").write_text(CONFIG.format(**values))
        (configs / "etcd.yaml").write_text(ETCD.format(**values))
        (configs / "glog.conf").write_text("--logtostderr=true\n--minloglevel=1\n")
        if secure:
            make_certificate(self.folder)
            self.token = "root:Milvus"
            self.ca_file = self.folder / "server.pem"

    @property
    def endpoint(self) -> str:
        scheme = "http" if self.ca_file is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        folder = unpack_binaries()
        env = {
            "LD_LIBRARY_PATH": folder,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": self.metrics,
            "MILVUSCONF": self.folder / "configs",
            "TMPDIR": self.folder / "tmp",
        }
        command = ["env", *(f"{key}={value}" for key, value in env.items())]
        return [*command, str(folder / "milvus"), "run", "standalone"]

    def answers(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.metrics}/healthz"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return "OK" in answer.read().decode()
        except OSError:
            return False


@pytest.fixture(scope="session")
def milvus_lite() -> Iterator[MilvusServer]:
    """Milvus Lite, started at its first use."""
    yield from running(MilvusLite())


# These two are at work also while nobody asks them for anything, and start in seconds.
@pytest.fixture(scope="module")
def milvus_standalone() -> Iterator[MilvusServer]:
    """Milvus 2.3.5 that lets everybody in, started at its first use."""
    yield from running(MilvusStandalone(secure=False))


@pytest.fixture(scope="module")
def milvus_secure() -> Iterator[MilvusServer]:
    """Milvus 2.3.5 with TLS and the user root:Milvus, started at its first use."""
    yield from running(MilvusStandalone(secure=True))


@pytest.fixture(scope="module", params=SERVERS)
def milvus(request: pytest.FixtureRequest) -> MilvusServer:
    """Each of the servers in turn, those of SERVERS."""
    server: MilvusServer = request.getfixturevalue(f"milvus_{request.param}")
    return server
