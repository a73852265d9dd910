/* The worker thread. See worker.h. */
#include "record/worker.h"

#include "core/lock.h"

#include <signal.h>
#include <string.h>

void rl_worker_init(rl_worker *worker, rl_worker_work work, void *ctx)
{
    memset(worker, 0, sizeof *worker);
    worker->work = work;
    worker->ctx = ctx;
    pthread_mutex_init(&worker->lock, NULL);
    rl_cond_init(&worker->changed);
}

void rl_worker_destroy(rl_worker *worker)
{
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
}

static void *run(void *ctx)
{
    rl_worker *worker = ctx;
    uint64_t next_pass;

    pthread_mutex_lock(&worker->lock);
    while (!atomic_load(&worker->stop)) {
        struct timespec until;

        worker->woken = false;
        pthread_mutex_unlock(&worker->lock);
        next_pass = worker->work(worker->ctx, &worker->stop);
        pthread_mutex_lock(&worker->lock);
        until = rl_timespec(next_pass);
        while (!worker->woken && !atomic_load(&worker->stop) &&
               rl_monotonic_ns() < next_pass) {
            (void)rl_cond_timedwait(&worker->changed, &worker->lock, &until);
        }
    }
    worker->running = false;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

/* Starts the thread, with all signals blocked: they are for the program's own threads.
 * Called with the lock held. */
static bool start(rl_worker *worker)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    worker->running = pthread_create(&worker->thread, NULL, run, worker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return worker->running;
}

bool rl_worker_wake(rl_worker *worker)
{
    bool running = false;

    pthread_mutex_lock(&worker->lock);
    if (!atomic_load(&worker->stop)) {
        worker->woken = true;
        running = worker->running || start(worker);
        pthread_cond_broadcast(&worker->changed);
    }
    pthread_mutex_unlock(&worker->lock);
    return running;
}

bool rl_worker_stop(rl_worker *worker, uint64_t end)
{
    struct timespec until = rl_timespec(end);
    bool started, ended;
    int rc = 0;

    pthread_mutex_lock(&worker->lock);
    started = worker->running;
    atomic_store(&worker->stop, true);
    pthread_cond_broadcast(&worker->changed);
    while (worker->running && rc == 0) {
        rc = rl_cond_timedwait(&worker->changed, &worker->lock, &until);
    }
    ended = !worker->running;
    pthread_mutex_unlock(&worker->lock);
    if (started && ended) {
        pthread_join(worker->thread, NULL);
    } else if (started) {
        pthread_detach(worker->thread);
    }
    return ended;
}

void rl_worker_before_fork(rl_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
}

void rl_worker_after_fork(rl_worker *worker, bool in_child)
{
    if (in_child) {
        worker->running = false;
        atomic_store(&worker->stop,
                     false); /* the thread that stopped it is in the parent */
        rl_cond_init(&worker->changed);
    }
    pthread_mutex_unlock(&worker->lock);
}
