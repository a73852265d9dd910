/* The roll-up of a SQLite file.
 *
 * Runs are read and counted without a lock. The short transaction that writes first sees
 * whether the version is still what it was: of several processes one gets there, and the
 * others begin anew. What changes meanwhile is marked by a trigger (migration 013).
 */
#include "core/alloc.h"
#include "core/clock.h"
#include "rollup/database.h"
#include "rollup/gone.h"
#include "rollup/sqlite_book.h"
#include "rollup/sqlite_read.h"
#include "rollup/sqlite_rollup_sql.h"
#include "rollup/sqlite_walk.h"
#include "store/sqlite/sqlite.h"

#include <string.h>

typedef struct sqlite_rollup {
    rl_rollup_db base;
    rl_sqlite_file *file; /* borrowed */
    /* of the step under way */
    const atomic_bool *stop;
    rl_sqlite_book book;
    rl_sqlite_walk walk;
    rl_count count;
    bool counts;  /* it counts what is marked; else it marks what is new */
    rl_gone gone; /* of a deletion, which has the file's lock */
} sqlite_rollup;

/* Whether nobody else has written since the version was read; nobody may until the end of
 * this transaction. */
static rl_status take_version(rl_sqlite_conn *conn, int64_t version, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_VERSION, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, version);
        status = rl_sqlite_conn_step(conn, stmt, err);
    }
    if (status == RL_OK && sqlite3_changes(conn->db) == 0) {
        status = rl_err_set(err, RL_BUSY, "another process has counted these runs");
    }
    return status;
}

static rl_status make(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    (void)ctx;
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_ROLLUP_MAKE, err);
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

/* Reads what is new, or a pass over what is marked, in one snapshot. */
static rl_status read_step(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    sqlite_rollup *self = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN_READ, err);

    self->book.conn = conn;
    if (status == RL_OK) {
        status = rl_sqlite_walk_state(&self->walk, conn, err);
    }
    if (status == RL_OK && self->walk.made) {
        status = self->counts
                     ? rl_count_read(&self->count, &self->book.base, self->stop, err)
                     : rl_sqlite_walk_read(&self->walk, conn, err);
    }
    rl_sqlite_conn_rollback(conn);
    return status;
}

/* Writes what the step has read. */
static rl_status write_step(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    sqlite_rollup *self = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    self->book.conn = conn;
    if (status == RL_OK) {
        status = take_version(conn, self->walk.version, err);
    }
    if (status == RL_OK) {
        status = self->counts ? rl_count_write(&self->count, &self->book.base, err)
                              : rl_sqlite_walk_write(&self->walk, &self->book, err);
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

static rl_status write_now(sqlite_rollup *self, rl_sqlite_work work, rl_err *err)
{
    return rl_sqlite_file_write(self->file, false, RL_WAIT_BRIEFLY, work, self, err);
}

static rl_status sqlite_work(rl_rollup_db *db, const atomic_bool *stop, bool *more,
                             uint64_t *counted, unsigned *damaged, rl_err *err)
{
    sqlite_rollup *self = (sqlite_rollup *)db;
    rl_status status;

    self->counts = false;
    self->stop = stop;
    *counted = *damaged = 0;
    *more = false;
    status = rl_sqlite_file_read(self->file, read_step, self, err);
    if (status == RL_OK && !self->walk.made) {
        *more = true;
        return write_now(self, make, err);
    }
    if (status == RL_OK && self->walk.has_moved) {
        status = write_now(self, write_step, err);
        *more = self->walk.more;
    }
    /* the first walk goes first, as then each leaf is counted once */
    if (status == RL_OK && !(self->walk.is_first && self->walk.more)) {
        self->counts = true;
        status = rl_sqlite_file_read(self->file, read_step, self, err);
        if (status == RL_OK && rl_count_has_changes(&self->count)) {
            status = write_now(self, write_step, err);
            *more = *more || self->count.more;
            *counted = self->count.counted;
            *damaged = self->count.damaged;
        }
    }
    return status;
}

/* ---- what readers get (sqlite_read.c) -------------------------------------------- */

static rl_status sqlite_read(rl_rollup_db *db, const rl_rollup_query *query,
                             rl_rollup_rows *rows, int64_t *waiting, rl_err *err)
{
    return rl_sqlite_rollup_read(((sqlite_rollup *)db)->file, query, rows, waiting, err);
}

static rl_status sqlite_waiting(rl_rollup_db *db, int64_t *waiting, rl_err *err)
{
    return rl_sqlite_rollup_waiting(((sqlite_rollup *)db)->file, waiting, err);
}

static rl_status sqlite_size(rl_rollup_db *db, rl_rollup_size *size, rl_err *err)
{
    return rl_sqlite_rollup_size(((sqlite_rollup *)db)->file, size, err);
}

/* ---- changes --------------------------------------------------------------------- */

typedef struct marking {
    sqlite_rollup *self;
    rl_string wpk_id;
    int64_t from, until;
} marking;

static rl_status write_mark(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const marking *wanted = ctx;
    rl_sqlite_book book;
    rl_pool pool = {NULL, NULL, 0};
    rl_pieces blocks = {NULL, 0, 0};
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    rl_sqlite_book_init(&book);
    book.conn = conn;
    if (status == RL_OK) {
        status = book.base.ops->pieces(&book.base, RL_LEVEL_BLOCK, wanted->wpk_id,
                                       wanted->from, wanted->until, &pool, &blocks, err);
    }
    if (status == RL_OK && blocks.count > 0) {
        const rl_mark mark = {
            .from = blocks.list[0].from, .to = blocks.list[0].from, .runs = 1};

        status = book.base.ops->add_mark(&book.base, wanted->wpk_id, &mark, err);
    }
    rl_pool_free(&pool);
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

static rl_status sqlite_mark(rl_rollup_db *db, rl_level level, rl_string wpk_id,
                             int64_t from, rl_err *err)
{
    const int64_t length = level == RL_LEVEL_SPAN ? RL_SPAN_US : RL_BLOCK_US;
    marking wanted = {(sqlite_rollup *)db, wpk_id, from, from + length};

    return rl_sqlite_file_write(wanted.self->file, false, RL_WAIT_BRIEFLY, write_mark,
                                &wanted, err);
}

/* ---- deletions ------------------------------------------------------------------- */

static rl_status set_deleting(rl_sqlite_conn *conn, bool deleting, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_DELETING, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int(stmt, 1, deleting);
        status = rl_sqlite_conn_step(conn, stmt, err);
    }
    return status;
}

static rl_status removal_begin(void *ctx, rl_sqlite_conn *conn, bool *wanted, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_EXISTS, &stmt, err);

    rl_gone_free(&((sqlite_rollup *)ctx)->gone);
    *wanted = false;
    if (status == RL_OK) {
        status = rl_sqlite_conn_next(conn, stmt, wanted, err);
    }
    sqlite3_reset(stmt);
    return status == RL_OK && *wanted ? set_deleting(conn, true, err) : status;
}

static rl_status removal_before(void *ctx, rl_sqlite_conn *conn, const char *id,
                                rl_err *err)
{
    sqlite_rollup *self = ctx;
    sqlite3_stmt *stmt = NULL;
    bool found = false, failed = false;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_ROLLUP_RUN, &stmt, err);

    if (status == RL_OK) {
        rl_sqlite_book_bind_text(stmt, 1, (rl_string){id, strlen(id)}, &failed);
    }
    if (status == RL_OK && !failed) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    if (found) {
        rl_fold_run run;
        const bool timed = rl_sqlite_book_run(stmt, &run, &failed);

        if (timed && !failed) {
            rl_gone_look(&self->gone, rl_sqlite_book_text(stmt, 8, &failed), &run);
        }
    }
    if (stmt != NULL) {
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    }
    return status == RL_OK && (failed || self->gone.failed) ? rl_err_nomem(err) : status;
}

