/* The companion that indexes words. See words.h. */
#include "words/words.h"

#include "core/alloc.h"
#include "core/lock.h"
#include "record/recorder/lost.h"
#include "record/recorder/recorder.h"
#include "record/worker.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Between two passes: for more runs to gather, as a batch of a hundred costs a third of
 * its runs one by one; for a thread that nobody wakes, as open runs become due; after an
 * error; and if another process was at it. */
#define GATHER_NS UINT64_C(1000000000)
#define IDLE_NS UINT64_C(5000000000)
#define BROKEN_NS UINT64_C(1000000000)
#define BUSY_NS UINT64_C(100000000)
#define PAUSE_MAX_NS UINT64_C(20000000) /* between two batches */
#define CATCH_UP_NS UINT64_C(1000000000)

struct rl_words {
    rl_companion companion; /* first, so that a pointer to it is one to the whole */
    rl_words_mode mode;
    rl_recorder *recorder; /* borrowed, as the store */
    rl_store *store;
    rl_words_index *index; /* owned; NULL before start */
    rl_worker worker;
    atomic_bool pending; /* the thread was woken, and has not begun its pass */
    atomic_bool urgent;  /* a search waits for the pass */
    /* of the thread: no pass before; and how many have failed in a row */
    uint64_t next_at;
    unsigned failures;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    uint64_t asked,
        done; /* searches that wait for a pass; those for which one was done */
    rl_words_stats stats;
};

rl_words *rl_words_of(rl_companion *companion)
{
    return (rl_words *)companion;
}

rl_companion *rl_words_companion(rl_words *words)
{
    return &words->companion;
}

/* Indexes batch after batch. Between them others get the lock as long as this had it. */
static rl_status index_all(rl_words *words, const atomic_bool *stop, rl_err *err)
{
    rl_status status = words->store->ops->prepare(words->store, err);
    bool more = status == RL_OK;

    while (more && !atomic_load(stop)) {
        uint64_t start = rl_monotonic_ns(), took;
        struct timespec pause = {0, 0};

        status = words->index->ops->work(words->index, stop, &more, err);
        more = more && status == RL_OK;
        took = rl_monotonic_ns() - start;
        pause.tv_nsec = (long)(took < PAUSE_MAX_NS ? took : PAUSE_MAX_NS);
        if (more && !atomic_load(&words->urgent)) {
            nanosleep(&pause, NULL);
        }
        if (words->store->ops->needs_checkpoint != NULL &&
            words->store->ops->needs_checkpoint(words->store)) {
            rl_err ignored;

            (void)words->store->ops->checkpoint(words->store, &ignored);
        }
    }
    return status;
}

/* After a pass: when there may be the next one, and returns when there is one although
 * nobody wakes the thread. A server that is away is asked ever less often. */
static uint64_t next_pass(rl_words *words, rl_status status)
{
    const uint64_t now = rl_monotonic_ns();
    uint64_t broken = BROKEN_NS << (words->failures < 5 ? words->failures : 5);

    words->failures = status == RL_OK || status == RL_BUSY ? 0 : words->failures + 1;
    words->next_at = now + (status == RL_OK     ? GATHER_NS
                            : status == RL_BUSY ? BUSY_NS
                                                : broken);
    return status == RL_OK ? now + IDLE_NS : words->next_at;
}

/* A pass of the thread. */
static uint64_t work(void *ctx, const atomic_bool *stop)
{
    rl_words *words = ctx;
    uint64_t now = rl_monotonic_ns(), asked;
    rl_err err = {.code = RL_OK};
    rl_status status;

    if (now < words->next_at && !atomic_load(&words->urgent)) {
        return words->next_at;
    }
    atomic_store(&words->pending, false);
    atomic_store(&words->urgent, false);
    pthread_mutex_lock(&words->lock);
    asked = words->asked;
    pthread_mutex_unlock(&words->lock);
    status = index_all(words, stop, &err);
    pthread_mutex_lock(&words->lock);
    if (status != RL_BUSY) {
        words->done = asked;
        snprintf(words->stats.error, sizeof words->stats.error, "%s",
                 status == RL_OK ? "" : err.text);
    }
    pthread_cond_broadcast(&words->changed);
    pthread_mutex_unlock(&words->lock);
    return next_pass(words, status);
}

