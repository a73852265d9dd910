/* The clients of the embedding server and of Milvus. A client serves one thread at a
 * time, so there is a pool of sets with one client of each kind. Clients are made at
 * first need.
 *
 * Threads: any. A thread that has taken a set uses it alone until it gives it back.
 */
#ifndef RL_SERVICES_H
#define RL_SERVICES_H

#include "core/err.h"
#include "meaning/services/milvus.h"
#include "meaning/services/openai.h"

#include <pthread.h>
#include <stdatomic.h>

#define RL_SERVICE_SETS 6 /* the indexer uses up to two of them */

/* The texts are borrowed as long as the services live. */
typedef struct rl_service_options {
    rl_openai_options openai; /* key NULL: no embedding server */
    rl_milvus_options milvus; /* endpoint NULL: no Milvus */
} rl_service_options;

typedef struct rl_service_set {
    rl_openai *openai; /* owned, as milvus; NULL until needed */
    rl_milvus *milvus;
    bool used;
} rl_service_set;

typedef struct rl_services {
    rl_service_options options;
    atomic_bool stop;     /* set before closing: ends every wait in a client */
    pthread_mutex_t lock; /* guards `used`; never held while waiting */
    pthread_cond_t freed;
    rl_service_set sets[RL_SERVICE_SETS];
} rl_services;

void rl_services_init(rl_services *services, const rl_service_options *options);
/* Frees the clients. No set may be in use. */
void rl_services_close(rl_services *services);
void rl_services_destroy(rl_services *services); /* after close, or unused */

/* Takes a set, borrowed until rl_services_give. RL_SERVICE, retryable, when all sets are
 * in use until the monotonic clock shows `end` nanoseconds. */
rl_status rl_services_take(rl_services *services, uint64_t end, rl_service_set **set,
                           rl_err *err);
void rl_services_give(rl_services *services, rl_service_set *set);

/* The clients of a taken set; borrowed. RL_CONFIG when the server is not configured, or
 * its settings can't be used. */
rl_status rl_services_openai(const rl_services *services, rl_service_set *set,
                             rl_openai **openai, rl_err *err);
rl_status rl_services_milvus(const rl_services *services, rl_service_set *set,
                             rl_milvus **milvus, rl_err *err);

/* Around a fork. The child closes the connections without a word to the server. */
void rl_services_before_fork(rl_services *services);
void rl_services_after_fork(rl_services *services, bool in_child);

#endif
