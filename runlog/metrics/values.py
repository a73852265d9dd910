"""The series of a reading, for Prometheus and OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from runlog.metrics.families import FAMILIES, Family
from runlog.metrics.labels import (
    CALLS,
    DETAILS,
    NODE_STATUSES,
    STATUSES,
    bound_names,
    bound_nodes,
)
from runlog.metrics.reading import Reading
from runlog.rollup import Block, Figures

Labels = tuple[str, ...]
Value = tuple[Labels, Any]
"""The values of a family's labels, and a number; of a histogram, Figures."""

_PROCESS: Final = {
    "runlog_handler_errors": "handler_errors",
    "runlog_process_runs": "runs",
    "runlog_process_commits": "commits",
    "runlog_process_commit_seconds": "commit_seconds",
    "runlog_process_encode_seconds": "encode_seconds",
    "runlog_process_failed_runs": "failed",
    "runlog_process_journaled_runs": "journaled",
    "runlog_process_dropped_payloads": "handler_dropped",
    "runlog_process_queued_runs": "queued",
    "runlog_process_open_runs": "open_runs",
    "runlog_process_largest_commit_runs": "largest_commit",
}
"""What `stats` calls them."""


def values_of(reading: Reading, process: bool) -> Iterator[tuple[Family, list[Value]]]:
    """Yield the families of which something is known, with their values.

    Args:
        reading: what was read.
        process: whether this process records, and has figures of its own.
    """
    known = _known(reading, process)
    nodes: dict[str, Any] = {}
    for family in FAMILIES:
        if family.source not in known:
            continue
        if family.source == "rollup":
            assert reading.blocks is not None
            if not nodes:
                nodes = {
                    block.workflow: bound_nodes(block.nodes) for block in reading.blocks
                }
            found = list(_OF_ROLLUP[family.name](reading, nodes))
        elif family.source == "process":
            assert reading.stats is not None
            found = [((), reading.stats[_PROCESS[family.name]])]
        else:
            found = [_OTHERS[family.name](reading)]
            found = [value for value in found if value[1] is not None]
        if found:
            yield family, found


def _known(reading: Reading, process: bool) -> set[str]:
    known = {"always"}
    if reading.blocks is not None:
        known |= {"rollup", "store"}
    if reading.stats is not None:
        known |= {"journal"}
        known |= {"replica"} if reading.stats["replica"] else set()
        known |= {"meaning"} if reading.meaning else set()
        known |= {"process"} if process else set()
    return known


def _by_workflow(
    one: Callable[[Block], Iterable[tuple[str, float]]],
) -> Callable[[Reading, Any], Iterator[Value]]:
    def found(reading: Reading, _: Any) -> Iterator[Value]:
        for block in reading.blocks or ():
            for name, value in one(block):
                yield (block.workflow, name), value

    return found


def _by_node(
    one: Callable[[Figures], Any],
) -> Callable[[Reading, Any], Iterator[Value]]:
    def found(_: Reading, nodes: Any) -> Iterator[Value]:
        for workflow, figures in nodes.items():
            for node, its in figures.items():
                yield (workflow, node), one(its)

    return found


def _node_statuses(_: Reading, nodes: Any) -> Iterator[Value]:
    for workflow, figures in nodes.items():
        for node, its in figures.items():
            counts = bound_names(its.statuses, NODE_STATUSES)
            for status, number in counts.items():
                if number or status in ("completed", "failed"):
                    yield (workflow, node, status), number


def _durations(reading: Reading, _: Any) -> Iterator[Value]:
    for block in reading.blocks or ():
        yield (block.workflow,), block.run


def _costs(reading: Reading, _: Any) -> Iterator[Value]:
    for workflow, cost in reading.costs.items():
        if cost.priced:
            yield (workflow,), cost.dollars


def _unpriced(reading: Reading, _: Any) -> Iterator[Value]:
    for workflow, cost in reading.costs.items():
        yield (workflow,), cost.unpriced


def _errors(reading: Reading, _: Any) -> Iterator[Value]:
    for error, number in reading.errors.items():
        yield (error,), number


def _newest(reading: Reading, _: Any) -> Iterator[Value]:
    for workflow, seconds in reading.newest.items():
        yield (workflow,), seconds


def _details(block: Block) -> Iterator[tuple[str, float]]:
    for kind, name in DETAILS.items():
        if number := block.run.tokens[kind]:
            yield name, number


def _tokens(block: Block) -> Iterator[tuple[str, float]]:
    for kind in ("input", "output"):
        yield kind, block.run.tokens[kind]


_OF_ROLLUP: Final[dict[str, Callable[[Reading, Any], Iterator[Value]]]] = {
    "runlog_runs": _by_workflow(
        lambda block: bound_names(block.run.statuses, STATUSES).items()
    ),
    "runlog_run_duration_seconds": _durations,
    "runlog_nodes": _node_statuses,
    "runlog_node_duration_seconds": _by_node(lambda its: its),
    "runlog_node_retries": _by_node(lambda its: its.retries),
    "runlog_calls": _by_workflow(
        lambda block: [(kind, block.run.calls[kind]) for kind in CALLS]
    ),
    "runlog_tokens": _by_workflow(_tokens),
    "runlog_token_details": _by_workflow(_details),
    "runlog_cost_dollars": _costs,
    "runlog_unpriced_calls": _unpriced,
    "runlog_errors": _errors,
    "runlog_last_run_timestamp_seconds": _newest,
    "runlog_rollup_waiting_runs": lambda reading, _: iter([((), reading.waiting)]),
}


def _stat(name: str) -> Callable[[Reading], Value]:
    return lambda reading: ((), (reading.stats or {})[name])


def _replica_up(reading: Reading) -> Value:
    return (), int((reading.stats or {})["replica"] == "up")


def _rows(reading: Reading) -> Value:
    stats = reading.stats or {}
    return (), stats["waiting"] + stats["beside"]


def _oldest(reading: Reading) -> Value:
    since = (reading.stats or {})["waiting_since"]
    return (), 0.0 if since is None else max(0.0, reading.at - since)


def _build(reading: Reading) -> Value:
    from runlog import __version__

    return (), {"version": __version__, "store": (reading.stats or {}).get("store", "")}


_OTHERS: Final[dict[str, Callable[[Reading], Value]]] = {
    "runlog_runs_open": lambda reading: ((), reading.open),
    "runlog_runs_lost": lambda reading: ((), reading.lost),
    "runlog_store_up": lambda reading: ((), int(reading.up)),
    "runlog_replica_up": _replica_up,
    "runlog_replica_lag_seconds": _stat("replica_lag"),
    "runlog_journal_rows": _rows,
    "runlog_journal_oldest_seconds": _oldest,
    "runlog_journal_bytes": lambda reading: ((), reading.journal_bytes),
    "runlog_forwarded": _stat("journal_left"),
    "runlog_rejected": _stat("rejected"),
    "runlog_dropped": lambda _: ((), 0),
    "runlog_embeddings_waiting": _stat("embeddings_waiting"),
    "runlog_embeddings_failed": _stat("embeddings_failed"),
    "runlog_build": _build,
}
