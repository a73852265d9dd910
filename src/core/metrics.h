/* Counters of a recorder. Each is read and written atomically, without an order among
 * them; any thread.
 */
#ifndef RL_METRICS_H
#define RL_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct rl_metrics {
    atomic_uint_fast64_t runs;           /* committed */
    atomic_uint_fast64_t commits;        /* transactions */
    atomic_uint_fast64_t failed;         /* runs that the store refused */
    atomic_uint_fast64_t largest_commit; /* runs in the largest transaction */
    atomic_uint_fast64_t journaled;      /* runs committed to the journal */
    atomic_uint_fast64_t forwarded;      /* runs that the server has taken from there */
} rl_metrics;

static inline void rl_metric_add(atomic_uint_fast64_t *counter, uint64_t count)
{
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static inline uint64_t rl_metric_get(atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Raises the counter to `value`. For counters with one writer at a time. */
static inline void rl_metric_raise(atomic_uint_fast64_t *counter, uint64_t value)
{
    if (value > rl_metric_get(counter)) {
        atomic_store_explicit(counter, value, memory_order_relaxed);
    }
}

#endif
