/* Open runs, written while they last. See live.h. */
#include "record/live.h"

#define RETRY_NS UINT64_C(1000000000) /* when there was no memory for a run */

void rl_live_init(rl_live *live)
{
    atomic_init(&live->graphs, NULL);
    atomic_init(&live->next, RL_LIVE_NEVER);
}

bool rl_live_watch(rl_live *live, rl_graphs *graphs, uint64_t interval_ns)
{
    uint64_t due = rl_monotonic_ns() + interval_ns;
    uint_fast64_t next = atomic_load_explicit(&live->next, memory_order_relaxed);
    bool sooner = due < next;

    atomic_store_explicit(&live->graphs, graphs, memory_order_release);
    if (sooner) {
        (void)atomic_compare_exchange_strong(&live->next, &next, due);
    }
    return sooner;
}

uint64_t rl_live_write(rl_live *live, const void *recorder, bool all,
                       rl_live_commit commit, void *ctx)
{
    rl_graphs *graphs = atomic_load_explicit(&live->graphs, memory_order_acquire);
    uint64_t next = RL_LIVE_NEVER;
    rl_run *run;
    rl_err ignored; /* the next change is another try, and the end of the run the last */

    if (graphs == NULL) {
        return RL_LIVE_NEVER;
    }
    run = rl_run_new();
    if (run == NULL) {
        return rl_monotonic_ns() + RETRY_NS;
    }
    /* a graph that is opened from here on is found below, or wakes the worker again */
    atomic_store(&live->next, RL_LIVE_NEVER);
    while (rl_graphs_write_due(graphs, recorder, all, run, &next)) {
        if (rl_run_seal(run, &ignored) == RL_OK) {
            (void)commit(ctx, run, &ignored);
        }
    }
    atomic_store(&live->next, next);
    rl_run_free(run);
    return next;
}
