"""The servers of the torture tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fixtures_postgres import PostgresServer, running
from torture.clusters import TlsServer
from torture.programs import end_programs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Many programs begin at once, so the first of them makes the tables."""
    for item in items:
        if item.path.parent.name == "torture":
            item.add_marker("no_tables")


@pytest.fixture(autouse=True)
def no_program_is_left() -> Iterator[None]:
    """End the programs that a test has started, however it ends."""
    yield
    end_programs()


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that a module's tests may stop and start again."""
    yield from running(PostgresServer())


@pytest.fixture(scope="module")
def tls_server() -> Iterator[TlsServer]:
    """A server that accepts TLS only."""
    yield from running(TlsServer())
