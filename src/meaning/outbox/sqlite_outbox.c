/* The outbox on SQLite. See sqlite_outbox.h. */
#include "meaning/outbox/sqlite_outbox.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "meaning/outbox/sqlite_outbox_sql.h"
#include "store/sqlite/sqlite_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sqlite_outbox {
    rl_outbox base;
    rl_sqlite_file *file; /* borrowed */
} sqlite_outbox;

static rl_sqlite_file *file_of(rl_outbox *outbox)
{
    return ((sqlite_outbox *)outbox)->file;
}

static int bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
    return sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC);
}

/* The statement for a run that was just written; NULL when the outbox does not change. */
static const char *sql_of_action(rl_outbox_action action, bool is_own, bool is_new)
{
    static const char *const statements[2][2] = {
        [RL_OUTBOX_REQUEUE] = {RL_SQLITE_OUTBOX_REQUEUE_NAME,
                               RL_SQLITE_OUTBOX_REQUEUE_ID},
        [RL_OUTBOX_QUEUE] = {RL_SQLITE_OUTBOX_QUEUE_NAME, RL_SQLITE_OUTBOX_QUEUE_ID},
    };

    if (is_new) {
        return action == RL_OUTBOX_QUEUE ? RL_SQLITE_OUTBOX_ADD_NEW : NULL;
    }
    return statements[action][is_own];
}

/* The hook: called in the transaction that has just written the run. */
static rl_status write_row(void *rule, rl_sqlite_conn *conn, const rl_run *run,
                           bool is_new, rl_err *err)
{
    const char *sql = sql_of_action(rl_outbox_action_of(rule, run), run->is_own, is_new);
    char id[RL_UUID_TEXT];
    sqlite3_stmt *stmt = NULL;
    rl_status status = RL_OK;
    int rc;

    if (sql != NULL) {
        status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);
    }
    if (status != RL_OK || sql == NULL) {
        return status;
    }
    if (run->is_own || is_new) {
        rl_uuid_format(run->id, id);
        rc = bind_text(stmt, 1, id);
    } else {
        rc = bind_text(stmt, 1, rl_run_text(run, RL_WPK_ID));
        rc |= bind_text(stmt, 2, rl_run_text(run, RL_RUN_ID));
    }
    status = rc == SQLITE_OK ? rl_sqlite_conn_step(conn, stmt, err) : rl_err_nomem(err);
    sqlite3_clear_bindings(stmt);
    return status;
}

/* The arguments of a claim. */
typedef struct claiming {
    const rl_outbox_claim *claim;
    rl_outbox_jobs *jobs;
    bool any;
} claiming;

static rl_status find_any(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    claiming *self = ctx;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_OUTBOX_ANY, &stmt, err);
    int rc;

    if (status == RL_OK) {
        bind_text(stmt, 1, rl_outbox_state_names[self->claim->state]);
        sqlite3_bind_int64(stmt, 2, self->claim->now);
        rc = sqlite3_step(stmt);
        self->any = rc == SQLITE_ROW;
        if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
            status = rl_sqlite_conn_error(conn, rc, err);
        }
        sqlite3_reset(stmt);
    }
    return status;
}

/* Appends the text of a column; "" for NULL. */
static size_t add_text(rl_outbox_jobs *jobs, sqlite3_stmt *stmt, int column)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    if (text == NULL && sqlite3_column_type(stmt, column) != SQLITE_NULL) {
        jobs->arena.failed = true; /* SQLite had no memory for the conversion */
    }
    return rl_outbox_add_text(jobs, text != NULL ? text : "",
                              text != NULL ? (size_t)sqlite3_column_bytes(stmt, column)
                                           : 0);
}

/* The dimension of a vector; 0 when the blob does not have the length that `dim` says. */
static uint32_t checked_dim(sqlite3_stmt *stmt, int vector, uint32_t dim)
{
    return (size_t)sqlite3_column_bytes(stmt, vector) == dim * sizeof(float) ? dim : 0;
}

