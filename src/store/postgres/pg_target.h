/* Which database a DSN names, and which one a connection leads to.
 *
 * Threads: any; the second function waits for the server.
 */
#ifndef RL_PG_TARGET_H
#define RL_PG_TARGET_H

#include "store/postgres/pg_conn.h"
#include "store/store.h"

/* Fills `place` from a DSN and libpq's environment: "host:port/name", with a digest of
 * its "options" if it has any, as they may choose a schema. Never with a password, nor,
 * of a DSN that is not well-formed, with what may be a part of one. "" if the DSN can't
 * be parsed. RL_NOMEM. */
rl_status rl_pg_target_place(const char *dsn, char place[RL_TARGET_TEXT], rl_err *err);

/* Asks the server; an id is "" where the role may not read it. Fails only if the
 * connection does. */
rl_status rl_pg_target_read(rl_pg_conn *conn, rl_target *target, rl_err *err);

/* The same for the cluster alone, of a database that need not have tables of runlog's. */
rl_status rl_pg_target_read_cluster(rl_pg_conn *conn, rl_target *target, rl_err *err);

#endif
