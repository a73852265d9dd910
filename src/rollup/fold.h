/* Folds a run into sums: its columns, and its node logs as they are stored.
 *
 * The node logs of log_run are a program's own: whatever stands there, and however much, a
 * fold takes linear time. Values are skipped over, not read.
 * Threads: any; pure functions. Ownership: as sums.h; a run is borrowed for the call.
 */
#ifndef RL_FOLD_H
#define RL_FOLD_H

#include "rollup/sums.h"

typedef struct rl_fold_run {
    rl_string run_id, status, error_type, error_text; /* {NULL, 0}: NULL */
    rl_string metadata, node_logs;                    /* JSON */
    int64_t duration_ms;                              /* negative: NULL */
    int64_t created_at;                               /* microseconds since 1970 */
} rl_fold_run;

/* Adds a run, unless it is open. */
void rl_fold(rl_sums *sums, const rl_fold_run *run);

#endif