static void add_job(rl_outbox_jobs *jobs, int64_t lease, sqlite3_stmt *stmt)
{
    rl_outbox_job job = {.version = sqlite3_column_int64(stmt, 1),
                         .lease = lease,
                         .attempts = (unsigned)sqlite3_column_int(stmt, 2),
                         .text_hash = (uint64_t)sqlite3_column_int64(stmt, 9),
                         .dim = (uint32_t)sqlite3_column_int(stmt, 11)};
    const char *id = (const char *)sqlite3_column_text(stmt, 0);
    const char *stamp = (const char *)sqlite3_column_text(stmt, 7);

    snprintf(job.id, sizeof job.id, "%s", id != NULL ? id : "");
    job.run_deleted = sqlite3_column_type(stmt, 7) == SQLITE_NULL;
    if (stamp == NULL ||
        !rl_time_parse(stamp, (size_t)sqlite3_column_bytes(stmt, 7), &job.created_at)) {
        job.created_at = 0;
    }
    job.wpk_id = add_text(jobs, stmt, 3);
    job.run_id = add_text(jobs, stmt, 4);
    job.status = add_text(jobs, stmt, 5);
    job.model = add_text(jobs, stmt, 6);
    job.outputs = add_text(jobs, stmt, 8);
    job.outputs_len = (size_t)sqlite3_column_bytes(stmt, 8);
    job.values = add_text(jobs, stmt, 12);
    job.values_len = (size_t)sqlite3_column_bytes(stmt, 12);
    if (sqlite3_column_type(stmt, 10) == SQLITE_BLOB) {
        job.dim = checked_dim(stmt, 10, job.dim);
        job.vector = rl_outbox_add_vector(jobs, sqlite3_column_blob(stmt, 10),
                                          job.dim * sizeof(float));
    }
    jobs->arena.failed =
        jobs->arena.failed || id == NULL || (stamp == NULL && !job.run_deleted);
    rl_buf_add(&jobs->list, &job, sizeof job);
}

static rl_status read_claimable(rl_sqlite_conn *conn, const claiming *self, rl_err *err)
{
    const rl_outbox_claim *wanted = self->claim;
    rl_outbox_jobs *jobs = self->jobs;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_OUTBOX_CLAIMABLE, &stmt, err);
    int rc = SQLITE_ROW;

    if (status == RL_OK) {
        bind_text(stmt, 1, rl_outbox_state_names[wanted->state]);
        sqlite3_bind_int64(stmt, 2, wanted->now);
        sqlite3_bind_int64(stmt, 3, (sqlite3_int64)wanted->limit);
        while (
            (jobs->arena.len < RL_OUTBOX_BYTES || wanted->state != RL_OUTBOX_PENDING) &&
            (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
            add_job(jobs, wanted->until, stmt);
        }
        if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
            status = rl_sqlite_conn_error(conn, rc, err);
        }
        sqlite3_reset(stmt);
    }
    return status == RL_OK && rl_outbox_jobs_failed(jobs) ? rl_err_nomem(err) : status;
}

static rl_status claim_row(rl_sqlite_conn *conn, const rl_outbox_job *job, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_OUTBOX_CLAIM, &stmt, err);

    if (status == RL_OK) {
        bool bound = bind_text(stmt, 1, job->id) == SQLITE_OK &&
                     sqlite3_bind_int64(stmt, 2, job->lease) == SQLITE_OK;

        status = bound ? rl_sqlite_conn_step(conn, stmt, err) : rl_err_nomem(err);
        sqlite3_clear_bindings(stmt);
    }
    return status;
}

static rl_status run_for_oldest(rl_sqlite_conn *conn, const char *sql, size_t limit,
                                int *changes, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)limit);
        status = rl_sqlite_conn_step(conn, stmt, err);
        *changes = sqlite3_changes(conn->db);
    }
    return status;
}

/* Inserts the rows of the oldest new runs, as many as a claim takes at most. When all of
 * these were deleted, goes on to the next ones. */
