/* The companion that counts. See rollup.h. */
#include "rollup/rollup.h"

#include "core/alloc.h"
#include "core/lock.h"
#include "record/recorder/recorder.h"
#include "record/worker.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Until the next pass: when nobody asks; after an error; if another process was at it. */
#define IDLE_NS (UINT64_C(3600) * 1000000000)
#define BROKEN_NS UINT64_C(1000000000)
#define BUSY_NS UINT64_C(50000000)
#define PAUSE_MAX_NS UINT64_C(20000000) /* between two steps that nobody waits for */
#define FILL_NS UINT64_C(1000000000)

struct rl_rollup {
    rl_companion companion; /* first, so that a pointer to it is one to the whole */
    rl_recorder *recorder;  /* borrowed, as the store and the notices */
    rl_store *store;
    rl_notices *notices;
    rl_rollup_db *db; /* owned; NULL before start */
    rl_removal_hook removal_hook;
    rl_worker worker;
    atomic_uint waiters; /* calls that wait for a pass */
    /* of the thread: no pass before; how many failed in a row; whether it logged damage */
    uint64_t next_at;
    unsigned failures;
    bool damage_logged;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    uint64_t asked, done; /* calls that asked for a pass; those for which one was done */
    rl_rollup_stats stats;
};

rl_rollup *rl_rollup_of(rl_companion *companion)
{
    return (rl_rollup *)companion;
}

rl_companion *rl_rollup_companion(rl_rollup *rollup)
{
    return &rollup->companion;
}

static void log_damage(rl_rollup *rollup)
{
    if (!rollup->damage_logged) {
        rl_notices_add(rollup->notices, RL_NOTICE_WARNING,
                       "part of the roll-up is damaged, or of another version of "
                       "runlog: it is counted again");
    }
    rollup->damage_logged = true;
}

/* Counts step after step. Between them others get the lock as long as this had it. */
static rl_status count_all(rl_rollup *rollup, const atomic_bool *stop, rl_err *err)
{
    rl_status status = rollup->store->ops->prepare(rollup->store, err);
    bool more = status == RL_OK;

    while (more && !atomic_load(stop)) {
        const uint64_t start = rl_monotonic_ns();
        uint64_t took, counted = 0;
        unsigned damaged = 0;
        struct timespec pause = {0, 0};

        status = rollup->db->ops->work(rollup->db, stop, &more, &counted, &damaged, err);
        more = more && status == RL_OK;
        pthread_mutex_lock(&rollup->lock);
        rollup->stats.counted += counted;
        pthread_mutex_unlock(&rollup->lock);
        if (damaged > 0) {
            log_damage(rollup);
        }
        took = rl_monotonic_ns() - start;
        pause.tv_nsec = (long)(took < PAUSE_MAX_NS ? took : PAUSE_MAX_NS);
        if (more && atomic_load(&rollup->waiters) == 0) {
            nanosleep(&pause, NULL);
        }
        if (rollup->store->ops->needs_checkpoint != NULL &&
            rollup->store->ops->needs_checkpoint(rollup->store)) {
            rl_err ignored;

            (void)rollup->store->ops->checkpoint(rollup->store, &ignored);
        }
    }
    return status;
}

/* Says once that nothing can be counted, and once that it can again. */
static void note_result(rl_rollup *rollup, rl_status status, const rl_err *err,
                        bool stopped)
{
    const unsigned before = rollup->failures;

    if (status != RL_BUSY && !stopped) {
        rollup->failures = status == RL_OK ? 0 : before + 1;
    }
    if (before == 0 && rollup->failures > 0) {
        rl_notices_add(rollup->notices, RL_NOTICE_WARNING,
                       "new runs can't be counted in the roll-up, so its figures stay as "
                       "they are: %s",
                       err->text);
    } else if (before > 0 && rollup->failures == 0) {
        rl_notices_add(rollup->notices, RL_NOTICE_WARNING,
                       "new runs are counted in the roll-up again");
    }
}