static rl_status removal_after(void *ctx, bool deleted, rl_err *err)
{
    sqlite_rollup *self = ctx;

    if (deleted) {
        rl_gone_take(&self->gone);
    }
    self->gone.counts = false;
    return self->gone.failed ? rl_err_nomem(err) : RL_OK;
}

static rl_status removal_end(void *ctx, rl_sqlite_conn *conn, rl_err *err)
{
    sqlite_rollup *self = ctx;
    rl_sqlite_book book;
    rl_status status;

    rl_sqlite_book_init(&book);
    book.conn = conn;
    status = rl_gone_write(&self->gone, &book.base, err);
    rl_gone_free(&self->gone);
    return status == RL_OK ? set_deleting(conn, false, err) : status;
}

static void init_pass(sqlite_rollup *self)
{
    rl_sqlite_book_init(&self->book);
    rl_sqlite_walk_init(&self->walk);
    rl_count_init(&self->count);
    memset(&self->gone, 0, sizeof self->gone);
}

static rl_status write_reset(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    (void)ctx;
    if (status == RL_OK) {
        status = rl_sqlite_walk_reset(conn, err);
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

static rl_status sqlite_reset(rl_rollup_db *db, rl_err *err)
{
    return rl_sqlite_file_write(((sqlite_rollup *)db)->file, false, RL_WAIT, write_reset,
                                NULL, err);
}

static void sqlite_after_fork(rl_rollup_db *db)
{
    init_pass((sqlite_rollup *)db);
}

static void sqlite_free(rl_rollup_db *db)
{
    sqlite_rollup *self = (sqlite_rollup *)db;

    rl_sqlite_walk_free(&self->walk);
    rl_count_free(&self->count);
    rl_gone_free(&self->gone);
    rl_free(self);
}

static const rl_rollup_db_ops ops = {
    .work = sqlite_work,
    .read = sqlite_read,
    .mark = sqlite_mark,
    .waiting = sqlite_waiting,
    .size = sqlite_size,
    .reset = sqlite_reset,
    .after_fork = sqlite_after_fork,
    .free = sqlite_free,
    .removal_hook = {.sqlite_begin = removal_begin,
                     .sqlite_before = removal_before,
                     .sqlite_after = removal_after,
                     .sqlite_end = removal_end},
};

rl_status rl_sqlite_rollup_new(rl_store *store, rl_rollup_db **db, rl_err *err)
{
    sqlite_rollup *self = rl_calloc(1, sizeof *self);

    if (self == NULL) {
        return rl_err_nomem(err);
    }
    self->base.ops = &ops;
    self->file = rl_sqlite_file_of(store);
    init_pass(self);
    *db = &self->base;
    return RL_OK;
}