static rl_status queue_new_runs(rl_sqlite_conn *conn, size_t limit, rl_err *err)
{
    int queued = 0, removed = 0;
    rl_status status;

    do {
        status = run_for_oldest(conn, RL_SQLITE_OUTBOX_QUEUE_NEW, limit, &queued, err);
        if (status == RL_OK) {
            status =
                run_for_oldest(conn, RL_SQLITE_OUTBOX_REMOVE_NEW, limit, &removed, err);
        }
    } while (status == RL_OK && queued == 0 && removed > 0);
    return status;
}

/* In one write transaction, so that nobody else claims the rows between the two
 * statements. */
static rl_status claim(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const claiming *self = ctx;
    rl_status status;

    rl_outbox_jobs_clear(self->jobs); /* of an attempt before this one */
    status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    if (status == RL_OK && self->claim->state == RL_OUTBOX_PENDING) {
        status = queue_new_runs(conn, self->claim->limit, err);
    }
    if (status == RL_OK) {
        status = read_claimable(conn, self, err);
    }
    for (size_t i = 0; status == RL_OK && i < rl_outbox_job_count(self->jobs); i++) {
        status = claim_row(conn, rl_outbox_job_at(self->jobs, i), err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    return status;
}

static rl_status outbox_claim(rl_outbox *outbox, const rl_outbox_claim *wanted,
                              rl_outbox_jobs *jobs, rl_err *err)
{
    claiming self = {.claim = wanted, .jobs = jobs};
    rl_status status;

    rl_outbox_jobs_clear(jobs);
    status = rl_sqlite_file_read(file_of(outbox), find_any, &self, err);
    if (status == RL_OK && self.any) {
        status = rl_sqlite_file_write(file_of(outbox), false, RL_WAIT, claim, &self, err);
    }
    if (status != RL_OK) {
        rl_outbox_jobs_clear(jobs);
    }
    return status;
}

/* The statements of an outcome; the second one runs only when the first has found no row.
 * */
static const char *const outcome_sql[][2] = {
    [RL_OUTBOX_NEW_VECTOR] = {RL_SQLITE_OUTBOX_NEW_VECTOR, NULL},
    [RL_OUTBOX_SAME_TEXT] = {RL_SQLITE_OUTBOX_SAME_TEXT, NULL},
    [RL_OUTBOX_UPSERTED] = {RL_SQLITE_OUTBOX_UPSERTED, NULL},
    [RL_OUTBOX_NO_TEXT] = {RL_SQLITE_OUTBOX_NO_TEXT, RL_SQLITE_OUTBOX_NO_TEXT_UPSERTED},
    [RL_OUTBOX_REMOVED] = {RL_SQLITE_OUTBOX_REMOVED, NULL},
    [RL_OUTBOX_REJECTED] = {RL_SQLITE_OUTBOX_REJECTED, NULL},
    [RL_OUTBOX_POSTPONED] = {RL_SQLITE_OUTBOX_POSTPONED, NULL},
};

static int bind_outcome(sqlite3_stmt *stmt, const rl_outbox_result *result)
{
    int rc = SQLITE_OK;

    switch (result->outcome) {
    case RL_OUTBOX_NEW_VECTOR:
        rc |= sqlite3_bind_int64(stmt, 4, rl_time_now());
        rc |= bind_text(stmt, 5, result->model);
        rc |= sqlite3_bind_int64(stmt, 6, result->dim);
        rc |= sqlite3_bind_blob64(stmt, 7, result->vector, result->dim * sizeof(float),
                                  SQLITE_STATIC);
        rc |= sqlite3_bind_int64(stmt, 8, (sqlite3_int64)result->text_hash);
        rc |= sqlite3_bind_int64(stmt, 9, (sqlite3_int64)result->text_bytes);
        rc |= sqlite3_bind_int64(stmt, 10, (sqlite3_int64)result->used_bytes);
        break;
    case RL_OUTBOX_SAME_TEXT:
        rc |= sqlite3_bind_int64(stmt, 4, rl_time_now());
        break;
    case RL_OUTBOX_REJECTED:
        rc |= bind_text(stmt, 4, result->error);
        break;
    case RL_OUTBOX_POSTPONED:
        rc |= sqlite3_bind_int64(stmt, 4, result->again_at);
        rc |= bind_text(stmt, 5, result->error);
        break;
    default:
        break;
    }
    return rc;
}

/* Runs a statement for a claimed row; *found is whether it has changed the row. */
static rl_status run_for_row(rl_sqlite_conn *conn, const char *sql, bool has_outcome,
                             const rl_outbox_result *result, bool *found, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);
    int rc;

    if (status == RL_OK) {
        rc = bind_text(stmt, 1, result->key.id);
        rc |= sqlite3_bind_int64(stmt, 2, result->version);
        rc |= sqlite3_bind_int64(stmt, 3, result->lease);
        rc |= has_outcome ? bind_outcome(stmt, result) : SQLITE_OK;
        status =
            rc == SQLITE_OK ? rl_sqlite_conn_step(conn, stmt, err) : rl_err_nomem(err);
        *found = status == RL_OK && sqlite3_changes(conn->db) > 0;
        sqlite3_clear_bindings(stmt);
    }
    return status;
}

static rl_status finish_row(rl_sqlite_conn *conn, const rl_outbox_result *result,
                            rl_err *err)
{
    const char *const *sql = outcome_sql[result->outcome];
    bool found = false;
    rl_status status = run_for_row(conn, sql[0], true, result, &found, err);

    if (status == RL_OK && !found && sql[1] != NULL) {
        status = run_for_row(conn, sql[1], false, result, &found, err);
    }
    if (status == RL_OK && !found) {
        status = run_for_row(conn, RL_SQLITE_OUTBOX_RELEASE, false, result, &found, err);
    }
    return status;
}

typedef struct finishing {
    const rl_outbox_result *results;
    size_t count;
} finishing;

static rl_status finish(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const finishing *self = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    for (size_t i = 0; i < self->count && status == RL_OK; i++) {
        status = finish_row(conn, &self->results[i], err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    return status;
}

static rl_status outbox_finish(rl_outbox *outbox, const rl_outbox_result *results,
                               size_t count, rl_err *err)
{
    finishing self = {results, count};

    return count > 0
               ? rl_sqlite_file_write(file_of(outbox), false, RL_WAIT, finish, &self, err)
               : RL_OK;
}

typedef struct recalling {
    int64_t beyond;
    bool any;
} recalling;

/* A read, which takes no write lock. */
static rl_status find_beyond(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    recalling *self = ctx;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_OUTBOX_ANY_BEYOND, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, self->beyond);
        status = rl_sqlite_conn_next(conn, stmt, &self->any, err);
    }
    sqlite3_reset(stmt);
    return status;
}

static rl_status recall(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const recalling *self = ctx;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_OUTBOX_RECALL, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, self->beyond);
        status = rl_sqlite_conn_step(conn, stmt, err);
    }
    return status;
}

