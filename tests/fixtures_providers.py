"""A server of models for the real clients. Of a client much is made once for each address
that it asks, so all tests of a process share one server.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from provider_server import ProviderServer


@pytest.fixture(scope="session")
def model_server() -> Iterator[ProviderServer]:
    server = ProviderServer()
    yield server
    server.stop()


@pytest.fixture
def provider(model_server: ProviderServer) -> ProviderServer:
    """A server that answers as OpenAI and Anthropic do, by the test's script."""
    model_server.reset()
    return model_server
