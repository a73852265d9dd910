"""Lines of source files, read for tracebacks at little cost.

Not linecache: it reads and keeps whole files, of any size.
"""

from __future__ import annotations

import linecache
import os
import stat
from pathlib import Path

_READ = 4 << 20  # bytes that one traceback may read
_CHUNK = 1 << 16
_LONG = 1024  # characters: longer lines are not remembered
_REMEMBERED = 1024

_remembered: dict[tuple[str, int, int], str] = {}


class SourceLines:
    """The lines that one traceback shows."""

    def __init__(self) -> None:
        self._left = _READ
        self._versions: dict[str, int] = {}

    def get(self, file: str, number: int) -> str:
        """A line without its indentation; "" if there is none, or it can't be read.

        Args:
            file: the name of the file, as code objects have it.
            number: of the line, from 1.

        Returns:
            The line; of a very long one the beginning, of some 64 KiB.
        """
        place = (file, number, self._version(file))
        line = _remembered.get(place)
        if line is None:
            line = self._find(file, number)
            if len(line) <= _LONG and self._left > 0:
                if len(_remembered) >= _REMEMBERED:
                    _remembered.clear()
                _remembered[place] = line
        return line

    def _version(self, file: str) -> int:
        """When the file was written: a module may have been reloaded."""
        version = self._versions.get(file)
        if version is None:
            try:
                version = 0 if file.startswith("<") else Path(file).stat().st_mtime_ns
            except (OSError, ValueError):
                version = 0
            self._versions[file] = version
        return version

    def _find(self, file: str, number: int) -> str:
        if not file.startswith("<"):
            try:
                return self._read(file, number).decode("utf-8", "replace").strip()
            except (OSError, ValueError):
                pass  # it is gone, is no file, or its name has a NUL
        return _interactive(file, number)

    def _read(self, file: str, number: int) -> bytes:
        # a name of the program's may be that of a pipe or a device
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        handle = os.open(file, flags)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError("no file")
            return self._line(handle, number - 1)
        finally:
            os.close(handle)

    def _line(self, handle: int, skip: int) -> bytes:
        """The line after so many others, from a file that is at its beginning."""
        rest = self._more(handle)
        while rest and (count := rest.count(b"\n")) < skip:
            skip -= count
            rest = self._more(handle)
        lines = rest.split(b"\n", skip + 1)
        if len(lines) <= skip:
            return b""
        if len(lines) == skip + 1:  # it goes on in the next chunk
            return lines[skip] + self._more(handle).split(b"\n", 1)[0]
        return lines[skip]

    def _more(self, handle: int) -> bytes:
        chunk = os.read(handle, min(_CHUNK, self._left))
        self._left -= len(chunk)
        return chunk


def _interactive(file: str, number: int) -> str:
    """A line that a notebook or an interpreter has given to linecache."""
    entry = linecache.cache.get(file)
    lines = entry[2] if entry is not None and len(entry) == 4 else []
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""
