/* The worker's side of the journal: what waits in it is forwarded to the server, and what
 * waits for that. See journal.h.
 *
 * A batch is read, written to the server, and then settled: deleted from the journal in one
 * transaction with the check of the lease. Whatever is cut in between is done again, which
 * changes nothing (merge_sql.h).
 */
#include "core/alloc.h"
#include "record/commit/journal_state.h"
#include "record/owner.h"

#include <stdio.h>
#include <string.h>

#define LEASE_US INT64_C(30000000)       /* how long a batch may take to be forwarded */
#define BUSY_NS UINT64_C(20000000)       /* before another's lease is looked at again */
#define BROKEN_NS UINT64_C(1000000000)   /* before a journal that failed is tried again */
#define DRAIN_STEP_NS UINT64_C(20000000) /* between looks at what others forward */

/* Takes the lease, unless a living process has it. */
static rl_status take_lease(rl_journal *journal, const char *self, bool *mine,
                            rl_err *err)
{
    char holder[RL_JOURNAL_FILE_OWNER];
    int64_t until, now = rl_time_now();
    rl_status status = rl_journal_file_lease_holder(journal->file, holder, &until, err);

    *mine = false;
    if (status == RL_OK) {
        /* an end that is too far off means that the clock was set back since */
        bool held = holder[0] != '\0' && strcmp(holder, self) != 0 && until > now &&
                    until <= now + 2 * LEASE_US && !rl_owner_is_gone(holder);

        if (!held) {
            status = rl_journal_file_take_lease(journal->file, holder, self,
                                                now + LEASE_US, mine, err);
        }
    }
    return status;
}

/* Marks a run of the batch as rejected, with its reason. */
static rl_status reject(rl_journal *journal, rl_journal_file_batch *batch, size_t at,
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
    rl_journal_log_rejected(journal, reason);
    return RL_OK;
}

/* Writes each run of a batch alone, as the server refuses one of them. */
static rl_status forward_singly(rl_journal *journal, rl_journal_file_batch *batch,
                                rl_err *err)
{
    rl_store *server = journal->server;
    rl_status status = RL_OK;

    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        rl_batch single = {batch->runs + i, 1, RL_SERVER, true};
        rl_err reason;

        server->ops->send(server, &single);
        status = server->ops->finish(server, &single, &reason);
        if (status == RL_STORE && reason.rejected) {
            status = reject(journal, batch, i, &reason, err);
        } else if (status != RL_OK) {
            *err = reason;
        }
    }
    return status;
}

/* Where forwarding stands: whose fault an error is, and what to do next. */
typedef struct forwarding {
    const atomic_bool *stop;
    char self[RL_JOURNAL_FILE_OWNER]; /* the holder of the lease */
    rl_journal_file_batch batches[2]; /* one on its way, the other before or behind it */
    rl_journal_file_batch
        *delivered;     /* which of them the server has, but is not settled */
    bool mine;          /* the lease is still held */
    bool busy;          /* another process is at it */
    bool server_failed; /* else it is the journal's file */
} forwarding;

static void count_forwarded(rl_journal *journal, const rl_journal_file_batch *batch)
{
    uint64_t taken = 0;

    for (size_t i = 0; i < batch->count; i++) {
        taken += !batch->rejected[i];
    }
    rl_metric_add(&journal->metrics->forwarded, taken);
}

/* Takes what was delivered out of the journal; `until` is the end of the lease then. */
static rl_status settle(rl_journal *journal, forwarding *work, int64_t until, rl_err *err)
{
    static const rl_journal_file_batch nothing;
    const rl_journal_file_batch *batch =
        work->delivered != NULL ? work->delivered : &nothing;
    rl_status status =
        rl_journal_file_finish(journal->file, batch, work->self, until, &work->mine, err);

    work->delivered = NULL;
    pthread_mutex_lock(&journal->lock);
    pthread_cond_broadcast(&journal->moved);
    pthread_mutex_unlock(&journal->lock);
    return status;
}

/* What is done beside the server's work on `current`: the batch before it is settled, and
 * the next one read in its place. */
