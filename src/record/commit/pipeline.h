/* The pipeline that takes runs into the database: a commit queue in front of the store
 * and, with PostgreSQL, the journal with a commit queue of its own. Checkpoints and
 * forwarding are left to the recorder's worker, which calls rl_pipeline_work.
 *
 * Threads: every function from any thread, but rl_pipeline_work in one at a time, and
 * init, close and free alone. All may wait, except where the comment says that it does
 * not. Times are nanoseconds of the monotonic clock.
 * Ownership: a pipeline owns the store, the queues and the journal, and borrows its
 * options.
 */
#ifndef RL_PIPELINE_H
#define RL_PIPELINE_H

#include "core/metrics.h"
#include "record/commit/beside.h"
#include "record/commit/commit.h"
#include "record/commit/journal.h"
#include "store/postgres/postgres.h"
#include "store/sqlite/journal_target.h"
#include "store/sqlite/sqlite.h"

/* The pointers are borrowed as long as the pipeline exists. */
typedef struct rl_pipeline_options {
    const char *postgres_dsn;          /* NULL: SQLite is the store */
    const char *read_dsn;              /* of a replica of it, or NULL */
    const char *sqlite_path;           /* of the store; with a DSN, of the journal */
    rl_migrations sqlite, postgres;    /* the second only with a DSN */
    uint64_t timeout_ns;               /* for each answer of PostgreSQL */
    unsigned pool;                     /* connections to PostgreSQL for reads */
    const rl_sqlite_hook *sqlite_hook; /* writes more in a run's transaction; or NULL */
    const rl_pg_hook *pg_hook;
    const atomic_bool *stop; /* once set, nobody waits for the server any more */
    rl_metrics *metrics;
    rl_notices *notices;
} rl_pipeline_options;

/* Stays where it was initialized: its parts point into it. */
typedef struct rl_pipeline {
    rl_pipeline_options options;
    rl_store *store;   /* owned; NULL once it is closed */
    rl_commit *commit; /* owned; writes to the store: the SQLite file or the server */
    rl_beside *beside; /* owned, or the journal's: for while the SQLite file is locked */
    rl_journal *journal;       /* owned; NULL on SQLite */
    rl_commit *journal_commit; /* owned; writes to the journal. NULL on SQLite */
    atomic_bool ready;         /* the database was opened */
} rl_pipeline;

/* Makes the parts, and opens nothing. Call rl_pipeline_free also after a failure. */
rl_status rl_pipeline_init(rl_pipeline *pipeline, const rl_pipeline_options *options,
                           rl_err *err);

/* Closes the files and connections; rl_pipeline_free also frees the queues. */
void rl_pipeline_close(rl_pipeline *pipeline);
void rl_pipeline_free(rl_pipeline *pipeline);

/* Opens the SQLite store. With PostgreSQL only the journal: the server may be
 * unavailable. A SQLite file that another program has locked is opened later. */
rl_status rl_pipeline_open(rl_pipeline *pipeline, rl_err *err);
static inline bool rl_pipeline_is_ready(rl_pipeline *pipeline)
{
    return atomic_load_explicit(&pipeline->ready, memory_order_acquire);
}

/* Commits a sealed run (borrowed); the pipeline must be ready. */
rl_status rl_pipeline_write(rl_pipeline *pipeline, rl_run *run, rl_durability durability,
                            rl_err *err);

/* The same without waiting: RL_BUSY instead. */
rl_status rl_pipeline_try_write(rl_pipeline *pipeline, rl_run *run,
                                rl_durability durability, rl_err *err);

/* Before a query: waits up to a second for runs on their way to the store, up to ten for
 * those beside a file that is no longer locked, and makes sure that the server has the
 * tables. */
rl_status rl_pipeline_prepare_query(rl_pipeline *pipeline, rl_err *err);

/* The same before a deletion, which must not miss runs that wait for a locked file: it
 * waits for them as long as for the lock. RL_STORE if the file is locked for longer. Says
 * so if runs wait in the journal. */
rl_status rl_pipeline_prepare_remove(rl_pipeline *pipeline, rl_err *err);

/* Whether rl_pipeline_work has something to do. Does not wait. */
bool rl_pipeline_has_work(rl_pipeline *pipeline);

/* A pass of the worker: a checkpoint if one is needed, the runs beside a locked file, and
 * forwarding until the journal is empty or *stop is set. Returns when the next pass is
 * needed. */
uint64_t rl_pipeline_work(rl_pipeline *pipeline, const atomic_bool *stop);

/* Makes a checkpoint if one is needed: for a caller without a worker. */
void rl_pipeline_checkpoint(rl_pipeline *pipeline);

/* Waits until the queued runs are committed. RL_TIMEOUT at `end`. */
rl_status rl_pipeline_drain_queues(rl_pipeline *pipeline, uint64_t end);

/* The number of runs that wait to be committed. Does not wait. */
size_t rl_pipeline_queued(rl_pipeline *pipeline);

/* Around a fork: take the locks and close the SQLite file; release the locks. */
void rl_pipeline_before_fork(rl_pipeline *pipeline);
void rl_pipeline_after_fork(rl_pipeline *pipeline, bool in_child);

/* With SQLite as the store: counts the runs that its file has as a journal, from a time
 * with a DSN, and which wait for that. May log them. */
int64_t rl_pipeline_count_journaled(rl_pipeline *pipeline, bool log);

/* Whether the database accepts writes, as far as is known. Does not wait. */
bool rl_pipeline_is_available(rl_pipeline *pipeline);

#endif
