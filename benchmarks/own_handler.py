"""A handler without a library: it stores runs with sqlite3."""

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

TABLE = (
    "CREATE TABLE runs (run_id TEXT PRIMARY KEY, name TEXT, status TEXT, started REAL, "
    "seconds REAL, inputs TEXT, outputs TEXT, nodes TEXT)"
)


class OwnHandler(BaseCallbackHandler):
    """Forty lines: json.dumps of inputs and outputs, one row and one commit per run."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._runs: dict[UUID, dict[str, Any]] = {}
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(TABLE)

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember what has started."""
        name = kwargs.get("name") or (serialized or {}).get("name")
        run: dict[str, Any] = {"name": name, "parent": parent_run_id, "nodes": []}
        run.update(inputs=json.dumps(inputs, default=str), started=time.time())
        with self._lock:
            self._runs[run_id] = run

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """Note the outputs; a root's run is stored."""
        self._end(run_id, "completed", json.dumps(outputs, default=str))

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Note the error."""
        self._end(run_id, "failed", json.dumps(repr(error)))

    def _end(self, run_id: UUID, status: str, outputs: str) -> None:
        with self._lock:
            run = self._runs.pop(run_id)
            seconds = time.time() - run["started"]
            run.update(status=status, outputs=outputs, seconds=seconds)
            parent = self._runs.get(run.pop("parent"))
            if parent is not None:
                parent["nodes"].append(run)
                return
            values = [str(run_id), run["name"], status, run["started"], seconds]
            values += [run["inputs"], outputs, json.dumps(run["nodes"])]
            with self._database:
                self._database.execute(
                    "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values
                )

    def rows(self) -> int:
        """How many runs are stored."""
        (count,) = self._database.execute("SELECT count(*) FROM runs").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
