"""The services that runs are sent to, started by the tests as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures_postgres import free_port, plain_environment

SERVER = Path(__file__).with_name("embedding_server.py")


class EmbeddingServer:
    """The process of embedding_server.py, which ends when we do."""

    model = "all-MiniLM-L6-v2"
    """Its other name there is text-embedding-3-small."""
    dim = 384

    def __init__(
        self,
        key: str = "sk-test-0123456789abcdef",
        *,
        cert: Path | None = None,
        cert_key: Path | None = None,
    ) -> None:
        self.key = key
        self.port = free_port()
        command = [sys.executable, str(SERVER), "--until-eof"]
        command += ["--port", str(self.port), "--key", key]
        if cert is not None:
            command += ["--cert", str(cert), "--cert-key", str(cert_key or cert)]
        self._scheme = "http" if cert is None else "https"
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=plain_environment(),
            start_new_session=True,  # Ctrl-C is for pytest, which then stops it
        )
        assert self._process.stdout is not None
        ports = json.loads(self._process.stdout.readline() or "null")
        if ports is None:
            self.close()
            raise RuntimeError("the embedding server did not start")
        self._control = f"http://127.0.0.1:{ports['control']}/control"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def origin(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL is set to."""
        return f"{self.origin}/v1"

    @property
    def pid(self) -> int:
        return self._process.pid

    def control(self, kind: str, count: int | None = 1, **options: Any) -> None:
        """Do something wrong to the next requests, as many as count (None: all).

        The kinds and their options are those of embedding_controls.Fault. Several are
        done one after the other, in the order in which they were asked for.
        """
        self._order({"fault": {"kind": kind, "count": count, **options}})

    def release(self) -> None:
        """Have the requests answered that are stalled."""
        self._order({"release": True})

    def clear(self) -> None:
        """Do nothing wrong from now on."""
        self._order({"clear": True})

    def reset(self) -> None:
        """As after the start: no faults, counters at 0, and it listens."""
        self._order({"reset": True})

    def stop(self) -> None:
        """Be away: refuse connections, and cut those that are open. Counters are kept."""
        self._order({"listen": False})

    def start(self) -> None:
        """Be back, on the same port."""
        self._order({"listen": True})

    def counters(self) -> dict[str, Any]:
        """What it has done since the reset: see embedding_controls.Controls.counters."""
        counters = self._call(None)
        statuses = counters["statuses"]
        return counters | {"statuses": {int(name): n for name, n in statuses.items()}}

    def close(self) -> None:
        """End the process."""
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _order(self, order: dict[str, Any]) -> None:
        self._call(json.dumps(order).encode())

    def _call(self, body: bytes | None) -> dict[str, Any]:
        with self._opener.open(self._control, body, timeout=30) as answer:
            counters: dict[str, Any] = json.load(answer)
            return counters


@pytest.fixture(scope="session")
def embedding_process() -> Iterator[EmbeddingServer]:
    """The server, started at its first use."""
    server = EmbeddingServer()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def embedding_server(embedding_process: EmbeddingServer) -> EmbeddingServer:
    """The server, as if it had just been started."""
    embedding_process.reset()
    return embedding_process
