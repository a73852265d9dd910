/* A run as a row of SQLite. See sqlite_run.h. */
#include "store/sqlite/sqlite_run.h"

#include "core/uuid.h"
#include "store/own_run.h"
#include "store/sqlite/sqlite_beat.h"
#include "store/sqlite/sqlite_file.h"
#include "store/sqlite/sqlite_parts.h"
#include "store/sqlite/sqlite_sql.h"

/* The parameters after the columns, counted from 0. */
#define IS_OWN RL_COLUMNS
#define WIDE_NUMBERS (RL_COLUMNS + 1)
#define PARTS (RL_COLUMNS + 2)
#define PARTS_USE (RL_COLUMNS + 3)
#define TARGET (RL_COLUMNS + 4) /* of the journal's insert only */

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

/* The arena does not change until the step, so SQLite need not copy the texts. Each text
 * is shorter than SQLite's limit, so a bind fails only for lack of memory. */
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
    rc |= sqlite3_bind_int(stmt, IS_OWN + 1, run->is_own);
    if (sqlite3_bind_parameter_count(stmt) > WIDE_NUMBERS) { /* the journal's */
        rc |= sqlite3_bind_int(stmt, WIDE_NUMBERS + 1, run->wide_numbers);
        if (run->parts.given) {
            rc |= sqlite3_bind_text(stmt, PARTS + 1, run->arena.data + run->parts.at,
                                    (int)run->parts.len, SQLITE_STATIC);
        }
        rc |= sqlite3_bind_int(stmt, PARTS_USE + 1, (int)run->parts_use);
    }
    return rc == SQLITE_OK;
}

static rl_status insert_run(rl_sqlite_conn *conn, const char *sql, const rl_run *run,
                            int64_t now, const char *name, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);
    bool bound = status == RL_OK && rl_sqlite_bind_run(stmt, run, now) &&
                 (name == NULL || sqlite3_bind_text(stmt, RL_RUN_ID + 1, name, -1,
                                                    SQLITE_STATIC) == SQLITE_OK);

    if (bound && sqlite3_bind_parameter_count(stmt) > TARGET) {
        bound = sqlite3_bind_int64(stmt, TARGET + 1, conn->target) == SQLITE_OK;
    }
    if (status == RL_OK) {
        status = bound ? rl_sqlite_conn_step(conn, stmt, err) : rl_err_nomem(err);
    }
    return status;
}

static rl_status is_taken(rl_sqlite_conn *conn, const rl_run *run, const char *name,
                          bool *taken, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_NAME_TAKEN, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_text(stmt, 1, rl_run_text(run, RL_WPK_ID), -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 2, name, -1, SQLITE_STATIC);
        status = rl_sqlite_conn_next(conn, stmt, taken, err);
    }
    sqlite3_reset(stmt);
    return status;
}

/* After an insert that changed nothing: else it has left a row of this name alone. */
static rl_status check_not_ignored(rl_sqlite_conn *conn, const rl_run *run,
                                   const char *name, rl_err *err)
{
    bool taken = false;
    rl_status status = is_taken(conn, run, name, &taken, err);

    if (status == RL_OK && !taken) {
        status = rl_err_set(err, RL_STORE,
                            "SQLite file %s: a trigger of the table workflow_runs "
                            "ignores the run: see RAISE(IGNORE)",
                            conn->path);
        if (err != NULL) {
            err->rejected = true;
        }
    }
    return status;
}

/* The context of the rl_own_ops below. */
typedef struct own_ctx {
    rl_sqlite_conn *conn;
    int64_t now;
} own_ctx;

static rl_status find_by_id(void *ctx, const rl_run *run, rl_buf *name, rl_err *err)
{
    rl_sqlite_conn *conn = ((own_ctx *)ctx)->conn;
    char id[RL_UUID_TEXT];
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_NAME_OF_ID, &stmt, err);
    bool found = false;

    rl_uuid_format(run->id, id);
    if (status == RL_OK) {
        sqlite3_bind_text(stmt, 1, id, RL_UUID_TEXT - 1, SQLITE_TRANSIENT);
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    if (status == RL_OK && found) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);

        rl_buf_add_text(name, text != NULL ? text : "");
        rl_buf_add_char(name, '\0');
    }
    sqlite3_reset(stmt);
    return status;
}

static rl_status is_name_taken(void *ctx, const rl_run *run, const char *name,
                               bool *taken, rl_err *err)
{
    return is_taken(((own_ctx *)ctx)->conn, run, name, taken, err);
}

