/* The callers' side of the journal. See journal.h. */
#include "record/commit/journal.h"

#include "core/alloc.h"
#include "record/commit/journal_state.h"

#include <stdio.h>
#include <string.h>

/* Commits a batch to the journal's file: an rl_commit_write. */
static rl_status append_to_file(void *ctx, const rl_batch *batch, rl_err *err)
{
    rl_journal *journal = ctx;
    rl_status status = rl_journal_file_append(journal->file, batch, err);

    if (status == RL_OK && batch->count > 0) {
        rl_metric_add(&journal->metrics->journaled, batch->count);
        if (!atomic_exchange(&journal->pending, true)) {
            atomic_store(&journal->wake_worker, true);
        }
        /* last: the worker clears it before it checks `pending`, so either it sees the
         * new run as pending, or this store is the later one */
        atomic_store(&journal->unforwarded, true);
        rl_journal_log_usable(journal);
    }
    return status;
}

rl_status rl_journal_learn_target(rl_journal *journal, rl_err *err)
{
    rl_known_target *known = NULL;
    rl_status status = RL_OK;
    rl_target target;

    journal->server->ops->target(journal->server, &target);
    pthread_mutex_lock(&journal->lock);
    if (journal->target == NULL ||
        memcmp(&target, &journal->target->target, sizeof target) != 0) {
        known = rl_malloc(sizeof *known);
        status = known != NULL ? RL_OK : rl_err_nomem(err);
    }
    if (known != NULL) { /* other threads may still use the one before */
        known->target = target;
        known->before = journal->target;
        journal->target = known;
        rl_journal_file_set_target(journal->file, &known->target);
        rl_beside_set_target(journal->beside, &known->target);
    }
    pthread_mutex_unlock(&journal->lock);
    return status;
}

rl_status rl_journal_new(rl_store *server, const char *path,
                         const rl_migrations *migrations, rl_metrics *metrics,
                         rl_notices *notices, rl_journal **out, rl_err *err)
{
    static atomic_uint count;
    rl_journal *journal = rl_calloc(1, sizeof *journal);
    rl_status status;

    if (journal == NULL) {
        return rl_err_nomem(err);
    }
    status = rl_journal_file_new(path, migrations, notices, &journal->file, err);
    if (status == RL_OK) {
        status = rl_beside_new(rl_journal_file_path(journal->file), migrations,
                               append_to_file, journal, notices, &journal->beside, err);
    }
    if (status == RL_OK) {
        pthread_mutex_init(&journal->lock, NULL);
        rl_cond_init(&journal->progressed);
        journal->server = server;
        status = rl_journal_learn_target(journal, err);
        if (status != RL_OK) {
            rl_journal_free(journal);
            return status;
        }
    }
    if (status != RL_OK) {
        rl_journal_file_free(journal->file);
        rl_free(journal);
        return status;
    }
    journal->most = RL_JOURNAL_FILE_RUNS;
    journal->number = atomic_fetch_add(&count, 1);
    journal->metrics = metrics;
    journal->notices = notices;
    journal->breaker.jitter = rl_monotonic_ns();
    *out = journal;
    return RL_OK;
}

void rl_journal_free(rl_journal *journal)
{
    if (journal != NULL) {
        rl_beside_free(journal->beside);
        rl_journal_file_free(journal->file);
        while (journal->target != NULL) {
            rl_known_target *before = journal->target->before;

            rl_free(journal->target);
            journal->target = before;
        }
        pthread_cond_destroy(&journal->progressed);
        pthread_mutex_destroy(&journal->lock);
        rl_free(journal);
    }
}

rl_beside *rl_journal_beside(rl_journal *journal)
{
    return journal->beside;
}

rl_status rl_journal_prepare(rl_journal *journal, rl_err *err)
{
    rl_status status;

    if (rl_journal_file_exists(journal->file)) {
        status = rl_journal_file_open(journal->file, RL_WAIT_BRIEFLY, err);
        atomic_store(&journal->wake_worker, status == RL_OK || status == RL_BUSY);
    } else {
        status = rl_journal_file_check(journal->file, err);
    }
    if (status == RL_STORE &&
        !err->unusable) { /* it may pass, and the server may accept runs */
        rl_journal_log_unusable(journal, err);
        status = RL_OK;
    }
    return rl_beside_prepare(journal->beside, status, err);
}

