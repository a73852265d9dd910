/* Servers that replicate: how far one has got, and whether one is a standby of another.
 *
 * Threads and ownership: as for the connection. Every function waits for the server.
 */
#ifndef RL_PG_STANDBY_H
#define RL_PG_STANDBY_H

#include "store/migrate.h"
#include "store/postgres/pg_conn.h"
#include "store/store.h"

typedef struct rl_pg_position {
    bool recovering;                       /* it is a standby */
    uint64_t lsn;                          /* of its WAL: replayed, or written; 0: none */
    double age;                            /* seconds since the newest commit that it has
                                              replayed; negative: unknown */
    char server_start[RL_PG_SESSION_TEXT]; /* when it started, which tells two apart */
    bool pooled;                           /* the connection leads through a pooler */
} rl_pg_position;

/* Asks a server for its position. What was committed over any connection before the
 * call is within the `lsn` of a primary. */
rl_status rl_pg_position_read(rl_pg_conn *conn, rl_pg_position *position, rl_err *err);

/* Checks that a connection leads to the same database as the primary's, and that it has
 * all tables. Ids that are "" in `primary` are unknown and not compared. RL_CONFIG: it
 * is another database. RL_STORE, retryable, if it lacks tables. */
rl_status rl_pg_standby_check(rl_pg_conn *conn, const rl_target *primary,
                              const rl_migrations *known, rl_err *err);

#endif
