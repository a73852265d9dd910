/* Cancel requests. See pg_cancel.h. */
#include "store/postgres/pg_cancel.h"

#include "core/alloc.h"
#include "core/lock.h"

#include <signal.h>
#include <stdatomic.h>

/* Threads whose request a network swallows; they live until TCP gives up. */
#define MOST_THREADS 8

static atomic_int threads;

/* Shared by the caller and the thread; the one that leaves it last frees it. */
typedef struct request {
    pthread_mutex_t lock; /* guards the members below */
    pthread_cond_t changed;
    bool done, received;
    bool left;        /* the other one does not need it any more */
    PGcancel *cancel; /* owned */
} request;

static void free_request(request *self)
{
    PQfreeCancel(self->cancel);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    rl_free(self);
}

/* Unlocks the request, and frees it if the other one has left it. */
static void leave(request *self)
{
    bool is_last = self->left;

    self->left = true;
    pthread_mutex_unlock(&self->lock);
    if (is_last) {
        free_request(self);
    }
}

static void *send(void *ctx)
{
    request *self = ctx;
    char ignored[256];
    int received = PQcancel(self->cancel, ignored, sizeof ignored);

    pthread_mutex_lock(&self->lock);
    self->done = true;
    self->received = received == 1;
    pthread_cond_signal(&self->changed);
    leave(self);
    atomic_fetch_sub(&threads, 1);
    return NULL;
}

/* Starts the thread, with all signals blocked: they are for the program's own threads. */
static bool start(request *self)
{
    bool started = false;
    sigset_t all, before;
    pthread_t thread;

    if (atomic_fetch_add(&threads, 1) < MOST_THREADS) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        started = pthread_create(&thread, NULL, send, self) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (started) {
        pthread_detach(thread);
    } else {
        atomic_fetch_sub(&threads, 1);
    }
    return started;
}

bool rl_pg_cancel(PGconn *pg, uint64_t end)
{
    const struct timespec until = rl_timespec(end);
    request *self = rl_calloc(1, sizeof *self);
    bool received;
    int rc = 0;

    if (self == NULL) {
        return false;
    }
    pthread_mutex_init(&self->lock, NULL);
    rl_cond_init(&self->changed);
    self->cancel = PQgetCancel(pg);
    if (self->cancel == NULL || !start(self)) {
        free_request(self);
        return false;
    }
    pthread_mutex_lock(&self->lock);
    while (!self->done && rc == 0) {
        rc = rl_cond_timedwait(&self->changed, &self->lock, &until);
    }
    received = self->received;
    leave(self);
    return received;
}
