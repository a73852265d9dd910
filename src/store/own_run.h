/* Two runs with one name (wpk_id, run_id): a store finds another name for the second.
 *
 * A run that log_run records is identified by its name: a second log of that name updates
 * it. A run that a handler records is identified by its id, a UUID of its own
 * (rl_run.is_own), as a program may give two LangGraph runs the same run_id. Both are
 * stored: the first under "run_id", the second under "run_id~2", the next under
 * "run_id~3". Later logs of a run find its row by the id.
 * Not thread-safe: the store calls this from the thread that writes.
 */
#ifndef RL_OWN_RUN_H
#define RL_OWN_RUN_H

#include "core/buf.h"
#include "core/err.h"
#include "core/run.h"

#include <stdbool.h>

/* The queries that a store answers for rl_own_insert. Names end with a NUL. */
typedef struct rl_own_ops {
    /* Appends the run_id of the row with this run's id; nothing if there is none. */
    rl_status (*find)(void *ctx, const rl_run *run, rl_buf *name, rl_err *err);
    /* Sets *taken: whether the run's workflow has a row with this run_id. */
    rl_status (*taken)(void *ctx, const rl_run *run, const char *name, bool *taken,
                       rl_err *err);
    /* Inserts the run under this run_id, or merges it into its own row. Sets *done to
     * false if the row belongs to another run. */
    rl_status (*insert)(void *ctx, const rl_run *run, const char *name, bool *done,
                        rl_err *err);
} rl_own_ops;

/* For a run whose insert changed no row. If the row is the run's own, it is newer, and
 * nothing is left to do. If the row belongs to another run, inserts this one under the
 * first free name. RL_STORE if other processes took 100 free names in turn. Passes `ctx`
 * to the ops. */
rl_status rl_own_insert(const rl_own_ops *ops, void *ctx, const rl_run *run, rl_err *err);

#endif
