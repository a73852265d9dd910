/* A thread for what no caller should wait for: checkpoints, forwarding. A plain pthread,
 * started when it is first needed, that never touches Python.
 *
 * Threads: any. Ownership: borrows its context until rl_worker_stop has returned true.
 */
#ifndef RL_WORKER_H
#define RL_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Does what there is to do, and gives the monotonic nanoseconds at which to be called again
 * if nobody wakes it before. Ends soon once *stop is set. */
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
void rl_worker_destroy(rl_worker *worker);

/* Lets it work now, starting the thread if need be. False when no thread can be had, or it
 * was stopped. */
bool rl_worker_wake(rl_worker *worker);

/* Ends the thread; false when it has not ended by `end`: it goes on by itself then, and what
 * it uses must stay. It is never started again. */
bool rl_worker_stop(rl_worker *worker, uint64_t end);

/* Around a fork. The child has no thread, and starts its own at first need. */
void rl_worker_before_fork(rl_worker *worker);
void rl_worker_after_fork(rl_worker *worker, bool in_child);

#endif
