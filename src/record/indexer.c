/* The indexer's thread, and those who wait for it. See indexer.h. */
#include "record/indexer.h"

#include "core/lock.h"
#include "record/index_round.h"

#include <string.h>

#define GATHER_NS UINT64_C(50000000)   /* for more runs to come, between two rounds */
#define LOOK_NS UINT64_C(30000000000)  /* when a thread with nothing to do looks again */
#define BROKEN_NS UINT64_C(1000000000) /* and when one whose database has failed */
#define DRAIN_STEP_NS UINT64_C(50000000)

static bool embeds(const rl_indexer *indexer)
{
    return indexer->services->options.openai.key != NULL;
}

static bool upserts(const rl_indexer *indexer)
{
    return indexer->services->options.milvus.endpoint != NULL;
}

static bool may_ask(const rl_index_peer *peer, const atomic_bool *stop)
{
    return !atomic_load(stop) && rl_index_peer_may_ask(peer, rl_monotonic_ns());
}

/* Whether there was something to do with the peers that may be asked. */
static bool work_once(rl_indexer *indexer, const atomic_bool *stop)
{
    bool worked = false;

    if (embeds(indexer) && may_ask(&indexer->openai, stop)) {
        worked = rl_index_embed(indexer);
    }
    if (upserts(indexer) && may_ask(&indexer->milvus, stop)) {
        worked = rl_index_upsert(indexer) || worked;
    }
    if (upserts(indexer) && may_ask(&indexer->milvus, stop)) {
        worked = rl_index_remove(indexer) || worked;
    }
    return worked;
}

/* When the thread looks again by itself. */
static uint64_t next_look(const rl_indexer *indexer)
{
    uint64_t again = indexer->worked_at + LOOK_NS;
    const rl_index_peer *const peers[] = {&indexer->openai, &indexer->milvus};

    for (int i = 0; i < 2; i++) {
        uint64_t at = rl_index_peer_again_at(peers[i]);

        if (at != 0 && at < again) {
            again = at > indexer->worked_at ? at : indexer->worked_at + BROKEN_NS;
        }
    }
    return again;
}

static uint64_t work(void *ctx, const atomic_bool *stop)
{
    rl_indexer *indexer = ctx;
    rl_store *store = indexer->store;
    uint64_t now = rl_monotonic_ns();
    rl_err ignored;

    if (now < indexer->worked_at + GATHER_NS) {
        return indexer->worked_at + GATHER_NS;
    }
    atomic_store(&indexer->pending, false);
    if (store->ops->prepare(store, &ignored) != RL_OK) { /* its own notices tell */
        return now + BROKEN_NS;
    }
    if (rl_services_take(indexer->services, now + BROKEN_NS, &indexer->set, &ignored) !=
        RL_OK) {
        return now;
    }
    while (work_once(indexer, stop)) {
    }
    rl_services_give(indexer->services, indexer->set);
    indexer->worked_at = rl_monotonic_ns();
    return next_look(indexer);
}

/* What belongs to the thread at work. */
static void init_work(rl_indexer *indexer)
{
    indexer->batch = RL_INDEX_TEXTS;
    rl_box_jobs_init(&indexer->jobs);
    rl_buf_init(&indexer->texts, RL_BUF_MAX);
}

void rl_indexer_init(rl_indexer *indexer, rl_store *store, rl_services *services,
                     const rl_embed_rule *rule, rl_metrics *metrics, rl_notices *notices)
{
    memset(indexer, 0, sizeof *indexer);
    indexer->store = store;
    indexer->services = services;
    indexer->rule = rule;
    indexer->metrics = metrics;
    indexer->notices = notices;
    rl_worker_init(&indexer->worker, work, indexer);
    pthread_mutex_init(&indexer->lock, NULL);
    rl_cond_init(&indexer->moved);
    rl_index_peer_init(&indexer->openai, "embedding", notices);
    rl_index_peer_init(&indexer->milvus, "indexing in Milvus", notices);
    init_work(indexer);
}

void rl_indexer_destroy(rl_indexer *indexer)
{
    rl_box_jobs_free(&indexer->jobs);
    rl_buf_free(&indexer->texts);
    rl_index_peer_destroy(&indexer->openai);
    rl_index_peer_destroy(&indexer->milvus);
    pthread_cond_destroy(&indexer->moved);
    pthread_mutex_destroy(&indexer->lock);
    rl_worker_destroy(&indexer->worker);
}

void rl_indexer_hint(rl_indexer *indexer)
{
    if (!atomic_exchange(&indexer->pending, true) && !rl_worker_wake(&indexer->worker)) {
        atomic_store(&indexer->pending, false); /* the next one tries again */
    }
}

/* How much can be done still: what waits for a server that refuses can't. */
static rl_status count_left(rl_indexer *indexer, int64_t *left, rl_err *err)
{
    rl_box_counts counts;
    rl_status status =
        indexer->store->ops->look(indexer->store, upserts(indexer), &counts, err);

    *left = 0;
    if (status == RL_OK && embeds(indexer) && !rl_index_peer_refuses(&indexer->openai)) {
        *left += counts.rows[RL_BOX_PENDING];
    }
    if (status == RL_OK && upserts(indexer) && !rl_index_peer_refuses(&indexer->milvus)) {
        *left += counts.rows[RL_BOX_EMBEDDED] + counts.rows[RL_BOX_DELETED];
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
        rl_indexer_hint(indexer);
        wait_for_news(indexer, end);
    }
    return status;
}

bool rl_indexer_stop(rl_indexer *indexer, uint64_t end)
{
    atomic_store(&indexer->services->stop, true);
    return rl_worker_stop(&indexer->worker, end);
}

void rl_indexer_error(rl_indexer *indexer, char *text, size_t size)
{
    rl_index_peer_error(&indexer->openai, text, size);
    if (text[0] == '\0') {
        rl_index_peer_error(&indexer->milvus, text, size);
    }
}

void rl_indexer_before_fork(rl_indexer *indexer)
{
    rl_worker_before_fork(&indexer->worker);
    pthread_mutex_lock(&indexer->lock);
    pthread_mutex_lock(&indexer->openai.lock);
    pthread_mutex_lock(&indexer->milvus.lock);
}

void rl_indexer_after_fork(rl_indexer *indexer, bool in_child)
{
    if (in_child) { /* what it was at is the parent's, and may be half done */
        init_work(indexer);
        indexer->worked_at = 0;
        atomic_store(&indexer->pending, false);
        rl_cond_init(&indexer->moved);
    }
    pthread_mutex_unlock(&indexer->milvus.lock);
    pthread_mutex_unlock(&indexer->openai.lock);
    pthread_mutex_unlock(&indexer->lock);
    rl_worker_after_fork(&indexer->worker, in_child);
}
