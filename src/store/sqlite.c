/* The SQLite store: two connections to one file, one that writes batches and one for
 * queries, so that a reader never waits for a commit.
 *
 * Threads: `writer` is used by the one thread in `write`; `side` (queries, deletions) under
 * `side_lock`; `open_lock` covers the first opening. Ownership: the store owns its path and
 * connections, and borrows the migrations.
 */
#include "core/alloc.h"
#include "core/uuid.h"
#include "store/sqlite_conn.h"
#include "store/sqlite_sql.h"
#include "store/store.h"

#include <pthread.h>
#include <unistd.h>

typedef struct sqlite_store {
    rl_store base;
    char *path; /* owned, absolute */
    const rl_migrations *migrations;
    pthread_mutex_t open_lock, side_lock;
    bool ready; /* the writer is open and the migrations are applied */
    rl_sqlite_conn writer, side;
} sqlite_store;

static const rl_dialect dialect = {
    .select_columns = {"id", "wpk_id", "run_id", "status", "duration_ms", "thread_id",
                       "error_type", "error_text", "started_at", "created_at",
                       "updated_at", "inputs", "outputs", "node_logs", "metadata",
                       "owner"},
    .text_cast = "",
    .time_cast = "",
    .id_cast = "",
    .int_cast = "",
    .placeholder = '?',
};

static rl_status sqlite_prepare(rl_store *store, rl_err *err)
{
    sqlite_store *self = (sqlite_store *)store;
    rl_status status = RL_OK;

    pthread_mutex_lock(&self->open_lock);
    if (!self->ready) {
        status = rl_sqlite_conn_open(&self->writer, self->path, err);
        if (status == RL_OK) {
            status = rl_sqlite_migrate(&self->writer, self->migrations, err);
            if (status != RL_OK) {
                rl_sqlite_conn_close(&self->writer);
            }
        }
        self->ready = status == RL_OK;
    }
    pthread_mutex_unlock(&self->open_lock);
    return status;
}

static void bind_time(sqlite3_stmt *stmt, rl_column column, int64_t stamp)
{
    char text[RL_TIME_TEXT];

    if (stamp != RL_TIME_NONE) {
        rl_time_format(stamp, text);
        sqlite3_bind_text(stmt, (int)column + 1, text, RL_TIME_TEXT - 1,
                          SQLITE_TRANSIENT);
    }
}

/* Binds a run to the insert statement. The arena stays put until the step is done, so the
 * texts need no copy. A failed bind leaves NULL, which only optional columns would take:
 * the texts' lengths are below SQLite's limit, so it can only be memory that lacks. */
static bool bind_run(sqlite3_stmt *stmt, const rl_run *run, int64_t now)
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
    bind_time(stmt, RL_STARTED_AT, run->started_at);
    bind_time(stmt, RL_CREATED_AT, run->created_at);
    bind_time(stmt, RL_UPDATED_AT, now);
    return rc == SQLITE_OK;
}

static rl_status insert_runs(rl_sqlite_conn *conn, const rl_batch *batch, rl_err *err)
{
    int64_t now = rl_time_now();
    sqlite3_stmt *stmt;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_INSERT, &stmt, err);

    for (size_t i = 0; status == RL_OK && i < batch->count; i++) {
        if (!bind_run(stmt, batch->runs[i], now)) {
            status = rl_err_nomem(err);
        } else {
            status = rl_sqlite_conn_step(conn, stmt, err);
        }
    }
    return status;
}

/* One run is a transaction by itself; more than one need a BEGIN and a COMMIT. */
static rl_status sqlite_write(rl_store *store, const rl_batch *batch, rl_err *err)
{
    sqlite_store *self = (sqlite_store *)store;
    rl_sqlite_conn *conn = &self->writer;
    rl_status status;

    conn->may_wait = batch->may_wait;
    status = rl_sqlite_conn_sync(conn, batch->durability >= RL_DISK, err);
    if (status == RL_OK && batch->count > 1) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    }
    if (status == RL_OK) {
        status = insert_runs(conn, batch, err);
    }
    if (status == RL_OK && batch->count > 1) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    rl_sqlite_conn_rollback(conn);
    conn->may_wait = true;
    return status;
}

static void add_cell(rl_rows *rows, sqlite3_stmt *stmt, int index, rl_kind kind)
{
    const char *text;
    int64_t stamp;

    if (sqlite3_column_type(stmt, index) == SQLITE_NULL) {
        rl_rows_add_null(rows);
        return;
    }
    if (kind == RL_KIND_INT) {
        rl_rows_add_number(rows, sqlite3_column_int64(stmt, index));
        return;
    }
    text = (const char *)sqlite3_column_text(stmt, index);
    if (text == NULL) {
        rows->arena.failed = true; /* the conversion found no memory */
    } else if (kind != RL_KIND_TIME) {
        rl_rows_add_text(rows, text, (size_t)sqlite3_column_bytes(stmt, index));
    } else if (rl_time_parse(text, (size_t)sqlite3_column_bytes(stmt, index), &stamp)) {
        rl_rows_add_number(rows, stamp);
    } else {
        rl_rows_add_null(rows); /* not written by runlog */
    }
}

