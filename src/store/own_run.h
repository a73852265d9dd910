/* Two records under one name: what a store does when the row of a run that has an id of its
 * own is another record's.
 *
 * A program may give two LangGraph runs the same id. Both are kept: the second as "run_id~2",
 * the next as "run_id~3". A record that was kept under such a name before (while it was
 * open, or by a batch that is sent once more) is found again by its id.
 * Not thread-safe: whoever writes calls it.
 */
#ifndef RL_OWN_RUN_H
#define RL_OWN_RUN_H

#include "core/buf.h"
#include "core/err.h"
#include "core/run.h"

#include <stdbool.h>

/* What a store can be asked. Names end with a NUL. */
typedef struct rl_own_ops {
    /* Appends the name under which a record of this id is kept; nothing when there is none. */
    rl_status (*find)(void *ctx, const rl_run *run, rl_buf *name, rl_err *err);
    /* Whether there is a run of that name in the workflow. */
    rl_status (*taken)(void *ctx, const rl_run *run, const char *name, bool *taken,
                       rl_err *err);
    /* Inserts the run under that name, or merges it with its own row; *done: false when the
     * row is another record's. */
    rl_status (*insert)(void *ctx, const rl_run *run, const char *name, bool *done,
                        rl_err *err);
} rl_own_ops;

/* For a run whose insertion has changed no row: finds out whether the row is its own, and
 * newer, or another record's; then it is kept under a name of its own. */
rl_status rl_own_insert(const rl_own_ops *ops, void *ctx, const rl_run *run, rl_err *err);

#endif
