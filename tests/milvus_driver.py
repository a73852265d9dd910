"""tests/c/milvus_driver.c as a Python object, and the rows and hits of it."""

from __future__ import annotations

import functools
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_c import ENVIRONMENT, build

CODES = [
    "OK",
    "NOMEM",
    "CONFIG",
    "STORE",
    "BUSY",
    "CLOSED",
    "TIMEOUT",
    "SERVICE",
    "INVALID",
]
Value = str | bytes | int | None


@dataclass(frozen=True)
class Row:
    """A row of the collection."""

    id: str
    vector: Sequence[float]
    wpk_id: str = "w"
    status: str = "completed"
    run_id: str = "r"
    created_at: int = 0

    def values(self) -> list[Value]:
        """As the driver takes it."""
        fields: list[Value] = [self.id, self.wpk_id, self.status, self.run_id]
        return [*fields, self.created_at, packed(self.vector)]


@dataclass(frozen=True)
class Hit:
    """A row that was found."""

    id: str
    score: float


@dataclass(frozen=True)
class Result:
    """What came of a call; code is the name of an rl_status."""

    code: str
    retryable: bool = False
    text: str = ""
    hits: list[Hit] = field(default_factory=list)

    def expect(self) -> list[Hit]:
        """The hits of a call that must have succeeded."""
        assert self.code == "OK", self
        return self.hits


def packed(vector: Sequence[float]) -> bytes:
    """A vector as float32, the lowest byte first."""
    return struct.pack(f"<{len(vector)}f", *vector)


def optional(text: str | None) -> str:
    """A text that may be left out, as the driver takes it."""
    return "" if text is None else f"+{text}"


class Driver:
    """A running driver."""

    collection = "workflow_runs"

    def __init__(self, program: Path, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT | (env or {}),
        )

    def call(self, *args: Value) -> bytes:
        """Run a command; return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        encoded = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        command = b"".join(struct.pack("<I", len(arg)) + arg for arg in encoded)
        self.process.stdin.write(struct.pack("<I", len(command)) + command)
        self.process.stdin.flush()
        head = self.process.stdout.read(4)
        assert len(head) == 4, f"the driver has ended with {self.process.wait(60)}"
        return self.process.stdout.read(*struct.unpack("<I", head))

    def end(self) -> None:
        """Have it end, with its memory freed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(60) == 0

    def result(self, *args: Value) -> Result:
        """Run a command of the client."""
        first, *lines = self.call(*args).decode().splitlines()
        hits = [Hit(hex_text(i), float.fromhex(s)) for s, i in map(str.split, lines)]
        code, _, rest = first.partition(" ")
        retryable, _, text = rest.partition(" ")
        return Result(CODES[int(code)], retryable == "1", text, hits)

    def open(
        self,
        endpoint: str,
        token: str | None = None,
        collection: str = "workflow_runs",
        *,
        strong: bool = True,
        timeout: float = 20,
    ) -> Result:
        """A client, instead of the one before."""
        millis = int(timeout * 1000)
        return self.result(
            "open", endpoint, optional(token), collection, int(strong), millis
        )

    def upsert(
        self, rows: Sequence[Row], *, attempts: int = 6, timeout: float = 60
    ) -> Result:
        """rl_milvus_upsert; the dimension is the first row's."""
        values = [value for row in rows for value in row.values()]
        dim = len(rows[0].vector) if rows else 2
        return self.result("upsert", attempts, int(timeout * 1000), dim, *values)

    def find(
        self,
        vector: Sequence[float],
        limit: int = 10,
        *,
        wpk_id: str | None = None,
        status: str | None = None,
        since: int | None = None,
        attempts: int = 6,
        timeout: float = 60,
    ) -> Result:
        """rl_milvus_find."""
        filters = [optional(wpk_id), optional(status), "" if since is None else since]
        end = int(timeout * 1000)
        return self.result("find", attempts, end, packed(vector), limit, *filters)

    def delete(
        self, ids: Sequence[str], *, attempts: int = 6, timeout: float = 60
    ) -> Result:
        """rl_milvus_delete."""
        return self.result("delete", attempts, int(timeout * 1000), *ids)


def hex_text(digits: str) -> str:
    """The text of bytes in hexadecimal."""
    return bytes.fromhex(digits).decode()


@functools.cache
def build_driver(library: Path) -> Path:
    """The driver's program, built at the first use."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return build("milvus_driver", library, monkeypatch)


@contextmanager
def running_driver(library: Path, env: dict[str, str] | None = None) -> Iterator[Driver]:
    """A driver for a while."""
    driver = Driver(build_driver(library), env)
    try:
        yield driver
    finally:
        driver.end()
