/* The server, and the journal while it is away. See journal.h. */
#include "record/journal.h"

#include "core/alloc.h"
#include "core/lock.h"
#include "record/breaker.h"
#include "record/owner.h"
#include "store/spool.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LEASE_US INT64_C(30000000)        /* how long a batch may take to be forwarded */
#define BUSY_NS UINT64_C(20000000)        /* before another process's lease is looked at again */
#define LOOK_NS UINT64_C(5000000000)      /* between looks for what other processes left */
#define BROKEN_NS UINT64_C(1000000000)    /* before a journal that failed is tried again */
#define DRAIN_STEP_NS UINT64_C(20000000) /* between looks at what others forward */

struct rl_journal {
    rl_store *server; /* borrowed */
    rl_spool *spool;  /* owned */
    rl_metrics *metrics;
    rl_notices *notices;
    pthread_mutex_t lock; /* guards breaker, error, hurried; never held during I/O */
    pthread_cond_t moved; /* something was forwarded, or could not be */
    rl_breaker breaker;
    rl_err error;           /* why the server is away */
    uint64_t away_since;    /* monotonic nanoseconds */
    uint64_t forwarded_then; /* the counter, as it was then */
    unsigned attempts;      /* of forwarding that failed */
    bool rejecting;         /* it was told that a run was rejected */
    bool unusable;          /* it was told that the journal can't be used */
    atomic_uint moves;      /* deletions of the file that were told */
    unsigned number;        /* of this journal in the process */
    atomic_bool pending;    /* something was put into the journal since it was read */
    atomic_bool unsettled;  /* something of ours may not have been forwarded yet */
    atomic_bool wake;       /* the worker does not know of it yet */
    atomic_uint_fast64_t look_at; /* when to look for what others left */
};

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
    status = rl_spool_new(path, migrations, &journal->spool, err);
    if (status != RL_OK) {
        rl_free(journal);
        return status;
    }
    journal->number = atomic_fetch_add(&count, 1);
    journal->server = server;
    journal->metrics = metrics;
    journal->notices = notices;
    journal->breaker.jitter = rl_monotonic_ns();
    pthread_mutex_init(&journal->lock, NULL);
    rl_cond_init(&journal->moved);
    *out = journal;
    return RL_OK;
}

void rl_journal_free(rl_journal *journal)
{
    if (journal != NULL) {
        rl_spool_free(journal->spool);
        pthread_cond_destroy(&journal->moved);
        pthread_mutex_destroy(&journal->lock);
        rl_free(journal);
    }
}

bool rl_journal_is_away(const rl_journal *journal)
{
    return rl_breaker_is_open(&journal->breaker);
}

/* Whether the file at the path will do once what stands in the way has gone. */
static bool may_pass(const rl_err *err)
{
    return err->code == RL_NOMEM || err->retryable;
}

static void tell_unusable(rl_journal *journal, const rl_err *err)
{
    bool first;

    pthread_mutex_lock(&journal->lock);
    first = !journal->unusable;
    journal->unusable = true;
    pthread_mutex_unlock(&journal->lock);
    if (first) {
        rl_notices_add(journal->notices, RL_NOTICE_ERROR,
                       "the journal can't be used, so nothing is kept while PostgreSQL is "
                       "away: %s",
                       err->text);
    }
}

rl_status rl_journal_prepare(rl_journal *journal, rl_err *err)
{
    rl_status status;

    if (rl_spool_exists(journal->spool)) {
        status = rl_spool_open(journal->spool, err);
        atomic_store(&journal->wake, status == RL_OK);
    } else {
        status = rl_spool_check(journal->spool, err);
    }
    if (status == RL_STORE && may_pass(err)) {
        tell_unusable(journal, err);
        status = RL_OK;
    }
    return status;
}

/* The file was deleted under the process, and made anew with what waited in it. */
static void tell_moved(rl_journal *journal)
{
    unsigned moves = rl_spool_moves(journal->spool);

    if (moves != 0 && atomic_exchange(&journal->moves, moves) != moves) {
        rl_notices_add(journal->notices, RL_NOTICE_WARNING,
                       "the journal %s was deleted or replaced while it was in use; what "
                       "waited in it was written again",
                       rl_spool_path(journal->spool));
    }
}

/* Commits a batch to the journal's file. */
static rl_status append(rl_journal *journal, const rl_batch *batch, rl_err *err)
{
    rl_status status = rl_spool_append(journal->spool, batch, err);

    if (status == RL_OK) {
        rl_metric_add(&journal->metrics->journaled, batch->count);
        atomic_store_explicit(&journal->unsettled, true, memory_order_relaxed);
        if (!atomic_exchange(&journal->pending, true)) {
            atomic_store(&journal->wake, true);
        }
        tell_moved(journal);
    }
    return status;
}

