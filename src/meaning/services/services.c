/* The clients of the embedding server and of Milvus. See services.h. */
#include "meaning/services/services.h"

#include "core/lock.h"

#include <string.h>

void rl_services_init(rl_services *services, const rl_service_options *options)
{
    memset(services, 0, sizeof *services);
    services->options = *options;
    services->options.openai.stop = &services->stop;
    services->options.milvus.stop = &services->stop;
    pthread_mutex_init(&services->lock, NULL);
    rl_cond_init(&services->freed);
}

void rl_services_close(rl_services *services)
{
    for (int i = 0; i < RL_SERVICE_SETS; i++) {
        rl_openai_free(services->sets[i].openai);
        rl_milvus_free(services->sets[i].milvus);
        services->sets[i].openai = NULL;
        services->sets[i].milvus = NULL;
    }
}

void rl_services_destroy(rl_services *services)
{
    pthread_cond_destroy(&services->freed);
    pthread_mutex_destroy(&services->lock);
}

/* The first free set, so that few clients are ever made; NULL when all are used. Lock
 * held. */
static rl_service_set *find_free(rl_services *services)
{
    rl_service_set *found = NULL;

    for (int i = 0; i < RL_SERVICE_SETS && found == NULL; i++) {
        if (!services->sets[i].used) {
            found = &services->sets[i];
        }
    }
    return found;
}

rl_status rl_services_take(rl_services *services, uint64_t end, rl_service_set **set,
                           rl_err *err)
{
    struct timespec until = rl_timespec(end);
    rl_status status = RL_OK;
    int rc = 0;

    pthread_mutex_lock(&services->lock);
    while ((*set = find_free(services)) == NULL && rc == 0) {
        rc = rl_cond_timedwait(&services->freed, &services->lock, &until);
    }
    if (*set != NULL) {
        (*set)->used = true;
    } else {
        status = rl_err_set(err, RL_SERVICE,
                            "all %d connections to the embedding server and Milvus were "
                            "in use until the time-out",
                            RL_SERVICE_SETS);
        if (err != NULL) {
            err->retryable = true;
        }
    }
    pthread_mutex_unlock(&services->lock);
    return status;
}

void rl_services_give(rl_services *services, rl_service_set *set)
{
    pthread_mutex_lock(&services->lock);
    set->used = false;
    pthread_cond_signal(&services->freed);
    pthread_mutex_unlock(&services->lock);
}

rl_status rl_services_openai(const rl_services *services, rl_service_set *set,
                             rl_openai **openai, rl_err *err)
{
    rl_status status = RL_OK;

    if (services->options.openai.key == NULL) {
        status = rl_err_set(err, RL_CONFIG,
                            "openai_key (OPENAI_KEY) is not set, and embedding a text "
                            "needs it");
    } else if (set->openai == NULL) {
        status = rl_openai_new(&services->options.openai, &set->openai, err);
    }
    *openai = set->openai;
    return status;
}

rl_status rl_services_milvus(const rl_services *services, rl_service_set *set,
                             rl_milvus **milvus, rl_err *err)
{
    rl_status status = RL_OK;

    if (services->options.milvus.endpoint == NULL) {
        status =
            rl_err_set(err, RL_CONFIG, "milvus_endpoint (MILVUS_ENDPOINT) is not set");
    } else if (set->milvus == NULL) {
        status = rl_milvus_new(&services->options.milvus, &set->milvus, err);
    }
    *milvus = set->milvus;
    return status;
}

void rl_services_before_fork(rl_services *services)
{
    pthread_mutex_lock(&services->lock);
}

void rl_services_after_fork(rl_services *services, bool in_child)
{
    if (in_child) {
        atomic_store(&services->stop, false);
        for (int i = 0; i < RL_SERVICE_SETS; i++) {
            rl_service_set *set = &services->sets[i];

            if (set->openai != NULL) {
                rl_openai_abandon(set->openai);
            }
            if (set->milvus != NULL) {
                rl_milvus_abandon(set->milvus);
            }
            if (set->used) { /* the parent's thread may have been changing them: leaked */
                set->openai = NULL;
                set->milvus = NULL;
            }
            set->used = false;
        }
        rl_cond_init(&services->freed); /* the threads that waited are in the parent */
    }
    pthread_mutex_unlock(&services->lock);
}
