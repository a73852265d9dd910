/* Writes the parts of runs to the table run_parts. parts_sql.h has the rule.
 * Threads and ownership: as for the connection.
 */
#ifndef RL_PG_PARTS_H
#define RL_PG_PARTS_H

#include "store/postgres/pg_conn.h"
#include "store/store.h"

/* Whether a run of the batch has parts. */
bool rl_pg_parts_given(const rl_batch *batch);

/* In pipeline mode, after the batch's inserts: queues the statements for the parts of its
 * runs. `wide` as in rl_pg_row_fill. RL_STORE, RL_NOMEM. */
rl_status rl_pg_parts_send(rl_pg_conn *conn, const rl_batch *batch, rl_buf *wide,
                           rl_err *err);

/* Runs these statements for one run, outside of a pipeline, and waits. */
rl_status rl_pg_parts_write(rl_pg_conn *conn, const rl_run *run, rl_buf *wide,
                            rl_err *err);

#endif