static rl_status start(rl_companion *companion, const rl_companion_host *host,
                       rl_err *err)
{
    rl_words *words = rl_words_of(companion);
    rl_status status =
        rl_sqlite_file_of(host->store) != NULL
            ? rl_sqlite_words_new(host->store, words->mode, &words->index, err)
            : rl_pg_words_new(host->store, &words->index, err);

    words->recorder = host->recorder;
    words->store = host->store;
    words->next_at = rl_monotonic_ns() + GATHER_NS; /* not beside the first commits */
    return status;
}

static void notify(rl_companion *companion)
{
    rl_words *words = rl_words_of(companion);

    if (words->mode != RL_WORDS_OFF && !atomic_exchange(&words->pending, true) &&
        !rl_worker_wake(&words->worker)) {
        atomic_store(&words->pending, false); /* the next call tries again */
    }
}

static bool has_work(rl_companion *companion)
{
    (void)companion;
    return false;
}

/* Nobody waits for the index but a search: whoever comes next goes on with it. */
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
    return rl_worker_stop(&rl_words_of(companion)->worker, end);
}

static void close_nothing(rl_companion *companion)
{
    (void)companion;
}

static void before_fork(rl_companion *companion)
{
    rl_words *words = rl_words_of(companion);

    rl_worker_before_fork(&words->worker);
    pthread_mutex_lock(&words->lock);
}

static void after_fork(rl_companion *companion, bool in_child)
{
    rl_words *words = rl_words_of(companion);

    if (in_child) {
        rl_cond_init(&words->changed);
        words->index->ops->after_fork(words->index);
        words->next_at = 0;
        atomic_store(&words->pending, false);
        atomic_store(&words->urgent, false);
    }
    pthread_mutex_unlock(&words->lock);
    rl_worker_after_fork(&words->worker, in_child);
}

static void free_words(rl_companion *companion)
{
    rl_words *words = rl_words_of(companion);

    if (words->index != NULL) {
        words->index->ops->free(words->index);
    }
    rl_worker_destroy(&words->worker);
    pthread_cond_destroy(&words->changed);
    pthread_mutex_destroy(&words->lock);
    rl_free(words);
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
    .free = free_words,
};

rl_status rl_words_new(rl_words_mode mode, rl_words **out, rl_err *err)
{
    rl_words *words = rl_calloc(1, sizeof *words);

    if (words == NULL) {
        return rl_err_nomem(err);
    }
    words->companion.ops = &ops;
    words->mode = mode;
    pthread_mutex_init(&words->lock, NULL);
    rl_cond_init(&words->changed);
    rl_worker_init(&words->worker, work, words);
    *out = words;
    return RL_OK;
}

/* Waits for a pass of the thread that begins after this, but not for long. False if there
 * was none. */
static bool catch_up(rl_words *words)
{
    const uint64_t end = rl_monotonic_ns() + CATCH_UP_NS;
    const struct timespec until = rl_timespec(end);
    uint64_t mine;
    bool done;
    int rc = 0;

    pthread_mutex_lock(&words->lock);
    mine = ++words->asked;
    atomic_store(&words->urgent, true);
    if (rl_worker_wake(&words->worker)) {
        while (words->done < mine && rc == 0) {
            rc = rl_cond_timedwait(&words->changed, &words->lock, &until);
        }
    }
    done = words->done >= mine;
    pthread_mutex_unlock(&words->lock);
    return done;
}