static rl_status outbox_recall(rl_outbox *outbox, int64_t beyond, rl_err *err)
{
    recalling self = {.beyond = beyond};
    rl_status status = rl_sqlite_file_read(file_of(outbox), find_beyond, &self, err);

    return status == RL_OK && self.any
               ? rl_sqlite_file_write(file_of(outbox), false, RL_WAIT, recall, &self, err)
               : status;
}

typedef struct counting {
    rl_outbox_counts *counts;
    rl_outbox_state more; /* one more to count */
} counting;

static rl_status count_rows(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const counting *self = ctx;
    rl_outbox_counts *counts = self->counts;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_OUTBOX_COUNTS, &stmt, err);
    rl_outbox_state state;
    int rc = SQLITE_DONE;

    memset(counts, 0, sizeof *counts);
    if (status == RL_OK) {
        bind_text(stmt, 1, rl_outbox_state_names[self->more]);
    }
    while (status == RL_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(stmt, 0);

        if (name != NULL && rl_outbox_state_parse(name, &state)) {
            counts->rows[state] += sqlite3_column_int64(stmt, 1);
        }
    }
    sqlite3_reset(stmt);
    if (status == RL_OK && rc == SQLITE_DONE && counts->rows[RL_OUTBOX_FAILED] > 0) {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_OUTBOX_LAST_ERROR, &stmt, err);
        if (status == RL_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
            const char *text = (const char *)sqlite3_column_text(stmt, 0);

            snprintf(counts->last_error, sizeof counts->last_error, "%s",
                     text != NULL ? text : "");
            rc = SQLITE_DONE;
        }
        sqlite3_reset(stmt);
    }
    return status == RL_OK && rc != SQLITE_DONE ? rl_sqlite_conn_error(conn, rc, err)
                                                : status;
}

