/* Two runs with one name (wpk_id, run_id): a store finds another name for the second.
 *
 * A run that log_run records is identified by its name: a second log of that name updates
 * it. A run that a handler records is identified by its id, a UUID of its own
 * (rl_run.is_own), as a program may give two LangGraph runs the same run_id: a job queue
 * that delivers a job again, for example. All are stored: one under "run_id", the others
 * under "run_id~2", "run_id~3" and so on. Later logs of a run find its row by the id.
 *
 * The plain name belongs to the run with the job's result: a run that has ended precedes
 * one that is stored as running (it may be lost), and of two such runs the one created
 * later precedes. A run that takes precedence trades names with the one that has it.
 * Not thread-safe: the store calls this from the thread that writes.
 */
#ifndef RL_OWN_RUN_H
#define RL_OWN_RUN_H

#include "core/buf.h"
#include "core/err.h"
#include "core/notice.h"
#include "core/run.h"

#include <stdbool.h>

/* If so many inserts in turn make no row, although no row has the name, a trigger skips the
 * row; after fewer, the row in the way may have been deleted. */
#define RL_OWN_SKIPS 3

/* The error of a run that a trigger skips: it is rejected. Returns RL_STORE. */
rl_status rl_own_skipped(rl_err *err);

/* Logs that the database ("PostgreSQL", "the file") refuses to rename runs, which are stored
 * all the same. The caller does this once. */
void rl_own_log_refusal(rl_notices *notices, const char *database, const rl_run *run,
                        const rl_err *reason);

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
    /* Exchanges the names of the row `name` and of the row with the run's own run_id, if
     * the first is ahead: all or nothing. `spare` is a name that no row has. */
    rl_status (*trade)(void *ctx, const rl_run *run, const char *name, const char *spare,
                       rl_err *err);
} rl_own_ops;

/* For a run whose insert changed no row. Merges it into the row with its id, which may
 * have been renamed by an earlier log of the same batch; without such a row, inserts it
 * under the first free name. RL_STORE if other processes took 100 free names in turn, or
 * if a trigger skips the row. Then has the run trade names if it is ahead. Passes `ctx`
 * to the ops. */
rl_status rl_own_insert(const rl_own_ops *ops, void *ctx, const rl_run *run, rl_err *err);

#endif
