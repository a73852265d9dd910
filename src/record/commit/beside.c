/* Runs beside a locked SQLite file. See beside.h. */
#include "record/commit/beside_state.h"

#include "core/alloc.h"
#include "core/buf.h"

#include <stdio.h>
#include <string.h>

#define SUFFIX "-beside"
#define DRAIN_STEP_NS UINT64_C(20000000)
#define BACKLOG_BYTES ((size_t)8 << 20) /* beside, from which callers let it catch up */
#define RUN_BYTES 4096 /* of the backlog, for each run beside its texts */
/* Of folding in, after which the episode has to end: then callers wait at so many runs. */
#define ENDING_NS UINT64_C(1000000000)
#define ENDING_RUNS 4
#define CATCH_UP_NS UINT64_C(10000000) /* how long a caller does so */

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

void rl_beside_log_locked(rl_beside *self, const rl_err *reason)
{
    char locked[RL_ERR_TEXT];

    if ((reason->locked || reason->moved) && !atomic_exchange(&self->lock_logged, true)) {
        snprintf(locked, sizeof locked,
                 "the SQLite file %.450s is locked by another program", self->path);
        rl_notices_add(self->notices, RL_NOTICE_WARNING,
                       "%s; runs are stored in %s until it is free",
                       reason->locked ? locked : reason->text,
                       rl_journal_file_path(self->file));
    }
}

/* Sends this and all later batches beside. `reason` is why. */
static void begin(rl_beside *self, const rl_err *reason)
{
    if (!atomic_exchange(&self->pending, true)) {
        atomic_store(&self->wake_worker, true);
    }
    rl_beside_log_locked(self, reason);
}

void rl_beside_end(rl_beside *self)
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

size_t rl_beside_bytes(rl_run *const *runs, size_t count)
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
            atomic_fetch_add(&self->backlog, rl_beside_bytes(batch->runs, batch->count));
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

/* Neither was free for RL_SQLITE_WAIT_NS: `own` says why of the file, err of that beside
 * it. */
static rl_status both_busy(const rl_beside *self, const rl_err *own, rl_err *err)
{
    const rl_err beside = *err;
    rl_err first = *own, second = beside;

    if (own->locked) {
        (void)rl_sqlite_locked_for_long(self->path, &first);
    }
    if (beside.locked) {
        (void)rl_sqlite_locked_for_long(rl_journal_file_path(self->file), &second);
    }
    rl_err_set(err, RL_STORE, "%.370s; and beside it: %.370s", first.text, second.text);
    err->retryable = true;
    return RL_STORE;
}

/* Both are busy: waits for the one that is free first. Others hold the lock of that
 * beside it for a moment only, as all processes on the path write to it. */
static rl_status wait_for_either(rl_beside *self, const rl_batch *batch,
                                 const rl_err *reason, rl_err *err)
{
    const uint64_t end = rl_monotonic_ns() + RL_SQLITE_WAIT_NS;
    rl_err own = *reason;
    rl_status status;
    bool over, tried;

    do {
        status = write_file(self, batch, RL_WAIT_BRIEFLY, err);
        tried = status == RL_BUSY;
        if (tried) {
            own = *err;
            status = append(self, batch, reason, &over, err);
            status = over ? RL_BUSY : status;
        }
    } while (status == RL_BUSY && rl_monotonic_ns() < end);
    if (status == RL_BUSY) {
        status = both_busy(self, &own, err);
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

void rl_beside_log_rejected(rl_beside *self, const rl_err *reason)
{
    if (!atomic_exchange(&self->rejection_logged, true)) {
        rl_notices_add(self->notices, RL_NOTICE_ERROR,
                       "the SQLite file %s rejects a run, which is stored in the table "
                       "journal_rejected of %s (logged once, stats() counts them): %s",
                       self->path, rl_journal_file_path(self->file), reason->text);
    }
}

/* Stores a run that its file refuses for good, and adds that to the error. */
static void store_rejected(rl_beside *self, const rl_run *run, rl_err *err)
{
    const rl_err reason = *err;
    rl_err own;

    if (rl_journal_file_reject(self->file, run, &reason, &own) == RL_OK) {
        rl_beside_log_rejected(self, &reason);
        rl_err_set(err, RL_STORE,
                   "%.500s; the run is stored in the table journal_rejected of %.200s",
                   reason.text, rl_journal_file_path(self->file));
        err->rejected = true;
    }
}

rl_status rl_beside_write_or_reject(void *ctx, const rl_batch *batch, rl_err *err)
{
    rl_beside *self = ctx;
    rl_status status = rl_beside_write(self, batch, err);

    if (status == RL_STORE && err->rejected && batch->count == 1) {
        if (batch->wait == RL_NO_WAIT) {
            status = rl_err_set(err, RL_BUSY, "a rejected run waits to be stored");
        } else {
            store_rejected(self, batch->runs[0], err);
        }
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
    atomic_store(&self->check_at, now + RL_BESIDE_CHECK_NS);
    return rl_journal_file_exists(self->file);
}

static const char *why_waiting(rl_beside *self)
{
    return atomic_load(&self->failure_logged) ? "it can't be written to (see the log)"
           : rl_beside_is_locked(self) && atomic_load(&self->lock_logged)
               ? "another program holds its lock"
               : "runs are still being written to it";
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
        status =
            rl_err_set(err, RL_TIMEOUT, "SQLite file %s: %s; runs wait in %s", self->path,
                       why_waiting(self), rl_journal_file_path(self->file));
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

int64_t rl_beside_count_rejected(rl_beside *self)
{
    rl_journal_file_state state = {0};
    rl_err ignored;

    if (rl_journal_file_exists(self->file)) {
        (void)rl_journal_file_get_state(self->file, &state, &ignored);
    }
    return state.rejected;
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
