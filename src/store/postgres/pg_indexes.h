/* Indexes of a table in use: the migrations that rl_pg_migrate leaves for later.
 *
 * Threads and ownership: as for the connection.
 */
#ifndef RL_PG_INDEXES_H
#define RL_PG_INDEXES_H

#include "store/migrate.h"
#include "store/postgres/pg_conn.h"

/* Executes the missing migrations of indexes on a connection of its own, outside of a
 * transaction, and waits for the server as long as it takes: writers go on. What a
 * process that was killed has left half built is dropped, and built again. RL_STORE also
 * if another session builds an index of these tables. */
rl_status rl_pg_indexes_build(rl_pg_server *server, const rl_migrations *known,
                              rl_err *err);

#endif
