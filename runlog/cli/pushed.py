"""What push has sent of a file, in a small file beside it."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from runlog.cli import jsonl

_SLACK: Final = timedelta(hours=1)
"""A run may reach the file so long after its updated_at: it waited beside the file."""


class Pushed:
    """How far the runs of a file have reached a target.

    Runs are sent newest first. The file has the time at which the last push that ended
    began, by which runs were sent that have not been written since; and that of a push
    which has not ended, with the cursor that it has reached.

    Args:
        source: path of the runs' file.
        target: what names the target, without credentials.
    """

    def __init__(self, source: str, target: str) -> None:
        self.path = f"{source}-pushed"
        self._target = target
        self._began = datetime.now(UTC)
        mine = self._read().get(target)
        mine = mine if type(mine) is dict else {}
        self._until = _time(mine.get("until"))
        self.after: str | None = None
        """The cursor of a push that has not ended."""
        begun, after = _time(mine.get("began")), mine.get("after")
        if begun is not None and type(after) is str:
            self._began, self.after = begun, after

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.path, "rb") as file:
                found = json.loads(file.read(1 << 20))
        except (OSError, ValueError):
            return {}
        return found if type(found) is dict else {}

    def forget(self) -> None:
        """Forget what was sent."""
        self._until = self.after = None
        self._began = datetime.now(UTC)

    def has(self, written: datetime) -> bool:
        """Whether a run that was last written at that time was sent."""
        return self._until is not None and written < self._until - _SLACK

    def reach(self, cursor: str) -> bool:
        """Remember that all runs up to a cursor are sent; whether that was possible."""
        self.after = cursor
        return self._write(
            {
                "until": self._until and jsonl.stamp(self._until),
                "began": jsonl.stamp(self._began),
                "after": cursor,
            }
        )

    def finish(self) -> bool:
        """Remember that all runs are sent, and start again; whether that was possible."""
        self._until, self.after = self._began, None
        self._began = datetime.now(UTC)
        return self._write({"until": jsonl.stamp(self._until)})

    def _write(self, mine: dict[str, Any]) -> bool:
        new = f"{self.path}.new"
        try:
            with open(f"{self.path}-lock", "a", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # pushes to other targets write it, too
                with open(new, "w", encoding="ascii") as file:
                    json.dump({**self._read(), self._target: mine}, file)
                os.replace(new, self.path)
        except OSError:
            return False
        return True


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None
