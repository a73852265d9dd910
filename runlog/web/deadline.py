"""HTTP/1.1 with a deadline for requests: who sends one for ever has no connection.

uvicorn has none, and refuses everybody while as many are open as it takes.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_SECONDS: Final = {h11.IDLE: 10.0, h11.SEND_BODY: 30.0}
"""How long the head of a request may take from its first byte, or from the connection,
and then its body. An answer may take any time."""


class DeadlineProtocol(H11Protocol):
    """A connection that is closed if a request does not arrive in time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._awaited: Any = None
        """The part of a request that is awaited, as the state of the client in h11."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, and wait for the next one, if there is any."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """Begin to wait for a part of a request, unless it is awaited already."""
        state = self.conn.their_state
        if state is not self._awaited:
            self._stop()
            self._awaited = state
            if state in _SECONDS:
                self._timer = self.loop.call_later(_SECONDS[state], self.transport.abort)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
