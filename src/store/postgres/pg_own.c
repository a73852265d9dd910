/* Runs whose name is taken, on PostgreSQL. See pg_own.h. */
#include "store/postgres/pg_own.h"

#include "core/uuid.h"
#include "store/own_run.h"
#include "store/postgres/pg_row.h"
#include "store/postgres/postgres_sql.h"

#define LOOKS 4 /* at who is ahead, while other processes rename as well */

/* The context of the rl_own_ops below. */
typedef struct own_ctx {
    rl_pg_conn *conn;
    rl_buf *wide;
} own_ctx;

static rl_status find_by_id(void *ctx, const rl_run *run, rl_buf *name, rl_err *err)
{
    const own_ctx *self = ctx;
    char id[RL_UUID_TEXT];
    const char *values[] = {rl_run_text(run, RL_WPK_ID), id};
    PGresult *result = NULL;
    rl_status status;

    rl_uuid_format(run->id, id);
    status =
        rl_pg_conn_exec(self->conn, RL_PG_NAME_OF_ID, 2, values, false, &result, err);
    if (status == RL_OK && PQntuples(result) > 0) {
        rl_buf_add_text(name, PQgetvalue(result, 0, 0));
        rl_buf_add_char(name, '\0');
    }
    PQclear(result);
    return status;
}

static rl_status is_name_taken(void *ctx, const rl_run *run, const char *name,
                               bool *taken, rl_err *err)
{
    const own_ctx *self = ctx;
    const char *values[] = {rl_run_text(run, RL_WPK_ID), name};
    PGresult *result = NULL;
    rl_status status =
        rl_pg_conn_exec(self->conn, RL_PG_NAME_TAKEN, 2, values, false, &result, err);

    *taken = status == RL_OK && PQntuples(result) > 0;
    PQclear(result);
    return status;
}

static rl_status insert_as(void *ctx, const rl_run *run, const char *name, bool *done,
                           rl_err *err)
{
    const own_ctx *self = ctx;
    PGresult *result = NULL;
    const rl_pg_hook *hook = self->conn->server->hook;
    const rl_pg_statement *merge = rl_pg_merge_by(hook);
    rl_pg_row row;
    rl_status status = rl_pg_row_fill(&row, run, rl_time_now(), hook, self->wide, err);

    row.values[RL_RUN_ID] = name;
    if (status == RL_OK &&
        !PQsendQueryParams(self->conn->pg, merge->sql, merge->parameters, rl_pg_types,
                           row.values, row.lengths, rl_pg_formats, 0)) {
        status = rl_pg_conn_error(self->conn, NULL, err);
    }
    if (status == RL_OK) {
        status = rl_pg_conn_last(self->conn, &result, err);
    }
    *done = status == RL_OK && strcmp(PQcmdTuples(result), "0") != 0;
    PQclear(result);
    return status;
}

/* Executes a statement with wpk_id and two names; sets *any if it
 * selected or changed a row. */
static rl_status execute(rl_pg_conn *conn, const char *sql, const rl_run *run,
                         const char *from, const char *to, bool *any, rl_err *err)
{
    const char *values[] = {rl_run_text(run, RL_WPK_ID), from, to};
    PGresult *result = NULL;
    rl_status status = rl_pg_conn_exec(conn, sql, 3, values, false, &result, err);

    *any = status == RL_OK && strcmp(PQcmdTuples(result), "0") != 0;
    PQclear(result);
    return status;
}

/* Exchanges two names, in a transaction. The first step finds no row if another process
 * has renamed it meanwhile: then nothing is changed. */
static rl_status exchange(rl_pg_conn *conn, const rl_run *run, const char *name,
                          const char *spare, rl_err *err)
{
    const char *plain = rl_run_text(run, RL_RUN_ID);
    const char *const steps[][2] = {{plain, spare}, {name, plain}, {spare, name}};
    bool any = true;
    rl_status status = rl_pg_conn_exec(conn, RL_PG_BEGIN, 0, NULL, false, NULL, err);

    for (size_t i = 0; status == RL_OK && any && i < 3; i++) {
        status = execute(conn, RL_PG_RENAME, run, steps[i][0], steps[i][1], &any, err);
    }
    if (status == RL_OK && any) {
        status = rl_pg_conn_exec(conn, RL_PG_COMMIT, 0, NULL, false, NULL, err);
    } else {
        rl_pg_conn_rollback(conn);
    }
    return status;
}

/* Whether the server refuses to rename rows, as a foreign key or a trigger of the user's
 * may: then each keeps its name, and is stored all the same. Says so once. */
static bool is_refused(rl_pg_conn *conn, const rl_run *run, rl_status status,
                       const rl_err *reason)
{
    const bool refused =
        status == RL_STORE && !reason->retryable && reason->sqlstate[0] != '\0';

    if (refused && !atomic_exchange(&conn->server->rename_logged, true)) {
        rl_own_log_refusal(conn->server->notices, "PostgreSQL", run, reason);
    }
    return refused;
}

/* Another process may rename the same runs: what it did counts at the next look. */
static rl_status trade_names(void *ctx, const rl_run *run, const char *name,
                             const char *spare, rl_err *err)
{
    const own_ctx *self = ctx;
    const char *plain = rl_run_text(run, RL_RUN_ID);
    rl_err own = {.code = RL_OK};
    rl_status status = RL_OK;
    bool ahead = true;

    for (int i = 0; i < LOOKS && status == RL_OK && ahead; i++) {
        status = execute(self->conn, RL_PG_IS_AHEAD, run, plain, name, &ahead, &own);
        if (status == RL_OK && ahead) {
            status = exchange(self->conn, run, name, spare, &own);
            if (is_refused(self->conn, run, status, &own)) {
                status = RL_OK;
                ahead = false;
            }
        }
    }
    if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
}

rl_status rl_pg_own_insert(rl_pg_conn *conn, rl_buf *wide, const rl_run *run, rl_err *err)
{
    static const rl_own_ops ops = {find_by_id, is_name_taken, insert_as, trade_names};
    own_ctx self = {conn, wide};

    return rl_own_insert(&ops, &self, run, err);
}

rl_status rl_pg_own_check(rl_pg_conn *conn, rl_buf *wide, const rl_run *run, rl_err *err)
{
    const char *name = rl_run_text(run, RL_RUN_ID);
    own_ctx self = {conn, wide};
    bool there = false;
    rl_status status = is_name_taken(&self, run, name, &there, err);

    for (int i = 0; i < RL_OWN_SKIPS && status == RL_OK && !there; i++) {
        status = insert_as(&self, run, name, &there, err);
        if (status == RL_OK && !there) {
            status = is_name_taken(&self, run, name, &there, err);
        }
    }
    return status == RL_OK && !there ? rl_own_skipped(err) : status;
}
