"""Where the history is, and what is there, found out without changing anything.

A recorder creates what is missing at its first use, so a command that reads looks first.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Any, NamedTuple

from runlog.reading.errors import AwayError, WrongUsageError

_MAGIC = b"SQLite format 3\0"
_SECONDS = 5.0
_APPLIED = "SELECT number, checksum FROM runlog_migrations ORDER BY number"
_ANYTHING = "SELECT name FROM sqlite_master LIMIT 1"
_IS_LARGE = "SELECT 1 FROM workflow_runs WHERE rowid > 20000 LIMIT 1"
_DAMAGED = (11, 26)
"""SQLITE_CORRUPT, and SQLITE_NOTADB for what begins as a database does."""
_FILES = (
    "",
    "-wal",
    "-shm",
    "-journal",
    "-beside",
    "-beside-wal",
    "-beside-shm",
    "-pushed",
    "-pushed-lock",
    "-watch",
    "-watch-lock",
)
"""How the names end of a SQLite file and of what runlog and SQLite keep beside it."""
_SERVER = re.compile(r"\s*(postgres(?:ql)?://)", re.IGNORECASE)
_URL = re.compile(r"\s*[a-z][a-z0-9+.:-]*:/|[^/]*:[^/]*@", re.IGNORECASE)
_PAIR = re.compile(r"(?:^|\s)[a-z_]+\s*=", re.IGNORECASE)
_PATH = re.compile(r"\.{0,2}/|~")
_INDEXES = "-- Indexes only.\n"
"""How migrations begin that a recorder leaves to `runlog migrate apply`, if there are
many runs: src/store/migrate.h."""


class Place(NamedTuple):
    """A SQLite file, or a PostgreSQL database with a journal."""

    path: str
    """The SQLite file; with PostgreSQL the journal."""
    dsn: str | None
    chosen: str
    """What named it: a variable, an option, or "default"."""
    read_dsn: str | None = None
    """Of a replica of the database, at which it is read."""

    @property
    def kind(self) -> str:
        """Either "sqlite" or "postgres"."""
        return "sqlite" if self.dsn is None else "postgres"

    def shown(self) -> str:
        """The place as text, without credentials."""
        if self.dsn is None:
            return self.path
        from runlog import StoreError, _runlog

        try:
            return _runlog.describe_dsn(self.dsn)
        except StoreError:
            return "PostgreSQL (POSTGRES_DSN can't be parsed)"


def find(db: str | None = None) -> Place:
    """Return the place that an option or the environment names.

    Args:
        db: path of a SQLite file, or a URI or keywords and values of PostgreSQL.

    Raises:
        WrongUsageError: what should be a file looks like the address of a database.
    """
    dsn = _dsn_of(db) if db else None
    if db is not None and dsn is None:
        return Place(file_of(db, "--db"), None, "--db")
    given = os.environ.get("RUNLOG_SQLITE_PATH")
    chosen = "RUNLOG_SQLITE_PATH" if given else "default"
    path = file_of(given or "test_runs.db", chosen)
    if dsn is not None:
        return Place(path, dsn, "--db")
    dsn = os.environ.get("POSTGRES_DSN") or None
    chosen = chosen if dsn is None else "POSTGRES_DSN"
    replica = os.environ.get("POSTGRES_READ_DSN") or None
    return Place(path, dsn, chosen, replica)


def _dsn_of(text: str) -> str | None:
    """The text as libpq takes it, if it names a database of PostgreSQL."""
    if scheme := _SERVER.match(text):
        return scheme[1].lower() + text[scheme.end() :]
    if _PATH.match(text) or _URL.match(text) or not _PAIR.search(text):
        return None
    from runlog import StoreError, _runlog

    try:
        _runlog.describe_dsn(text)
    except StoreError:
        return None
    return text


def file_of(text: str, what: str) -> str:
    """Return the whole path of a file that somebody has named.

    Raises:
        WrongUsageError: see check_name.
    """
    check_name(text, what)
    return _full(text)


def check_name(text: str, what: str) -> None:
    """Make sure that the name of a file is not the address of a database.

    Args:
        text: the name.
        what: what it was given as, such as "--db".

    Raises:
        WrongUsageError: it looks like one. It is not quoted, as it may have a password.
    """
    if not _PATH.match(text) and (_URL.match(text) or _PAIR.search(text)):
        raise WrongUsageError(
            f"{what} looks like an address, and no file has it: PostgreSQL's is "
            "postgresql://... in --db or POSTGRES_DSN; a file's name may begin with ./"
        )


def _full(path: str) -> str:
    if path == "~" or path.startswith("~/"):
        path = os.path.expanduser(path)
    try:
        return os.path.realpath(path)
    except FileNotFoundError:  # of the folder that a relative path begins in
        raise AwayError(
            f"this folder was deleted, so {path} can't be found: change to another one"
        ) from None


def applied(place: Place) -> list[tuple[int, str]] | None:
    """Return the migrations that a history has, as (number, checksum).

    Returns:
        The migrations; None if there is a database without a history.

    Raises:
        AwayError: there is nothing, or it is out of reach.
    """
    if place.dsn is not None:
        found = _look_at_either(place.dsn, place.read_dsn)["migrations"]
        return None if found is None else [(number, sum_) for number, sum_ in found]
    return _applied_in_file(place.path)


def look(dsn: str) -> dict[str, Any]:
    """Return what a PostgreSQL database is: see look_at_postgres in _runlog.pyi.

    Raises:
        AwayError: it is out of reach.
    """
    import json

    from runlog import StoreError, _runlog

    try:
        found: dict[str, Any] = json.loads(_runlog.look_at_postgres(dsn, _SECONDS))
    except StoreError as error:
        raise AwayError(" ".join(str(error).split())) from None
    return found


def _look_at_either(dsn: str, replica: str | None) -> dict[str, Any]:
    """Look at a database; at its replica if it is out of reach."""
    try:
        return look(dsn)
    except AwayError:
        if replica is None:
            raise
        with suppress(AwayError):
            return look(replica)
        raise


def is_of_others(place: Place) -> bool:
    """Whether a SQLite file has tables of another program, and none of runlog's."""
    return (
        place.dsn is None and not applied(place) and bool(_in_file(place.path, _ANYTHING))
    )


