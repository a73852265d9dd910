/* A background thread for work that no caller should wait for: checkpoints, forwarding,
 * indexing. It is a plain pthread that starts with the first wake-up and never calls
 * Python.
 *
 * Threads: every function from any thread. Ownership: the struct is the caller's; a
 * worker borrows its context until rl_worker_stop has returned true.
 */
#ifndef RL_WORKER_H
#define RL_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One pass. Returns when the next one is needed if nobody wakes the worker before
 * (nanoseconds, monotonic clock). Returns soon once *stop is set. */
typedef uint64_t (*rl_worker_work)(void *ctx, const atomic_bool *stop);

typedef struct rl_worker {
    rl_worker_work work;
    void *ctx; /* of work */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool running, woken; /* under the lock */
    atomic_bool stop;
} rl_worker;

void rl_worker_init(rl_worker *worker, rl_worker_work work, void *ctx);
void rl_worker_destroy(rl_worker *worker); /* after rl_worker_stop has returned true */

/* Starts a pass now, or after the one under way, and the thread if need be. False when no
 * thread could be started, or the worker was stopped. */
bool rl_worker_wake(rl_worker *worker);

/* Stops the thread for good, and waits for its end until `end` (nanoseconds, monotonic
 * clock). False when its pass has not returned by then: it ends later, and uses the
 * worker and its context until then. */
bool rl_worker_stop(rl_worker *worker, uint64_t end);

/* Around a fork. The child has no worker thread; its first wake-up starts one. */
void rl_worker_before_fork(rl_worker *worker);
void rl_worker_after_fork(rl_worker *worker, bool in_child);

#endif
