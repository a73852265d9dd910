/* A run as a row of SQLite. See sqlite_run.h. */
#include "store/sqlite_run.h"

#include "core/uuid.h"
#include "store/sqlite_sql.h"

static int bind_time(sqlite3_stmt *stmt, rl_column column, int64_t stamp)
{
    char text[RL_TIME_TEXT];

    if (stamp == RL_TIME_NONE) {
        return SQLITE_OK;
    }
    rl_time_format(stamp, text);
    return sqlite3_bind_text(stmt, (int)column + 1, text, RL_TIME_TEXT - 1,
                             SQLITE_TRANSIENT);
}

/* The arena stays put until the step is done, so the texts need no copy. A failed bind
 * leaves NULL, which only optional columns would take: the texts' lengths are below SQLite's
 * limit, so it can only be memory that lacks. */
bool rl_sqlite_bind_run(sqlite3_stmt *stmt, const rl_run *run, int64_t now)
{
    char id[RL_UUID_TEXT];
    int rc = SQLITE_OK;

    sqlite3_clear_bindings(stmt);
    rl_uuid_format(run->id, id);
    rc |= sqlite3_bind_text(stmt, RL_ID + 1, id, RL_UUID_TEXT - 1, SQLITE_TRANSIENT);
    for (int column = 0; column < RL_COLUMNS; column++) {
        const rl_slice *slice = &run->texts[column];

        if (slice->given) {
            rc |= sqlite3_bind_text(stmt, column + 1, run->arena.data + slice->at,
                                    (int)slice->len, SQLITE_STATIC);
        }
    }
    if (run->duration_ms != RL_NO_DURATION) {
        rc |= sqlite3_bind_int64(stmt, RL_DURATION_MS + 1, run->duration_ms);
    }
    rc |= sqlite3_bind_int64(stmt, RL_REVISION + 1, run->revision);
    rc |= bind_time(stmt, RL_STARTED_AT, run->started_at);
    rc |= bind_time(stmt, RL_CREATED_AT, run->created_at);
    rc |= bind_time(stmt, RL_UPDATED_AT, now);
    return rc == SQLITE_OK;
}

static rl_status insert_all(rl_sqlite_conn *conn, const char *sql, const rl_batch *batch,
                            rl_err *err)
{
    int64_t now = rl_time_now();
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);
    bool wide = status == RL_OK && sqlite3_bind_parameter_count(stmt) > RL_COLUMNS;

    for (size_t i = 0; status == RL_OK && i < batch->count; i++) {
        const rl_run *run = batch->runs[i];
        bool bound = rl_sqlite_bind_run(stmt, run, now) &&
                     (!wide || sqlite3_bind_int(stmt, RL_COLUMNS + 1,
                                                run->wide_numbers) == SQLITE_OK);

        status = bound ? rl_sqlite_conn_step(conn, stmt, err) : rl_err_nomem(err);
    }
    return status;
}

rl_status rl_sqlite_insert_batch(rl_sqlite_conn *conn, const char *sql,
                                 const rl_batch *batch, rl_err *err)
{
    rl_status status = RL_OK;

    if (batch->count > 1) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    }
    if (status == RL_OK) {
        status = insert_all(conn, sql, batch, err);
    }
    if (status == RL_OK && batch->count > 1) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    return status;
}

/* A cell as text; NULL for NULL. *whole turns false where there was no memory for it. */
static const char *read_text(sqlite3_stmt *stmt, rl_column column, bool *whole)
{
    const char *text = NULL;

    if (sqlite3_column_type(stmt, (int)column) != SQLITE_NULL) {
        text = (const char *)sqlite3_column_text(stmt, (int)column);
        *whole = *whole && text != NULL;
    }
    return text;
}

static int64_t read_time(sqlite3_stmt *stmt, rl_column column, bool *whole)
{
    const char *text = read_text(stmt, column, whole);
    int64_t stamp;

    if (text == NULL ||
        !rl_time_parse(text, (size_t)sqlite3_column_bytes(stmt, (int)column), &stamp)) {
        stamp = RL_TIME_NONE;
    }
    return stamp;
}

bool rl_sqlite_read_run(sqlite3_stmt *stmt, rl_run *run)
{
    bool whole = true;
    const char *id = read_text(stmt, RL_ID, &whole);
    rl_err ignored;

    rl_run_reset(run);
    for (int column = 0; column < RL_COLUMNS; column++) {
        rl_kind kind = rl_columns[column].kind;

        if (kind == RL_KIND_TEXT || kind == RL_KIND_JSON) {
            const char *text = read_text(stmt, (rl_column)column, &whole);

            if (text != NULL) {
                rl_run_set(run, (rl_column)column, text,
                           (size_t)sqlite3_column_bytes(stmt, column));
            }
        }
    }
    if (sqlite3_column_type(stmt, RL_DURATION_MS) != SQLITE_NULL) {
        run->duration_ms = sqlite3_column_int64(stmt, RL_DURATION_MS);
    }
    run->started_at = read_time(stmt, RL_STARTED_AT, &whole);
    run->updated_at = read_time(stmt, RL_UPDATED_AT, &whole);
    run->created_at = read_time(stmt, RL_CREATED_AT, &whole);
    if (run->created_at == RL_TIME_NONE) { /* somebody's hand was in the file */
        run->created_at = rl_time_now();
    }
    run->revision = sqlite3_column_int64(stmt, RL_REVISION);
    if (id == NULL || !rl_uuid_parse(id, run->id)) {
        (void)rl_uuid7(run->created_at, run->id, &ignored);
    }
    return whole && !run->arena.failed;
}