/* A pass of the thread. */
static uint64_t work(void *ctx, const atomic_bool *stop)
{
    rl_rollup *rollup = ctx;
    const uint64_t now = rl_monotonic_ns();
    rl_err err = {.code = RL_OK};
    uint64_t asked, broken;
    rl_status status;
    bool wanted;

    pthread_mutex_lock(&rollup->lock);
    asked = rollup->asked;
    wanted = asked > rollup->done;
    pthread_mutex_unlock(&rollup->lock);
    if (!wanted) {
        return now + IDLE_NS;
    }
    if (now < rollup->next_at && rollup->failures > 1) {
        return rollup->next_at;
    }
    status = count_all(rollup, stop, &err);
    note_result(rollup, status, &err, atomic_load(stop));
    broken = BROKEN_NS << (rollup->failures < 5 ? rollup->failures : 5);
    pthread_mutex_lock(&rollup->lock);
    if (status != RL_BUSY && !atomic_load(stop)) {
        rollup->done = asked;
        snprintf(rollup->stats.error, sizeof rollup->stats.error, "%s",
                 status == RL_OK ? "" : err.text);
        pthread_cond_broadcast(&rollup->changed);
    }
    wanted = rollup->asked > rollup->done;
    pthread_mutex_unlock(&rollup->lock);
    rollup->next_at = rl_monotonic_ns() + (status == RL_BUSY ? BUSY_NS
                                           : status == RL_OK ? 0
                                                             : broken);
    return wanted ? rollup->next_at : rl_monotonic_ns() + IDLE_NS;
}

static rl_status start(rl_companion *companion, const rl_companion_host *host,
                       rl_err *err)
{
    rl_rollup *rollup = rl_rollup_of(companion);
    rl_status status;

    rollup->recorder = host->recorder;
    rollup->store = host->store;
    rollup->notices = host->notices;
    status = rl_sqlite_file_of(host->store) != NULL
                 ? rl_sqlite_rollup_new(host->store, &rollup->db, err)
                 : rl_pg_rollup_new(host->store, &rollup->db, err);
    if (status == RL_OK) {
        rollup->removal_hook = rollup->db->ops->removal_hook;
        rollup->removal_hook.ctx = rollup->db;
        rollup->companion.removal_hook = &rollup->removal_hook;
    }
    return status;
}

/* Nobody waits for the roll-up but who asks for it. */
static void notify(rl_companion *companion)
{
    (void)companion;
}

static bool has_work(rl_companion *companion)
{
    (void)companion;
    return false;
}

static rl_status drain(rl_companion *companion, uint64_t end, bool patient, rl_err *err)
{
    (void)companion;
    (void)end;
    (void)patient;
    (void)err;
    return RL_OK;
}

static bool stop(rl_companion *companion, uint64_t end)
{
    return rl_worker_stop(&rl_rollup_of(companion)->worker, end);
}

static void close_nothing(rl_companion *companion)
{
    (void)companion;
}

static void before_fork(rl_companion *companion)
{
    rl_rollup *rollup = rl_rollup_of(companion);

    rl_worker_before_fork(&rollup->worker);
    pthread_mutex_lock(&rollup->lock);
}

static void after_fork(rl_companion *companion, bool in_child)
{
    rl_rollup *rollup = rl_rollup_of(companion);

    if (in_child) {
        rl_cond_init(&rollup->changed);
        rollup->db->ops->after_fork(rollup->db);
        rollup->next_at = 0;
        rollup->done = rollup->asked; /* they wait in the parent */
        atomic_store(&rollup->waiters, 0);
    }
    pthread_mutex_unlock(&rollup->lock);
    rl_worker_after_fork(&rollup->worker, in_child);
}

static void free_rollup(rl_companion *companion)
{
    rl_rollup *rollup = rl_rollup_of(companion);

    if (rollup->db != NULL) {
        rollup->db->ops->free(rollup->db);
    }
    rl_worker_destroy(&rollup->worker);
    pthread_cond_destroy(&rollup->changed);
    pthread_mutex_destroy(&rollup->lock);
    rl_free(rollup);
}

static const rl_companion_ops ops = {
    .start = start,
    .notify = notify,
    .has_work = has_work,
    .drain = drain,
    .stop = stop,
    .close = close_nothing,
    .before_fork = before_fork,
    .after_fork = after_fork,
    .free = free_rollup,
};

