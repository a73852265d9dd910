/* Lost runs: stored as "running", but their process has exited.
 *
 * "lost" is not stored. Whoever reads a running run checks whether its owner (owner.h)
 * still runs. So a filter by either status reads the running runs, and sorts them here.
 * Threads: any; may wait for the database.
 */
#ifndef RL_LOST_H
#define RL_LOST_H

#include "store/store.h"

/* The store's query, with "lost" as a status. After RL_NOMEM the rows are incomplete. */
rl_status rl_lost_query(rl_store *store, const rl_query *query, rl_rows *rows,
                        rl_err *err);

/* The store's remove, with "lost" as a status. *count is valid also after a failure. */
rl_status rl_lost_remove(rl_store *store, const rl_query *query, int64_t *count,
                         rl_err *err);

#endif
