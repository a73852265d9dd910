/* Migrations of a PostgreSQL database. See pg_migrate.h. */
#include "store/postgres/pg_migrate.h"

#include "store/postgres/pg_schema.h"
#include "store/postgres/pg_schema_sql.h"
#include "store/postgres/postgres_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INSUFFICIENT_PRIVILEGE "42501"

static rl_status run(rl_pg_conn *conn, const char *sql, rl_err *err)
{
    return rl_pg_conn_exec(conn, sql, 0, NULL, false, NULL, err);
}

/* Compares the database's migrations with the known ones. */
static rl_status check_migrations(rl_pg_conn *conn, const rl_pg_migration_plan *plan,
                                  rl_applied *applied, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status;
    int count;

    *applied = (rl_applied){0};
    status = rl_pg_conn_exec(conn, plan->table_exists, 0, NULL, false, &result, err);
    if (status != RL_OK || PQntuples(result) == 0) {
        PQclear(result);
        return status;
    }
    PQclear(result);
    result = NULL;
    status = rl_pg_conn_exec(conn, plan->list, 0, NULL, false, &result, err);
    count = status == RL_OK ? PQntuples(result) : 0;
    for (int row = 0; row < count && status == RL_OK; row++) {
        int number = (int)strtol(PQgetvalue(result, row, 0), NULL, 10);

        status = rl_migration_check(&plan->known, number, PQgetvalue(result, row, 1),
                                    applied, err);
    }
    PQclear(result);
    return status;
}

/* Whether somebody else's relation, column, trigger or function has a name that a migration
 * gives. pg_schema.c has looked for tables before. */
static bool is_in_the_way(const char *sqlstate)
{
    static const char *const states[] = {"42P07", "42701", "42710", "42723"};
    bool found = false;

    for (size_t i = 0; i < sizeof states / sizeof *states && !found; i++) {
        found = strcmp(sqlstate, states[i]) == 0;
    }
    return found;
}

/* Adds to the error what to rename, or which role must run which command once. */
static void add_advice(rl_pg_conn *conn, const char *schema, rl_err *err)
{
    char reason[RL_ERR_TEXT];

    snprintf(reason, sizeof reason, "%s", err->text);
    if (strstr(reason, "may not use") != NULL) {
        return; /* it says all */
    }
    if (strstr(reason, "operation is not allowed on this node") != NULL) {
        snprintf(err->text, sizeof err->text,
                 "PostgreSQL: this server is a worker of a Citus cluster that does not "
                 "have runlog's tables: run `runlog migrate --distributed` with the DSN "
                 "of the coordinator once (%.200s)",
                 reason);
    } else if (strstr(reason, "uuid-ossp") != NULL) {
        snprintf(err->text, sizeof err->text,
                 "%.200s. Let a role that may create extensions run this once: psql -d "
                 "'%.100s' -c 'CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\"'",
                 reason, PQdb(conn->pg));
    } else if (is_in_the_way(err->sqlstate)) {
        snprintf(err->text, sizeof err->text,
                 "%.400s, and runlog has not made it. Nothing was changed. Rename it, or "
                 "give runlog a schema of its own: CREATE SCHEMA runlog, and in "
                 "POSTGRES_DSN options='-c search_path=runlog'",
                 reason);
        err->unusable = true;
    } else if (strcmp(err->sqlstate, INSUFFICIENT_PRIVILEGE) == 0) {
        snprintf(
            err->text, sizeof err->text,
            "%.200s. Let the owner of the database run this once: psql -d '%.100s' -c "
            "'GRANT CREATE, USAGE ON SCHEMA %.135s TO \"%.100s\"'",
            reason, PQdb(conn->pg), schema, PQuser(conn->pg));
    }
}

static rl_status apply_migration(rl_pg_conn *conn, const rl_pg_migration_plan *plan,
                                 const rl_migration *migration, rl_err *err)
{
    char number[16];
    const char *values[] = {number, migration->name, migration->checksum};
    char reason[RL_ERR_TEXT];
    rl_status status;
    rl_buf sql;

    snprintf(number, sizeof number, "%d", migration->number);
    rl_buf_init(&sql, RL_BUF_MAX);
    rl_migration_plain_sql(migration, &sql);
    status = sql.failed ? rl_err_nomem(err) : run(conn, sql.data, err);
    rl_buf_free(&sql);
    if (status != RL_OK && !rl_pg_conn_lost(conn)) {
        snprintf(reason, sizeof reason, "%s", err->text);
        snprintf(err->text, sizeof err->text, "migration %.60s: %.650s", migration->name,
                 reason);
    }
    if (status == RL_OK) {
        status = rl_pg_conn_exec(conn, plan->insert, 3, values, false, NULL, err);
    }
    return status;
}

/* Whether migrations of indexes are left for later: *later. */
static rl_status read_size(rl_pg_conn *conn, const rl_pg_migration_plan *plan,
                           const rl_applied *applied, bool *later, rl_err *err)
{
    rl_status status = RL_OK;

    *later = false;
    if (plan->is_large != NULL && applied->newest > 0 &&
        rl_migration_lacks_indexes(&plan->known, applied)) {
        status = rl_pg_conn_has_row(conn, plan->is_large, later, err);
    }
    return status;
}

