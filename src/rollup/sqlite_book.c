/* The roll-up's tables on SQLite. See sqlite_book.h. */
#include "rollup/sqlite_book.h"

#include "core/clock.h"
#include "rollup/sqlite_rollup_sql.h"

#include <string.h>

rl_string rl_sqlite_book_text(sqlite3_stmt *stmt, int column, bool *failed)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);
    rl_string found = {NULL, 0};

    if (text != NULL) {
        found = (rl_string){text, (size_t)sqlite3_column_bytes(stmt, column)};
    } else if (sqlite3_column_type(stmt, column) != SQLITE_NULL) {
        *failed = true; /* SQLite had no memory for the conversion */
    }
    return found;
}

bool rl_sqlite_book_time(sqlite3_stmt *stmt, int column, int64_t *at)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    return text != NULL &&
           rl_time_parse(text, (size_t)sqlite3_column_bytes(stmt, column), at) &&
           *at < RL_TIME_MAX;
}

void rl_sqlite_book_bind_text(sqlite3_stmt *stmt, int at, rl_string text, bool *failed)
{
    const int rc =
        sqlite3_bind_text(stmt, at, text.text, (int)text.len, SQLITE_TRANSIENT);

    *failed |= rc != SQLITE_OK && rc != SQLITE_RANGE;
}

void rl_sqlite_book_bind_time(sqlite3_stmt *stmt, int at, int64_t time, bool *failed)
{
    char text[RL_TIME_TEXT];

    rl_time_format(time, text);
    rl_sqlite_book_bind_text(stmt, at, (rl_string){text, strlen(text)}, failed);
}

bool rl_sqlite_book_run(sqlite3_stmt *stmt, rl_fold_run *run, bool *failed)
{
    const bool timed = rl_sqlite_book_time(stmt, 0, &run->created_at);

    run->run_id = rl_sqlite_book_text(stmt, 1, failed);
    run->status = rl_sqlite_book_text(stmt, 2, failed);
    run->error_type = rl_sqlite_book_text(stmt, 3, failed);
    run->error_text = rl_sqlite_book_text(stmt, 4, failed);
    run->metadata = rl_sqlite_book_text(stmt, 5, failed);
    run->node_logs = rl_sqlite_book_text(stmt, 6, failed);
    run->duration_ms =
        sqlite3_column_type(stmt, 7) == SQLITE_NULL ? -1 : sqlite3_column_int64(stmt, 7);
    return timed;
}

static rl_sqlite_conn *conn_of(rl_book *book)
{
    return ((rl_sqlite_book *)book)->conn;
}

/* Gives a statement with a workflow and a range of time as its first parameters. */
static rl_status prepare(rl_book *book, const char *sql, rl_string wpk_id, int64_t from,
                         int64_t until, sqlite3_stmt **stmt, rl_err *err)
{
    rl_status status = rl_sqlite_conn_stmt(conn_of(book), sql, stmt, err);
    bool failed = false;

    if (status == RL_OK) {
        rl_sqlite_book_bind_text(*stmt, 1, wpk_id, &failed);
        rl_sqlite_book_bind_time(*stmt, 2, from, &failed);
        rl_sqlite_book_bind_time(*stmt, 3, until, &failed);
    }
    return failed ? rl_err_nomem(err) : status;
}

static rl_status next(rl_book *book, sqlite3_stmt *stmt, bool *found, rl_err *err)
{
    return rl_sqlite_conn_next(conn_of(book), stmt, found, err);
}

static rl_bytes keep_blob(sqlite3_stmt *stmt, int column, rl_pool *pool, bool *failed)
{
    const void *blob = sqlite3_column_blob(stmt, column);
    const size_t len = (size_t)sqlite3_column_bytes(stmt, column);
    const rl_string copy = rl_pool_keep(pool, blob, blob != NULL ? len : 0);

    *failed |= blob != NULL && copy.text == NULL;
    return (rl_bytes){copy.text, copy.len};
}

