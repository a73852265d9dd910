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

/* The vectors that are nearest to one, of the runs that fit the filters. */
typedef struct rl_near_query {
    const char *model;
    const float *vector; /* [dim] */
    uint32_t dim;
    const char *wpk_id, *status; /* as stored; NULL: of any */
    int64_t since;               /* microseconds since 1970, or RL_TIME_NONE */
    size_t limit;                /* at least 1 */
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

    /* Gives the sink the vector of one run, if it has one. */
    rl_status (*vector)(rl_store *store, const rl_box_name *name, const char *model,
                        rl_vector_sink sink, void *ctx, rl_err *err);

    /* Gives the sink every vector that may be one of the `limit` nearest by cosine, in any
     * order, some perhaps twice: all that fit the filters, where the database can't compare
     * vectors itself. Reads a block at a time, and holds no lock in between. A vector that
     * is stored meanwhile may be missed. */
    rl_status (*nearest)(rl_store *store, const rl_near_query *query, rl_vector_sink sink,
                         void *ctx, rl_err *err);

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

/* Make a store; nothing is opened before the first use. The texts, the rule and the
 * migrations must outlive it. With a rule (or NULL) each run that is written gets its row in
 * the outbox. */
rl_status rl_sqlite_new(const char *path, const rl_migrations *migrations,
                        const rl_embed_rule *rule, rl_store **store, rl_err *err);
rl_status rl_postgres_new(const rl_postgres_options *options,
                          const rl_migrations *migrations, rl_store **store, rl_err *err);

#endif
