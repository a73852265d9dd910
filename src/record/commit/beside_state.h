/* Inside the part beside a SQLite file, for the files that make it up: beside.c (for the
 * callers) and beside_fold.c (for the worker).
 */
#ifndef RL_BESIDE_STATE_H
#define RL_BESIDE_STATE_H

#include "core/lock.h"
#include "record/commit/beside.h"
#include "store/sqlite/journal_file.h"

/* Between checks for runs of other processes; nanoseconds. */
#define RL_BESIDE_CHECK_NS UINT64_C(5000000000)

struct rl_beside {
    char *path;            /* owned; of the file that may be locked */
    rl_journal_file *file; /* owned; beside it */
    rl_commit_write write; /* to the file at `path` */
    void *ctx;             /* of write */
    rl_notices *notices;
    unsigned number; /* of this part in the process; in the lease's name */

    /* Held while a batch is appended, and while the last runs are folded in: so `pending`
     * ends when none of this process is left. */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* pending has become false, or a batch was folded in */
    atomic_bool pending;    /* runs of this process may wait beside: later ones follow */
    atomic_bool locked;     /* the worker has found the file locked */
    atomic_size_t backlog;  /* about the bytes of the runs that this process has beside */
    atomic_uint_fast64_t folding_since; /* nobody has held the lock since then; or 0 */
    atomic_bool wake_worker;
    atomic_bool lock_logged, failure_logged, rejection_logged;
    atomic_uint_fast64_t check_at; /* next check for runs of other processes */
};

/* Says once an episode that another program holds the lock, if that is the reason: it
 * may also be a thread of this process. */
void rl_beside_log_locked(rl_beside *self, const rl_err *reason);

/* Says once that the file rejects a run, which is stored beside it. */
void rl_beside_log_rejected(rl_beside *self, const rl_err *reason);

/* Ends an episode, as all runs of this process are in their file. Lock held. */
void rl_beside_end(rl_beside *self);

/* About the bytes that runs take beside. */
size_t rl_beside_bytes(rl_run *const *runs, size_t count);

#endif
