/* What is new in a SQLite file. See sqlite_walk.h. */
#include "rollup/sqlite_walk.h"

#include "core/clock.h"
#include "rollup/sqlite_rollup_sql.h"

#include <string.h>

#define STEP_RUNS 4096
#define STEP_BLOCKS 500
#define RETAIN ((size_t)1 << 20)

typedef struct slot {
    rl_string wpk_id;
    int64_t slot; /* its beginning */
    rl_mark mark;
} slot;

void rl_sqlite_walk_init(rl_sqlite_walk *walk)
{
    memset(walk, 0, sizeof *walk);
    rl_buf_init(&walk->slots, RL_BUF_MAX);
}

void rl_sqlite_walk_free(rl_sqlite_walk *walk)
{
    rl_buf_free(&walk->slots);
    rl_pool_free(&walk->pool);
}

/* Keeps a text of a column; {NULL, 0} for NULL. */
static rl_string keep(rl_sqlite_walk *walk, sqlite3_stmt *stmt, int column, bool *failed)
{
    const rl_string text = rl_sqlite_book_text(stmt, column, failed);
    const rl_string kept = rl_pool_keep(&walk->pool, text.text, text.len);

    *failed |= text.text != NULL && kept.text == NULL;
    return kept;
}

rl_status rl_sqlite_walk_state(rl_sqlite_walk *walk, rl_sqlite_conn *conn, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool failed = false;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_STATE, &stmt, err);

    rl_pool_free(&walk->pool);
    rl_buf_reset(&walk->slots, RETAIN);
    walk->has_moved = walk->more = walk->made = false;
    if (status == RL_OK) {
        status = rl_sqlite_conn_next(conn, stmt, &walk->made, err);
    }
    if (walk->made) {
        walk->position = sqlite3_column_int64(stmt, 0);
        walk->version = sqlite3_column_int64(stmt, 1);
        walk->wpk_id = keep(walk, stmt, 2, &failed);
        walk->at = keep(walk, stmt, 3, &failed);
        walk->is_first = walk->wpk_id.text != NULL;
    }
    sqlite3_reset(stmt);
    return status == RL_OK && failed ? rl_err_nomem(err) : status;
}

static slot *slots_of(const rl_sqlite_walk *walk, size_t *count)
{
    *count = walk->slots.len / sizeof(slot);
    return (slot *)(void *)walk->slots.data;
}

/* Notes a run: one slot has one mark. The slots of a step are few, and those of runs in a
 * row mostly the same. */
static void add_run(rl_sqlite_walk *walk, rl_string wpk_id, int64_t at, bool *failed)
{
    const int64_t from = rl_floor_time(at, RL_SLOT_US);
    size_t count;
    slot *slots = slots_of(walk, &count), *found = NULL;

    for (size_t i = count; i > 0 && i + 64 > count && found == NULL; i--) {
        if (slots[i - 1].slot == from && rl_text_equals(slots[i - 1].wpk_id, wpk_id)) {
            found = &slots[i - 1];
        }
    }
    if (found == NULL) {
        const slot one = {rl_pool_keep(&walk->pool, wpk_id.text, wpk_id.len),
                          from,
                          {.from = at, .to = at, .runs = 1}};

        *failed |= one.wpk_id.text == NULL;
        rl_buf_add(&walk->slots, &one, sizeof one);
    } else {
        found->mark.from = at < found->mark.from ? at : found->mark.from;
        found->mark.to = at > found->mark.to ? at : found->mark.to;
        found->mark.runs++;
    }
}

static rl_status read_new(rl_sqlite_walk *walk, rl_sqlite_conn *conn, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool failed = false;
    int rows = 0;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_NEW, &stmt, err);
    bool found = status == RL_OK;

    if (found) {
        sqlite3_bind_int64(stmt, 1, walk->position);
        sqlite3_bind_int64(stmt, 2, STEP_RUNS);
    }
    while (found && !failed) {
        int64_t at;

        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        if (found) {
            walk->has_moved = true;
            walk->moved = sqlite3_column_int64(stmt, 0);
            if (++rows == STEP_RUNS) {
                walk->more = true;
            }
            walk->last_id = keep(walk, stmt, 1, &failed);
            if (rl_sqlite_book_time(stmt, 3, &at)) {
                add_run(walk, rl_sqlite_book_text(stmt, 2, &failed), at, &failed);
            }
        }
    }
    sqlite3_reset(stmt);
    return status == RL_OK && (failed || walk->slots.failed) ? rl_err_nomem(err) : status;
}

/* Reads the first column of the first row of a statement with two texts. */
static rl_status read_text(rl_sqlite_walk *walk, rl_sqlite_conn *conn, const char *sql,
                           rl_string first, rl_string second, rl_string *out, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool found = false, failed = false;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);

    *out = (rl_string){NULL, 0};
    if (status == RL_OK) {
        rl_sqlite_book_bind_text(stmt, 1, first, &failed);
        rl_sqlite_book_bind_text(stmt, 2, second, &failed);
    }
    if (status == RL_OK && !failed) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    if (found) {
        *out = keep(walk, stmt, 0, &failed);
    }
    sqlite3_reset(stmt);
    return status == RL_OK && failed ? rl_err_nomem(err) : status;
}

