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

#define RUN_PARAMETERS (RL_COLUMNS + 4) /* of rl_sqlite_bind_run in the journal */
#define REJECTED_PARAMETERS (RUN_PARAMETERS + 4)

struct rl_journal_file {
    rl_sqlite_file file;
    _Atomic(const rl_target *) target; /* borrowed, or NULL */
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

void rl_journal_file_set_target(rl_journal_file *journal, const rl_target *target)
{
    atomic_store(&journal->target, target);
}

rl_status rl_journal_file_count(rl_journal_file *journal, rl_waiting *waiting,
                                rl_err *err)
{
    return rl_journal_target_count(&journal->file, atomic_load(&journal->target), waiting,
                                   err);
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

rl_status rl_journal_file_open(rl_journal_file *journal, rl_wait wait, rl_err *err)
{
    return rl_sqlite_file_open(&journal->file, wait, err);
}

rl_status rl_journal_file_check(const rl_journal_file *journal, rl_err *err)
{
    return rl_filesystem_check(journal->file.path, err);
}

struct appending {
    const rl_batch *batch;
    const rl_target *target;
};

static rl_status append(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct appending *appending = ctx;
    rl_status status = RL_OK;

    if (appending->batch->count > 0) {
        status = rl_journal_target_number(conn, appending->target, &conn->target, err);
    }
    return status == RL_OK ? rl_sqlite_insert_batch(conn, RL_SQLITE_JOURNAL_APPEND, NULL,
                                                    appending->batch, err)
                           : status;
}

rl_status rl_journal_file_append(rl_journal_file *journal, const rl_batch *batch,
                                 rl_err *err)
{
    struct appending appending = {batch, atomic_load(&journal->target)};

    return rl_sqlite_file_write(&journal->file, batch->durability >= RL_DISK, batch->wait,
                                append, &appending, err);
}

/* Binds the reason, its sqlstate and the time to three parameters, from `first` on. */
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

struct rejection {
    const rl_run *run;
    const rl_err *reason;
    const rl_target *target;
};

static rl_status add_rejected(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct rejection *rejection = ctx;
    sqlite3_stmt *stmt;
    int64_t target = 0;
    rl_status status = rl_journal_target_number(conn, rejection->target, &target, err);

    if (status == RL_OK) {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_ADD_REJECTED, &stmt, err);
    }
    if (status == RL_OK && !rl_sqlite_bind_run(stmt, rejection->run, rl_time_now())) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK) {
        (void)sqlite3_bind_int64(stmt, REJECTED_PARAMETERS, target);
        status = bind_reason(stmt, RUN_PARAMETERS + 1, rejection->reason, err);
    }
    return status == RL_OK ? rl_sqlite_conn_step(conn, stmt, err) : status;
}

rl_status rl_journal_file_reject(rl_journal_file *journal, const rl_run *run,
                                 const rl_err *reason, rl_err *err)
{
    struct rejection rejection = {run, reason, atomic_load(&journal->target)};

    return rl_sqlite_file_write(&journal->file, true, RL_WAIT, add_rejected, &rejection,
                                err);
}

/* Steps a statement to its one row; RL_STORE if it has none. */
static rl_status step_to_row(rl_sqlite_conn *conn, sqlite3_stmt *stmt, rl_err *err)
{
    bool found;
    rl_status status = rl_sqlite_conn_next(conn, stmt, &found, err);

    if (status == RL_OK && !found) {
        status = rl_err_set(err, RL_STORE,
                            "SQLite file %s: the row of journal_lease is missing; "
                            "restore it: INSERT INTO journal_lease (one) VALUES (1)",
                            conn->path);
    }
    return status;
}

struct looking {
    const rl_target *target;
    rl_journal_file_state *state;
};

