/* Open runs, written while they last. See live.h. */
#include "record/graph/live.h"

#define RETRY_NS UINT64_C(1000000000) /* when there was no memory for a run */

void rl_live_init(rl_live *live)
{
    atomic_init(&live->graphs, NULL);
    atomic_init(&live->next, RL_LIVE_NEVER);
}

/* Lets the worker look at `due`, or sooner. True when it was to look later. */
static bool plan(rl_live *live, uint64_t due)
{
    uint_fast64_t next = atomic_load(&live->next);

    while (due < next) {
        if (atomic_compare_exchange_weak(&live->next, &next, due)) {
            return true;
        }
    }
    return false;
}

bool rl_live_watch(rl_live *live, rl_graphs *graphs, uint64_t interval_ns)
{
    atomic_store_explicit(&live->graphs, graphs, memory_order_release);
    return plan(live, rl_monotonic_ns() + interval_ns);
}

/* Writes what is due, or all; when to look again. */
static uint64_t write_graphs(rl_graphs *graphs, const void *recorder, bool all,
                             rl_run *run, rl_live_commit commit, void *ctx)
{
    uint64_t next = RL_LIVE_NEVER;
    rl_err ignored; /* the next change is another try, and the end of the run the last */

    while (rl_graphs_write_next(graphs, recorder, all, run, &next)) {
        if (rl_run_seal(run, &ignored) == RL_OK) {
            (void)commit(ctx, run, &ignored);
        }
    }
    return next;
}

void rl_live_write_all(rl_live *live, const void *recorder, rl_live_commit commit,
                       void *ctx)
{
    rl_graphs *graphs = atomic_load_explicit(&live->graphs, memory_order_acquire);
    rl_run *run = graphs != NULL ? rl_run_new() : NULL;

    if (run != NULL) {
        (void)write_graphs(graphs, recorder, true, run, commit, ctx);
        rl_run_free(run);
    }
}

uint64_t rl_live_write_scheduled(rl_live *live, const void *recorder,
                                 rl_live_commit commit, void *ctx)
{
    rl_graphs *graphs = atomic_load_explicit(&live->graphs, memory_order_acquire);
    uint64_t next = atomic_load(&live->next), now = rl_monotonic_ns();
    rl_run *run;

    if (graphs == NULL || now < next) {
        return next; /* it was woken to be told of this */
    }
    run = rl_run_new();
    if (run == NULL) {
        return now + RETRY_NS;
    }
    /* a graph that is opened from here on is found below, or makes another plan */
    atomic_store(&live->next, RL_LIVE_NEVER);
    (void)plan(live, write_graphs(graphs, recorder, false, run, commit, ctx));
    rl_run_free(run);
    return atomic_load(&live->next);
}