static rl_status insert_as(void *ctx, const rl_run *run, const char *name, bool *done,
                           rl_err *err)
{
    const own_ctx *self = ctx;
    rl_status status =
        insert_run(self->conn, RL_SQLITE_INSERT, run, self->now, name, err);

    *done = status == RL_OK && sqlite3_changes(self->conn->db) > 0;
    return status == RL_OK && !*done ? check_not_ignored(self->conn, run, name, err)
                                     : status;
}

/* Binds wpk_id and two names to a statement, and steps it. */
static rl_status step_names(rl_sqlite_conn *conn, const char *sql, const rl_run *run,
                            const char *from, const char *to, bool *found, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_text(stmt, 1, rl_run_text(run, RL_WPK_ID), -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 2, from, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 3, to, -1, SQLITE_STATIC);
        status = rl_sqlite_conn_next(conn, stmt, found, err);
    }
    sqlite3_reset(stmt);
    return status;
}

/* Exchanges two names, within the transaction of the batch: all or nothing, unless a
 * trigger has ended that. */
static rl_status exchange(rl_sqlite_conn *conn, const rl_run *run, const char *name,
                          const char *spare, rl_err *err)
{
    const char *plain = rl_run_text(run, RL_RUN_ID);
    const char *const steps[][2] = {{plain, spare}, {name, plain}, {spare, name}};
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_SAVE, err);
    const bool saved = status == RL_OK;
    int rc = SQLITE_OK;
    bool ignored;

    for (size_t i = 0; status == RL_OK && i < 3; i++) {
        status = step_names(conn, RL_SQLITE_RENAME, run, steps[i][0], steps[i][1],
                            &ignored, err);
    }
    if (saved && !sqlite3_get_autocommit(conn->db)) {
        rc = sqlite3_exec(conn->db,
                          status == RL_OK ? RL_SQLITE_RELEASE : RL_SQLITE_RESTORE, NULL,
                          NULL, NULL);
    }
    return rc == SQLITE_OK ? status : rl_sqlite_conn_error(conn, rc, err);
}

/* Whether a trigger or index of the user's refuses to rename rows, and the transaction goes
 * on: then each keeps its name, and is stored all the same. Says so once. */
static bool is_refused(rl_sqlite_conn *conn, const rl_run *run, rl_status status,
                       const rl_err *reason)
{
    const bool refused =
        status == RL_STORE && reason->rejected && !sqlite3_get_autocommit(conn->db);

    if (refused && conn->file != NULL && !conn->file->names_logged) {
        conn->file->names_logged = true;
        rl_own_log_refusal(conn->file->notices, "the file", run, reason);
    }
    return refused;
}

static rl_status trade_names(void *ctx, const rl_run *run, const char *name,
                             const char *spare, rl_err *err)
{
    rl_sqlite_conn *conn = ((own_ctx *)ctx)->conn;
    rl_err own = {.code = RL_OK};
    bool ahead = false;
    rl_status status = step_names(conn, RL_SQLITE_IS_AHEAD, run,
                                  rl_run_text(run, RL_RUN_ID), name, &ahead, &own);

    if (status == RL_OK && ahead) {
        status = exchange(conn, run, name, spare, &own);
        status = is_refused(conn, run, status, &own) ? RL_OK : status;
    }
    if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
}

static const rl_own_ops own_ops = {find_by_id, is_name_taken, insert_as, trade_names};

/* Inserts a run whose name is taken: in a transaction, as that takes several statements
 * (the batch's own, or one that the caller commits). */
static rl_status insert_own(own_ctx *self, const rl_run *run, rl_err *err)
{
    rl_status status = RL_OK;

    if (sqlite3_get_autocommit(self->conn->db)) {
        status = rl_sqlite_conn_run(self->conn, RL_SQLITE_BEGIN, err);
    }
    return status == RL_OK ? rl_own_insert(&own_ops, self, run, err) : status;
}

/* Whether an insert found the name or the id of a run with an own id taken. */
static bool has_conflict(const rl_sqlite_conn *conn, const rl_run *run, rl_status status)
{
    return run->is_own &&
           (status == RL_OK ? sqlite3_changes(conn->db) == 0
                            : status == RL_STORE && sqlite3_extended_errcode(conn->db) ==
                                                        SQLITE_CONSTRAINT_PRIMARYKEY);
}

/* Whether a run of the batch has rows of other tables: parts, or a heartbeat of its
 * owner. The journal has neither. */
static bool writes_more(const char *sql, const rl_batch *batch)
{
    bool any = false;

    for (size_t i = 0; i < batch->count && !any; i++) {
        any = batch->runs[i]->parts.given || rl_run_is_open(batch->runs[i]);
    }
    return any && strcmp(sql, RL_SQLITE_INSERT) == 0;
}

