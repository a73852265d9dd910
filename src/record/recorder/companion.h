/* A companion of a recorder: a part of the program that works on the same store. The
 * recorder starts, notifies, drains, forks and closes it, and knows nothing else of it. A
 * recorder may have several, in a list.
 *
 * Threads: notify, has_work and drain from any thread; the others from one at a time.
 * Ownership: the recorder owns its companion. A companion borrows the store until its
 * close returns, and the notices until its free returns.
 */
#ifndef RL_COMPANION_H
#define RL_COMPANION_H

#include "core/notice.h"
#include "store/postgres/postgres.h"
#include "store/sqlite/sqlite.h"

struct rl_recorder;

typedef struct rl_companion rl_companion;

/* The parts of the recorder that a companion uses; borrowed. */
typedef struct rl_companion_host {
    struct rl_recorder *recorder;
    rl_store *store; /* not prepared yet */
    rl_notices *notices;
} rl_companion_host;

typedef struct rl_companion_ops {
    /* Called once, by rl_recorder_new. Opens nothing. After a failure only free is
     * called. */
    rl_status (*start)(rl_companion *companion, const rl_companion_host *host,
                       rl_err *err);

    /* A run was written, forwarded or deleted, or the store was opened. Does not wait:
     * the caller may hold the GIL. */
    void (*notify)(rl_companion *companion);

    /* Whether flush should open the store for it: other processes may have left work. */
    bool (*has_work)(rl_companion *companion);

    /* Waits until it has done all that it can do. RL_TIMEOUT at `end` (nanoseconds,
     * monotonic clock), or, if not `patient`, when something fails. */
    rl_status (*drain)(rl_companion *companion, uint64_t end, bool patient, rl_err *err);

    /* Ends its threads; false when one still runs at `end`: then nothing may be freed. */
    bool (*stop)(rl_companion *companion, uint64_t end);

    /* Closes its connections. Its threads have ended, and no call is under way. */
    void (*close)(rl_companion *companion);

    /* Around a fork: take its locks, before the store's; release them, after the
     * store's. */
    void (*before_fork)(rl_companion *companion);
    void (*after_fork)(rl_companion *companion, bool in_child);

    void (*free)(rl_companion *companion); /* whether start was called or not */
} rl_companion_ops;

struct rl_companion {
    const rl_companion_ops *ops;
    rl_companion *next; /* owned by the recorder as well; or NULL */
    /* write more in the transaction of a run; NULL, or part of the companion. One of the
     * list has them at most */
    const rl_sqlite_hook *sqlite_hook;
    const rl_pg_hook *pg_hook;
    const rl_removal_hook *removal_hook; /* counts what is deleted; likewise */
};

/* The same for each of a list, which may be NULL. `start` ends with the first that fails;
 * `has_work`: of any; `drain`: until one fails. */
rl_status rl_companions_start(rl_companion *first, const rl_companion_host *host,
                              rl_err *err);
void rl_companions_notify(rl_companion *first);
bool rl_companions_have_work(rl_companion *first);
rl_status rl_companions_drain(rl_companion *first, uint64_t end, bool patient,
                              rl_err *err);
bool rl_companions_stop(rl_companion *first, uint64_t end);
void rl_companions_close(rl_companion *first);
void rl_companions_before_fork(rl_companion *first);
void rl_companions_after_fork(rl_companion *first, bool in_child);
void rl_companions_free(rl_companion *first);
const rl_sqlite_hook *rl_companions_sqlite_hook(const rl_companion *first);
const rl_pg_hook *rl_companions_pg_hook(const rl_companion *first);
const rl_removal_hook *rl_companions_removal_hook(const rl_companion *first);

#endif
