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
#include "store/removal_hook.h"

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
    const rl_removal_hook *hook; /* borrowed, or NULL; who counts what is deleted */
    bool careful;                /* a batch of these ids took too long: no batch grows */
    int64_t deleted;             /* runs so far */
    size_t unknown;              /* runs of a failed batch that may be deleted */
    uint64_t pause_ns;           /* how long to leave the database to others now */
    unsigned waits;              /* pauses in turn, without a batch */
} rl_removal;

/* What the deletions have left free in a file. */
typedef struct rl_reclaim {
    int64_t returned;  /* bytes given back so far */
    int64_t left;      /* bytes that are free, and wait for later runs */
    int64_t keep;      /* bytes that may stay free */
    bool can;          /* the store can give them back; else only `rewrite` does */
    uint64_t pause_ns; /* how long to leave the file to others now */
    unsigned waits;    /* pauses in turn, without a step */
} rl_reclaim;

/* What is to be done with the heartbeat of an owner of runs (owner.h). */
typedef enum rl_beat {
    RL_BEAT_NOW,   /* it is there now */
    RL_BEAT_FIRST, /* it was there now, unless more is known */
    RL_BEAT_END,   /* it has no more runs open */
    RL_BEAT_TIDY,  /* forgets those that have been silent for long, and own no open run */
} rl_beat;

#define RL_TARGET_TEXT 256

/* Which database runs are meant for. Texts; "" if unknown. */
typedef struct rl_target {
    char place[RL_TARGET_TEXT]; /* "host:port/name" of the DSN; "" for a SQLite file */
    char database[64];          /* runlog's id in it, which its copies have, too */
    char cluster[64];           /* of the server, which the database's copies lack */
} rl_target;

typedef struct rl_store rl_store;

typedef struct rl_store_ops {
    const char *name; /* "sqlite" or "postgres" */

    /* Connects and applies the migrations, at the first call that succeeds. RL_BUSY when
     * another program holds the lock of the SQLite file: `write` and `query` open it. */
    rl_status (*prepare)(rl_store *store, rl_err *err);

    /* The same before a query, which a replica may answer while the primary is away. NULL
     * in a store without replicas. */
    rl_status (*prepare_read)(rl_store *store, rl_err *err);

    /* Writes all runs; an empty batch only waits for SQLite's lock. A run whose (wpk_id,
     * run_id) has a row is merged into it, see merge_sql.h. Each run is written whole or
     * not at all; SQLite writes a batch in one transaction, PostgreSQL in two where some
     * runs were there (pg_batch.h). So after an error some runs may be written. Writing
     * them again changes nothing. */
    rl_status (*write)(rl_store *store, const rl_batch *batch, rl_err *err);

    /* `write` in two steps, for the worker thread, which forwards the journal: `send`
     * sends the batch, `finish` waits for the server's answer to it. The thread may do
     * other work in between, and other threads may call `write`. An empty batch only
     * checks that the server answers. NULL in a store without a journal. */
    void (*send)(rl_store *store, const rl_batch *batch);
    rl_status (*finish)(rl_store *store, const rl_batch *batch, rl_err *err);

    /* `target`: what is known of the database without waiting. `identify`: asks the server
     * to which `send` will send; until it is called again, `send` fails (retryable) rather
     * than write to another one. NULL as above. */
    void (*target)(rl_store *store, rl_target *target);
    rl_status (*identify)(rl_store *store, rl_target *target, rl_err *err);

    /* Appends the rows that the query selects. */
    rl_status (*query)(rl_store *store, const rl_query *query, rl_rows *rows,
                       rl_err *err);

    /* Changes the heartbeat of `owner` (with RL_BEAT_TIDY: ""). By the worker thread. */
    rl_status (*beat)(rl_store *store, rl_beat beat, const char *owner, rl_err *err);

    /* Appends the owners whose last heartbeat was more than so many seconds ago, by the
     * clock of the database: a text each, in the order of their bytes. */
    rl_status (*silent)(rl_store *store, int64_t seconds, rl_rows *rows, rl_err *err);

    /* Deletes the next batch of runs: in a transaction of its own, so short that others
     * hardly wait for it. After RL_OK `ids` and `left` are behind it, or unchanged if
     * the store has to wait or to try a smaller one. With no ids left: has the deletions
     * before survive a power loss. */
    rl_status (*remove)(rl_store *store, rl_removal *removal, rl_err *err);

    /* Applies the migrations of indexes that were left for later (store/migrate.h), while
     * others read and write. May take hours, and may be repeated if it was killed. */
    rl_status (*build_indexes)(rl_store *store, rl_err *err);

    /* Gives some free pages of the file back to the file system: in a transaction of its
     * own, as short as a batch of `remove`. NULL, as the next one, in a store whose
     * server looks after its files. */
    rl_status (*reclaim)(rl_store *store, rl_reclaim *reclaim, rl_err *err);

    /* Rewrites the whole file without its free pages, so that from then on `reclaim`
     * can give them back. Has the file's lock meanwhile. */
    rl_status (*rewrite)(rl_store *store, rl_err *err);

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
