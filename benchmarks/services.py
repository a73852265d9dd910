"""An embedding server and a Milvus for one benchmark, on loopback, with real parts.

The embedding server is that of the tests (tests/embedding_server.py), with the weights of
all-MiniLM-L6-v2; Milvus is Milvus Lite. Both are processes of their own that end when the
benchmark does, in whatever way.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import ROOT

HOST = "127.0.0.1"
KEY = "sk-benchmark"
START_SECONDS = 60
STOP_SECONDS = 20

# As in pgserver.py: the shell stops the server when this end of the pipe is closed.
KEEPER = '"$@" & pid=$!; read -r _; kill -TERM $pid; wait $pid'


@dataclass
class Services:
    """Where the two servers are."""

    embedding_port: int
    milvus_port: int

    @property
    def embedding(self) -> dict[str, Any]:
        """Options of a recorder that embeds."""
        url = f"http://{HOST}:{self.embedding_port}/v1"
        return {"openai_key": KEY, "openai_base_url": url}

    @property
    def both(self) -> dict[str, Any]:
        """Options of a recorder that embeds and upserts."""
        endpoint = f"http://{HOST}:{self.milvus_port}"
        return {**self.embedding, "milvus_endpoint": endpoint}


@contextmanager
def embedding_server() -> Iterator[int]:
    """The embedding server's port."""
    script = ROOT / "tests" / "embedding_server.py"
    command = [sys.executable, str(script), "--until-eof", "--key", KEY]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # it would spin on every core
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    )
    try:
        if server.stdout is None or not (line := server.stdout.readline()):
            raise SystemExit("the embedding server did not start")
        yield int(json.loads(line)["port"])
    finally:
        end(server)


@contextmanager
def milvus_lite(folder: Path) -> Iterator[int]:
    """The port of a Milvus Lite whose data are in the folder."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    program = shutil.which("milvus-lite", path=str(Path(sys.executable).parent))
    if program is None:
        raise SystemExit("skipped: there is no milvus-lite: install the extra bench")
    command = ["/bin/sh", "-c", KEEPER, "keeper", program, "server"]
    command += ["--data-dir", str(folder), "--host", HOST, "--port", str(port)]
    log = folder.with_suffix(".log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    break
            if time.monotonic() > deadline or server.poll() is not None:
                text = log.read_text(encoding="utf-8", errors="replace")
                raise SystemExit(f"Milvus Lite did not start:\n{text}")
            time.sleep(0.05)
        yield port
    finally:
        end(server)


def end(server: "subprocess.Popen[bytes]") -> None:
    """Close our end of the pipe, and wait until the server has ended."""
    for pipe in (server.stdin, server.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def services(folder: Path) -> Iterator[Services]:
    """Both servers; Milvus keeps its data in the folder."""
    with embedding_server() as embedding, milvus_lite(folder / "milvus") as milvus:
        yield Services(embedding, milvus)
