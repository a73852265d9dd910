/* The indexer: works off the outbox of embeddings in threads of its own, one for the embedding
 * server and one for Milvus, so that neither a caller nor the journal ever waits for a server,
 * nor one server for the other.
 *
 * A row goes pending → embedded → done; each step is written down before the next one, and
 * repeating one changes nothing: a process that dies in between leaves rows whose lease ends,
 * and which another process takes up. A server that is away is asked again as a breaker
 * (breaker.h) allows. One that refuses (the key, the model, a collection that does not fit) is
 * told once, and asked again every five minutes. What it refuses of a single row stops that row.
 *
 * Threads: any. Ownership: borrows all that it is made with.
 */
#ifndef RL_INDEXER_H
#define RL_INDEXER_H

#include "core/metrics.h"
#include "core/notice.h"
#include "meaning/index/server_health.h"
#include "meaning/outbox/outbox.h"
#include "meaning/services/services.h"
#include "record/worker.h"
#include "store/store.h"

#include <pthread.h>

#define RL_INDEX_TEXTS 64 /* rows that are embedded at once */
#define RL_INDEX_ROWS 256 /* rows that are upserted or deleted at once */

struct rl_indexer;

/* The part that works with one of the servers. What is below the line is of its thread. */
typedef struct rl_index_stage {
    struct rl_indexer *indexer; /* borrowed */
    rl_server_health health;
    rl_worker worker;
    atomic_bool pending; /* there may be something to do */
    /* ---- */
    rl_service_set *set; /* of the thread at work, and so on */
    uint64_t worked_at;  /* monotonic nanoseconds: when the last round ended */
    size_t batch;        /* texts in the next request: fewer after a failure */
    rl_outbox_jobs jobs;
    rl_buf texts; /* of the jobs */
    rl_outbox_result results[RL_INDEX_ROWS];
} rl_index_stage;

/* Counters of an indexer, as those of core/metrics.h. */
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

typedef struct rl_indexer {
    rl_index_parts with;
    rl_index_stage openai, milvus;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t moved; /* something was done, or has failed */
    unsigned failures;    /* of a server or of the database */
} rl_indexer;

void rl_indexer_init(rl_indexer *indexer, const rl_index_parts *parts);
void rl_indexer_destroy(rl_indexer *indexer);

/* There may be something to do. Quick; does not wait. */
void rl_indexer_notify(rl_indexer *indexer);

/* Waits until nothing is left to do that can be done; RL_TIMEOUT at `end`, or with `patient`
 * false as soon as something fails. */
rl_status rl_indexer_drain(rl_indexer *indexer, uint64_t end, bool patient, rl_err *err);

/* Ends the threads; see rl_worker_stop. */
bool rl_indexer_stop(rl_indexer *indexer, uint64_t end);

/* Why a server was not well at last; "" while both are. */
void rl_indexer_error(rl_indexer *indexer, char *text, size_t size);

void rl_indexer_before_fork(rl_indexer *indexer);
void rl_indexer_after_fork(rl_indexer *indexer, bool in_child);

#endif
