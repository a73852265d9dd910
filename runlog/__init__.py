"""runlog keeps the history of every LangGraph run.

One line records a graph's runs::

    from runlog.hooks import RunLogHandler
    graph.invoke(state, config={"callbacks": [RunLogHandler()]})

and `log_run` keeps any other. They go to a SQLite file, or to PostgreSQL when
POSTGRES_DSN is set.
"""

from runlog._default import (
    aflush,
    aget_run,
    aget_runs_by_wpk_id,
    alist_runs,
    alog_run,
    close,
    configure,
    delete_runs,
    flush,
    generate_embedding,
    get_run,
    get_runs_by_wpk_id,
    list_runs,
    log_run,
    stats,
    upsert_to_milvus,
)
from runlog._runlog import (
    ClosedError,
    ConfigError,
    Page,
    RunlogError,
    StoreError,
    ValidationError,
    __version__,
)
from runlog.recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:  # what the functions return; only for annotations
    from runlog._runlog import Run as Run
    from runlog._runlog import RunSummary as RunSummary

__all__ = [
    "ClosedError",
    "ConfigError",
    "Page",
    "Recorder",
    "RunlogError",
    "StoreError",
    "ValidationError",
    "__version__",
    "aflush",
    "aget_run",
    "aget_runs_by_wpk_id",
    "alist_runs",
    "alog_run",
    "close",
    "configure",
    "delete_runs",
    "flush",
    "generate_embedding",
    "get_run",
    "get_runs_by_wpk_id",
    "list_runs",
    "log_run",
    "stats",
    "upsert_to_milvus",
]
