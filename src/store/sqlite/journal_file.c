/* The journal's tables. See journal_file.h. */
#include "store/sqlite/journal_file.h"

#include "core/alloc.h"
#include "store/sqlite/filesystem.h"
#include "store/sqlite/sqlite_file.h"
#include "store/sqlite/sqlite_run.h"
#include "store/sqlite/sqlite_sql.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BEHIND (RL_COLUMNS + 2) /* parameters of a run in the journal */

struct rl_journal_file {
    rl_sqlite_file file;
};

rl_status rl_journal_file_new(const char *path, const rl_migrations *migrations,
                              rl_notices *notices, rl_journal_file **out, rl_err *err)
{
    rl_journal_file *journal = rl_calloc(1, sizeof *journal);
    rl_status status;

    if (journal == NULL) {
        return rl_err_nomem(err);
    }
    status = rl_sqlite_file_init(&journal->file, path, migrations, notices, err);
    if (status == RL_OK) {
        *out = journal;
    } else {
        rl_free(journal);
    }
    return status;
}

void rl_journal_file_free(rl_journal_file *journal)
{
    if (journal != NULL) {
        rl_sqlite_file_free(&journal->file);
        rl_free(journal);
    }
}

const char *rl_journal_file_path(const rl_journal_file *journal)
{
    return journal->file.path;
}

bool rl_journal_file_exists(const rl_journal_file *journal)
{
    return atomic_load_explicit(&journal->file.in_use, memory_order_relaxed) ||
           access(journal->file.path, F_OK) == 0;
}

rl_status rl_journal_file_open(rl_journal_file *journal, rl_err *err)
{
    return rl_sqlite_file_open(&journal->file, err);
}

rl_status rl_journal_file_check(const rl_journal_file *journal, rl_err *err)
{
    return rl_filesystem_check(journal->file.path, err);
}

static rl_status append(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    return rl_sqlite_insert_batch(conn, RL_SQLITE_JOURNAL_APPEND, NULL, ctx, err);
}

rl_status rl_journal_file_append(rl_journal_file *journal, const rl_batch *batch,
                                 rl_err *err)
{
    return rl_sqlite_file_write(&journal->file, batch->durability >= RL_DISK,
                                batch->may_wait, append, (void *)batch, err);
}

/* Binds reason, sqlstate and now as the parameters from `first` on. */
static rl_status bind_reason(sqlite3_stmt *stmt, int first, const rl_err *reason,
                             rl_err *err)
{
    char now[RL_TIME_TEXT];
    int rc;

    rl_time_format(rl_time_now(), now);
    rc = sqlite3_bind_text(stmt, first, reason->text, -1, SQLITE_TRANSIENT);
    if (reason->sqlstate[0] != '\0') {
        rc |= sqlite3_bind_text(stmt, first + 1, reason->sqlstate, -1, SQLITE_TRANSIENT);
    }
    rc |= sqlite3_bind_text(stmt, first + 2, now, -1, SQLITE_TRANSIENT);
    return rc == SQLITE_OK ? RL_OK : rl_err_nomem(err);
}

struct refusal {
    const rl_run *run;
    const rl_err *reason;
};

static rl_status refuse(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct refusal *refusal = ctx;
    sqlite3_stmt *stmt;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_ADD_REJECTED, &stmt, err);

    if (status == RL_OK && !rl_sqlite_bind_run(stmt, refusal->run, rl_time_now())) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK) {
        status = bind_reason(stmt, BEHIND + 1, refusal->reason, err);
    }
    return status == RL_OK ? rl_sqlite_conn_step(conn, stmt, err) : status;
}

rl_status rl_journal_file_reject(rl_journal_file *journal, const rl_run *run,
                                 const rl_err *reason, rl_err *err)
{
    struct refusal refusal = {run, reason};

    return rl_sqlite_file_write(&journal->file, true, true, refuse, &refusal, err);
}

/* Steps a statement to its one row; RL_STORE where there is none. */
static rl_status step_to_row(rl_sqlite_conn *conn, sqlite3_stmt *stmt, rl_err *err)
{
    int rc = sqlite3_step(stmt);
    rl_status status = RL_OK;

    if (rc == SQLITE_DONE) {
        status = rl_err_set(err, RL_STORE,
                            "SQLite file %s: the row of journal_lease is gone; put it "
                            "back: INSERT INTO journal_lease (one) VALUES (1)",
                            conn->path);
    } else if (rc != SQLITE_ROW) {
        status = rl_sqlite_conn_error(conn, rc, err);
    }
    return status;
}

