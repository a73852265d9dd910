/* Laying tables out over a cluster. See pg_distribute.h. */
#include "store/postgres/pg_distribute.h"

#include "store/postgres/pg_distribute_sql.h"
#include "store/postgres/pg_dsn.h"
#include "store/postgres/pg_migrate.h"
#include "store/postgres/postgres_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_NS UINT64_C(604800000000000) /* a week: for copying all runs to the shards */

static rl_status run(rl_pg_conn *conn, const char *sql, rl_err *err)
{
    return rl_pg_conn_exec(conn, sql, 0, NULL, false, NULL, err);
}

/* Whether a query gives a row. */
static rl_status has_row(rl_pg_conn *conn, const char *sql, bool *has, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status = rl_pg_conn_exec(conn, sql, 0, NULL, false, &result, err);

    *has = status == RL_OK && PQntuples(result) > 0;
    PQclear(result);
    return status;
}

/* Refuses a server that is no coordinator of a cluster. */
static rl_status check_server(rl_pg_conn *conn, rl_err *err)
{
    bool has_citus = false, is_worker = false;
    rl_status status = has_row(conn, RL_PG_HAS_CITUS, &has_citus, err);

    if (status == RL_OK && !has_citus) {
        status = rl_err_set(err, RL_STORE,
                            "PostgreSQL: the database %.63s has no Citus, so its tables "
                            "can't be distributed. Nothing was changed. Let a superuser "
                            "run CREATE EXTENSION citus on each server of the cluster",
                            PQdb(conn->pg));
    }
    if (status == RL_OK) {
        status = has_row(conn, RL_PG_IS_WORKER, &is_worker, err);
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
    rl_err ignored;
    rl_status status = run(conn, RL_PG_BEGIN, err);

    if (status == RL_OK) {
        status = run(conn, RL_PG_TRY_TRIGGERS, err);
        (void)run(conn, RL_PG_ROLLBACK, &ignored);
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
    rl_status status = has_row(conn, RL_PG_HAS_LAYOUT, &laid_out, err);

    if (status == RL_OK) {
        status = rl_pg_conn_exec(conn, RL_PG_SURVEY_TABLES, 0, NULL, false, &result, err);
    }
    if (status == RL_OK) {
        there = PQgetvalue(result, 0, 0);
        wanted = PQgetvalue(result, 0, laid_out ? 2 : 1);
        if (strcmp(there, wanted) != 0) {
            status = rl_err_set(
                err, RL_STORE,
                "PostgreSQL: runlog's tables lie in part as runlog has not laid them "
                "out: "
                "%.450s. Nothing was changed. Call undistribute_table for those that do "
                "not lie on the coordinator alone%s, then repeat this",
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

/* Applies a migration of the layout, in the transaction. */
static rl_status apply(rl_pg_conn *conn, const rl_migration *migration, rl_err *err)
{
    char number[16], reason[RL_ERR_TEXT];
    const char *const values[] = {number, migration->name, migration->checksum};
    rl_status status = run(conn, migration->sql, err);

    snprintf(number, sizeof number, "%d", migration->number);
    if (status == RL_OK) { /* functions that were replaced have lost their schema */
        status = run(conn, RL_PG_BIND, err);
    }
    if (status == RL_OK) {
        status = rl_pg_conn_exec(conn, RL_PG_LAID_OUT, 3, values, false, NULL, err);
    } else if (!rl_pg_conn_lost(conn)) {
        snprintf(reason, sizeof reason, "%s", err->text);
        snprintf(err->text, sizeof err->text,
                 "distributed/%.60s: %.600s. The tables are as they were",
                 migration->name, reason);
    }
    return status;
}

/* Applies what is missing, with the lock held. */
static rl_status apply_missing(rl_pg_conn *conn, const rl_migrations *layout,
                               bool *changed, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status = run(conn, RL_PG_MAKE_LAYOUT, err);
    rl_applied applied = {0};

    if (status == RL_OK) {
        status = rl_pg_conn_exec(conn, RL_PG_LAYOUT, 0, NULL, false, &result, err);
    }
    for (int row = 0; status == RL_OK && row < PQntuples(result); row++) {
        status =
            rl_migration_check(layout, (int)strtol(PQgetvalue(result, row, 0), NULL, 10),
                               PQgetvalue(result, row, 1), &applied, err);
    }
    PQclear(result);
    for (size_t at = applied.newest; status == RL_OK && at < layout->count; at++) {
        status = apply(conn, &layout->list[at], err);
        *changed = true;
    }
    return status;
}

static rl_status lay_out(rl_pg_conn *conn, const rl_migrations *layout, bool *changed,
                         rl_err *err)
{
    rl_err ignored;
    rl_status status = run(conn, RL_PG_BEGIN, err);

    if (status == RL_OK) {
        status = run(conn, RL_PG_LOCK, err);
    }
    if (status == RL_OK) { /* another process may have been faster */
        status = check_tables(conn, err);
    }
    if (status == RL_OK) {
        status = apply_missing(conn, layout, changed, err);
    }
    if (status == RL_OK) {
        status = run(conn, RL_PG_COMMIT, err);
    } else if (!rl_pg_conn_lost(conn)) {
        (void)run(conn, RL_PG_ROLLBACK, &ignored);
    }
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
