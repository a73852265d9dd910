/* A circuit breaker. See breaker.h. */
#include "core/breaker.h"

bool rl_breaker_record_failure(rl_breaker *breaker, uint64_t now)
{
    uint64_t half;

    breaker->pause_ns =
        breaker->pause_ns == 0 ? RL_BREAKER_FIRST_NS : breaker->pause_ns * 2;
    if (breaker->pause_ns > RL_BREAKER_MAX_NS) {
        breaker->pause_ns = RL_BREAKER_MAX_NS;
    }
    half = breaker->pause_ns / 2;
    breaker->jitter = breaker->jitter * UINT64_C(6364136223846793005) + now;
    atomic_store(&breaker->retry_at, now + half + (breaker->jitter >> 20) % half);
    return !atomic_exchange(&breaker->open, true);
}

bool rl_breaker_record_success(rl_breaker *breaker)
{
    breaker->pause_ns = 0;
    return atomic_exchange(&breaker->open, false);
}
