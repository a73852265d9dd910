/* PostgreSQL's answers to the questions of own_run.h. */
#ifndef RL_PG_OWN_H
#define RL_PG_OWN_H

#include "core/run.h"
#include "store/postgres/pg_conn.h"

/* Keeps a run with an id of its own whose insertion has changed no row; see
 * rl_own_insert. The connection is open and idle. `wide` as for rl_pg_row_fill. */
rl_status rl_pg_own_insert(rl_pg_conn *conn, rl_buf *wide, const rl_run *run,
                           rl_err *err);

#endif
