/* Group commit. See commit.h. */
#include "record/commit/commit.h"

#include "core/alloc.h"
#include "core/lock.h"
#include "core/parking.h"

#include <pthread.h>

/* A leader that finds fewer callers than the last commit had waits a moment for the
 * others to return: a fraction of the last commit's time, and only if that commit was
 * slow. */
#define GATHER_FRACTION 4
#define GATHER_SLOW_NS UINT64_C(200000) /* a commit that takes this long is slow */
#define GATHER_MAX_NS UINT64_C(500000)  /* longest wait */

/* A caller in the queue; on that caller's stack. */
typedef struct waiter {
    struct waiter *next;
    rl_run *run;
    rl_durability durability;
    rl_status status;
    rl_err *err; /* the caller's; filled by the leader */
    bool leads;  /* it is woken to lead, not because its run is written */
    rl_parking wake;
} waiter;

struct rl_commit {
    rl_commit_write write;
    void *ctx; /* of write */
    rl_metrics *metrics;
    pthread_mutex_t lock;    /* guards what follows; never held during I/O */
    pthread_cond_t progress; /* a batch was finished; for rl_commit_drain */
    pthread_cond_t arrived;  /* as many are queued as a gathering leader expects */
    waiter *head, **tail;
    size_t length;    /* of the queue */
    size_t expected;  /* callers written or queued at the end of the last commit */
    uint64_t last_ns; /* duration of the last commit */
    bool led;         /* there is a leader, at work or being woken */
    bool gathering;
    unsigned drainers;
    uint64_t queued, finished; /* runs, counted since the start */
};

static void make_conditions(rl_commit *commit)
{
    rl_cond_init(&commit->progress);
    rl_cond_init(&commit->arrived);
}

rl_commit *rl_commit_new(rl_commit_write write, void *ctx, rl_metrics *metrics)
{
    rl_commit *commit = rl_calloc(1, sizeof *commit);

    if (commit != NULL) {
        commit->write = write;
        commit->ctx = ctx;
        commit->metrics = metrics;
        commit->tail = &commit->head;
        pthread_mutex_init(&commit->lock, NULL);
        make_conditions(commit);
    }
    return commit;
}

void rl_commit_free(rl_commit *commit)
{
    if (commit != NULL) {
        pthread_cond_destroy(&commit->arrived);
        pthread_cond_destroy(&commit->progress);
        pthread_mutex_destroy(&commit->lock);
        rl_free(commit);
    }
}

/* Takes a leader's batch off the queue; the leader's own run is the first. Called with
 * the lock held. */
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
    commit->length -= batch->count;
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

/* Writes a batch and sets each waiter's status. When the store rejects the batch, each
 * run is written alone, so that only the run at fault fails. */
