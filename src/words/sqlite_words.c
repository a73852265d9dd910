/* The index of words on SQLite: an FTS5 table, by the rowid of the run.
 *
 * Runs are read, and their texts made, without a lock. The short transaction that writes
 * them first sees whether the position is still where it was: of several processes one
 * gets there, and the others begin anew. A run that changes meanwhile is in
 * run_words_changed (migration 010) with another version, and is indexed again.
 */
#include "core/alloc.h"
#include "core/clock.h"
#include "store/sqlite/sqlite.h"
#include "words/run_text.h"
#include "words/sqlite_find.h"
#include "words/sqlite_make.h"
#include "words/sqlite_words_sql.h"

#include <string.h>
#include <time.h>

/* How long a batch has the lock, with its commit a little longer; and if others wait. */
#define BATCH_NS UINT64_C(8000000)
#define BRIEF_NS UINT64_C(2000000)
#define RETAIN ((size_t)1 << 20)

/* A run to be indexed. */
typedef struct indexing {
    int64_t run;     /* its rowid */
    int64_t version; /* in run_words_changed; 0: it is a new one */
    size_t at, len;  /* its text */
    bool exists;
} indexing;

typedef struct sqlite_words {
    rl_words_index base;
    rl_sqlite_file *file; /* borrowed */
    rl_words_mode mode;
    /* of the batch under way */
    const atomic_bool *stop;
    bool made;    /* the index exists */
    bool has_old; /* so does an old one, which has to go */
    bool as_words;
    int64_t position; /* as it was read */
    int64_t moved;    /* where it is after the batch */
    bool more;
    rl_buf jobs, texts;
    rl_words_scan scan;
} sqlite_words;

static void scan_column(rl_words_scan *scan, sqlite3_stmt *stmt, int column, bool is_json,
                        rl_words_role role)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);
    size_t len = text != NULL ? (size_t)sqlite3_column_bytes(stmt, column) : 0;

    if (text == NULL && sqlite3_column_type(stmt, column) != SQLITE_NULL) {
        scan->out->failed = true; /* SQLite had no memory for the conversion */
    } else if (text != NULL && is_json) {
        rl_words_scan_json(scan, role, text, len);
    } else if (text != NULL) {
        rl_words_scan_text(scan, text, len);
    }
}

/* Adds the texts of the parts of the run that `row` has. */
static rl_status scan_parts(sqlite_words *self, rl_sqlite_conn *conn, sqlite3_stmt *row,
                            rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_WORDS_PARTS, &stmt, err);
    bool found = status == RL_OK;

    if (found) {
        sqlite3_bind_value(stmt, 1, sqlite3_column_value(row, 1));
        sqlite3_bind_value(stmt, 2, sqlite3_column_value(row, 2));
    }
    while (found && !rl_words_scan_is_full(&self->scan)) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        if (found) {
            scan_column(&self->scan, stmt, 1, true,
                        sqlite3_column_int(stmt, 0) ? RL_WORDS_LOG : RL_WORDS_PAYLOAD);
        }
    }
    sqlite3_reset(stmt);
    return status;
}

static rl_status add_run(sqlite_words *self, rl_sqlite_conn *conn, sqlite3_stmt *row,
                         int64_t version, rl_err *err)
{
    indexing job = {.run = sqlite3_column_int64(row, 0),
                    .version = version,
                    .at = self->texts.len,
                    .exists = true};
    rl_status status;

    rl_words_scan_begin(&self->scan, self->as_words, RL_WORDS_TEXT_MAX, &self->texts);
    for (int column = 3; column <= 8; column++) {
        scan_column(&self->scan, row, column, column > 5,
                    column == 8 ? RL_WORDS_LOGS : RL_WORDS_PAYLOAD);
    }
    status = scan_parts(self, conn, row, err);
    job.len = self->texts.len - job.at;
    rl_buf_add(&self->jobs, &job, sizeof job);
    return status;
}

static size_t count_jobs(const sqlite_words *self)
{
    return self->jobs.len / sizeof(indexing);
}

static bool is_full(const sqlite_words *self)
{
    return count_jobs(self) >= RL_WORDS_BATCH_RUNS ||
           self->texts.len >= RL_WORDS_BATCH_BYTES;
}