static rl_status look(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    rl_journal_file_state *state = ctx;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_BOUNDS, &stmt, err);

    if (status == RL_OK) {
        status = step_to_row(conn, stmt, err);
    }
    if (status == RL_OK) { /* NULL is read as 0 */
        state->first = sqlite3_column_int64(stmt, 0);
        state->last = sqlite3_column_int64(stmt, 1);
        state->rejected = sqlite3_column_int64(stmt, 2);
    }
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_journal_file_get_state(rl_journal_file *journal,
                                    rl_journal_file_state *state, rl_err *err)
{
    return rl_sqlite_file_read(&journal->file, look, state, err);
}

struct holder {
    char owner[RL_JOURNAL_FILE_OWNER];
    int64_t until;
};

static rl_status read_holder(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    struct holder *holder = ctx;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_LEASE_HOLDER, &stmt, err);

    if (status == RL_OK) {
        status = step_to_row(conn, stmt, err);
    }
    if (status == RL_OK) {
        const char *owner = (const char *)sqlite3_column_text(stmt, 0);

        snprintf(holder->owner, sizeof holder->owner, "%s", owner != NULL ? owner : "");
        holder->until = sqlite3_column_int64(stmt, 1);
    }
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_journal_file_lease_holder(rl_journal_file *journal,
                                       char owner[RL_JOURNAL_FILE_OWNER], int64_t *until,
                                       rl_err *err)
{
    struct holder holder = {.until = 0};
    rl_status status = rl_sqlite_file_read(&journal->file, read_holder, &holder, err);

    memcpy(owner, holder.owner, RL_JOURNAL_FILE_OWNER);
    *until = holder.until;
    return status;
}

struct taking {
    const char *before, *owner;
    int64_t until;
    bool *mine;
};

static rl_status take(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct taking *taking = ctx;
    struct holder holder = {.until = 0};
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    if (status == RL_OK) {
        status = read_holder(conn, &holder, err);
    }
    *taking->mine = status == RL_OK && strcmp(holder.owner, taking->before) == 0;
    if (*taking->mine) {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_LEASE_TAKE, &stmt, err);
        if (status == RL_OK && sqlite3_bind_text(stmt, 1, taking->owner, -1,
                                                 SQLITE_TRANSIENT) != SQLITE_OK) {
            status = rl_err_nomem(err);
        }
        if (status == RL_OK) {
            sqlite3_bind_int64(stmt, 2, taking->until);
            status = rl_sqlite_conn_step(conn, stmt, err);
        }
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

rl_status rl_journal_file_take_lease(rl_journal_file *journal, const char *before,
                                     const char *owner, int64_t until, bool *mine,
                                     rl_err *err)
{
    struct taking taking = {before, owner, until, mine};

    return rl_sqlite_file_write(&journal->file, false, true, take, &taking, err);
}

/* Makes sure that the batch has a run to fill at its end. */
static rl_run *next_run(rl_journal_file_batch *batch)
{
    if (batch->runs[batch->count] == NULL) {
        batch->runs[batch->count] = rl_run_new();
    }
    return batch->runs[batch->count];
}

struct reading {
    int64_t after;
    rl_journal_file_batch *batch;
};

static rl_status read_batch(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct reading *reading = ctx;
    rl_journal_file_batch *batch = reading->batch;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_READ, &stmt, err);
    size_t bytes = 0;
    int rc = SQLITE_DONE;

    batch->count = 0;
    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, reading->after);
        sqlite3_bind_int(stmt, 2, RL_JOURNAL_FILE_RUNS);
    }
    while (status == RL_OK && bytes < RL_JOURNAL_FILE_BYTES &&
           (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        rl_run *run = next_run(batch);

        if (run == NULL || !rl_sqlite_read_run(stmt, run)) {
            status = rl_err_nomem(err);
        } else {
            batch->seqs[batch->count] = sqlite3_column_int64(stmt, BEHIND);
            batch->rejected[batch->count++] = false;
            bytes += run->arena.len;
        }
    }
    if (status == RL_OK && rc != SQLITE_DONE && rc != SQLITE_ROW) {
        status = rl_sqlite_conn_error(conn, rc, err);
    }
    batch->last = batch->count < RL_JOURNAL_FILE_RUNS && rc == SQLITE_DONE;
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_journal_file_read(rl_journal_file *journal, int64_t after,
                               rl_journal_file_batch *batch, rl_err *err)
{
    struct reading reading = {after, batch};

    return rl_sqlite_file_read(&journal->file, read_batch, &reading, err);
}

struct settling {
    const rl_journal_file_batch *batch;
    const char *owner;
    int64_t until;
    bool *mine;
};

static rl_status renew(rl_sqlite_conn *conn, const struct settling *settling, rl_err *err)
{
    const rl_journal_file_batch *batch = settling->batch;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_LEASE_RENEW, &stmt, err);

    if (status == RL_OK &&
        sqlite3_bind_text(stmt, 1, settling->owner, -1, SQLITE_TRANSIENT) != SQLITE_OK) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 2, settling->until);
        sqlite3_bind_int64(stmt, 3, batch->count > 0 ? batch->seqs[batch->count - 1] : 0);
        status = rl_sqlite_conn_step(conn, stmt, err);
        *settling->mine = status == RL_OK && sqlite3_changes(conn->db) > 0;
    }
    return status;
}

