/* Group commit without a hand-over: callers queue up, the first becomes the leader and
 * commits what is queued in one transaction, the others wait for it. Then the next in the
 * queue leads. A single caller never switches threads; a hundred share one fsync.
 *
 * Threads: every function from any thread. A caller must not hold the GIL (or any lock that
 * another caller may want) in rl_commit_run and rl_commit_drain; rl_commit_try never waits
 * for anything but the write itself.
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

#define RL_COMMIT_RUNS 128                 /* runs in one transaction */
#define RL_COMMIT_BYTES ((size_t)16 << 20) /* bytes after which no more are added */

typedef struct rl_commit rl_commit;

/* What writes a batch: all of it in one transaction, or none. Where it refuses one of several
 * runs for good (RL_STORE, not retryable), it is given each of them alone. One thread at a
 * time. */
typedef rl_status (*rl_commit_write)(void *ctx, const rl_batch *batch, rl_err *err);

/* A commit queue before what writes; ctx and metrics are borrowed. NULL when there is no
 * memory. */
rl_commit *rl_commit_new(rl_commit_write write, void *ctx, rl_metrics *metrics);
void rl_commit_free(rl_commit *commit); /* no call may be under way */

/* Returns when the run is committed, or with the reason why it is not. */
rl_status rl_commit_run(rl_commit *commit, rl_run *run, rl_durability durability,
                        rl_err *err);

/* The same when nobody else is committing and no lock has to be waited for; else RL_BUSY,
 * and nothing was done. */
rl_status rl_commit_try(rl_commit *commit, rl_run *run, rl_durability durability,
                        rl_err *err);

/* Waits until what was queued at the call is committed or refused; RL_TIMEOUT when the
 * monotonic clock reaches `end` (nanoseconds) before. */
rl_status rl_commit_drain(rl_commit *commit, uint64_t end);

/* Runs that wait now. */
size_t rl_commit_queued(rl_commit *commit);

/* Around a fork. The child forgets who was waiting: they are in the parent. */
void rl_commit_before_fork(rl_commit *commit);
void rl_commit_after_fork(rl_commit *commit, bool in_child);

#endif
