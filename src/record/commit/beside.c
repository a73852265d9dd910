/* Runs beside a locked SQLite file. See beside.h. */
#include "record/commit/beside.h"

#include "core/alloc.h"
#include "core/buf.h"
#include "core/lock.h"
#include "record/commit/lease.h"

#include <string.h>

#define SUFFIX "-beside"
#define LOCKED_NS UINT64_C(5000000)    /* between two tries at the locked file */
#define LEASED_NS UINT64_C(20000000)   /* between checks of another process's lease */
#define BROKEN_NS UINT64_C(1000000000) /* before the next try after a failure */
#define CHECK_NS UINT64_C(5000000000)  /* between checks for runs of other processes */
#define DRAIN_STEP_NS UINT64_C(20000000)
#define FOLD_NS UINT64_C(100000000)     /* then the worker also does its other work */
#define BACKLOG_BYTES ((size_t)8 << 20) /* beside, from which callers let it catch up */
#define RUN_BYTES 4096 /* of the backlog, for each run beside its texts */
/* Of folding in, after which the episode has to end: then callers wait at so many runs. */
#define ENDING_NS UINT64_C(1000000000)
#define ENDING_RUNS 4
#define CATCH_UP_NS UINT64_C(10000000) /* how long a caller does so */
#define LAST_RUNS 16                   /* runs, and their bytes, that are folded in */
#define LAST_BYTES ((size_t)256 << 10) /* while callers wait */

struct rl_beside {
    char *path;            /* owned; of the file that may be locked */
    rl_journal_file *file; /* owned; beside it */
    rl_commit_write write; /* to the file at `path` */
    void *ctx;             /* of write */
    rl_notices *notices;
    unsigned number; /* of this part in the process; in the lease's name */

    /* Held while a batch is appended, and while the last runs are folded in: so `pending`
     * ends when none of this process is left. */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* pending has become false, or a batch was folded in */
    atomic_bool pending;    /* runs of this process may wait beside: later ones follow */
    atomic_bool locked;     /* the worker has found the file locked */
    atomic_size_t backlog;  /* about the bytes of the runs that this process has beside */
    atomic_uint_fast64_t folding_since; /* nobody has held the lock since then; or 0 */
    atomic_bool wake_worker;
    atomic_bool lock_logged, failure_logged;
    atomic_uint_fast64_t check_at; /* next check for runs of other processes */
};

static rl_status make_file(rl_beside *self, const char *path,
                           const rl_migrations *migrations, rl_err *err)
{
    rl_status status = RL_NOMEM;
    rl_buf name;

    rl_buf_init(&name, RL_BUF_MAX);
    rl_buf_add_text(&name, path);
    rl_buf_add(&name, SUFFIX, sizeof SUFFIX);
    self->path = rl_strdup(path);
    if (name.failed || self->path == NULL) {
        rl_err_nomem(err);
    } else {
        status =
            rl_journal_file_new(name.data, migrations, self->notices, &self->file, err);
    }
    rl_buf_free(&name);
    return status;
}

rl_status rl_beside_new(const char *path, const rl_migrations *migrations,
                        rl_commit_write write, void *ctx, rl_notices *notices,
                        rl_beside **out, rl_err *err)
{
    static atomic_uint count;
    rl_beside *self = rl_calloc(1, sizeof *self);
    rl_status status;

    if (self == NULL) {
        return rl_err_nomem(err);
    }
    self->write = write;
    self->ctx = ctx;
    self->notices = notices;
    self->number = atomic_fetch_add(&count, 1);
    pthread_mutex_init(&self->lock, NULL);
    rl_cond_init(&self->changed);
    status = make_file(self, path, migrations, err);
    if (status == RL_OK) {
        *out = self;
    } else {
        rl_beside_free(self);
    }
    return status;
}

void rl_beside_free(rl_beside *self)
{
    if (self != NULL) {
        rl_journal_file_free(self->file);
        pthread_cond_destroy(&self->changed);
        pthread_mutex_destroy(&self->lock);
        rl_free(self->path);
        rl_free(self);
    }
}

