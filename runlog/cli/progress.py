"""How far long work is: a line on a terminal that is written again, nothing in a pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

_EVERY = 0.1


class Progress:
    """Counts what was done, and shows the number on stderr while the work goes on.

    Args:
        what: what is counted, such as "runs exported".
        stream: by default stderr.
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = sys.stderr if stream is None else stream
        self._shows = self._stream.isatty()
        self._began = self._last = time.monotonic()
        self._wide = 0
        self.number = 0

    def add(self, number: int = 1) -> None:
        """Count so many more."""
        self.number += number
        if not self._shows:
            return
        now = time.monotonic()
        if now - self._last >= _EVERY:
            self._last = now
            rate = self.number / (now - self._began)
            self._show(f"{self.number:,} {self._what}, {rate:,.0f} a second")

    def _show(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._wide) + ("" if text else "\r"))
        self._stream.flush()
        self._wide = len(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._wide:
            self._show("")
