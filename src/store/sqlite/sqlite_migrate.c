/* Applies all missing migrations to a SQLite file in one transaction, whose write lock
 * keeps other processes from doing so at the same time. Those of indexes are left to
 * rl_sqlite_build_indexes if the file has many runs.
 */
#include "core/clock.h"
#include "store/sqlite/sqlite_conn.h"
#include "store/sqlite/sqlite_sql.h"

#include <string.h>

rl_status rl_sqlite_migrations(rl_sqlite_conn *conn, const rl_migrations *known,
                               rl_applied *applied, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_HAS_MIGRATIONS, &stmt, err);
    bool found = false;

    *applied = (rl_applied){0};
    if (status == RL_OK) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    sqlite3_reset(stmt);
    if (!found) {
        return status;
    }
    status = rl_sqlite_conn_stmt(conn, RL_SQLITE_MIGRATIONS, &stmt, err);
    if (status != RL_OK) {
        return status;
    }
    while ((status = rl_sqlite_conn_next(conn, stmt, &found, err)) == RL_OK && found) {
        const char *checksum = (const char *)sqlite3_column_text(stmt, 1);

        status = rl_migration_check(known, sqlite3_column_int(stmt, 0),
                                    checksum != NULL ? checksum : "", applied, err);
        if (status != RL_OK) {
            break;
        }
    }
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_sqlite_migration_record(rl_sqlite_conn *conn, const rl_migration *migration,
                                     rl_err *err)
{
    char now[RL_TIME_TEXT];
    sqlite3_stmt *stmt;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ADD_MIGRATION, &stmt, err);

    if (status != RL_OK) {
        return status;
    }
    rl_time_format(rl_time_now(), now);
    sqlite3_bind_int(stmt, 1, migration->number);
    sqlite3_bind_text(stmt, 2, migration->name, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(stmt, 3, migration->checksum, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(stmt, 4, now, -1, SQLITE_TRANSIENT);
    return rl_sqlite_conn_step(conn, stmt, err);
}

/* Whether somebody else's table, index, trigger or column has a name that a migration
 * gives. sqlite_schema.c has looked for tables before the first one. */
static bool is_in_the_way(const char *message)
{
    return strstr(message, " already exists") != NULL ||
           strncmp(message, "duplicate column name", 21) == 0;
}

static rl_status apply_migration(rl_sqlite_conn *conn, const rl_migration *migration,
                                 rl_err *err)
{
    int rc = sqlite3_exec(conn->db, migration->sql, NULL, NULL, NULL);

    if (rc == SQLITE_ERROR && is_in_the_way(sqlite3_errmsg(conn->db))) {
        rl_err_set(err, RL_STORE,
                   "SQLite file %.250s: migration %.60s: %.200s, and runlog has not made "
                   "it. No table was changed. Rename it, or give another path in "
                   "RUNLOG_SQLITE_PATH",
                   conn->path, migration->name, sqlite3_errmsg(conn->db));
        if (err != NULL) {
            err->unusable = true;
        }
        return RL_STORE;
    }
    return rc == SQLITE_OK ? rl_sqlite_migration_record(conn, migration, err)
                           : rl_sqlite_conn_error(conn, rc, err);
}

/* Whether migrations of indexes are left for later: *later. */
static rl_status read_size(rl_sqlite_conn *conn, const rl_migrations *known,
                           const rl_applied *applied, bool *later, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = RL_OK;

    *later = false;
    if (applied->newest > 0 && rl_migration_lacks_indexes(known, applied)) {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_IS_LARGE, &stmt, err);
        if (status == RL_OK) {
            status = rl_sqlite_conn_next(conn, stmt, later, err);
        }
        sqlite3_reset(stmt);
    }
    return status;
}

/* Within the transaction. */
static rl_status apply_missing(rl_sqlite_conn *conn, const rl_migrations *known,
                               bool later, rl_err *err)
{
    rl_applied applied = {0};
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_CREATE_MIGRATIONS, err);
    size_t at;

    if (status == RL_OK) {
        status = rl_sqlite_migrations(conn, known, &applied, err);
    }
    at = rl_migration_next(known, &applied, later, 0);
    while (status == RL_OK && at < known->count) {
        status = apply_migration(conn, &known->list[at], err);
        at = rl_migration_next(known, &applied, later, at + 1);
    }
    return status;
}

rl_status rl_sqlite_migrate(rl_sqlite_conn *conn, const rl_migrations *known, bool *later,
                            rl_err *err)
{
    rl_applied applied;
    rl_status status = rl_sqlite_migrations(conn, known, &applied, err);

    *later = false;
    if (status == RL_OK) {
        status = read_size(conn, known, &applied, later, err);
    }
    if (status != RL_OK ||
        rl_migration_next(known, &applied, *later, 0) == known->count) {
        return status;
    }
    status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    if (status == RL_OK) {
        status = apply_missing(conn, known, *later, err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    rl_sqlite_conn_rollback(conn);
    return status;
}
