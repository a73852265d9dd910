/* The SQLite store, on one file. See sqlite.h. */
#include "store/sqlite/sqlite.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "store/sqlite/sqlite_beat.h"
#include "store/sqlite/sqlite_indexes.h"
#include "store/sqlite/sqlite_path.h"
#include "store/sqlite/sqlite_space.h"
#include "store/sqlite/sqlite_sql.h"
#include "store/sqlite/sqlite_step.h"

#include <errno.h>
#include <string.h>

typedef struct sqlite_store {
    rl_store base;
    rl_sqlite_file file;
    const rl_sqlite_hook *hook; /* borrowed, or NULL */
} sqlite_store;

static const rl_dialect dialect = {
    .time_cast = "",
    .id_cast = "",
    .int_cast = "",
    .ids_before = RL_SQLITE_IDS_BEFORE,
    .ids_after = RL_SQLITE_IDS_AFTER,
    .tag_before = RL_SQLITE_TAG_BEFORE,
    .tag_after = RL_SQLITE_TAG_AFTER,
    .metadata_before = RL_SQLITE_METADATA_BEFORE,
    .metadata_after = RL_SQLITE_METADATA_AFTER,
    .error_before = RL_SQLITE_ERROR_BEFORE,
    .error_after = RL_SQLITE_ERROR_AFTER,
    .node_before = RL_SQLITE_NODE_BEFORE,
    .node_after = RL_SQLITE_NODE_AFTER,
    .hidden_before = RL_SQLITE_HIDDEN_BEFORE,
    .hidden_after = RL_SQLITE_HIDDEN_AFTER,
    .parts = RL_SQLITE_PARTS,
    .values = RL_SQLITE_VALUES,
    .totals = RL_SQLITE_TOTALS,
    .spans_before = RL_SQLITE_SPANS_BEFORE,
    .spans_after = RL_SQLITE_SPANS_AFTER,
    .newest_before = RL_SQLITE_NEWEST_BEFORE,
    .newest_after = RL_SQLITE_NEWEST_AFTER,
    .placeholder = '?',
};

static rl_sqlite_file *file_of(rl_store *store)
{
    return &((sqlite_store *)store)->file;
}

static rl_status sqlite_prepare(rl_store *store, rl_err *err)
{
    rl_err own = {.code = RL_OK};
    rl_status status = RL_BUSY;

    /* a thread that opens the file is worth a longer wait than another program */
    for (int tries = 0; status == RL_BUSY && !own.locked && tries < 2; tries++) {
        status = rl_sqlite_file_open(file_of(store), RL_WAIT_BRIEFLY, &own);
    }
    if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
}

typedef struct writing {
    const sqlite_store *store;
    const rl_batch *batch;
} writing;

static rl_status write_batch(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const writing *self = ctx;

    return rl_sqlite_insert_batch(conn, RL_SQLITE_INSERT, self->store->hook, self->batch,
                                  err);
}

static rl_status sqlite_write(rl_store *store, const rl_batch *batch, rl_err *err)
{
    writing self = {(const sqlite_store *)store, batch};

    return rl_sqlite_file_write(file_of(store), batch->durability >= RL_DISK, batch->wait,
                                write_batch, &self, err);
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
        rows->arena.failed = true; /* SQLite found no memory for the conversion */
    } else if (kind != RL_KIND_TIME) {
        rl_rows_add_text(rows, text, (size_t)sqlite3_column_bytes(stmt, index));
    } else if (rl_time_parse(text, (size_t)sqlite3_column_bytes(stmt, index), &stamp)) {
        rl_rows_add_number(rows, stamp);
    } else {
        rl_rows_add_null(rows); /* not written by runlog */
    }
}

/* The statement for one whole run. rl_query_sql's own would have SQLite sort the rows, for
 * which it copies them twice; so only their keys are sorted. */
static void one_sql(const rl_query *query, rl_buf *sql, rl_bindings *bindings)
{
    size_t count;
    const rl_column *columns = rl_shape_columns(query->shape, &count);
    rl_query key = *query;

    key.shape = RL_SHAPE_KEY;
    rl_buf_add_text(sql, RL_SQL_SELECT);
    for (size_t i = 0; i < count; i++) {
        rl_buf_add_text(sql, i == 0 ? "" : ", ");
        rl_buf_add_text(sql, columns[i] == RL_PARTS ? dialect.parts
                                                    : rl_columns[columns[i]].name);
    }
    rl_buf_add_text(sql, RL_SQLITE_ONE_BEFORE);
    rl_query_sql(&key, &dialect, false, sql, bindings);
    sql->len -= sql->failed ? 0 : 1; /* its NUL */
    rl_buf_add_text(sql, RL_SQLITE_ONE_AFTER);
    rl_buf_add_char(sql, '\0');
}

