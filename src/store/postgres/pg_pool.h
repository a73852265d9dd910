/* A few connections to PostgreSQL for reads and deletions, so that a reader waits neither
 * for a writer nor for other readers. They are made when they are needed.
 *
 * Threads: any. Who has got a connection has it alone until it is given back.
 */
#ifndef RL_PG_POOL_H
#define RL_PG_POOL_H

#include "store/postgres/pg_conn.h"

#include <pthread.h>

#define RL_PG_POOL_MAX 64

typedef struct rl_pg_pool {
    pthread_mutex_t lock; /* guards `used`; held for no time */
    pthread_cond_t freed; /* on the monotonic clock */
    unsigned size;
    bool used[RL_PG_POOL_MAX];
    rl_pg_conn conns[RL_PG_POOL_MAX];
} rl_pg_pool;

/* `size`: 1 to RL_PG_POOL_MAX connections. Borrows the server. */
void rl_pg_pool_init(rl_pg_pool *pool, unsigned size, rl_pg_server *server);
void rl_pg_pool_free(rl_pg_pool *pool); /* what it owns; nobody may have a connection */

/* Gives a connection, borrowed until rl_pg_pool_give; RL_STORE when all have been in use
 * for as long as the time-out. It need not be connected. */
rl_status rl_pg_pool_take(rl_pg_pool *pool, rl_pg_conn **conn, rl_err *err);
void rl_pg_pool_give(rl_pg_pool *pool, rl_pg_conn *conn);

/* Does something on an open connection; once more if that was cut while it was idle, or
 * if nobody answers on it any more: a firewall may have forgotten it. So it must be
 * something that may be done twice. */
typedef rl_status (*rl_pg_pool_work)(rl_pg_conn *conn, void *ctx, rl_err *err);
rl_status rl_pg_pool_run(rl_pg_pool *pool, rl_pg_pool_work work, void *ctx, rl_err *err);

/* The same for one statement in a transaction of its own, as rl_pg_conn_exec runs it. */
rl_status rl_pg_pool_exec(rl_pg_pool *pool, const char *sql, int count,
                          const char *const *values, PGresult **result, rl_err *err);

/* Around a fork. The child forgets the connections. */
void rl_pg_pool_before_fork(rl_pg_pool *pool);
void rl_pg_pool_after_fork(rl_pg_pool *pool, bool in_child);

#endif
