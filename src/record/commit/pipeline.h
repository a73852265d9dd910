/* The way of a run into the database: the commit queue before the store, and with a server the
 * journal with a queue of its own. What a commit leaves to be done later, checkpoints and
 * forwarding, is done by the recorder's worker thread.
 *
 * Threads: any, but rl_pipeline_work by one at a time. All may wait but where it says "quick".
 * Ownership: owns the store, the queues and the journal; borrows what it is made with.
 */
#ifndef RL_PIPELINE_H
#define RL_PIPELINE_H

#include "core/metrics.h"
#include "record/commit/commit.h"
#include "record/commit/journal.h"
#include "store/postgres/postgres.h"
#include "store/sqlite/sqlite.h"

/* What a pipeline is made with; borrowed as long as it lives. */
typedef struct rl_pipeline_options {
    const char *postgres_dsn;          /* NULL: SQLite is the store */
    const char *sqlite_path;           /* the store's file; with a DSN the journal's */
    rl_migrations sqlite, postgres;    /* the second only with a DSN */
    uint64_t timeout_ns;               /* how long PostgreSQL may take to answer */
    unsigned pool;                     /* connections to PostgreSQL for reads */
    const rl_sqlite_hook *sqlite_hook; /* what else is written with a run, or NULL */
    const rl_pg_hook *pg_hook;
    const atomic_bool *stop; /* when it is set, waiting for the server ends */
    rl_metrics *metrics;
    rl_notices *notices;
} rl_pipeline_options;

typedef struct rl_pipeline {
    rl_pipeline_options with;
    rl_store *store;           /* owned; NULL once it is closed */
    rl_commit *commit;         /* owned: the queue before the store, or the server */
    rl_journal *journal;       /* owned; NULL on SQLite */
    rl_commit *journal_commit; /* owned: the queue before the journal; NULL on SQLite */
    atomic_bool ready;         /* the database was opened once */
} rl_pipeline;

/* Makes the parts; nothing is opened. What was made is freed by rl_pipeline_free, also when this
 * fails. */
rl_status rl_pipeline_init(rl_pipeline *pipeline, const rl_pipeline_options *options,
                           rl_err *err);

/* Closes the files and connections: no call is under way. Then frees the queues. */
void rl_pipeline_close(rl_pipeline *pipeline);
void rl_pipeline_free(rl_pipeline *pipeline);

/* Opens the database; with a server, which may be away, only the journal. */
rl_status rl_pipeline_open(rl_pipeline *pipeline, rl_err *err);
static inline bool rl_pipeline_is_ready(rl_pipeline *pipeline)
{
    return atomic_load_explicit(&pipeline->ready, memory_order_acquire);
}

/* Commits a sealed run; the pipeline is ready. The second does not wait: RL_BUSY instead. */
rl_status rl_pipeline_write(rl_pipeline *pipeline, rl_run *run, rl_durability durability,
                            rl_err *err);
rl_status rl_pipeline_try_write(rl_pipeline *pipeline, rl_run *run,
                                rl_durability durability, rl_err *err);

/* Before a query: waits a moment for runs on their way to the server, and makes sure that the
 * server has the tables. */
rl_status rl_pipeline_prepare_query(rl_pipeline *pipeline, rl_err *err);

/* Whether there is something for rl_pipeline_work. Quick. */
bool rl_pipeline_has_work(rl_pipeline *pipeline);

/* The worker's part: a checkpoint where one is needed, and forwarding until the journal is
 * empty or *stop is set. Returns when to be called again, monotonic nanoseconds. */
uint64_t rl_pipeline_work(rl_pipeline *pipeline, const atomic_bool *stop);

/* A checkpoint where one is needed, for a caller whose process can't start a worker. */
void rl_pipeline_checkpoint(rl_pipeline *pipeline);

/* Waits until what was queued is committed. RL_TIMEOUT at `end`. */
rl_status rl_pipeline_drain_queues(rl_pipeline *pipeline, uint64_t end);

size_t rl_pipeline_queued(
    rl_pipeline *pipeline); /* runs that wait to be committed. Quick. */

/* Around a fork: takes the locks and closes the SQLite files; gives them back. */
void rl_pipeline_before_fork(rl_pipeline *pipeline);
void rl_pipeline_after_fork(rl_pipeline *pipeline, bool in_child);

#endif