static rl_status read_state(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct looking *looking = ctx;
    rl_journal_file_state *state = looking->state;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_BOUNDS, &stmt, err);

    if (status == RL_OK) {
        status = rl_journal_target_bind(stmt, looking->target, err);
    }
    if (status == RL_OK) {
        status = step_to_row(conn, stmt, err);
    }
    if (status == RL_OK) { /* SQLite reads NULL as 0 */
        state->first = sqlite3_column_int64(stmt, 0);
        state->last = sqlite3_column_int64(stmt, 1);
        state->has_others = sqlite3_column_int(stmt, 2) != 0;
        state->rejected = sqlite3_column_int64(stmt, 3);
        state->oldest = sqlite3_column_int64(stmt, 4);
        state->given = sqlite3_column_int64(stmt, 5);
        state->has_gaps = sqlite3_column_int(stmt, 6) != 0;
    }
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_journal_file_get_state(rl_journal_file *journal,
                                    rl_journal_file_state *state, rl_err *err)
{
    struct looking looking = {atomic_load(&journal->target), state};

    return rl_sqlite_file_read_briefly(&journal->file, read_state, &looking, err);
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

struct claim {
    const char *before, *owner;
    int64_t until;
    bool *taken;
};

static rl_status take_lease(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct claim *claim = ctx;
    struct holder holder = {.until = 0};
    sqlite3_stmt *stmt = NULL;
    bool free_now;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    if (status == RL_OK) {
        status = read_holder(conn, &holder, err);
    }
    free_now = status == RL_OK && strcmp(holder.owner, claim->before) == 0;
    if (free_now) {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_LEASE_TAKE, &stmt, err);
        if (status == RL_OK &&
            sqlite3_bind_text(stmt, 1, claim->owner, -1, SQLITE_TRANSIENT) != SQLITE_OK) {
            status = rl_err_nomem(err);
        }
        if (status == RL_OK) {
            sqlite3_bind_int64(stmt, 2, claim->until);
            status = rl_sqlite_conn_step(conn, stmt, err);
        }
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    *claim->taken = status == RL_OK && free_now;
    return status;
}

rl_status rl_journal_file_take_lease(rl_journal_file *journal, const char *before,
                                     const char *owner, int64_t until, bool *taken,
                                     rl_err *err)
{
    struct claim claim = {before, owner, until, taken};

    return rl_sqlite_file_write(&journal->file, false, RL_WAIT, take_lease, &claim, err);
}

/* The batch's next run to fill; NULL if there is no memory. */
static rl_run *next_run(rl_journal_file_batch *batch)
{
    if (batch->runs[batch->count] == NULL) {
        batch->runs[batch->count] = rl_run_new();
    }
    return batch->runs[batch->count];
}

/* Appends the statement's current row to the batch, and its size to *bytes. */
static rl_status add_run(rl_journal_file_batch *batch, sqlite3_stmt *stmt, size_t *bytes,
                         rl_err *err)
{
    rl_run *run = next_run(batch);

    if (run == NULL || !rl_sqlite_read_run(stmt, run)) {
        return rl_err_nomem(err);
    }
    batch->seqs[batch->count] = sqlite3_column_int64(stmt, RUN_PARAMETERS);
    batch->held[batch->count] = false;
    batch->rejected[batch->count++] = false;
    *bytes += run->arena.len;
    return RL_OK;
}

struct reading {
    const rl_target *target;
    int64_t after;
    size_t most;
    rl_journal_file_batch *batch;
};

/* Lists the batch's seqs; returns how many in *count. */
static rl_status list_batch(rl_sqlite_conn *conn, const struct reading *reading,
                            size_t *count, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_LIST, &stmt, err);
    bool found = false;

    *count = 0;
    if (status == RL_OK) {
        status = rl_journal_target_bind(stmt, reading->target, err);
    }
    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 4, reading->after);
        sqlite3_bind_int(stmt, 5, (int)reading->most);
        found = true;
    }
    while (found && *count < reading->most) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        if (found) {
            reading->batch->seqs[(*count)++] = sqlite3_column_int64(stmt, 0);
        }
    }
    sqlite3_reset(stmt);
    return status;
}

/* The rows are read in one transaction with their list, as another process may take them
 * out. */