static rl_status first_mark(rl_book *book, rl_string from_wpk, int64_t from,
                            rl_pool *pool, rl_string *wpk_id, int64_t *at, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        rl_sqlite_conn_stmt(conn_of(book), RL_SQLITE_ROLLUP_FIRST_MARK, &stmt, err);
    bool found = status == RL_OK, failed = false, usable = false;
    rl_string text = {NULL, 0};

    if (found) {
        rl_sqlite_book_bind_text(stmt, 1, from_wpk, &failed);
        if (from == INT64_MIN) {
            rl_sqlite_book_bind_text(stmt, 2, (rl_string){"", 0}, &failed);
        } else {
            rl_sqlite_book_bind_time(stmt, 2, from, &failed);
        }
    }
    while (found && !usable && !failed) {
        status = next(book, stmt, &found, err);
        usable = found && rl_sqlite_book_time(stmt, 1, at);
    }
    if (usable) {
        text = rl_sqlite_book_text(stmt, 0, &failed);
        text = rl_pool_keep(pool, text.text, text.len);
        failed |= text.text == NULL;
    }
    *wpk_id = text;
    sqlite3_reset(stmt);
    return status == RL_OK && failed ? rl_err_nomem(err) : status;
}

static rl_status read_marks(rl_book *book, rl_string wpk_id, int64_t from, int64_t until,
                            rl_pool *pool, rl_marks *marks, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        prepare(book, RL_SQLITE_ROLLUP_MARKS, wpk_id, from, until, &stmt, err);
    bool found = status == RL_OK, failed = false;

    while (found && !failed) {
        rl_mark mark;

        status = next(book, stmt, &found, err);
        if (found && rl_sqlite_book_time(stmt, 1, &mark.from)) {
            mark.id = sqlite3_column_int64(stmt, 0);
            if (!rl_sqlite_book_time(stmt, 2, &mark.to) || mark.to < mark.from) {
                mark.to = mark.from;
            }
            mark.to = mark.to < until ? mark.to : until - 1;
            mark.runs = (uint64_t)sqlite3_column_int64(stmt, 3);
            mark.deleted = (uint64_t)sqlite3_column_int64(stmt, 4);
            mark.gone = keep_blob(stmt, 5, pool, &failed);
            failed |= !rl_marks_add(marks, pool, &mark);
        }
    }
    sqlite3_reset(stmt);
    return status == RL_OK && failed ? rl_err_nomem(err) : status;
}

static rl_status read_pieces(rl_book *book, rl_level level, rl_string wpk_id,
                             int64_t from, int64_t until, rl_pool *pool,
                             rl_pieces *pieces, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        prepare(book, RL_SQLITE_ROLLUP_PIECES, wpk_id, from, until, &stmt, err);
    bool found = status == RL_OK, failed = false;

    if (found) {
        sqlite3_bind_int(stmt, 4, (int)level);
    }
    while (found && !failed) {
        rl_piece piece;

        status = next(book, stmt, &found, err);
        if (found && rl_sqlite_book_time(stmt, 0, &piece.from) &&
            rl_sqlite_book_time(stmt, 1, &piece.until)) {
            piece.runs = (uint64_t)sqlite3_column_int64(stmt, 2);
            piece.data = keep_blob(stmt, 3, pool, &failed);
            piece.gone = keep_blob(stmt, 4, pool, &failed);
            failed |= !rl_pieces_add(pieces, pool, &piece);
        }
    }
    sqlite3_reset(stmt);
    return status == RL_OK && failed ? rl_err_nomem(err) : status;
}

static rl_status read_names(rl_book *book, rl_string wpk_id, rl_pool *pool,
                            rl_names *names, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        rl_sqlite_conn_stmt(conn_of(book), RL_SQLITE_ROLLUP_NAMES, &stmt, err);
    bool found = status == RL_OK, failed = false;

    if (found) {
        rl_sqlite_book_bind_text(stmt, 1, wpk_id, &failed);
    }
    while (found && !failed) {
        status = next(book, stmt, &found, err);
        if (found) {
            rl_string name = rl_sqlite_book_text(stmt, 0, &failed);

            name = rl_pool_keep(pool, name.text, name.len);
            failed |= name.text == NULL || !rl_names_add(names, pool, name);
        }
    }
    sqlite3_reset(stmt);
    return status == RL_OK && failed ? rl_err_nomem(err) : status;
}

static rl_status read_runs(rl_book *book, rl_string wpk_id, int64_t from, int64_t until,
                           rl_book_visit visit, void *ctx, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        prepare(book, RL_SQLITE_ROLLUP_RUNS, wpk_id, from, until, &stmt, err);
    bool found = status == RL_OK, failed = false;

    while (found && !failed) {
        status = next(book, stmt, &found, err);
        if (found) {
            rl_fold_run run;

            if (rl_sqlite_book_run(stmt, &run, &failed) && !failed) {
                found = visit(ctx, &run);
            }
        }
    }
    sqlite3_reset(stmt);
    return status == RL_OK && failed ? rl_err_nomem(err) : status;
}

