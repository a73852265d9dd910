/* The indexer's threads, and the calls that wait for them. See indexer.h. */
#include "meaning/index/indexer.h"

#include "core/lock.h"

#include <string.h>

/* Between two rounds: for more runs to gather; for a thread that nobody wakes; and after
 * an error of the database. */
#define GATHER_NS UINT64_C(50000000)
#define IDLE_NS UINT64_C(30000000000)
#define BROKEN_NS UINT64_C(1000000000)
#define DRAIN_STEP_NS UINT64_C(50000000)

static bool embeds(const rl_indexer *indexer)
{
    return indexer->parts.services->options.openai.key != NULL;
}

static bool upserts(const rl_indexer *indexer)
{
    return indexer->parts.services->options.milvus.endpoint != NULL;
}

static bool may_ask(const rl_index_stage *stage, const atomic_bool *stop)
{
    return !atomic_load(stop) && !atomic_load(&stage->parts->services->stop) &&
           rl_server_health_may_ask(&stage->health, rl_monotonic_ns());
}

static void wake(rl_index_stage *stage)
{
    if (!atomic_exchange(&stage->pending, true) && !rl_worker_wake(&stage->worker)) {
        atomic_store(&stage->pending, false); /* the next call tries again */
    }
}

/* The embedded rows are the next work of Milvus's stage. */
static void wake_milvus(rl_indexer *indexer)
{
    if (upserts(indexer)) {
        wake(&indexer->milvus);
    }
}

/* When the thread starts a round although nobody wakes it: monotonic nanoseconds. */
static uint64_t next_round_at(const rl_index_stage *stage)
{
    uint64_t again = stage->worked_at + IDLE_NS,
             at = rl_server_health_again_at(&stage->health);

    if (at != 0 && at < again) {
        again = at > stage->worked_at ? at : stage->worked_at + BROKEN_NS;
    }
    return again;
}

/* Prepares a round; false when there can be none now, and then *again says when. */
static bool begin_round(rl_index_stage *stage, uint64_t *again)
{
    rl_store *store = stage->parts->store;
    uint64_t now = rl_monotonic_ns();
    rl_err ignored;

    if (now < stage->worked_at + GATHER_NS) {
        *again = stage->worked_at + GATHER_NS;
        return false;
    }
    atomic_store(&stage->pending, false);
    if (store->ops->prepare(store, &ignored) != RL_OK) { /* the store logs its errors */
        *again = now + BROKEN_NS;
        return false;
    }
    *again = now;
    return rl_services_take(stage->parts->services, now + BROKEN_NS, &stage->set,
                            &ignored) == RL_OK;
}

static uint64_t end_round(rl_index_stage *stage)
{
    rl_services_give(stage->parts->services, stage->set);
    stage->worked_at = rl_monotonic_ns();
    return next_round_at(stage);
}

/* A pass of the thread that embeds. */
static uint64_t embed_rows(void *ctx, const atomic_bool *stop)
{
    rl_indexer *indexer = ctx;
    rl_index_stage *stage = &indexer->openai;
    uint64_t again;

    if (begin_round(stage, &again)) {
        while (may_ask(stage, stop) && rl_index_embed(stage)) {
            wake_milvus(indexer);
        }
        again = end_round(stage);
        wake_milvus(indexer); /* for the rows of deleted runs */
    }
    return again;
}

/* A pass of the thread that works with Milvus. */
static uint64_t index_rows(void *ctx, const atomic_bool *stop)
{
    rl_indexer *indexer = ctx;
    rl_index_stage *stage = &indexer->milvus;
    uint64_t again;
    bool worked;

    if (begin_round(stage, &again)) {
        do {
            worked = may_ask(stage, stop) && rl_index_upsert(stage);
            worked = (may_ask(stage, stop) && rl_index_remove(stage)) || worked;
        } while (worked);
        again = end_round(stage);
    }
    return again;
}

/* What only the thread of the stage uses. */
static void init_work(rl_index_stage *stage)
{
    stage->batch = RL_INDEX_TEXTS;
    rl_outbox_jobs_init(&stage->jobs);
    rl_buf_init(&stage->texts, RL_BUF_MAX);
}

static void init_stage(rl_index_stage *stage, rl_indexer *indexer, const char *name,
                       rl_worker_work work)
{
    stage->parts = &indexer->parts;
    stage->progress = &indexer->progress;
    rl_server_health_init(&stage->health, name, indexer->parts.notices);
    rl_server_health_init(&stage->database, name, indexer->parts.notices);
    rl_worker_init(&stage->worker, work, indexer);
    init_work(stage);
}

static void destroy_stage(rl_index_stage *stage)
{
    rl_outbox_jobs_free(&stage->jobs);
    rl_buf_free(&stage->texts);
    rl_server_health_destroy(&stage->health);
    rl_server_health_destroy(&stage->database);
    rl_worker_destroy(&stage->worker);
}

