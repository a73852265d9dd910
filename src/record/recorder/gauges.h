/* What is now, for metrics: runs that are open or lost, and the newest run of workflows.
 * Threads: any; may wait for the database, but not for runs that are on their way to it.
 */
#ifndef RL_GAUGES_H
#define RL_GAUGES_H

#include "store/store.h"

typedef struct rl_gauges {
    const char *workflows; /* borrowed; a JSON array of names */

    /* Results. */
    int64_t open, lost; /* runs */
    rl_rows newest;     /* owned; of RL_SHAPE_NEWEST */
} rl_gauges;

/* No results. */
void rl_gauges_init(rl_gauges *self, const char *workflows);
void rl_gauges_free(rl_gauges *self);

/* Reads them, each by an index. After an error the results are incomplete. */
rl_status rl_gauges_read(rl_gauges *self, rl_store *store, rl_err *err);

#endif