/* Opens the second connection if need be, and gives a statement with its values bound. */
static rl_status side_statement(sqlite_store *self, const rl_query *query, bool remove,
                                sqlite3_stmt **stmt, rl_err *err)
{
    rl_bindings bindings;
    rl_buf sql;
    rl_status status = RL_OK;
    int rc = SQLITE_OK;

    rl_buf_init(&sql, RL_BUF_MAX);
    if (self->side.db == NULL) {
        status = rl_sqlite_conn_open(&self->side, self->path, err);
    }
    rl_query_sql(query, &dialect, remove, &sql, &bindings);
    if (status == RL_OK && sql.failed) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_stmt(&self->side, sql.data, stmt, err);
    }
    for (int i = 0; status == RL_OK && i < bindings.count; i++) {
        rc |= sqlite3_bind_text(*stmt, i + 1, bindings.values[i], -1, SQLITE_TRANSIENT);
    }
    if (status == RL_OK && rc != SQLITE_OK) {
        status = rl_sqlite_conn_error(&self->side, rc, err);
    }
    rl_buf_free(&sql);
    return status;
}

static rl_status sqlite_query(rl_store *store, const rl_query *query, rl_rows *rows,
                              rl_err *err)
{
    sqlite_store *self = (sqlite_store *)store;
    size_t count;
    const rl_column *columns = rl_shape_columns(query->shape, &count);
    sqlite3_stmt *stmt = NULL;
    rl_status status;
    int rc = SQLITE_DONE;

    pthread_mutex_lock(&self->side_lock);
    status = side_statement(self, query, false, &stmt, err);
    while (status == RL_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        for (size_t i = 0; i < count; i++) {
            add_cell(rows, stmt, (int)i, rl_columns[columns[i]].kind);
        }
    }
    if (status == RL_OK && rc != SQLITE_DONE) {
        status = rl_sqlite_conn_error(&self->side, rc, err);
    }
    if (status == RL_OK && rl_rows_failed(rows)) {
        status = rl_err_nomem(err);
    }
    sqlite3_reset(stmt);
    pthread_mutex_unlock(&self->side_lock);
    return status;
}

static rl_status sqlite_remove(rl_store *store, const rl_query *query, int64_t *count,
                               rl_err *err)
{
    sqlite_store *self = (sqlite_store *)store;
    sqlite3_stmt *stmt = NULL;
    rl_status status;

    pthread_mutex_lock(&self->side_lock);
    status = side_statement(self, query, true, &stmt, err);
    if (status == RL_OK) {
        status = rl_sqlite_conn_step(&self->side, stmt, err);
    }
    if (status == RL_OK) {
        *count = sqlite3_changes(self->side.db);
    }
    pthread_mutex_unlock(&self->side_lock);
    return status;
}

static void sqlite_close(rl_store *store)
{
    sqlite_store *self = (sqlite_store *)store;

    rl_sqlite_conn_close(&self->side);
    rl_sqlite_conn_close(&self->writer);
    pthread_mutex_destroy(&self->side_lock);
    pthread_mutex_destroy(&self->open_lock);
    rl_free(self->path);
    rl_free(self);
}

static const rl_store_ops ops = {
    .name = "sqlite",
    .prepare = sqlite_prepare,
    .write = sqlite_write,
    .query = sqlite_query,
    .remove = sqlite_remove,
    .close = sqlite_close,
};

/* A relative path is fixed now: the working folder may change before the file is opened. */
static rl_status absolute_path(const char *path, char **out, rl_err *err)
{
    rl_status status = RL_OK;
    rl_buf buf;

    rl_buf_init(&buf, RL_BUF_MAX);
    if (path[0] != '/' && rl_buf_reserve(&buf, 4096)) {
        if (getcwd(buf.data, buf.cap) == NULL) {
            status =
                rl_err_set(err, RL_STORE,
                           "SQLite file %s: the working folder can't be told; give an "
                           "absolute path in RUNLOG_SQLITE_PATH",
                           path);
        } else {
            buf.len = strlen(buf.data);
            rl_buf_add_char(&buf, '/');
        }
    }
    rl_buf_add(&buf, path, strlen(path) + 1);
    if (status == RL_OK && buf.failed) {
        status = rl_err_nomem(err);
    }
    if (status != RL_OK) {
        rl_buf_free(&buf);
    }
    *out = buf.data;
    return status;
}

rl_status rl_sqlite_new(const char *path, const rl_migrations *migrations,
                        rl_store **store, rl_err *err)
{
    sqlite_store *self = rl_calloc(1, sizeof *self);
    rl_status status;

    if (self == NULL) {
        return rl_err_nomem(err);
    }
    status = absolute_path(path, &self->path, err);
    if (status != RL_OK) {
        rl_free(self);
        return status;
    }
    self->base.ops = &ops;
    self->migrations = migrations;
    pthread_mutex_init(&self->open_lock, NULL);
    pthread_mutex_init(&self->side_lock, NULL);
    *store = &self->base;
    return RL_OK;
}
