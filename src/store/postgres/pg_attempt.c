/* An attempt to connect. See pg_attempt.h. */
#include "store/postgres/pg_attempt.h"

#include "core/alloc.h"
#include "core/lock.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#define STOP_CHECK_NS UINT64_C(50000000) /* interval of reading `stop` while waiting */

struct rl_pg_attempt {
    pthread_mutex_t lock; /* guards what follows, but the DSN and the time-out */
    pthread_cond_t changed;
    bool ended, dropped; /* who sets the second one frees the attempt */
    PGconn *pg;
    uint64_t ended_ns;
    char *dsn; /* owned */
    uint64_t timeout_ns;
};

static void destroy(rl_pg_attempt *attempt)
{
    PQfinish(attempt->pg);
    pthread_cond_destroy(&attempt->changed);
    pthread_mutex_destroy(&attempt->lock);
    rl_free(attempt->dsn);
    rl_free(attempt);
}

static PGconn *connect_now(const rl_pg_attempt *attempt)
{
    /* the DSN overrides the keys before it, and those after it override the DSN; libpq
     * takes connect_timeout in whole seconds, at least 2, for each host */
    const char *const keys[] = {"fallback_application_name",
                                "connect_timeout",
                                "tcp_user_timeout",
                                "keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                "dbname",
                                "client_encoding",
                                NULL};
    const unsigned long timeout_ms = (unsigned long)(attempt->timeout_ns / 1000000);
    char seconds[24], millis[24];
    const char *const values[] = {"runlog", seconds,      millis, "30", "10",
                                  "3",      attempt->dsn, "UTF8", NULL};

    snprintf(seconds, sizeof seconds, "%lu", (timeout_ms + 999) / 1000);
    snprintf(millis, sizeof millis, "%lu", timeout_ms);
    return PQconnectdbParams(keys, values, 1);
}

static void *run(void *ctx)
{
    rl_pg_attempt *attempt = ctx;
    PGconn *pg = connect_now(attempt);
    bool dropped;

    pthread_mutex_lock(&attempt->lock);
    attempt->pg = pg;
    attempt->ended = true;
    attempt->ended_ns = rl_monotonic_ns();
    dropped = attempt->dropped;
    pthread_cond_signal(&attempt->changed);
    pthread_mutex_unlock(&attempt->lock);
    if (dropped) {
        destroy(attempt);
    }
    return NULL;
}

/* Starts the thread, with all signals blocked: they are for the program's own threads. */
static bool start(rl_pg_attempt *attempt)
{
    sigset_t all, before;
    pthread_t thread;
    bool started;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    started = pthread_create(&thread, NULL, run, attempt) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) {
        pthread_detach(thread);
    }
    return started;
}

rl_pg_attempt *rl_pg_attempt_new(const char *dsn, uint64_t timeout_ns)
{
    rl_pg_attempt *attempt = rl_calloc(1, sizeof *attempt);

    if (attempt == NULL || (attempt->dsn = rl_strdup(dsn)) == NULL) {
        rl_free(attempt);
        return NULL;
    }
    attempt->timeout_ns = timeout_ns;
    pthread_mutex_init(&attempt->lock, NULL);
    rl_cond_init(&attempt->changed);
    if (!start(attempt)) { /* better without a time limit than never */
        (void)run(attempt);
    }
    return attempt;
}

bool rl_pg_attempt_take(rl_pg_attempt *attempt, uint64_t until, const atomic_bool *stop,
                        PGconn **pg, uint64_t *ended_ns)
{
    bool ended;

    pthread_mutex_lock(&attempt->lock);
    while (!attempt->ended && rl_monotonic_ns() < until &&
           !(stop != NULL && atomic_load(stop))) {
        const uint64_t check = rl_monotonic_ns() + STOP_CHECK_NS;
        const struct timespec moment =
            rl_timespec(stop != NULL && check < until ? check : until);

        (void)rl_cond_timedwait(&attempt->changed, &attempt->lock, &moment);
    }
    ended = attempt->ended;
    pthread_mutex_unlock(&attempt->lock);
    if (ended) {
        *pg = attempt->pg;
        *ended_ns = attempt->ended_ns;
        attempt->pg = NULL;
        destroy(attempt);
    }
    return ended;
}

void rl_pg_attempt_drop(rl_pg_attempt *attempt)
{
    bool ended;

    if (attempt == NULL) {
        return;
    }
    pthread_mutex_lock(&attempt->lock);
    ended = attempt->ended;
    attempt->dropped = true;
    pthread_mutex_unlock(&attempt->lock);
    if (ended) {
        destroy(attempt);
    }
}

PGconn *rl_pg_attempt_abandon(rl_pg_attempt *attempt)
{
    PGconn *pg = NULL;

    if (attempt != NULL && pthread_mutex_trylock(&attempt->lock) == 0) {
        const bool ended = attempt->ended;

        pthread_mutex_unlock(&attempt->lock);
        if (ended) {
            pg = attempt->pg;
            attempt->pg = NULL;
            destroy(attempt);
        }
    }
    return pg;
}
