/* A circuit breaker. After a failed call the breaker is open: callers leave the server
 * alone, and one thread probes it at growing intervals until a probe succeeds.
 *
 * Threads: rl_breaker_is_open from any thread, the other functions from one at a time. No
 * I/O and no clock: the caller passes the time, in nanoseconds of the monotonic clock.
 */
#ifndef RL_BREAKER_H
#define RL_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RL_BREAKER_FIRST_NS UINT64_C(100000000) /* before the first probe */
#define RL_BREAKER_MAX_NS UINT64_C(30000000000) /* between two probes at most */

/* All zero: closed. Seed `jitter` differently in each process. */
typedef struct rl_breaker {
    atomic_bool open;
    atomic_uint_fast64_t retry_at; /* time of the next probe */
    uint64_t pause_ns;             /* before jitter */
    uint64_t jitter;               /* state of the random numbers */
} rl_breaker;

static inline bool rl_breaker_is_open(const rl_breaker *breaker)
{
    return atomic_load_explicit(&breaker->open, memory_order_relaxed);
}

/* Records a failed call: opens the breaker, or doubles the pause before the next probe
 * (with jitter, so that processes do not probe at once). True when it was closed
 * before. */
bool rl_breaker_record_failure(rl_breaker *breaker, uint64_t now);

/* Records a successful call: closes the breaker. True when it was open before. */
bool rl_breaker_record_success(rl_breaker *breaker);

#endif
