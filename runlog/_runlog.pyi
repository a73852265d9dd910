"""The C extension behind runlog: the recorder, its exceptions and the LangGraph handler.

Import the public names from `runlog`, which re-exports them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from datetime import datetime
from os import PathLike
from types import TracebackType
from typing import (
    Any,
    Literal,
    NotRequired,
    Self,
    TypeAlias,
    TypedDict,
    final,
    overload,
)
from uuid import UUID

from runlog._words import Hits
from runlog.rollup import Block

__version__: str

Durability: TypeAlias = Literal["journal", "disk", "store"]

class RunlogError(Exception):
    """Base class of every exception that runlog raises."""

class ValidationError(RunlogError, ValueError):
    """An argument is missing or wrong; the message names the field and what it got."""

class ConfigError(RunlogError, ValueError):
    """An option or an environment variable is wrong; the message names it."""

class ClosedError(RunlogError):
    """The recorder was closed before the call."""

class StoreError(RunlogError):
    """The database refused the call, or could not be reached.

    With POSTGRES_DSN set, log_run raises it in two cases only. Either neither the server
    nor the journal takes the run, and the message names both causes. Or the server
    refuses the run permanently: `retryable` is False, and the run is stored in the table
    journal_rejected.

    Attributes:
        sqlstate: PostgreSQL's five-character code; None on SQLite or without a
            connection.
        retryable: whether the same call, unchanged, may succeed later.
    """

    sqlstate: str | None
    retryable: bool

class ServiceError(RunlogError):
    """The embedding server or Milvus refused the call, or could not be reached.

    Only `search_runs`, `find_similar`, `generate_embedding` and `upsert_to_milvus` raise
    it, because they wait for a server. Calls that record a run never raise it.

    Attributes:
        retryable: whether the same call, unchanged, may succeed later.
    """

    retryable: bool

Statuses: TypeAlias = str | list[str] | tuple[str, ...] | set[str] | frozenset[str]

class _Row(TypedDict):
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

class Totals(TypedDict):
    """The totals of a graph's run, for lists.

    `nodes` is the number of nodes that began, without further attempts, and `retries` the
    number of further attempts. `at` is the node in which the run failed, waits, was
    cancelled or is now: the innermost, of several the first; None for none. `tokens` are
    all tokens that models used, None if no model reported any.
    """

    nodes: int
    retries: int
    at: str | None
    tokens: int | None

class RunSummary(_Row):
    """A row of `list_runs`: the columns without owner and payloads, and the totals.

    `totals` is None if the run's metadata have none, as for most runs of `log_run` and
    of earlier versions.
    """

    totals: Totals | None

class Run(_Row):
    """A whole run, as `get_run` returns it.

    The payloads (inputs, outputs, node_logs, metadata) have the types of the `json`
    module: dict, list, str, int, float, bool or None. The node logs of a graph have
    `calls` (of models, tools and retrievers, with whole prompts) and `events`
    (docs/langgraph.md, "Calls").
    """

    inputs: Any
    outputs: Any
    node_logs: Any
    metadata: Any
    error_traceback: str | None
    owner: str | None

class ThreadRun(_Row):
    """A run as `get_thread` returns it: without node logs, linked to other runs.

    `interrupts` is a list of the interrupts at which it paused, each {"id", "value"}.
    `answer` is the resume value that it was given, or None. `resumes` and `resumed_by`
    are the run_ids of the run that it continues and of the newest run that continues it,
    or None.
    """

    inputs: Any
    outputs: Any
    metadata: Any
    owner: str | None
    interrupts: list[Any]
    answer: Any
    resumes: str | None
    resumed_by: str | None

class Snippet(TypedDict):
    """A piece of text with a hit of a search by words.

    `node` is the name of the node, or None for the run itself. `field` is the kind of
    text: "inputs", "outputs", "error", "traceback", "node" (its name), "prompt",
    "answer", "arguments", "call" (other texts of a call), "event" or "log". `text` has at
    most 200 characters; text[start:end] is the hit.
    """

    node: str | None
    field: str
    text: str
    start: int
    end: int

class Hit(RunSummary):
    """A run that `search_runs` or `find_similar` returns.

    A search by meaning gives `score`, the cosine of the two vectors, -1.0 to 1.0; 1.0
    means the same direction. A search by words gives `snippets`, in the order of the run.
    """

    score: NotRequired[float]
    snippets: NotRequired[list[Snippet]]

class Page(tuple[list[RunSummary], str | None]):
    """A page of `list_runs`: the pair (`runs`, `next`), and the attribute `complete`.

    `runs` holds the runs, newest first. `next` is the cursor of the next page, or None on
    the last one. `complete` is False if the page has fewer runs than `limit`, perhaps
    none, because a filter without an index has reached its limit: `next` continues there.
    """

    @property
    def runs(self) -> list[RunSummary]: ...
    @property
    def next(self) -> str | None: ...
    @property
    def complete(self) -> bool: ...

@final
class PreparedRun:
    """A run that `Recorder.prepare` has encoded, to be committed by `Recorder.commit`."""

    run_id: str
    wpk_id: str

class Recorder:
    """Records runs in SQLite, or in PostgreSQL if it has a DSN.

    The constructor takes an argument that is missing or None from the environment. The
    first call opens the database. Any thread may call any method; a method releases the
    GIL while it waits.

    Args:
        postgres_dsn: libpq connection string or URI (POSTGRES_DSN). Unset or "": SQLite.
        read_dsn: the same for a hot standby of that server, from which runs are read
            (POSTGRES_READ_DSN, unless postgres_dsn is given). A read waits up to 0.1 s
            for the writes of this recorder, and else goes to the primary. If the DSN
            leads to another database, or to a server that is no standby, reads raise
            ConfigError.
        sqlite_path: path of the SQLite file (RUNLOG_SQLITE_PATH), test_runs.db by
            default; created with mode 0600. "~" at its start is the user's folder, and
            links are followed. With PostgreSQL the file is the journal, in which runs
            wait while the server is unavailable.
        durability: "journal", "disk" or "store" (RUNLOG_DURABILITY). By default log_run
            uses "disk" on SQLite and "store" on PostgreSQL, and the handler "journal".
            With PostgreSQL, "journal" and "disk" commit to the journal first and forward
            the run afterwards.
        postgres_timeout: seconds that the server may take to connect or to answer before
            a run goes to the journal (RUNLOG_POSTGRES_TIMEOUT), 0.05 to 3600, 5 by
            default. To connect, libpq takes whole seconds and at least 2.
        postgres_pool: connections to PostgreSQL for reads (RUNLOG_POSTGRES_POOL), 1 to
            64, 4 by default; opened on demand.
        redact: rules and names by which secrets are replaced with "<redacted>"
            (RUNLOG_REDACT, separated by commas): "+name" also hides values under a name,
            "-name" shows them, "-rule" switches a rule off. A list with an item without a
            sign starts empty, or with "default". An empty sequence redacts nothing.
            docs/redaction.md lists the rules.
        max_payload: greatest length of a payload in bytes of JSON (RUNLOG_MAX_PAYLOAD), 1
            KiB to 256 MiB, 1 MiB by default. A longer one loses its middle, large values
            before small ones.
        max_value: greatest length of a large text in bytes of JSON (RUNLOG_MAX_VALUE), 1
            KiB to 256 MiB, 16 MiB by default. Large texts are stored once per run.
        max_memory: bytes of memory for the open runs of graphs (RUNLOG_MAX_MEMORY), 1 MiB
            to 1 TiB, 256 MiB by default. Before that, the runs that were idle for longest
            are written, and their memory is freed.
        openai_key: key for the embedding server (OPENAI_KEY, and no variable of another
            name). If it is set, the texts of runs are sent to that server. With "" no
            runs are embedded, whatever the environment says.
        openai_base_url: URL of the embedding server (OPENAI_BASE_URL), by default
            https://api.openai.com/v1. A query, as in ...?api-version=2024-06-01, is sent.
        openai_headers: further headers for it, as a mapping or as lines of "Name: value"
            (RUNLOG_OPENAI_HEADERS). A header Authorization or api-key replaces that of
            the key.
        embedding_model: name of the model (RUNLOG_EMBEDDING_MODEL), by default
            text-embedding-3-small.
        embedding_dimensions: vector length to request (RUNLOG_EMBEDDING_DIMENSIONS), 0 to
            32,768. 0, the default, requests the model's own length.
        embedding_path: place of the text in a run's outputs, separated by dots
            (RUNLOG_EMBEDDING_PATH), as in "answer" or "messages.-1.content". By default
            the text is outputs["text"], else the content of the last of
            outputs["messages"].
        words: whether to index the words of runs (RUNLOG_WORDS): True (the default) or
            False, also as 1, 0 or text such as "yes" and "off". "trigram" indexes every
            three characters of a new SQLite file, so that parts of words are found.
        milvus_endpoint: Milvus (MILVUS_ENDPOINT), with http://, https:// or no scheme,
            which means http. Unset or "": the database stores the vectors and runlog
            searches them there.
        milvus_token: "user:password" or an API key (MILVUS_TOKEN).
        service_timeout: seconds that either server may take to answer
            (RUNLOG_SERVICE_TIMEOUT), 0.05 to 3600, 30 by default. No call that records a
            run waits for either server.

    Raises:
        ConfigError: an option is wrong; the message names the option and its variable.
    """

    default_path: bool
    """True if SQLite is the store and its path is the default."""

    def __init__(
        self,
        *,
        postgres_dsn: str | None = None,
        read_dsn: str | None = None,
        sqlite_path: str | PathLike[str] | None = None,
        durability: Durability | None = None,
        postgres_timeout: float | None = None,
        postgres_pool: int | None = None,
        redact: Sequence[str] | str | None = None,
        max_payload: int | None = None,
        max_value: int | None = None,
        max_memory: int | None = None,
        words: bool | Literal["trigram"] | None = None,
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
        """Record one run, and return once it is committed.

        While PostgreSQL is unavailable, the run is committed to the journal and the call
        returns as usual. Logging the same (wpk_id, run_id) again updates the row: given
        values replace the old ones, others stay, and error_type, error_text and
        error_traceback are replaced with the status. A finished run never becomes
        "running" again.

        Args:
            run: a mapping. Required keys: `wpk_id`, `run_id` and `status`, each non-empty
                text; wpk_id, run_id and thread_id have at most 1,024 bytes of UTF-8.
                Optional keys: `inputs`, `outputs` and `node_logs` (any value);
                `duration_ms` (int, 0 to 2**31-1); `thread_id`, `error_type`,
                `error_text` and `error_traceback` (text; 16 KiB of a traceback are
                stored); `metadata` (a mapping; another value becomes the
                member "metadata" of one); `started_at` and `created_at` (a datetime,
                local time if naive; ISO 8601 text; or seconds since 1970). None means
                "not given", except for inputs, outputs and node_logs, which store null.
                Any other key becomes a member of metadata.

        Returns:
            The run_id.

        Raises:
            TypeError: run is not a mapping.
            ValidationError: a field is missing or wrong; nothing is written.
            StoreError: no store took the run, or the server refused it permanently.
            ClosedError: the recorder is closed.
        """

    def prepare(self, run: Mapping[str, Any]) -> PreparedRun:
        """Validate and encode a run, to commit it later from any thread.

        Args:
            run: as for `log_run`. Later changes to its values have no effect.

        Raises:
            TypeError, ValidationError: as for `log_run`. One of the program's own
                exceptions (see docs/api.md) is raised once the run is committed.
        """

    def commit(self, prepared: PreparedRun) -> str:
        """Commit a prepared run and return its run_id. A run can be committed once.

        Raises:
            StoreError, ClosedError: as for `log_run`.
        """

    def get_runs_by_wpk_id(
        self, wpk_id: str, limit: int = 20, offset: int = 0
    ) -> list[tuple[str, str, int | None, datetime]]:
        """Return the newest runs of a workflow.

        Args:
            wpk_id: the workflow.
            limit: number of rows, 1 to 10,000.
            offset: rows to skip, 0 or more. `list_runs` is cheaper for deep pages.

        Returns:
            Tuples (run_id, status, duration_ms, created_at), newest first.
        """

    def get_run(self, run_id: str | UUID, wpk_id: str | None = None) -> Run | None:
        """Return a whole run, or None if there is none.

        If several runs of graphs have the same run_id, the newest that has ended has the
        plain name, else the newest; the others are `run_id~2`, `run_id~3` and so on.

        Args:
            run_id: the run: text or a uuid.UUID.
            wpk_id: its workflow; without it, the newest run with that run_id is returned.
        """

    def _whole_runs(self, ids: list[str]) -> tuple[list[Run], int]:
        """Return several runs as `get_run` does, newest first, for exports.

        Args:
            ids: the `id` of each run, not its run_id. Unknown ids are left out.

        Returns:
            The runs, and the bytes that the store returned for them.

        Raises:
            TypeError: ids is not a list of ids.
            StoreError, ClosedError: as for `list_runs`.
        """

    def _prune(
        self, progress: Callable[[int], object], **filters: Any
    ) -> tuple[int, int]:
        """Delete runs as `delete_runs` does, and give their space back between batches.

        Args:
            progress: called ten times a second with the number of runs deleted so far.
            filters: those of `delete_runs`.

        Returns:
            The number of deleted runs, and the bytes given back.
        """

    def _reclaim(self, seconds: float) -> tuple[int, int, bool]:
        """Give free space of a SQLite file back, in short steps.

        Args:
            seconds: how long to do so.

        Returns:
            The bytes given back, the bytes that are still free, and whether these can be
            given back. (0, 0, False) on PostgreSQL.
        """

    def _build_indexes(self) -> None:
        """Apply the migrations of indexes that were left for later, for `migrate apply`.

        Others read and write meanwhile. It may take hours, and can be repeated.

        Raises:
            StoreError: the store is unavailable, or another session builds indexes.
        """

    def _rewrite(self) -> None:
        """Rewrite the SQLite file without free space, while holding its lock.

        Raises:
            ConfigError: the store is PostgreSQL.
            StoreError: another process has the lock, or the disk is full.
        """

    def _rollup(
        self,
        types: tuple[type[Any], ...],
        totals: bool,
        wpk_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        wait: float = 1.0,
    ) -> tuple[list[Block], int]:
        """The blocks of `rollup`, or `rollup_totals`, and the number of waiting runs."""

    def _reset_rollup(self) -> None:
        """Start to count all runs again; the sums of deleted runs stay."""

    def _rollup_waiting(self) -> int:
        """An upper bound of the runs that are missing or out of date."""

    def _fill_rollup(self) -> bool:
        """Count runs for up to a second; return whether all are."""

    def _rollup_size(self) -> tuple[int, int, int]:
        """How many blocks, runs and bytes the roll-up has."""

    def _reset_words(self, mode: str | None) -> None:
        """Empty the index of words, which the recorder's thread then fills again.

        Args:
            mode: "1" or "trigram", as RUNLOG_WORDS; None keeps the kind of the index.

        Raises:
            ConfigError: the recorder was made with words=False.
        """

    def _words_waiting(self) -> int:
        """Return an upper bound of the runs that are missing or out of date."""

    def _fill_words(self) -> bool:
        """Wait up to a second for the thread that indexes; return whether all is done.

        Raises:
            StoreError: the index can't be filled now; the message has the reason.
        """

    def _queue_meaning(self) -> int:
        """Queue the runs without a vector of the model; return their number.

        Raises:
            ConfigError: OPENAI_KEY is not set.
        """

    def _thread_runs(
        self, thread_id: str | int | UUID, wpk_id: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """Return the runs of a thread, newest first, at most one more than `limit`."""

    def list_runs(
        self,
        *,
        wpk_id: str | None = None,
        status: Statuses | None = None,
        thread_id: str | int | UUID | None = None,
        tag: str | None = None,
        metadata: dict[str, Any] | None = None,
        error: str | None = None,
        node: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 20,
        after: str | None = None,
        run_id: str | UUID | None = None,
    ) -> Page:
        """Return a page of runs, newest first.

        `tag`, `metadata`, `error` and `node` have no index. With any of them a page
        examines at most 2,500 runs (1,000 with `node`) of those that the other filters
        select; if several statuses are given, so many of each. If the page stops there,
        `Page.complete` is False, and `next` continues.

        Args:
            wpk_id: only runs of this workflow.
            status: only runs with this status, or with one of up to 16.
            thread_id: only runs of this LangGraph thread: text, an int or a uuid.UUID.
            tag: only runs with this text in metadata["tags"].
            metadata: only runs whose metadata have these members: text, numbers, bools
                or None, equal in value and type (1 equals 1.0, but not "1" or True).
            error: only runs with this text in their error, written as "type: text". Case
                is ignored; on SQLite, that of ASCII letters only.
            node: only runs that have a log of a node with this name.
            since: only runs created at this time or later.
            until: only runs created before this time.
            limit: number of rows, 1 to 10,000.
            after: the `next` of the page before; None for the first page.
            run_id: only runs with this id, of which each workflow may have one: text or a
                uuid.UUID.

        Raises:
            ValidationError: a filter is wrong, or `after` is not a cursor.
        """

    def _count_runs(
        self, **filters: Any
    ) -> tuple[datetime | None, datetime | None, bool, list[tuple[int, str, int]]]:
        """Count runs by span and status, for `count_runs`.

        Returns:
            The beginning and the end of the spans, whether all runs were counted, and
            rows (span, status, number). Rows of the same span and status add up.
        """

    def _gauges(self, workflows: str) -> tuple[int, int, dict[str, datetime]]:
        """Return gauges for metrics. It doesn't wait for runs that are on their way.

        Args:
            workflows: names, as a JSON array.

        Returns:
            The number of open runs, the number of lost runs, and when the newest run of
            each workflow was created.

        Raises:
            StoreError, ClosedError: as for `list_runs`.
        """

    def delete_runs(
        self,
        *,
        wpk_id: str | None = None,
        run_id: str | UUID | None = None,
        status: str | None = None,
        thread_id: str | int | UUID | None = None,
        tag: str | None = None,
        metadata: dict[str, Any] | None = None,
        before: datetime | None = None,
    ) -> int:
        """Delete the runs that match all given filters, and return their number.

        Works in short transactions, so that other programs can read and write meanwhile.
        Ctrl-C ends it between two of them; the runs deleted before stay deleted.

        Args:
            wpk_id: only runs of this workflow.
            run_id: only runs with this id.
            status: only runs with this status.
            thread_id: only runs of this LangGraph thread.
            tag: only runs with this tag, as for `list_runs`.
            metadata: only runs with these metadata, as for `list_runs`.
            before: only runs created before this time.

        Raises:
            ValidationError: no filter was given, or one is wrong.
            StoreError: the database failed. The message says how many runs were deleted
                before, and whether the fate of the last batch is unknown.
            ClosedError: the recorder was closed; the message says the same.
        """

    @overload
    def search_runs(
        self,
        text: str,
        *,
        by: Literal["words"],
        wpk_id: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        limit: int = 10,
    ) -> Hits: ...
    @overload
    def search_runs(
        self,
        text: str,
        *,
        by: Literal["words", "meaning"] | None = None,
        wpk_id: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        limit: int = 10,
    ) -> list[Hit]:
        """Return the runs that have the words of a text, or are closest to it in meaning.

        By words: runs with all of the words, the newest first, each with snippets. Words
        in quotes are a phrase; begin* finds words with this beginning. The result is a
        list with the attributes `waiting`, the greatest number of runs that may be
        missing or out of date in the index, and `complete`, True if there are none. A
        call gives the indexer up to a second to index the newest runs.

        By meaning: the closest first. The text is embedded and compared with the vectors
        of the runs: in Milvus if its endpoint is set, else in PostgreSQL if it has
        pgvector, else by a scan. With its retries a call ends after at most 60 seconds.

        Args:
            text: the words, or the question; not empty.
            by: "words" or "meaning". By default "meaning" with OPENAI_KEY, else "words".
            wpk_id: only runs of this workflow.
            status: only runs with this status.
            since: only runs created at this time or later.
            limit: number of runs, 1 to 1,000.

        Raises:
            ValidationError: an argument is wrong.
            ConfigError: OPENAI_KEY is not set, or a setting cannot be used; by words:
                there is no index, as SQLite lacks FTS5 or RUNLOG_WORDS is 0 everywhere.
            ServiceError: the embedding server or Milvus refused or was not reached.
            StoreError: the database was not reached.
        """

    def _search_meaning(
        self,
        text: str,
        *,
        wpk_id: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        limit: int = 10,
    ) -> list[Hit]:
        """`search_runs` by meaning."""

    def _search_words(
        self,
        text: str,
        *,
        wpk_id: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        limit: int = 10,
    ) -> tuple[list[RunSummary], int]:
        """The runs that have the words, and an upper bound of the runs not indexed."""

    def _has_meaning(self) -> bool:
        """Whether OPENAI_KEY is set."""

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
        """Return the runs closest in meaning to a run, by its stored vector.

        Args:
            run_id: the run, which is not among the results.
            wpk_id: its workflow; None means the newest run with that run_id.
            within: only runs of this workflow.
            status: only runs with this status.
            since: only runs created at this time or later.
            limit: number of runs, 1 to 1,000.

        Raises:
            ValidationError: an argument is wrong, the run does not exist, or it has no
                vector (yet).
            ServiceError, StoreError: as for `search_runs`.
        """

    def generate_embedding(self, text: str) -> list[float] | None:
        """Return the embedding of a text, or None if OPENAI_KEY is not set.

        A text that is too long for the model is cut.

        Raises:
            ValidationError: text is not a str, or is empty.
            ConfigError: a setting cannot be used.
            ServiceError: the server refused or was not reached.
        """

    def upsert_to_milvus(
        self, run_id: str, embedding: Sequence[float], metadata: Mapping[str, Any]
    ) -> bool:
        """Upsert a vector of your own to Milvus for a run.

        With OPENAI_KEY, runlog upserts the vectors of runs itself. Searches find the run
        if it is also in the database.

        Args:
            run_id: the run, of the workflow metadata["wpk_id"].
            embedding: finite numbers, 1 to 32,768; their number must be the vector length
                of the collection.
            metadata: "wpk_id" and "status", each text; other keys are ignored.

        Returns:
            True, or False if MILVUS_ENDPOINT is not set.

        Raises:
            ValidationError: an argument is wrong.
            ServiceError: Milvus refused or was not reached.
        """

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every run that any thread has handed over is in the database.

        This includes the runs in the journal, of all processes, but not those that the
        server refused permanently. With OPENAI_KEY or MILVUS_ENDPOINT it includes the
        rows of the outbox, but not those that a server refuses.

        Args:
            timeout: seconds to wait; None waits without a limit (Ctrl-C ends the wait).

        Returns:
            True if nothing is left, False if the time ran out.

        Raises:
            StoreError: the journal cannot be read.
        """

    def close(self, timeout: float | None = None) -> None:
        """Wait for the commits under way, then close the database.

        Before that, the runs in the journal are forwarded, as far as the timeout and the
        server allow. The rest waits for the next start. A second call does nothing.

        Args:
            timeout: seconds for forwarding, 4 by default.
        """

    def _close_within(self, seconds: float) -> None: ...
    def _open_existing(self) -> None: ...
    def stats(self) -> dict[str, Any]:
        """Return the counters of this recorder.

        Always:
            store: "sqlite" or "postgres".
            path: the SQLite file; with PostgreSQL the journal.
            runs: runs committed.
            commits: transactions.
            commit_seconds: how long they took, also those that failed.
            encode_seconds: how long payloads took to become JSON.
            failed: runs for which log_run raised StoreError.
            largest_commit: runs in the largest transaction.
            queued: runs that wait for a commit now.
            open_runs: graphs' runs that are open now.
            beside: runs that wait beside the SQLite file now, because another program
                holds its lock; of all processes.
            handler_errors: graphs' runs that could not be recorded.
            handler_ignored: events that belong to no recorded run.
            handler_unrecognised: runs without a graph that a handler saw and did not
                record: a chain, a model or a tool alone.
            handler_spilled: early writes of an open run to free its memory.
            handler_dropped: payloads and large values of open runs that were not stored,
                because memory was short and nothing could be written, or because one run
                had more than 512 MiB of large values.
            words_error: why the index of words can't be filled now, or None.
            rollup_error: why the roll-up can't be counted now, or None.

        With PostgreSQL; 0 or None on SQLite:
            journaled: runs that this process committed to the journal.
            forwarded: runs that this process forwarded from the journal to the server.
            waiting: runs in the journal now for this database, of all processes.
            waiting_since: when the oldest of these was logged, in seconds since 1970;
                None without any.
            journal_left: runs that have left the journal since it was made, of all
                processes and for any database.
            waiting_elsewhere: runs in the journal now for other databases; on SQLite,
                all that the file has as a journal.
            rejected: runs that the database refused permanently, which are kept in the
                table journal_rejected of the journal, or beside the SQLite file.
            server: "up" or "away".
            server_error: why the server is "away", or None.

        With a replica (read_dsn), as of the last read; 0 or None without:
            replica: "up", or "away" while reads go to the primary.
            replica_error: why it is "away", or None.
            replica_lag: an upper bound in seconds of how far it is behind the primary;
                0.0 if it has everything, None if that is not known.
            replica_reads: reads that it answered.
            replica_fallbacks: reads that the primary answered instead.

        With OPENAI_KEY or MILVUS_ENDPOINT:
            embedded, upserted: rows of the outbox, by this process.
            embeddings_waiting, embeddings_failed: rows of the outbox now, of all
                processes.
            embedding_error: why a row waits or has failed, or None.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

def current_context() -> Context | None:
    """The thread's current context itself, not a copy; None before one is used."""

