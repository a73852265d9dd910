/* Heartbeats in a SQLite file. See sqlite_beat.h. */
#include "store/sqlite/sqlite_beat.h"

#include "core/clock.h"
#include "store/sqlite/sqlite_sql.h"

#include <string.h>

#define SECOND INT64_C(1000000) /* of rl_time_now */

typedef struct beating {
    rl_beat beat;
    const char *owner;
} beating;

static rl_status beat(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    static const char *const statements[] = {
        [RL_BEAT_NOW] = RL_SQLITE_BEAT_NOW,
        [RL_BEAT_FIRST] = RL_SQLITE_BEAT_UNLESS,
        [RL_BEAT_END] = RL_SQLITE_BEAT_END,
        [RL_BEAT_TIDY] = RL_SQLITE_BEAT_TIDY,
    };
    const beating *self = ctx;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, statements[self->beat], &stmt, err);

    if (status == RL_OK &&
        sqlite3_bind_text(stmt, 1, self->owner, -1, SQLITE_TRANSIENT) != SQLITE_OK) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK) {
        (void)sqlite3_bind_int64(stmt, 2, rl_time_now()); /* not every one has it */
        status = rl_sqlite_conn_step(conn, stmt, err);
    }
    return status;
}

rl_status rl_sqlite_beat(rl_sqlite_file *file, rl_beat which, const char *owner,
                         rl_err *err)
{
    beating self = {which, owner};

    return rl_sqlite_file_write(file, false, RL_WAIT_BRIEFLY, beat, &self, err);
}

rl_status rl_sqlite_beat_first(rl_sqlite_conn *conn, const rl_batch *batch, rl_err *err)
{
    const char *last = "";
    rl_status status = RL_OK;

    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        const rl_run *run = batch->runs[i];

        if (rl_run_is_open(run) && strcmp(rl_run_text(run, RL_OWNER), last) != 0) {
            beating self = {RL_BEAT_FIRST, rl_run_text(run, RL_OWNER)};

            status = beat(conn, &self, err);
            last = self.owner;
        }
    }
    return status;
}

typedef struct listing {
    int64_t seconds;
    rl_rows *rows;
} listing;

static rl_status list_silent(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const listing *self = ctx;
    const int64_t now = rl_time_now();
    const size_t cells = self->rows->cells.len, texts = self->rows->arena.len;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_SILENT, &stmt, err);
    bool found = status == RL_OK;

    if (found) {
        sqlite3_bind_int64(stmt, 1, now);
        sqlite3_bind_int64(stmt, 2, now - self->seconds * SECOND);
    }
    while (found) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        if (found) {
            const char *owner = (const char *)sqlite3_column_text(stmt, 0);

            rl_rows_add_text(self->rows, owner != NULL ? owner : "",
                             (size_t)sqlite3_column_bytes(stmt, 0));
        }
    }
    if (status == RL_OK && rl_rows_failed(self->rows)) {
        status = rl_err_nomem(err);
    }
    if (status == RL_BUSY) { /* this is called again from the start */
        self->rows->cells.len = cells;
        self->rows->arena.len = texts;
    }
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_sqlite_silent(rl_sqlite_file *file, int64_t seconds, rl_rows *rows,
                           rl_err *err)
{
    listing self = {seconds, rows};

    return rl_sqlite_file_read(file, list_silent, &self, err);
}