static void write_batch(rl_commit *commit, waiter *first, const rl_batch *batch)
{
    rl_err err = {.code = RL_OK};
    rl_status status = commit->write(commit->ctx, batch, &err);
    bool one_by_one = status == RL_STORE && !err.retryable && batch->count > 1;
    size_t at = 0;

    if (status == RL_OK) {
        count_commit(commit, batch->count);
    }
    for (waiter *one = first; one != NULL; one = one->next, at++) {
        if (one_by_one) {
            rl_batch single = {batch->runs + at, 1, one->durability, batch->wait};

            status = commit->write(commit->ctx, &single, &err);
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

/* Queues a caller; true when it becomes the leader. Called with the lock held. */
static bool enqueue(rl_commit *commit, waiter *self)
{
    bool leads = !commit->led;

    *commit->tail = self;
    commit->tail = &self->next;
    commit->length++;
    commit->queued++;
    commit->led = true;
    if (commit->gathering && commit->length >= commit->expected) {
        pthread_cond_signal(&commit->arrived);
    }
    return leads;
}

/* Waits for callers of the last commit, who often return with their next run at once: one
 * commit for all of them is faster than two for a half each. Called with the lock
 * held. */
static void gather(rl_commit *commit)
{
    uint64_t wait = commit->last_ns / GATHER_FRACTION;
    struct timespec end;
    int rc = 0;

    if (commit->length >= commit->expected || commit->last_ns < GATHER_SLOW_NS) {
        return;
    }
    end = rl_timespec(rl_monotonic_ns() + (wait < GATHER_MAX_NS ? wait : GATHER_MAX_NS));
    commit->gathering = true;
    while (commit->length < commit->expected && rc == 0) {
        rc = rl_cond_timedwait(&commit->arrived, &commit->lock, &end);
    }
    commit->gathering = false;
}

/* Wakes the next leader, then the callers whose runs are written. */
static void finish_batch(rl_commit *commit, waiter *first, const waiter *self,
                         size_t count, uint64_t took_ns)
{
    waiter *next_leader;

    pthread_mutex_lock(&commit->lock);
    commit->finished += count;
    commit->last_ns = took_ns;
    commit->expected = count + commit->length;
    next_leader = commit->head; /* it waits, so it stays valid after the unlock */
    commit->led = next_leader != NULL;
    if (commit->drainers > 0) {
        pthread_cond_broadcast(&commit->progress);
    }
    pthread_mutex_unlock(&commit->lock);
    if (next_leader != NULL) {
        next_leader->leads = true;
        rl_parking_wake(&next_leader->wake);
    }
    while (first != NULL) {
        waiter *next = first->next;

        if (first != self) {
            rl_parking_wake(&first->wake); /* its stack may be freed from here on */
        }
        first = next;
    }
}

/* Commits self, which is the head of the queue, and the runs queued after it. Called with
 * the lock held, which it releases. */
static void lead(rl_commit *commit, waiter *self, rl_wait wait)
{
    rl_run *runs[RL_COMMIT_RUNS];
    rl_batch batch = {.runs = runs, .wait = wait};
    waiter *first = take_batch(commit, runs, &batch);
    uint64_t start, took_ns;

    pthread_mutex_unlock(&commit->lock);
    start = rl_monotonic_ns();
    write_batch(commit, first, &batch);
    took_ns = rl_monotonic_ns() - start;
    rl_metric_add(&commit->metrics->commit_ns, took_ns);
    finish_batch(commit, first, self, batch.count, took_ns);
}

rl_status rl_commit_run(rl_commit *commit, rl_run *run, rl_durability durability,
                        rl_err *err)
{
    waiter self = {.run = run, .durability = durability, .err = err};

    rl_parking_init(&self.wake);
    pthread_mutex_lock(&commit->lock);
    self.leads = enqueue(commit, &self);
    if (!self.leads) {
        pthread_mutex_unlock(&commit->lock);
        rl_parking_wait(&self.wake);
        if (self.leads) {
            pthread_mutex_lock(&commit->lock);
        }
    }
    if (self.leads) {
        gather(commit);
        lead(commit, &self, RL_WAIT);
    }
    rl_parking_destroy(&self.wake);
    return self.status;
}

rl_status rl_commit_try(rl_commit *commit, rl_run *run, rl_durability durability,
                        rl_err *err)
{
    waiter self = {.run = run, .durability = durability, .err = err, .status = RL_BUSY};

    pthread_mutex_lock(&commit->lock);
    if (commit->led) {
        pthread_mutex_unlock(&commit->lock);
        rl_err_set(err, RL_BUSY, "another commit is under way");
    } else {
        (void)enqueue(commit, &self);
        lead(commit, &self, RL_NO_WAIT);
    }
    return self.status;
}

rl_status rl_commit_drain(rl_commit *commit, uint64_t end)
{
    struct timespec until = rl_timespec(end);
    rl_status status = RL_OK;
    uint64_t target;
    int rc = 0;

    pthread_mutex_lock(&commit->lock);
    target = commit->queued;
    commit->drainers++;
    while (commit->finished < target && rc == 0) {
        rc = rl_cond_timedwait(&commit->progress, &commit->lock, &until);
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

void rl_commit_before_fork(rl_commit *commit)
{
    pthread_mutex_lock(&commit->lock);
}

void rl_commit_after_fork(rl_commit *commit, bool in_child)
{
    if (in_child) {
        commit->head = NULL;
        commit->tail = &commit->head;
        commit->length = commit->expected = 0;
        commit->led = commit->gathering = false;
        commit->drainers = 0;
        commit->finished = commit->queued;
        make_conditions(commit);
    }
    pthread_mutex_unlock(&commit->lock);
}
