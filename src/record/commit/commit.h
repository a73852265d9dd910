/* Group commit. Callers queue up with their runs. The first one becomes the leader: it
 * commits the queued runs in one transaction while the others wait, and then wakes them
 * and the next leader. So a single caller never switches threads, and a hundred callers
 * share one fsync.
 *
 * Threads: every function from any thread. rl_commit_run and rl_commit_drain wait: the
 * caller must not hold the GIL, or a lock that another caller needs. rl_commit_try waits
 * for nothing but its own write.
 * Ownership: a run stays the caller's, who leaves it alone until the call returns.
 */
#ifndef RL_COMMIT_H
#define RL_COMMIT_H

#include "core/err.h"
#include "core/metrics.h"
#include "core/run.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

#define RL_COMMIT_RUNS 128                 /* runs in one transaction at most */
#define RL_COMMIT_BYTES ((size_t)16 << 20) /* a batch of this size takes no more runs */

typedef struct rl_commit rl_commit;

/* Writes a batch (rl_store_ops.write). If it rejects a batch of several runs (RL_STORE,
 * not retryable), it gets each of them alone. Called by one thread at a time. */
typedef rl_status (*rl_commit_write)(void *ctx, const rl_batch *batch, rl_err *err);

/* Makes a queue in front of `write`; ctx and metrics are borrowed. NULL: no memory. */
rl_commit *rl_commit_new(rl_commit_write write, void *ctx, rl_metrics *metrics);
void rl_commit_free(rl_commit *commit); /* no call may be under way */

/* Returns RL_OK once the run is committed, or the error of its write. */
rl_status rl_commit_run(rl_commit *commit, rl_run *run, rl_durability durability,
                        rl_err *err);

/* The same, if no other commit is under way and the write need not wait. Else RL_BUSY,
 * and the run was not written. */
rl_status rl_commit_try(rl_commit *commit, rl_run *run, rl_durability durability,
                        rl_err *err);

/* Waits until the runs that are queued now are committed or have failed. RL_TIMEOUT at
 * `end` (nanoseconds, monotonic clock). */
rl_status rl_commit_drain(rl_commit *commit, uint64_t end);

/* The number of runs that are queued or being written. */
size_t rl_commit_queued(rl_commit *commit);

/* Around a fork. The child's queue is empty: the waiting threads exist in the parent
 * only. */
void rl_commit_before_fork(rl_commit *commit);
void rl_commit_after_fork(rl_commit *commit, bool in_child);

#endif
