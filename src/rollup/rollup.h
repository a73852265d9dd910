/* The roll-up, as a companion of a recorder (record/recorder/companion.h): what runs add up
 * to, by workflow and time. Who asks for it has a thread count what is new or has changed;
 * recording pays nothing for it, and a database for which nobody ever asks has none.
 *
 * fold.c makes figures of a run, sums.c adds them up, form.c stores them. count.c counts
 * what is marked, through book.h, which the two databases implement; database.h is what
 * they have in common for this file.
 *
 * Threads: any, once the recorder is made. Ownership: the recorder owns its companion.
 */
#ifndef RL_ROLLUP_H
#define RL_ROLLUP_H

#include "record/recorder/companion.h"
#include "rollup/database.h"

typedef struct rl_rollup rl_rollup;

/* Makes the companion; opens nothing and starts no thread. RL_NOMEM. */
rl_status rl_rollup_new(rl_rollup **rollup, rl_err *err);

/* The two are one object: what rl_recorder_new takes, and the way back. */
rl_companion *rl_rollup_companion(rl_rollup *rollup);
rl_rollup *rl_rollup_of(rl_companion *companion);

/* Appends the pieces. First gives the thread up to `wait_ns` to count. *waiting: how many
 * runs are not counted as they are now, at most. RL_CLOSED, RL_STORE, RL_NOMEM. */
rl_status rl_rollup_read(rl_rollup *rollup, const rl_rollup_query *query,
                         uint64_t wait_ns, rl_rollup_rows *rows, int64_t *waiting,
                         rl_err *err);

/* Reports that a piece of those rows is damaged, so that it is counted again. */
void rl_rollup_mark(rl_rollup *rollup, rl_level level, const rl_rollup_row *row);

/* Starts to count all runs again; the sums of deleted ones stay. Returns as
 * rl_rollup_read. */
rl_status rl_rollup_reset(rl_rollup *rollup, rl_err *err);

/* How many runs are not counted as they are now, at most; and how large the roll-up is. */
rl_status rl_rollup_waiting(rl_rollup *rollup, int64_t *waiting, rl_err *err);
rl_status rl_rollup_get_size(rl_rollup *rollup, rl_rollup_size *size, rl_err *err);

/* Gives the thread up to a second to count. *done: it has counted all. Returns as
 * rl_rollup_read; and the error for which nothing can be counted. */
rl_status rl_rollup_fill(rl_rollup *rollup, bool *done, rl_err *err);

typedef struct rl_rollup_stats {
    uint64_t counted;        /* runs, by this process */
    char error[RL_ERR_TEXT]; /* why nothing can be counted now, or "" */
} rl_rollup_stats;

void rl_rollup_get_stats(rl_rollup *rollup, rl_rollup_stats *stats);

#endif
