/* What a store does with runs: the table of functions that SQLite and PostgreSQL fill
 * (sqlite.h and postgres.h make the stores).
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
#include "store/query.h"

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

    /* Whether the WAL has grown so far that it should be moved into the file, and moving it:
     * a commit leaves that to the worker thread. NULL where there is no WAL. */
    bool (*needs_checkpoint)(rl_store *store);
    rl_status (*checkpoint)(rl_store *store, rl_err *err);

    /* Around a fork: takes the locks (and closes files); gives them back. */
    void (*before_fork)(rl_store *store);
    void (*after_fork)(rl_store *store, bool in_child);

    /* Closes and frees the store. No other call may be under way. */
    void (*close)(rl_store *store);
} rl_store_ops;

struct rl_store {
    const rl_store_ops *ops;
};

#endif
