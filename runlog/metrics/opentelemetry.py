"""Observable instruments of OpenTelemetry's metrics API; no SDK is needed.

The names are those of the semantic conventions for generative AI where these have a
counter, and runlog's own where not. There are no observable histograms, so of durations
there is the sum: divided by the number of runs it is the mean.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from runlog.metrics.reading import Reader, Reading
from runlog.metrics.values import values_of
from runlog.rollup import Figures

CONVENTIONS: Final = "open-telemetry/semantic-conventions-genai, development, 2026-11"
"""The conventions that the table follows. They are not stable, so names may change."""

_FRESH: Final = 1.0
"""Seconds for which the instruments of one collection share what was read."""


class Instrument(NamedTuple):
    """An instrument, and the series that it shows."""

    name: str
    family: str
    unit: str
    kind: str = "counter"
    """Either "counter" or "gauge"."""
    only: tuple[str, str] | None = None
    """Only series with this label, which is no attribute then."""


_TOKENS: Final = "gen_ai.client.inference.usage"
INSTRUMENTS: Final = (
    Instrument("runlog.runs", "runlog_runs", "{run}"),
    Instrument("runlog.run.duration", "runlog_run_duration_seconds", "s"),
    Instrument("runlog.nodes", "runlog_nodes", "{execution}"),
    Instrument("runlog.node.duration", "runlog_node_duration_seconds", "s"),
    Instrument("runlog.node.retries", "runlog_node_retries", "{attempt}"),
    Instrument("runlog.calls", "runlog_calls", "{call}"),
    Instrument(
        f"{_TOKENS}.input_tokens", "runlog_tokens", "{token}", only=("type", "input")
    ),
    Instrument(
        f"{_TOKENS}.output_tokens", "runlog_tokens", "{token}", only=("type", "output")
    ),
    Instrument(
        f"{_TOKENS}.cache_read.input_tokens",
        "runlog_token_details",
        "{token}",
        only=("type", "cache_read"),
    ),
    Instrument(
        f"{_TOKENS}.cache_write.input_tokens",
        "runlog_token_details",
        "{token}",
        only=("type", "cache_creation"),
    ),
    Instrument(
        f"{_TOKENS}.reasoning.output_tokens",
        "runlog_token_details",
        "{token}",
        only=("type", "reasoning"),
    ),
    Instrument("runlog.cost", "runlog_cost_dollars", "USD"),
    Instrument("runlog.calls.unpriced", "runlog_unpriced_calls", "{call}"),
    Instrument("runlog.errors", "runlog_errors", "{run}"),
    Instrument("runlog.runs.open", "runlog_runs_open", "{run}", "gauge"),
    Instrument("runlog.runs.lost", "runlog_runs_lost", "{run}", "gauge"),
    Instrument("runlog.store.up", "runlog_store_up", "1", "gauge"),
    Instrument("runlog.replica.up", "runlog_replica_up", "1", "gauge"),
    Instrument("runlog.replica.lag", "runlog_replica_lag_seconds", "s", "gauge"),
    Instrument("runlog.journal.runs", "runlog_journal_rows", "{run}", "gauge"),
    Instrument("runlog.journal.oldest", "runlog_journal_oldest_seconds", "s", "gauge"),
    Instrument("runlog.journal.size", "runlog_journal_bytes", "By", "gauge"),
    Instrument("runlog.forwarded", "runlog_forwarded", "{run}"),
    Instrument("runlog.rejected", "runlog_rejected", "{run}"),
    Instrument(
        "runlog.embeddings.waiting", "runlog_embeddings_waiting", "{run}", "gauge"
    ),
    Instrument("runlog.embeddings.failed", "runlog_embeddings_failed", "{run}", "gauge"),
    Instrument("runlog.handler.errors", "runlog_handler_errors", "{run}"),
    Instrument("runlog.process.commit.duration", "runlog_process_commit_seconds", "s"),
    Instrument("runlog.process.encode.duration", "runlog_process_encode_seconds", "s"),
    Instrument("runlog.process.queued", "runlog_process_queued_runs", "{run}", "gauge"),
)
"""Every instrument."""
ATTRIBUTES: Final = {
    "workflow": "gen_ai.agent.name",
    "node": "langgraph.node",
    "status": "runlog.status",
    "kind": "runlog.call.kind",
    "type": "runlog.token.type",
    "error_type": "error.type",
}
"""The attributes that stand for labels."""


class _Shared:
    """One reading for all instruments of a collection."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._read: Reading | None = None
        self._until = 0.0

    def values(self) -> dict[str, Any]:
        with self._lock:
            if self._read is None or time.monotonic() > self._until:
                self._read = self._reader.read()
                self._until = time.monotonic() + _FRESH
            reading = self._read
        return {
            family.name: (family, found) for family, found in values_of(reading, True)
        }


def make(meter: Meter | None, open_recorder: Callable[[], Any]) -> None:
    """Make the instruments.

    Args:
        meter: makes them; None for one of the global provider.
        open_recorder: returns the recorder that is read.
    """
    if meter is None:
        from runlog import __version__

        meter = get_meter("runlog", __version__)
    shared = _Shared(Reader(open_recorder))
    for one in INSTRUMENTS:
        create = (
            meter.create_observable_counter
            if one.kind == "counter"
            else meter.create_observable_gauge
        )
        create(one.name, [_callback(shared, one)], one.unit)


def _callback(
    shared: _Shared, one: Instrument
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterator[Observation]:
        if (known := shared.values().get(one.family)) is None:
            return
        family, values = known
        for labels, value in values:
            pairs = dict(zip(family.labels, labels, strict=True))
            if one.only is not None and pairs.pop(one.only[0]) != one.only[1]:
                continue
            number = value.durations.total / 1e6 if isinstance(value, Figures) else value
            named = {ATTRIBUTES[label]: text for label, text in pairs.items()}
            yield Observation(number, named)

    return observe
