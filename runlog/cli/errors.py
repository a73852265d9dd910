"""What ends a command early, with the exit code that it means."""

from __future__ import annotations

import re

from runlog.reading.errors import (
    AwayError,
    ReadingError,
    UnknownRunError,
    WrongUsageError,
)

__all__ = [
    "AWAY",
    "DONE",
    "FAULT",
    "STOPPED",
    "WRONG",
    "AwayError",
    "CommandError",
    "UnknownRunError",
    "WrongUsageError",
    "describe",
]

DONE, FAULT, WRONG, AWAY, STOPPED = 0, 1, 2, 3, 130
"""The exit codes: done, a fault, wrong usage or an unknown name, the store is out of
reach, Ctrl-C."""


class CommandError(ReadingError):
    """Ends the command with one line on stderr, or several that list what there is."""


def describe(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the message for an exception.

    Args:
        error: any exception but those that end the process.
    """
    import runlog

    said = " ".join(str(error).split())
    if isinstance(error, ReadingError):
        return _code_of(error), _without_passwords(str(error))
    if isinstance(error, (runlog.ValidationError, runlog.ConfigError)):
        return WRONG, said
    if isinstance(error, (runlog.StoreError, runlog.ServiceError)):
        return AWAY, said
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{error.filename}: "
        return FAULT, f"{name}{error.strerror}"
    if isinstance(error, MemoryError):
        return FAULT, said or "out of memory"
    return FAULT, f"{type(error).__name__}: {said}"


def _without_passwords(said: str) -> str:
    """The text without those that an argument in the wrong place may have had."""
    said = re.sub(r"(://[^\s/@:]*:)[^\s@]*@", r"\1***@", said)
    return re.sub(r"(?i)(\bpassword\s*=\s*)(\\?'[^']*'|[^\s'\"&]+)", r"\1***", said)


def _code_of(error: ReadingError) -> int:
    if isinstance(error, WrongUsageError):
        return WRONG
    return AWAY if isinstance(error, AwayError) else FAULT