def describe_dsn(dsn: str, /) -> str:
    """Return where a DSN leads, without credentials: "postgresql://user@host:port/name".

    Raises:
        StoreError: the DSN can't be parsed.
    """

def look_at_postgres(dsn: str, seconds: float, /) -> str:
    """Describe a PostgreSQL database as JSON, without creating or changing anything.

    Args:
        dsn: a libpq connection string.
        seconds: how long the server may take for each answer.

    Returns:
        {"database": {"version", "clock" (seconds since 1970), "standby", "read_only",
        "may_create", "missing" (rights on tables, as text), "bytes" (or null)},
        "migrations": [[number, checksum], ...], or null if there are no tables}.

    Raises:
        StoreError: the DSN can't be parsed, or the server can't be reached or refuses.
    """

def distribute_postgres(dsn: str, seconds: float, /) -> bool:
    """Distribute runlog's tables over the servers of a Citus cluster, all or none.

    First applies the missing migrations. No process can write runs meanwhile.

    Args:
        dsn: a libpq connection string of the coordinator.
        seconds: how long connecting may take.

    Returns:
        False if the tables were distributed already.

    Raises:
        StoreError: the server can't be reached, has no Citus or is a worker; some of the
            tables were distributed by other means; or the role lacks a right.
    """

def dsn_has_secrets(dsn: object, /) -> bool:
    """Whether a DSN holds a password or another secret, or can't be parsed."""