static rl_status prepare_next(rl_journal *journal, forwarding *work,
                              const rl_journal_file_batch *current,
                              rl_journal_file_batch *other, rl_err *err)
{
    rl_status status = RL_OK;
    rl_err ignored;

    if (work->delivered != NULL) {
        status = settle(journal, work, rl_time_now() + LEASE_US, err);
    }
    other->count = 0;
    if (status == RL_OK && work->mine && !current->last) {
        atomic_store(&journal->pending, false); /* what comes from here on is read next */
        status = rl_journal_file_read(journal->file, current->seqs[current->count - 1],
                                      other, err);
    }
    if (rl_journal_file_needs_checkpoint(journal->file)) { /* this may go on for long */
        (void)rl_journal_file_checkpoint(journal->file, &ignored);
    }
    return status;
}

/* Forwards a batch; one of none asks whether the server is there. */
static rl_status forward_batch(rl_journal *journal, forwarding *work,
                               rl_journal_file_batch *current,
                               rl_journal_file_batch *other, rl_err *err)
{
    rl_store *server = journal->server;
    const rl_batch whole = {current->runs, current->count, RL_SERVER, true};
    rl_status status = server->ops->prepare(server, err), beside;
    rl_err own;

    if (status != RL_OK) {
        work->server_failed = true;
        return status;
    }
    server->ops->send(server, &whole);
    beside = prepare_next(journal, work, current, other, &own);
    status = server->ops->finish(server, &whole, err);
    if (status == RL_STORE && err->rejected) {
        status = forward_singly(journal, current, err);
    }
    work->server_failed = status != RL_OK;
    if (status == RL_OK) {
        work->delivered = current;
        count_forwarded(journal, current);
        rl_journal_set_available(journal);
        if (beside != RL_OK) {
            *err = own;
            status = beside;
        }
    }
    return status;
}

/* Forwards batch after batch while the lease is held. */
static rl_status forward_leased(rl_journal *journal, forwarding *work, rl_err *err)
{
    rl_journal_file_batch *current = &work->batches[0], *other = &work->batches[1], *swap;
    bool whole = false;
    rl_status status;
    rl_err ignored;

    atomic_store(&journal->pending, false);
    status = rl_journal_file_read(journal->file, 0, current, err);
    while (status == RL_OK && work->mine && !whole && !atomic_load(work->stop)) {
        status = forward_batch(journal, work, current, other, err);
        whole = status == RL_OK && current->last;
        swap = current;
        current = other;
        other = swap;
    }
    if (work->mine) { /* gives the lease up */
        rl_status last = settle(journal, work, 0, status == RL_OK ? err : &ignored);

        status = status == RL_OK ? last : status;
    }
    if (whole && status == RL_OK && work->mine) {
        atomic_store(&journal->unsettled, false);
    }
    if (!whole || status != RL_OK || atomic_load(&journal->pending)) {
        atomic_store(&journal->unsettled, true);
        atomic_store(&journal->pending, true);
    }
    return status;
}

static rl_status forward_all(rl_journal *journal, forwarding *work, rl_err *err)
{
    char process[RL_OWNER_TEXT];
    rl_status status = rl_journal_file_open(journal->file, err);

    rl_owner_self(process);
    snprintf(work->self, sizeof work->self, "%.110s %u", process, journal->number);
    if (status == RL_OK) {
        status = take_lease(journal, work->self, &work->mine, err);
    }
    work->busy = status == RL_OK && !work->mine;
    if (work->mine) {
        status = forward_leased(journal, work, err);
    }
    return status;
}

/* Whether there is anything in the journal, ours or another process's. */
static bool is_empty(rl_journal *journal)
{
    rl_journal_file_state state = {0};
    rl_err ignored;

    return !rl_journal_file_exists(journal->file) ||
           (rl_journal_file_open(journal->file, &ignored) == RL_OK &&
            rl_journal_file_get_state(journal->file, &state, &ignored) == RL_OK &&
            state.last == 0);
}

