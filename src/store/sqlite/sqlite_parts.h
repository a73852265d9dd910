/* Writes the parts of runs to the table run_parts. parts_sql.h has the rule.
 * Threads and ownership: as for the connection.
 */
#ifndef RL_SQLITE_PARTS_H
#define RL_SQLITE_PARTS_H

#include "core/run.h"
#include "store/sqlite/sqlite_conn.h"

/* Stores the parts of a run whose row has been written, in the same transaction, and
 * joins or deletes its node parts. Nothing, if the run has no row. RL_STORE, RL_NOMEM. */
rl_status rl_sqlite_parts_write(rl_sqlite_conn *conn, const rl_run *run, rl_err *err);

#endif
