/* Runs whose process is gone: stored as "running", shown as "lost".
 *
 * Nobody writes "lost": who reads a running run looks whether its owner (owner.h) still runs.
 * So a filter by either status reads the running ones, and tells them apart here.
 * Threads: any; may wait for the database.
 */
#ifndef RL_LOST_H
#define RL_LOST_H

#include "store/store.h"

/* The store's query, with statuses as they are shown. */
rl_status rl_lost_query(rl_store *store, const rl_query *query, rl_rows *rows,
                        rl_err *err);

/* The store's remove, by a status as it is shown. */
rl_status rl_lost_remove(rl_store *store, const rl_query *query, int64_t *count,
                         rl_err *err);

#endif