/* The server did not take something. */
static void note_away(rl_journal *journal, const rl_err *err)
{
    uint64_t now = rl_monotonic_ns();
    bool news;

    pthread_mutex_lock(&journal->lock);
    news = rl_breaker_fail(&journal->breaker, now);
    journal->error = *err;
    journal->attempts++;
    if (news) {
        atomic_store(&journal->wake, true);
        journal->away_since = now;
        journal->forwarded_then = rl_metric_get(&journal->metrics->forwarded);
    }
    pthread_cond_broadcast(&journal->moved);
    pthread_mutex_unlock(&journal->lock);
    if (news) {
        rl_notices_add(journal->notices, RL_NOTICE_WARNING,
                       "runs are kept in the journal %s until PostgreSQL takes them: %s",
                       rl_spool_path(journal->spool), err->text);
    }
}

/* The server took something. */
static void note_back(rl_journal *journal)
{
    uint64_t seconds, forwarded;
    bool news;

    if (!rl_breaker_is_open(&journal->breaker)) {
        return;
    }
    pthread_mutex_lock(&journal->lock);
    news = rl_breaker_pass(&journal->breaker);
    seconds = (rl_monotonic_ns() - journal->away_since) / 1000000000;
    forwarded = rl_metric_get(&journal->metrics->forwarded) - journal->forwarded_then;
    pthread_mutex_unlock(&journal->lock);
    if (news) {
        rl_notices_add(journal->notices, RL_NOTICE_WARNING,
                       "PostgreSQL takes runs again, after %llu s; %llu were forwarded from "
                       "the journal so far",
                       (unsigned long long)seconds, (unsigned long long)forwarded);
    }
}

static void tell_rejected(rl_journal *journal, const rl_err *reason)
{
    bool first;

    pthread_mutex_lock(&journal->lock);
    first = !journal->rejecting;
    journal->rejecting = true;
    pthread_mutex_unlock(&journal->lock);
    if (first) {
        rl_notices_add(journal->notices, RL_NOTICE_ERROR,
                       "PostgreSQL refused a run for good; it is kept in the table "
                       "journal_rejected of %s (told once, stats() counts them): %s",
                       rl_spool_path(journal->spool), reason->text);
    }
}

/* Neither takes it: both reasons, in the order in which they were asked. */
static rl_status refuse_both(rl_err *err, const rl_err *first, const rl_err *second)
{
    rl_err_set(err, RL_STORE, "%.370s; and then %.370s", first->text, second->text);
    err->retryable = true;
    return RL_STORE;
}

/* Keeps a batch that the server did not take for the reason in err. */
static rl_status fall_back(rl_journal *journal, const rl_batch *batch, rl_err *err)
{
    const rl_batch kept = {batch->runs, batch->count, RL_DISK, true};
    const rl_err reason = *err;
    rl_err own;
    rl_status status = append(journal, &kept, &own);

    return status == RL_OK ? RL_OK : refuse_both(err, &reason, &own);
}

/* A run that will never be taken is kept apart, and the caller is told both. */
static void keep_refused(rl_journal *journal, const rl_run *run, rl_err *err)
{
    rl_err own;
    char reason[RL_ERR_TEXT];

    if (rl_spool_refuse(journal->spool, run, err, &own) == RL_OK) {
        tell_rejected(journal, err);
        memcpy(reason, err->text, sizeof reason);
        snprintf(err->text, sizeof err->text,
                 "%.500s; the run is kept in the table journal_rejected of %.200s", reason,
                 rl_spool_path(journal->spool));
    }
}

rl_status rl_journal_write(void *ctx, const rl_batch *batch, rl_err *err)
{
    rl_journal *journal = ctx;
    rl_store *server = journal->server;
    bool prepared = false;
    rl_status status;

    if (rl_breaker_is_open(&journal->breaker)) {
        pthread_mutex_lock(&journal->lock);
        *err = journal->error;
        pthread_mutex_unlock(&journal->lock);
        return fall_back(journal, batch, err);
    }
    status = server->ops->prepare(server, err);
    if (status == RL_OK) {
        prepared = true;
        status = server->ops->write(server, batch, err);
    }
    if (status == RL_STORE && err->retryable) {
        note_away(journal, err);
        status = fall_back(journal, batch, err);
    } else if (status == RL_STORE && prepared && batch->count == 1) {
        keep_refused(journal, batch->runs[0], err);
    }
    return status;
}

/* A journal that can't be written to is no reason to lose a run while the server is well. */
static rl_status write_past(rl_journal *journal, const rl_batch *batch, rl_err *err)
{
    const rl_batch waiting = {batch->runs, batch->count, RL_SERVER, true};
    const rl_err reason = *err;
    rl_store *server = journal->server;
    rl_status status = server->ops->prepare(server, err);
    rl_err own;

    if (status == RL_OK) {
        status = server->ops->write(server, &waiting, err);
    }
    if (status == RL_STORE && err->retryable) {
        own = *err;
        note_away(journal, &own);
        status = refuse_both(err, &reason, &own);
    } else {
        tell_unusable(journal, &reason);
    }
    return status;
}

