/* Forks. See fork.h. */
#include "core/fork.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list */
static rl_fork_member *first, *last;
static atomic_uint generation;
static atomic_bool pending;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
    atomic_store(&pending, true);
    for (rl_fork_member *one = first; one != NULL; one = one->next) {
        one->prepare(one->ctx);
    }
    atomic_store(&pending, false);
}

static void after_fork_in_parent(void)
{
    for (rl_fork_member *one = last; one != NULL; one = one->prev) {
        one->parent(one->ctx);
    }
    pthread_mutex_unlock(&lock);
}

/* Runs in the child, whose only thread is the one that took the locks. */
static void after_fork_in_child(void)
{
    atomic_fetch_add(&generation, 1);
    for (rl_fork_member *one = last; one != NULL; one = one->prev) {
        one->child(one->ctx);
    }
    pthread_mutex_unlock(&lock);
}

static void start_watching(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void rl_fork_join(rl_fork_member *member)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, start_watching);
    pthread_mutex_lock(&lock);
    member->prev = NULL;
    member->next = first;
    if (first != NULL) {
        first->prev = member;
    } else {
        last = member;
    }
    first = member;
    pthread_mutex_unlock(&lock);
}

void rl_fork_leave(rl_fork_member *member, void (*at_last)(void *ctx))
{
    pthread_mutex_lock(&lock);
    if (member->prev != NULL) {
        member->prev->next = member->next;
    } else {
        first = member->next;
    }
    if (member->next != NULL) {
        member->next->prev = member->prev;
    } else {
        last = member->prev;
    }
    if (at_last != NULL) {
        at_last(member->ctx);
    }
    pthread_mutex_unlock(&lock);
}

bool rl_fork_pending(void)
{
    return atomic_load_explicit(&pending, memory_order_relaxed);
}

void rl_fork_yield(void)
{
    const struct timespec moment = {0, 200000};

    if (rl_fork_pending()) {
        nanosleep(&moment, NULL);
    }
}

unsigned rl_fork_generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}