void rl_indexer_init(rl_indexer *indexer, const rl_index_parts *parts)
{
    memset(indexer, 0, sizeof *indexer);
    indexer->parts = *parts;
    pthread_mutex_init(&indexer->progress.lock, NULL);
    rl_cond_init(&indexer->progress.changed);
    init_stage(&indexer->openai, indexer, "embedding", embed_rows);
    init_stage(&indexer->milvus, indexer, "indexing in Milvus", index_rows);
}

void rl_indexer_destroy(rl_indexer *indexer)
{
    destroy_stage(&indexer->openai);
    destroy_stage(&indexer->milvus);
    pthread_cond_destroy(&indexer->progress.changed);
    pthread_mutex_destroy(&indexer->progress.lock);
}

/* The thread that embeds wakes the one of Milvus. */
void rl_indexer_notify(rl_indexer *indexer)
{
    wake(embeds(indexer) ? &indexer->openai : &indexer->milvus);
}

/* Counts the rows that can be done: those that wait for a server that refuses can't. */
static rl_status count_left(rl_indexer *indexer, int64_t *left, rl_err *err)
{
    rl_outbox *outbox = indexer->parts.outbox;
    rl_outbox_counts counts;
    rl_status status = outbox->ops->count(outbox, upserts(indexer), &counts, err);

    *left = 0;
    if (status == RL_OK && embeds(indexer) &&
        !rl_server_health_refuses(&indexer->openai.health)) {
        *left += counts.rows[RL_OUTBOX_PENDING];
    }
    if (status == RL_OK && upserts(indexer) &&
        !rl_server_health_refuses(&indexer->milvus.health)) {
        *left += counts.rows[RL_OUTBOX_EMBEDDED] + counts.rows[RL_OUTBOX_DELETED];
    }
    return status;
}

static unsigned failures_of(rl_indexer *indexer)
{
    unsigned failures;

    pthread_mutex_lock(&indexer->progress.lock);
    failures = indexer->progress.failures;
    pthread_mutex_unlock(&indexer->progress.lock);
    return failures;
}

/* Waits until a stage reports progress, for DRAIN_STEP_NS at most. */
static void wait_for_progress(rl_indexer *indexer, uint64_t end)
{
    uint64_t step = rl_monotonic_ns() + DRAIN_STEP_NS;
    struct timespec until = rl_timespec(step < end ? step : end);

    pthread_mutex_lock(&indexer->progress.lock);
    (void)rl_cond_timedwait(&indexer->progress.changed, &indexer->progress.lock, &until);
    pthread_mutex_unlock(&indexer->progress.lock);
}

rl_status rl_indexer_drain(rl_indexer *indexer, uint64_t end, bool patient, rl_err *err)
{
    unsigned failures = failures_of(indexer);
    rl_status status;
    int64_t left;

    while ((status = count_left(indexer, &left, err)) == RL_OK && left > 0) {
        if (rl_monotonic_ns() >= end || (!patient && failures_of(indexer) != failures)) {
            status = RL_TIMEOUT;
            break;
        }
        rl_indexer_notify(indexer);
        wait_for_progress(indexer, end);
    }
    return status;
}

bool rl_indexer_stop(rl_indexer *indexer, uint64_t end)
{
    bool ended;

    atomic_store(&indexer->parts.services->stop, true);
    ended = rl_worker_stop(&indexer->openai.worker, end);
    return rl_worker_stop(&indexer->milvus.worker, end) && ended;
}

void rl_indexer_error(rl_indexer *indexer, char *text, size_t size)
{
    rl_server_health *const all[] = {&indexer->openai.health, &indexer->milvus.health,
                                     &indexer->openai.database,
                                     &indexer->milvus.database};

    text[0] = '\0';
    for (size_t i = 0; i < sizeof all / sizeof *all && text[0] == '\0'; i++) {
        rl_server_health_error(all[i], text, size);
    }
}

static void before_fork(rl_index_stage *stage)
{
    rl_worker_before_fork(&stage->worker);
    pthread_mutex_lock(&stage->health.lock);
    pthread_mutex_lock(&stage->database.lock);
}

static void after_fork(rl_index_stage *stage, bool in_child)
{
    if (in_child) { /* the parent's thread may have been changing these at the fork */
        init_work(stage);
        stage->worked_at = 0;
        atomic_store(&stage->pending, false);
    }
    pthread_mutex_unlock(&stage->database.lock);
    pthread_mutex_unlock(&stage->health.lock);
    rl_worker_after_fork(&stage->worker, in_child);
}

void rl_indexer_before_fork(rl_indexer *indexer)
{
    before_fork(&indexer->openai);
    before_fork(&indexer->milvus);
    pthread_mutex_lock(&indexer->progress.lock);
}

void rl_indexer_after_fork(rl_indexer *indexer, bool in_child)
{
    if (in_child) {
        rl_cond_init(&indexer->progress.changed);
    }
    pthread_mutex_unlock(&indexer->progress.lock);
    after_fork(&indexer->milvus, in_child);
    after_fork(&indexer->openai, in_child);
}