rl_status rl_journal_keep(void *ctx, const rl_batch *batch, rl_err *err)
{
    rl_journal *journal = ctx;
    rl_status status = append(journal, batch, err);
    rl_err away, own;

    if (status == RL_STORE || status == RL_CONFIG) {
        if (!batch->may_wait) {
            status = rl_err_set(err, RL_BUSY, "a server has to be waited for");
        } else if (rl_breaker_is_open(&journal->breaker)) {
            pthread_mutex_lock(&journal->lock);
            away = journal->error;
            pthread_mutex_unlock(&journal->lock);
            own = *err;
            status = refuse_both(err, &away, &own);
        } else {
            status = write_past(journal, batch, err);
        }
    }
    return status;
}

bool rl_journal_due(rl_journal *journal)
{
    uint64_t now;

    if (atomic_load_explicit(&journal->wake, memory_order_relaxed)) {
        atomic_store(&journal->wake, false);
        return true;
    }
    now = rl_monotonic_ns();
    if (now < atomic_load_explicit(&journal->look_at, memory_order_relaxed)) {
        return false;
    }
    atomic_store(&journal->look_at, now + LOOK_NS);
    return rl_breaker_is_open(&journal->breaker) || rl_spool_exists(journal->spool);
}

/* Takes the lease, unless a living process has it. */
static rl_status take_lease(rl_journal *journal, const char *self, bool *mine, rl_err *err)
{
    char holder[RL_SPOOL_OWNER];
    int64_t until, now = rl_time_now();
    rl_status status = rl_spool_holder(journal->spool, holder, &until, err);

    *mine = false;
    if (status == RL_OK) {
        /* an end that is too far off means that the clock was set back since */
        bool held = holder[0] != '\0' && strcmp(holder, self) != 0 && until > now &&
                    until <= now + 2 * LEASE_US && !rl_owner_is_gone(holder);

        if (!held) {
            status = rl_spool_take(journal->spool, holder, self, now + LEASE_US, mine, err);
        }
    }
    return status;
}

/* Marks a run of the batch as rejected, with its reason. */
static rl_status reject(rl_journal *journal, rl_spool_batch *batch, size_t at,
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
    tell_rejected(journal, reason);
    return RL_OK;
}