static rl_status insert_all(rl_sqlite_conn *conn, const char *sql,
                            const rl_sqlite_hook *hook, const rl_batch *batch,
                            rl_err *err)
{
    const bool has_more = writes_more(sql, batch);
    own_ctx self = {conn, rl_time_now()};
    rl_status status = RL_OK;

    for (size_t i = 0; status == RL_OK && i < batch->count; i++) {
        const rl_run *run = batch->runs[i];

        if (hook != NULL) {
            sqlite3_set_last_insert_rowid(conn->db, 0);
        }
        status = insert_run(conn, sql, run, self.now, NULL, err);
        if (has_conflict(conn, run, status)) {
            status = insert_own(&self, run, err);
        } else if (status == RL_OK && sqlite3_changes(conn->db) == 0) {
            status = check_not_ignored(conn, run, rl_run_text(run, RL_RUN_ID), err);
        }
        if (status == RL_OK && hook != NULL) {
            /* an update of an existing row leaves the rowid at 0 */
            bool is_new = sqlite3_last_insert_rowid(conn->db) != 0;

            status = hook->written(hook->ctx, conn, run, is_new, err);
        }
        if (status == RL_OK && has_more && run->parts.given) {
            status = rl_sqlite_parts_write(conn, run, err);
        }
    }
    return status == RL_OK && has_more ? rl_sqlite_beat_first(conn, batch, err) : status;
}

rl_status rl_sqlite_insert_batch(rl_sqlite_conn *conn, const char *sql,
                                 const rl_sqlite_hook *hook, const rl_batch *batch,
                                 rl_err *err)
{
    const bool explicit_commit =
        batch->count != 1 || hook != NULL || writes_more(sql, batch);
    rl_status status = RL_OK;

    if (explicit_commit) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    }
    if (status == RL_OK) {
        status = insert_all(conn, sql, hook, batch, err);
    }
    if (status == RL_OK && !sqlite3_get_autocommit(conn->db)) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    return status;
}

/* A cell as text; NULL for NULL. Sets *whole to false if there was no memory for it. */
static const char *read_text(sqlite3_stmt *stmt, int column, bool *whole)
{
    const char *text = NULL;

    if (sqlite3_column_type(stmt, column) != SQLITE_NULL) {
        text = (const char *)sqlite3_column_text(stmt, column);
        *whole = *whole && text != NULL;
    }
    return text;
}

static int64_t read_time(sqlite3_stmt *stmt, int column, bool *whole)
{
    const char *text = read_text(stmt, column, whole);
    int64_t stamp;

    if (text == NULL ||
        !rl_time_parse(text, (size_t)sqlite3_column_bytes(stmt, column), &stamp)) {
        stamp = RL_TIME_NONE;
    }
    return stamp;
}

static void read_parts(sqlite3_stmt *stmt, rl_run *run, bool *whole)
{
    const char *text = read_text(stmt, PARTS, whole);
    int use = sqlite3_column_int(stmt, PARTS_USE);
    size_t at = rl_run_begin(run);

    if (text != NULL) {
        rl_buf_add(&run->arena, text, (size_t)sqlite3_column_bytes(stmt, PARTS));
        rl_run_end_parts(run, at,
                         use == RL_PARTS_END || use == RL_PARTS_JOIN ? (rl_parts_use)use
                                                                     : RL_PARTS_ADD);
    }
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
            const char *text = read_text(stmt, column, &whole);

            if (text != NULL) {
                rl_run_set(run, (rl_column)column, text,
                           (size_t)sqlite3_column_bytes(stmt, column));
            }
        }
    }
    read_parts(stmt, run, &whole);
    if (sqlite3_column_type(stmt, RL_DURATION_MS) != SQLITE_NULL) {
        run->duration_ms = sqlite3_column_int64(stmt, RL_DURATION_MS);
    }
    run->started_at = read_time(stmt, RL_STARTED_AT, &whole);
    run->updated_at = read_time(stmt, RL_UPDATED_AT, &whole);
    run->created_at = read_time(stmt, RL_CREATED_AT, &whole);
    if (run->created_at == RL_TIME_NONE) {
        run->created_at = rl_time_now();
    }
    run->revision = sqlite3_column_int64(stmt, RL_REVISION);
    run->is_own = sqlite3_column_int(stmt, IS_OWN) != 0;
    run->wide_numbers = sqlite3_column_int(stmt, WIDE_NUMBERS) != 0;
    if (id == NULL || !rl_uuid_parse(id, run->id)) {
        (void)rl_uuid7(run->created_at, run->id, &ignored);
    }
    return whole && !run->arena.failed;
}