rl_status rl_rollup_new(rl_rollup **out, rl_err *err)
{
    rl_rollup *rollup = rl_calloc(1, sizeof *rollup);

    if (rollup == NULL) {
        return rl_err_nomem(err);
    }
    rollup->companion.ops = &ops;
    pthread_mutex_init(&rollup->lock, NULL);
    rl_cond_init(&rollup->changed);
    rl_worker_init(&rollup->worker, work, rollup);
    *out = rollup;
    return RL_OK;
}

/* Asks for a pass, and waits for one that begins after this, but not for long. False if
 * there was none. */
static bool catch_up(rl_rollup *rollup, uint64_t wait_ns)
{
    const struct timespec until = rl_timespec(rl_monotonic_ns() + wait_ns);
    uint64_t mine;
    bool done;
    int rc = 0;

    atomic_fetch_add(&rollup->waiters, 1);
    pthread_mutex_lock(&rollup->lock);
    mine = ++rollup->asked;
    if (rl_worker_wake(&rollup->worker) && wait_ns > 0) {
        while (rollup->done < mine && rc == 0) {
            rc = rl_cond_timedwait(&rollup->changed, &rollup->lock, &until);
        }
    }
    done = rollup->done >= mine;
    pthread_mutex_unlock(&rollup->lock);
    atomic_fetch_sub(&rollup->waiters, 1);
    return done;
}

rl_status rl_rollup_read(rl_rollup *rollup, const rl_rollup_query *query,
                         uint64_t wait_ns, rl_rollup_rows *rows, int64_t *waiting,
                         rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(rollup->recorder, err);

    if (status == RL_OK) {
        (void)catch_up(rollup, wait_ns);
        status = rollup->db->ops->read(rollup->db, query, rows, waiting, err);
        rl_recorder_leave(rollup->recorder);
    }
    return status;
}

void rl_rollup_mark(rl_rollup *rollup, rl_level level, const rl_rollup_row *row)
{
    rl_err ignored;

    if (rl_recorder_enter(rollup->recorder, &ignored) == RL_OK) {
        (void)rollup->db->ops->mark(rollup->db, level, row->wpk_id, row->from, &ignored);
        (void)catch_up(rollup, 0);
        rl_recorder_leave(rollup->recorder);
    }
}

rl_status rl_rollup_reset(rl_rollup *rollup, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(rollup->recorder, err);

    if (status == RL_OK) {
        status = rollup->db->ops->reset(rollup->db, err);
        rl_recorder_leave(rollup->recorder);
    }
    return status;
}

rl_status rl_rollup_waiting(rl_rollup *rollup, int64_t *waiting, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(rollup->recorder, err);

    if (status == RL_OK) {
        status = rollup->db->ops->waiting(rollup->db, waiting, err);
        rl_recorder_leave(rollup->recorder);
    }
    return status;
}

rl_status rl_rollup_get_size(rl_rollup *rollup, rl_rollup_size *size, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(rollup->recorder, err);

    if (status == RL_OK) {
        status = rollup->db->ops->size(rollup->db, size, err);
        rl_recorder_leave(rollup->recorder);
    }
    return status;
}

/* Why the last pass has failed, if it has. */
static rl_status last_failure(rl_rollup *rollup, rl_err *err)
{
    rl_rollup_stats stats;

    rl_rollup_get_stats(rollup, &stats);
    return stats.error[0] != '\0' ? rl_err_set(err, RL_STORE, "%s", stats.error) : RL_OK;
}

rl_status rl_rollup_fill(rl_rollup *rollup, bool *done, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(rollup->recorder, err);

    if (status == RL_OK) {
        *done = catch_up(rollup, FILL_NS);
        status = *done ? last_failure(rollup, err) : RL_OK;
        rl_recorder_leave(rollup->recorder);
    }
    return status;
}

void rl_rollup_get_stats(rl_rollup *rollup, rl_rollup_stats *stats)
{
    pthread_mutex_lock(&rollup->lock);
    *stats = rollup->stats;
    pthread_mutex_unlock(&rollup->lock);
}
