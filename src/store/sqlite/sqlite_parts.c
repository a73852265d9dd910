/* The parts of runs on SQLite. See sqlite_parts.h. */
#include "store/sqlite/sqlite_parts.h"

#include "core/delta.h"
#include "core/uuid.h"
#include "store/sqlite/sqlite_sql.h"

#include <string.h>

/* The row that the parts belong to. */
typedef struct parts_row {
    const char *wpk_id; /* borrowed from the run */
    rl_buf id;          /* as the row has it, with a NUL; empty without a row */
    bool ended;         /* its status is not "running" */
    bool lacks_logs;    /* its node_logs are NULL */
} parts_row;

static rl_status find_row(rl_sqlite_conn *conn, const rl_run *run, parts_row *row,
                          rl_err *err)
{
    char id[RL_UUID_TEXT];
    bool found = false;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(
        conn, run->is_own ? RL_SQLITE_PARTS_ROW_BY_ID : RL_SQLITE_PARTS_ROW_BY_NAME,
        &stmt, err);

    rl_uuid_format(run->id, id);
    if (status == RL_OK) {
        sqlite3_bind_text(stmt, 1, row->wpk_id, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 2, run->is_own ? id : rl_run_text(run, RL_RUN_ID), -1,
                          SQLITE_STATIC);
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    if (found) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);

        rl_buf_add_text(&row->id, text != NULL ? text : "");
        rl_buf_add_char(&row->id, '\0');
        row->ended = sqlite3_column_int(stmt, 1) != 0;
        row->lacks_logs = sqlite3_column_int(stmt, 2) != 0;
        status = row->id.failed || text == NULL ? rl_err_nomem(err) : RL_OK;
    }
    sqlite3_reset(stmt);
    return status;
}

/* Gives a statement whose first two parameters are wpk_id and id. */
static rl_status make_stmt(rl_sqlite_conn *conn, const char *sql, const parts_row *row,
                           sqlite3_stmt **stmt, rl_err *err)
{
    rl_status status = rl_sqlite_conn_stmt(conn, sql, stmt, err);

    if (status == RL_OK) {
        sqlite3_clear_bindings(*stmt);
        sqlite3_bind_text(*stmt, 1, row->wpk_id, -1, SQLITE_STATIC);
        sqlite3_bind_text(*stmt, 2, row->id.data, -1, SQLITE_STATIC);
    }
    return status;
}

static rl_status put_part(rl_sqlite_conn *conn, const parts_row *row, const char *text,
                          const rl_member *part, int64_t revision, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = make_stmt(conn, RL_SQLITE_PARTS_PUT, row, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_text(stmt, 3, text + part->key_at + 1, (int)part->key_len - 2,
                          SQLITE_STATIC);
        sqlite3_bind_text(stmt, 4, text + part->value_at, (int)part->value_len,
                          SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 5, revision);
        status = rl_sqlite_conn_step(conn, stmt, err);
    }
    return status;
}

/* Stores the parts that the row takes. */
static rl_status put_parts(rl_sqlite_conn *conn, const parts_row *row, const rl_run *run,
                           rl_err *err)
{
    const char *text = run->arena.data + run->parts.at;
    const rl_member *parts;
    rl_status status = RL_OK;
    rl_buf members;

    rl_buf_init(&members, RL_BUF_MAX);
    if (!rl_object_split(text, run->parts.len, &members)) {
        status = members.failed ? rl_err_nomem(err)
                                : rl_err_set(err, RL_STORE,
                                             "the run's parts must be a JSON object, as "
                                             "runlog writes it");
    }
    parts = (const rl_member *)(const void *)members.data;
    for (size_t i = 0; status == RL_OK && i < members.len / sizeof *parts; i++) {
        if (row->lacks_logs || text[parts[i].key_at + 1] < RL_SQL_NODES[1]) {
            status = put_part(conn, row, text, &parts[i], run->revision, err);
        }
    }
    rl_buf_free(&members);
    return status;
}

/* Makes the row's node_logs from its node parts. */
static rl_status join_nodes(rl_sqlite_conn *conn, parts_row *row, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = make_stmt(conn, RL_SQLITE_PARTS_JOIN, row, &stmt, err);

    if (status == RL_OK) {
        status = rl_sqlite_conn_step(conn, stmt, err);
        row->lacks_logs = status == RL_OK && sqlite3_changes(conn->db) == 0;
    }
    return status;
}

static rl_status delete_nodes(rl_sqlite_conn *conn, const parts_row *row, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = make_stmt(conn, RL_SQLITE_PARTS_END, row, &stmt, err);

    return status == RL_OK ? rl_sqlite_conn_step(conn, stmt, err) : status;
}

rl_status rl_sqlite_parts_write(rl_sqlite_conn *conn, const rl_run *run, rl_err *err)
{
    parts_row row = {.wpk_id = rl_run_text(run, RL_WPK_ID)};
    bool ends = false;
    rl_status status;

    rl_buf_init(&row.id, RL_BUF_MAX);
    status = find_row(conn, run, &row, err);
    if (status == RL_OK && row.id.len > 0) {
        status = put_parts(conn, &row, run, err);
        ends = row.ended && run->parts_use != RL_PARTS_ADD;
    }
    if (status == RL_OK && ends && row.lacks_logs && run->parts_use == RL_PARTS_JOIN) {
        status = join_nodes(conn, &row, err);
    }
    if (status == RL_OK && ends && !row.lacks_logs) {
        status = delete_nodes(conn, &row, err);
    }
    rl_buf_free(&row.id);
    return status;
}