def is_large(place: Place) -> bool:
    """Whether a history has so many runs that a recorder builds no indexes of them.

    Raises:
        AwayError: it is out of reach.
    """
    if place.dsn is not None:
        return bool(look(place.dsn)["database"]["large"])
    return bool(_in_file(place.path, _IS_LARGE))


def _applied_in_file(path: str) -> list[tuple[int, str]] | None:
    try:
        with open(path, "rb") as file:
            head = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise AwayError(f"there is no history at {path}") from None
    except OSError as error:
        raise AwayError(f"{path} can't be read: {error.strerror}") from None
    if not head:
        return None
    if head != _MAGIC:
        raise AwayError(f"{path} is no history: it is no SQLite file")
    return _in_file(path, _APPLIED)


def _in_file(path: str, sql: str) -> list[Any] | None:
    """The rows of a query; None if there are none, or it can't be executed.

    Raises:
        AwayError: the file is damaged.
    """
    # Reading the WAL may create a -shm, so it is read only if there is something in it.
    ways = ["immutable=1"]
    with suppress(OSError):
        if os.stat(f"{path}-wal").st_size:
            ways.insert(0, "mode=ro")
    damage: AwayError | None = None
    for way in ways:
        try:
            if rows := _read_file(path, way, sql):
                return rows
        except AwayError as error:
            damage = error
    if damage is not None:
        raise damage
    return None