static rl_err server_error(rl_journal *journal)
{
    rl_err err;

    pthread_mutex_lock(&journal->lock);
    err = journal->error;
    pthread_mutex_unlock(&journal->lock);
    return err;
}

/* The error of a batch that neither the server nor the journal takes: both reasons, in
 * the order of the attempts. */
static rl_status set_both_reasons(rl_err *err, const rl_err *first, const rl_err *second)
{
    rl_err_set(err, RL_STORE, "%.370s; then %.370s", first->text, second->text);
    err->retryable = true;
    return RL_STORE;
}

/* Writes a batch to the journal that the server did not accept, for the reason in err. */
static rl_status fall_back(rl_journal *journal, const rl_batch *batch, rl_err *err)
{
    const rl_batch durable = {batch->runs, batch->count, RL_DISK, RL_WAIT};
    const rl_err reason = *err;
    rl_err own;
    rl_status status = rl_beside_write(journal->beside, &durable, &own);

    return status == RL_OK ? RL_OK : set_both_reasons(err, &reason, &own);
}

/* Stores a run that the server rejects in journal_rejected, and adds that to the
 * error. */
static void store_rejected(rl_journal *journal, const rl_run *run, rl_err *err)
{
    rl_err own;
    char reason[RL_ERR_TEXT];

    if (rl_journal_file_reject(journal->file, run, err, &own) == RL_OK) {
        rl_journal_log_rejected(journal, err);
        memcpy(reason, err->text, sizeof reason);
        snprintf(err->text, sizeof err->text,
                 "%.500s; the run is stored in the table journal_rejected of %.200s",
                 reason, rl_journal_file_path(journal->file));
    }
}

/* Whether a run of the batch joins parts, and logs that have parts may still be in the
 * journal. It would be joined without them, see store/parts_sql.h. */
static bool must_follow(rl_journal *journal, const rl_batch *batch)
{
    bool joins = false;

    for (size_t i = 0; i < batch->count && !joins; i++) {
        const rl_run *run = batch->runs[i];

        joins = run->parts.given && run->parts_use == RL_PARTS_JOIN;
    }
    return joins &&
           (atomic_load(&journal->unforwarded) || rl_beside_is_pending(journal->beside));
}

rl_status rl_journal_write(void *ctx, const rl_batch *batch, rl_err *err)
{
    const rl_batch durable = {batch->runs, batch->count, RL_DISK, RL_WAIT};
    rl_journal *journal = ctx;
    rl_store *server = journal->server;
    bool prepared = false;
    rl_status status;

    if (must_follow(journal, batch) &&
        rl_beside_write(journal->beside, &durable, err) == RL_OK) {
        return RL_OK;
    }
    if (rl_breaker_is_open(&journal->breaker)) {
        *err = server_error(journal);
        return fall_back(journal, batch, err);
    }
    status = server->ops->prepare(server, err);
    if (status == RL_OK) {
        prepared = true;
        status = rl_journal_learn_target(journal, err);
    }
    if (status == RL_OK) {
        status = server->ops->write(server, batch, err);
    }
    if (status == RL_STORE && err->retryable) {
        rl_journal_set_unavailable(journal, err);
        status = fall_back(journal, batch, err);
    } else if (status == RL_STORE && prepared && batch->count == 1) {
        store_rejected(journal, batch->runs[0], err);
    }
    return status;
}

/* Writes a batch to the server because the journal's file fails, for the reason in
 * err. */