/* Gives the statement of a query, or of a deletion, with its values bound. */
static rl_status bind_query(rl_sqlite_conn *conn, const rl_query *query, bool remove,
                            sqlite3_stmt **stmt, rl_err *err)
{
    rl_bindings bindings;
    rl_buf sql;
    rl_status status = RL_OK;
    int rc = SQLITE_OK;

    rl_buf_init(&sql, RL_BUF_MAX);
    if (!remove && query->shape == RL_SHAPE_WHOLE && query->limit == 1) {
        one_sql(query, &sql, &bindings);
    } else {
        rl_query_sql(query, &dialect, remove, &sql, &bindings);
    }
    if (sql.failed) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_stmt(conn, sql.data, stmt, err);
    }
    for (int i = 0; status == RL_OK && i < bindings.count; i++) {
        rc |= sqlite3_bind_text(*stmt, i + 1, bindings.values[i], -1, SQLITE_TRANSIENT);
    }
    if (status == RL_OK && rc != SQLITE_OK) {
        status = rl_sqlite_conn_error(conn, rc, err);
    }
    rl_buf_free(&sql);
    return status;
}

typedef struct request {
    const rl_query *query;
    rl_rows *rows;
} request;

static rl_status read_rows(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    request *wanted = ctx;
    rl_rows *rows = wanted->rows;
    size_t count, cells = rows->cells.len, texts = rows->arena.len;
    const rl_column *columns = rl_shape_columns(wanted->query->shape, &count);
    sqlite3_stmt *stmt = NULL;
    rl_status status = bind_query(conn, wanted->query, false, &stmt, err);
    bool found = status == RL_OK;

    while (found) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        for (size_t i = 0; found && i < count; i++) {
            add_cell(rows, stmt, (int)i, rl_columns[columns[i]].kind);
        }
    }
    if (status == RL_OK && rl_rows_failed(rows)) {
        status = rl_err_nomem(err);
    }
    if (status == RL_BUSY) { /* rl_sqlite_file_read calls this again from the start */
        rows->cells.len = cells;
        rows->arena.len = texts;
    }
    sqlite3_reset(stmt);
    return status;
}

static rl_status sqlite_query(rl_store *store, const rl_query *query, rl_rows *rows,
                              rl_err *err)
{
    request wanted = {.query = query, .rows = rows};

    return rl_query_is_quick(query)
               ? rl_sqlite_file_read_quickly(file_of(store), read_rows, &wanted, err)
               : rl_sqlite_file_read(file_of(store), read_rows, &wanted, err);
}

static rl_status sqlite_beat(rl_store *store, rl_beat beat, const char *owner,
                             rl_err *err)
{
    return rl_sqlite_beat(file_of(store), beat, owner, err);
}

static rl_status sqlite_silent(rl_store *store, int64_t seconds, rl_rows *rows,
                               rl_err *err)
{
    return rl_sqlite_silent(file_of(store), seconds, rows, err);
}

/* A batch of a deletion. */
typedef struct removing {
    rl_sqlite_file *file;
    rl_removal *removal;
} removing;

/* Deletes a run, which the hook counts if it is `counted`. */
static rl_status remove_run(const removing *self, rl_sqlite_conn *conn,
                            sqlite3_stmt *stmt, const char *id, bool counted,
                            int64_t *deleted, rl_err *err)
{
    const rl_removal_hook *hook = self->removal->hook;
    rl_status status = counted ? hook->sqlite_before(hook->ctx, conn, id, err) : RL_OK;
    int changes = 0, rc;

    if (status == RL_OK) { /* the id is the first column, and so the first parameter */
        rc = sqlite3_bind_text(stmt, 1, id, -1, SQLITE_TRANSIENT);
        status = rc == SQLITE_OK ? rl_sqlite_conn_step(conn, stmt, err)
                                 : rl_sqlite_conn_error(conn, rc, err);
    }
    if (status == RL_OK) {
        changes = sqlite3_changes(conn->db);
        *deleted += changes;
    }
    return status == RL_OK && counted ? hook->sqlite_after(hook->ctx, changes > 0, err)
                                      : status;
}

/* Deletes runs in a transaction, and moves the removal behind it once that has
 * committed. */
