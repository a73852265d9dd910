/* The clients of the embedding server and of Milvus: a few of each, as a client serves one
 * thread at a time. They are made when they are needed.
 *
 * Threads: any. Who has got a set has it alone until it is given back.
 */
#ifndef RL_SERVICES_H
#define RL_SERVICES_H

#include "core/err.h"
#include "meaning/services/milvus.h"
#include "meaning/services/openai.h"

#include <pthread.h>
#include <stdatomic.h>

#define RL_SERVICE_SETS 6 /* two are the indexer's most of the time */

/* What the clients are made with; borrowed as long as they live. */
typedef struct rl_service_options {
    rl_openai_options openai; /* key NULL: there is none */
    rl_milvus_options milvus; /* endpoint NULL: there is none */
} rl_service_options;

typedef struct rl_service_set {
    rl_openai *openai; /* owned; NULL until it is needed */
    rl_milvus *milvus;
    bool used;
} rl_service_set;

typedef struct rl_services {
    rl_service_options options;
    atomic_bool stop;     /* set at last: every wait in a client ends */
    pthread_mutex_t lock; /* guards `used`; held for no time */
    pthread_cond_t freed;
    rl_service_set sets[RL_SERVICE_SETS];
} rl_services;

void rl_services_init(rl_services *services, const rl_service_options *options);
/* Ends the connections. Nobody may have a set. */
void rl_services_close(rl_services *services);
void rl_services_destroy(rl_services *services); /* closed before, or never used */

/* Gives a set, borrowed until rl_services_give; RL_SERVICE when all have been in use until
 * the monotonic clock shows `end`. */
rl_status rl_services_take(rl_services *services, uint64_t end, rl_service_set **set,
                           rl_err *err);
void rl_services_give(rl_services *services, rl_service_set *set);

/* The clients of a set that was taken; borrowed. RL_CONFIG where there is no such server, or
 * its settings can't be used. */
rl_status rl_services_openai(const rl_services *services, rl_service_set *set,
                             rl_openai **openai, rl_err *err);
rl_status rl_services_milvus(const rl_services *services, rl_service_set *set,
                             rl_milvus **milvus, rl_err *err);

/* Around a fork. The child forgets the connections. */
void rl_services_before_fork(rl_services *services);
void rl_services_after_fork(rl_services *services, bool in_child);

#endif
