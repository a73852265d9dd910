"""runlog records every run of a LangGraph program.

A handler records the runs of a graph::

    from runlog.hooks import RunLogHandler
    graph.invoke(state, config={"callbacks": [RunLogHandler()]})

`log_run` records any other run. Runs go to a SQLite file, or to PostgreSQL if
POSTGRES_DSN is set. With OPENAI_KEY, `search_runs` finds them by meaning.
"""

try:
    from runlog import _runlog  # noqa: F401
except ImportError:
    # A source tree has no extension: use that of the installed package.
    from importlib import import_module
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)
    try:
        import_module("runlog._runlog")
    except ImportError as error:
        from runlog._advice import on_extension

        raise ImportError(
            on_extension(error), name=error.name, path=error.path
        ) from error

from runlog._default import (
    acount_runs,
    afind_similar,
    aflush,
    aget_run,
    aget_runs_by_wpk_id,
    aget_thread,
    alist_runs,
    alog_run,
    asearch_runs,
    close,
    configure,
    count_runs,
    delete_runs,
    find_similar,
    flush,
    generate_embedding,
    get_run,
    get_runs_by_wpk_id,
    get_thread,
    list_runs,
    log_run,
    search_runs,
    stats,
    upsert_to_milvus,
)
from runlog._imports import load as _load
from runlog._runlog import (
    ClosedError,
    ConfigError,
    Page,
    RunlogError,
    ServiceError,
    StoreError,
    ValidationError,
    __version__,
)
from runlog.recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:  # types that the functions return, for annotations only
    from runlog._counts import Counts as Counts
    from runlog._runlog import Hit as Hit
    from runlog._runlog import Run as Run
    from runlog._runlog import RunSummary as RunSummary
    from runlog._runlog import ThreadRun as ThreadRun
    from runlog._runlog import Totals as Totals
    from runlog.insights import insights as insights
else:

    def __getattr__(name):
        """Import what few programs use at its first use."""
        if name == "insights":
            return _load("runlog.insights")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ClosedError",
    "ConfigError",
    "Page",
    "Recorder",
    "RunlogError",
    "ServiceError",
    "StoreError",
    "ValidationError",
    "__version__",
    "acount_runs",
    "afind_similar",
    "aflush",
    "aget_run",
    "aget_runs_by_wpk_id",
    "aget_thread",
    "alist_runs",
    "alog_run",
    "asearch_runs",
    "close",
    "configure",
    "count_runs",
    "delete_runs",
    "find_similar",
    "flush",
    "generate_embedding",
    "get_run",
    "get_runs_by_wpk_id",
    "get_thread",
    "list_runs",
    "log_run",
    "search_runs",
    "stats",
    "upsert_to_milvus",
]