/* Reads the runs found that match the filters, which also know which runs are lost. */
static rl_status read_runs(rl_words *words, const rl_words_query *query,
                           rl_words_found *found, rl_rows *rows, rl_err *err)
{
    rl_query wanted;

    if (found->count == 0) {
        return RL_OK;
    }
    for (size_t i = 0; i + 1 < found->ids.len; i++) {
        if (found->ids.data[i] == '\0') {
            found->ids.data[i] = ',';
        }
    }
    rl_query_init(&wanted, RL_SHAPE_SUMMARY);
    wanted.ids = found->ids.data;
    wanted.texts[RL_WPK_ID] = query->wpk_id;
    wanted.texts[RL_STATUS] = query->status;
    wanted.since = query->since;
    wanted.limit = (int64_t)found->count;
    return rl_lost_query(words->store, &wanted, rows, err);
}

/* Asks for more runs than the limit, four times as many each time, as long as too few of
 * them match. */
static rl_status find_runs(rl_words *words, const rl_words_query *query, rl_rows *rows,
                           int64_t *waiting, rl_err *err)
{
    const size_t first = rl_rows_cells(rows), texts = rows->arena.len;
    rl_words_query asked = *query;
    rl_words_found found = {.count = 0};
    rl_status status;
    size_t width, count;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    rl_buf_init(&found.ids, RL_BUF_MAX);
    do {
        rows->cells.len = first * sizeof(rl_cell);
        rows->arena.len = texts;
        status = words->index->ops->find(words->index, &asked, &found, err);
        if (status == RL_OK) {
            status = read_runs(words, query, &found, rows, err);
        }
        count = (rl_rows_cells(rows) - first) / width;
        asked.limit *= 4;
    } while (status == RL_OK && count < query->limit && found.count == asked.limit / 4);
    if (count > query->limit) {
        rows->cells.len = (first + query->limit * width) * sizeof(rl_cell);
    }
    *waiting = found.waiting;
    rl_buf_free(&found.ids);
    return status;
}

rl_status rl_words_search(rl_words *words, const rl_words_query *query, rl_rows *rows,
                          int64_t *waiting, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(words->recorder, err);

    if (status == RL_OK) {
        if (words->mode != RL_WORDS_OFF) {
            (void)catch_up(words);
        }
        status = find_runs(words, query, rows, waiting, err);
        rl_recorder_leave(words->recorder);
    }
    return status;
}

/* Lets a caller in who has this recorder's thread index runs. */
static rl_status enter_to_fill(rl_words *words, rl_err *err)
{
    return words->mode != RL_WORDS_OFF
               ? rl_recorder_enter_to_query(words->recorder, err)
               : rl_err_set(err, RL_CONFIG,
                            "RUNLOG_WORDS is 0: this process fills no index");
}

rl_status rl_words_reset(rl_words *words, rl_words_mode mode, rl_err *err)
{
    rl_status status = enter_to_fill(words, err);

    if (status == RL_OK) {
        status = words->index->ops->reset(words->index, mode, err);
        rl_recorder_leave(words->recorder);
    }
    return status;
}

/* Why the last pass has failed, if it has. */
static rl_status last_failure(rl_words *words, rl_err *err)
{
    rl_words_stats stats;

    rl_words_get_stats(words, &stats);
    return stats.error[0] != '\0' ? rl_err_set(err, RL_STORE, "%s", stats.error) : RL_OK;
}

rl_status rl_words_waiting(rl_words *words, int64_t *waiting, rl_err *err)
{
    rl_status status = enter_to_fill(words, err);

    if (status == RL_OK) {
        status = words->index->ops->waiting(words->index, waiting, err);
        rl_recorder_leave(words->recorder);
    }
    return status;
}

rl_status rl_words_fill(rl_words *words, bool *done, rl_err *err)
{
    rl_status status = enter_to_fill(words, err);

    if (status == RL_OK) {
        *done = catch_up(words);
        status = *done ? last_failure(words, err) : RL_OK;
        rl_recorder_leave(words->recorder);
    }
    return status;
}

void rl_words_get_stats(rl_words *words, rl_words_stats *stats)
{
    pthread_mutex_lock(&words->lock);
    *stats = words->stats;
    pthread_mutex_unlock(&words->lock);
}