/* Begins the transaction, takes the lock, and deletes stale rows. */
static rl_status begin_transaction(rl_pg_conn *conn, const rl_pg_migration_plan *plan,
                                   rl_err *err)
{
    rl_status status = run(conn, RL_PG_BEGIN, err);

    if (status == RL_OK && plan->configure != NULL) {
        status = plan->configure(conn, plan->ctx, err);
    }
    if (status == RL_OK) {
        status = run(conn, RL_PG_LOCK, err);
    }
    if (status == RL_OK && plan->delete_stale != NULL) {
        status = run(conn, plan->create_table, err);
        if (status == RL_OK) {
            status = run(conn, plan->delete_stale, err);
        }
    }
    return status;
}

/* Within the transaction, lock held. `later`: but for those of indexes. */
static rl_status apply_missing(rl_pg_conn *conn, const rl_pg_migration_plan *plan,
                               bool later, rl_err *err)
{
    rl_applied applied;
    rl_status status = check_migrations(conn, plan, &applied, err);
    size_t at = rl_migration_next(&plan->known, &applied, later, 0);

    if (status == RL_OK && plan->check != NULL) {
        status = plan->check(conn, applied.newest, plan->ctx, err);
    }
    if (status == RL_OK && at < plan->known.count && plan->before != NULL) {
        status = run(conn, plan->before, err);
    }
    if (status == RL_OK && applied.newest == 0) {
        status = run(conn, plan->create_table, err);
    }
    while (status == RL_OK && at < plan->known.count) {
        status = apply_migration(conn, plan, &plan->known.list[at], err);
        at = rl_migration_next(&plan->known, &applied, later, at + 1);
    }
    if (status == RL_OK && plan->after != NULL) {
        status = run(conn, plan->after, err);
    }
    return status;
}

/* Commits, or rolls back after an error. */
static rl_status end_transaction(rl_pg_conn *conn, const char *schema, rl_status status,
                                 rl_err *err)
{
    if (status == RL_OK) {
        status = run(conn, RL_PG_COMMIT, err);
    }
    if (status != RL_OK && !rl_pg_conn_lost(conn)) {
        add_advice(conn, schema != NULL ? schema : "public", err);
        rl_pg_conn_rollback(conn);
    }
    return status;
}

rl_status rl_pg_migrate_plan(rl_pg_conn *conn, const rl_pg_migration_plan *plan,
                             rl_err *err)
{
    rl_err failure; /* add_advice needs one, `err` may be NULL */
    rl_applied applied;
    bool later = false;
    rl_status status = check_migrations(conn, plan, &applied, &failure);

    if (status == RL_OK) {
        status = read_size(conn, plan, &applied, &later, &failure);
    }
    if (status == RL_OK &&
        (plan->always_lock ||
         rl_migration_next(&plan->known, &applied, later, 0) < plan->known.count)) {
        status = begin_transaction(conn, plan, &failure);
        if (status == RL_OK) {
            status = apply_missing(conn, plan, later, &failure);
        }
        status = end_transaction(conn, plan->schema, status, &failure);
    } else if (status == RL_OK && plan->check != NULL) {
        status = plan->check(conn, applied.newest, plan->ctx, &failure);
    }
    if (status == RL_OK && later) {
        rl_migration_say_later("the database", conn->server->notices);
    }
    if (status != RL_OK && err != NULL) {
        *err = failure;
    }
    return status;
}

static rl_status check_schema(rl_pg_conn *conn, size_t applied, void *schema, rl_err *err)
{
    return rl_pg_schema_check(conn, schema, applied, err);
}

rl_status rl_pg_migrate(rl_pg_conn *conn, const rl_migrations *known, rl_err *err)
{
    rl_pg_schema schema;
    rl_status status = rl_pg_schema_read(conn, &schema, err);
    const rl_pg_migration_plan plan = {
        .known = *known,
        .table_exists = RL_PG_HAS_MIGRATIONS,
        .create_table = RL_PG_CREATE_MIGRATIONS,
        .list = RL_PG_MIGRATIONS,
        .insert = RL_PG_ADD_MIGRATION,
        .is_large = RL_PG_IS_LARGE,
        .always_lock = schema.unbound,
        .before = RL_PG_PLACE_EXTENSION,
        .after = RL_PG_BIND,
        .schema = schema.name,
        .check = check_schema,
        .ctx = &schema,
    };

    return status == RL_OK ? rl_pg_migrate_plan(conn, &plan, err) : status;
}

rl_status rl_pg_migrate_read(rl_pg_conn *conn, const rl_migrations *known,
                             rl_applied *applied, rl_err *err)
{
    const rl_pg_migration_plan plan = {
        .known = *known,
        .table_exists = RL_PG_HAS_MIGRATIONS,
        .list = RL_PG_MIGRATIONS,
    };

    return check_migrations(conn, &plan, applied, err);
}

rl_status rl_pg_migrate_record(rl_pg_conn *conn, const rl_migration *migration,
                               rl_err *err)
{
    char number[16];
    const char *values[] = {number, migration->name, migration->checksum};

    snprintf(number, sizeof number, "%d", migration->number);
    return rl_pg_conn_exec(conn, RL_PG_ADD_MIGRATION, 3, values, false, NULL, err);
}
