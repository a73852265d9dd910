/* A circuit breaker: after a failure nobody calls the server any more, but for one probe at a
 * time, less and less often, until one succeeds.
 *
 * Threads: rl_breaker_is_open by any; the others by one thread at a time. No I/O, no clock:
 * times are monotonic nanoseconds that the caller gives.
 */
#ifndef RL_BREAKER_H
#define RL_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RL_BREAKER_FIRST_NS UINT64_C(100000000) /* before the first probe */
#define RL_BREAKER_MAX_NS UINT64_C(30000000000) /* between two probes at most */

typedef struct rl_breaker {
    atomic_bool open;
    atomic_uint_fast64_t retry_at; /* when the next probe is due */
    uint64_t pause_ns;             /* before jitter */
    uint64_t jitter;               /* state of the random numbers */
} rl_breaker;

static inline bool rl_breaker_is_open(const rl_breaker *breaker)
{
    return atomic_load_explicit(&breaker->open, memory_order_relaxed);
}

/* A call failed: opens it, or puts the next probe off, twice as long as before. The pause is
 * drawn from its half to its whole, so that processes don't come back all at once. True when
 * it was closed before. */
bool rl_breaker_record_failure(rl_breaker *breaker, uint64_t now);

/* A call succeeded: closes it. True when it was open before. */
bool rl_breaker_record_success(rl_breaker *breaker);

#endif
