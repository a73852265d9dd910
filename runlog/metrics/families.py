"""The table of all metrics, for Prometheus and OpenTelemetry.

The names are those of Prometheus; docs/metrics.md says the same at more length.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram", "info"]
Source = Literal["store", "rollup", "journal", "replica", "meaning", "process", "always"]


class Family(NamedTuple):
    """Series of one name."""

    name: str
    """Without the `_total` of a counter and the `_info` of an info."""
    kind: Kind
    source: Source
    """Where the figures come from: the database, its roll-up, the journal, the replica,
    the embeddings, this process; "always" for a figure that needs none of these. A
    scrape leaves out the families whose source is missing."""
    help: str
    labels: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The name of its series; for a histogram, their common beginning."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")


_WORKFLOW: Final = ("workflow",)
_NODE: Final = ("workflow", "node")

FAMILIES: Final = (
    Family(
        "runlog_runs", "counter", "rollup", "Runs that ended.", ("workflow", "status")
    ),
    Family(
        "runlog_run_duration_seconds",
        "histogram",
        "rollup",
        "Durations of runs.",
        _WORKFLOW,
    ),
    Family(
        "runlog_nodes",
        "counter",
        "rollup",
        "Executions of nodes, each attempt one.",
        (*_NODE, "status"),
    ),
    Family(
        "runlog_node_duration_seconds",
        "histogram",
        "rollup",
        "Durations of executions of nodes.",
        _NODE,
    ),
    Family(
        "runlog_node_retries",
        "counter",
        "rollup",
        "Attempts of nodes after a first one.",
        _NODE,
    ),
    Family(
        "runlog_calls",
        "counter",
        "rollup",
        "Calls of models and tools within runs.",
        ("workflow", "kind"),
    ),
    Family(
        "runlog_tokens",
        "counter",
        "rollup",
        "Tokens that models used; the types add up.",
        ("workflow", "type"),
    ),
    Family(
        "runlog_token_details",
        "counter",
        "rollup",
        "Parts of runlog_tokens_total that have a price of their own.",
        ("workflow", "type"),
    ),
    Family(
        "runlog_cost_dollars",
        "counter",
        "rollup",
        "Cost of the calls of models with a known price.",
        _WORKFLOW,
    ),
    Family(
        "runlog_unpriced_calls",
        "counter",
        "rollup",
        "Calls of models that runlog_cost_dollars_total leaves out.",
        _WORKFLOW,
    ),
    Family(
        "runlog_errors",
        "counter",
        "rollup",
        "Failed runs by the type of their error.",
        ("error_type",),
    ),
    Family(
        "runlog_last_run_timestamp_seconds",
        "gauge",
        "rollup",
        "When the newest run of a workflow was created.",
        _WORKFLOW,
    ),
    Family(
        "runlog_rollup_waiting_runs",
        "gauge",
        "rollup",
        "Upper bound of the runs that the counters lack.",
    ),
    Family("runlog_runs_open", "gauge", "store", "Runs that have not ended."),
    Family(
        "runlog_runs_lost",
        "gauge",
        "store",
        "Runs that have not ended, and whose process has exited.",
    ),
    Family(
        "runlog_store_up", "gauge", "always", "Whether the database was read, 1 or 0."
    ),
    Family(
        "runlog_replica_up",
        "gauge",
        "replica",
        "Whether reads go to the replica, 1, or to the primary instead, 0.",
    ),
    Family(
        "runlog_replica_lag_seconds",
        "gauge",
        "replica",
        "Upper bound of how far the replica is behind the primary.",
    ),
    Family(
        "runlog_journal_rows",
        "gauge",
        "journal",
        "Runs that are committed on this machine and wait for the database.",
    ),
    Family(
        "runlog_journal_oldest_seconds",
        "gauge",
        "journal",
        "Waiting time of the oldest run in the journal; 0 without any.",
    ),
    Family(
        "runlog_journal_bytes",
        "gauge",
        "journal",
        "The size of the files in which runs wait.",
    ),
    Family(
        "runlog_forwarded",
        "counter",
        "journal",
        "Runs that have left the journal: for the database, or as rejected.",
    ),
    Family(
        "runlog_rejected",
        "counter",
        "journal",
        "Runs that the database refused for good; the table journal_rejected has them.",
    ),
    Family(
        "runlog_dropped",
        "counter",
        "always",
        "Acknowledged runs that were dropped: always 0, because nothing drops a run.",
    ),
    Family(
        "runlog_embeddings_waiting",
        "gauge",
        "meaning",
        "Runs that are still to be embedded, or to be upserted to Milvus.",
    ),
    Family(
        "runlog_embeddings_failed",
        "gauge",
        "meaning",
        "Runs whose text the embedding server refuses.",
    ),
    Family(
        "runlog_handler_errors",
        "counter",
        "process",
        "Runs of graphs that this process could not record.",
    ),
    Family(
        "runlog_process_runs",
        "counter",
        "process",
        "Runs that this process committed.",
    ),
    Family(
        "runlog_process_commits",
        "counter",
        "process",
        "Transactions of this process.",
    ),
    Family(
        "runlog_process_commit_seconds",
        "counter",
        "process",
        "Duration of the transactions of this process.",
    ),
    Family(
        "runlog_process_encode_seconds",
        "counter",
        "process",
        "Time that this process took to convert payloads to JSON.",
    ),
    Family(
        "runlog_process_failed_runs",
        "counter",
        "process",
        "Runs for which log_run raised StoreError in this process.",
    ),
    Family(
        "runlog_process_journaled_runs",
        "counter",
        "process",
        "Runs that this process committed to the journal.",
    ),
    Family(
        "runlog_process_dropped_payloads",
        "counter",
        "process",
        "Payloads and large values of open runs that this process did not store for want "
        "of memory.",
    ),
    Family(
        "runlog_process_queued_runs",
        "gauge",
        "process",
        "Runs that wait for a commit of this process.",
    ),
    Family(
        "runlog_process_open_runs",
        "gauge",
        "process",
        "Runs of graphs that are open in this process.",
    ),
    Family(
        "runlog_process_largest_commit_runs",
        "gauge",
        "process",
        "Runs in the largest transaction of this process.",
    ),
    Family("runlog_build", "info", "always", "The version of runlog, and its store."),
)
"""Every family, in the order in which they are shown."""