static rl_status move_rejected(rl_sqlite_conn *conn, const rl_journal_file_batch *batch,
                               rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = RL_OK;

    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        if (!batch->rejected[i]) {
            continue;
        }
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_COPY_REJECTED, &stmt, err);
        if (status == RL_OK) {
            sqlite3_clear_bindings(stmt);
            sqlite3_bind_int64(stmt, 1, batch->seqs[i]);
            status = bind_reason(stmt, 2, batch->reasons[i], err);
        }
        if (status == RL_OK) {
            status = rl_sqlite_conn_step(conn, stmt, err);
        }
    }
    return status;
}

/* Rows are read in the order of seq and none with a smaller one can come later, so what
 * stands between the first and the last of a batch is the batch. */
static rl_status delete_batch(rl_sqlite_conn *conn, const rl_journal_file_batch *batch,
                              rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_DELETE, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, batch->seqs[0]);
        sqlite3_bind_int64(stmt, 2, batch->seqs[batch->count - 1]);
        status = rl_sqlite_conn_step(conn, stmt, err);
    }
    return status;
}

static rl_status settle(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct settling *settling = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    *settling->mine = false;
    if (status == RL_OK) {
        status = renew(conn, settling, err);
    }
    if (status == RL_OK && *settling->mine && settling->batch->count > 0) {
        status = move_rejected(conn, settling->batch, err);
        if (status == RL_OK) {
            status = delete_batch(conn, settling->batch, err);
        }
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

rl_status rl_journal_file_finish(rl_journal_file *journal,
                                 const rl_journal_file_batch *batch, const char *owner,
                                 int64_t until, bool *mine, rl_err *err)
{
    struct settling settling = {batch, owner, until, mine};

    return rl_sqlite_file_write(&journal->file, false, true, settle, &settling, err);
}

void rl_journal_file_batch_free(rl_journal_file_batch *batch)
{
    for (size_t i = 0; i < RL_JOURNAL_FILE_RUNS; i++) {
        rl_run_free(batch->runs[i]);
        rl_free(batch->reasons[i]);
    }
    memset(batch, 0, sizeof *batch);
}

bool rl_journal_file_needs_checkpoint(rl_journal_file *journal)
{
    return atomic_load_explicit(&journal->file.needs_checkpoint, memory_order_relaxed);
}

rl_status rl_journal_file_checkpoint(rl_journal_file *journal, rl_err *err)
{
    return rl_sqlite_file_checkpoint(&journal->file, err);
}

void rl_journal_file_before_fork(rl_journal_file *journal)
{
    rl_sqlite_file_before_fork(&journal->file);
}

void rl_journal_file_after_fork(rl_journal_file *journal)
{
    rl_sqlite_file_after_fork(&journal->file);
}