/* Writes each run of a batch alone, as the server refuses one of them. */
static rl_status forward_singly(rl_journal *journal, rl_spool_batch *batch, rl_err *err)
{
    rl_store *server = journal->server;
    rl_status status = RL_OK;

    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        rl_batch single = {batch->runs + i, 1, RL_SERVER, true};
        rl_err reason;

        status = server->ops->forward(server, &single, &reason);
        if (status == RL_STORE && reason.refused) {
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
    char self[RL_SPOOL_OWNER]; /* the holder of the lease */
    rl_spool_batch batch;
    bool busy;          /* another process is at it */
    bool server_failed; /* else it is the journal's file */
} forwarding;

/* A batch of none asks whether the server is there. */
static rl_status forward_batch(rl_journal *journal, forwarding *work, rl_err *err)
{
    rl_store *server = journal->server;
    rl_spool_batch *batch = &work->batch;
    const rl_batch whole = {batch->runs, batch->count, RL_SERVER, true};
    rl_status status = server->ops->prepare(server, err);

    if (status == RL_OK) {
        status = server->ops->forward(server, &whole, err);
        if (status == RL_STORE && err->refused) {
            status = forward_singly(journal, batch, err);
        }
    }
    work->server_failed = status != RL_OK;
    return status;
}

static void count_forwarded(rl_journal *journal, const rl_spool_batch *batch)
{
    uint64_t taken = 0;

    for (size_t i = 0; i < batch->count; i++) {
        taken += !batch->rejected[i];
    }
    rl_metric_add(&journal->metrics->forwarded, taken);
    pthread_mutex_lock(&journal->lock);
    pthread_cond_broadcast(&journal->moved);
    pthread_mutex_unlock(&journal->lock);
}

/* Forwards one batch. *more: there may be others, and the lease is held. */
static rl_status forward_next(rl_journal *journal, forwarding *work, bool *more,
                              rl_err *err)
{
    rl_spool_batch *batch = &work->batch;
    bool mine = false;
    rl_status status;
    rl_err ignored;

    atomic_store(&journal->pending, false); /* what comes from here on is read next */
    status = rl_spool_read(journal->spool, 0, batch, err);
    if (status == RL_OK) {
        status = forward_batch(journal, work, err);
    }
    if (status == RL_OK) {
        status = rl_spool_settle(journal->spool, batch, work->self,
                                 batch->last ? 0 : rl_time_now() + LEASE_US, &mine, err);
    }
    if (status == RL_OK) {
        count_forwarded(journal, batch);
        note_back(journal);
        if (rl_spool_due(journal->spool)) { /* this may go on for long */
            (void)rl_spool_tend(journal->spool, &ignored);
        }
        if (mine && batch->last) {
            atomic_store(&journal->unsettled, false);
            if (atomic_load(&journal->pending)) {
                atomic_store(&journal->unsettled, true);
            }
        }
    }
    *more = status == RL_OK && mine && !batch->last;
    return status;
}

/* Forwards batch after batch while the lease is held. */
static rl_status forward_leased(rl_journal *journal, forwarding *work, rl_err *err)
{
    rl_status status;
    bool more = true, mine;
    rl_err ignored;

    do {
        status = forward_next(journal, work, &more, err);
    } while (more && !atomic_load(work->stop));
    if (status != RL_OK || more) { /* another process may try */
        atomic_store(&journal->pending, true);
        work->batch.count = 0;
        (void)rl_spool_settle(journal->spool, &work->batch, work->self, 0, &mine,
                              &ignored);
    }
    return status;
}

static rl_status forward_all(rl_journal *journal, forwarding *work, rl_err *err)
{
    char process[RL_OWNER_TEXT];
    bool mine = false;
    rl_status status = rl_spool_open(journal->spool, err);

    rl_owner_self(process);
    snprintf(work->self, sizeof work->self, "%.110s %u", process, journal->number);
    if (status == RL_OK) {
        status = take_lease(journal, work->self, &mine, err);
    }
    work->busy = status == RL_OK && !mine;
    if (mine) {
        status = forward_leased(journal, work, err);
    }
    return status;
}

/* Whether there is anything in the journal, ours or another process's. */
static bool is_empty(rl_journal *journal)
{
    rl_spool_state state = {0};
    rl_err ignored;

    return !rl_spool_exists(journal->spool) ||
           (rl_spool_open(journal->spool, &ignored) == RL_OK &&
            rl_spool_look(journal->spool, &state, &ignored) == RL_OK && state.last == 0);
}

/* The journal's own file fails: the server may be well. */
static void note_broken(rl_journal *journal, const rl_err *err)
{
    tell_unusable(journal, err);
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
            status = forward_batch(journal, work, &err);
            if (status == RL_OK) {
                note_back(journal);
            }
        }
    }
    if (status != RL_OK && !atomic_load(work->stop)) {
        if (work->server_failed) {
            note_away(journal, &err);
        } else {
            note_broken(journal, &err);
        }
    }
    return status == RL_OK;
}

uint64_t rl_journal_forward(rl_journal *journal, const atomic_bool *stop)
{
    uint64_t now = rl_monotonic_ns(), again = now + LOOK_NS;
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
    tell_moved(journal);
    rl_spool_batch_free(&work->batch);
    rl_free(work);
    return again;
}

void rl_journal_hurry(rl_journal *journal)
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
    rl_spool_state state = {0};
    int64_t target = -1;
    rl_status status = RL_OK;

    while (rl_spool_exists(journal->spool)) {
        status = rl_spool_open(journal->spool, err);
        if (status == RL_OK) {
            status = rl_spool_look(journal->spool, &state, err);
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

void rl_journal_look(rl_journal *journal, rl_journal_stats *stats)
{
    rl_spool_state state = {0};
    rl_err ignored;

    if (rl_spool_exists(journal->spool) &&
        rl_spool_open(journal->spool, &ignored) == RL_OK) {
        (void)rl_spool_look(journal->spool, &state, &ignored);
    }
    stats->waiting = state.last > 0 ? state.last - state.first + 1 : 0;
    stats->rejected = state.rejected;
    pthread_mutex_lock(&journal->lock);
    stats->away = rl_breaker_is_open(&journal->breaker);
    memcpy(stats->error, stats->away ? journal->error.text : "",
           stats->away ? sizeof stats->error : 1);
    pthread_mutex_unlock(&journal->lock);
}

bool rl_journal_tend_due(rl_journal *journal)
{
    return rl_spool_due(journal->spool);
}

rl_status rl_journal_tend(rl_journal *journal, rl_err *err)
{
    return rl_spool_tend(journal->spool, err);
}

void rl_journal_before_fork(rl_journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    rl_spool_before_fork(journal->spool);
}

void rl_journal_after_fork(rl_journal *journal, bool in_child)
{
    rl_spool_after_fork(journal->spool);
    if (in_child) {
        atomic_store(&journal->wake, true);
        rl_cond_init(&journal->moved); /* who waited there is not in this process */
    }
    pthread_mutex_unlock(&journal->lock);
}
