/* A companion of a recorder: a part of the program that works beside it on the same store, and
 * is notified, flushed, closed and forked with it. The recorder knows nothing else of it.
 *
 * Threads: notify and drain from any thread; the others from one at a time.
 * Ownership: the recorder owns its companion, and frees it at last. The store and the notices
 * that a companion is started with live longer than it.
 */
#ifndef RL_COMPANION_H
#define RL_COMPANION_H

#include "core/notice.h"
#include "store/postgres/postgres.h"
#include "store/sqlite/sqlite.h"

struct rl_recorder;

typedef struct rl_companion rl_companion;

/* What a companion works with; borrowed. */
typedef struct rl_companion_host {
    struct rl_recorder *recorder;
    rl_store *store; /* not prepared yet */
    rl_notices *notices;
} rl_companion_host;

typedef struct rl_companion_ops {
    /* Called once, before all the others but free. Opens nothing. */
    rl_status (*start)(rl_companion *companion, const rl_companion_host *host,
                       rl_err *err);

    /* A run was written, forwarded or deleted, or the store was opened. Quick: the caller has
     * just committed, perhaps with the GIL held. */
    void (*notify)(rl_companion *companion);

    /* Whether flush should open the store for it, as others may have left it something to do. */
    bool (*has_work)(rl_companion *companion);

    /* Waits until nothing is left to do that can be done; RL_TIMEOUT when the monotonic clock
     * shows `end` nanoseconds, or without `patient` as soon as something fails. */
    rl_status (*drain)(rl_companion *companion, uint64_t end, bool patient, rl_err *err);

    /* Ends its threads; false when one has not ended by `end`: it still uses everything. */
    bool (*stop)(rl_companion *companion, uint64_t end);

    /* Ends its connections: its threads have ended, and nobody is inside the recorder. */
    void (*close)(rl_companion *companion);

    /* Around a fork: takes the locks; gives them back. Before the store's, and after them. */
    void (*before_fork)(rl_companion *companion);
    void (*after_fork)(rl_companion *companion, bool in_child);

    void (*free)(rl_companion *companion); /* started or not */
} rl_companion_ops;

struct rl_companion {
    const rl_companion_ops *ops;
    /* what it writes in the transaction of a run, or NULL; borrowed from itself */
    const rl_sqlite_hook *sqlite_hook;
    const rl_pg_hook *pg_hook;
};

#endif
