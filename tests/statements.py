"""What a database executes for runlog: the statements, their plans and what they read.

Both recorders get the statements from the database itself: from SQLite's trace of all
connections of this process, and from PostgreSQL's auto_explain.
"""

from __future__ import annotations

import ctypes
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fixtures_postgres import PostgresServer

_LIMIT = re.compile(r"LIMIT '(\d+)'(?: OFFSET '(\d+)')?$")


@dataclass
class Statement:
    """A statement that was executed."""

    sql: str
    """With parameters on PostgreSQL, with their values on SQLite."""
    read: int
    """SQLite: instructions of its virtual machine. PostgreSQL: rows and index entries
    that scans have met, also those that a filter removed."""
    plan: list[str]
    """A line for each table, index and sort."""
    wanted: int | None = None
    """SQLite: the limit and the offset together; None without a limit."""

    def indexes(self) -> list[str]:
        """The indexes of the plan."""
        found = re.findall(r"INDEX (\w+)", "\n".join(self.plan))
        return list(dict.fromkeys(found))


# SQLite

_PROFILE = 2  # SQLITE_TRACE_PROFILE
_VM_STEP = 4  # SQLITE_STMTSTATUS_VM_STEP
_OF_RUNS = re.compile(
    r"(?:SELECT|WITH|UPDATE|DELETE)\b.*\b(?:workflow_runs|run_)", re.DOTALL
)
_TRACER = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)
_OPENED = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)


def _library() -> ctypes.CDLL:
    """The SQLite that this process has loaded for runlog."""
    library = ctypes.CDLL("libsqlite3.so.0")
    for name in ("sqlite3_sql", "sqlite3_expanded_sql"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_void_p
    library.sqlite3_free.argtypes = [ctypes.c_void_p]
    library.sqlite3_db_handle.argtypes = [ctypes.c_void_p]
    library.sqlite3_db_handle.restype = ctypes.c_void_p
    library.sqlite3_stmt_status.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    library.sqlite3_trace_v2.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint,
        _TRACER,
        ctypes.c_void_p,
    ]
    return library


@dataclass
class SQLiteStatements:
    """Those of the connections that are opened within `traced`."""

    path: str
    _done: list[tuple[str, str, int]] = field(default_factory=list)
    _plans: dict[str, list[str]] = field(default_factory=dict)

    def take(self) -> list[Statement]:
        """The statements on runlog's tables since the last call."""
        done, self._done[:] = list(self._done), []
        with closing(sqlite3.connect(self.path)) as connection:
            return [
                Statement(full, steps, self._plan(connection, sql), _wanted(full))
                for sql, full, steps in done
                if _OF_RUNS.match(sql)
            ]

    def _plan(self, connection: sqlite3.Connection, sql: str) -> list[str]:
        if sql not in self._plans:
            count = len(set(re.findall(r"\?\d+", sql)))
            rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * count)
            self._plans[sql] = [row[-1] for row in rows]
        return self._plans[sql]


def _wanted(sql: str) -> int | None:
    found = _LIMIT.search(sql)
    return int(found[1]) + int(found[2] or 0) if found else None


@contextmanager
def traced(
    path: str, done: Callable[[str], object] = lambda _: None
) -> Iterator[SQLiteStatements]:
    """Have SQLite tell what is executed on connections that are opened within.

    Args:
        path: the file.
        done: called with each statement, when it has ended, in its thread.
    """
    library = _library()
    found = SQLiteStatements(path)

    def trace(_event: int, _context: Any, statement: Any, _nanoseconds: Any) -> int:
        full = library.sqlite3_expanded_sql(statement)
        plain = ctypes.string_at(library.sqlite3_sql(statement)).decode()
        steps = library.sqlite3_stmt_status(statement, _VM_STEP, 1)
        found._done.append((plain, ctypes.string_at(full).decode(), steps))
        library.sqlite3_free(full)
        done(plain)
        return 0

    def opened(connection: Any, _message: Any, _routines: Any) -> int:
        return int(library.sqlite3_trace_v2(connection, _PROFILE, tracer, None))

    tracer, opener = _TRACER(trace), _OPENED(opened)
    library.sqlite3_auto_extension(opener)
    try:
        yield found
    finally:
        library.sqlite3_cancel_auto_extension(opener)


# PostgreSQL

_ENTRY = re.compile(
    r"^\S+ \S+ \S+ \[\d+\] (\S+) LOG:  duration: [\d.]+ ms  plan:\n((?:\t.*\n)+)",
    re.MULTILINE,
)


@dataclass
class PostgresStatements:
    """Those of one database of a server."""

    server: PostgresServer
    database: str
    _read: int = 0

    def take(self) -> list[Statement]:
        """The statements since the last call."""
        with Path(self.server.log).open(encoding="utf-8") as file:
            file.seek(self._read)
            text = file.read()
            self._read = file.tell()
        return [
            _statement(json.loads(plan.replace("\n\t", "\n")))
            for database, plan in _ENTRY.findall(text)
            if database == self.database
        ]


def _statement(entry: dict[str, Any]) -> Statement:
    done = Statement(entry["Query Text"], 0, [])
    _walk(entry["Plan"], done)
    return done


def _walk(node: dict[str, Any], done: Statement) -> None:
    kind, index = node["Node Type"], node.get("Index Name")
    table = node.get("Relation Name")
    loops = node["Actual Loops"]
    if index is not None or table is not None:
        read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        read += node.get("Rows Removed by Index Recheck", 0)
        done.read += round(read * loops)
        done.plan.append(
            f"{kind} {table or ''} {f'INDEX {index}' if index else ''}".strip()
        )
    elif "Sort" in kind:
        done.plan.append(f"{kind} of {node['Actual Rows']}")
    for child in node.get("Plans", []):
        _walk(child, done)


EXPLAINED = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
}


@contextmanager
def explained(server: PostgresServer, database: str) -> Iterator[PostgresStatements]:
    """Have a server tell what is executed by sessions of a database that begin within."""
    for name, value in EXPLAINED.items():
        server.query(f"ALTER DATABASE {database} SET {name} = '{value}'")
    try:
        yield PostgresStatements(server, database, Path(server.log).stat().st_size)
    finally:
        server.query(f"ALTER DATABASE {database} RESET ALL")
