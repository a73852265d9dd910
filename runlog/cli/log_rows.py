"""The node logs of a run as rows, for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from runlog.cli.output import Field, Out, rfc3339
from runlog.views.changes import state_after
from runlog.views.logs import Log


class Row(NamedTuple):
    """A node log, and where it stands."""

    log: Log
    run: Any
    logs: list[Log]


def rows_of(run: Any, logs: list[Log], chosen: list[Log]) -> Iterator[Row]:
    """Yield the rows of some logs of a run."""
    return (Row(log, run, logs) for log in chosen)


def _started(row: Row) -> str | None:
    return None if row.log.started is None else rfc3339(row.log.started)


def _when(row: Row, out: Out) -> str:
    return out.when(row.log.started)


def _raw(name: str) -> Callable[[Row], Any]:
    return lambda row: row.log.raw.get(name)


FIELDS = [
    Field("log", lambda row: row.log.place, right=True),
    Field("node", lambda row: row.log.node, least=8),
    Field("status", lambda row: row.log.status, status=lambda row: row.log.status),
    Field("step", lambda row: row.log.step, right=True),
    Field("attempt", lambda row: row.log.attempt, right=True, rank=6),
    Field("parent", lambda row: row.log.parent, rank=5),
    Field("started", _started, _when, rank=4),
    Field("duration_ms", lambda row: row.log.duration_ms, right=True, rank=2),
    Field("llm_calls", _raw("llm_calls"), right=True, rank=7),
    Field("tool_calls", _raw("tool_calls"), right=True, rank=8),
    Field("tokens", _raw("tokens"), rank=9),
    Field("error_type", lambda row: row.log.error_type, rank=3),
    Field("error_text", lambda row: row.log.error_text, rank=3),
    Field("traceback", lambda row: row.log.error_traceback, rank=10),
    Field("inputs", lambda row: row.log.inputs, rank=10),
    Field("after", lambda row: state_after(row.run, row.log.place, row.logs), rank=10),
    Field("outputs", lambda row: row.log.outputs, rank=10),
    Field("models", _raw("models"), rank=10),
    Field("calls", lambda row: row.log.calls, rank=10),
    Field("events", lambda row: row.log.events, rank=10),
]
SHORT = [field.name for field in FIELDS[:13]]
"""What a row has by default."""
WHOLE = [field.name for field in FIELDS if field.name != "after"]
"""What a row has of nodes that were asked for by name."""
STATE = ["log", "node", "step", "attempt", "inputs", "after"]
"""What a row has if the state of a node was asked for."""