/* Adds the runs that a statement selects: those after `first`, or that one (then with its
 * version). */
static rl_status add_runs(sqlite_words *self, rl_sqlite_conn *conn, const char *sql,
                          int64_t first, int64_t version, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);
    bool found = status == RL_OK;

    if (found) {
        sqlite3_bind_int64(stmt, 1, first);
        sqlite3_bind_int64(stmt, 2, RL_WORDS_BATCH_RUNS + 1);
    }
    while (found && !self->more) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        self->more = found && is_full(self);
        if (found && !self->more) {
            status = add_run(self, conn, stmt, version, err);
        }
        found = found && status == RL_OK;
    }
    sqlite3_reset(stmt);
    return status;
}

/* The changed runs that are due: first their keys, as another statement reads each. */
static rl_status add_changed(sqlite_words *self, rl_sqlite_conn *conn, rl_err *err)
{
    indexing changed[RL_WORDS_BATCH_RUNS];
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_WORDS_DUE, &stmt, err);
    bool found = status == RL_OK;
    size_t count = 0;

    if (found) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)time(NULL));
        sqlite3_bind_int64(stmt, 2, RL_WORDS_BATCH_RUNS);
    }
    while (found && count < RL_WORDS_BATCH_RUNS) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        if (found) {
            changed[count++] = (indexing){.run = sqlite3_column_int64(stmt, 0),
                                          .version = sqlite3_column_int64(stmt, 1),
                                          .exists = sqlite3_column_int(stmt, 2) != 0};
        }
    }
    sqlite3_reset(stmt);
    for (size_t i = 0; status == RL_OK && i < count && !self->more; i++) {
        if (is_full(self)) {
            self->more = true;
        } else if (changed[i].exists) {
            status = add_runs(self, conn, RL_SQLITE_WORDS_RUN_AT, changed[i].run,
                              changed[i].version, err);
        } else {
            rl_buf_add(&self->jobs, &changed[i], sizeof changed[i]);
        }
    }
    return status;
}

/* Reads a batch, in one transaction, so that all is of one moment. */
static rl_status read_batch(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    sqlite_words *self = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN_READ, err);

    rl_buf_reset(&self->jobs, RETAIN);
    rl_buf_reset(&self->texts, RETAIN);
    self->more = false;
    if (status == RL_OK) {
        status = rl_sqlite_words_state(conn, &self->made, &self->position,
                                       &self->as_words, err);
    }
    if (status == RL_OK && self->made) {
        status = add_changed(self, conn, err);
    }
    if (status == RL_OK && self->made && !self->more) {
        status = add_runs(self, conn, RL_SQLITE_WORDS_RUNS_AFTER, self->position, 0, err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_words_has_old(conn, &self->has_old, err);
    }
    rl_sqlite_conn_rollback(conn);
    return status == RL_OK && (self->jobs.failed || self->texts.failed)
               ? rl_err_nomem(err)
               : status;
}

/* Runs a statement with a number, and a text or another number. */
static rl_status run(rl_sqlite_conn *conn, const char *sql, int64_t number,
                     const char *text, size_t len, int64_t other, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, number);
        if (text != NULL) {
            sqlite3_bind_text(stmt, 2, text, (int)len, SQLITE_STATIC);
        } else if (sqlite3_bind_parameter_count(stmt) > 1) {
            sqlite3_bind_int64(stmt, 2, other);
        }
        status = rl_sqlite_conn_step(conn, stmt, err);
        sqlite3_clear_bindings(stmt);
    }
    return status;
}

static rl_status write_job(sqlite_words *self, rl_sqlite_conn *conn, const indexing *job,
                           rl_err *err)
{
    const char *text = self->texts.data != NULL ? self->texts.data + job->at : "";
    rl_status status =
        job->exists ? run(conn, RL_SQLITE_WORDS_PUT, job->run, text, job->len, 0, err)
                    : run(conn, RL_SQLITE_WORDS_REMOVE, job->run, NULL, 0, 0, err);

    if (job->version == 0) {
        self->moved = job->run;
    } else if (status == RL_OK) {
        status = run(conn, RL_SQLITE_WORDS_DONE, job->run, NULL, 0, job->version, err);
    }
    return status;
}