def _read_file(path: str, how: str, sql: str) -> list[Any] | None:
    """The rows of a query; None if it can't be executed.

    Raises:
        AwayError: the file is damaged.
    """
    import sqlite3

    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        connection = sqlite3.connect(f"file:{quoted}?{how}", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise AwayError(
                f"{path} is damaged ({error}): restore it from a backup, or save what "
                "can be read of it by sqlite3 FILE .recover"
            ) from None
        return None


def known(kind: str) -> list[tuple[int, str, str]]:
    """Return the migrations of this version: (number, file name, checksum)."""
    from runlog import migrations

    return [(number, name, sum_) for number, name, _, sum_ in migrations.load(kind)]


def later(kind: str) -> dict[int, int]:
    """Return the migrations of indexes alone: how many indexes each number builds."""
    from runlog import migrations

    return {
        number: sql.count("CREATE INDEX")
        for number, _, sql, _ in migrations.load(kind)
        if sql.startswith(_INDEXES)
    }


def check(place: Place) -> None:
    """Make sure that a history can be read as it is.

    Raises:
        AwayError: there is none, it is out of reach, or its tables are of another
            version of runlog.
    """
    there = applied(place)
    shown = place.shown()
    if not there:
        what = "has no history yet" if place.dsn else "is no history"
        raise AwayError(f"{shown} {what}")
    ours = known(place.kind)
    newest = there[-1][0]
    if newest > len(ours):
        raise AwayError(
            f"{shown} was made by a newer runlog (migration {newest}; this one knows "
            f"{len(ours)}): update runlog"
        )
    checksums = {number: sum_ for number, _, sum_ in ours}
    if any(checksums[number] != sum_ for number, sum_ in there):
        raise AwayError(
            f"{shown} has other migrations than this runlog: see runlog migrate status"
        )
    missing = set(checksums) - {number for number, _ in there}
    if missing and not (missing <= set(later(place.kind)) and is_large(place)):
        raise AwayError(
            f"{shown} is of an older runlog (migration {min(missing) - 1} of "
            f"{len(ours)}): run runlog migrate apply"
        )
    if place.dsn is None and not _may_write(place.path):
        raise AwayError(
            f"{shown} may only be read by this user, and SQLite writes beside a file "
            "that it reads: copy it, or give the right to write the file and its folder"
        )


def _may_write(path: str) -> bool:
    """Whether this user may write a SQLite file, and what SQLite needs beside it.

    Another process may create or delete what is beside it at any moment: between the
    looks at one, it may have come or gone.
    """
    folder = os.path.dirname(path)
    return os.access(path, os.W_OK) and all(
        os.access(one, os.W_OK)
        or (not os.path.lexists(one) and os.access(folder, os.W_OK))
        or os.access(one, os.W_OK)
        for one in (f"{path}-wal", f"{path}-shm")
    )


def is_there(path: str) -> bool:
    """Whether there is anything at a path, also what can't be read."""
    return os.path.lexists(path)


def file_size(path: str) -> int | None:
    """The bytes of a SQLite file and of those beside it; None if there is none."""
    try:
        found = os.stat(path).st_size
    except OSError:
        return None
    for end in ("-wal", "-shm", "-beside"):
        with suppress(OSError):
            found += os.stat(path + end).st_size
    return found


def is_part(path: str, name: str) -> bool:
    """Whether a name is that of a SQLite file, or of one that belongs to it.

    Args:
        path: of the SQLite file, which need not exist.
        name: of any file, also a link.
    """
    real = os.path.realpath(name)
    for part in (path + end for end in _FILES):
        if real == os.path.realpath(part):
            return True
        with suppress(OSError):
            if os.path.samefile(name, part):
                return True
    return False


def open_recorder(
    place: Place, search: bool = False, create: bool = False, **more: Any
) -> Any:
    """Return a recorder for reading. It does not fill the index of words, nor embed.

    Args:
        place: where the history is; `check` has been called.
        search: whether searches by meaning are wanted, for which a text is embedded.
        create: whether a SQLite file that is not there, or is deleted later, is made.
        more: further options of the recorder.
    """
    from runlog import Recorder

    options: dict[str, Any] = {
        "sqlite_path": place.path,
        "postgres_dsn": place.dsn or "",  # not that of the environment
        "words": False,  # no thread that fills the index
    }
    if place.read_dsn is not None:
        options["read_dsn"] = place.read_dsn
    if not search:
        options |= {"openai_key": "", "milvus_endpoint": ""}
    made = Recorder(**{**options, **more})
    if not create:
        made._open_existing()  # noqa: SLF001 - ours
    return made
