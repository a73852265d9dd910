/* Distributes the tables of a database over the servers of a Citus cluster, for `runlog
 * migrate --distributed`. All or nothing: in one transaction, under the lock of the
 * migrations.
 *
 * Threads: any; it waits for the server, for as long as it takes to copy all runs.
 */
#ifndef RL_PG_DISTRIBUTE_H
#define RL_PG_DISTRIBUTE_H

#include "core/err.h"
#include "store/migrate.h"

#include <stdbool.h>
#include <stdint.h>

/* Connects to the coordinator, applies the migrations that are missing, then those of the
 * layout; *changed: whether any was. RL_STORE, and nothing has changed, on a server
 * without Citus, on a worker, if some tables were distributed by other means (the error
 * lists them), or if the role lacks a right. `timeout_ns`: for connecting. */
rl_status rl_pg_distribute(const char *dsn, uint64_t timeout_ns,
                           const rl_migrations *known, const rl_migrations *layout,
                           bool *changed, rl_err *err);

#endif