static rl_status count_block(rl_sqlite_walk *walk, rl_sqlite_conn *conn, int64_t at,
                             rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool found = false, failed = false;
    slot one = {walk->wpk_id, at, {.from = at, .to = at + RL_BLOCK_US - 1}};
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_BLOCK_RUNS, &stmt, err);

    if (status == RL_OK) {
        rl_sqlite_book_bind_text(stmt, 1, walk->wpk_id, &failed);
        rl_sqlite_book_bind_time(stmt, 2, at, &failed);
        rl_sqlite_book_bind_time(stmt, 3, at + RL_BLOCK_US, &failed);
    }
    if (status == RL_OK && !failed) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    if (found) {
        one.mark.runs = (uint64_t)sqlite3_column_int64(stmt, 0);
        rl_buf_add(&walk->slots, &one, sizeof one);
    }
    sqlite3_reset(stmt);
    return status == RL_OK && (failed || walk->slots.failed) ? rl_err_nomem(err) : status;
}

/* The first walk: the next blocks that have runs. */
static rl_status read_blocks(rl_sqlite_walk *walk, rl_sqlite_conn *conn, rl_err *err)
{
    const rl_string nothing = {"", 0};
    rl_status status = RL_OK;

    walk->has_moved = true;
    walk->moved = walk->position;
    for (int i = 0; i < STEP_BLOCKS && status == RL_OK && walk->wpk_id.text != NULL;
         i++) {
        rl_string next;
        int64_t at;

        status = read_text(walk, conn, RL_SQLITE_ROLLUP_NEXT_RUN, walk->wpk_id, walk->at,
                           &next, err);
        if (status == RL_OK && next.text == NULL) {
            status = read_text(walk, conn, RL_SQLITE_ROLLUP_NEXT_WORKFLOW, walk->wpk_id,
                               nothing, &walk->wpk_id, err);
            walk->at = nothing;
        } else if (status == RL_OK && rl_time_parse(next.text, next.len, &at) &&
                   at < RL_TIME_MAX) {
            char text[RL_TIME_TEXT];

            at = rl_floor_time(at, RL_BLOCK_US);
            status = count_block(walk, conn, at, err);
            rl_time_format(at + RL_BLOCK_US, text);
            /* without its Z, it is less than all times from there on */
            walk->at = rl_pool_keep(&walk->pool, text, RL_TIME_TEXT - 2);
        } else {
            walk->at = next; /* not written by runlog, or in no block */
        }
    }
    walk->more = true;
    return status;
}

rl_status rl_sqlite_walk_read(rl_sqlite_walk *walk, rl_sqlite_conn *conn, rl_err *err)
{
    return walk->is_first ? read_blocks(walk, conn, err) : read_new(walk, conn, err);
}

static rl_status bind_and_step(rl_sqlite_conn *conn, sqlite3_stmt *stmt, rl_status status,
                               rl_err *err)
{
    if (status == RL_OK) {
        status = rl_sqlite_conn_step(conn, stmt, err);
        sqlite3_clear_bindings(stmt);
    }
    return status;
}

/* Whether the run at the new position is still the one that was read: if so, those before
 * it are, too, as SQLite gives no rowid below the greatest. */
static rl_status check_last(rl_sqlite_walk *walk, rl_sqlite_conn *conn, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool found = false, same = false, failed = false;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_ID, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, walk->moved);
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        same =
            found && rl_text_equals(rl_sqlite_book_text(stmt, 0, &failed), walk->last_id);
    }
    sqlite3_reset(stmt);
    return status == RL_OK && !same
               ? rl_err_set(err, RL_BUSY, "runs were deleted meanwhile")
               : status;
}

static rl_status write_place(rl_sqlite_walk *walk, rl_sqlite_conn *conn, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool failed = false;
    rl_status status;

    if (walk->is_first) {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_WALKED, &stmt, err);
        if (status == RL_OK) {
            rl_sqlite_book_bind_text(stmt, 1, walk->wpk_id, &failed);
            rl_sqlite_book_bind_text(
                stmt, 2, walk->wpk_id.text != NULL ? walk->at : walk->wpk_id, &failed);
        }
    } else {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_MOVE, &stmt, err);
        if (status == RL_OK) {
            sqlite3_bind_int64(stmt, 1, walk->moved);
        }
    }
    return bind_and_step(conn, stmt, failed ? rl_err_nomem(err) : status, err);
}

rl_status rl_sqlite_walk_write(rl_sqlite_walk *walk, rl_sqlite_book *book, rl_err *err)
{
    size_t count;
    const slot *slots = slots_of(walk, &count);
    rl_status status = walk->is_first ? RL_OK : check_last(walk, book->conn, err);

    for (size_t i = 0; i < count && status == RL_OK; i++) {
        status =
            book->base.ops->add_mark(&book->base, slots[i].wpk_id, &slots[i].mark, err);
    }
    return status == RL_OK ? write_place(walk, book->conn, err) : status;
}

rl_status rl_sqlite_walk_reset(rl_sqlite_conn *conn, rl_err *err)
{
    const int rc = sqlite3_exec(conn->db, RL_SQLITE_ROLLUP_RESET, NULL, NULL, NULL);

    return rc == SQLITE_OK ? RL_OK : rl_sqlite_conn_error(conn, rc, err);
}
