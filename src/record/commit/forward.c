/* The worker's side of the journal: forwarding, and waiting for it. See journal.h.
 *
 * A batch is read, written to the server, and then deleted from the journal, in one
 * transaction with a check of the lease. After an interruption the next pass repeats
 * that; writing a run twice changes nothing (merge_sql.h).
 */
#include "core/alloc.h"
#include "record/commit/forward_singly.h"
#include "record/commit/lease.h"

#define SMALLER 4 /* a batch that took too long is tried with a part of its runs */
#define LONG_NS ((uint64_t)RL_LEASE_US * 500) /* half of the lease, for a batch */
#define LEASED_NS UINT64_C(20000000)     /* between checks of another process's lease */
#define BROKEN_NS UINT64_C(1000000000)   /* before the next try after the file failed */
#define DRAIN_STEP_NS UINT64_C(20000000) /* between checks of what others forward */
#define SLICE_NS UINT64_C(5000000000)    /* after which the worker does other work, too */
#define AROUND_NS UINT64_C(1000000000)   /* between passes around runs that are held */

static void count_forwarded(rl_journal *journal, const rl_journal_file_batch *batch)
{
    uint64_t accepted = 0;

    for (size_t i = 0; i < batch->count; i++) {
        accepted += !batch->rejected[i] && !batch->held[i];
    }
    rl_metric_add(&journal->metrics->forwarded, accepted);
}

/* Deletes the delivered batch, if any, from the journal, and moves the end of the lease
 * to `until` (0 gives it up). */
static rl_status finish_delivered(rl_journal *journal, rl_forwarding *work, int64_t until,
                                  rl_err *err)
{
    static const rl_journal_file_batch empty;
    const rl_journal_file_batch *batch =
        work->delivered != NULL ? work->delivered : &empty;
    rl_status status = rl_journal_file_finish(journal->file, batch, work->self, until,
                                              &work->has_lease, err);

    work->delivered = NULL;
    pthread_mutex_lock(&journal->lock);
    pthread_cond_broadcast(&journal->progressed);
    pthread_mutex_unlock(&journal->lock);
    return status;
}

/* Of the open runs that the server has now: says that their owners were there, unless it
 * knows more. One that died before it reached the server would else never be missed. */
static void announce_owners(rl_journal *journal, const rl_forwarding *work,
                            const rl_journal_file_batch *batch)
{
    rl_store *server = journal->server;
    const char *last = "";
    rl_err ignored;

    for (size_t i = 0; i < batch->count; i++) {
        const rl_run *run = batch->runs[i];

        if (!batch->rejected[i] && !batch->held[i] && rl_run_is_open(run) &&
            strcmp(rl_run_text(run, RL_OWNER), last) != 0) {
            last = rl_run_text(run, RL_OWNER);
            if (strncmp(work->self, last, strlen(last)) != 0) { /* else it does so */
                (void)server->ops->beat(server, RL_BEAT_FIRST, last, &ignored);
            }
        }
    }
}

/* While the server works on `current`: finishes the batch before it, and reads the next
 * one in its place. */
static rl_status prepare_next(rl_journal *journal, rl_forwarding *work,
                              const rl_journal_file_batch *current,
                              rl_journal_file_batch *other, rl_err *err)
{
    rl_status status = RL_OK;
    rl_err ignored;

    if (work->delivered != NULL) {
        status = finish_delivered(journal, work, rl_time_now() + RL_LEASE_US, err);
    }
    other->count = 0;
    if (status == RL_OK && work->has_lease && !current->last) {
        atomic_store(&journal->pending, false); /* later runs set it again */
        status = rl_journal_file_read(journal->file, current->seqs[current->count - 1],
                                      journal->most, other, err);
    }
    /* also between batches, or a long forwarding would let the WAL grow */
    if (rl_journal_file_needs_checkpoint(journal->file)) {
        (void)rl_journal_file_checkpoint(journal->file, &ignored);
    }
    return status;
}

