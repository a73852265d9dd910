/* Counters of a recorder. Threads: any; each counter is atomic, but there is no order
 * among them.
 */
#ifndef RL_METRICS_H
#define RL_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct rl_metrics {
    atomic_uint_fast64_t runs;           /* committed */
    atomic_uint_fast64_t commits;        /* transactions */
    atomic_uint_fast64_t failed;         /* runs that the store rejected */
    atomic_uint_fast64_t largest_commit; /* runs in the largest transaction */
    atomic_uint_fast64_t commit_ns;      /* that transactions took, also failed ones */
    atomic_uint_fast64_t encode_ns;      /* that payloads took to become JSON */
    atomic_uint_fast64_t journaled;      /* runs committed to the journal */
    atomic_uint_fast64_t forwarded; /* runs committed to the server from the journal */
    /* of the open runs of graphs */
    atomic_uint_fast64_t handler_spilled; /* times that memory of a run was freed early */
    atomic_uint_fast64_t handler_dropped; /* payloads and values that were not stored */
} rl_metrics;

static inline void rl_metric_add(atomic_uint_fast64_t *counter, uint64_t count)
{
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static inline uint64_t rl_metric_get(atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Sets the counter to `value` if that is more. For counters with one writer at a time. */
static inline void rl_metric_raise(atomic_uint_fast64_t *counter, uint64_t value)
{
    if (value > rl_metric_get(counter)) {
        atomic_store_explicit(counter, value, memory_order_relaxed);
    }
}

#endif
