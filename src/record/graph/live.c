/* Open runs, written to the database while they are open. See live.h. */
#include "record/graph/live.h"

#define RETRY_NS UINT64_C(1000000000) /* before the next try, when there is no memory */

void rl_live_init(rl_live *live)
{
    atomic_init(&live->graphs, NULL);
    atomic_init(&live->next, RL_LIVE_NEVER);
}

/* Schedules the worker's next write for `when`, if it was scheduled later: then true. */
static bool schedule(rl_live *live, uint64_t when)
{
    uint_fast64_t next = atomic_load(&live->next);

    while (when < next) {
        if (atomic_compare_exchange_weak(&live->next, &next, when)) {
            return true;
        }
    }
    return false;
}

bool rl_live_watch(rl_live *live, rl_graphs *graphs, uint64_t interval_ns)
{
    atomic_store_explicit(&live->graphs, graphs, memory_order_release);
    return schedule(live, rl_monotonic_ns() + interval_ns);
}

/* Writes the graphs whose interval has passed, or all. Returns the time of the next
 * one. */
static uint64_t write_graphs(rl_graphs *graphs, const void *recorder, bool all,
                             rl_run *run, rl_live_commit commit, void *ctx)
{
    uint64_t next = RL_LIVE_NEVER;
    rl_err ignored; /* the run's next change and its end are written again */

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
        return next; /* woken for other work, or to learn a new `next` */
    }
    run = rl_run_new();
    if (run == NULL) {
        return now + RETRY_NS;
    }
    /* a graph that is opened from here on is found below, or schedules itself */
    atomic_store(&live->next, RL_LIVE_NEVER);
    (void)schedule(live, write_graphs(graphs, recorder, false, run, commit, ctx));
    rl_run_free(run);
    return atomic_load(&live->next);
}
