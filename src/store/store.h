/* The interface of a store: a table of functions that SQLite and PostgreSQL implement
 * (sqlite.h and postgres.h create the stores).
 *
 * Threads: one thread at a time calls `write` (the leader of the group commit). Any
 * thread may call `query`, `remove` and `prepare` at any moment, also during a write.
 * Every function may wait for locks, disk or network, so a caller holds the GIL only for
 * a `write` with RL_NO_WAIT.
 * Ownership: runs, queries and rows belong to the caller.
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
    RL_SERVER,  /* committed by the server; "store" in the Python interface */
} rl_durability;

/* How long a call may wait for a lock. */
typedef enum rl_wait {
    RL_NO_WAIT,      /* RL_BUSY instead of waiting, except for the page cache */
    RL_WAIT,         /* some seconds, then an error */
    RL_WAIT_BRIEFLY, /* RL_SQLITE_BRIEF_NS for SQLite's, then RL_BUSY */
} rl_wait;

typedef struct rl_batch {
    rl_run *const *runs; /* borrowed; a NULL-free array */
    size_t count;
    rl_durability durability;
    rl_wait wait;
} rl_batch;

/* Runs to delete, batch by batch. */
typedef struct rl_removal {
    const rl_query *query; /* borrowed; a run that no longer matches its filters stays */
    const char *ids;       /* borrowed: `left` ids, each with its NUL */
    size_t left;           /* ids that no batch has handled yet */
    size_t batch;          /* ids of the next batch at most; 0: the store chooses */
    bool careful;          /* a batch of these ids took too long: no batch grows */
    int64_t deleted;       /* runs so far */
    size_t unknown;        /* runs of a failed batch that may be deleted */
    uint64_t pause_ns;     /* how long to leave the database to others now */
    unsigned waits;        /* pauses in turn, without a batch */
} rl_removal;

typedef struct rl_store rl_store;

typedef struct rl_store_ops {
    const char *name; /* "sqlite" or "postgres" */

    /* Connects and applies the migrations, at the first call that succeeds. RL_BUSY when
     * another program holds the lock of the SQLite file: `write` and `query` open it. */
    rl_status (*prepare)(rl_store *store, rl_err *err);

    /* Writes all runs in one transaction, or none; an empty batch only waits for SQLite's
     * lock. A run whose (wpk_id, run_id) has a row
     * is merged into it, see merge_sql.h. */
    rl_status (*write)(rl_store *store, const rl_batch *batch, rl_err *err);

    /* `write` in two steps, for the worker thread, which forwards the journal: `send`
     * sends the batch, `finish` waits for the server's answer to it. The thread may do
     * other work in between, and other threads may call `write`. An empty batch only
     * checks that the server answers. NULL in a store without a journal. */
    void (*send)(rl_store *store, const rl_batch *batch);
    rl_status (*finish)(rl_store *store, const rl_batch *batch, rl_err *err);

    /* Appends the rows that the query selects. */
    rl_status (*query)(rl_store *store, const rl_query *query, rl_rows *rows,
                       rl_err *err);

    /* Deletes the next batch of runs: in a transaction of its own, so short that others
     * hardly wait for it. After RL_OK `ids` and `left` are behind it, or unchanged if
     * the store has to wait or to try a smaller one. With no ids left: has the deletions
     * before survive a power loss. */
    rl_status (*remove)(rl_store *store, rl_removal *removal, rl_err *err);

    /* Whether the WAL is long enough to be worth a checkpoint, and the checkpoint:
     * commits leave it to the worker thread. NULL in a store without a WAL. */
    bool (*needs_checkpoint)(rl_store *store);
    rl_status (*checkpoint)(rl_store *store, rl_err *err);

    /* Around a fork: `before_fork` takes the locks and closes files, `after_fork`
     * releases the locks in both processes. */
    void (*before_fork)(rl_store *store);
    void (*after_fork)(rl_store *store, bool in_child);

    /* Closes and frees the store. No other call may be running. */
    void (*close)(rl_store *store);
} rl_store_ops;

struct rl_store {
    const rl_store_ops *ops;
};

#endif
