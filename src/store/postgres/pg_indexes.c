/* Indexes of a table in use. See pg_indexes.h. */
#include "store/postgres/pg_indexes.h"

#include "store/postgres/pg_migrate.h"
#include "store/postgres/pg_schema_sql.h"

#define PATIENCE_NS (UINT64_C(30) * 24 * 3600 * 1000000000)

/* Refuses to begin while another session builds: each would wait for the other. */
static rl_status check_alone(rl_pg_conn *conn, rl_err *err)
{
    bool builds = false;
    rl_status status = rl_pg_conn_has_row(conn, RL_PG_BUILDING, &builds, err);

    if (status == RL_OK && builds) {
        status = rl_err_set(err, RL_STORE,
                            "PostgreSQL: another session builds an index of runlog's "
                            "tables (pg_stat_progress_create_index has it): wait until "
                            "it has ended, and try again");
    }
    return status;
}

/* Drops the indexes of a migration that are not valid. */
static rl_status drop_broken(rl_pg_conn *conn, const rl_migration *migration, rl_err *err)
{
    const char *const values[] = {migration->sql};
    PGresult *result = NULL;
    rl_status status =
        rl_pg_conn_exec(conn, RL_PG_BROKEN_INDEXES, 1, values, false, &result, err);
    const int count = status == RL_OK ? PQntuples(result) : 0;

    for (int row = 0; row < count && status == RL_OK; row++) {
        status =
            rl_pg_conn_exec(conn, PQgetvalue(result, row, 0), 0, NULL, false, NULL, err);
    }
    PQclear(result);
    return status;
}

static rl_status build(rl_pg_conn *conn, const rl_migration *migration, rl_err *err)
{
    const char *text = migration->sql;
    rl_status status = drop_broken(conn, migration, err);
    rl_buf statement;

    rl_buf_init(&statement, RL_BUF_MAX);
    while (status == RL_OK && rl_migration_statement(&text, &statement)) {
        status = statement.failed
                     ? rl_err_nomem(err)
                     : rl_pg_conn_exec(conn, statement.data, 0, NULL, false, NULL, err);
    }
    if (status == RL_OK) {
        status = rl_pg_migrate_record(conn, migration, err);
    }
    rl_buf_free(&statement);
    return status;
}

rl_status rl_pg_indexes_build(rl_pg_server *server, const rl_migrations *known,
                              rl_err *err)
{
    rl_applied applied = {0};
    rl_pg_conn conn;
    rl_status status;
    size_t at;

    rl_pg_conn_init(&conn, server, NULL);
    status = rl_pg_conn_open(&conn, err);
    if (status == RL_OK) {
        status = rl_pg_migrate_read(&conn, known, &applied, err);
    }
    at = rl_migration_next(known, &applied, false, 0);
    if (status == RL_OK && at < known->count) {
        conn.timeout_ns = PATIENCE_NS;
        status = check_alone(&conn, err);
    }
    while (status == RL_OK && at < known->count) {
        status = build(&conn, &known->list[at], err);
        at = rl_migration_next(known, &applied, false, at + 1);
    }
    rl_pg_conn_free(&conn);
    return status;
}
