/* Lost runs: stored as "running", but their process has exited.
 *
 * No process stores the status "lost". Whoever reads a running run checks whether the
 * run's owner (owner.h) still runs, and shows "lost" if not. A filter by "running" or by
 * "lost" therefore reads the running runs and sorts them here.
 * Threads: any; may wait for the database.
 */
#ifndef RL_LOST_H
#define RL_LOST_H

#include "store/store.h"

/* The store's query, with "lost" as a status in the filter and in the rows. Appends to
 * rows; RL_NOMEM, with the rows incomplete, when there is no memory. */
rl_status rl_lost_query(rl_store *store, const rl_query *query, rl_rows *rows,
                        rl_err *err);

/* The store's remove, with "lost" as a status in the filter. *count gets the number of
 * deleted runs, also when it fails halfway. */
rl_status rl_lost_remove(rl_store *store, const rl_query *query, int64_t *count,
                         rl_err *err);

#endif