static rl_status write_to_server(rl_journal *journal, const rl_batch *batch, rl_err *err)
{
    const rl_batch on_server = {batch->runs, batch->count, RL_SERVER, RL_WAIT};
    const rl_err reason = *err;
    rl_store *server = journal->server;
    rl_status status = server->ops->prepare(server, err);
    rl_err own;

    if (status == RL_OK) {
        status = server->ops->write(server, &on_server, err);
    }
    if (status == RL_STORE && err->retryable) {
        own = *err;
        rl_journal_set_unavailable(journal, &own);
        status = set_both_reasons(err, &reason, &own);
    } else {
        rl_journal_log_unusable(journal, &reason);
    }
    return status;
}

rl_status rl_journal_append(void *ctx, const rl_batch *batch, rl_err *err)
{
    rl_journal *journal = ctx;
    rl_status status = rl_beside_write(journal->beside, batch, err);
    rl_err server_reason, own;

    if (status == RL_STORE || status == RL_CONFIG) {
        if (batch->wait == RL_NO_WAIT) {
            status = rl_err_set(
                err, RL_BUSY,
                "the journal fails, and the server would have to be waited for");
        } else if (rl_breaker_is_open(&journal->breaker)) {
            server_reason = server_error(journal);
            own = *err;
            status = set_both_reasons(err, &server_reason, &own);
        } else {
            status = write_to_server(journal, batch, err);
        }
    }
    return status;
}

bool rl_journal_has_work(rl_journal *journal)
{
    uint64_t now;

    if (atomic_load_explicit(&journal->wake_worker, memory_order_relaxed)) {
        atomic_store(&journal->wake_worker, false);
        return true;
    }
    now = rl_monotonic_ns();
    if (now < atomic_load_explicit(&journal->check_at, memory_order_relaxed)) {
        return false;
    }
    atomic_store(&journal->check_at, now + RL_JOURNAL_CHECK_NS);
    return rl_breaker_is_open(&journal->breaker) || rl_journal_file_exists(journal->file);
}

bool rl_journal_is_available(rl_journal *journal)
{
    return !rl_breaker_is_open(&journal->breaker);
}

void rl_journal_get_stats(rl_journal *journal, rl_journal_stats *stats)
{
    rl_journal_file_state state = {0};
    rl_waiting waiting = {0};
    rl_status status = RL_OK;
    rl_err ignored;

    if (rl_journal_file_exists(journal->file)) {
        status = rl_journal_file_get_state(journal->file, &state, &ignored);
    }
    waiting.own = state.last > 0 ? state.last - state.first + 1 : 0;
    if (status == RL_OK && (state.has_others || state.has_gaps)) {
        status = rl_journal_file_count(journal->file, &waiting, &ignored);
    }
    pthread_mutex_lock(&journal->lock);
    if (status != RL_BUSY) {
        journal->seen = state;
        journal->waiting = waiting;
    }
    stats->waiting = journal->waiting.own;
    stats->elsewhere = journal->waiting.others;
    stats->rejected = journal->seen.rejected;
    stats->oldest = journal->seen.oldest;
    stats->left = journal->seen.given - stats->waiting - stats->elsewhere;
    stats->unavailable = rl_breaker_is_open(&journal->breaker);
    memcpy(stats->error, stats->unavailable ? journal->error.text : "",
           stats->unavailable ? sizeof stats->error : 1);
    pthread_mutex_unlock(&journal->lock);
}

bool rl_journal_needs_checkpoint(rl_journal *journal)
{
    return rl_journal_file_needs_checkpoint(journal->file);
}

rl_status rl_journal_checkpoint(rl_journal *journal, rl_err *err)
{
    return rl_journal_file_checkpoint(journal->file, err);
}

void rl_journal_before_fork(rl_journal *journal)
{
    rl_beside_before_fork(journal->beside);
    pthread_mutex_lock(&journal->lock);
    rl_journal_file_before_fork(journal->file);
}

void rl_journal_after_fork(rl_journal *journal, bool in_child)
{
    rl_journal_file_after_fork(journal->file);
    if (in_child) {
        atomic_store(&journal->wake_worker, true);
        rl_cond_init(&journal->progressed); /* its waiters exist in the parent only */
    }
    pthread_mutex_unlock(&journal->lock);
    rl_beside_after_fork(journal->beside, in_child);
}