/* Sets the size of the next batches, after one that the server has taken. */
static void note_taken(rl_journal *journal, uint64_t took_ns)
{
    journal->slow_in_row = 0;
    if (took_ns > LONG_NS && journal->most > 1) {
        journal->most = (journal->most + SMALLER - 1) / SMALLER;
    } else if (took_ns < journal->too_long_ns / 4 &&
               journal->most < RL_JOURNAL_FILE_RUNS) {
        journal->most *= 2;
        if (journal->most > RL_JOURNAL_FILE_RUNS) {
            journal->most = RL_JOURNAL_FILE_RUNS;
        }
    }
}

/* After a batch took the server too long, which answers all the same: the next attempt is
 * with fewer runs, and a single one waits while others are forwarded. */
static rl_status handle_slow(rl_journal *journal, rl_forwarding *work,
                             rl_journal_file_batch *current, uint64_t took_ns,
                             rl_err *err)
{
    const rl_err reason = *err;

    journal->too_long_ns = took_ns;
    if (current->count == 1) {
        return rl_forward_hold(journal, work, current, 0, &reason, err);
    }
    current->count = (current->count + SMALLER - 1) / SMALLER;
    current->last = false;
    journal->most = current->count;
    work->cut = true;
    return RL_OK;
}

/* Writes a batch to the server, and prepares the next one meanwhile: its status goes to
 * *beside. */
static rl_status write_batch(rl_journal *journal, rl_forwarding *work,
                             rl_journal_file_batch *current, rl_journal_file_batch *other,
                             rl_status *beside, rl_err *beside_err, rl_err *err)
{
    rl_store *server = journal->server;
    const rl_batch sent = {current->runs, current->count, RL_SERVER, RL_WAIT};
    const uint64_t start = rl_monotonic_ns();
    rl_status status;
    uint64_t took_ns;

    server->ops->send(server, &sent);
    *beside = prepare_next(journal, work, current, other, beside_err);
    status = server->ops->finish(server, &sent, err);
    took_ns = rl_monotonic_ns() - start;
    if (status == RL_OK && current->count > 0) {
        note_taken(journal, took_ns);
    } else if (status == RL_STORE && current->count > 0 && err->timed_out &&
               !err->partial && rl_forward_answers(journal)) {
        status = handle_slow(journal, work, current, took_ns, err);
    }
    return status;
}

/* Whether a batch that failed is to be written run by run. */
static bool is_of_some(rl_status status, const rl_err *err)
{
    return status == RL_STORE && (err->rejected || err->partial || rl_is_doubtful(err));
}

/* Forwards `current` and prepares the next batch in `other`. An empty batch probes the
 * server. */
static rl_status forward_batch(rl_journal *journal, rl_forwarding *work,
                               rl_journal_file_batch *current,
                               rl_journal_file_batch *other, rl_err *err)
{
    rl_store *server = journal->server;
    rl_status status = server->ops->prepare(server, err), beside;
    bool singly =
        current->count > 0 && (rl_held_tidy(&journal->held, rl_monotonic_ns(), 0) ||
                               rl_forward_is_slow(journal, current));
    rl_err beside_err;

    if (status != RL_OK) {
        work->server_failed = true;
        return status;
    }
    if (singly) {
        beside = prepare_next(journal, work, current, other, &beside_err);
    } else {
        status = write_batch(journal, work, current, other, &beside, &beside_err, err);
        singly = current->count > 0 && is_of_some(status, err);
    }
    if (singly) {
        status = rl_forward_singly(journal, work, current, err);
    }
    work->server_failed = status != RL_OK;
    if (status == RL_OK && !work->cut) {
        work->delivered = current;
        count_forwarded(journal, current);
        announce_owners(journal, work, current);
        if (!work->holds) {
            rl_journal_set_available(journal);
        }
    }
    if (status == RL_OK && beside != RL_OK) {
        *err = beside_err;
        status = beside;
    }
    return status;
}