/* The journal's own file fails: the server may be well. */
static void note_broken(rl_journal *journal, const rl_err *err)
{
    rl_journal_log_unusable(journal, err);
    pthread_mutex_lock(&journal->lock);
    journal->attempts++;
    pthread_cond_broadcast(&journal->moved);
    pthread_mutex_unlock(&journal->lock);
}

/* Does what there is to do; false where that failed. */
static bool try_to_forward(rl_journal *journal, forwarding *work, bool away)
{
    rl_status status = RL_OK;
    rl_err err = {.code = RL_OK};

    if (!is_empty(journal)) {
        status = forward_all(journal, work, &err);
    } else {
        atomic_store(&journal->pending, false);
        if (away) {
            work->batches[0].last = true;
            status =
                forward_batch(journal, work, &work->batches[0], &work->batches[1], &err);
        }
    }
    if (status != RL_OK && !atomic_load(work->stop)) {
        if (work->server_failed) {
            rl_journal_set_unavailable(journal, &err);
        } else {
            note_broken(journal, &err);
        }
    }
    return status == RL_OK;
}

uint64_t rl_journal_forward(rl_journal *journal, const atomic_bool *stop)
{
    uint64_t now = rl_monotonic_ns(), again = now + RL_JOURNAL_LOOK_NS;
    bool away = rl_breaker_is_open(&journal->breaker);
    forwarding *work;

    if (away && now < atomic_load(&journal->breaker.retry_at)) {
        return atomic_load(&journal->breaker.retry_at);
    }
    work = rl_calloc(1, sizeof *work);
    if (work == NULL) {
        return now + RL_BREAKER_FIRST_NS;
    }
    work->stop = stop;
    if (!try_to_forward(journal, work, away)) {
        again = work->server_failed ? atomic_load(&journal->breaker.retry_at)
                                    : now + BROKEN_NS;
    } else if (work->busy) {
        again = now + BUSY_NS;
    } else if (atomic_load(&journal->pending)) {
        again = now;
    }
    rl_journal_file_batch_free(&work->batches[0]);
    rl_journal_file_batch_free(&work->batches[1]);
    rl_free(work);
    return again;
}

void rl_journal_retry_now(rl_journal *journal)
{
    atomic_store(&journal->breaker.retry_at, 0);
}

/* Waits for news from the forwarding thread, or a moment. */
static void wait_for_news(rl_journal *journal, uint64_t end)
{
    uint64_t step = rl_monotonic_ns() + DRAIN_STEP_NS;
    struct timespec until = rl_timespec(step < end ? step : end);

    pthread_mutex_lock(&journal->lock);
    (void)pthread_cond_timedwait(&journal->moved, &journal->lock, &until);
    pthread_mutex_unlock(&journal->lock);
}

static unsigned attempts_of(rl_journal *journal)
{
    unsigned attempts;

    pthread_mutex_lock(&journal->lock);
    attempts = journal->attempts;
    pthread_mutex_unlock(&journal->lock);
    return attempts;
}

rl_status rl_journal_drain(rl_journal *journal, uint64_t end, bool patient, rl_err *err)
{
    unsigned attempts = attempts_of(journal);
    rl_journal_file_state state = {0};
    int64_t target = -1;
    rl_status status = RL_OK;

    while (rl_journal_file_exists(journal->file)) {
        status = rl_journal_file_open(journal->file, err);
        if (status == RL_OK) {
            status = rl_journal_file_get_state(journal->file, &state, err);
        }
        if (target < 0) {
            target = state.last;
        }
        if (status != RL_OK || state.last == 0 || state.first > target) {
            break;
        }
        if (rl_monotonic_ns() >= end || (!patient && attempts_of(journal) != attempts)) {
            status = RL_TIMEOUT;
            break;
        }
        wait_for_news(journal, end);
    }
    return status;
}

void rl_journal_catch_up(rl_journal *journal, uint64_t end)
{
    rl_err ignored;

    if (atomic_load(&journal->unsettled) && !rl_breaker_is_open(&journal->breaker)) {
        (void)rl_journal_drain(journal, end, false, &ignored);
    }
}
