/* Inserts runs with an id of their own whose name is taken, see own_run.h. */
#ifndef RL_PG_OWN_H
#define RL_PG_OWN_H

#include "core/run.h"
#include "store/postgres/pg_conn.h"

/* As rl_own_insert, for a run whose insert changed no row. The connection is open and
 * idle; no transaction is open. `wide` as in rl_pg_row_fill. */
rl_status rl_pg_own_insert(rl_pg_conn *conn, rl_buf *wide, const rl_run *run,
                           rl_err *err);

/* For a run without an id of its own whose insert and merge changed no row: inserts it if
 * its row is gone. It is rejected if a trigger skips the row. */
rl_status rl_pg_own_check(rl_pg_conn *conn, rl_buf *wide, const rl_run *run, rl_err *err);

#endif