/* Forwards batch after batch while the lease is held. */
static rl_status forward_leased(rl_journal *journal, rl_forwarding *work, rl_err *err)
{
    rl_journal_file_batch *current = &work->batches[0], *other = &work->batches[1], *swap;
    const bool from_first = journal->after == 0;
    bool done = false; /* the last batch was forwarded */
    int64_t last_seq = journal->after;
    rl_status status;
    rl_err ignored;

    atomic_store(&journal->pending, false);
    status =
        rl_journal_file_read(journal->file, journal->after, journal->most, current, err);
    while (status == RL_OK && work->has_lease && !done && !atomic_load(work->stop) &&
           rl_monotonic_ns() < work->end) {
        work->cut = false;
        status = forward_batch(journal, work, current, other, err);
        if (work->cut) {
            continue; /* with what is left of it */
        }
        done = status == RL_OK && current->last;
        if (status == RL_OK && current->count > 0) {
            last_seq = current->seqs[current->count - 1];
        }
        swap = current;
        current = other;
        other = swap;
    }
    if (work->has_lease) { /* gives the lease up */
        rl_status last =
            finish_delivered(journal, work, 0, status == RL_OK ? err : &ignored);

        status = status == RL_OK ? last : status;
    }
    journal->after = !done && status == RL_OK && work->holds ? last_seq : 0;
    done = done && from_first && !work->holds;
    if (done && status == RL_OK && work->has_lease) {
        atomic_store(&journal->unforwarded, false);
    }
    if (!done || status != RL_OK || atomic_load(&journal->pending)) {
        atomic_store(&journal->unforwarded, true);
        atomic_store(&journal->pending, true);
    }
    return status;
}

/* Asks the server which database it is, so that the runs are read that are meant for
 * it. */
static rl_status identify(rl_journal *journal, rl_forwarding *work, rl_err *err)
{
    rl_store *server = journal->server;
    rl_target target;
    rl_status status = server->ops->prepare(server, err);

    if (status == RL_OK) {
        status = server->ops->identify(server, &target, err);
    }
    work->server_failed = status != RL_OK;
    if (status == RL_OK) {
        status = rl_journal_learn_target(journal, err);
    }
    if (status == RL_OK) {
        atomic_store(&journal->identified, true);
    }
    return status;
}

static rl_status forward_all(rl_journal *journal, rl_forwarding *work, rl_err *err)
{
    rl_status status;

    rl_lease_name(journal->number, work->self);
    status = rl_lease_take(journal->file, work->self, &work->has_lease, err);
    work->leased_elsewhere = status == RL_OK && !work->has_lease;
    if (work->has_lease) {
        status = forward_leased(journal, work, err);
    }
    return status;
}

/* Whether the journal may have runs for this database, of this process or of others: it
 * has, or the database is not known yet. */
static bool may_have_own(rl_journal *journal, const rl_journal_file_state *state)
{
    return state->last > 0 || (state->has_others && !atomic_load(&journal->identified));
}

/* Whether the journal has no runs for this database. Logs that it has some for others. */
static bool is_empty(rl_journal *journal)
{
    rl_journal_file_state state = {0};
    rl_err ignored;
    bool empty = !rl_journal_file_exists(journal->file);

    if (!empty && rl_journal_file_get_state(journal->file, &state, &ignored) == RL_OK) {
        empty = !may_have_own(journal, &state);
        if (state.has_others && atomic_load(&journal->identified)) {
            rl_journal_log_others(journal);
        } else if (!state.has_others) {
            atomic_store(&journal->others_logged, false);
        }
    }
    return empty;
}

/* Records that the journal's file failed; the server may be available. */
static void record_file_failure(rl_journal *journal, const rl_err *err)
{
    rl_journal_log_unusable(journal, err);
    pthread_mutex_lock(&journal->lock);
    journal->attempts++;
    pthread_cond_broadcast(&journal->progressed);
    pthread_mutex_unlock(&journal->lock);
}

/* Forwards the journal, or probes an unavailable server if it is empty. False when that
 * failed. */
