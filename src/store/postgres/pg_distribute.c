/* Laying tables out over a cluster. See pg_distribute.h. */
#include "store/postgres/pg_distribute.h"

#include "store/postgres/pg_distribute_sql.h"
#include "store/postgres/pg_dsn.h"
#include "store/postgres/pg_migrate.h"
#include "store/postgres/pg_schema.h"
#include "store/postgres/postgres_sql.h"

#include <stdio.h>
#include <string.h>

#define COPY_NS UINT64_C(604800000000000) /* a week: for copying all runs to the shards */

/* While the tables are laid out. */
typedef struct layout_ctx {
    size_t wanted; /* migrations */
    bool changed;  /* some of them were missing */
} layout_ctx;

static rl_status run(rl_pg_conn *conn, const char *sql, rl_err *err)
{
    return rl_pg_conn_exec(conn, sql, 0, NULL, false, NULL, err);
}

/* Refuses a server that is no coordinator of a cluster. */
static rl_status check_server(rl_pg_conn *conn, rl_err *err)
{
    bool has_citus = false, is_worker = false;
    rl_status status = rl_pg_conn_has_row(conn, RL_PG_HAS_CITUS, &has_citus, err);

    if (status == RL_OK && !has_citus) {
        status = rl_err_set(err, RL_STORE,
                            "PostgreSQL: the database %.63s has no Citus, so its tables "
                            "can't be distributed. Nothing was changed. Let a superuser "
                            "run CREATE EXTENSION citus on each server of the cluster",
                            PQdb(conn->pg));
    }
    if (status == RL_OK) {
        status = rl_pg_conn_has_row(conn, RL_PG_IS_WORKER, &is_worker, err);
    }
    if (status == RL_OK && is_worker) {
        status = rl_err_set(err, RL_STORE,
                            "PostgreSQL: this server is a worker of the cluster. Nothing "
                            "was changed. Give the DSN of the coordinator");
    }
    return status;
}

/* Refuses a role that may not have triggers on distributed tables. */
static rl_status check_right(rl_pg_conn *conn, rl_err *err)
{
    char reason[RL_ERR_TEXT];
    rl_status status = run(conn, RL_PG_BEGIN, err);

    if (status == RL_OK) {
        status = run(conn, RL_PG_TRY_TRIGGERS, err);
        rl_pg_conn_rollback(conn);
    }
    if (status == RL_STORE && err->sqlstate[0] != '\0') {
        snprintf(reason, sizeof reason, "%s", err->text);
        snprintf(
            err->text, sizeof err->text,
            "%.300s. Nothing was changed. Let a superuser run this command, or GRANT "
            "SET ON PARAMETER citus.enable_unsafe_triggers TO \"%.63s\"",
            reason, PQuser(conn->pg));
    }
    return status;
}

/* Refuses tables that somebody else has laid out, in part or in whole, and those of
 * another role. */
static rl_status check_tables(rl_pg_conn *conn, rl_err *err)
{
    PGresult *result = NULL;
    bool laid_out = false;
    const char *there, *wanted;
    rl_status status = rl_pg_conn_has_row(conn, RL_PG_HAS_LAYOUT, &laid_out, err);

    if (status == RL_OK) {
        status = rl_pg_conn_exec(conn, RL_PG_SURVEY_TABLES, 0, NULL, false, &result, err);
    }
    if (status == RL_OK) {
        there = PQgetvalue(result, 0, 0);
        wanted = PQgetvalue(result, 0, laid_out ? 2 : 1);
        if (strcmp(there, wanted) != 0) {
            status = rl_err_set(
                err, RL_STORE,
                "PostgreSQL: some of runlog's tables were distributed by other means: "
                "%.450s. Nothing was changed. Call undistribute_table for those that "
                "are not on the coordinator alone%s, then repeat this",
                PQgetvalue(result, 0, 3),
                laid_out ? ", and DROP TABLE runlog_distributed_migrations" : "");
        } else if (!PQgetisnull(result, 0, 4)) {
            status = rl_err_set(err, RL_STORE,
                                "PostgreSQL: the role %.63s does not own these tables: "
                                "%.400s. Nothing was changed. Let their owner run this",
                                PQuser(conn->pg), PQgetvalue(result, 0, 4));
        }
    }
    PQclear(result);
    return status;
}

static rl_status check(rl_pg_conn *conn, rl_err *err)
{
    rl_status status = check_server(conn, err);

    if (status == RL_OK) {
        status = check_tables(conn, err);
    }
    return status == RL_OK ? check_right(conn, err) : status;
}

static rl_status check_layout(rl_pg_conn *conn, size_t applied, void *ctx, rl_err *err)
{
    layout_ctx *self = ctx;

    self->changed = applied < self->wanted;
    return check_tables(conn, err);
}

static rl_status lay_out(rl_pg_conn *conn, const rl_migrations *layout, bool *changed,
                         rl_err *err)
{
    layout_ctx ctx = {.wanted = layout->count};
    rl_pg_schema schema;
    rl_status status = rl_pg_schema_read(conn, &schema, err);
    const rl_pg_migration_plan plan = {
        .known = *layout,
        .table_exists = RL_PG_HAS_LAYOUT,
        .create_table = RL_PG_MAKE_LAYOUT,
        .list = RL_PG_LAYOUT,
        .insert = RL_PG_LAID_OUT,
        .after = RL_PG_BIND, /* functions that were replaced have lost their schema */
        .schema = schema.name,
        .check = check_layout,
        .ctx = &ctx,
    };

    if (status == RL_OK) {
        status = rl_pg_migrate_plan(conn, &plan, err);
    }
    *changed = status == RL_OK && ctx.changed;
    return status == RL_OK ? run(conn, RL_PG_DROP_COPIES, err) : status;
}

rl_status rl_pg_distribute(const char *dsn, uint64_t timeout_ns,
                           const rl_migrations *known, const rl_migrations *layout,
                           bool *changed, rl_err *err)
{
    rl_pg_server server = {.dsn = dsn, .timeout_ns = timeout_ns};
    rl_pg_conn conn;
    rl_pg_dsn found;
    rl_status status = rl_pg_dsn_check(dsn, RL_PG_DSN, &found, err);

    *changed = false;
    rl_pg_sessions_init(&server.lost);
    rl_pg_conn_init(&conn, &server, NULL);
    if (status == RL_OK) {
        status = rl_pg_conn_open(&conn, err);
    }
    if (status == RL_OK) {
        conn.timeout_ns = COPY_NS;
        status = check(&conn, err);
    }
    if (status == RL_OK) {
        status = rl_pg_migrate(&conn, known, err);
    }
    if (status == RL_OK) {
        status = lay_out(&conn, layout, changed, err);
    }
    rl_pg_conn_free(&conn);
    rl_pg_sessions_destroy(&server.lost);
    return status;
}