/* Writes the batch, or as much as there is time for. */
static rl_status write_batch(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    sqlite_words *self = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    const uint64_t start = rl_monotonic_ns();
    bool made = false, as_words = true, over = false;
    uint64_t took;
    int64_t position;
    size_t i = 0;

    self->moved = self->position;
    if (status == RL_OK) {
        status = rl_sqlite_words_state(conn, &made, &position, &as_words, err);
    }
    if (status == RL_OK &&
        (!made || position != self->position || as_words != self->as_words)) {
        return rl_err_set(err, RL_BUSY, "another process has indexed these runs");
    }
    for (; status == RL_OK && i < count_jobs(self) && !over; i++) {
        status = write_job(self, conn,
                           (const indexing *)(const void *)self->jobs.data + i, err);
        took = rl_monotonic_ns() - start;
        over = atomic_load(self->stop) || took > BATCH_NS ||
               (took > BRIEF_NS && rl_sqlite_file_has_waiting(self->file));
    }
    self->more = self->more || i < count_jobs(self);
    if (status == RL_OK && self->moved != self->position) {
        status = run(conn, RL_SQLITE_WORDS_MOVE, self->moved, NULL, 0, 0, err);
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

static rl_status sqlite_work(rl_words_index *index, const atomic_bool *stop, bool *more,
                             rl_err *err)
{
    sqlite_words *self = (sqlite_words *)index;
    rl_status status;

    self->stop = stop;
    status = rl_sqlite_file_read(self->file, read_batch, self, err);
    if (status == RL_OK && !self->made) {
        status = rl_sqlite_words_make(self->file, self->mode, RL_WAIT_BRIEFLY, err);
        self->more = true;
    } else if (status == RL_OK && count_jobs(self) > 0) {
        status = rl_sqlite_file_write(self->file, false, RL_WAIT_BRIEFLY, write_batch,
                                      self, err);
    } else if (status == RL_OK && self->has_old) {
        status =
            rl_sqlite_words_remove_old(self->file, RL_WAIT_BRIEFLY, &self->more, err);
    }
    *more = self->more || (self->has_old && count_jobs(self) > 0);
    return status;
}

static rl_status sqlite_reset(rl_words_index *index, rl_words_mode mode, rl_err *err)
{
    return rl_sqlite_words_reset(((sqlite_words *)index)->file, mode, err);
}

static rl_status sqlite_waiting(rl_words_index *index, int64_t *waiting, rl_err *err)
{
    return rl_sqlite_words_waiting(((sqlite_words *)index)->file, waiting, err);
}

static rl_status sqlite_find(rl_words_index *index, const rl_words_query *query,
                             rl_words_found *found, rl_err *err)
{
    return rl_sqlite_words_find(((sqlite_words *)index)->file, query, found, err);
}

static void init_batch(sqlite_words *self)
{
    rl_buf_init(&self->jobs, RL_BUF_MAX);
    rl_buf_init(&self->texts, RL_BUF_MAX);
    rl_words_scan_init(&self->scan);
}

static void sqlite_after_fork(rl_words_index *index)
{
    init_batch((sqlite_words *)index);
}

static void sqlite_free(rl_words_index *index)
{
    sqlite_words *self = (sqlite_words *)index;

    rl_buf_free(&self->jobs);
    rl_buf_free(&self->texts);
    rl_words_scan_free(&self->scan);
    rl_free(self);
}

static const rl_words_index_ops ops = {sqlite_work,    sqlite_find,       sqlite_reset,
                                       sqlite_waiting, sqlite_after_fork, sqlite_free};

rl_status rl_sqlite_words_new(rl_store *store, rl_words_mode mode, rl_words_index **index,
                              rl_err *err)
{
    sqlite_words *self = rl_calloc(1, sizeof *self);

    if (self == NULL) {
        return rl_err_nomem(err);
    }
    self->base.ops = &ops;
    self->file = rl_sqlite_file_of(store);
    self->mode = mode;
    init_batch(self);
    *index = &self->base;
    return RL_OK;
}
