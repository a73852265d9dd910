/* Applies all missing migrations to a SQLite file in one transaction, whose write lock
 * keeps other processes from doing so at the same time.
 */
#include "core/clock.h"
#include "store/sqlite/sqlite_conn.h"
#include "store/sqlite/sqlite_sql.h"

/* Compares the file's migrations with the known ones; *applied: how many it has. */
static rl_status check_migrations(rl_sqlite_conn *conn, const rl_migrations *known,
                                  size_t *applied, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_HAS_MIGRATIONS, &stmt, err);
    bool found = false;

    *applied = 0;
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
                                    checksum != NULL ? checksum : "", err);
        if (status != RL_OK) {
            break;
        }
        ++*applied;
    }
    sqlite3_reset(stmt);
    return status;
}

static rl_status apply_migration(rl_sqlite_conn *conn, const rl_migration *migration,
                                 rl_err *err)
{
    char now[RL_TIME_TEXT];
    sqlite3_stmt *stmt;
    rl_status status;
    int rc = sqlite3_exec(conn->db, migration->sql, NULL, NULL, NULL);

    if (rc != SQLITE_OK) {
        return rl_sqlite_conn_error(conn, rc, err);
    }
    status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ADD_MIGRATION, &stmt, err);
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

rl_status rl_sqlite_migrate(rl_sqlite_conn *conn, const rl_migrations *known, rl_err *err)
{
    size_t applied;
    rl_status status = check_migrations(conn, known, &applied, err);

    if (status != RL_OK || applied == known->count) {
        return status;
    }
    status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_CREATE_MIGRATIONS, err);
    }
    if (status == RL_OK) {
        status = check_migrations(conn, known, &applied, err);
    }
    for (; status == RL_OK && applied < known->count; applied++) {
        status = apply_migration(conn, &known->list[applied], err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    rl_sqlite_conn_rollback(conn);
    return status;
}
