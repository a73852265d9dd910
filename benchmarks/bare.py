"""Builds the C programs that runlog is compared with, gives them rows, and runs them.

runlog itself wrote these rows into a SQLite file. So both sides store the same bytes, in
the order in which the statement of src/store binds them.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from struct import pack
from typing import Any

from common import BUILD, ROOT

PACKAGES = {
    "bare_sqlite": ("sqlite3", "-lsqlite3"),
    "bare_libpq": ("libpq", "-lpq"),
}
COLUMNS = re.compile(r"INSERT INTO \w+(?: AS \w+)? ?\(([^)]*)\)")
COMPUTED = {"seq"}  # by the statement itself
NOT_OWN = "0 AS own"  # of log_run's: the last parameter, where it is no column
# PostgreSQL's binary form of a time: microseconds since then.
PG_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
TIMES = {"started_at", "created_at", "updated_at"}
INTEGERS = {"duration_ms": ">i", "revision": ">q", NOT_OWN: ">?"}


def _pkg_config(option: str, package: str, fallback: list[str]) -> list[str]:
    try:
        done = subprocess.run(
            ["pkg-config", option, package], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return fallback
    return done.stdout.split()


def build_core() -> Path:
    """Compile runlog's C core as the extension links it; return the library."""
    folder = BUILD / "core"
    command = [sys.executable, "setup.py", "-q", "build_clib"]
    command += ["--build-clib", str(folder), "--build-temp", str(folder / "objects")]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return folder / "librunlog_core.a"


def build(name: str, *libraries: str | Path) -> Path:
    """Compile <name>.c with the system's C compiler; return the program."""
    package, link = PACKAGES.get(name, (None, None))
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / name
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = [
        *(compiler.split() if shutil.which(compiler.split()[0]) else ["cc"]),
        *("-std=c11", "-O2", "-Wall", "-Wextra", f"-I{ROOT / 'src'}"),
        *(_pkg_config("--cflags", package, []) if package else []),
        *(str(Path(__file__).with_name(f"{name}.c")), "-o", str(program)),
        *(str(library) for library in libraries),
        *(_pkg_config("--libs", package, [link]) if package and link else []),
    ]
    subprocess.run(command, check=True)
    return program


def run(program: Path, *arguments: object) -> dict[str, Any]:
    """Run a program once; return its output."""
    command = [str(program), *(str(argument) for argument in arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip() or f"{program.name}: {done.returncode}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def bound_columns(program: Path, *arguments: str) -> list[str]:
    """The values that the program's statement binds, in order, as columns of a SELECT."""
    command = [str(program), *arguments, "--sql"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    match = COLUMNS.search(done.stdout)
    if match is None:
        raise SystemExit(f"the statement of {program.name} names no columns")
    named = [name.strip() for name in match[1].split(",")]
    columns = [name for name in named if name not in COMPUTED]
    return columns if "own" in columns else [*columns, NOT_OWN]


def stored_rows(path: Path, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The rows of a table in a SQLite file, in the order of their insertion."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(
            f"SELECT {', '.join(columns)} FROM {table} ORDER BY rowid"
        ).fetchall()


def for_libpq(
    columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> Iterator[list[Any]]:
    """The rows of a SQLite file, with values in binary form where runlog uses it."""

    def convert(column: str, value: Any) -> Any:
        if value is None:
            return None
        if column == "id":
            return uuid.UUID(value).bytes
        if column in TIMES:
            since = datetime.fromisoformat(value) - PG_EPOCH
            return pack(">q", since // timedelta(microseconds=1))
        return pack(INTEGERS[column], value) if column in INTEGERS else value

    for row in rows:
        yield [convert(c, value) for c, value in zip(columns, row, strict=True)]


def _field(value: Any) -> bytes:
    """One value as bare.h reads it."""
    if value is None:
        kind, data = b"n", b""
    elif isinstance(value, int):
        kind, data = b"i", pack("=q", value)
    elif isinstance(value, float):
        kind, data = b"f", pack("=d", value)
    elif isinstance(value, str):
        kind, data = b"t", value.encode()
    else:
        kind, data = b"b", bytes(value)
    return kind + pack("=I", len(data)) + data + b"\0"


def write_rows(target: Path, rows: Iterable[Sequence[Any]]) -> None:
    """The file of rows that a program reads."""
    with target.open("wb") as out:
        for row in rows:
            out.write(b"".join(_field(value) for value in row))
