/* Somebody else's tables in a SQLite file. See sqlite_schema.h. */
#include "store/sqlite/sqlite_schema.h"

#include "core/buf.h"
#include "store/sqlite/sqlite_schema_sql.h"

#include <string.h>

/* Reads the reasons for the first table that has any. `stmt` stands at its first row. */
static rl_status refuse(sqlite3_stmt *stmt, const char *path, int *rc, rl_err *err)
{
    rl_status status = RL_OK;
    rl_buf table, why;

    rl_buf_init(&table, RL_BUF_MAX);
    rl_buf_init(&why, RL_BUF_MAX);
    rl_buf_printf(&table, "%s", (const char *)sqlite3_column_text(stmt, 0));
    rl_buf_add_char(&table, '\0');
    while (*rc == SQLITE_ROW && !table.failed &&
           strcmp((const char *)sqlite3_column_text(stmt, 0), table.data) == 0) {
        rl_buf_printf(&why, "%s%s", why.len > 0 ? "; " : "",
                      (const char *)sqlite3_column_text(stmt, 1));
        *rc = sqlite3_step(stmt);
    }
    rl_buf_add_char(&why, '\0');
    if (table.failed || why.failed) {
        status = rl_err_nomem(err);
    } else if (*rc == SQLITE_ROW || *rc == SQLITE_DONE) {
        status = rl_err_set(err, RL_STORE,
                            "SQLite file %.250s: %s there is not a table of runlog's: "
                            "%.350s. Nothing was changed. Rename it, or give another "
                            "path in RUNLOG_SQLITE_PATH",
                            path, table.data, why.data);
        if (err != NULL) {
            err->unusable = true;
        }
    }
    rl_buf_free(&why);
    rl_buf_free(&table);
    return status;
}

rl_status rl_sqlite_schema_check(sqlite3 *db, const char *path, int *rc, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = RL_OK;

    *rc = sqlite3_prepare_v2(db, RL_SQLITE_FOREIGN, -1, &stmt, NULL);
    if (*rc == SQLITE_OK) {
        *rc = sqlite3_step(stmt);
        if (*rc == SQLITE_ROW) {
            status = refuse(stmt, path, rc, err);
        }
        *rc = *rc == SQLITE_ROW || *rc == SQLITE_DONE ? SQLITE_OK : *rc;
    }
    sqlite3_finalize(stmt);
    return status;
}
