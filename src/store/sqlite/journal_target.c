/* For which database runs are. See journal_target.h. */
#include "store/sqlite/journal_target.h"

#include "store/sqlite/sqlite_sql.h"

#include <stdio.h>
#include <string.h>

rl_status rl_journal_target_bind(sqlite3_stmt *stmt, const rl_target *target, rl_err *err)
{
    static const rl_target none;
    int rc;

    target = target != NULL ? target : &none;
    rc = sqlite3_bind_text(stmt, 1, target->place, -1, SQLITE_TRANSIENT);
    rc |= sqlite3_bind_text(stmt, 2, target->database, -1, SQLITE_TRANSIENT);
    rc |= sqlite3_bind_text(stmt, 3, target->cluster, -1, SQLITE_TRANSIENT);
    return rc == SQLITE_OK ? RL_OK : rl_err_nomem(err);
}

static rl_status prepare(rl_sqlite_conn *conn, const char *sql, const rl_target *target,
                         sqlite3_stmt **stmt, rl_err *err)
{
    rl_status status = rl_sqlite_conn_stmt(conn, sql, stmt, err);

    return status == RL_OK ? rl_journal_target_bind(*stmt, target, err) : status;
}

static rl_status find(rl_sqlite_conn *conn, const rl_target *target, int64_t *number,
                      rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool found = false;
    rl_status status = prepare(conn, RL_SQLITE_TARGET_FIND, target, &stmt, err);

    if (status == RL_OK) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        *number = found ? sqlite3_column_int64(stmt, 0) : 0;
    }
    sqlite3_reset(stmt);
    return status;
}

/* A row that another process has added to a file that was just made anew is found when it
 * is in the way. */
static rl_status find_or_add(rl_sqlite_conn *conn, const rl_target *target,
                             int64_t *number, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = find(conn, target, number, err);

    if (status == RL_OK && *number == 0) {
        status = prepare(conn, RL_SQLITE_TARGET_ADD, target, &stmt, err);
        if (status == RL_OK) {
            status = rl_sqlite_conn_step(conn, stmt, err);
        }
        if (status == RL_OK) {
            status = find(conn, target, number, err);
        }
    }
    return status;
}

rl_status rl_journal_target_number(rl_sqlite_conn *conn, const rl_target *target,
                                   int64_t *number, rl_err *err)
{
    const bool known =
        target == NULL || target->place[0] != '\0' || target->database[0] != '\0';

    *number = 0;
    return known ? find_or_add(conn, target, number, err) : RL_OK;
}

typedef struct counting {
    const rl_target *target;
    rl_waiting *waiting;
} counting;

/* Adds a place to the list, unless it is there; the last one may be cut. */
static void add_place(rl_waiting *waiting, const char *place)
{
    const size_t len = strlen(waiting->places);

    if (place != NULL && place[0] != '\0' && strstr(waiting->places, place) == NULL) {
        snprintf(waiting->places + len, sizeof waiting->places - len, "%s%s",
                 len > 0 ? ", " : "", place);
    }
}

static rl_status count(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const counting *self = ctx;
    rl_waiting *waiting = self->waiting;
    sqlite3_stmt *stmt = NULL;
    rl_status status = prepare(conn, RL_SQLITE_JOURNAL_COUNT, self->target, &stmt, err);
    bool found = status == RL_OK;

    memset(waiting, 0, sizeof *waiting);
    if (found) {
        sqlite3_bind_int(stmt, 4, self->target == NULL);
    }
    while (found) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        if (found && sqlite3_column_int(stmt, 1) != 0) {
            waiting->own += sqlite3_column_int64(stmt, 0);
        } else if (found) {
            waiting->others += sqlite3_column_int64(stmt, 0);
            add_place(waiting, (const char *)sqlite3_column_text(stmt, 2));
        }
    }
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_journal_target_count(rl_sqlite_file *file, const rl_target *target,
                                  rl_waiting *waiting, rl_err *err)
{
    counting self = {target, waiting};

    return rl_sqlite_file_read_briefly(file, count, &self, err);
}
