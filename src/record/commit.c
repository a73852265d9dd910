/* Group commit. See commit.h. */
#include "record/commit.h"

#include "core/alloc.h"

#include <pthread.h>
#include <time.h>

/* A caller in the queue; it lives on that caller's stack. */
typedef struct waiter {
    struct waiter *next;
    rl_run *run;
    rl_durability durability;
    rl_status status;
    rl_err *err; /* the caller's; filled by the leader */
    bool done;   /* status is set; the leader no longer touches this */
    bool leads;  /* it is this caller's turn to commit */
    pthread_cond_t wake;
} waiter;

struct rl_commit {
    rl_store *store;
    rl_metrics *metrics;
    pthread_mutex_t lock;     /* guards what follows; never held during I/O */
    pthread_cond_t progress;  /* something was finished, and somebody drains */
    waiter *head, **tail;
    bool led;                 /* a leader is at work, or was named */
    unsigned drainers;
    uint64_t queued, finished; /* runs since the start */
};

rl_commit *rl_commit_new(rl_store *store, rl_metrics *metrics)
{
    rl_commit *commit = rl_calloc(1, sizeof *commit);
    pthread_condattr_t attributes;

    if (commit != NULL) {
        commit->store = store;
        commit->metrics = metrics;
        commit->tail = &commit->head;
        pthread_mutex_init(&commit->lock, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&commit->progress, &attributes);
        pthread_condattr_destroy(&attributes);
    }
    return commit;
}

void rl_commit_free(rl_commit *commit)
{
    if (commit != NULL) {
        pthread_cond_destroy(&commit->progress);
        pthread_mutex_destroy(&commit->lock);
        rl_free(commit);
    }
}

/* Takes the batch of a leader off the queue, itself first. Called with the lock held. */
static waiter *take_batch(rl_commit *commit, rl_run **runs, rl_batch *batch)
{
    waiter *first = commit->head, **end = &commit->head;
    size_t bytes = 0;

    while (*end != NULL && batch->count < RL_COMMIT_RUNS && bytes < RL_COMMIT_BYTES) {
        runs[batch->count++] = (*end)->run;
        bytes += (*end)->run->arena.len;
        if ((*end)->durability > batch->durability) {
            batch->durability = (*end)->durability;
        }
        end = &(*end)->next;
    }
    commit->head = *end;
    *end = NULL;
    if (commit->head == NULL) {
        commit->tail = &commit->head;
    }
    return first;
}

static void count_commit(rl_commit *commit, uint64_t runs)
{
    rl_metric_add(&commit->metrics->commits, 1);
    rl_metric_add(&commit->metrics->runs, runs);
    rl_metric_raise(&commit->metrics->largest_commit, runs);
}

/* Writes a batch and sets each waiter's status. When the store refuses it for what is in
 * it, each run is written alone, so that only the one at fault fails. */
static void write_batch(rl_commit *commit, waiter *first, const rl_batch *batch)
{
    rl_store *store = commit->store;
    rl_err err = {.code = RL_OK};
    rl_status status = store->ops->write(store, batch, &err);
    bool alone = status == RL_STORE && !err.retryable && batch->count > 1;
    size_t at = 0;

    if (status == RL_OK) {
        count_commit(commit, batch->count);
    }
    for (waiter *one = first; one != NULL; one = one->next, at++) {
        if (alone) {
            rl_batch single = {batch->runs + at, 1, one->durability, batch->may_wait};

            status = store->ops->write(store, &single, &err);
            if (status == RL_OK) {
                count_commit(commit, 1);
            }
        }
        if (status != RL_OK) {
            *one->err = err;
            if (status != RL_BUSY) {
                rl_metric_add(&commit->metrics->failed, 1);
            }
        }
        one->status = status;
    }
}

/* Wakes those whose runs are written and names the next leader. Lock held. */
static void finish_batch(rl_commit *commit, waiter *first, const waiter *self)
{
    while (first != NULL) {
        waiter *next = first->next;

        commit->finished++;
        first->done = true; /* from here on, it may be gone */
        if (first != self) {
            pthread_cond_signal(&first->wake);
        }
        first = next;
    }
    commit->led = commit->head != NULL;
    if (commit->led) {
        commit->head->leads = true;
        pthread_cond_signal(&commit->head->wake);
    }
    if (commit->drainers > 0) {
        pthread_cond_broadcast(&commit->progress);
    }
}

static void enqueue(rl_commit *commit, waiter *self)
{
    *commit->tail = self;
    commit->tail = &self->next;
    commit->queued++;
}

/* Commits the head of the queue, which is self, with those behind it. Lock held. */
static void lead(rl_commit *commit, waiter *self, bool may_wait)
{
    rl_run *runs[RL_COMMIT_RUNS];
    rl_batch batch = {.runs = runs, .may_wait = may_wait};
    waiter *first = take_batch(commit, runs, &batch);

    pthread_mutex_unlock(&commit->lock);
    write_batch(commit, first, &batch);
    pthread_mutex_lock(&commit->lock);
    finish_batch(commit, first, self);
}

rl_status rl_commit_run(rl_commit *commit, rl_run *run, rl_durability durability, rl_err *err)
{
    waiter self = {.run = run, .durability = durability, .err = err};

    pthread_cond_init(&self.wake, NULL);
    pthread_mutex_lock(&commit->lock);
    enqueue(commit, &self);
    if (commit->led) {
        while (!self.done && !self.leads) {
            pthread_cond_wait(&self.wake, &commit->lock);
        }
    } else {
        commit->led = true;
        self.leads = true;
    }
    if (!self.done) {
        lead(commit, &self, true);
    }
    pthread_mutex_unlock(&commit->lock);
    pthread_cond_destroy(&self.wake);
    return self.status;
}

rl_status rl_commit_try(rl_commit *commit, rl_run *run, rl_durability durability, rl_err *err)
{
    waiter self = {.run = run, .durability = durability, .err = err, .status = RL_BUSY};

    pthread_mutex_lock(&commit->lock);
    if (!commit->led) {
        commit->led = true;
        enqueue(commit, &self);
        lead(commit, &self, false);
    }
    pthread_mutex_unlock(&commit->lock);
    return self.status;
}

rl_status rl_commit_drain(rl_commit *commit, uint64_t end)
{
    struct timespec until = {.tv_sec = (time_t)(end / 1000000000),
                             .tv_nsec = (long)(end % 1000000000)};
    rl_status status = RL_OK;
    uint64_t target;
    int rc = 0;

    pthread_mutex_lock(&commit->lock);
    target = commit->queued;
    commit->drainers++;
    while (commit->finished < target && rc == 0) {
        rc = pthread_cond_timedwait(&commit->progress, &commit->lock, &until);
    }
    if (commit->finished < target) {
        status = RL_TIMEOUT;
    }
    commit->drainers--;
    pthread_mutex_unlock(&commit->lock);
    return status;
}

size_t rl_commit_queued(rl_commit *commit)
{
    size_t waiting;

    pthread_mutex_lock(&commit->lock);
    waiting = (size_t)(commit->queued - commit->finished);
    pthread_mutex_unlock(&commit->lock);
    return waiting;
}
