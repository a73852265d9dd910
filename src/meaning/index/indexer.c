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

static bool may_ask(const rl_index_lane *lane, const atomic_bool *stop)
{
    return !atomic_load(stop) && !atomic_load(&lane->indexer->with.services->stop) &&
           rl_index_peer_may_ask(&lane->peer, rl_monotonic_ns());
}

static void hint(rl_index_lane *lane)
{
    if (!atomic_exchange(&lane->pending, true) && !rl_worker_wake(&lane->worker)) {
        atomic_store(&lane->pending, false); /* the next one tries again */
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
static uint64_t next_look(const rl_index_lane *lane)
{
    uint64_t again = lane->worked_at + LOOK_NS, at = rl_index_peer_again_at(&lane->peer);

    if (at != 0 && at < again) {
        again = at > lane->worked_at ? at : lane->worked_at + BROKEN_NS;
    }
    return again;
}

/* Makes ready for a round; false when it can't be now, and then *again says when. */
static bool begin_round(rl_index_lane *lane, uint64_t *again)
{
    rl_indexer *indexer = lane->indexer;
    rl_store *store = indexer->with.store;
    uint64_t now = rl_monotonic_ns();
    rl_err ignored;

    if (now < lane->worked_at + GATHER_NS) {
        *again = lane->worked_at + GATHER_NS;
        return false;
    }
    atomic_store(&lane->pending, false);
    if (store->ops->prepare(store, &ignored) != RL_OK) { /* its own notices tell */
        *again = now + BROKEN_NS;
        return false;
    }
    *again = now;
    return rl_services_take(indexer->with.services, now + BROKEN_NS, &lane->set,
                            &ignored) == RL_OK;
}

static uint64_t end_round(rl_index_lane *lane)
{
    rl_services_give(lane->indexer->with.services, lane->set);
    lane->worked_at = rl_monotonic_ns();
    return next_look(lane);
}

/* The thread that embeds. */
static uint64_t embed(void *ctx, const atomic_bool *stop)
{
    rl_index_lane *lane = ctx;
    uint64_t again;

    if (begin_round(lane, &again)) {
        while (may_ask(lane, stop) && rl_index_embed(lane)) {
            hint_milvus(lane->indexer);
        }
        again = end_round(lane);
        hint_milvus(lane->indexer); /* for what there is to delete */
    }
    return again;
}

/* The thread that works with Milvus. */
static uint64_t index_rows(void *ctx, const atomic_bool *stop)
{
    rl_index_lane *lane = ctx;
    uint64_t again;
    bool worked;

    if (begin_round(lane, &again)) {
        do {
            worked = may_ask(lane, stop) && rl_index_upsert(lane);
            worked = (may_ask(lane, stop) && rl_index_remove(lane)) || worked;
        } while (worked);
        again = end_round(lane);
    }
    return again;
}

/* What belongs to the thread at work. */
static void init_work(rl_index_lane *lane)
{
    lane->batch = RL_INDEX_TEXTS;
    rl_box_jobs_init(&lane->jobs);
    rl_buf_init(&lane->texts, RL_BUF_MAX);
}

static void init_lane(rl_index_lane *lane, rl_indexer *indexer, const char *what,
                      rl_worker_work work)
{
    lane->indexer = indexer;
    rl_index_peer_init(&lane->peer, what, indexer->with.notices);
    rl_worker_init(&lane->worker, work, lane);
    init_work(lane);
}

static void destroy_lane(rl_index_lane *lane)
{
    rl_box_jobs_free(&lane->jobs);
    rl_buf_free(&lane->texts);
    rl_index_peer_destroy(&lane->peer);
    rl_worker_destroy(&lane->worker);
}

void rl_indexer_init(rl_indexer *indexer, const rl_index_parts *parts)
{
    memset(indexer, 0, sizeof *indexer);
    indexer->with = *parts;
    pthread_mutex_init(&indexer->lock, NULL);
    rl_cond_init(&indexer->moved);
    init_lane(&indexer->openai, indexer, "embedding", embed);
    init_lane(&indexer->milvus, indexer, "indexing in Milvus", index_rows);
}

void rl_indexer_destroy(rl_indexer *indexer)
{
    destroy_lane(&indexer->openai);
    destroy_lane(&indexer->milvus);
    pthread_cond_destroy(&indexer->moved);
    pthread_mutex_destroy(&indexer->lock);
}

/* The thread that embeds passes it on. */
void rl_indexer_hint(rl_indexer *indexer)
{
    hint(embeds(indexer) ? &indexer->openai : &indexer->milvus);
}

/* How much can be done still: what waits for a server that refuses can't. */
static rl_status count_left(rl_indexer *indexer, int64_t *left, rl_err *err)
{
    rl_outbox *outbox = indexer->with.outbox;
    rl_box_counts counts;
    rl_status status = outbox->ops->look(outbox, upserts(indexer), &counts, err);

    *left = 0;
    if (status == RL_OK && embeds(indexer) &&
        !rl_index_peer_refuses(&indexer->openai.peer)) {
        *left += counts.rows[RL_BOX_PENDING];
    }
    if (status == RL_OK && upserts(indexer) &&
        !rl_index_peer_refuses(&indexer->milvus.peer)) {
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
    bool ended;

    atomic_store(&indexer->with.services->stop, true);
    ended = rl_worker_stop(&indexer->openai.worker, end);
    return rl_worker_stop(&indexer->milvus.worker, end) && ended;
}

void rl_indexer_error(rl_indexer *indexer, char *text, size_t size)
{
    rl_index_peer_error(&indexer->openai.peer, text, size);
    if (text[0] == '\0') {
        rl_index_peer_error(&indexer->milvus.peer, text, size);
    }
}

static void before_fork(rl_index_lane *lane)
{
    rl_worker_before_fork(&lane->worker);
    pthread_mutex_lock(&lane->peer.lock);
}

static void after_fork(rl_index_lane *lane, bool in_child)
{
    if (in_child) { /* what it was at is the parent's, and may be half done */
        init_work(lane);
        lane->worked_at = 0;
        atomic_store(&lane->pending, false);
    }
    pthread_mutex_unlock(&lane->peer.lock);
    rl_worker_after_fork(&lane->worker, in_child);
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
