/* The indexer's thread, and those who wait for it. See indexer.h. */
#include "meaning/index/indexer.h"

#include "core/lock.h"
#include "meaning/index/index_round.h"

#include <string.h>

#define GATHER_NS UINT64_C(50000000)   /* for more runs to come, between two rounds */
#define LOOK_NS UINT64_C(30000000000)  /* when a thread with nothing to do looks again */
#define BROKEN_NS UINT64_C(1000000000) /* and when one whose database has failed */
#define DRAIN_STEP_NS UINT64_C(50000000)

static bool embeds(const rl_indexer *indexer)
{
    return indexer->with.services->options.openai.key != NULL;
}

static bool upserts(const rl_indexer *indexer)
{
    return indexer->with.services->options.milvus.endpoint != NULL;
}

static bool may_ask(const rl_index_stage *stage, const atomic_bool *stop)
{
    return !atomic_load(stop) && !atomic_load(&stage->indexer->with.services->stop) &&
           rl_server_health_may_ask(&stage->health, rl_monotonic_ns());
}

static void hint(rl_index_stage *stage)
{
    if (!atomic_exchange(&stage->pending, true) && !rl_worker_wake(&stage->worker)) {
        atomic_store(&stage->pending, false); /* the next one tries again */
    }
}

/* What is embedded is Milvus's to have next. */
static void hint_milvus(rl_indexer *indexer)
{
    if (upserts(indexer)) {
        hint(&indexer->milvus);
    }
}

/* When the thread looks again by itself. */
static uint64_t next_look(const rl_index_stage *stage)
{
    uint64_t again = stage->worked_at + LOOK_NS,
             at = rl_server_health_again_at(&stage->health);

    if (at != 0 && at < again) {
        again = at > stage->worked_at ? at : stage->worked_at + BROKEN_NS;
    }
    return again;
}

/* Makes ready for a round; false when it can't be now, and then *again says when. */
static bool begin_round(rl_index_stage *stage, uint64_t *again)
{
    rl_indexer *indexer = stage->indexer;
    rl_store *store = indexer->with.store;
    uint64_t now = rl_monotonic_ns();
    rl_err ignored;

    if (now < stage->worked_at + GATHER_NS) {
        *again = stage->worked_at + GATHER_NS;
        return false;
    }
    atomic_store(&stage->pending, false);
    if (store->ops->prepare(store, &ignored) != RL_OK) { /* its own notices tell */
        *again = now + BROKEN_NS;
        return false;
    }
    *again = now;
    return rl_services_take(indexer->with.services, now + BROKEN_NS, &stage->set,
                            &ignored) == RL_OK;
}

static uint64_t end_round(rl_index_stage *stage)
{
    rl_services_give(stage->indexer->with.services, stage->set);
    stage->worked_at = rl_monotonic_ns();
    return next_look(stage);
}

/* The thread that embeds. */
static uint64_t embed(void *ctx, const atomic_bool *stop)
{
    rl_index_stage *stage = ctx;
    uint64_t again;

    if (begin_round(stage, &again)) {
        while (may_ask(stage, stop) && rl_index_embed(stage)) {
            hint_milvus(stage->indexer);
        }
        again = end_round(stage);
        hint_milvus(stage->indexer); /* for what there is to delete */
    }
    return again;
}

/* The thread that works with Milvus. */
static uint64_t index_rows(void *ctx, const atomic_bool *stop)
{
    rl_index_stage *stage = ctx;
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

/* What belongs to the thread at work. */
static void init_work(rl_index_stage *stage)
{
    stage->batch = RL_INDEX_TEXTS;
    rl_outbox_jobs_init(&stage->jobs);
    rl_buf_init(&stage->texts, RL_BUF_MAX);
}

static void init_stage(rl_index_stage *stage, rl_indexer *indexer, const char *what,
                       rl_worker_work work)
{
    stage->indexer = indexer;
    rl_server_health_init(&stage->health, what, indexer->with.notices);
    rl_worker_init(&stage->worker, work, stage);
    init_work(stage);
}

static void destroy_stage(rl_index_stage *stage)
{
    rl_outbox_jobs_free(&stage->jobs);
    rl_buf_free(&stage->texts);
    rl_server_health_destroy(&stage->health);
    rl_worker_destroy(&stage->worker);
}

void rl_indexer_init(rl_indexer *indexer, const rl_index_parts *parts)
{
    memset(indexer, 0, sizeof *indexer);
    indexer->with = *parts;
    pthread_mutex_init(&indexer->lock, NULL);
    rl_cond_init(&indexer->moved);
    init_stage(&indexer->openai, indexer, "embedding", embed);
    init_stage(&indexer->milvus, indexer, "indexing in Milvus", index_rows);
}

void rl_indexer_destroy(rl_indexer *indexer)
{
    destroy_stage(&indexer->openai);
    destroy_stage(&indexer->milvus);
    pthread_cond_destroy(&indexer->moved);
    pthread_mutex_destroy(&indexer->lock);
}

/* The thread that embeds passes it on. */
void rl_indexer_notify(rl_indexer *indexer)
{
    hint(embeds(indexer) ? &indexer->openai : &indexer->milvus);
}

/* How much can be done still: what waits for a server that refuses can't. */
static rl_status count_left(rl_indexer *indexer, int64_t *left, rl_err *err)
{
    rl_outbox *outbox = indexer->with.outbox;
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

    pthread_mutex_lock(&indexer->lock);
    failures = indexer->failures;
    pthread_mutex_unlock(&indexer->lock);
    return failures;
}

/* Waits for news from the thread, or a moment. */
static void wait_for_news(rl_indexer *indexer, uint64_t end)
{
    uint64_t step = rl_monotonic_ns() + DRAIN_STEP_NS;
    struct timespec until = rl_timespec(step < end ? step : end);

    pthread_mutex_lock(&indexer->lock);
    (void)pthread_cond_timedwait(&indexer->moved, &indexer->lock, &until);
    pthread_mutex_unlock(&indexer->lock);
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
        wait_for_news(indexer, end);
    }
    return status;
}

bool rl_indexer_stop(rl_indexer *indexer, uint64_t end)
{
    bool ended;

    atomic_store(&indexer->with.services->stop, true);
    ended = rl_worker_stop(&indexer->openai.worker, end);
    return rl_worker_stop(&indexer->milvus.worker, end) && ended;
}

void rl_indexer_error(rl_indexer *indexer, char *text, size_t size)
{
    rl_server_health_error(&indexer->openai.health, text, size);
    if (text[0] == '\0') {
        rl_server_health_error(&indexer->milvus.health, text, size);
    }
}

static void before_fork(rl_index_stage *stage)
{
    rl_worker_before_fork(&stage->worker);
    pthread_mutex_lock(&stage->health.lock);
}

static void after_fork(rl_index_stage *stage, bool in_child)
{
    if (in_child) { /* what it was at is the parent's, and may be half done */
        init_work(stage);
        stage->worked_at = 0;
        atomic_store(&stage->pending, false);
    }
    pthread_mutex_unlock(&stage->health.lock);
    rl_worker_after_fork(&stage->worker, in_child);
}

void rl_indexer_before_fork(rl_indexer *indexer)
{
    before_fork(&indexer->openai);
    before_fork(&indexer->milvus);
    pthread_mutex_lock(&indexer->lock);
}

void rl_indexer_after_fork(rl_indexer *indexer, bool in_child)
{
    if (in_child) {
        rl_cond_init(&indexer->moved);
    }
    pthread_mutex_unlock(&indexer->lock);
    after_fork(&indexer->milvus, in_child);
    after_fork(&indexer->openai, in_child);
}
