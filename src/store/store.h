/* What a store can do: the table of functions that SQLite and PostgreSQL fill.
 *
 * Threads: `write` is called by one thread at a time (the leader of the group commit);
 * `query`, `remove` and `prepare` may be called by any thread at any moment, beside it.
 * Every function may wait (locks, disk, network), so no caller holds the GIL but where
 * `write` is told that it may not wait.
 * Ownership: runs, filters and rows belong to the caller.
 */
#ifndef RL_STORE_H
#define RL_STORE_H

#include "core/err.h"
#include "core/notice.h"
#include "core/run.h"
#include "store/migrate.h"
#include "store/outbox.h"
#include "store/query.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* What a commit must survive, weakest first. */
typedef enum rl_durability {
    RL_JOURNAL, /* the death of the process */
    RL_DISK,    /* power loss */
    RL_SERVER,  /* committed by the server, "store" in the interface */
} rl_durability;

typedef struct rl_batch {
    rl_run *const *runs; /* borrowed; a NULL-free array */
    size_t count;
    rl_durability durability;
    bool may_wait; /* false: RL_BUSY instead of waiting for anything but the page cache */
} rl_batch;

/* Vectors near to one. The filters are hints: more may come than fits them. */
typedef struct rl_near_query {
    const char *model;
    const float *vector; /* [dim] */
    uint32_t dim;
    const char *wpk_id, *status; /* as stored; NULL: of any */
    int64_t since;               /* microseconds since 1970, or RL_TIME_NONE */
    size_t limit;
} rl_near_query;

typedef struct rl_store rl_store;

typedef struct rl_store_ops {
    const char *name; /* "sqlite" or "postgres" */

    /* Connects and applies the migrations, if that was not done yet. */
    rl_status (*prepare)(rl_store *store, rl_err *err);

    /* Writes all runs in one transaction, or none. Inserts, or merges with the row of the
     * same (wpk_id, run_id), see merge_sql.h. */
    rl_status (*write)(rl_store *store, const rl_batch *batch, rl_err *err);

    /* The same for the worker thread, beside `write`, in two steps: the batch is sent, and
     * while the server works the thread may do something else before it reads the answer.
     * A batch of none asks whether the server answers. NULL where nothing is forwarded. */
    void (*send)(rl_store *store, const rl_batch *batch);
    rl_status (*finish)(rl_store *store, const rl_batch *batch, rl_err *err);

    /* Appends what the query finds to rows. */
    rl_status (*query)(rl_store *store, const rl_query *query, rl_rows *rows,
                       rl_err *err);

    /* Deletes what the query's filters name, all of it; *count gets how many. */
    rl_status (*remove)(rl_store *store, const rl_query *query, int64_t *count,
                        rl_err *err);

    /* Whether the store should be tended, and tending it: what a commit leaves to the
     * worker thread. NULL where there is nothing. */
    bool (*due)(rl_store *store);
    rl_status (*tend)(rl_store *store, rl_err *err);

    /* The outbox of embeddings (outbox.h). Takes rows that are due, so that nobody else does
     * until the time given; replaces what was in jobs. */
    rl_status (*claim)(rl_store *store, const rl_box_claim *claim, rl_box_jobs *jobs,
                       rl_err *err);
    /* Writes what has become of rows, in one transaction. */
    rl_status (*settle)(rl_store *store, const rl_box_result *results, size_t count,
                        rl_err *err);
    /* Counts rows; those that are `embedded` only when asked to, as without a Milvus all of
     * them are. */
    rl_status (*look)(rl_store *store, bool embedded, rl_box_counts *counts, rl_err *err);

    /* Hands on the vectors of a model that are new since the cursor (some perhaps once
     * more), and moves it; RL_BUSY: it is of another database than is there now, and is set
     * to the beginning. Then: that of one run. */
    rl_status (*vectors)(rl_store *store, const char *model, rl_vector_cursor *cursor,
                         rl_vector_sink sink, void *ctx, rl_err *err);
    rl_status (*vector)(rl_store *store, const rl_box_name *name, const char *model,
                        rl_vector_sink sink, void *ctx, rl_err *err);

    /* Hands on the vectors of which one of the `limit` nearest by cosine may be one, in any
     * order, some perhaps twice: all that the database has not sorted by itself, too.
     * *available false (and RL_OK): it can't search, so `vectors` is to be used. NULL where it
     * never can. */
    rl_status (*nearest)(rl_store *store, const rl_near_query *query, rl_vector_sink sink,
                         void *ctx, bool *available, rl_err *err);

    /* Around a fork: takes the locks (and closes files); gives them back. */
    void (*before_fork)(rl_store *store);
    void (*after_fork)(rl_store *store, bool in_child);

    /* Closes and frees the store. No other call may be under way. */
    void (*close)(rl_store *store);
} rl_store_ops;

struct rl_store {
    const rl_store_ops *ops;
};

typedef struct rl_postgres_options {
    const char *dsn;               /* borrowed for the call */
    uint64_t timeout_ns;           /* how long the server may take to answer */
    unsigned pool;                 /* connections for reads, 1 to RL_PG_POOL_MAX */
    const atomic_bool *stop;       /* borrowed: when it is set, `finish` ends its wait */
    const rl_embed_rule *rule;     /* borrowed; NULL: nothing is embedded */
    const rl_migrations *pgvector; /* borrowed as long as the store lives; NULL: the
                                      extension is not used */
} rl_postgres_options;

/* Make a store; nothing is opened before the first use. The texts, the rule, the migrations
 * and the notices must outlive it. With a rule (or NULL) each run that is written gets its row
 * in the outbox. The notices (or NULL) get an ERROR when the file was deleted or replaced. */
rl_status rl_sqlite_new(const char *path, const rl_migrations *migrations,
                        const rl_embed_rule *rule, rl_notices *notices, rl_store **store,
                        rl_err *err);
rl_status rl_postgres_new(const rl_postgres_options *options,
                          const rl_migrations *migrations, rl_store **store, rl_err *err);

#endif