static rl_status remove_batch(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const removing *self = ctx;
    rl_removal *removal = self->removal;
    rl_query query = *removal->query;
    const rl_removal_hook *hook = removal->hook;
    const char *id = removal->ids;
    sqlite3_stmt *stmt = NULL;
    bool counted = false;
    size_t done = 0;
    int64_t deleted = 0;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    const uint64_t start = rl_monotonic_ns();

    query.texts[RL_ID] = id;
    if (status == RL_OK && hook != NULL) {
        status = hook->sqlite_begin(hook->ctx, conn, &counted, err);
    }
    if (status == RL_OK) {
        status = bind_query(conn, &query, true, &stmt, err);
    }
    while (status == RL_OK && done < removal->left &&
           !rl_sqlite_step_is_over(self->file, start, done)) {
        status = remove_run(self, conn, stmt, id, counted, &deleted, err);
        if (status == RL_OK) {
            id += strlen(id) + 1;
            done++;
        }
    }
    if (status == RL_OK && counted) {
        status = hook->sqlite_end(hook->ctx, conn, err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    if (status == RL_OK) {
        removal->ids = id;
        removal->left -= done;
        removal->deleted += deleted;
        removal->pause_ns = rl_sqlite_step_pause(start);
    }
    return status;
}

/* No batch is synced to the disk, as everybody else would wait for that too: the WAL is
 * synced once, at the end. A checkpoint, which writes as much as a disk takes, goes
 * first. */
static rl_status sqlite_remove(rl_store *store, rl_removal *removal, rl_err *err)
{
    rl_sqlite_file *file = file_of(store);
    removing self = {file, removal};

    if (removal->left == 0) {
        return rl_sqlite_path_sync(file->path, "-wal")
                   ? RL_OK
                   : rl_err_set(err, RL_STORE,
                                "SQLite file %s: its -wal can't be synced: %s",
                                file->path, strerror(errno));
    }
    if (rl_sqlite_step_waits(file, &removal->waits, &removal->pause_ns)) {
        return RL_OK;
    }
    return rl_sqlite_file_write(file, false, RL_WAIT, remove_batch, &self, err);
}

static rl_status sqlite_reclaim(rl_store *store, rl_reclaim *reclaim, rl_err *err)
{
    return rl_sqlite_reclaim(file_of(store), reclaim, err);
}

static rl_status sqlite_rewrite(rl_store *store, rl_err *err)
{
    return rl_sqlite_rewrite(file_of(store), err);
}

static rl_status sqlite_build_indexes(rl_store *store, rl_err *err)
{
    return rl_sqlite_build_indexes(file_of(store), err);
}

static void sqlite_close(rl_store *store)
{
    rl_sqlite_file_free(file_of(store));
    rl_free(store);
}

static bool sqlite_needs_checkpoint(rl_store *store)
{
    return rl_sqlite_file_needs_checkpoint(file_of(store));
}

static rl_status sqlite_checkpoint(rl_store *store, rl_err *err)
{
    return rl_sqlite_file_checkpoint(file_of(store), err);
}

static void sqlite_before_fork(rl_store *store)
{
    rl_sqlite_file_before_fork(file_of(store));
}

static void sqlite_after_fork(rl_store *store, bool in_child)
{
    if (in_child) { /* they wait in the parent */
        atomic_store(&file_of(store)->waiting, 0);
    }
    rl_sqlite_file_after_fork(file_of(store));
}

static const rl_store_ops ops = {
    .name = "sqlite",
    .prepare = sqlite_prepare,
    .write = sqlite_write,
    .query = sqlite_query,
    .beat = sqlite_beat,
    .silent = sqlite_silent,
    .remove = sqlite_remove,
    .build_indexes = sqlite_build_indexes,
    .reclaim = sqlite_reclaim,
    .rewrite = sqlite_rewrite,
    .needs_checkpoint = sqlite_needs_checkpoint,
    .checkpoint = sqlite_checkpoint,
    .before_fork = sqlite_before_fork,
    .after_fork = sqlite_after_fork,
    .close = sqlite_close,
};

rl_status rl_sqlite_new(const char *path, const rl_migrations *migrations,
                        const rl_sqlite_hook *hook, rl_notices *notices, rl_store **store,
                        rl_err *err)
{
    sqlite_store *self = rl_calloc(1, sizeof *self);
    rl_status status;

    if (self == NULL) {
        return rl_err_nomem(err);
    }
    self->base.ops = &ops;
    self->hook = hook;
    status = rl_sqlite_file_init(&self->file, path, migrations, notices, err);
    if (status == RL_OK) {
        *store = &self->base;
    } else {
        rl_free(self);
    }
    return status;
}

rl_sqlite_file *rl_sqlite_file_of(rl_store *store)
{
    return store->ops == &ops ? file_of(store) : NULL;
}
