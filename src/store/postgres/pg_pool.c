/* A pool of connections for reads. See pg_pool.h. */
#include "store/postgres/pg_pool.h"

#include "core/lock.h"
#include "store/postgres/postgres_sql.h"

#include <string.h>

void rl_pg_pool_init(rl_pg_pool *pool, unsigned size, rl_pg_server *server)
{
    memset(pool, 0, sizeof *pool);
    pool->size = size;
    pthread_mutex_init(&pool->lock, NULL);
    rl_cond_init(&pool->freed);
    for (unsigned i = 0; i < size; i++) {
        rl_pg_conn_init(&pool->conns[i], server, NULL);
        pool->conns[i].cancels = true;
    }
}

void rl_pg_pool_free(rl_pg_pool *pool)
{
    for (unsigned i = 0; i < pool->size; i++) {
        rl_pg_conn_free(&pool->conns[i]);
    }
    pthread_cond_destroy(&pool->freed);
    pthread_mutex_destroy(&pool->lock);
}

/* The first free connection, so that few are opened; pool->size if none. Lock held. */
static unsigned find_free(const rl_pg_pool *pool)
{
    unsigned at = 0;

    while (at < pool->size && pool->used[at]) {
        at++;
    }
    return at;
}

rl_status rl_pg_pool_take(rl_pg_pool *pool, rl_pg_conn **conn, rl_err *err)
{
    const uint64_t timeout_ns = pool->conns[0].server->timeout_ns;
    struct timespec end = rl_timespec(rl_monotonic_ns() + timeout_ns);
    rl_status status = RL_OK;
    unsigned at;
    int rc = 0;

    pthread_mutex_lock(&pool->lock);
    while ((at = find_free(pool)) == pool->size && rc == 0) {
        rc = rl_cond_timedwait(&pool->freed, &pool->lock, &end);
    }
    if (at < pool->size) {
        pool->used[at] = true;
        *conn = &pool->conns[at];
    } else {
        status = rl_err_set(err, RL_STORE,
                            "PostgreSQL: all %u connections for reads have been in use "
                            "for %.3g s; raise RUNLOG_POSTGRES_POOL to allow more",
                            pool->size, (double)timeout_ns / 1e9);
        if (err != NULL) {
            err->retryable = true;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

bool rl_pg_pool_is_spread(const rl_pg_pool *pool)
{
    return atomic_load(&pool->conns[0].server->spread);
}

void rl_pg_pool_give_read(rl_pg_pool *pool, rl_pg_conn *conn)
{
    pthread_mutex_lock(&pool->lock);
    pool->used[conn - pool->conns] = false;
    pthread_cond_signal(&pool->freed);
    pthread_mutex_unlock(&pool->lock);
}

void rl_pg_pool_give(rl_pg_pool *pool, rl_pg_conn *conn)
{
    atomic_fetch_add(&conn->server->other_writes, 1);
    rl_pg_pool_give_read(pool, conn);
}

rl_status rl_pg_pool_use(rl_pg_conn *conn, rl_pg_pool_work work, void *ctx, rl_err *err)
{
    bool was_connected = conn->pg != NULL;
    rl_status status = RL_OK;

    for (int tries = 0; tries < 2; tries++) {
        status = rl_pg_conn_open(conn, err);
        if (status == RL_OK) {
            status = work(conn, ctx, err);
        }
        if (status == RL_OK || !was_connected || !rl_pg_conn_lost(conn)) {
            break;
        }
        was_connected = false;
    }
    return status;
}

rl_status rl_pg_pool_run(rl_pg_pool *pool, rl_pg_pool_work work, void *ctx, rl_err *err)
{
    rl_pg_conn *conn = NULL;
    rl_status status = rl_pg_pool_take(pool, &conn, err);

    if (status == RL_OK) {
        status = rl_pg_pool_use(conn, work, ctx, err);
        rl_pg_pool_give(pool, conn);
    }
    return status;
}

rl_status rl_pg_pool_run_read(rl_pg_pool *pool, rl_pg_pool_work work, void *ctx,
                              rl_err *err)
{
    rl_pg_conn *conn = NULL;
    rl_status status = rl_pg_pool_take(pool, &conn, err);

    if (status == RL_OK) {
        status = rl_pg_pool_use(conn, work, ctx, err);
        rl_pg_pool_give_read(pool, conn);
    }
    return status;
}

rl_status rl_pg_pool_statement(rl_pg_conn *conn, void *statement, rl_err *err)
{
    const rl_pg_query *self = statement;

    return rl_pg_conn_exec(conn, self->sql, self->count, self->values, true, self->result,
                           err);
}

rl_status rl_pg_pool_read(rl_pg_pool *pool, const char *sql, int count,
                          const char *const *values, PGresult **result, rl_err *err)
{
    rl_pg_query self = {sql, count, values, result};

    return rl_pg_pool_run_read(pool, rl_pg_pool_statement, &self, err);
}

/* One attempt of a statement that writes. libpq sends its Sync last, without which the
 * server commits nothing; and a server that refuses a statement has not executed it. */
static rl_status write_once(rl_pg_conn *conn, const rl_pg_query *self, bool *unknown,
                            rl_err *err)
{
    rl_err own = {.code = RL_OK};
    rl_status status = rl_pg_conn_open(conn, &own);

    *unknown = false;
    if (status == RL_OK && !PQsendQueryParams(conn->pg, self->sql, self->count, NULL,
                                              self->values, NULL, NULL, 1)) {
        status = rl_pg_conn_error(conn, NULL, &own);
        rl_pg_conn_close(conn); /* a part of it may be sent */
    } else if (status == RL_OK) {
        status = rl_pg_conn_last(conn, self->result, &own);
        *unknown = status != RL_OK && own.sqlstate[0] == '\0';
    }
    if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
}

rl_status rl_pg_pool_write(rl_pg_pool *pool, const char *sql, int count,
                           const char *const *values, PGresult **result, bool *unknown,
                           rl_err *err)
{
    const rl_pg_query self = {sql, count, values, result};
    rl_pg_conn *conn = NULL;
    rl_status status = rl_pg_pool_take(pool, &conn, err);
    bool was_connected = conn != NULL && conn->pg != NULL;

    *unknown = false;
    if (conn != NULL) {
        status = write_once(conn, &self, unknown, err);
        if (status != RL_OK && !*unknown && was_connected && rl_pg_conn_lost(conn)) {
            status = write_once(conn, &self, unknown, err); /* the server had restarted */
        }
        rl_pg_pool_give(pool, conn);
    }
    return status;
}

/* One attempt. A transaction whose COMMIT the server has not answered may have committed. */
static rl_status transact_once(rl_pg_conn *conn, rl_pg_pool_work work, void *ctx,
                               bool *unknown, rl_err *err)
{
    rl_err own = {.code = RL_OK};
    rl_status status = rl_pg_conn_open(conn, &own);

    *unknown = false;
    if (status == RL_OK) {
        status = rl_pg_conn_exec(conn, RL_PG_BEGIN, 0, NULL, false, NULL, &own);
    }
    if (status == RL_OK) {
        status = work(conn, ctx, &own);
    }
    if (status == RL_OK) {
        status = rl_pg_conn_exec(conn, RL_PG_COMMIT, 0, NULL, false, NULL, &own);
        *unknown = status != RL_OK && own.sqlstate[0] == '\0';
    }
    if (status != RL_OK) {
        rl_pg_conn_rollback(conn);
    }
    if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
}

rl_status rl_pg_pool_transact(rl_pg_pool *pool, rl_pg_pool_work work, void *ctx,
                              bool *unknown, rl_err *err)
{
    rl_pg_conn *conn = NULL;
    rl_status status = rl_pg_pool_take(pool, &conn, err);
    bool was_connected = conn != NULL && conn->pg != NULL;

    *unknown = false;
    if (conn != NULL) {
        status = transact_once(conn, work, ctx, unknown, err);
        if (status != RL_OK && !*unknown && was_connected && rl_pg_conn_lost(conn)) {
            status = transact_once(conn, work, ctx, unknown, err); /* as above */
        }
        rl_pg_pool_give(pool, conn);
    }
    return status;
}

void rl_pg_pool_before_fork(rl_pg_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
}

void rl_pg_pool_after_fork(rl_pg_pool *pool, bool in_child)
{
    if (in_child) {
        for (unsigned i = 0; i < pool->size; i++) {
            rl_pg_conn_abandon(&pool->conns[i], !pool->used[i]);
            pool->used[i] = false;
        }
        rl_cond_init(&pool->freed); /* its waiting threads are the parent's */
    }
    pthread_mutex_unlock(&pool->lock);
}