void rl_beside_set_target(rl_beside *self, const rl_target *target)
{
    rl_journal_file_set_target(self->file, target);
}

bool rl_beside_is_pending(rl_beside *self)
{
    return atomic_load(&self->pending);
}

bool rl_beside_is_locked(rl_beside *self)
{
    return atomic_load(&self->locked);
}

/* Says once an episode that another program holds the lock, if that is the reason: it
 * may also be a thread of this process. */
static void log_locked(rl_beside *self, const rl_err *reason)
{
    if (reason->locked && !atomic_exchange(&self->lock_logged, true)) {
        rl_notices_add(self->notices, RL_NOTICE_WARNING,
                       "the SQLite file %s is locked by another program; runs are "
                       "stored in %s until it is free",
                       self->path, rl_journal_file_path(self->file));
    }
}

/* Sends this and all later batches beside. `reason` is why. */
static void begin(rl_beside *self, const rl_err *reason)
{
    if (!atomic_exchange(&self->pending, true)) {
        atomic_store(&self->wake_worker, true);
    }
    log_locked(self, reason);
}

/* Ends that, as all runs of this process are in their file. Lock held. */
static void end(rl_beside *self)
{
    atomic_store(&self->pending, false);
    atomic_store(&self->locked, false);
    atomic_store(&self->backlog, 0);
    atomic_store(&self->folding_since, 0);
    atomic_store(&self->lock_logged, false);
    pthread_cond_broadcast(&self->changed);
}

void rl_beside_look(rl_beside *self)
{
    rl_journal_file_state state = {0};
    const rl_err none = {.code = RL_OK};
    rl_err ignored;

    if (rl_journal_file_exists(self->file) &&
        rl_journal_file_get_state(self->file, &state, &ignored) == RL_OK &&
        state.last > 0) {
        begin(self, &none);
    }
}

rl_status rl_beside_prepare(rl_beside *self, rl_status opened, rl_err *err)
{
    if (opened == RL_BUSY) {
        begin(self, err);
        opened = RL_OK;
    } else if (opened == RL_OK) {
        rl_beside_look(self);
    }
    return opened;
}

static rl_status write_file(const rl_beside *self, const rl_batch *batch, rl_wait wait,
                            rl_err *err)
{
    rl_batch changed = *batch;

    changed.wait = wait;
    return self->write(self->ctx, &changed, err);
}

static size_t bytes_of(rl_run *const *runs, size_t count)
{
    size_t bytes = count * RUN_BYTES;

    for (size_t i = 0; i < count; i++) {
        bytes += runs[i]->arena.len;
    }
    return bytes;
}

/* Whether callers should let the worker catch up: they write faster than it folds in. So
 * it is also where other processes take the lock in turn, and it may look as if one held
 * it. An episode that goes on although nobody holds the lock would go on for ever if they
 * write as fast as it folds in: then they wait for the last few runs. */
static bool is_behind(rl_beside *self)
{
    const uint64_t since = atomic_load(&self->folding_since);
    const bool ending = since != 0 && rl_monotonic_ns() - since > ENDING_NS;
    const size_t limit = ending ? (size_t)ENDING_RUNS * RUN_BYTES : BACKLOG_BYTES;

    return atomic_load(&self->backlog) >= limit && rl_beside_is_pending(self);
}

static void let_catch_up(rl_beside *self)
{
    const struct timespec until = rl_timespec(rl_monotonic_ns() + CATCH_UP_NS);
    int rc = 0;

    pthread_mutex_lock(&self->lock);
    while (is_behind(self) && rc == 0) {
        rc = rl_cond_timedwait(&self->changed, &self->lock, &until);
    }
    pthread_mutex_unlock(&self->lock);
}