def make_handler_type(
    base: type,
    parent_command: type[BaseException] | None,
    graph_interrupt: type[BaseException] | None,
    bubble_up: type[BaseException] | None,
    command: type | None,
    cancelled: tuple[type[BaseException], ...],
    default_recorder: Callable[[], Recorder],
    log: Callable[[str], None],
    state_when_left: Callable[[BaseException, bool, bool], tuple[bool, Any] | None],
    /,
) -> type[Any]:
    """Create the type RunLogHandler as a subclass of LangGraph's handler.

    Args:
        base: langgraph.callbacks.GraphCallbackHandler.
        parent_command: the exception by which a node completes with
            Command(graph=PARENT).
        graph_interrupt: the exception that carries interrupts, which are not errors.
        bubble_up: the base class of the exceptions that interrupt a node or graph.
        command: langgraph.types.Command.
        cancelled: the exceptions that cancel a node or graph.
        default_recorder: returns the recorder of handlers that were created without one.
        log: called with the reason when a graph's run could not be recorded, and not
            again until one was recorded.
        state_when_left: called for a graph that was cancelled, with the exception,
            whether no node is open or was cancelled, and whether one was interrupted.
            Returns whether the graph was interrupted, and its outputs; None if nodes were
            left to run.
    """

def read_switch(value: object, /) -> bool | None:
    """Return the value of a switch, or None if the value is invalid.

    Args:
        value: True, False, 1 or 0, or a text: 1, true, yes or on; 0, false, no or off,
            in any case.
    """

def encode_json(
    value: Any,
    *,
    redact: Sequence[str] | str | None = None,
    max_payload: int | None = None,
    max_value: int | None = None,
    values: dict[str, bytes] | None = None,
) -> bytes:
    """Return the JSON text (UTF-8) that runlog stores for a value.

    Args:
        value: any object. One that can't be converted does not make the call raise.
        redact: as for `Recorder`.
        max_payload: as for `Recorder`, in bytes.
        max_value: as for `Recorder`, in bytes.
        values: gets the JSON of the large texts, which runlog stores once per run, by
            name; the result has a mark for each. Without it they stay in the text.
    """