static rl_status outbox_count(rl_outbox *outbox, bool embedded, rl_outbox_counts *counts,
                              rl_err *err)
{
    counting self = {counts, embedded ? RL_OUTBOX_EMBEDDED : RL_OUTBOX_PENDING};

    return rl_sqlite_file_read(file_of(outbox), count_rows, &self, err);
}

/* The last run of the step after `first`; 0 if there is none. */
static rl_status end_of_step(rl_sqlite_conn *conn, int64_t first, int64_t *last,
                             rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_OUTBOX_WALK, &stmt, err);
    bool found = false;

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, first);
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    *last = found ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_reset(stmt);
    return status;
}

static rl_status queue_step(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    rl_outbox_walk *walk = ctx;
    const int64_t first = strtoll(walk->txid, NULL, 10);
    sqlite3_stmt *stmt = NULL;
    int64_t last = 0, queued = 0;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    if (status == RL_OK) {
        status = end_of_step(conn, first, &last, err);
    }
    if (status == RL_OK && last > first) {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_OUTBOX_WALK_QUEUE, &stmt, err);
    }
    if (stmt != NULL) {
        sqlite3_bind_int64(stmt, 1, first);
        sqlite3_bind_int64(stmt, 2, last);
        (void)bind_text(stmt, 3, walk->model);
        sqlite3_bind_int64(stmt, 4, walk->dim);
        status = rl_sqlite_conn_step(conn, stmt, err);
        sqlite3_clear_bindings(stmt);
        queued = sqlite3_changes(conn->db);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    if (status == RL_OK) {
        walk->more = last > first;
        walk->queued += queued;
        snprintf(walk->txid, sizeof walk->txid, "%lld", (long long)last);
    }
    return status;
}

static rl_status outbox_queue(rl_outbox *outbox, rl_outbox_walk *walk, rl_err *err)
{
    return rl_sqlite_file_write(file_of(outbox), false, RL_WAIT, queue_step, walk, err);
}

/* A scan of the vectors, or with `id` the reading of one. */
typedef struct reading {
    const rl_near_query *query;
    const char *id, *model;
    rl_vector_sink sink;
    void *ctx;
    char since[RL_TIME_TEXT];
    char last_id[RL_UUID_TEXT]; /* of the row that was read last; "" at first */
    int64_t last_rowid;
    int64_t rows; /* in this block */
} reading;

/* The statement of a scan: [in one workflow][with filters of the runs]. */
static const char *scan_sql(const rl_near_query *query)
{
    static const char *const statements[2][2] = {
        {RL_SQLITE_VECTORS RL_SQLITE_VECTORS_BLOCK RL_SQLITE_VECTORS_ORDER,
         RL_SQLITE_VECTORS RL_SQLITE_VECTORS_OF_RUN RL_SQLITE_VECTORS_BLOCK
             RL_SQLITE_VECTORS_ORDER},
        {RL_SQLITE_VECTORS RL_SQLITE_VECTORS_BLOCK RL_SQLITE_VECTORS_IN
             RL_SQLITE_VECTORS_ORDER,
         RL_SQLITE_VECTORS RL_SQLITE_VECTORS_OF_RUN RL_SQLITE_VECTORS_BLOCK
             RL_SQLITE_VECTORS_IN RL_SQLITE_VECTORS_ORDER},
    };

    return statements[query->wpk_id != NULL]
                     [query->status != NULL || query->since != RL_TIME_NONE];
}