static rl_status finish(rl_book *book, sqlite3_stmt *stmt, rl_status status, rl_err *err)
{
    if (status == RL_OK) {
        status = rl_sqlite_conn_step(conn_of(book), stmt, err);
        sqlite3_clear_bindings(stmt);
    }
    return status;
}

static rl_status drop_leaves(rl_book *book, rl_string wpk_id, int64_t from, int64_t until,
                             rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        prepare(book, RL_SQLITE_ROLLUP_DROP_LEAVES, wpk_id, from, until, &stmt, err);

    return finish(book, stmt, status, err);
}

static void bind_bytes(sqlite3_stmt *stmt, int at, rl_bytes bytes, bool *failed)
{
    const int rc = bytes.data != NULL ? sqlite3_bind_blob64(stmt, at, bytes.data,
                                                            bytes.len, SQLITE_STATIC)
                                      : sqlite3_bind_null(stmt, at);

    *failed |= rc != SQLITE_OK;
}

static rl_status put_piece(rl_book *book, rl_level level, rl_string wpk_id,
                           const rl_piece *piece, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = prepare(book, RL_SQLITE_ROLLUP_PUT, wpk_id, piece->from,
                               piece->until, &stmt, err);
    bool failed = false;

    if (status == RL_OK) {
        sqlite3_bind_int(stmt, 4, (int)level);
        sqlite3_bind_int64(stmt, 5, (sqlite3_int64)piece->runs);
        bind_bytes(stmt, 6, piece->data, &failed);
        bind_bytes(stmt, 7, piece->gone, &failed);
    }
    return finish(book, stmt, failed ? rl_err_nomem(err) : status, err);
}

static rl_status drop_mark(rl_book *book, int64_t id, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        rl_sqlite_conn_stmt(conn_of(book), RL_SQLITE_ROLLUP_DROP_MARK, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, id);
    }
    return finish(book, stmt, status, err);
}

static rl_status add_mark(rl_book *book, rl_string wpk_id, const rl_mark *mark,
                          rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = prepare(book, RL_SQLITE_ROLLUP_ADD_MARK, wpk_id, mark->from,
                               mark->to, &stmt, err);
    bool failed = false;

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 4, (sqlite3_int64)mark->runs);
        sqlite3_bind_int64(stmt, 5, (sqlite3_int64)mark->deleted);
        bind_bytes(stmt, 6, mark->gone, &failed);
    }
    return finish(book, stmt, failed ? rl_err_nomem(err) : status, err);
}

static rl_status add_workflow(rl_book *book, rl_string wpk_id, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        rl_sqlite_conn_stmt(conn_of(book), RL_SQLITE_ROLLUP_ADD_WORKFLOW, &stmt, err);

    bool failed = false;

    if (status == RL_OK) {
        rl_sqlite_book_bind_text(stmt, 1, wpk_id, &failed);
    }
    return finish(book, stmt, failed ? rl_err_nomem(err) : status, err);
}

static rl_status add_name(rl_book *book, rl_string wpk_id, unsigned number,
                          rl_string node, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        rl_sqlite_conn_stmt(conn_of(book), RL_SQLITE_ROLLUP_ADD_NAME, &stmt, err);

    bool failed = false;

    if (status == RL_OK) {
        rl_sqlite_book_bind_text(stmt, 1, wpk_id, &failed);
        sqlite3_bind_int64(stmt, 2, (sqlite3_int64)number);
        rl_sqlite_book_bind_text(stmt, 3, node, &failed);
    }
    return finish(book, stmt, failed ? rl_err_nomem(err) : status, err);
}

void rl_sqlite_book_init(rl_sqlite_book *book)
{
    static const rl_book_ops ops = {
        .first_mark = first_mark,
        .marks = read_marks,
        .pieces = read_pieces,
        .names = read_names,
        .runs = read_runs,
        .drop_leaves = drop_leaves,
        .put_piece = put_piece,
        .drop_mark = drop_mark,
        .add_mark = add_mark,
        .add_workflow = add_workflow,
        .add_name = add_name,
    };

    *book = (rl_sqlite_book){.base = {&ops}};
}