/* Counts a batch that was folded in. */
static void count_folded(rl_beside *self, const rl_journal_file_batch *batch)
{
    size_t bytes = bytes_of(batch->runs, batch->count);

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

/* Commits a batch beside, and begins an episode for the `reason`. *over: it has ended
 * before this thread had the lock, and nothing was done. */
static rl_status append(rl_beside *self, const rl_batch *batch, const rl_err *reason,
                        bool *over, rl_err *err)
{
    rl_batch brief = *batch;
    rl_status status = RL_OK;

    *over = false;
    if (batch->wait == RL_NO_WAIT) {
        if (is_behind(self) || pthread_mutex_trylock(&self->lock) != 0) {
            return rl_err_set(err, RL_BUSY, "another thread writes beside %s",
                              self->path);
        }
    } else {
        brief.wait = RL_WAIT_BRIEFLY;
        let_catch_up(self);
        pthread_mutex_lock(&self->lock);
    }
    *over = reason->code == RL_OK && !rl_beside_is_pending(self);
    if (!*over) {
        status = rl_journal_file_append(self->file, &brief, err);
        if (status == RL_OK) {
            begin(self, reason);
            atomic_fetch_add(&self->backlog, bytes_of(batch->runs, batch->count));
        }
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

/* The one beside it can't be written: waits for the file. */
static rl_status wait_for_file(const rl_beside *self, const rl_batch *batch, rl_err *err)
{
    const rl_err beside = *err;
    rl_err own;
    rl_status status = write_file(self, batch, RL_WAIT, &own);

    if (status != RL_OK) {
        *err = own;
        rl_err_set(err, status, "%.370s; and beside it: %.370s", own.text, beside.text);
        err->retryable = own.retryable;
        err->unusable = own.unusable;
        err->rejected = own.rejected;
    }
    return status;
}

static rl_status both_locked(const rl_beside *self, rl_err *err)
{
    rl_err own;

    (void)rl_sqlite_locked_for_long(self->path, &own);
    rl_err_set(err, own.code, "%.370s; and so is %.370s", own.text,
               rl_journal_file_path(self->file));
    err->retryable = own.retryable;
    return own.code;
}

/* Both are locked: waits for the one that is free first. Others hold the lock of that
 * beside it for a moment only, as all processes on the path write to it. */
static rl_status wait_for_either(rl_beside *self, const rl_batch *batch,
                                 const rl_err *reason, rl_err *err)
{
    const uint64_t end = rl_monotonic_ns() + RL_SQLITE_WAIT_NS;
    rl_status status;
    bool over, tried;

    do {
        status = write_file(self, batch, RL_WAIT_BRIEFLY, err);
        tried = status == RL_BUSY;
        if (tried) {
            status = append(self, batch, reason, &over, err);
            status = over ? RL_BUSY : status;
        }
    } while (status == RL_BUSY && rl_monotonic_ns() < end);
    if (status == RL_BUSY) {
        status = both_locked(self, err);
    } else if (status != RL_OK && tried) {
        status = wait_for_file(self, batch, err);
    }
    return status;
}

rl_status rl_beside_write(void *ctx, const rl_batch *batch, rl_err *err)
{
    rl_beside *self = ctx;
    const bool may_wait = batch->wait != RL_NO_WAIT;
    bool beside = rl_beside_is_pending(self), over = false;
    rl_status status = RL_OK;
    rl_err reason = {.code = RL_OK};

    if (beside) {
        status = append(self, batch, &reason, &over, err);
    }
    if (!beside || over) {
        status = write_file(self, batch, may_wait ? RL_WAIT_BRIEFLY : RL_NO_WAIT, err);
        beside = status == RL_BUSY && may_wait;
        if (beside) {
            reason = *err;
            status = append(self, batch, &reason, &over, err);
        }
    }
    if (beside && status != RL_OK && !may_wait) {
        status = rl_err_set(err, RL_BUSY, "the file beside %s is not ready", self->path);
    } else if (beside && status == RL_BUSY) {
        status = wait_for_either(self, batch, &reason, err);
    } else if (beside && status != RL_OK) {
        status = wait_for_file(self, batch, err);
    }
    return status;
}

bool rl_beside_has_work(rl_beside *self)
{
    uint64_t now;

    if (atomic_load_explicit(&self->wake_worker, memory_order_relaxed)) {
        atomic_store(&self->wake_worker, false);
        return true;
    }
    now = rl_monotonic_ns();
    if (now < atomic_load_explicit(&self->check_at, memory_order_relaxed)) {
        return false;
    }
    atomic_store(&self->check_at, now + CHECK_NS);
    return rl_journal_file_exists(self->file);
}

/* One call of rl_beside_fold. */
typedef struct folding {
    const atomic_bool *stop;
    uint64_t end;                     /* nanoseconds, monotonic clock */
    bool unfinished;                  /* at the end there were more runs */
    char name[RL_JOURNAL_FILE_OWNER]; /* the holder of the lease */
    rl_journal_file_batch batch;
    bool has_lease;
} folding;

static void log_failure(rl_beside *self, const rl_err *err)
{
    if (!atomic_exchange(&self->failure_logged, true)) {
        rl_notices_add(self->notices, RL_NOTICE_ERROR,
                       "runs wait in %s, as they can't be written to %s: %s",
                       rl_journal_file_path(self->file), self->path, err->text);
    }
}

static void log_rejected(rl_beside *self, const rl_err *reason)
{
    rl_notices_add(self->notices, RL_NOTICE_ERROR,
                   "the SQLite file %s rejects a run, which is stored in the table "
                   "journal_rejected of %s: %s",
                   self->path, rl_journal_file_path(self->file), reason->text);
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
                log_rejected(self, &reason);
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
           bytes_of(batch->runs, batch->count) <= LAST_BYTES;
}

/* Folds in the last runs while no caller can add one, which ends the episode. *done is
 * false if there were many, or the file was busy. */
static rl_status fold_last(rl_beside *self, folding *work, bool *done, rl_err *err)
{
    rl_status status;

    *done = false;
    pthread_mutex_lock(&self->lock);
    status = rl_journal_file_read(self->file, 0, &work->batch, err);
    if (status == RL_OK && is_small(&work->batch)) {
        if (work->batch.count > 0) {
            status = fold_batch(self, work, RL_NO_WAIT, err);
        }
        if (status == RL_OK) {
            end(self);
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
            status = rl_journal_file_read(self->file, 0, &work->batch, err);
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
        end(self);
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
        return rl_monotonic_ns() + CHECK_NS;
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
        log_locked(self, &err);
        wait = LOCKED_NS;
    } else if (status != RL_OK) {
        log_failure(self, &err);
        wait = BROKEN_NS;
    } else {
        atomic_store(&self->failure_logged, false);
        wait = work->unfinished ? 0 : rl_beside_is_pending(self) ? LEASED_NS : CHECK_NS;
    }
    rl_journal_file_batch_free(&work->batch);
    rl_free(work);
    return rl_monotonic_ns() + wait;
}

rl_status rl_beside_drain(rl_beside *self, uint64_t until, rl_err *err)
{
    rl_status status = RL_OK;

    pthread_mutex_lock(&self->lock);
    while (rl_beside_is_pending(self) && rl_monotonic_ns() < until) {
        uint64_t step = rl_monotonic_ns() + DRAIN_STEP_NS;
        const struct timespec moment = rl_timespec(step < until ? step : until);

        (void)rl_cond_timedwait(&self->changed, &self->lock, &moment);
    }
    if (rl_beside_is_pending(self)) {
        status = rl_err_set(err, RL_TIMEOUT,
                            "SQLite file %s: another program holds its lock; runs wait "
                            "in %s until it is free",
                            self->path, rl_journal_file_path(self->file));
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

int64_t rl_beside_count(rl_beside *self)
{
    rl_waiting waiting = {0};
    rl_err ignored;

    if (rl_journal_file_exists(self->file)) {
        (void)rl_journal_file_count(self->file, &waiting, &ignored);
    }
    return waiting.own;
}

void rl_beside_before_fork(rl_beside *self)
{
    pthread_mutex_lock(&self->lock);
    rl_journal_file_before_fork(self->file);
}

void rl_beside_after_fork(rl_beside *self, bool in_child)
{
    rl_journal_file_after_fork(self->file);
    if (in_child) {
        atomic_store(&self->wake_worker, true);
        rl_cond_init(&self->changed); /* its waiters exist in the parent only */
    }
    pthread_mutex_unlock(&self->lock);
}