static bool try_to_forward(rl_journal *journal, rl_forwarding *work, bool unavailable)
{
    static const rl_batch lock_only = {.durability = RL_JOURNAL, .wait = RL_WAIT_BRIEFLY};
    rl_status status = RL_OK;
    rl_err err = {.code = RL_OK};

    if (!is_empty(journal)) {
        status = identify(journal, work, &err);
        if (status == RL_OK) {
            status = rl_journal_file_append(journal->file, &lock_only, &err);
        }
        if (status == RL_OK) {
            status = forward_all(journal, work, &err);
        } else if (status == RL_BUSY) { /* not long: the worker has other work, too */
            work->leased_elsewhere = true;
            status = RL_OK;
        }
    } else {
        atomic_store(&journal->pending, false);
        if (unavailable) {
            work->batches[0].last = true;
            status =
                forward_batch(journal, work, &work->batches[0], &work->batches[1], &err);
        }
    }
    if (status == RL_OK && work->holds && !atomic_load(work->stop)) {
        rl_journal_set_partly_available(journal, &work->held, AROUND_NS);
    } else if (status != RL_OK && !atomic_load(work->stop)) {
        if (work->server_failed) {
            rl_journal_set_unavailable(journal, &err);
        } else {
            record_file_failure(journal, &err);
        }
    }
    return status == RL_OK;
}

uint64_t rl_journal_forward(rl_journal *journal, const atomic_bool *stop)
{
    uint64_t now = rl_monotonic_ns(), next = now + RL_JOURNAL_CHECK_NS;
    bool unavailable = rl_breaker_is_open(&journal->breaker);
    rl_forwarding *work;

    if (unavailable && now < atomic_load(&journal->breaker.retry_at)) {
        return atomic_load(&journal->breaker.retry_at);
    }
    work = rl_calloc(1, sizeof *work);
    if (work == NULL) {
        return now + RL_BREAKER_FIRST_NS;
    }
    work->stop = stop;
    work->end = now + SLICE_NS;
    if (!try_to_forward(journal, work, unavailable)) {
        next = work->server_failed ? atomic_load(&journal->breaker.retry_at)
                                   : now + BROKEN_NS;
    } else if (work->holds) {
        next = atomic_load(&journal->breaker.retry_at);
    } else if (work->leased_elsewhere) {
        next = now + LEASED_NS;
    } else if (atomic_load(&journal->pending)) {
        next = now;
    }
    rl_journal_file_batch_free(&work->batches[0]);
    rl_journal_file_batch_free(&work->batches[1]);
    rl_journal_file_batch_free(&work->newest);
    rl_free(work);
    return next;
}

void rl_journal_retry_now(rl_journal *journal)
{
    atomic_store(&journal->breaker.retry_at, 0);
}

/* Waits until the worker has made progress, or DRAIN_STEP_NS for that of another
 * process. */
static void wait_for_progress(rl_journal *journal, uint64_t end)
{
    uint64_t step = rl_monotonic_ns() + DRAIN_STEP_NS;
    struct timespec until = rl_timespec(step < end ? step : end);

    pthread_mutex_lock(&journal->lock);
    (void)rl_cond_timedwait(&journal->progressed, &journal->lock, &until);
    pthread_mutex_unlock(&journal->lock);
}

static unsigned failed_attempts(rl_journal *journal)
{
    unsigned attempts;

    pthread_mutex_lock(&journal->lock);
    attempts = journal->attempts;
    pthread_mutex_unlock(&journal->lock);
    return attempts;
}

rl_status rl_journal_drain(rl_journal *journal, uint64_t end, bool patient, rl_err *err)
{
    unsigned attempts = failed_attempts(journal);
    rl_journal_file_state state = {0};
    int64_t target = -1;
    rl_status status = RL_OK;

    while (rl_journal_file_exists(journal->file)) {
        status = rl_journal_file_get_state(journal->file, &state, err);
        if (status == RL_OK && target <= 0) {
            target = state.last;
        }
        if (status != RL_BUSY &&
            (status != RL_OK || !may_have_own(journal, &state) ||
             (state.last > 0 && state.first > target && target > 0))) {
            break;
        }
        if (rl_monotonic_ns() >= end ||
            (!patient && failed_attempts(journal) != attempts)) {
            status = RL_TIMEOUT;
            break;
        }
        wait_for_progress(journal, end);
    }
    return status;
}

void rl_journal_catch_up(rl_journal *journal, uint64_t end)
{
    rl_err ignored;

    if (atomic_load(&journal->unforwarded) && !rl_breaker_is_open(&journal->breaker)) {
        (void)rl_journal_drain(journal, end, false, &ignored);
    }
}
