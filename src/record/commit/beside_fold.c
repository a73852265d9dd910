/* The worker's side: folding in the runs beside a SQLite file. See beside.h. */
#include "core/alloc.h"
#include "record/commit/beside_state.h"
#include "record/commit/lease.h"

#define LOCKED_NS UINT64_C(5000000)    /* between two tries at the locked file */
#define LEASED_NS UINT64_C(20000000)   /* between checks of another process's lease */
#define BROKEN_NS UINT64_C(1000000000) /* before the next try after a failure */
#define FOLD_NS UINT64_C(100000000)    /* then the worker also does its other work */
#define LAST_RUNS 16                   /* runs, and their bytes, that are folded in */
#define LAST_BYTES ((size_t)256 << 10) /* while callers wait */

/* One call of rl_beside_fold. */
typedef struct folding {
    const atomic_bool *stop;
    uint64_t end;                     /* nanoseconds, monotonic clock */
    bool unfinished;                  /* at the end there were more runs */
    char name[RL_JOURNAL_FILE_OWNER]; /* the holder of the lease */
    rl_journal_file_batch batch;
    bool has_lease;
} folding;

/* Counts a batch that was folded in. */
static void count_folded(rl_beside *self, const rl_journal_file_batch *batch)
{
    size_t bytes = rl_beside_bytes(batch->runs, batch->count);

    pthread_mutex_lock(&self->lock);
    bytes = bytes < atomic_load(&self->backlog) ? bytes : atomic_load(&self->backlog);
    atomic_fetch_sub(&self->backlog, bytes); /* some may be other processes' */
    atomic_store(&self->locked, false);
    if (rl_beside_is_pending(self) && atomic_load(&self->folding_since) == 0) {
        atomic_store(&self->folding_since, rl_monotonic_ns());
    }
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static void log_failure(rl_beside *self, const rl_err *err)
{
    if (!atomic_exchange(&self->failure_logged, true)) {
        rl_notices_add(self->notices, RL_NOTICE_ERROR,
                       "runs wait in %s, as they can't be written to %s: %s",
                       rl_journal_file_path(self->file), self->path, err->text);
    }
}

/* Writes the batch to the file. It is deleted from the disk beside after that, so it must
 * be on the disk by then. */
static rl_status fold_batch(rl_beside *self, folding *work, rl_wait wait, rl_err *err)
{
    rl_journal_file_batch *batch = &work->batch;
    const rl_batch all = {batch->runs, batch->count, RL_DISK, wait};
    rl_status status = self->write(self->ctx, &all, err);
    bool singly = status == RL_STORE && err->rejected;

    for (size_t i = 0; singly && i < batch->count; i++) {
        const rl_batch single = {batch->runs + i, 1, RL_DISK, wait};
        rl_err reason = {.code = RL_OK};

        status = self->write(self->ctx, &single, &reason);
        if (status == RL_STORE && reason.rejected) {
            status = rl_journal_file_batch_reject(batch, i, &reason, err);
            if (status == RL_OK) {
                rl_beside_log_rejected(self, &reason);
            }
        } else if (status != RL_OK) {
            *err = reason;
        }
        singly = status == RL_OK;
    }
    return status;
}

/* Whether the batch is so small that callers may wait until it is folded in. */
static bool is_small(const rl_journal_file_batch *batch)
{
    return batch->last && batch->count <= LAST_RUNS &&
           rl_beside_bytes(batch->runs, batch->count) <= LAST_BYTES;
}

/* Folds in the last runs while no caller can add one, which ends the episode. *done is
 * false if there were many, or the file was busy. */
static rl_status fold_last(rl_beside *self, folding *work, bool *done, rl_err *err)
{
    rl_status status;

    *done = false;
    pthread_mutex_lock(&self->lock);
    status = rl_journal_file_read(self->file, 0, RL_JOURNAL_FILE_RUNS, &work->batch, err);
    if (status == RL_OK && is_small(&work->batch)) {
        if (work->batch.count > 0) {
            status = fold_batch(self, work, RL_NO_WAIT, err);
        }
        if (status == RL_OK) {
            rl_beside_end(self);
            *done = true;
        } else if (status == RL_BUSY) {
            status = RL_OK;
        }
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

/* Folds in batch after batch, with the lease, for FOLD_NS at most. */
static rl_status fold_all(rl_beside *self, folding *work, rl_err *err)
{
    rl_status status = RL_OK;
    bool last = false, done = false;

    while (status == RL_OK && !done && work->has_lease && !atomic_load(work->stop) &&
           !work->unfinished) {
        if (last) {
            status = fold_last(self, work, &done, err);
        } else {
            status = rl_journal_file_read(self->file, 0, RL_JOURNAL_FILE_RUNS,
                                          &work->batch, err);
        }
        if (status == RL_OK && !done && work->batch.count > 0) {
            status = fold_batch(self, work, RL_WAIT_BRIEFLY, err);
        }
        if (status == RL_OK) {
            last = work->batch.last;
            status = rl_journal_file_finish(self->file, &work->batch, work->name,
                                            done ? 0 : rl_time_now() + RL_LEASE_US,
                                            &work->has_lease, err);
        }
        if (status == RL_OK) {
            count_folded(self, &work->batch);
            work->unfinished = !done && rl_monotonic_ns() >= work->end;
        }
    }
    if (!done && work->has_lease) {
        static const rl_journal_file_batch empty;
        rl_err ignored;

        (void)rl_journal_file_finish(self->file, &empty, work->name, 0, &work->has_lease,
                                     &ignored);
    }
    return status;
}

/* Ends an episode in which no run has gone beside. */
static void end_without_file(rl_beside *self)
{
    pthread_mutex_lock(&self->lock);
    if (!rl_journal_file_exists(self->file)) {
        rl_beside_end(self);
    }
    pthread_mutex_unlock(&self->lock);
}

/* Folds in what is there, unless another process does. */
static rl_status fold(rl_beside *self, folding *work, rl_err *err)
{
    static const rl_batch none = {.durability = RL_DISK, .wait = RL_WAIT_BRIEFLY};
    rl_journal_file_state state = {0};
    rl_status status = RL_OK;

    if (rl_journal_file_exists(self->file)) {
        status = rl_journal_file_get_state(self->file, &state, err);
    }
    if (status == RL_OK && (state.last > 0 || rl_beside_is_pending(self))) {
        status = self->write(self->ctx, &none, err); /* whether the file is free */
        if (status == RL_OK && !rl_journal_file_exists(self->file)) {
            end_without_file(self);
        } else if (status == RL_OK) {
            status = rl_lease_take(self->file, work->name, &work->has_lease, err);
        }
        if (work->has_lease) {
            status = fold_all(self, work, err);
        }
    }
    if (status == RL_OK && rl_journal_file_needs_checkpoint(self->file)) {
        (void)rl_journal_file_checkpoint(self->file, err);
    }
    return status;
}

uint64_t rl_beside_fold(rl_beside *self, const atomic_bool *stop)
{
    folding *work;
    rl_err err = {.code = RL_OK};
    rl_status status;
    uint64_t wait;

    if (!rl_beside_is_pending(self) && !rl_journal_file_exists(self->file)) {
        return rl_monotonic_ns() + RL_BESIDE_CHECK_NS;
    }
    work = rl_calloc(1, sizeof *work);
    if (work == NULL) {
        return rl_monotonic_ns() + BROKEN_NS;
    }
    work->stop = stop;
    work->end = rl_monotonic_ns() + FOLD_NS;
    rl_lease_name(self->number, work->name);
    status = fold(self, work, &err);
    if (status == RL_BUSY) {
        atomic_store(&self->locked, true);
        atomic_store(&self->folding_since, 0);
        rl_beside_log_locked(self, &err);
        wait = LOCKED_NS;
    } else if (status != RL_OK) {
        log_failure(self, &err);
        wait = BROKEN_NS;
    } else {
        atomic_store(&self->failure_logged, false);
        wait = work->unfinished             ? 0
               : rl_beside_is_pending(self) ? LEASED_NS
                                            : RL_BESIDE_CHECK_NS;
    }
    rl_journal_file_batch_free(&work->batch);
    rl_free(work);
    return rl_monotonic_ns() + wait;
}
