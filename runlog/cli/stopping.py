"""Ctrl-C that lets a piece of work end: the line that is being written stays whole."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Stopping:
    """While it is open, the first Ctrl-C only sets `asked`; the second ends the work."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def _ask(self, *_: int | FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if callable(self._before):  # else it is ignored, or Python's own is not in use
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if callable(self._before):
            signal.signal(signal.SIGINT, self._before)
