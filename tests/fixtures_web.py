"""The page on a real server of its own, on the store of a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fixtures_store import Store
from helpers import until

from runlog.web import app


class Page:
    """A server in a thread, and a client."""

    def __init__(self, application: Any) -> None:
        self.application = application
        config = uvicorn.Config(
            application,
            port=0,
            http="h11",
            ws="none",
            log_level="warning",
            timeout_graceful_shutdown=3,
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()
        until(lambda: self.server.started or not self._thread.is_alive())
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def get(self, path: str = "/", **params: Any) -> httpx.Response:
        """Ask for a page."""
        return self.client.get(path, params=params or None)

    def text(self, path: str = "/", **params: Any) -> str:
        """The text of a page, which has to be there."""
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.text

    def close(self) -> None:
        """End the server, and wait for that."""
        self.client.close()
        self.server.should_exit = True
        self._thread.join()


@pytest.fixture
def page(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """The page on the store, which it opens as `runlog serve` does."""
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    made = Page(app())
    yield made
    made.close()
