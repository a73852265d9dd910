/* Open runs, written to the database while they are open. See live.h. */
#include "record/graph/live.h"

#define RETRY_NS UINT64_C(1000000000) /* before the next try, when there is no memory */

/* Bytes that are written for memory: by the worker, and by the thread of an event, which
 * may be an event loop's. */
#define WORKER_PIECE ((size_t)4 << 20)
#define EVENT_PIECE ((size_t)1 << 20)
#define EVENT_STEPS 16 /* runs from which an event takes memory */
#define WORKER_STEPS 1000

void rl_live_init(rl_live *live)
{
    atomic_init(&live->graphs, NULL);
    atomic_init(&live->next, RL_LIVE_NEVER);
    atomic_init(&live->short_of_memory, false);
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
    return schedule(live, rl_monotonic_ns() + rl_live_first(interval_ns));
}

/* Commits a piece of a run. One that was not committed is written again. */
static bool commit_piece(rl_graphs *graphs, rl_run *run, rl_live_commit commit, void *ctx)
{
    rl_err ignored;
    bool committed =
        rl_run_seal(run, &ignored) == RL_OK && commit(ctx, run, &ignored) == RL_OK;

    rl_graphs_wrote(graphs, run, committed);
    return committed;
}

void rl_live_write_all(rl_live *live, const void *recorder, rl_live_commit commit,
                       void *ctx)
{
    rl_graphs *graphs = atomic_load_explicit(&live->graphs, memory_order_acquire);
    rl_run *run = graphs != NULL ? rl_run_new() : NULL;
    uint64_t now = rl_monotonic_ns();

    if (run != NULL) {
        while (rl_graphs_write_changed(graphs, recorder, now, run)) {
            (void)commit_piece(graphs, run, commit, ctx);
        }
        rl_run_free(run);
    }
}

/* Takes memory back, in up to so many steps and one write, or until there is enough. */
static void relieve(rl_graphs *graphs, const void *recorder, bool deep, rl_run *run,
                    rl_live_commit commit, void *ctx)
{
    size_t bytes = deep ? WORKER_PIECE : EVENT_PIECE;
    rl_relief relief = RL_RELIEF_FREED;
    int steps = deep ? WORKER_STEPS : EVENT_STEPS;

    for (int i = 0; i < steps && relief != RL_RELIEF_NONE; i++) {
        relief = rl_graphs_relieve(graphs, recorder, deep, bytes, run);
        if (relief == RL_RELIEF_WRITE) {
            (void)commit_piece(graphs, run, commit, ctx);
            bytes = deep ? bytes : 0; /* what was written can leave memory now */
        }
    }
}

bool rl_live_call(rl_live *live, rl_graphs *graphs)
{
    atomic_store_explicit(&live->graphs, graphs, memory_order_release);
    return !atomic_exchange(&live->short_of_memory, true);
}

void rl_live_relieve(rl_graphs *graphs, const void *recorder, rl_live_commit commit,
                     void *ctx)
{
    rl_run *run = rl_run_new();

    if (run != NULL) {
        relieve(graphs, recorder, false, run, commit, ctx);
        rl_run_free(run);
    }
}

uint64_t rl_live_write_scheduled(rl_live *live, const void *recorder,
                                 rl_live_commit commit, void *ctx)
{
    rl_graphs *graphs = atomic_load_explicit(&live->graphs, memory_order_acquire);
    uint64_t next = atomic_load(&live->next), now = rl_monotonic_ns();
    bool is_short = atomic_exchange(&live->short_of_memory, false);
    rl_run *run;

    if (graphs == NULL || (now < next && !is_short)) {
        return next; /* woken for other work, or to learn a new `next` */
    }
    run = rl_run_new();
    if (run == NULL) {
        return now + RETRY_NS;
    }
    if (is_short) {
        relieve(graphs, recorder, true, run, commit, ctx);
    }
    if (now >= next) {
        /* a graph that is opened from here on is found below, or schedules itself */
        atomic_store(&live->next, RL_LIVE_NEVER);
        while (rl_graphs_write_due(graphs, recorder, now, run, &next)) {
            (void)commit_piece(graphs, run, commit, ctx);
        }
        (void)schedule(live, next);
    }
    rl_run_free(run);
    return atomic_load(&live->next);
}
