/* Writes the parts of runs to the table run_parts. parts_sql.h has the rule.
 * Threads and ownership: as for the connection.
 */
#ifndef RL_PG_PARTS_H
#define RL_PG_PARTS_H

#include "store/postgres/pg_conn.h"
#include "store/store.h"

/* A run of a batch, its place there, and whether it is merged without an insert first. */
typedef struct rl_pg_entry {
    const rl_run *run;
    size_t place;
    bool merged;
} rl_pg_entry;

/* In pipeline mode, after the rows of these runs: queues the statements for the parts of
 * those that have some. `wide` as in rl_pg_row_fill. RL_STORE, RL_NOMEM. */
rl_status rl_pg_parts_send(rl_pg_conn *conn, const rl_pg_entry *runs, size_t count,
                           rl_buf *wide, rl_err *err);

/* Runs these statements for one run, outside of a pipeline, and waits. */
rl_status rl_pg_parts_write(rl_pg_conn *conn, const rl_run *run, rl_buf *wide,
                            rl_err *err);

#endif
