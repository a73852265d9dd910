/* A pool of connections to PostgreSQL for reads and deletions, so that readers wait
 * neither for writers nor for one another. Each connects at its first use. The server
 * cancels what gets a time-out.
 *
 * Threads: any. A thread that has taken a connection owns it until it gives it back.
 */
#ifndef RL_PG_POOL_H
#define RL_PG_POOL_H

#include "store/postgres/pg_conn.h"

#include <pthread.h>

#define RL_PG_POOL_MAX 64

typedef struct rl_pg_pool {
    pthread_mutex_t lock; /* guards `used`; never held while waiting for the server */
    pthread_cond_t freed; /* signalled when a connection is given back; monotonic clock */
    unsigned size;
    bool used[RL_PG_POOL_MAX];
    rl_pg_conn conns[RL_PG_POOL_MAX];
} rl_pg_pool;

/* `size`: 1 to RL_PG_POOL_MAX connections. Borrows the server. */
void rl_pg_pool_init(rl_pg_pool *pool, unsigned size, rl_pg_server *server);
void rl_pg_pool_free(rl_pg_pool *pool); /* no connection may be in use */

/* Whether the tables lie on several servers: see rl_pg_server.spread. */
bool rl_pg_pool_is_spread(const rl_pg_pool *pool);

/* Gives a free connection, borrowed until rl_pg_pool_give, and perhaps not connected.
 * RL_STORE if all are in use for as long as the server's time-out. The second way to give
 * it back is for those who have only read. */
rl_status rl_pg_pool_take(rl_pg_pool *pool, rl_pg_conn **conn, rl_err *err);
void rl_pg_pool_give(rl_pg_pool *pool, rl_pg_conn *conn);
void rl_pg_pool_give_read(rl_pg_pool *pool, rl_pg_conn *conn);

/* Calls `work`, which may write, on an open connection of the pool. Calls it a second time, on a new
 * connection, if the connection was open before and was lost during the first call. So
 * `work` must be repeatable. The second function is for work that only reads. */
typedef rl_status (*rl_pg_pool_work)(rl_pg_conn *conn, void *ctx, rl_err *err);
rl_status rl_pg_pool_run(rl_pg_pool *pool, rl_pg_pool_work work, void *ctx, rl_err *err);
rl_status rl_pg_pool_run_read(rl_pg_pool *pool, rl_pg_pool_work work, void *ctx,
                              rl_err *err);

/* The same on a connection that was taken. */
rl_status rl_pg_pool_use(rl_pg_conn *conn, rl_pg_pool_work work, void *ctx, rl_err *err);

/* Work: runs one statement (the context) with binary results. */
typedef struct rl_pg_query {
    const char *sql;
    int count; /* of the values; text */
    const char *const *values;
    PGresult **result;
} rl_pg_query;
rl_status rl_pg_pool_statement(rl_pg_conn *conn, void *statement, rl_err *err);

/* Runs one statement that reads as rl_pg_conn_exec does, with binary results. */
rl_status rl_pg_pool_read(rl_pg_pool *pool, const char *sql, int count,
                          const char *const *values, PGresult **result, rl_err *err);

/* Runs one statement that writes, which the server executes once at most. After a
 * failure, *unknown tells whether it may have executed it. */
rl_status rl_pg_pool_write(rl_pg_pool *pool, const char *sql, int count,
                           const char *const *values, PGresult **result, bool *unknown,
                           rl_err *err);

/* The same for `work`, a transaction that this begins and commits, or rolls back. */
rl_status rl_pg_pool_transact(rl_pg_pool *pool, rl_pg_pool_work work, void *ctx,
                              bool *unknown, rl_err *err);

/* Around a fork: takes the lock; releases it. The child gives up the connections. */
void rl_pg_pool_before_fork(rl_pg_pool *pool);
void rl_pg_pool_after_fork(rl_pg_pool *pool, bool in_child);

#endif
