"""How far long work is: a line on a terminal that is written again, nothing in a pipe."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

_EVERY = 0.1
_SECOND = 1.0


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
        self._wide = _rewrite(self._stream, text, self._wide)

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


class Waiting:
    """Shows on stderr for how many seconds one step has been going on, which can't say
    how far it is. Nothing is shown in the first second.

    Args:
        what: what is waited for, such as "applying 3 migrations".
        stream: by default stderr.
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = sys.stderr if stream is None else stream
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def _tell(self) -> None:
        began, wide = time.monotonic(), 0
        while not self._done.wait(_SECOND):
            text = f"{self._what}, {time.monotonic() - began:,.0f} s"
            wide = _rewrite(self._stream, text, wide)
        if wide:
            _rewrite(self._stream, "", wide)

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()


def _rewrite(stream: TextIO, text: str, wide: int) -> int:
    """Write over a line that is `wide` columns long; return how long it is now."""
    stream.write("\r" + text.ljust(wide) + ("" if text else "\r"))
    stream.flush()
    return len(text)