static rl_status read_batch(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct reading *reading = ctx;
    rl_journal_file_batch *batch = reading->batch;
    sqlite3_stmt *stmt = NULL;
    size_t listed = 0, bytes = 0;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN_READ, err);

    batch->count = 0;
    if (status == RL_OK) {
        status = list_batch(conn, reading, &listed, err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_READ, &stmt, err);
    }
    while (status == RL_OK && batch->count < listed && bytes < RL_JOURNAL_FILE_BYTES) {
        bool found = false;

        sqlite3_bind_int64(stmt, 1, batch->seqs[batch->count]);
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        if (status == RL_OK && !found) {
            status = rl_err_set(err, RL_STORE,
                                "SQLite file %s: an index is damaged: run REINDEX",
                                conn->path);
        }
        if (status == RL_OK) {
            status = add_run(batch, stmt, &bytes, err);
        }
        sqlite3_reset(stmt);
    }
    batch->last = status == RL_OK && listed < reading->most && batch->count == listed;
    rl_sqlite_conn_rollback(conn);
    return status;
}

rl_status rl_journal_file_read(rl_journal_file *journal, int64_t after, size_t most,
                               rl_journal_file_batch *batch, rl_err *err)
{
    struct reading reading = {atomic_load(&journal->target), after, most, batch};

    return rl_sqlite_file_read(&journal->file, read_batch, &reading, err);
}

struct finishing {
    const rl_journal_file_batch *batch;
    const char *owner;
    int64_t until;
    bool *held;
};

static rl_status renew_lease(rl_sqlite_conn *conn, const struct finishing *finishing,
                             rl_err *err)
{
    const rl_journal_file_batch *batch = finishing->batch;
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_LEASE_RENEW, &stmt, err);

    if (status == RL_OK &&
        sqlite3_bind_text(stmt, 1, finishing->owner, -1, SQLITE_TRANSIENT) != SQLITE_OK) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 2, finishing->until);
        sqlite3_bind_int64(stmt, 3, batch->count > 0 ? batch->seqs[batch->count - 1] : 0);
        status = rl_sqlite_conn_step(conn, stmt, err);
        *finishing->held = status == RL_OK && sqlite3_changes(conn->db) > 0;
    }
    return status;
}

static rl_status copy_rejected(rl_sqlite_conn *conn, const rl_journal_file_batch *batch,
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

static rl_status delete_batch(rl_sqlite_conn *conn, const rl_journal_file_batch *batch,
                              rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_JOURNAL_DELETE, &stmt, err);

    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        if (!batch->held[i]) {
            sqlite3_bind_int64(stmt, 1, batch->seqs[i]);
            status = rl_sqlite_conn_step(conn, stmt, err);
        }
    }
    return status;
}

static rl_status finish(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const struct finishing *finishing = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    *finishing->held = false;
    if (status == RL_OK) {
        status = renew_lease(conn, finishing, err);
    }
    if (status == RL_OK && *finishing->held && finishing->batch->count > 0) {
        status = copy_rejected(conn, finishing->batch, err);
        if (status == RL_OK) {
            status = delete_batch(conn, finishing->batch, err);
        }
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

rl_status rl_journal_file_finish(rl_journal_file *journal,
                                 const rl_journal_file_batch *batch, const char *owner,
                                 int64_t until, bool *held, rl_err *err)
{
    struct finishing finishing = {batch, owner, until, held};

    return rl_sqlite_file_write(&journal->file, false, RL_WAIT, finish, &finishing, err);
}

rl_status rl_journal_file_batch_reject(rl_journal_file_batch *batch, size_t at,
                                       const rl_err *reason, rl_err *err)
{
    if (batch->reasons[at] == NULL) {
        batch->reasons[at] = rl_malloc(sizeof *reason);
    }
    if (batch->reasons[at] == NULL) {
        return rl_err_nomem(err);
    }
    *batch->reasons[at] = *reason;
    batch->rejected[at] = true;
    return RL_OK;
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
    return rl_sqlite_file_needs_checkpoint(&journal->file);
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