static void bind_scan(sqlite3_stmt *stmt, const reading *self)
{
    const rl_near_query *query = self->query;

    bind_text(stmt, 1, query->model);
    sqlite3_bind_int64(stmt, 2, query->dim);
    bind_text(stmt, 3, self->last_id);
    sqlite3_bind_int64(stmt, 4, self->last_rowid);
    sqlite3_bind_int64(stmt, 5, rl_vector_block(query->dim));
    if (query->status != NULL || query->since != RL_TIME_NONE) {
        bind_text(stmt, 6, query->status);
        bind_text(stmt, 7, query->since != RL_TIME_NONE ? self->since : NULL);
    }
    if (query->wpk_id != NULL) {
        bind_text(stmt, 8, query->wpk_id);
    }
}

static rl_status give_vector(reading *self, sqlite3_stmt *stmt, rl_err *err)
{
    const char *text = (const char *)sqlite3_column_text(stmt, 1);
    const bool is_uuid = sqlite3_column_bytes(stmt, 1) == RL_UUID_TEXT - 1;
    const void *vector = sqlite3_column_blob(stmt, 2);
    size_t bytes = (size_t)sqlite3_column_bytes(stmt, 2);
    rl_status status = RL_OK;
    uint8_t id[16];

    self->last_id[0] = '\0';
    if (text != NULL && is_uuid) {
        memcpy(self->last_id, text, RL_UUID_TEXT);
        if (vector != NULL && rl_uuid_parse(text, id)) {
            status =
                self->sink(self->ctx, id, vector, (uint32_t)(bytes / sizeof(float)), err);
        }
    }
    self->last_rowid = sqlite3_column_int64(stmt, 0);
    self->rows++;
    return status;
}

static rl_status read_vectors(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    reading *self = ctx;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(
        conn, self->id != NULL ? RL_SQLITE_VECTOR : scan_sql(self->query), &stmt, err);
    int rc = SQLITE_DONE;

    self->rows = 0;
    if (status == RL_OK && self->id != NULL) {
        bind_text(stmt, 1, self->id);
        bind_text(stmt, 2, self->model);
    } else if (status == RL_OK) {
        bind_scan(stmt, self);
    }
    while (status == RL_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        status = give_vector(self, stmt, err);
    }
    if (status == RL_OK && rc != SQLITE_DONE) {
        status = rl_sqlite_conn_error(conn, rc, err);
    }
    if (stmt != NULL) {
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    }
    return status;
}

static rl_status outbox_nearest(rl_outbox *outbox, const rl_near_query *query,
                                rl_vector_sink sink, void *ctx, rl_err *err)
{
    reading self = {.query = query, .sink = sink, .ctx = ctx};
    rl_status status;

    if (query->since != RL_TIME_NONE) {
        rl_time_format(query->since, self.since);
    }
    do {
        status = rl_sqlite_file_read(file_of(outbox), read_vectors, &self, err);
    } while (status == RL_OK && self.rows == rl_vector_block(query->dim));
    return status;
}

static rl_status outbox_vector(rl_outbox *outbox, const rl_outbox_key *key,
                               const char *model, rl_vector_sink sink, void *ctx,
                               rl_err *err)
{
    reading self = {.model = model, .id = key->id, .sink = sink, .ctx = ctx};

    return rl_sqlite_file_read(file_of(outbox), read_vectors, &self, err);
}

static void outbox_free(rl_outbox *outbox)
{
    rl_free(outbox);
}

static const rl_outbox_ops ops = {
    .claim = outbox_claim,
    .finish = outbox_finish,
    .recall = outbox_recall,
    .count = outbox_count,
    .queue = outbox_queue,
    .vector = outbox_vector,
    .nearest = outbox_nearest,
    .free = outbox_free,
};

rl_status rl_sqlite_outbox_new(rl_sqlite_file *file, rl_outbox **outbox, rl_err *err)
{
    sqlite_outbox *self = rl_calloc(1, sizeof *self);

    if (self == NULL) {
        return rl_err_nomem(err);
    }
    self->base.ops = &ops;
    self->file = file;
    *outbox = &self->base;
    return RL_OK;
}

rl_sqlite_hook rl_sqlite_outbox_hook(const rl_embed_rule *rule)
{
    return (rl_sqlite_hook){write_row, (void *)rule};
}
