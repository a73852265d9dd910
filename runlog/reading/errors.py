"""What ends a look at the history early."""

from __future__ import annotations


class ReadingError(Exception):
    """Ends what was asked for, with one line for people, or several that list things."""


class WrongUsageError(ReadingError):
    """An argument is wrong, or names what does not exist."""


class UnknownRunError(WrongUsageError):
    """No run has this name, or begins so."""


class AwayError(ReadingError):
    """The store is out of reach, or holds no history."""
