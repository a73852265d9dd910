"""The SQL files that make and change runlog's tables, installed as `runlog.migrations`.

The files for PostgreSQL lie beside this one, those for SQLite in sqlite/, with the same
numbers. Those in pgvector/ and distributed/, with numbers of their own, are for a
PostgreSQL that has the extension vector, and for a Citus cluster. The extension loads
them when it first opens a database, but for those of a cluster, which `runlog migrate
--distributed` applies.
"""

import hashlib
import os

_FOLDERS = {
    "postgres": "",
    "sqlite": "sqlite",
    "pgvector": "pgvector",
    "distributed": "distributed",
}


def load(dialect: str, directory: str | None = None) -> list[tuple[int, str, str, str]]:
    """Read the migrations of a database.

    Args:
        dialect: "postgres", "sqlite", "pgvector" or "distributed".
        directory: the folder of the files, instead of the installed one.

    Returns:
        (number, file name, SQL text, SHA-256 of the file's bytes in hex), by number.

    Raises:
        RuntimeError: a file is not named NNN_name.sql, or the numbers are not 1, 2, ...
    """
    if dialect not in _FOLDERS:
        known = ", ".join(map(repr, _FOLDERS))
        raise ValueError(f"dialect must be one of {known}, not {dialect!r}")
    if directory is None:
        directory = os.path.join(os.path.dirname(__file__), _FOLDERS[dialect])
    found: list[tuple[int, str, str, str]] = []
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".sql"):
            continue
        path = os.path.join(directory, name)
        digits, underscore, rest = name[:3], name[3:4], name[4:-4]
        if not (digits.isascii() and digits.isdigit() and underscore == "_" and rest):
            raise RuntimeError(f"migration {path} is not named NNN_name.sql")
        number = int(digits)
        if number != len(found) + 1:
            raise RuntimeError(f"migration {path} should have number {len(found) + 1:03}")
        with open(path, "rb") as file:
            data = file.read()
        checksum = hashlib.sha256(data).hexdigest()
        found.append((number, name, data.decode("utf-8"), checksum))
    if not found:
        raise RuntimeError(f"there are no migrations in {directory}")
    return found
