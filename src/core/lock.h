/* Locks with a time limit, and conditions on the monotonic clock. */
#ifndef RL_LOCK_H
#define RL_LOCK_H

#include "core/clock.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/* Takes the lock, or returns false when the monotonic clock shows `end` (nanoseconds).
 * Not pthread_mutex_timedlock: macOS has none, and it uses the wall clock. */
static inline bool rl_lock_until(pthread_mutex_t *lock, uint64_t end)
{
    const struct timespec moment = {0, 100000};
    bool got;

    while (!(got = pthread_mutex_trylock(lock) == 0) && rl_monotonic_ns() < end) {
        nanosleep(&moment, NULL);
    }
    return got;
}

/* Initialises a condition whose timed waits use the monotonic clock. */
static inline void rl_cond_init(pthread_cond_t *condition)
{
#ifdef __APPLE__
    pthread_cond_init(condition, NULL);
#else
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
#endif
}

/* pthread_cond_timedwait for such a condition. macOS has no clock to choose, but a wait
 * for a duration. */
static inline int rl_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                    const struct timespec *until)
{
#ifdef __APPLE__
    const uint64_t now = rl_monotonic_ns();
    const uint64_t end =
        (uint64_t)until->tv_sec * UINT64_C(1000000000) + (uint64_t)until->tv_nsec;
    const struct timespec left = rl_timespec(end > now ? end - now : 0);

    return pthread_cond_timedwait_relative_np(condition, lock, &left);
#else
    return pthread_cond_timedwait(condition, lock, until);
#endif
}

#endif
