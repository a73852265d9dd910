"""Which findings were posted: a file beside the history, so that each is posted once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from runlog.cli.errors import CommandError

_WORSE: Final = 1.5
"""A rate that is so many times what was posted is news."""
_MORE: Final = 2.0
"""So is a number of runs."""
_GONE: Final = 86_400.0
"""A finding that was away for so many seconds, and is back, is news."""
_KEPT: Final = 30 * 86_400.0
_RATES: Final = (
    "failure_rate",
    "lost",
    "slow",
    "retries",
    "tokens",
    "cost",
    "interruptions",
    "hidden_retries",
)
_NUMBERS: Final = (
    "new_failure",
    "returned_failure",
    "recursion_limit",
    "new_path",
    "loop",
)


class Posted:
    """What was posted from a history to a webhook.

    A finding is noted as being sent before it is sent, and as posted afterwards. If the
    process dies in between, nobody knows whether it arrived: it is sent again, with the
    same key and the mark `again`.
    """

    def __init__(self, path: str, target: str) -> None:
        """Read the file.

        Args:
            path: of the history, beside which the file is.
            target: names the history and the webhook; only a hash of it is stored.
        """
        self.path = f"{path}-watch"
        self._target = _hash(target)
        self._known: dict[str, dict[str, Any]] = {}
        self._read()

    def _read(self) -> None:
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise CommandError(
                f"{self.path} can't be read ({type(error).__name__}): delete it to have "
                "every finding posted again"
            ) from None
        if isinstance(found, dict):
            self._known = {
                str(key): one
                for key, one in found.items()
                if isinstance(one, dict) and {"key", "now", "seen", "done"} <= one.keys()
            }

    def news(self, finding: Any) -> tuple[str, bool] | None:
        """Whether a finding is to be posted, by its key and whether it may be there.

        Returns:
            None if it was posted before and has not changed.
        """
        at, known = time.time(), self._known.get(self._name(finding))
        if known is None:
            return self._key(finding, 0), False
        if not known["done"]:
            return known["key"], bool(known.get("unsure"))
        away = at - known["seen"] > _GONE
        known["seen"] = at
        if away or _is_worse(finding, known["now"]):
            return self._key(finding, known.get("times", 0) + 1), False
        return None

    def sending(self, finding: Any, key: str) -> None:
        """Note that a finding is about to be sent."""
        name = self._name(finding)
        before = self._known.get(name, {})
        times = before.get("times", -1) + (before.get("key") != key)
        self._known[name] = {
            "key": key,
            "times": times,
            "now": finding.now,
            "seen": time.time(),
            "done": False,
            "unsure": True,
        }
        self.save()

    def sent(self, finding: Any) -> None:
        """Note that it was posted."""
        self._known[self._name(finding)] |= {"done": True, "unsure": False}
        self.save()

    def refused(self, finding: Any) -> None:
        """Note that it has certainly not been taken: it is sent with the next report."""
        self._known[self._name(finding)]["unsure"] = False
        self.save()

    def save(self) -> None:
        """Write the file, as a whole or not at all."""
        oldest = time.time() - _KEPT
        self._known = {
            name: one for name, one in self._known.items() if one["seen"] >= oldest
        }
        fresh = f"{self.path}.new"
        try:
            with open(fresh, "w", encoding="utf-8") as file:
                json.dump(self._known, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except OSError as error:
            raise CommandError(
                f"{self.path} can't be written: {error.strerror}. Nothing is posted that "
                "can't be remembered"
            ) from None

    def _name(self, finding: Any) -> str:
        parts = (finding.kind, finding.workflow, finding.node or "", finding.about)
        return _hash("\0".join((self._target, *parts)))

    def _key(self, finding: Any, times: int) -> str:
        return _hash(f"{self._name(finding)} {times} {finding.since.isoformat()}")


def _hash(text: str) -> str:
    data = text.encode("utf-8", "replace")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _is_worse(finding: Any, before: float) -> bool:
    if finding.kind in _RATES:
        return bool(finding.now >= _WORSE * before)
    if finding.kind in _NUMBERS:
        return bool(finding.now >= _MORE * before)
    return False  # what only grows older is no news


@contextmanager
def alone(path: str) -> Iterator[None]:
    """Be the only one that posts from a history.

    Raises:
        CommandError: another process does, or the file can't be made.
    """
    name = f"{path}-watch-lock"
    try:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"{name} can't be made: {error.strerror}") from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(f"another runlog watch works with {name}") from None
        yield
    finally:
        os.close(file)
