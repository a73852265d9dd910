/* A stage of the indexer, which is the part that works with one of the two servers, and
 * one round of its work.
 *
 * A round claims some rows of one state, does the work that this state asks for, and
 * records the result of each row. It returns true when it has done something, so that
 * there may be more, and false when there were no rows or something has failed.
 *
 * Threads: only the thread of the stage calls a round. Ownership: a stage owns its
 * buffers, and borrows its parts and its progress.
 */
#ifndef RL_INDEX_ROUND_H
#define RL_INDEX_ROUND_H

#include "core/metrics.h"
#include "core/notice.h"
#include "meaning/index/server_health.h"
#include "meaning/outbox/outbox.h"
#include "meaning/services/services.h"
#include "record/worker.h"
#include "store/store.h"

#include <pthread.h>

#define RL_INDEX_TEXTS 64 /* rows of one round that embeds */
#define RL_INDEX_ROWS 256 /* rows of one round that upserts or deletes */

/* Counters, as those of core/metrics.h. */
typedef struct rl_index_metrics {
    atomic_uint_fast64_t embedded; /* texts of runs that have got a vector */
    atomic_uint_fast64_t upserted; /* vectors that Milvus has taken */
} rl_index_metrics;

/* What an indexer works with; borrowed. */
typedef struct rl_index_parts {
    rl_store *store;
    rl_outbox *outbox;
    rl_services *services;
    const rl_embed_rule *rule;
    rl_index_metrics *metrics;
    rl_notices *notices;
} rl_index_parts;

/* What both stages report to the threads that wait for them. */
typedef struct rl_index_progress {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a round has ended, or something has failed */
    unsigned failures;      /* of a server, of the database, or of an allocation */
} rl_index_progress;

typedef struct rl_index_stage {
    const rl_index_parts *parts;
    rl_index_progress *progress;
    rl_server_health health;
    rl_server_health database; /* whether it gives rows to work on; always asked */
    rl_worker worker;
    atomic_bool pending; /* there may be something to do */

    /* Only the thread of the stage uses what follows. */
    rl_service_set *set; /* borrowed for a round */
    uint64_t worked_at;  /* monotonic nanoseconds: when the last round ended */
    uint64_t recall_at;  /* the same: when to look for rows that wait for too long */
    size_t batch;        /* texts in the next request: fewer after a failure */
    rl_outbox_jobs jobs;
    rl_buf texts; /* of the jobs */
    rl_outbox_result results[RL_INDEX_ROWS];
} rl_index_stage;

bool rl_index_embed(rl_index_stage *stage);  /* pending → embedded */
bool rl_index_upsert(rl_index_stage *stage); /* embedded → done */
bool rl_index_remove(rl_index_stage *stage); /* deleted → no row */

#endif
