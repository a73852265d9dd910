/* What readers get of the roll-up of a SQLite file. See sqlite_read.h. */
#include "rollup/sqlite_read.h"

#include "rollup/sqlite_book.h"
#include "rollup/sqlite_rollup_sql.h"

#include <string.h>

typedef struct request {
    const rl_rollup_query *query;
    rl_rollup_rows *rows;
    int64_t *waiting;
} request;

/* Runs a statement that gives numbers. */
static rl_status read_numbers(rl_sqlite_conn *conn, const char *sql, int64_t *numbers,
                              int count, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool found = false;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);

    if (status == RL_OK) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    for (int i = 0; i < count; i++) {
        numbers[i] = found ? sqlite3_column_int64(stmt, i) : 0;
    }
    sqlite3_reset(stmt);
    return status;
}

static rl_status read_rows(rl_sqlite_conn *conn, const request *wanted, rl_err *err)
{
    const rl_rollup_query *query = wanted->query;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(
        conn,
        query->wpk_id != NULL ? RL_SQLITE_ROLLUP_READ_ONE : RL_SQLITE_ROLLUP_READ_ALL,
        &stmt, err);
    bool found = status == RL_OK, failed = false;

    if (found) {
        sqlite3_bind_int(stmt, 1, (int)query->level);
        if (query->wpk_id != NULL) {
            rl_sqlite_book_bind_text(
                stmt, 2, (rl_string){query->wpk_id, strlen(query->wpk_id)}, &failed);
        }
        rl_sqlite_book_bind_time(stmt, 3, query->since, &failed);
        rl_sqlite_book_bind_time(stmt, 4, query->until, &failed);
    }
    while (found && !failed) {
        rl_rollup_row row;

        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        if (found && rl_sqlite_book_time(stmt, 2, &row.from)) {
            row.wpk_id = rl_sqlite_book_text(stmt, 0, &failed);
            row.number = (uint64_t)sqlite3_column_int64(stmt, 1);
            row.data.data = sqlite3_column_blob(stmt, 3);
            row.data.len = (size_t)sqlite3_column_bytes(stmt, 3);
            failed |= !rl_rollup_rows_add(wanted->rows, &row);
        }
    }
    if (stmt != NULL) {
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    }
    return status == RL_OK && failed ? rl_err_nomem(err) : status;
}

static rl_status read_all(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    request *wanted = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN_READ, err);

    rl_rollup_rows_free(wanted->rows); /* of a read that a fork has ended */
    if (status == RL_OK) {
        status = read_rows(conn, wanted, err);
    }
    if (status == RL_OK) {
        status = read_numbers(conn, RL_SQLITE_ROLLUP_WAITING, wanted->waiting, 1, err);
    }
    rl_sqlite_conn_rollback(conn);
    return status;
}

rl_status rl_sqlite_rollup_read(rl_sqlite_file *file, const rl_rollup_query *query,
                                rl_rollup_rows *rows, int64_t *waiting, rl_err *err)
{
    request wanted = {query, rows, waiting};

    return rl_sqlite_file_read(file, read_all, &wanted, err);
}

static rl_status read_waiting(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    return read_numbers(conn, RL_SQLITE_ROLLUP_WAITING, ctx, 1, err);
}

rl_status rl_sqlite_rollup_waiting(rl_sqlite_file *file, int64_t *waiting, rl_err *err)
{
    return rl_sqlite_file_read(file, read_waiting, waiting, err);
}

static rl_status read_size(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    rl_rollup_size *size = ctx;
    int64_t numbers[3];
    rl_status status = read_numbers(conn, RL_SQLITE_ROLLUP_SIZE, numbers, 3, err);

    *size = (rl_rollup_size){numbers[0], numbers[1], numbers[2]};
    return status;
}

rl_status rl_sqlite_rollup_size(rl_sqlite_file *file, rl_rollup_size *size, rl_err *err)
{
    return rl_sqlite_file_read(file, read_size, size, err);
}
