"""The C extension behind runlog: the recorder, its errors and the LangGraph handler.

`runlog` re-exports everything here that is public; import from there.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypedDict, final

__version__: str

Durability: TypeAlias = Literal["journal", "disk", "store"]

class RunlogError(Exception):
    """Base class of everything runlog raises."""

class ValidationError(RunlogError, ValueError):
    """An argument is missing or wrong; the message names the field and what it got."""

class ConfigError(RunlogError, ValueError):
    """An option or an environment variable is wrong; the message names it."""

class ClosedError(RunlogError):
    """The recorder was closed before the call."""

class StoreError(RunlogError):
    """The database refused, or could not be reached.

    With POSTGRES_DSN set, log_run raises it for two things only: neither the server nor
    the journal takes the run (the message names both causes), or the server refuses it
    for good (`retryable` is False; the run is kept in the table journal_rejected).

    Attributes:
        sqlstate: PostgreSQL's five-character code, or None (SQLite, no connection).
        retryable: whether the same call may succeed later, unchanged.
    """

    sqlstate: str | None
    retryable: bool

class ServiceError(RunlogError):
    """The embedding server or Milvus refused, or was not reached.

    Raised by the calls that wait for one of them (`search_runs`, `find_similar`,
    `generate_embedding`, `upsert_to_milvus`), never by what keeps a run.

    Attributes:
        retryable: whether the same call may succeed later, unchanged.
    """

    retryable: bool

class RunSummary(TypedDict):
    """A row of `list_runs`: the columns that are cheap to read, without the payloads."""

    id: str
    wpk_id: str
    run_id: str
    status: str
    duration_ms: int | None
    thread_id: str | None
    error_type: str | None
    error_text: str | None
    started_at: datetime | None
    created_at: datetime
    updated_at: datetime

class Run(RunSummary):
    """A whole run, as `get_run` returns it. Payloads are what `json` would hold."""

    inputs: Any
    outputs: Any
    node_logs: Any
    metadata: Any
    owner: str | None

class Hit(RunSummary):
    """A run that `search_runs` or `find_similar` has found.

    `score` is the cosine of the two vectors, 1.0 for the same direction.
    """

    score: float

class Page(NamedTuple):
    """A page of `list_runs`: its runs, newest first, and the cursor of the next page."""

    runs: list[RunSummary]
    next: str | None

@final
class PreparedRun:
    """A run that was encoded and not yet committed; made by `Recorder.prepare`."""

    run_id: str
    wpk_id: str

class Recorder:
    """Keeps runs in SQLite, or in PostgreSQL when it is given a DSN.

    Every argument that is not given (or is None) is taken from the environment at
    construction; the database is opened at first use. Methods may be called from any
    thread, and give up the GIL while they wait.

    Args:
        postgres_dsn: a libpq connection string or URI (POSTGRES_DSN). Unset: SQLite.
        sqlite_path: the SQLite file (RUNLOG_SQLITE_PATH), by default test_runs.db.
            It is made with mode 0600.
            With PostgreSQL it is the journal: runs wait there while the server is away.
        durability: "journal", "disk" or "store" (RUNLOG_DURABILITY). By default "disk"
            on SQLite and "store" on PostgreSQL for log_run, "journal" for the handler.
            "journal" and "disk" with PostgreSQL: to the journal first, then forwarded.
        postgres_timeout: seconds that the server may take to connect or to answer before
            a run goes to the journal instead (RUNLOG_POSTGRES_TIMEOUT), 0.05 to 3600,
            5 by default. libpq takes 2 seconds at least, and whole ones, to connect.
        postgres_pool: connections to PostgreSQL for reads (RUNLOG_POSTGRES_POOL), 1 to
            64, 4 by default; made when they are needed.
        redact: keys whose values are replaced by "<redacted>" (RUNLOG_REDACT, separated
            by commas); compared without case, "-" as "_". An empty sequence: none.
        max_payload: bytes of JSON after which a payload is cut (RUNLOG_MAX_PAYLOAD),
            1 KiB to 256 MiB, 1 MiB by default.
        openai_key: with it (OPENAI_KEY, and no variable of another name) the texts of
            runs are sent to the embedding server. Unset: none is.
        openai_base_url: that server (OPENAI_BASE_URL), by default OpenAI's,
            https://api.openai.com/v1. A query is kept: ...?api-version=2024-06-01.
        openai_headers: more headers for it, a mapping, or lines of "Name: value"
            (RUNLOG_OPENAI_HEADERS). One named Authorization or api-key replaces the
            key's.
        embedding_model: the model (RUNLOG_EMBEDDING_MODEL), by default
            text-embedding-3-small.
        embedding_dimensions: numbers that the model is asked for
            (RUNLOG_EMBEDDING_DIMENSIONS), 0 to 32,768; 0, the default: as many as it has.
        embedding_path: where the text of a run is, in its outputs, with dots in between
            (RUNLOG_EMBEDDING_PATH): "answer", "messages.-1.content". By default it is
            outputs["text"], or else the content of the last of outputs["messages"].
        milvus_endpoint: Milvus (MILVUS_ENDPOINT), http:// or https://; without a scheme
            http. Unset: vectors stay in the database, and are searched there.
        milvus_token: "user:password" or an API key (MILVUS_TOKEN).
        service_timeout: seconds that either server may take to answer
            (RUNLOG_SERVICE_TIMEOUT), 0.05 to 3600, 30 by default. Nobody who keeps a run
            waits for them.

    Raises:
        ConfigError: an option is wrong; names the option and its variable.
    """

    default_path: bool
    """Whether SQLite is the store and nobody has chosen its file."""

    def __init__(
        self,
        *,
        postgres_dsn: str | None = None,
        sqlite_path: str | None = None,
        durability: Durability | None = None,
        postgres_timeout: float | None = None,
        postgres_pool: int | None = None,
        redact: Sequence[str] | str | None = None,
        max_payload: int | None = None,
        openai_key: str | None = None,
        openai_base_url: str | None = None,
        openai_headers: Mapping[str, str] | str | None = None,
        embedding_model: str | None = None,
        embedding_dimensions: int | None = None,
        embedding_path: str | None = None,
        milvus_endpoint: str | None = None,
        milvus_token: str | None = None,
        service_timeout: float | None = None,
    ) -> None: ...
    def log_run(self, run: Mapping[str, Any]) -> str:
        """Keep one run; return its run_id once it is committed.

        Args:
            run: `wpk_id`, `run_id` and `status` (non-empty text) are required;
                `inputs`, `outputs`, `node_logs`, `duration_ms` (0 to 2**31-1),
                `thread_id`, `error_type`, `error_text`, `metadata` (a mapping;
                anything else goes under its own name into one),
                `started_at`, `created_at` (datetimes, naive ones in local time, ISO 8601
                text, or seconds since 1970) are optional; None means not given, but for
                inputs, outputs and node_logs, where it is kept as null. Any other key
                goes into metadata.

        Logging the same (wpk_id, run_id) again updates the row: what is given replaces
        what was there, what is not given stays, but error_type and error_text go with
        the status. A finished run never goes back to "running".

        Raises:
            TypeError: run is not a mapping.
            ValidationError: a field is missing or wrong; nothing is written.
            StoreError: nothing took it, or the server refused it for good; see there.
            ClosedError: the recorder is closed.

        With PostgreSQL away the run is committed to the journal; this returns as usual.
        """

    def prepare(self, run: Mapping[str, Any]) -> PreparedRun:
        """Validate and encode a run now, to commit it later (from another thread)."""

    def commit(self, prepared: PreparedRun) -> str:
        """Commit a prepared run, once; return its run_id. Raises as log_run does."""

    def get_runs_by_wpk_id(
        self, wpk_id: str, limit: int = 20, offset: int = 0
    ) -> list[tuple[str, str, int | None, datetime]]:
        """The newest runs of a workflow: (run_id, status, duration_ms, created_at).

        Args:
            wpk_id: the workflow.
            limit: 1 to 10,000 rows.
            offset: rows to skip, 0 or more. Deep pages are cheaper with list_runs.
        """

    def get_run(self, run_id: str, wpk_id: str | None = None) -> Run | None:
        """The whole run, or None. Without wpk_id, the newest of that run_id."""

    def list_runs(
        self,
        *,
        wpk_id: str | None = None,
        status: str | None = None,
        thread_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> Page:
        """A page of runs, newest first; pass `page.next` as `after` for the next one.

        Args:
            wpk_id: of this workflow.
            status: of this status.
            thread_id: of this thread.
            since: created at that time or later.
            until: created before that time.
            limit: 1 to 10,000 rows.
            after: the `next` of the page before.

        Raises:
            ValidationError: a filter is wrong, or `after` is not a cursor.
        """

    def delete_runs(
        self,
        *,
        wpk_id: str | None = None,
        run_id: str | None = None,
        status: str | None = None,
        thread_id: str | None = None,
        before: datetime | None = None,
    ) -> int:
        """Delete the runs that fit every filter given; return how many there were.

        Raises:
            ValidationError: no filter was given.
        """

    def search_runs(
        self,
        text: str,
        *,
        wpk_id: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        limit: int = 10,
    ) -> list[Hit]:
        """The runs whose texts are nearest to a text, nearest first.

        The text is embedded, then compared with the runs' vectors: in Milvus when it is
        set, else in PostgreSQL when it has pgvector, else by a scan of them.

        Args:
            text: what the runs should be about; not empty.
            wpk_id: of this workflow.
            status: of this status.
            since: created at that time or later.
            limit: 1 to 1,000 runs.

        Raises:
            ValidationError: an argument is wrong.
            ConfigError: OPENAI_KEY is not set, or a setting can't be used.
            ServiceError: the embedding server or Milvus refused, or was not reached.
            StoreError: the database was not reached.
        """

    def find_similar(
        self,
        run_id: str,
        wpk_id: str | None = None,
        *,
        within: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        limit: int = 10,
    ) -> list[Hit]:
        """The runs whose texts are nearest to that of a run, by its stored vector.

        Args:
            run_id: the run, which is no hit itself.
            wpk_id: its workflow; without it, the newest run of that run_id.
            within: only runs of this workflow.
            status: of this status.
            since: created at that time or later.
            limit: 1 to 1,000 runs.

        Raises:
            ValidationError: an argument is wrong, there is no such run, or it has no
                vector (yet).
            ServiceError, StoreError: as for `search_runs`.
        """

    def generate_embedding(self, text: str) -> list[float] | None:
        """The embedding of a text, or None where OPENAI_KEY is not set.

        A text that is longer than the model takes is cut.

        Raises:
            ValidationError: text is no text, or empty.
            ConfigError: a setting can't be used.
            ServiceError: the server refused, or was not reached.
        """

    def upsert_to_milvus(
        self, run_id: str, embedding: Sequence[float], metadata: Mapping[str, Any]
    ) -> bool:
        """Put a run's embedding into Milvus; False where MILVUS_ENDPOINT is not set.

        Runs that are kept with OPENAI_KEY get there by themselves; this is for vectors
        that come from elsewhere.

        Args:
            run_id: the run, with metadata["wpk_id"] its workflow. One that is kept here
                is found by searches.
            embedding: finite numbers, as many as the collection's vectors have.
            metadata: "wpk_id" and "status", text each; the rest is not used.

        Raises:
            ValidationError: an argument is wrong.
            ServiceError: Milvus refused, or was not reached.
        """

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every run handed over by any thread is in the database.

        That is what waits in the journal as well, whichever process put it there, but for
        what the server has refused for good; and with OPENAI_KEY or MILVUS_ENDPOINT what
        waits to be embedded or indexed, but for what they refuse.

        Args:
            timeout: seconds to wait; None waits without a bound (Ctrl-C ends it).

        Returns:
            True when nothing is left, False when the time ran out.

        Raises:
            StoreError: the journal can't be read.
        """

    def close(self, timeout: float | None = None) -> None:
        """Wait for what is being committed, then close the database.

        What waits in the journal is forwarded first, as far as the time and the server
        let it; the rest waits for the next start. May be called twice.

        Args:
            timeout: seconds, 4 by default.
        """

    def _close_within(self, seconds: float) -> None: ...
    def stats(self) -> dict[str, Any]:
        """Counters of this recorder.

        `store` ("sqlite" or "postgres"), `runs` (committed), `commits` (transactions),
        `failed` (runs that raised StoreError), `largest_commit` (runs), `queued` (runs
        waiting now), `handler_errors` (graphs' runs that
        could not be kept), `handler_ignored` (events that belong to no run that is
        recorded), `handler_evicted` (runs that were open when there were too many),
        `open_runs`. With PostgreSQL:
        `journaled` (of the runs committed, those that went to the journal), `forwarded`
        (runs that this process has brought from there to the server), `waiting` (runs in
        the journal now, of all processes), `rejected` (runs in it that the server refused
        for good), `server` ("up" or "away") and `server_error` (why it is away, or None).
        On SQLite those are 0 and None. With OPENAI_KEY or MILVUS_ENDPOINT: `embedded`
        and `upserted` (by this process), `embeddings_waiting` and `embeddings_failed`
        (rows of the outbox now, of all processes) and `embedding_error` (why something
        waits or has failed, or None).
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

def make_handler_type(
    base: type,
    parent_command: type[BaseException] | None,
    graph_interrupt: type[BaseException] | None,
    bubble_up: type[BaseException] | None,
    command: type | None,
    cancelled: tuple[type[BaseException], ...],
    default_recorder: Callable[[], Recorder],
    log: Callable[[str], None],
    /,
) -> type[Any]:
    """Make the type RunLogHandler over LangGraph's GraphCallbackHandler; once a process.

    Args:
        base: langgraph.callbacks.GraphCallbackHandler.
        parent_command: an exception that ends a node well (Command(graph=PARENT)).
        graph_interrupt: the exception that carries interrupts, which are no error.
        bubble_up: the exceptions that interrupt a node or graph, that one among them.
        command: langgraph.types.Command.
        cancelled: the exceptions that cancel one.
        default_recorder: gives the recorder of handlers that were made without one.
        log: is told why a graph's run could not be kept, once until one can be again.
    """

def encode_json(
    value: Any,
    *,
    redact: Sequence[str] | str | None = None,
    max_payload: int | None = None,
) -> bytes:
    """The JSON text (UTF-8) that runlog stores for a value. Never raises for a value."""
